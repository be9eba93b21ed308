//! Signed tree heads by [C2SP tlog-checkpoint](https://c2sp.org/tlog-checkpoint): which log, how many leaves, which root.
//!
//! A log that takes the place of another one says so in a line of its own behind the root: `succeeds <origin> <size>
//! <root>`.

use super::{
    merkle::Hash,
    note::{self, NoteError, Signer, VerifierKey, is_key_name},
};

/// What a successor's line begins with.
const SUCCEEDS: &str = "succeeds ";

/// A tree head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The hash over all of them.
    pub root: Hash,
    /// The log that this one took the place of.
    pub succeeds: Option<Predecessor>,
}

/// A log that does not go on, as it was last known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Predecessor {
    /// Which log.
    pub origin: String,
    /// How many leaves it had.
    pub size: u64,
    /// The hash over all of them.
    pub root: Hash,
}

/// Why a checkpoint is not accepted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text is signed, but it is no checkpoint.
    #[error("it is signed, but it is not a checkpoint")]
    Form,
    /// A key of another log has signed it.
    #[error("it is of the log {found}, and the key is of {expected}")]
    OtherLog {
        /// Its origin.
        found: String,
        /// The key's name.
        expected: String,
    },
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        let Self { origin, size, root, succeeds } = self;
        let mut text = format!("{origin}\n{size}\n{root}\n");
        if let Some(Predecessor { origin, size, root }) = succeeds {
            text.push_str(&format!("{SUCCEEDS}{origin} {size} {root}\n"));
        }
        text
    }

    /// Reads a text. Lines behind the root that are not known are passed over.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty())?.to_owned();
        let (size, root) = (number(lines.next()?)?, Hash::parse(lines.next()?)?);
        let mut succeeds = None;
        for line in lines {
            if line.is_empty() {
                return None;
            }
            if let Some(rest) = line.strip_prefix(SUCCEEDS) {
                succeeds = Some(Predecessor::parse(rest)?);
            }
        }
        Some(Self { origin, size, root, succeeds })
    }

    /// The signed note.
    pub fn sign(&self, signers: &[Signer]) -> String {
        note::sign(&self.text(), signers)
    }

    /// Reads a note that one of `keys` has signed; the name of a log's key is its origin.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(note: &str, keys: &[VerifierKey]) -> Result<Self, CheckpointError> {
        let (text, known) = note::open(note, keys)?;
        let checkpoint = Self::parse(text).ok_or(CheckpointError::Form)?;
        match known.iter().find(|key| key.name() == checkpoint.origin) {
            Some(_) => Ok(checkpoint),
            None => Err(CheckpointError::OtherLog {
                found: checkpoint.origin,
                expected: known.first().map(|key| key.name().to_owned()).unwrap_or_default(),
            }),
        }
    }

    /// Size and root.
    pub fn head(&self) -> (u64, Hash) {
        (self.size, self.root)
    }
}

impl Predecessor {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let origin = parts.next().filter(|origin| is_key_name(origin))?.to_owned();
        let (size, root) = (number(parts.next()?)?, Hash::parse(parts.next()?)?);
        parts.next().is_none().then_some(Self { origin, size, root })
    }
}

fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::note::tests::signer;

    fn checkpoint() -> Checkpoint {
        let root = Hash::of_leaf(b"a");
        Checkpoint { origin: "example.com/log".into(), size: 7, root, succeeds: None }
    }

    #[test]
    fn a_signed_checkpoint_reads_back_with_the_key_of_its_log() {
        let succeeds =
            Some(Predecessor { origin: "example.com/old".into(), size: 9, root: Hash::of_nothing() });
        for checkpoint in [checkpoint(), Checkpoint { succeeds, ..checkpoint() }] {
            let signer = signer("example.com/log", 1);
            let keys = [signer.verifier_key().clone()];
            assert_eq!(Checkpoint::open(&checkpoint.sign(&[signer]), &keys), Ok(checkpoint));
        }
    }

    #[test]
    fn a_checkpoint_signed_by_another_logs_key_is_not_accepted() {
        let signer = signer("example.com/other", 1);
        let keys = [signer.verifier_key().clone()];
        let error = Checkpoint::open(&checkpoint().sign(&[signer]), &keys).expect_err("another log");
        assert_eq!(
            error.to_string(),
            "it is of the log example.com/log, and the key is of example.com/other"
        );
    }

    #[test]
    fn lines_that_are_not_known_are_passed_over_and_what_is_no_checkpoint_is_refused() {
        let text = checkpoint().text();
        assert_eq!(Checkpoint::parse(&format!("{text}something else\n")), Some(checkpoint()));
        let root = Hash::of_leaf(b"a");
        for text in [
            "".to_owned(),
            "origin\n".to_owned(),
            format!("\n7\n{root}\n"),
            format!("origin\n07\n{root}\n"),
            format!("origin\n+7\n{root}\n"),
            format!("origin\n-7\n{root}\n"),
            "origin\n7\nAAAA\n".to_owned(),
            format!("origin\n7\n{root}"),
            format!("origin\n7\n{root}\n\nmore\n"),
            format!("origin\n7\n{root}\nsucceeds nothing\n"),
        ] {
            assert_eq!(Checkpoint::parse(&text), None, "{text:?}");
        }
    }
}
