//! What workers hand on of our tasks, over all attempts (G1).
//!
//! A worker says what its parts cost before they begin, in a renewal, and begins them once it was
//! answered: so what the next attempt is offered does not count on anything that an earlier one has
//! promised to others, however it ended. What an attempt came to says what its parts have really
//! cost; of a worker that was lost what it told last counts.

use super::{Phase, Requester};
use crate::proto::Step;
use crate::proto::task::record::TaskRecord;
use crate::types::{EntityId, FencingToken, TaskId};
use crate::wire::Budget;

impl Requester {
    /// What an offer of it to `worker` says of its budget: what is there for that worker, and what
    /// it had of it in earlier attempts.
    pub fn budget_for(&self, id: TaskId, worker: EntityId) -> Option<(Budget, u64)> {
        let record = &self.tasks.get(&id)?.record;
        let budget = record.budget?;
        if self.forgets_attempts() {
            return Some((budget, 0));
        }
        let reward = record.reward_for(&worker);
        Some((Budget { reward, ..budget }, record.spent_by(&worker)))
    }

    /// Parts of it are about to begin at `worker`: on our disk before that is answered.
    pub(super) fn note_spending(
        &mut self,
        id: TaskId,
        worker: EntityId,
        spent: u64,
        step: &mut Step<'_>,
    ) {
        let record = &self.tasks[&id].record;
        if record.budget.is_some() && spent > record.spent_by(&worker) {
            self.change_spending(id, step, |record| record.set_spent(worker, spent));
            self.store(id, step);
        }
    }

    /// An attempt is over: this is what its parts have cost. The caller stores it.
    pub(super) fn settle_spending(
        &mut self,
        id: TaskId,
        worker: EntityId,
        spent: u64,
        step: &Step<'_>,
    ) {
        let record = &self.tasks[&id].record;
        if record.budget.is_some() && spent != record.spent_by(&worker) {
            self.change_spending(id, step, |record| record.set_spent(worker, spent));
        }
    }

    /// The same of an attempt that was given up before: if it was the last of its worker, no more
    /// parts of it can follow.
    pub(super) fn settle_late(
        &mut self,
        id: TaskId,
        token: FencingToken,
        worker: EntityId,
        spent: u64,
        step: &mut Step<'_>,
    ) {
        let record = &self.tasks[&id].record;
        let its = record.attempts.iter().filter(|of| of.worker == worker);
        let last = its.map(|of| of.token).max() == Some(token);
        if !record.state.is_terminal() && last && spent < record.spent_by(&worker) {
            self.settle_spending(id, worker, spent, step);
            self.store(id, step);
        }
    }

    fn change_spending(
        &mut self,
        id: TaskId,
        step: &Step<'_>,
        change: impl FnOnce(&mut TaskRecord),
    ) {
        // Who may have it depends on what is left: it stands elsewhere in the queue then.
        let waits = self.tasks[&id].phase == Phase::Waiting;
        if waits {
            let until = step.now.mono;
            self.enter(id, Phase::Resting { until });
        }
        change(&mut self.tasks.get_mut(&id).expect("the caller found it").record);
        if waits {
            self.enter(id, Phase::Waiting);
        }
    }

    #[cfg(test)]
    fn forgets_attempts(&self) -> bool {
        self.planted == Some(crate::proto::task::Planted::ForgetAttempts)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "a planted defect of the tests")]
    fn forgets_attempts(&self) -> bool {
        false
    }
}
