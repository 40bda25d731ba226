//! What tasks hand on, over all their attempts.
//!
//! - **G1** What a worker's parts of a task cost is on the disk of the task's requester first, and
//!   what the parts of all its workers cost together is no more than the task's reward.

use super::{Checked, Checker};
use crate::proto::Violation;
use crate::proto::task::{HeldKey, HeldRecord, TaskRecord};

impl Checker {
    /// The worker at `host` is about to write its row of a task.
    pub(super) fn check_spending(
        &self,
        host: usize,
        key: HeldKey,
        held: &HeldRecord,
        record: &TaskRecord,
    ) -> Checked {
        let known = record.spent_by(&self.entities[host]);
        Violation::unless(held.spent <= known, "G1", || {
            format!(
                "the parts of {} at node {host} cost {}, its requester's disk has {known}",
                key.task, held.spent
            )
        })?;
        let others = self
            .durable
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != host);
        let others = others.filter_map(|(_, durable)| durable.held.get(&key));
        let cost = others.fold(held.spent, |sum, of| sum.saturating_add(of.spent));
        let reward = record.budget.map_or(0, |budget| budget.reward);
        Violation::unless(cost <= reward, "G1", || {
            format!(
                "the parts of {} cost {cost} at all its workers, its reward is {reward}",
                key.task
            )
        })
    }
}
