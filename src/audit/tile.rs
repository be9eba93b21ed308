//! Tiles by [C2SP tlog-tiles](https://c2sp.org/tlog-tiles): 256 neighbouring nodes of every eighth level of the tree.

use std::fmt;

use super::merkle::Hash;

/// How many levels of the tree a tile spans.
pub const TILE_HEIGHT: u8 = 8;
/// How many nodes a full tile holds.
pub const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;
/// The highest level of tiles: with it, a tree has room for 2^64 leaves.
const HIGHEST_LEVEL: u8 = 7;
/// Digits in each part of a path.
const PATH_BASE: u64 = 1_000;

/// Which tile, and how many of its nodes are meant: a tile that is not full only ever grows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TileId {
    level: u8,
    index: u64,
    width: u16,
}

impl TileId {
    /// The full tile at that place.
    pub fn full(level: u8, index: u64) -> Self {
        Self { level, index, width: TILE_WIDTH as u16 }
    }

    /// All levels that a tree may have, from the leaves upward.
    pub(super) fn levels() -> impl Iterator<Item = u8> {
        0..=HIGHEST_LEVEL
    }

    /// How many nodes a tree of that size has at a level of tiles.
    pub(super) fn nodes_at(level: u8, size: u64) -> u64 {
        size >> (TILE_HEIGHT * level)
    }

    /// The last tile of a level of a tree of that size, if there is one.
    pub fn last_of(level: u8, size: u64) -> Option<Self> {
        let nodes = Self::nodes_at(level, size);
        let index = nodes.checked_sub(1)? / TILE_WIDTH;
        Some(Self { level, index, width: (nodes - index * TILE_WIDTH) as u16 })
    }

    /// The tile at that place as a tree of that size has it; none if it has not got there.
    pub fn of_tree(level: u8, index: u64, size: u64) -> Option<Self> {
        let last = Self::last_of(level, size)?;
        match index.cmp(&last.index) {
            std::cmp::Ordering::Less => Some(Self::full(level, index)),
            std::cmp::Ordering::Equal => Some(last),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// The level: 0 holds leaves.
    pub fn level(self) -> u8 {
        self.level
    }

    /// The place within its level.
    pub fn index(self) -> u64 {
        self.index
    }

    /// How many nodes.
    pub fn width(self) -> usize {
        self.width.into()
    }

    /// Whether it can grow no more.
    pub fn is_full(self) -> bool {
        u64::from(self.width) == TILE_WIDTH
    }

    /// How large a tree must be to have it.
    pub fn needs_size(self) -> Option<u64> {
        let nodes = self.index.checked_mul(TILE_WIDTH)?.checked_add(self.width.into())?;
        nodes.checked_mul(1 << (TILE_HEIGHT * self.level))
    }

    /// Reads `<L>/<N>[.p/<W>]`, as it stands in a path behind `tile/`. Only the one way that C2SP writes it.
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.split_once('/')?;
        let level = canonical_number(level).filter(|level| *level <= HIGHEST_LEVEL.into())? as u8;
        Self::parse_place(level, rest)
    }

    /// Reads `<N>[.p/<W>]`, as it stands in a path behind `tile/entries/`: the leaves of a tile of level 0.
    pub fn parse_entries(path: &str) -> Option<Self> {
        Self::parse_place(0, path)
    }

    fn parse_place(level: u8, path: &str) -> Option<Self> {
        let (place, width) = match path.split_once(".p/") {
            Some((place, width)) => {
                let width = canonical_number(width).filter(|width| (1..TILE_WIDTH).contains(width))?;
                (place, width)
            }
            None => (path, TILE_WIDTH),
        };
        let mut index: u64 = 0;
        for part in place.split('/') {
            let digits = part.strip_prefix('x').unwrap_or(part);
            if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            index = index.checked_mul(PATH_BASE)?.checked_add(digits.parse().ok()?)?;
        }
        let id = Self { level, index, width: width as u16 };
        // Zeros in front, an `x` too many or too few: other ways to write the same.
        (id.place() == path).then_some(id)
    }

    fn place(self) -> String {
        let mut index = self.index;
        let mut place = format!("{:03}", index % PATH_BASE);
        while index >= PATH_BASE {
            index /= PATH_BASE;
            place = format!("x{:03}/{place}", index % PATH_BASE);
        }
        if !self.is_full() {
            place.push_str(&format!(".p/{}", self.width));
        }
        place
    }

    /// The path of the entries whose hashes it holds, behind `tile/entries/`.
    pub fn entries_path(self) -> String {
        self.place()
    }
}

/// `<L>/<N>[.p/<W>]`.
impl fmt::Display for TileId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.level, self.place())
    }
}

