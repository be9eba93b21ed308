//! What an auditor remembers of a log from one time to the next: small, and enough to say where history was changed.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::merkle::{Hash, fold};

/// How many leaves are remembered as one.
const BLOCK: usize = 256;

/// What is remembered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Which log.
    pub origin: String,
    /// How many events it covered.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// The leaves, from the first on.
    pub leaves: Leaves,
}

/// Leaves, of which 256 at a time are folded into one hash.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaves {
    blocks: Vec<Hash>,
    rest: Vec<Hash>,
}

/// Some events, the first and the last of them by position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl Leaves {
    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.rest.push(leaf);
        if self.rest.len() == BLOCK {
            self.blocks.push(fold(&self.rest));
            self.rest.clear();
        }
    }

    /// How many leaves there are.
    pub fn len(&self) -> u64 {
        (self.blocks.len() * BLOCK + self.rest.len()) as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The hashes of whole blocks: the nodes of tiles of level 1.
    pub fn blocks(&self) -> &[Hash] {
        &self.blocks
    }

    /// The leaves behind the last whole block.
    pub fn rest(&self) -> &[Hash] {
        &self.rest
    }

    /// Of how many of the first leaves [`Self::first_difference`] says that they are the same, if it names no place.
    pub fn compared_with(&self, later: &Self) -> u64 {
        let blocks = self.blocks.len().min(later.blocks.len());
        let rest = if later.len() >= self.len() { self.rest.len() } else { 0 };
        (blocks * BLOCK + rest) as u64
    }

    /// Where `later`, which has as many leaves or more, differs first: as closely as can be told. `rest` are the leaves of
    /// `later` behind the last whole block of these.
    pub fn first_difference(&self, later: &Self, rest: &[Hash]) -> Option<Range> {
        let block = self.blocks.iter().zip(&later.blocks).position(|(mine, theirs)| mine != theirs);
        if let Some(block) = block {
            let first = (block * BLOCK + 1) as u64;
            return Some(Range { first, last: first + BLOCK as u64 - 1 });
        }
        let place = self.rest.iter().zip(rest).position(|(mine, theirs)| mine != theirs)?;
        let position = (self.blocks.len() * BLOCK + place + 1) as u64;
        Some(Range { first: position, last: position })
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("is no hash in base64"))
    }
}
