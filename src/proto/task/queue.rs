//! The tasks that wait for a worker, in the order in which they are to be given out.
//!
//! A task's rank is when it was queued, later by what its priority has less of a head start than
//! the highest. So nothing is ever sorted anew, and a task of low priority is passed by later ones
//! for half an hour at most (T8).
//!
//! What waits for one capability is parted by what it demands of its worker: a thousand tasks that
//! nobody here can take cost one look and not a thousand, and hold up nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::requester::Apart;
use crate::types::{Capability, EntityId, Label, Priority, TaskId, Tier, Wall};

/// How long before it was queued a task counts as queued.
const HEAD_START_MAX_MS: u64 = 30 * 60 * 1000;

/// The later it was queued that a task of the lowest priority would have the same rank.
pub(super) fn head_start_ms(priority: Priority) -> u64 {
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

/// What waits for one capability. The first of each class is in `heads`, so that a look begins with
/// what is to be given out first, and ends when there is no room any more, however many classes
/// there are.
#[derive(Default)]
struct Waiting {
    classes: BTreeMap<Arc<Class>, BTreeSet<Ready>>,
    heads: BTreeMap<Ready, Arc<Class>>,
}

impl Waiting {
    fn insert(&mut self, class: Class, ready: Ready) -> bool {
        let class = match self.classes.get_key_value(&class) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(class),
        };
        let tasks = self.classes.entry(Arc::clone(&class)).or_default();
        let first = tasks.first().copied();
        if !tasks.insert(ready) {
            return false;
        }
        if first.is_none_or(|first| ready < first) {
            if let Some(first) = first {
                self.heads.remove(&first);
            }
            self.heads.insert(ready, class);
        }
        true
    }

    fn remove(&mut self, class: &Class, ready: Ready) -> bool {
        let Some(tasks) = self.classes.get_mut(class) else {
            return false;
        };
        if !tasks.remove(&ready) {
            return false;
        }
        let first = tasks.first().copied();
        if let Some(class) = self.heads.remove(&ready)
            && let Some(first) = first
        {
            self.heads.insert(first, class);
        }
        if first.is_none() {
            self.classes.remove(class);
        }
        true
    }
}

/// The waiting tasks.
#[derive(Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Capability, Waiting>,
    len: usize,
    /// How many tasks were ever looked at.
    #[cfg(test)]
    pub(super) looks: std::cell::Cell<usize>,
}

impl Queue {
    pub(super) fn insert(&mut self, capability: Capability, class: Class, ready: Ready) {
        let waiting = self.waiting.entry(capability).or_default();
        self.len += usize::from(waiting.insert(class, ready));
    }

    pub(super) fn remove(&mut self, capability: &Capability, class: &Class, ready: Ready) {
        let Some(waiting) = self.waiting.get_mut(capability) else {
            return;
        };
        self.len -= usize::from(waiting.remove(class, ready));
        if waiting.classes.is_empty() {
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
}

/// A task that is looked at.
pub(super) struct Look {
    pub(super) id: TaskId,
    pub(super) class: Arc<Class>,
    ready: Ready,
    /// It stands behind one of its class that was passed over.
    behind: bool,
}

/// A walk over what waits for a capability, in the order in which it is to be given out. It stays
/// valid while tasks leave the queue.
pub(super) struct Pass {
    capability: Capability,
    /// The last head that was looked at.
    seen: Option<Ready>,
    /// The next task of each class that is walked beyond its head.
    behind: BTreeMap<Ready, Arc<Class>>,
}

impl Pass {
    pub(super) fn new(capability: &Capability) -> Pass {
        Pass {
            capability: capability.clone(),
            seen: None,
            behind: BTreeMap::new(),
        }
    }

    /// The next task. What stands behind it in its class is looked at if it leaves the queue, or
    /// if [`Pass::go_on`] says so.
    pub(super) fn next(&mut self, queue: &Queue) -> Option<Look> {
        #[cfg(test)]
        queue.looks.update(|looks| looks + 1);
        let waiting = queue.waiting.get(&self.capability)?;
        let from = self.seen.map_or(Bound::Unbounded, Bound::Excluded);
        let head = waiting.heads.range((from, Bound::Unbounded)).next();
        let behind = self.behind.first_key_value();
        let is_behind = match (head, behind) {
            (Some((head, _)), Some((behind, _))) => behind < head,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let (ready, class) = match is_behind {
            true => self.behind.pop_first()?,
            false => head.map(|(ready, class)| (*ready, Arc::clone(class)))?,
        };
        if !is_behind {
            self.seen = Some(ready);
        }
        Some(Look {
            id: ready.id,
            class,
            ready,
            behind: is_behind,
        })
    }

    /// It was given out: the next of its class follows.
    pub(super) fn given(&mut self, queue: &Queue, look: &Look) {
        // Behind a head that left is the next head.
        if look.behind {
            self.go_on(queue, look);
        }
    }

    /// It stays, and there may be workers for what stands behind it in its class.
    pub(super) fn go_on(&mut self, queue: &Queue, look: &Look) {
        let waiting = queue.waiting.get(&self.capability);
        let tasks = waiting.and_then(|waiting| waiting.classes.get(&look.class));
        let beyond = (Bound::Excluded(look.ready), Bound::Unbounded);
        if let Some(next) = tasks.and_then(|tasks| tasks.range(beyond).next()) {
            self.behind.insert(*next, Arc::clone(&look.class));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class(n: u8) -> Class {
        Class {
            reward: Some(u64::from(n)),
            ..Class::default()
        }
    }

    fn task(rank: u8, n: usize) -> Ready {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        Ready {
            rank: Wall(u64::from(rank)),
            id: TaskId(uuid::Uuid::from_bytes(id)),
        }
    }

    proptest! {
        /// Whoever takes all classes but some gets everything of the others in order; of a class
        /// that is passed over the rest is seen only if the walk goes on.
        #[test]
        fn a_walk_gives_what_fits_in_the_order_of_ranks(
            tasks in proptest::collection::vec((0..6_u8, 0..40_u8), 0..60),
            gone in proptest::collection::vec(0..60_usize, 0..20),
            refused in 0..6_u8,
            goes_on in any::<bool>(),
        ) {
            let capability: Capability = "wc".parse().expect("a capability");
            let mut queue = Queue::default();
            let mut all = BTreeMap::new();
            for (n, (of, rank)) in tasks.iter().enumerate() {
                queue.insert(capability.clone(), class(*of), task(*rank, n));
                all.insert(task(*rank, n), *of);
            }
            for n in gone {
                if let Some((of, rank)) = tasks.get(n) {
                    queue.remove(&capability, &class(*of), task(*rank, n));
                    all.remove(&task(*rank, n));
                }
            }
            prop_assert_eq!(queue.len(), all.len());
            let mut pass = Pass::new(&capability);
            let (mut given, mut passed) = (Vec::new(), Vec::new());
            while let Some(look) = pass.next(&queue) {
                if *look.class == class(refused) {
                    passed.push(look.ready);
                    if goes_on {
                        pass.go_on(&queue, &look);
                    }
                    continue;
                }
                given.push(look.ready);
                queue.remove(&capability, &look.class, look.ready);
                pass.given(&queue, &look);
            }
            let of = |wanted: bool| {
                let chosen = all.iter().filter(move |(_, of)| (**of == refused) == wanted);
                chosen.map(|(ready, _)| *ready).collect::<Vec<_>>()
            };
            prop_assert_eq!(given, of(false));
            let mut stayed = of(true);
            stayed.truncate(if goes_on { usize::MAX } else { 1 });
            prop_assert_eq!(passed, stayed);
        }
    }
}
