//! How long workers take for a task, by capability: what it costs to wait behind others there.
//!
//! In memory only, and of at most [`WORKERS_MAX`] workers.

use std::collections::BTreeMap;

use crate::types::{Capability, EntityId};

const WORKERS_MAX: usize = 4_096;
/// The weight of a new run against all before: one part in so many.
const SMOOTHING: u64 = 8;
/// A longer run counts as one of a day.
const RUN_MAX_MS: u64 = 24 * 3600 * 1000;

/// Mean run times.
#[derive(Debug, Default)]
pub(super) struct Pace {
    means: BTreeMap<EntityId, BTreeMap<Capability, u64>>,
}

impl Pace {
    /// A run of `capability` took `worker` so long, its way there and back included.
    pub(super) fn took(&mut self, worker: EntityId, capability: &Capability, ms: u64) {
        if self.means.len() >= WORKERS_MAX && !self.means.contains_key(&worker) {
            self.means.pop_first();
        }
        let of_worker = self.means.entry(worker).or_default();
        let ms = ms.min(RUN_MAX_MS);
        match of_worker.get_mut(capability) {
            Some(mean) => *mean = (*mean * (SMOOTHING - 1) + ms) / SMOOTHING,
            // As many as its entry has capabilities.
            None => {
                of_worker.insert(capability.clone(), ms);
            }
        }
    }

    /// The mean, 0 until one has ended.
    pub(super) fn of(&self, worker: &EntityId, capability: &Capability) -> u64 {
        let of_worker = self.means.get(worker);
        let mean = of_worker.and_then(|means| means.get(capability));
        mean.copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_follows_what_runs_take_and_is_bounded() {
        let (mut pace, wc) = (Pace::default(), "wc".parse().expect("a capability"));
        let worker = |n: u16| {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&n.to_be_bytes());
            EntityId(id)
        };
        assert_eq!(pace.of(&worker(1), &wc), 0);
        pace.took(worker(1), &wc, 800);
        assert_eq!(pace.of(&worker(1), &wc), 800);
        pace.took(worker(1), &wc, 1_600);
        assert_eq!(pace.of(&worker(1), &wc), 900);
        pace.took(worker(1), &wc, u64::MAX);
        assert!(pace.of(&worker(1), &wc) < RUN_MAX_MS);
        for n in 0..5_000 {
            pace.took(worker(n), &wc, 1);
        }
        assert_eq!(pace.means.len(), WORKERS_MAX);
    }
}
