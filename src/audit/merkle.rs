//! The hash tree of RFC 6962 (section 2.1), and one that grows at its end and forgets what is complete.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::tile::{TILE_WIDTH, TileId};

/// A node of the tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of a leaf.
    pub fn of_leaf(data: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(data).finalize().into())
    }

    /// The hash of a node over two others.
    pub fn of_node(left: Self, right: Self) -> Self {
        Self(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
    }

    /// The root of a tree without leaves.
    pub fn of_nothing() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// Reads the standard base64 that [`fmt::Display`] writes; nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The hash over a whole number of levels: of a power of two of neighbouring nodes.
pub(super) fn fold(nodes: &[Hash]) -> Hash {
    match nodes {
        [] => Hash::of_nothing(),
        [node] => *node,
        nodes => {
            let (left, right) = nodes.split_at(nodes.len() / 2);
            Hash::of_node(fold(left), fold(right))
        }
    }
}

/// A tree to which leaves are added at the end. It remembers only its right edge: of each level of tiles the one that is
/// not full.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GrowingTree {
    size: u64,
    /// From the leaves upward; the last one is never empty.
    edge: Vec<Vec<Hash>>,
    full: Vec<Tile>,
}

/// A tile with what is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tile {
    /// Which one, and how many nodes it holds.
    pub id: TileId,
    /// Those nodes.
    pub nodes: Vec<Hash>,
}

/// Tiles that cannot be the right edge of a tree of the size that they were said to be of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the tiles at the end of the tree are not those of a tree of size {size}")]
pub struct NotTheEdge {
    /// The size.
    pub size: u64,
}

impl GrowingTree {
    /// The tiles at the right edge of a tree of that size that are not full, from the leaves upward.
    pub fn edge_of(size: u64) -> impl Iterator<Item = TileId> {
        TileId::levels().map_while(move |level| TileId::last_of(level, size)).filter(|id| !id.is_full())
    }

    /// Goes on with a tree of that size. `edge` holds what the tiles of [`Self::edge_of`] begin with.
    ///
    /// # Errors
    /// [`NotTheEdge`] if one is missing or too short.
    pub fn resume(size: u64, mut edge: impl FnMut(TileId) -> Option<Vec<Hash>>) -> Result<Self, NotTheEdge> {
        let mut tree = Self { size, ..Self::default() };
        for level in TileId::levels().take_while(|level| TileId::nodes_at(*level, size) > 0) {
            let width = usize::try_from(TileId::nodes_at(level, size) % TILE_WIDTH).unwrap_or_default();
            let mut nodes = Vec::new();
            if let Some(id) = TileId::last_of(level, size).filter(|id| !id.is_full()) {
                nodes = edge(id).ok_or(NotTheEdge { size })?;
                if nodes.len() < width {
                    return Err(NotTheEdge { size });
                }
                nodes.truncate(width);
            }
            tree.edge.push(nodes);
        }
        Ok(tree)
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.size += 1;
        let mut node = leaf;
        for level in TileId::levels() {
            let depth = usize::from(level);
            if self.edge.len() == depth {
                self.edge.push(Vec::with_capacity(TILE_WIDTH as usize));
            }
            let nodes = &mut self.edge[depth];
            nodes.push(node);
            if (nodes.len() as u64) < TILE_WIDTH {
                return;
            }
            let nodes = std::mem::take(nodes);
            node = fold(&nodes);
            if let Some(id) = TileId::last_of(level, self.size) {
                self.full.push(Tile { id, nodes });
            }
        }
    }

    /// The tiles that became full since this was asked last, in order within each level.
    pub fn take_full(&mut self) -> Vec<Tile> {
        std::mem::take(&mut self.full)
    }

    /// The tiles of the right edge that are not full.
    pub fn edge(&self) -> Vec<Tile> {
        let of_level = |id: TileId| {
            let nodes = self.edge.get(usize::from(id.level()))?.clone();
            Some(Tile { id, nodes })
        };
        Self::edge_of(self.size).filter_map(of_level).collect()
    }

