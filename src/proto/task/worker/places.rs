//! Who has how many of the worker's places, and who makes room for others.
//!
//! A worker holds so many tasks, with so many bytes of inputs and outcomes, and what ended stays
//! until its requester acknowledges it: requesters that never do could take all places for days. So
//! once half of them are taken nobody gets more than a fair share, as if those that hold something
//! were one more than they are. Where all are taken, outcomes that nobody has acknowledged for long
//! are let go before somebody with less than his share is refused: of who holds most, and of his the
//! oldest. These are not renewed any more: their requesters, if they are there again, see the leases
//! run out, and give them out anew.
//!
//! # Invariants
//! - **B6** What is let go had ended, [`STALE_MS`] ago or earlier. What runs or waits stays.
//! - **B7** Nobody's outcome makes room for who holds as many places.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::{HeldKey, Phase, Worker};
use crate::proto::{Step, Violation};
use crate::types::limits::{INPUT_MAX_BYTES, WORKER_MAX_BYTES};
use crate::types::{EntityId, Mono};

/// So long an outcome is safe that its requester does not acknowledge,
const STALE_MS: u64 = 3_600_000;
/// and so long one of which it has heard: it acknowledged a commitment, or asked for a file.
const STALE_HEARD_MS: u64 = 24 * STALE_MS;
/// Where nothing could be let go is looked again after so long.
const LOOK_MS: u64 = 1_000;

/// What a requester holds here, or may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) tasks: usize,
    pub(super) bytes: usize,
}

/// Outcomes that may be let go: by the places of their requesters, then by age.
pub(super) struct Stale {
    /// How many places it has, when the oldest ended, who it is.
    turns: BinaryHeap<(usize, Reverse<Mono>, EntityId)>,
    /// The oldest last.
    of: BTreeMap<EntityId, Vec<(Mono, HeldKey)>>,
}

impl Stale {
    fn none() -> Stale {
        Stale {
            turns: BinaryHeap::new(),
            of: BTreeMap::new(),
        }
    }

    /// The next one, of somebody who holds more than `more_than`.
    fn next(&mut self, more_than: usize) -> Option<HeldKey> {
        let (places, _, _) = self.turns.peek()?;
        if *places <= more_than {
            return None;
        }
        let (places, _, requester) = self.turns.pop()?;
        let of = self.of.get_mut(&requester)?;
        let (_, key) = of.pop()?;
        if let Some((since, _)) = of.last() {
            self.turns.push((places - 1, Reverse(*since), requester));
        }
        Some(key)
    }
}

impl Worker {
    /// What `requester` has here.
    pub(super) fn places_of(&self, requester: EntityId) -> Places {
        let of = self.live_of(requester);
        let bytes = of.map(|(_, held)| held.bytes()).sum();
        let tasks = self.live.get(&requester).map_or(0, BTreeSet::len);
        Places { tasks, bytes }
    }

    /// What each may have where there is not plenty.
    fn share(&self, requester: EntityId) -> Places {
        let others = self.live.keys().filter(|one| **one != requester).count();
        let heads = others + 2;
        Places {
            tasks: (self.config.bounds.held_tasks / heads).max(1),
            bytes: (WORKER_MAX_BYTES / heads).max(INPUT_MAX_BYTES),
        }
    }

    /// Whether one more task of `requester`, which has `of` already, is within what it may have.
    pub(super) fn may_have(&self, requester: EntityId, of: Places, input_bytes: usize) -> bool {
        let plenty = self.len() < self.config.bounds.held_tasks / 2;
        let plenty_bytes = self.bytes + input_bytes <= WORKER_MAX_BYTES / 2;
        if plenty && plenty_bytes {
            return true;
        }
        let share = self.share(requester);
        (plenty || of.tasks < share.tasks)
            && (plenty_bytes || of.bytes + input_bytes <= share.bytes)
    }

    /// Whether there is a place, and room for this input.
    pub(super) fn is_crowded(&self, input_bytes: usize) -> bool {
        self.len() >= self.config.bounds.held_tasks || self.bytes + input_bytes > WORKER_MAX_BYTES
    }

