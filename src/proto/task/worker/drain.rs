//! Draining: before its node is stopped, a worker takes nothing more, and gives back in the end
//! what it does not finish in time.
//!
//! What was given back is an outcome like any other: stored, handed over until it is
//! acknowledged, and so never lost and never run by two. A restart ends the draining.

use super::{HeldKey, Worker};
use crate::proto::Step;
use crate::types::{Mono, RunId};
use crate::wire::TaskOutcome;

/// How a worker empties itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drain {
    /// What still runs then is given back.
    until: Mono,
}

impl Worker {
    /// Takes nothing more from now on, and gives back at `until` what still runs then.
    pub fn drain(&mut self, until: Mono) {
        self.draining = Some(Drain { until });
    }

    /// Takes tasks again.
    pub fn undrain(&mut self) {
        self.draining = None;
    }

    /// Whether it takes nothing more.
    pub fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// The tasks that run.
    pub fn running(&self) -> usize {
        self.runs.len()
    }

    /// The outcomes that no requester has acknowledged yet.
    pub fn undelivered(&self) -> usize {
        self.resend.len()
    }

    /// When what still runs is to be given back, if anything does.
    pub(super) fn give_back_at(&self) -> Option<Mono> {
        let drain = self.draining.filter(|_| !self.runs.is_empty())?;
        Some(drain.until)
    }

    pub(super) fn give_back(&mut self, step: &mut Step<'_>) {
        if self.give_back_at().is_none_or(|at| at > step.now.mono) {
            return;
        }
        let running: Vec<(RunId, HeldKey)> =
            self.runs.iter().map(|(run, key)| (*run, *key)).collect();
        for (run, key) in running {
            debug_assert_eq!(self.runs.get(&run), Some(&key), "just looked");
            self.halt(key);
            self.end(key, TaskOutcome::Released, step);
        }
    }
}
