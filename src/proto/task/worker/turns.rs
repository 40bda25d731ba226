//! In which order what waits for a capability's slots begins.
//!
//! Requesters take turns, each with one task, whatever they say of its urgency: only the order of
//! a requester's own tasks is a requester's matter. That one is by rank, as in the queue that they
//! come from (`queue`): when a task was queued there, less its priority's head start. So nothing is
//! passed by for ever, neither a requester by others nor a task of low priority by later ones.

use std::collections::{BTreeMap, BTreeSet};

use super::{Held, HeldKey, HeldRecord};
use crate::proto::task::queue::head_start_ms;
use crate::types::{EntityId, Mono, Now, Priority, TaskId};

/// When a task counts as queued by our own clock, in milliseconds: before our start, too. Lower
/// ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(i64);

impl Rank {
    /// Of one that has waited for so long.
    pub(super) fn new(priority: Priority, waited_ms: u64, now: Mono) -> Rank {
        let ahead_ms = waited_ms.saturating_add(head_start_ms(priority));
        Rank(signed(now.as_micros() / 1_000).saturating_sub(signed(ahead_ms)))
    }

    /// The same from its row, after a restart.
    pub(super) fn of(record: &HeldRecord, now: Now) -> Rank {
        // Those that say nothing of it go by their places.
        let queued = record.queued.unwrap_or(now.wall);
        let waited_ms = now.wall.0.saturating_sub(queued.0);
        Rank::new(record.priority, waited_ms, now.mono)
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// A task among those of its requester. Of equal ranks the one that was accepted first goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) rank: Rank,
    pub(super) place: u64,
    pub(super) task: TaskId,
}

/// A requester with tasks that wait: the lower its turn, the sooner.
#[derive(Debug)]
struct Turn {
    at: u64,
    tasks: BTreeSet<Spot>,
}

/// What waits for one capability.
#[derive(Debug, Default)]
pub(super) struct Line(BTreeMap<EntityId, Turn>);

impl Line {
    /// A requester that had nothing here comes behind all others; places ascend, and so after a
    /// restart whose task was accepted first is first.
    pub(super) fn insert(&mut self, requester: EntityId, spot: Spot) {
        let turn = self.0.entry(requester).or_insert_with(|| Turn {
            at: spot.place,
            tasks: BTreeSet::new(),
        });
        turn.at = turn.at.min(spot.place);
        turn.tasks.insert(spot);
    }

    pub(super) fn remove(&mut self, requester: EntityId, spot: &Spot) {
        if let Some(turn) = self.0.get_mut(&requester) {
            turn.tasks.remove(spot);
            if turn.tasks.is_empty() {
                self.0.remove(&requester);
            }
        }
    }

    pub(super) fn contains(&self, requester: EntityId, spot: &Spot) -> bool {
        let turn = self.0.get(&requester);
        turn.is_some_and(|turn| turn.tasks.contains(spot))
    }

    /// What is to begin next.
    pub(super) fn first(&self) -> Option<HeldKey> {
        let (requester, turn) = self.0.iter().min_by_key(|(_, turn)| turn.at)?;
        let task = turn.tasks.first()?.task;
        Some(HeldKey {
            requester: *requester,
            task,
        })
    }

    /// A task of `requester` begins: its next turn comes at `next`, behind all others.
    pub(super) fn had_turn(&mut self, requester: EntityId, next: u64) {
        if let Some(turn) = self.0.get_mut(&requester) {
            turn.at = next;
        }
    }

