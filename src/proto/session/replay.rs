//! What was seen before: nonces of handshakes by entity, sequence numbers by window.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::limits::{REPLAY_KEEP_MS, REPLAY_MAX, REPLAY_PER_ENTITY_MAX, REPLAY_WINDOW};
use crate::types::{EntityId, Mono, Nonce};
use crate::wire::WireError;

/// The nonces of handshakes whose signatures held.
#[derive(Default)]
pub(super) struct ReplayCache {
    seen: BTreeMap<EntityId, BTreeSet<Nonce>>,
    by_time: BTreeSet<(Mono, EntityId, Nonce)>,
}

impl ReplayCache {
    pub(super) fn contains(&self, entity: &EntityId, nonce: &Nonce) -> bool {
        self.seen
            .get(entity)
            .is_some_and(|nonces| nonces.contains(nonce))
    }

    /// Remembers a nonce. A full cache refuses: evicting a live one would admit a replay.
    pub(super) fn insert(
        &mut self,
        entity: EntityId,
        nonce: Nonce,
        now: Mono,
    ) -> Result<(), WireError> {
        if self.contains(&entity, &nonce) {
            return Err(WireError::ReplayDetected);
        }
        let of_entity = self.seen.get(&entity).map_or(0, BTreeSet::len);
        if self.by_time.len() >= REPLAY_MAX || of_entity >= REPLAY_PER_ENTITY_MAX {
            return Err(WireError::Busy);
        }
        self.seen.entry(entity).or_default().insert(nonce);
        self.by_time.insert((now, entity, nonce));
        Ok(())
    }

    pub(super) fn expire(&mut self, now: Mono) {
        while let Some((at, entity, nonce)) = self.by_time.first().copied() {
            if now.since(at) < REPLAY_KEEP_MS {
                break;
            }
            self.by_time.pop_first();
            if let Some(nonces) = self.seen.get_mut(&entity) {
                nonces.remove(&nonce);
                if nonces.is_empty() {
                    self.seen.remove(&entity);
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_time.len()
    }
}

const WORDS: usize = (REPLAY_WINDOW / 64) as usize;

/// The sequence numbers of one direction that were opened: the newest and `REPLAY_WINDOW` behind.
#[derive(Debug, Default, Clone)]
pub(super) struct Window {
    /// One past the newest; 0 before the first.
    end: u64,
    seen: [u64; WORDS],
}

impl Window {
    /// Whether `seq` may still be opened. Changes nothing.
    pub(super) fn admits(&self, seq: u64) -> Result<(), WireError> {
        if seq.saturating_add(REPLAY_WINDOW) < self.end || seq == u64::MAX {
            return Err(WireError::SequenceError);
        }
        if seq < self.end && self.bit(seq) {
            return Err(WireError::ReplayDetected);
        }
        Ok(())
    }

    /// Marks `seq` as opened, after it was verified.
    pub(super) fn mark(&mut self, seq: u64) {
        if seq >= self.end {
            for fresh in self.end..=seq.min(self.end.saturating_add(REPLAY_WINDOW)) {
                self.clear(fresh);
            }
            if seq - self.end >= REPLAY_WINDOW {
                self.seen = [0; WORDS];
            }
            self.end = seq + 1;
        }
        self.seen[slot(seq).0] |= slot(seq).1;
    }

    /// How many numbers the other side can have used, by the newest that opened.
    pub(super) fn count_upto(&self) -> u64 {
        self.end
    }

    fn bit(&self, seq: u64) -> bool {
        self.seen[slot(seq).0] & slot(seq).1 != 0
    }

    fn clear(&mut self, seq: u64) {
        self.seen[slot(seq).0] &= !slot(seq).1;
    }
}

fn slot(seq: u64) -> (usize, u64) {
    let at = seq % REPLAY_WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The window agrees with a set of all numbers ever opened.
        #[test]
        fn a_number_is_admitted_once_and_only_within_the_window(
            seqs in prop::collection::vec(prop_oneof![0u64..3000, 1000u64..1100, any::<u64>(), u64::MAX - 1500..=u64::MAX], 1..400)
        ) {
            let mut window = Window::default();
            let mut opened = BTreeSet::new();
            for seq in seqs {
                let newest = opened.last().copied();
                let too_old = newest.is_some_and(|n: u64| seq.saturating_add(REPLAY_WINDOW) <= n);
                let expected = if too_old || seq == u64::MAX {
                    Err(WireError::SequenceError)
                } else if opened.contains(&seq) {
                    Err(WireError::ReplayDetected)
                } else {
                    Ok(())
                };
                prop_assert_eq!(window.admits(seq), expected);
                if expected.is_ok() {
                    window.mark(seq);
                    opened.insert(seq);
                }
            }
        }
    }

    #[test]
    fn a_full_replay_cache_refuses_rather_than_forgets() {
        let mut cache = ReplayCache::default();
        let entity = EntityId([1; 32]);
        let nonce = |n: u8| Nonce([n; 32]);
        for n in 0..REPLAY_PER_ENTITY_MAX {
            assert_eq!(
                cache.insert(entity, nonce(n as u8), Mono::default()),
                Ok(())
            );
        }
        assert_eq!(
            cache.insert(entity, nonce(200), Mono::default()),
            Err(WireError::Busy)
        );
        assert_eq!(
            cache.insert(entity, nonce(3), Mono::default()),
            Err(WireError::ReplayDetected)
        );
        assert_eq!(
            cache.insert(EntityId([2; 32]), nonce(3), Mono::default()),
            Ok(())
        );
        cache.expire(Mono::default() + REPLAY_KEEP_MS);
        assert_eq!(cache.len(), 0);
        assert_eq!(cache.insert(entity, nonce(3), Mono::default()), Ok(()));
    }
}
