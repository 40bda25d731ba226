//! In which order what waits at a worker begins, judged from the rows that it writes.
//!
//! A row says since when a task waits by a clock that may be set anew and runs a little off. So
//! tasks are compared that were accepted since it was last set, and by more than it is off.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checked, Durable};
use crate::proto::Violation;
use crate::proto::task::{HeldKey, HeldRecord, HeldState};
use crate::types::{Capability, EntityId, Priority};

/// By how much two clocks may be apart.
const DRIFT_MAX_MS: u64 = 5_000;

fn head_start_ms(priority: Priority) -> u64 {
    60_000
        * match priority {
            Priority::Low => 0,
            Priority::Normal => 1,
            Priority::High => 5,
            Priority::Critical => 30,
        }
}

/// A task that waits.
struct Waits {
    capability: Capability,
    /// Since when, less the head start.
    rank: u64,
    /// The clock was not set since.
    sure: bool,
}

/// What waits at one machine.
#[derive(Default)]
pub(super) struct Turns {
    waits: BTreeMap<HeldKey, Waits>,
    /// Who had a turn since a requester had its own, or came.
    had: BTreeMap<(Capability, EntityId), BTreeSet<EntityId>>,
}

/// A row that says that its task waits.
fn waits(held: &HeldRecord) -> Option<Waits> {
    let queued = held.queued.filter(|_| held.place.is_some())?;
    (held.state == HeldState::Accepted).then(|| Waits {
        capability: held.capability.clone(),
        // No head start goes further back than the beginning of time.
        rank: queued.0.saturating_sub(head_start_ms(held.priority)),
        sure: true,
    })
}

impl Turns {
    pub(super) fn written(&mut self, host: usize, key: HeldKey, held: &HeldRecord) -> Checked {
        let Some(new) = waits(held) else {
            let begins = held.state == HeldState::Accepted;
            return match self.waits.remove(&key) {
                Some(was) if begins => self.begins(host, key, &was),
                Some(was) => {
                    self.leaves(&was.capability, key.requester);
                    Ok(())
                }
                None => Ok(()),
            };
        };
        let turn = (new.capability.clone(), key.requester);
        self.had.entry(turn).or_default();
        self.waits.entry(key).or_insert(new);
        Ok(())
    }

    fn begins(&mut self, host: usize, key: HeldKey, was: &Waits) -> Checked {
        for (other, of) in &self.waits {
            let theirs = other.requester == key.requester && of.capability == was.capability;
            let sooner = of.sure && was.sure && of.rank + DRIFT_MAX_MS < was.rank;
            Violation::unless(!(theirs && sooner), "B5", || {
                format!("node {host} begins {} before {}", key.task, other.task)
            })?;
        }
        let here = { self.had.iter_mut() }.filter(|((of, _), _)| *of == was.capability);
        for ((_, other), had) in here {
            let twice = *other != key.requester && !had.insert(key.requester);
            Violation::unless(!twice, "B5", || {
                format!("node {host} begins {} when it is {other}'s turn", key.task)
            })?;
        }
        let turn = (was.capability.clone(), key.requester);
        self.had.insert(turn, BTreeSet::new());
        self.leaves(&was.capability, key.requester);
        Ok(())
    }

    /// One of a requester's tasks waits no more.
    fn leaves(&mut self, capability: &Capability, requester: EntityId) {
        let mut waits = self.waits.iter();
        if !waits.any(|(key, of)| key.requester == requester && of.capability == *capability) {
            self.had.remove(&(capability.clone(), requester));
        }
    }

    /// The wall clock was set.
    pub(super) fn clock_set(&mut self) {
        for waits in self.waits.values_mut() {
            waits.sure = false;
        }
    }

    /// What the disk has not is as if it had never been, and turns begin anew.
    pub(super) fn crashed(&mut self, durable: &Durable) {
        let mut old = std::mem::take(self);
        for (key, held) in &durable.held {
            let Some(mut new) = waits(held) else {
                continue;
            };
            new.sure = old.waits.remove(key).is_some_and(|old| old.sure);
            let turn = (new.capability.clone(), key.requester);
            self.had.entry(turn).or_default();
            self.waits.insert(*key, new);
        }
    }
}