    /// All of them, as they would begin if nothing came in between.
    pub(super) fn in_order(&self) -> Vec<HeldKey> {
        let tasks = self.0.iter().flat_map(|(requester, turn)| {
            let keys = turn.tasks.iter().map(|spot| HeldKey {
                requester: *requester,
                task: spot.task,
            });
            keys.enumerate().map(|(round, key)| ((round, turn.at), key))
        });
        let mut tasks: Vec<((usize, u64), HeldKey)> = tasks.collect();
        tasks.sort_unstable();
        tasks.into_iter().map(|(_, key)| key).collect()
    }
}

impl Held {
    /// Where it stands, if it waits.
    pub(super) fn spot(&self, task: TaskId) -> Option<Spot> {
        let super::Phase::Waiting { rank, .. } = self.phase else {
            return None;
        };
        let place = self.record.place?;
        Some(Spot { rank, place, task })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Mono = Mono::from_micros(5_000_000);

    fn requester(n: u8) -> EntityId {
        EntityId([n; 32])
    }

    fn spot(rank: i64, place: u64) -> Spot {
        let task = TaskId(uuid::Uuid::from_u128(place.into()));
        let rank = Rank(rank);
        Spot { rank, place, task }
    }

    #[test]
    fn a_rank_is_when_it_was_queued_less_its_head_start() {
        let minute_ms = 60_000;
        let of = |priority, waited_ms| Rank::new(priority, waited_ms, NOW);
        assert_eq!(of(Priority::Low, minute_ms), of(Priority::Normal, 0));
        assert_eq!(
            of(Priority::Normal, 29 * minute_ms),
            of(Priority::Critical, 0)
        );
        assert!(of(Priority::Low, 0) > of(Priority::Normal, 0));
        assert!(of(Priority::Low, 30 * minute_ms + 1) < of(Priority::Critical, 0));
        // Whatever a requester says of how long it has waited.
        assert!(of(Priority::Low, u64::MAX) < of(Priority::Critical, 0));
    }

    #[test]
    fn who_comes_back_comes_behind_who_waits() {
        let mut line = Line::default();
        line.insert(requester(1), spot(0, 1));
        line.insert(requester(1), spot(0, 2));
        line.insert(requester(2), spot(0, 3));
        let mut begun = Vec::new();
        for next in 4..8 {
            let first = line.first().expect("somebody waits");
            begun.push(first.requester);
            let place = first.task.0.as_u128() as u64;
            line.remove(first.requester, &spot(0, place));
            line.had_turn(first.requester, next * 10);
            // The second hands over another as soon as one begins, and more urgent ones each time.
            if first.requester == requester(2) {
                line.insert(requester(2), spot(-1_000, next * 10 + 1));
            }
        }
        assert_eq!(begun, [1, 2, 1, 2].map(requester));
    }

    proptest! {
        /// What is told as the order is the order; each requester's tasks go by rank, and none has
        /// two turns while another waits.
        #[test]
        fn all_have_their_turn_and_all_begin(
            tasks in proptest::collection::vec((0..4_u8, -5..5_i64), 1..40),
        ) {
            let mut line = Line::default();
            let mut next = 0;
            for (of, rank) in &tasks {
                line.insert(requester(*of), spot(*rank, next));
                next += 1;
            }
            let told = line.in_order();
            let mut begun: Vec<(EntityId, Spot)> = Vec::new();
            while let Some(first) = line.first() {
                let place = first.task.0.as_u128();
                let (_, rank) = tasks[usize::try_from(place).expect("ours")];
                let spot = spot(rank, place as u64);
                prop_assert!(line.contains(first.requester, &spot));
                line.remove(first.requester, &spot);
                line.had_turn(first.requester, next);
                next += 1;
                if let Some((last, _)) = begun.last() {
                    let alone = line.0.keys().all(|one| one == last);
                    prop_assert!(*last != first.requester || alone, "twice in a row");
                }
                begun.push((first.requester, spot));
            }
            let keys = begun.iter().map(|(requester, spot)| (*requester, spot.task));
            let told: Vec<_> = told.iter().map(|key| (key.requester, key.task)).collect();
            prop_assert_eq!(keys.collect::<Vec<_>>(), told);
            prop_assert_eq!(begun.len(), tasks.len());
            for of in 0..4 {
                let mut of = begun.iter().filter(|(one, _)| *one == requester(of));
                prop_assert!(of.by_ref().map(|(_, spot)| *spot).is_sorted());
            }
        }
    }
}
