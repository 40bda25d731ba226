//! The tasks that wait for a worker: by capability, the urgent first, then in order of submission.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::types::{Capability, Priority, TaskId};

/// How far one pass looks past tasks that fit no free worker (they name one that is not there).
const LOOK_MAX: usize = 1_024;

/// A waiting task's place. UUID v7 ids ascend with their time of submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) priority: Priority,
    pub(super) id: TaskId,
}

impl Ord for Ready {
    fn cmp(&self, other: &Ready) -> Ordering {
        other
            .priority
            .cmp(&self.priority)
            .then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Ready) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The waiting tasks.
#[derive(Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Capability, BTreeSet<Ready>>,
    len: usize,
}

impl Queue {
    pub(super) fn insert(&mut self, capability: Capability, ready: Ready) {
        let new = self.waiting.entry(capability).or_default().insert(ready);
        self.len += usize::from(new);
    }

    pub(super) fn remove(&mut self, capability: &Capability, ready: Ready) {
        if let Some(waiting) = self.waiting.get_mut(capability) {
            self.len -= usize::from(waiting.remove(&ready));
            if waiting.is_empty() {
                self.waiting.remove(capability);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn capabilities(&self) -> Vec<Capability> {
        self.waiting.keys().cloned().collect()
    }

    /// A walk over what waits for `capability`, which stays valid while tasks leave the queue.
    pub(super) fn ready(&self, capability: &Capability) -> Walk {
        Walk {
            capability: capability.clone(),
            last: None,
            looked: 0,
        }
    }
}

/// See [`Queue::ready`].
pub(super) struct Walk {
    capability: Capability,
    last: Option<Ready>,
    looked: usize,
}

impl Walk {
    pub(super) fn next(&mut self, queue: &Queue) -> Option<TaskId> {
        if self.looked >= LOOK_MAX {
            return None;
        }
        self.looked += 1;
        let from = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = *queue
            .waiting
            .get(&self.capability)?
            .range((from, Bound::Unbounded))
            .next()?;
        self.last = Some(next);
        Some(next.id)
    }
}
