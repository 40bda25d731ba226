//! What the parts of a task cost, over all its attempts.

use serde::{Deserialize, Serialize};

use super::TaskRecord;
use crate::types::EntityId;

/// What one worker has handed on of a task, in all its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpentRecord {
    pub worker: EntityId,
    /// Never 0.
    pub reward: u64,
}

impl TaskRecord {
    /// What parts cost that were handed on by this worker.
    pub fn spent_by(&self, worker: &EntityId) -> u64 {
        let mut all = self.spent.iter();
        let its = all.find(|of| of.worker == *worker);
        its.map_or(0, |of| of.reward)
    }

    /// What all parts cost.
    pub fn spent(&self) -> u64 {
        let all = self.spent.iter();
        all.fold(0, |sum, of| sum.saturating_add(of.reward))
    }

    /// What is there for this worker, what it had of it before included.
    pub fn reward_for(&self, worker: &EntityId) -> u64 {
        let reward = self.budget.map_or(0, |budget| budget.reward);
        let others = self.spent().saturating_sub(self.spent_by(worker));
        reward.saturating_sub(others)
    }

    /// Notes what this worker's parts cost: no more than was there for it.
    pub(in crate::proto::task) fn set_spent(&mut self, worker: EntityId, reward: u64) {
        let reward = reward.min(self.reward_for(&worker));
        self.spent.retain(|of| of.worker != worker);
        if reward > 0 {
            self.spent.push(SpentRecord { worker, reward });
        }
    }
}