    /// The hash over all leaves.
    pub fn root(&self) -> Hash {
        let mut root = None;
        for nodes in &self.edge {
            // Complete subtrees, the largest first; those further right are joined first.
            let mut peaks = Vec::new();
            let mut rest = nodes.as_slice();
            while !rest.is_empty() {
                let (peak, after) = rest.split_at(1 << rest.len().ilog2());
                peaks.push(fold(peak));
                rest = after;
            }
            for peak in peaks.into_iter().rev() {
                root = Some(root.map_or(peak, |root| Hash::of_node(peak, root)));
            }
        }
        root.unwrap_or_else(Hash::of_nothing)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::canonical::hex;

    /// The root by the definition of RFC 6962: the first part is the largest power of two below the whole.
    pub(in crate::audit) fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::of_nothing(),
            [leaf] => *leaf,
            leaves => {
                let (left, right) = leaves.split_at(naive_split(leaves.len()));
                Hash::of_node(naive_root(left), naive_root(right))
            }
        }
    }

    pub(in crate::audit) fn naive_split(length: usize) -> usize {
        let mut split = 1;
        while split * 2 < length {
            split *= 2;
        }
        split
    }

    pub(in crate::audit) fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|number| Hash::of_leaf(number.to_string().as_bytes())).collect()
    }

    pub(in crate::audit) fn grown(leaves: &[Hash]) -> GrowingTree {
        let mut tree = GrowingTree::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        tree
    }

    #[test]
    fn roots_are_those_of_the_reference_implementation_of_certificate_transparency() {
        let leaves: [&[u8]; 8] = [
            b"",
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = GrowingTree::default();
        assert_eq!(hex(&tree.root().0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (leaf, root) in leaves.iter().zip(roots) {
            tree.push(Hash::of_leaf(leaf));
            assert_eq!(hex(&tree.root().0), root, "of {}", tree.size());
        }
    }

    #[test]
    fn a_tree_of_three_levels_of_tiles_has_the_root_of_the_definition() {
        let leaves = leaves(65_536 + 256 + 3);
        for size in [255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, leaves.len()] {
            assert_eq!(grown(&leaves[..size]).root(), naive_root(&leaves[..size]), "of {size}");
        }
    }

    #[test]
    fn hashes_read_back() {
        let hash = Hash::of_leaf(b"x");
        assert_eq!(Hash::parse(&hash.to_string()), Some(hash));
        for text in ["", "AAAA", "not base64", &hash.to_string()[1..]] {
            assert_eq!(Hash::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_tree_has_the_root_of_the_definition(size in 0_usize..1_500) {
            let leaves = leaves(size);
            prop_assert_eq!(grown(&leaves).root(), naive_root(&leaves));
        }

        #[test]
        fn a_tree_that_is_taken_up_from_its_tiles_grows_like_one_that_was_never_left(
            before in 0_usize..1_300, after in 0_usize..600
        ) {
            let leaves = leaves(before + after);
            let whole = grown(&leaves);
            let edge = grown(&leaves[..before]).edge();
            // Tiles may hold more by now than they did then.
            let later = whole.edge().into_iter().chain(whole.full.clone());
            let tiles: Vec<Tile> = later.chain(edge).collect();
            let mut taken_up = GrowingTree::resume(before as u64, |id| {
                let same = tiles.iter().find(|tile| tile.id.level() == id.level() && tile.id.index() == id.index());
                same.map(|tile| tile.nodes.clone())
            }).expect("the edge");
            leaves[before..].iter().for_each(|leaf| taken_up.push(*leaf));
            prop_assert_eq!(taken_up.root(), whole.root());
            prop_assert_eq!(taken_up.edge(), whole.edge());
            let is_whole = |tile: &Tile| tile.nodes.len() as u64 == TILE_WIDTH;
            prop_assert!(taken_up.take_full().iter().all(is_whole));
        }
    }

    #[test]
    fn a_tree_is_not_taken_up_from_tiles_that_are_missing_or_short() {
        assert_eq!(GrowingTree::resume(3, |_| None), Err(NotTheEdge { size: 3 }));
        assert_eq!(GrowingTree::resume(3, |_| Some(leaves(2))), Err(NotTheEdge { size: 3 }));
        assert_eq!(GrowingTree::resume(0, |_| None), Ok(GrowingTree::default()));
    }
}
