//! What the tasks we hold may hand on, and how much of it they have.
//!
//! It is counted for the task, not for the attempt: what was paid for in one attempt here is not
//! there for the next.

use super::{HeldKey, Phase, Worker};
use crate::proto::Step;
use crate::proto::task::budget::Allowance;
use crate::types::{Keyspace, Mono};
use crate::wire::Budget;

impl Worker {
    /// What a task that runs may still hand on; none if it does not run, or nothing was said of it.
    pub fn allowance(&self, key: HeldKey, now: Mono) -> Option<Allowance> {
        let held = self.held.get(&key)?;
        let runs = matches!(held.phase, Phase::Running { .. });
        let budget = held.record.budget.filter(|_| runs)?;
        Some(Allowance {
            left_ms: now.until(held.deadline),
            depth: budget.depth,
            reward: budget.reward.saturating_sub(held.record.spent),
        })
    }

    /// Whether it runs.
    pub fn runs(&self, key: HeldKey) -> bool {
        let held = self.held.get(&key);
        held.is_some_and(|held| matches!(held.phase, Phase::Running { .. }))
    }

    /// What a task that runs was given to hand on, and how much of it is taken.
    pub fn budget(&self, key: HeldKey) -> Option<(Budget, u64)> {
        let held = self.held.get(&key).filter(|_| self.runs(key))?;
        held.record.budget.map(|budget| (budget, held.record.spent))
    }

    /// A child of it was queued in this step.
    pub fn spend(&mut self, key: HeldKey, reward: u64, step: &mut Step<'_>) {
        if !self.forgets_spending() {
            self.count_reward(key, step, |spent| spent.saturating_add(reward));
        }
    }

    /// A child of it came to nothing.
    pub fn refund(&mut self, key: HeldKey, reward: u64, step: &mut Step<'_>) {
        self.count_reward(key, step, |spent| spent.saturating_sub(reward));
    }

    fn count_reward(&mut self, key: HeldKey, step: &mut Step<'_>, count: impl Fn(u64) -> u64) {
        let Some(held) = self.held.get_mut(&key) else {
            return;
        };
        let spent = count(held.record.spent);
        if spent == held.record.spent {
            return;
        }
        held.record.spent = spent;
        held.written = step.put(Keyspace::Held, key.to_bytes(), held.record.to_row());
    }

    #[cfg(test)]
    fn forgets_spending(&self) -> bool {
        self.planted == Some(crate::proto::task::Planted::ForgetSpending)
    }

    #[cfg(not(test))]
    fn forgets_spending(&self) -> bool {
        false
    }
}
