//! Runs that are not to go on without their lease (`orphan = stop`).
//!
//! The worker counts nine tenths of a lease from when it surely ran, so such a run is over before
//! the requester gives its task to anybody else, unless this machine stood still meanwhile.

use super::{HeldKey, Worker};
use crate::proto::Step;
use crate::types::Mono;
use crate::wire::TaskOutcome;

/// What of a lease surely is ours.
pub(super) fn sure(lease_ms: u64) -> u64 {
    lease_ms / 10 * 9
}

impl Worker {
    /// The lease of `key` ran from `from` on: it stops when that is over, if it is one that does.
    pub(super) fn watch_lease(&mut self, key: HeldKey, from: Mono) {
        let held = self.held.get_mut(&key).expect("the caller holds it");
        let Some(lease_ms) = held.record.stops_after_ms else {
            return;
        };
        let until = from + sure(lease_ms);
        if let Some(old) = held.stops_at.replace(until) {
            self.orphans.remove(&(old, key));
        }
        self.orphans.insert((until, key));
    }

    /// It does not run any more.
    pub(super) fn unwatch_lease(&mut self, key: HeldKey) {
        let held = self.held.get_mut(&key).expect("the caller holds it");
        if let Some(at) = held.stops_at.take() {
            self.orphans.remove(&(at, key));
        }
    }

    /// Ends the runs whose lease is over, and gives their tasks back.
    pub(super) fn stop_orphans(&mut self, step: &mut Step<'_>) {
        while let Some((at, key)) = self.orphans.first().copied() {
            if at > step.now.mono {
                break;
            }
            self.halt(key);
            self.end(key, TaskOutcome::Released, step);
        }
    }

    pub(super) fn stop_orphans_at(&self) -> Option<Mono> {
        self.orphans.first().map(|(at, _)| *at)
    }
}
