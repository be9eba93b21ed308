//! Proofs that a leaf is in a tree, and that a tree goes on from an earlier one: RFC 9162, section 2.1.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    merkle::{Hash, fold},
    tile::{TILE_HEIGHT, TILE_WIDTH, TileId},
};

/// Where proofs find nodes: tiles that were read before.
#[derive(Clone, Default, Debug)]
pub struct Tiles(BTreeMap<(u8, u64), Vec<Hash>>);

/// A tile that a proof needs is not there, or is too short.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the tile {level}/{index} is missing or too short")]
pub struct MissingTile {
    /// Its level.
    pub level: u8,
    /// Its place within the level.
    pub index: u64,
}

/// A proof that proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProofError {
    /// The leaf or the earlier tree is beyond the tree.
    #[error("what is to be proven is beyond the end of the tree")]
    BeyondTheEnd,
    /// There are more or fewer hashes than the sizes ask for.
    #[error("the proof has the wrong length")]
    WrongLength,
    /// It leads to another root than the signed one.
    #[error("the proof leads to another root")]
    OtherRoot,
}

/// A complete subtree: 2^`level` leaves, the first of which is `index` · 2^`level`.
#[derive(Clone, Copy)]
struct Node {
    level: u8,
    index: u64,
}

impl Node {
    /// Its tile, and which of the tile's nodes are below it.
    fn place(self) -> (u8, u64, std::ops::Range<usize>) {
        let below = self.level % TILE_HEIGHT;
        let first = self.index << below;
        let offset = (first % TILE_WIDTH) as usize;
        (self.level / TILE_HEIGHT, first / TILE_WIDTH, offset..offset + (1 << below))
    }
}

impl Tiles {
    /// Adds the nodes of a tile.
    pub fn insert(&mut self, id: TileId, nodes: Vec<Hash>) {
        self.0.insert((id.level(), id.index()), nodes);
    }

    fn node(&self, node: Node) -> Result<Hash, MissingTile> {
        let (level, index, range) = node.place();
        let nodes = self.0.get(&(level, index)).and_then(|nodes| nodes.get(range));
        nodes.map(fold).ok_or(MissingTile { level, index })
    }

    /// The root of the tree of the first `size` leaves.
    ///
    /// # Errors
    /// [`MissingTile`].
    pub fn root(&self, size: u64) -> Result<Hash, MissingTile> {
        if size == 0 { Ok(Hash::of_nothing()) } else { over(0, size, &mut |node| self.node(node)) }
    }

    /// What proves that leaf `index` is in the tree of the first `size` leaves.
    ///
    /// # Errors
    /// [`MissingTile`].
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, MissingTile> {
        inclusion(index, size, &mut |node| self.node(node))
    }

    /// What proves that the tree of the first `size` leaves goes on from that of the first `earlier`.
    ///
    /// # Errors
    /// [`MissingTile`].
    pub fn consistency(&self, earlier: u64, size: u64) -> Result<Vec<Hash>, MissingTile> {
        consistency(earlier, size, &mut |node| self.node(node))
    }
}

/// The tiles that [`Tiles::root`] needs.
pub fn tiles_for_root(size: u64) -> BTreeSet<(u8, u64)> {
    collect(|nodes| {
        if size > 0 {
            let _ = over(0, size, nodes);
        }
    })
}

/// The tiles that [`Tiles::inclusion`] needs.
pub fn tiles_for_inclusion(index: u64, size: u64) -> BTreeSet<(u8, u64)> {
    collect(|nodes| drop(inclusion(index, size, nodes)))
}

/// The tiles that [`Tiles::consistency`] needs.
pub fn tiles_for_consistency(earlier: u64, size: u64) -> BTreeSet<(u8, u64)> {
    collect(|nodes| drop(consistency(earlier, size, nodes)))
}

type Nodes<'a> = &'a mut dyn FnMut(Node) -> Result<Hash, MissingTile>;

