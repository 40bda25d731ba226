//! T10: who may have a task.

use std::collections::BTreeSet;

use super::{Checked, Checker};
use crate::proto::Violation;
use crate::proto::node::{PeerRef, Submission};
use crate::proto::task::TaskRecord;
use crate::sim::host::Host;
use crate::types::{EntityId, TaskId};

impl Checker {
    /// Notes who fits what the submitter demands.
    pub(in crate::sim) fn bind(&mut self, task: &Submission, hosts: &[Host]) {
        let fits = |host: &&Host| {
            let named = match &task.to {
                Some(PeerRef::Entity(to)) => *to == host.identity.entity_id,
                Some(_) => unreachable!("clients name entities"),
                None => true,
            };
            named && task.marks.needs.is_subset(&host.config.labels)
        };
        let fit = hosts.iter().filter(fits);
        let fit: BTreeSet<EntityId> = fit.map(|host| host.identity.entity_id).collect();
        self.fit.insert(task.id, fit);
    }

    /// A task that repeats another demands the same.
    pub(in crate::sim) fn bind_like(&mut self, task: TaskId, other: TaskId) {
        if let Some(fit) = self.fit.get(&other).cloned() {
            self.fit.insert(task, fit);
        }
    }

    pub(super) fn check_demands(&self, record: &TaskRecord) -> Checked {
        let Some(fit) = self.fit.get(&record.id) else {
            return Ok(());
        };
        let wrong = record.attempts.iter().find(|of| !fit.contains(&of.worker));
        Violation::unless(wrong.is_none(), "T10", || {
            format!(
                "{} went to a worker that does not fit: {wrong:?}",
                record.id
            )
        })
    }
}