    /// Lets outcomes go until there is a place and room, for somebody who has `of`. `stale` is
    /// looked for once for a list of offers.
    pub(super) fn make_place(
        &mut self,
        of: Places,
        input_bytes: usize,
        stale: &mut Option<Stale>,
        step: &mut Step<'_>,
    ) -> bool {
        while self.is_crowded(input_bytes) {
            let stale = stale.get_or_insert_with(|| self.stale(step.now.mono));
            let Some(key) = stale.next(of.tasks) else {
                return false;
            };
            self.bury(key, step);
            self.space.let_go.push(key);
        }
        true
    }

    /// Who could make room at `now`.
    fn stale(&mut self, now: Mono) -> Stale {
        let mut stale = Stale::none();
        if self.space.looked.is_some_and(|at| now < at + LOOK_MS) {
            return stale;
        }
        for (key, since) in &self.space.ended {
            let heard = self.asked.contains(key) || self.held[key].is_heard_of();
            let safe_ms = if heard { STALE_HEARD_MS } else { STALE_MS };
            if now.since(*since) >= safe_ms {
                let of = stale.of.entry(key.requester).or_default();
                of.push((*since, *key));
            }
        }
        for (requester, of) in &mut stale.of {
            of.sort_unstable_by_key(|one| Reverse(*one));
            let places = self.live.get(requester).map_or(0, BTreeSet::len);
            let oldest = of.last().expect("each has one").0;
            stale.turns.push((places, Reverse(oldest), *requester));
        }
        if stale.turns.is_empty() {
            self.space.looked = Some(now);
        }
        stale
    }

    /// The outcomes that were let go since the last call.
    pub fn let_go(&mut self) -> Vec<HeldKey> {
        std::mem::take(&mut self.space.let_go)
    }

    /// B6, as far as it can be seen: it is known since when what ended has.
    pub(super) fn check_places(&self) -> Result<(), Violation> {
        let ended = |key| matches!(self.held[key].phase, Phase::Ended { .. });
        let known = self.space.ended.keys().all(ended);
        let all = self.space.ended.len() == self.resend.len();
        Violation::unless(known && all, "B6", || {
            "it is not known since when an outcome is there".into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::WorkerConfig;
    use super::*;
    use crate::types::TaskId;

    const MIB: usize = 1 << 20;

    fn config() -> WorkerConfig {
        WorkerConfig {
            entity: EntityId([9; 32]),
            capabilities: Vec::new(),
            serving: BTreeMap::new(),
            renew_ms: 5_000,
            payload_max_bytes: 0,
            first_run: 1,
            goes_on: false,
            bounds: crate::proto::task::Bounds::default(),
        }
    }

    fn key(of: u8, n: u128) -> HeldKey {
        HeldKey {
            requester: EntityId([of; 32]),
            task: TaskId(uuid::Uuid::from_u128(n)),
        }
    }

    #[test]
    fn who_holds_most_makes_room_first_and_nobody_for_who_holds_as_much() {
        let mut stale = Stale::none();
        let at = |ms| Mono::default() + ms;
        let few = vec![(at(1), key(1, 1))];
        let many = vec![(at(9), key(2, 3)), (at(5), key(2, 2))];
        for (places, of) in [(3, few), (4, many)] {
            let (since, oldest) = *of.last().expect("one");
            let requester = oldest.requester;
            stale.turns.push((places, Reverse(since), requester));
            stale.of.insert(requester, of);
        }
        assert_eq!(stale.next(4), None);
        assert_eq!(stale.next(3), Some(key(2, 2)));
        // Both hold three now: the older one goes.
        assert_eq!(stale.next(3), None);
        assert_eq!(stale.next(2), Some(key(1, 1)));
        assert_eq!(stale.next(2), Some(key(2, 3)));
        assert_eq!(stale.next(0), None);
    }

    #[test]
    fn bytes_are_shared_as_places_are() {
        let mut worker = Worker::new(config());
        let of = |mib| Places {
            tasks: 1,
            bytes: mib * MIB,
        };
        let one = EntityId([1; 32]);
        for other in [2, 3] {
            let live = worker.live.entry(EntityId([other; 32])).or_default();
            live.insert(key(other, 1).task);
        }
        worker.bytes = 255 * MIB;
        assert!(worker.may_have(one, of(200), MIB), "there is plenty");
        worker.bytes = 256 * MIB;
        assert!(worker.may_have(one, of(127), MIB));
        assert!(
            !worker.may_have(one, of(128), MIB),
            "a quarter is its share"
        );
        worker.bytes = 511 * MIB;
        assert!(!worker.is_crowded(MIB) && worker.is_crowded(MIB + 1));
    }
}
