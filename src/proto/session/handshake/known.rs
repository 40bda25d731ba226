//! The entries whose signatures held in a handshake, by their hash: who comes back with the same
//! entry costs its handshake's own signature and no more.
//!
//! An entry is signed as a whole, so the same bytes always get the same verdict. At most
//! `KNOWN_MAX` are remembered; the oldest goes.

use std::collections::{BTreeSet, VecDeque};

use crate::crypto::{Digest, hash};

const KNOWN_MAX: usize = 2_048;

#[derive(Default)]
pub(in crate::proto::session) struct KnownEntries {
    hashes: BTreeSet<Digest>,
    /// The oldest first.
    order: VecDeque<Digest>,
}

impl KnownEntries {
    pub(super) fn contains(&self, entry: &[u8]) -> bool {
        self.hashes.contains(&hash("known entry", &[entry]))
    }

    /// Its signatures held.
    pub(super) fn insert(&mut self, entry: &[u8]) {
        let hash = hash("known entry", &[entry]);
        if !self.hashes.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.hashes.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_and_nothing_grows() {
        let mut known = KnownEntries::default();
        for n in 0..3_000_u32 {
            known.insert(&n.to_be_bytes());
            known.insert(&n.to_be_bytes());
        }
        assert_eq!(
            (known.hashes.len(), known.order.len()),
            (KNOWN_MAX, KNOWN_MAX)
        );
        assert!(known.contains(&2_999_u32.to_be_bytes()));
        assert!(!known.contains(&0_u32.to_be_bytes()));
    }
}