/// Which tiles are asked for: goes the same way, with nothing in its hands.
fn collect(walk: impl FnOnce(Nodes<'_>)) -> BTreeSet<(u8, u64)> {
    let mut tiles = BTreeSet::new();
    walk(&mut |node| {
        let (level, index, _) = node.place();
        tiles.insert((level, index));
        Ok(Hash([0; 32]))
    });
    tiles
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The hash over the leaves from `begin` on, `size` of them, at least one; `begin` is a multiple of the smallest power of
/// two that is not below `size`.
fn over(begin: u64, size: u64, nodes: Nodes<'_>) -> Result<Hash, MissingTile> {
    if size.is_power_of_two() {
        let level = size.ilog2() as u8;
        return nodes(Node { level, index: begin >> level });
    }
    let left = split(size);
    Ok(Hash::of_node(over(begin, left, nodes)?, over(begin + left, size - left, nodes)?))
}

fn inclusion(index: u64, size: u64, nodes: Nodes<'_>) -> Result<Vec<Hash>, MissingTile> {
    let (mut begin, mut size, mut path) = (0, size, Vec::new());
    while size > 1 {
        let left = split(size);
        if index - begin < left {
            path.push(over(begin + left, size - left, nodes)?);
            size = left;
        } else {
            path.push(over(begin, left, nodes)?);
            (begin, size) = (begin + left, size - left);
        }
    }
    path.reverse();
    Ok(path)
}

fn consistency(earlier: u64, size: u64, nodes: Nodes<'_>) -> Result<Vec<Hash>, MissingTile> {
    let (mut begin, mut earlier, mut size) = (0, earlier, size);
    if earlier == 0 || earlier >= size {
        return Ok(Vec::new());
    }
    let mut path = Vec::new();
    // Whoever verifies has the root of the earlier tree, and with it a subtree that begins where it does.
    while earlier < size {
        let left = split(size);
        if earlier <= left {
            path.push(over(begin + left, size - left, nodes)?);
            size = left;
        } else {
            path.push(over(begin, left, nodes)?);
            (begin, earlier, size) = (begin + left, earlier - left, size - left);
        }
    }
    if begin > 0 {
        path.push(over(begin, size, nodes)?);
    }
    path.reverse();
    Ok(path)
}

/// Verifies that `leaf` is the leaf `index` of the tree of `size` leaves with that root.
///
/// # Errors
/// [`ProofError`].
pub fn verify_inclusion(
    index: u64,
    leaf: Hash,
    (size, root): (u64, Hash),
    path: &[Hash],
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::BeyondTheEnd);
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return Err(ProofError::WrongLength);
        }
        if node % 2 == 1 || node == last {
            hash = Hash::of_node(*sibling, hash);
            while node.is_multiple_of(2) && node > 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = Hash::of_node(hash, *sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    match (last, hash == root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::OtherRoot),
        _ => Err(ProofError::WrongLength),
    }
}

/// Verifies that a tree goes on from an earlier one, both given by size and root.
///
/// # Errors
/// [`ProofError`].
pub fn verify_consistency(
    (earlier, earlier_root): (u64, Hash),
    (size, root): (u64, Hash),
    path: &[Hash],
) -> Result<(), ProofError> {
    if earlier > size {
        return Err(ProofError::BeyondTheEnd);
    }
    if earlier == size || earlier == 0 {
        let expected = if earlier == size { root } else { Hash::of_nothing() };
        return match (path.is_empty(), earlier_root == expected) {
            (false, _) => Err(ProofError::WrongLength),
            (_, false) => Err(ProofError::OtherRoot),
            _ => Ok(()),
        };
    }
    // A complete earlier tree is a node of the later one, and is not sent along.
    let (mut rest, first) = match (earlier.is_power_of_two(), path) {
        (true, path) => (path, earlier_root),
        (false, [first, rest @ ..]) => (rest, *first),
        (false, []) => return Err(ProofError::WrongLength),
    };
    let below = (earlier - 1).trailing_ones();
    let (mut node, mut last) = ((earlier - 1) >> below, (size - 1) >> below);
    let (mut earlier_hash, mut hash) = (first, first);
    while let [sibling, after @ ..] = rest {
        rest = after;
        if last == 0 {
            return Err(ProofError::WrongLength);
        }
        if node % 2 == 1 || node == last {
            earlier_hash = Hash::of_node(*sibling, earlier_hash);
            hash = Hash::of_node(*sibling, hash);
            while node.is_multiple_of(2) && node > 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = Hash::of_node(hash, *sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    match (last, earlier_hash == earlier_root && hash == root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::OtherRoot),
        _ => Err(ProofError::WrongLength),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::merkle::tests::{grown, leaves, naive_root, naive_split};

    /// PATH of RFC 6962, section 2.1.1.
    fn naive_inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(naive_split(leaves.len()));
        let (mut path, sibling) = match index.checked_sub(left.len()) {
            None => (naive_inclusion(index, left), naive_root(right)),
            Some(index) => (naive_inclusion(index, right), naive_root(left)),
        };
        path.push(sibling);
        path
    }

    /// SUBPROOF of RFC 6962, section 2.1.2.
    fn naive_consistency(earlier: usize, leaves: &[Hash], is_whole: bool) -> Vec<Hash> {
        if earlier == leaves.len() {
            return if is_whole { Vec::new() } else { vec![naive_root(leaves)] };
        }
        let (left, right) = leaves.split_at(naive_split(leaves.len()));
        let (mut path, sibling) = match earlier.checked_sub(left.len()) {
            None | Some(0) => (naive_consistency(earlier, left, is_whole), naive_root(right)),
            Some(earlier) => (naive_consistency(earlier, right, false), naive_root(left)),
        };
        path.push(sibling);
        path
    }

    /// Only those tiles of the tree that are said to be needed.
    fn tiles(leaves: &[Hash], needed: &BTreeSet<(u8, u64)>) -> Tiles {
        let mut tree = grown(leaves);
        let all = tree.edge().into_iter().chain(tree.take_full());
        let mut tiles = Tiles::default();
        all.filter(|tile| needed.contains(&(tile.id.level(), tile.id.index())))
            .for_each(|tile| tiles.insert(tile.id, tile.nodes));
        tiles
    }

    /// A tree's size, and one of its leaves or an earlier size.
    fn size_and_part() -> impl Strategy<Value = (usize, usize)> {
        prop_oneof![1_usize..40, 200_usize..1_400].prop_flat_map(|size| (Just(size), 0..size))
    }

    proptest! {
        #[test]
        fn inclusion_is_proven_by_the_tiles_that_it_is_said_to_need((size, index) in size_and_part()) {
            let leaves = leaves(size);
            let (length, place) = (size as u64, index as u64);
            let path = tiles(&leaves, &tiles_for_inclusion(place, length)).inclusion(place, length).expect("tiles");
            prop_assert_eq!(&path, &naive_inclusion(index, &leaves));
            let head = (length, naive_root(&leaves));
            prop_assert_eq!(verify_inclusion(place, leaves[index], head, &path), Ok(()));
            // Nothing else is proven by it.
            prop_assert!(verify_inclusion(place, Hash::of_leaf(b"other"), head, &path).is_err());
            prop_assert!(verify_inclusion(place + 1, leaves[index], head, &path).is_err());
            prop_assert!(verify_inclusion(place, leaves[index], (length, leaves[0]), &path).is_err() || size == 1);
            for changed in 0..path.len() {
                let mut path = path.clone();
                path[changed].0[changed] ^= 1;
                prop_assert_eq!(verify_inclusion(place, leaves[index], head, &path), Err(ProofError::OtherRoot));
            }
            let mut longer = path.clone();
            longer.push(leaves[0]);
            prop_assert_eq!(verify_inclusion(place, leaves[index], head, &longer), Err(ProofError::WrongLength));
            if !path.is_empty() {
                let shorter = &path[..path.len() - 1];
                prop_assert_eq!(verify_inclusion(place, leaves[index], head, shorter), Err(ProofError::WrongLength));
            }
        }

        #[test]
        fn consistency_is_proven_by_the_tiles_that_it_is_said_to_need((size, earlier) in size_and_part()) {
            let leaves = leaves(size);
            let (length, before) = (size as u64, earlier as u64);
            let path = tiles(&leaves, &tiles_for_consistency(before, length)).consistency(before, length).expect("tiles");
            let expected = if earlier == 0 { Vec::new() } else { naive_consistency(earlier, &leaves, true) };
            prop_assert_eq!(&path, &expected);
            let (first, second) = ((before, naive_root(&leaves[..earlier])), (length, naive_root(&leaves)));
            prop_assert_eq!(verify_consistency(first, second, &path), Ok(()));
            // A tree whose earlier part was changed does not go on from it.
            let mut changed = leaves.clone();
            changed[earlier / 2] = Hash::of_leaf(b"other");
            if earlier > 0 {
                let other = (length, naive_root(&changed));
                prop_assert!(verify_consistency(first, other, &path).is_err());
                let tiles = tiles(&changed, &tiles_for_consistency(before, length));
                prop_assert!(verify_consistency(first, other, &tiles.consistency(before, length).expect("tiles")).is_err());
            }
            for place in 0..path.len() {
                let mut path = path.clone();
                path[place].0[0] ^= 1;
                prop_assert_eq!(verify_consistency(first, second, &path), Err(ProofError::OtherRoot));
            }
            let mut longer = path.clone();
            longer.push(leaves[0]);
            prop_assert!(verify_consistency(first, second, &longer).is_err());
            if !path.is_empty() {
                prop_assert!(verify_consistency(first, second, &path[1..]).is_err());
            }
        }

        #[test]
        fn roots_of_all_sizes_are_in_the_tiles((size, earlier) in size_and_part()) {
            let leaves = leaves(size);
            let tiles = tiles(&leaves, &tiles_for_root(earlier as u64));
            prop_assert_eq!(tiles.root(earlier as u64), Ok(naive_root(&leaves[..earlier])));
        }

        #[test]
        fn no_proof_makes_it_panic(index: u64, size: u64, length in 0_usize..70) {
            let path = leaves(length);
            let root = Hash::of_leaf(b"root");
            prop_assert!(verify_inclusion(index, root, (size, root), &path).is_err() || size == 1);
            let _ = verify_consistency((index, root), (size, root), &path);
        }
    }

    #[test]
    fn equal_trees_are_consistent_and_shrunk_ones_are_not() {
        let (root, other) = (Hash::of_leaf(b"a"), Hash::of_leaf(b"b"));
        assert_eq!(verify_consistency((5, root), (5, root), &[]), Ok(()));
        assert_eq!(verify_consistency((5, root), (5, other), &[]), Err(ProofError::OtherRoot));
        assert_eq!(verify_consistency((5, root), (4, root), &[]), Err(ProofError::BeyondTheEnd));
        assert_eq!(verify_consistency((0, Hash::of_nothing()), (4, root), &[]), Ok(()));
        assert_eq!(verify_consistency((0, root), (4, root), &[]), Err(ProofError::OtherRoot));
    }

    #[test]
    fn a_missing_tile_is_named() {
        let missing = MissingTile { level: 0, index: 1 };
        let leaves = leaves(300);
        let only_the_first = tiles(&leaves, &BTreeSet::from([(0, 0), (1, 0)]));
        assert_eq!(only_the_first.root(300), Err(missing));
        assert_eq!(only_the_first.inclusion(299, 300), Err(missing));
    }
}
