//! Tasks that take their node down with them.
//!
//! What was accepted runs again after a restart. An input that makes the machine run out of memory
//! would do so for ever: so each end of the node under a run is counted, on the disk before the
//! run begins anew, and after [`CRASHES_MAX`] of them the task has failed. A node that is stopped
//! says so before ([`Worker::stopping`]), and one whose disk refused a write goes on by itself: those
//! ends do not count.

use super::{HeldKey, Phase, Worker};
use crate::proto::Step;
use crate::types::{BatchId, Keyspace};
use crate::wire::TaskOutcome;

/// So often a task may take the node down.
const CRASHES_MAX: u8 = 3;

impl Worker {
    /// The node is stopping, and its runs are ended by that alone.
    pub fn stopping(&mut self, step: &mut Step<'_>) {
        let running: Vec<HeldKey> = self.runs.values().copied().collect();
        for key in running {
            let held = self.held.get_mut(&key).expect("a run is of a held task");
            held.record.stopped = true;
            held.written = step.put(Keyspace::Held, key.to_bytes(), held.record.to_row());
        }
    }

    /// The node began anew while `key` was to run: it runs again, or has done enough harm.
    pub(super) fn run_again(&mut self, key: HeldKey, step: &mut Step<'_>) {
        let held = self.held.get_mut(&key).expect("the caller holds it");
        if held.record.stopped && held.record.input_file.is_some() {
            // It is begun when its input is here.
        } else if self.config.goes_on {
            // It was ended with the core, which its disk had refused a write.
        } else if std::mem::take(&mut held.record.stopped) {
            held.written = step.put(Keyspace::Held, key.to_bytes(), held.record.to_row());
        } else {
            held.record.crashes = held.record.crashes.saturating_add(1);
            if held.record.crashes >= CRASHES_MAX {
                let reason = format!("the worker's node went down {CRASHES_MAX} times under it");
                let poison = true;
                self.end(key, TaskOutcome::Failed { reason, poison }, step);
                return;
            }
            held.written = step.put(Keyspace::Held, key.to_bytes(), held.record.to_row());
        }
        self.resumed = self.resumed.max(held.written);
        debug_assert_eq!(held.phase, Phase::Tombstone, "it does not run yet");
        self.run(key, step.now.mono);
    }

    /// No run begins, and none is ended, before this is durable: what a start counts must not be
    /// lost with the node that it takes down.
    pub fn resumed_in(&self) -> BatchId {
        self.resumed
    }
}
