//! The Merkle tree of RFC 6962, section 2.1: hashes, the growing edge of a tree, inclusion proofs. Pure.

use sha2::{Digest as _, Sha256};

/// A hash of the tree.
pub(crate) type Hash = [u8; 32];

/// How many hashes a full tile holds.
pub(crate) const TILE_WIDTH: u64 = 256;

/// The hash of a leaf.
pub(crate) fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// The hash of an inner node.
pub(crate) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of a subtree whose lowest row is `hashes`; their number is a power of two.
pub(crate) fn row_root(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    row[0]
}

/// The right edge of a tree: for each level of tiles the hashes of its unfinished tile. All that is needed to grow it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edge {
    size: u64,
    rows: Vec<Vec<Hash>>,
}

/// A tile that has just become full.
pub(crate) struct FullTile {
    pub(crate) level: u8,
    pub(crate) index: u64,
    pub(crate) hashes: Vec<Hash>,
}

impl Edge {
    /// How many leaves the tree has.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The unfinished tiles, lowest level first; empty where a level has none.
    pub(crate) fn rows(&self) -> &[Vec<Hash>] {
        &self.rows
    }

    /// Adds a leaf; what becomes full is handed to `full`.
    pub(crate) fn push(&mut self, leaf: Hash, full: &mut Vec<FullTile>) {
        let mut hash = leaf;
        for level in 0u8.. {
            let row = usize::from(level);
            if self.rows.len() == row {
                self.rows.push(Vec::new());
            }
            self.rows[row].push(hash);
            if (self.rows[row].len() as u64) < TILE_WIDTH {
                break;
            }
            let hashes = std::mem::take(&mut self.rows[row]);
            hash = row_root(&hashes);
            full.push(FullTile { level, index: self.size >> (8 * (u32::from(level) + 1)), hashes });
        }
        self.size += 1;
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> Hash {
        // The perfect subtrees of the tree, largest first: each row splits by the binary digits of its length.
        let mut subtrees = Vec::new();
        for row in self.rows.iter().rev() {
            let mut rest = row.as_slice();
            while !rest.is_empty() {
                let (perfect, after) = rest.split_at(1 << rest.len().ilog2());
                subtrees.push(row_root(perfect));
                rest = after;
            }
        }
        match subtrees.pop() {
            None => Sha256::digest([]).into(),
            Some(last) => subtrees.iter().rev().fold(last, |right, left| node_hash(left, &right)),
        }
    }
}

/// Reads a node of a perfect subtree: `level` counts from the leaves, `index` within the level.
pub(crate) type ReadNode<'a, E> = dyn FnMut(u32, u64) -> Result<Hash, E> + 'a;

/// The root over the leaves `from..to`; `from` is a multiple of the largest power of two that is smaller than the range.
pub(crate) fn range_root<E>(from: u64, to: u64, node: &mut ReadNode<'_, E>) -> Result<Hash, E> {
    let count = to - from;
    if count == 0 {
        return Ok(Sha256::digest([]).into());
    }
    if count.is_power_of_two() {
        let level = count.ilog2();
        return node(level, from >> level);
    }
    let split = from + largest_power_below(count);
    Ok(node_hash(&range_root(from, split, node)?, &range_root(split, to, node)?))
}

/// The inclusion proof of a leaf in the tree of `size` leaves, lowest first.
pub(crate) fn inclusion_proof<E>(leaf: u64, size: u64, node: &mut ReadNode<'_, E>) -> Result<Vec<Hash>, E> {
    let (mut from, mut to) = (0, size);
    let mut proof = Vec::new();
    while to - from > 1 {
        let split = from + largest_power_below(to - from);
        if leaf < split {
            proof.push(range_root(split, to, node)?);
            to = split;
        } else {
            proof.push(range_root(from, split, node)?);
            from = split;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` leads from this leaf to this root (RFC 9162, section 2.1.3.2).
pub(crate) fn includes(root: &Hash, size: u64, leaf: u64, hash: &Hash, proof: &[Hash]) -> bool {
    if leaf >= size {
        return false;
    }
    let (mut position, mut last, mut found) = (leaf, size - 1, *hash);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            found = node_hash(sibling, &found);
            if position & 1 == 0 {
                let shift = position.trailing_zeros();
                position >>= shift;
                last >>= shift;
            }
        } else {
            found = node_hash(&found, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && found == *root
}

fn largest_power_below(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// The leaves and roots that Certificate Transparency's reference implementation tests with.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    /// The definition of RFC 6962, word by word: slow, and shares nothing with the code above but the two hashes.
    fn definition(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => Sha256::digest([]).into(),
            1 => leaves[0],
            n => {
                let mut k = 1;
                while k * 2 < n {
                    k *= 2;
                }
                node_hash(&definition(&leaves[..k]), &definition(&leaves[k..]))
            }
        }
    }

    fn node_of(leaves: &[Hash]) -> impl FnMut(u32, u64) -> Result<Hash, Infallible> {
        |level, index| {
            let width = 1usize << level;
            Ok(definition(&leaves[index as usize * width..(index as usize + 1) * width]))
        }
    }

    #[test]
    fn the_known_roots_of_rfc_6962_come_out() {
        let mut edge = Edge::default();
        assert_eq!(hex::encode(edge.root()), ROOTS[0]);
        for (position, leaf) in LEAVES.iter().enumerate() {
            edge.push(leaf_hash(&hex::decode(leaf).unwrap()), &mut Vec::new());
            assert_eq!(hex::encode(edge.root()), ROOTS[position + 1], "{} leaves", position + 1);
        }
    }

    #[test]
    fn the_edge_agrees_with_the_definition_across_tiles() {
        let (mut edge, mut full, mut leaves) = (Edge::default(), Vec::new(), Vec::new());
        for number in 0..700u32 {
            leaves.push(leaf_hash(&number.to_be_bytes()));
            edge.push(leaves[number as usize], &mut full);
            if number % 13 == 0 || (250..260).contains(&number) || number > 690 {
                assert_eq!(edge.root(), definition(&leaves), "{} leaves", number + 1);
            }
        }
        let names: Vec<_> = full.iter().map(|tile| (tile.level, tile.index, tile.hashes.len())).collect();
        assert_eq!(names, [(0, 0, 256), (0, 1, 256)]);
        assert_eq!(edge.rows()[1], [definition(&leaves[..256]), definition(&leaves[256..512])]);
    }

    #[test]
    fn a_tile_of_the_second_level_becomes_full_after_65536_leaves() {
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        (0..65536u32).for_each(|number| edge.push(leaf_hash(&number.to_be_bytes()), &mut full));
        let names: Vec<_> = full.iter().rev().take(2).map(|tile| (tile.level, tile.index)).collect();
        assert_eq!(names, [(1, 0), (0, 255)]);
        assert_eq!(edge.rows()[2].len(), 1);
    }

    proptest! {
        #[test]
        fn a_proof_holds_for_its_leaf_and_for_nothing_else(size in 1u64..70, at in 0u64..70, other in 0u64..70) {
            let (at, other) = (at % size, other % size);
            let leaves: Vec<Hash> = (0..size).map(|number| leaf_hash(&number.to_be_bytes())).collect();
            let root = definition(&leaves);
            let proof = inclusion_proof(at, size, &mut node_of(&leaves)).unwrap();
            prop_assert!(includes(&root, size, at, &leaves[at as usize], &proof));
            if other != at {
                prop_assert!(!includes(&root, size, other, &leaves[at as usize], &proof));
                prop_assert!(!includes(&root, size, at, &leaves[other as usize], &proof));
            }
            prop_assert!(!includes(&root, size, size, &leaves[at as usize], &proof));
            prop_assert_eq!(range_root(0, size, &mut node_of(&leaves)).unwrap(), root);
            if !proof.is_empty() {
                prop_assert!(!includes(&root, size, at, &leaves[at as usize], &proof[1..]));
            }
        }
    }
}