fn canonical_number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The bytes of a tile: its nodes one after the other.
pub fn tile_bytes(nodes: &[Hash]) -> Vec<u8> {
    nodes.iter().flat_map(|node| node.0).collect()
}

/// The nodes of a tile; none if the bytes are not whole nodes.
pub fn tile_nodes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (nodes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| nodes.iter().map(|node| Hash(*node)).collect())
}

/// An entry that does not fit a bundle, which gives each two bytes for its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("entry {index} is {length} bytes long, and a bundle takes entries of at most 65535 bytes")]
pub struct EntryTooLong {
    /// Which entry of the bundle, from 0.
    pub index: usize,
    /// Its length in bytes.
    pub length: usize,
}

/// The bundle of entries: each behind its length, in two bytes, the more significant first.
///
/// # Errors
/// [`EntryTooLong`].
pub fn bundle(entries: &[Vec<u8>]) -> Result<Vec<u8>, EntryTooLong> {
    let mut bytes = Vec::with_capacity(entries.iter().map(|entry| entry.len() + 2).sum());
    for (index, entry) in entries.iter().enumerate() {
        let length = u16::try_from(entry.len()).map_err(|_| EntryTooLong { index, length: entry.len() })?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let tile = |level, index, width| TileId { level, index, width };
        for (id, path) in [
            (tile(0, 0, 256), "0/000"),
            (tile(1, 1_234_067, 256), "1/x001/x234/067"),
            (tile(0, 1_000, 12), "0/x001/000.p/12"),
            (tile(7, 5, 1), "7/005.p/1"),
        ] {
            assert_eq!(id.to_string(), path);
            assert_eq!(TileId::parse(path), Some(id));
        }
        assert_eq!(TileId::parse_entries("x001/234"), Some(TileId::full(0, 1_234)));
        assert_eq!(TileId::full(0, 1_234).entries_path(), "x001/234");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in [
            "",
            "0",
            "0/",
            "0/0",
            "0/0000",
            "0/x000/001",
            "0/001/002",
            "0/x001/x002",
            "8/000",
            "00/000",
            "+1/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/007",
            "0/000.p/",
            "0/000.p",
            "0/000/",
            "/000",
            "0/-01",
            "0/ 01",
            "0/x999/x999/x999/x999/x999/x999/x999/999",
            "0/000.p/1.p/1",
            "entries/000",
            "0/0０0",
        ] {
            assert_eq!(TileId::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_bundle_gives_each_entry_its_length() {
        let entries = [b"ab".to_vec(), Vec::new(), b"c".to_vec()];
        assert_eq!(bundle(&entries).expect("short"), b"\x00\x02ab\x00\x00\x00\x01c");
        let long = [b"ab".to_vec(), vec![0; 65_536]];
        assert_eq!(bundle(&long), Err(EntryTooLong { index: 1, length: 65_536 }));
    }

    #[test]
    fn nodes_read_back_and_half_a_node_is_none() {
        let nodes = [Hash::of_leaf(b"a"), Hash::of_leaf(b"b")];
        let bytes = tile_bytes(&nodes);
        assert_eq!(tile_nodes(&bytes).as_deref(), Some(nodes.as_slice()));
        assert_eq!(tile_nodes(&bytes[1..]), None);
    }

    proptest! {
        #[test]
        fn every_path_reads_back(level in 0..=HIGHEST_LEVEL, index: u64, width in 1_u16..=256) {
            let id = TileId { level, index, width };
            prop_assert_eq!(TileId::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9x./p]{0,40}") {
            let _ = TileId::parse(&text);
        }

        #[test]
        fn a_tree_has_the_tiles_that_it_is_large_enough_for(level in 0_u8..3, index in 0_u64..5, size in 0_u64..400_000) {
            let has = TileId::of_tree(level, index, size);
            let widest = (1..=256).rev()
                .map(|width| TileId { level, index, width })
                .find(|id| id.needs_size().is_some_and(|needed| needed <= size));
            prop_assert_eq!(has, widest);
        }
    }
}
