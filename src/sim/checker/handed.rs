//! What workers handed over before it had begun.

use std::collections::BTreeSet;

use super::{Checked, Checker};
use crate::proto::Violation;
use crate::proto::node::RunSpec;
use crate::proto::task::{HeldKey, HeldRecord};
use crate::types::FencingToken;
use crate::wire::TaskOutcome;

/// The attempts that were handed over, by machine. What a crash forgot may begin after all.
#[derive(Default)]
pub(super) struct Handed {
    /// Those whose token has yet to be seen: it stands in the next row.
    ending: BTreeSet<(usize, HeldKey)>,
    attempts: BTreeSet<(usize, HeldKey, FencingToken)>,
    /// How many there were.
    count: u64,
}

impl Handed {
    pub(super) fn ended(&mut self, host: usize, key: HeldKey, outcome: &TaskOutcome) {
        if matches!(outcome, TaskOutcome::HandedOver { .. }) {
            self.ending.insert((host, key));
        }
    }

    pub(super) fn written(&mut self, host: usize, key: HeldKey, held: &HeldRecord) {
        if self.ending.remove(&(host, key)) {
            self.attempts.insert((host, key, held.token));
            self.count += 1;
        }
    }

    pub(super) fn crashed(&mut self, host: usize) {
        self.ending.retain(|(at, _)| *at != host);
        self.attempts.retain(|(at, ..)| *at != host);
    }
}

impl Checker {
    /// How often a task was handed over.
    pub(in crate::sim) fn handovers(&self) -> u64 {
        self.handed.count
    }

    /// A run begins.
    pub(in crate::sim) fn begins(&mut self, host: usize, spec: &RunSpec) -> Checked {
        self.starving.began(host);
        let key = HeldKey {
            requester: spec.requester,
            task: spec.task_id,
        };
        let attempt = (host, key, spec.token);
        Violation::unless(!self.handed.attempts.contains(&attempt), "B2", || {
            format!("node {host} begins {}, which it handed over", key.task)
        })
    }
}
