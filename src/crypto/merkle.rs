//! Merkle trees over the messages of one record, or the results of one list (the shape of
//! RFC 6962): one signature of the root signs them all, and a path of siblings shows one of them without the others.

use super::hash::{Digest, hash};

fn node(left: &Digest, right: &Digest) -> Digest {
    hash("merkle node", &[left, right])
}

/// One level up: pairs are joined, the odd one at the end rises as it is.
fn rise(level: &mut Vec<Digest>) {
    let pairs = level.len() / 2;
    for at in 0..pairs {
        level[at] = node(&level[2 * at], &level[2 * at + 1]);
    }
    if level.len() % 2 == 1 {
        level[pairs] = level[level.len() - 1];
        level.truncate(pairs + 1);
    } else {
        level.truncate(pairs);
    }
}

/// The root over `leaves`; of one leaf, the leaf itself; of none, zeroes.
pub fn merkle_root(leaves: &[Digest]) -> Digest {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        rise(&mut level);
    }
    level.first().copied().unwrap_or_default()
}

/// All levels of a tree: for who wants the root and many paths.
#[derive(Debug, Clone)]
pub struct MerkleTree {
    /// The leaves first; the last is the root alone.
    levels: Vec<Vec<Digest>>,
}

impl MerkleTree {
    /// The tree over `leaves`.
    pub fn over(leaves: Vec<Digest>) -> MerkleTree {
        let mut levels = vec![leaves];
        while let Some(level) = levels.last()
            && level.len() > 1
        {
            let mut above = level.clone();
            rise(&mut above);
            levels.push(above);
        }
        MerkleTree { levels }
    }

    /// As [`merkle_root`].
    pub fn root(&self) -> Digest {
        let top = self.levels.last().and_then(|level| level.first());
        top.copied().unwrap_or_default()
    }

    /// As [`merkle_path`].
    pub fn path(&self, mut index: usize) -> Option<Vec<Digest>> {
        if index >= self.levels[0].len() {
            return None;
        }
        let mut path = Vec::new();
        for level in &self.levels {
            path.extend(level.get(index ^ 1));
            index /= 2;
        }
        Some(path)
    }
}

/// The siblings from leaf `index` up to the root; none for a leaf that is not there.
pub fn merkle_path(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    MerkleTree::over(leaves.to_vec()).path(index)
}

/// The root that `leaf` at `index` of `count` leads to by `path`; none if the path has not exactly
/// the siblings that this place has.
pub fn merkle_climb(leaf: Digest, index: u32, count: u32, path: &[Digest]) -> Option<Digest> {
    if index >= count {
        return None;
    }
    let (mut index, mut count, mut path) = (index, count, path.iter());
    let mut at = leaf;
    while count > 1 {
        if index ^ 1 < count {
            let sibling = path.next()?;
            at = if index % 2 == 0 {
                node(&at, sibling)
            } else {
                node(sibling, &at)
            };
        }
        index /= 2;
        count = count.div_ceil(2);
    }
    path.next().is_none().then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count)
            .map(|n| hash("leaf", &[&n.to_be_bytes()]))
            .collect()
    }

    /// RFC 6962, section 2.1: split at the largest power of two below the count.
    fn by_the_book(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => [0; 32],
            [leaf] => *leaf,
            _ => {
                let half = leaves.len().next_power_of_two() / 2;
                node(&by_the_book(&leaves[..half]), &by_the_book(&leaves[half..]))
            }
        }
    }

    proptest! {
        #[test]
        fn the_root_is_that_of_rfc_6962(count in 0_usize..130) {
            prop_assert_eq!(merkle_root(&leaves(count)), by_the_book(&leaves(count)));
            prop_assert_eq!(MerkleTree::over(leaves(count)).root(), by_the_book(&leaves(count)));
        }

        #[test]
        fn a_path_leads_its_own_leaf_and_no_other_to_the_root(count in 1_usize..70, at in 0_usize..70) {
            let at = at % count;
            let leaves = leaves(count);
            let root = merkle_root(&leaves);
            let path = merkle_path(&leaves, at).expect("it is there");
            let climb = |leaf, at, path: &[Digest]| merkle_climb(leaf, at as u32, count as u32, path);
            prop_assert_eq!(climb(leaves[at], at, &path), Some(root));
            for other in 0..count {
                if other != at {
                    prop_assert_ne!(climb(leaves[other], at, &path), Some(root));
                    prop_assert_ne!(climb(leaves[at], other, &path), Some(root));
                }
            }
            let longer = [&path[..], &[root]].concat();
            prop_assert_eq!(climb(leaves[at], at, &longer), None);
            if !path.is_empty() {
                prop_assert_eq!(climb(leaves[at], at, &path[1..]), None);
            }
        }
    }

    #[test]
    fn a_place_that_is_not_there_has_no_path() {
        assert_eq!(merkle_path(&leaves(3), 3), None);
        assert_eq!(merkle_climb([0; 32], 3, 3, &[]), None);
        assert_eq!(merkle_climb([0; 32], 0, 0, &[]), None);
    }
}
