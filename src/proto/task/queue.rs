//! The tasks that wait for a worker, in the order in which they are to be given out.
//!
//! A task's rank is when it was queued, later by what its priority has less of a head start than
//! the highest. So nothing is ever sorted anew, and a task of low priority is passed by later ones
//! for half an hour at most (T8).
//!
//! What waits for one capability is parted by what it demands of its worker: a thousand tasks that
//! nobody here can take cost one look and not a thousand, and hold up nobody.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Bound;

use super::requester::Apart;
use crate::types::{Capability, EntityId, Label, Priority, TaskId, Tier, Wall};

/// How long before it was queued a task counts as queued.
const HEAD_START_MAX_MS: u64 = 30 * 60 * 1000;

fn head_start_ms(priority: Priority) -> u64 {
    match priority {
        Priority::Critical => HEAD_START_MAX_MS,
        Priority::High => 5 * 60 * 1000,
        Priority::Normal => 60 * 1000,
        Priority::Low => 0,
    }
}

/// A waiting task's place: lower ranks first. UUID v7 ids ascend with their time of submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ready {
    rank: Wall,
    id: TaskId,
}

impl Ready {
    pub(super) fn new(queued: Wall, priority: Priority, id: TaskId) -> Ready {
        Ready {
            rank: queued + (HEAD_START_MAX_MS - head_start_ms(priority)),
            id,
        }
    }
}

/// What a task demands of its worker. Tasks of one class fit the same workers.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    /// The only worker that may have it.
    pub(super) to: Option<EntityId>,
    /// Labels that it must have.
    pub(super) needs: BTreeSet<Label>,
    /// What it must have come to at least.
    pub(super) tier_min: Tier,
    /// What it may ask for at most; no matter if there is no reward.
    pub(super) reward: Option<u64>,
    /// Who may not.
    pub(super) apart: Apart,
    /// It is one of several runs of the same work: who may not have it differs from part to part, and
    /// is told when it is given out.
    pub(super) part: bool,
}

type Waiting = BTreeMap<Class, BTreeSet<Ready>>;

/// The waiting tasks.
#[derive(Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Capability, Waiting>,
    len: usize,
}

impl Queue {
    pub(super) fn insert(&mut self, capability: Capability, class: Class, ready: Ready) {
        let classes = self.waiting.entry(capability).or_default();
        let new = classes.entry(class).or_default().insert(ready);
        self.len += usize::from(new);
    }

    pub(super) fn remove(&mut self, capability: &Capability, class: &Class, ready: Ready) {
        let Some(classes) = self.waiting.get_mut(capability) else {
            return;
        };
        if let Some(waiting) = classes.get_mut(class) {
            self.len -= usize::from(waiting.remove(&ready));
            if waiting.is_empty() {
                classes.remove(class);
            }
        }
        if classes.is_empty() {
            self.waiting.remove(capability);
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

    /// A walk over what waits for `capability` in the classes that fit somebody. It stays valid
    /// while tasks leave the queue.
    pub(super) fn pass(&self, capability: &Capability, fits: impl Fn(&Class) -> bool) -> Pass {
        let classes = self.waiting.get(capability).into_iter().flatten();
        let mut pass = Pass {
            capability: capability.clone(),
            classes: Vec::new(),
            heads: BinaryHeap::new(),
        };
        for (class, waiting) in classes.filter(|(class, _)| fits(class)) {
            if let Some(first) = waiting.first() {
                pass.heads.push(Reverse((*first, pass.classes.len())));
                pass.classes.push(class.clone());
            }
        }
        pass
    }
}

/// See [`Queue::pass`].
pub(super) struct Pass {
    capability: Capability,
    classes: Vec<Class>,
    /// The next task of each class that is still walked.
    heads: BinaryHeap<Reverse<(Ready, usize)>>,
}

impl Pass {
    /// The next task. Its class is walked no further unless [`Pass::go_on`] says so.
    pub(super) fn next(&mut self) -> Option<(TaskId, Ready, usize)> {
        let Reverse((ready, class)) = self.heads.pop()?;
        Some((ready.id, ready, class))
    }

    /// What the tasks of a class demand.
    pub(super) fn class(&self, class: usize) -> &Class {
        &self.classes[class]
    }

    /// There may be workers for what stands behind `ready` in its class.
    pub(super) fn go_on(&mut self, queue: &Queue, ready: Ready, class: usize) {
        let waiting = queue
            .waiting
            .get(&self.capability)
            .and_then(|classes| classes.get(&self.classes[class]));
        let behind = (Bound::Excluded(ready), Bound::Unbounded);
        if let Some(next) = waiting.and_then(|waiting| waiting.range(behind).next()) {
            self.heads.push(Reverse((*next, class)));
        }
    }
}
