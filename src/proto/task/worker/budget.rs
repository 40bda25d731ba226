//! What the tasks we hold may hand on, and how much of it they have.
//!
//! It is counted for the task, not for the attempt: what was paid for in one attempt here is not
//! there for the next. Nor is it there for the next worker: what a part costs is told to the
//! task's requester in a renewal, and the part begins once that is answered.

use super::{Held, HeldKey, Phase, Worker};
use crate::proto::Step;
use crate::proto::task::budget::Allowance;
use crate::types::{Keyspace, Mono};
use crate::wire::Budget;

/// What the requester of a task was told of what its parts cost, under the token of now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Word {
    /// What it is to know.
    asked: u64,
    /// What it answered, and so has on its disk.
    heard: u64,
}

impl Word {
    pub(super) fn heard(&mut self, spent: u64) {
        self.heard = self.heard.max(spent);
    }
}

impl Held {
    /// What a renewal says that its parts cost.
    pub(super) fn spent_or_asked(&self) -> u64 {
        let runs = matches!(self.phase, Phase::Running { .. });
        let asked = if runs { self.word.asked } else { 0 };
        self.record.spent.max(asked)
    }
}

impl Worker {
    /// Whether parts of a task that cost `more` must wait until its requester knows of them. Those
    /// that may not begin at all need not.
    pub fn is_unheard(&self, key: HeldKey, more: u64) -> bool {
        let Some((budget, spent)) = self.budget(key) else {
            return false;
        };
        let fits = budget.depth > 0 && more <= budget.reward.saturating_sub(spent);
        let heard = self.held[&key].word.heard;
        more > 0 && fits && spent.saturating_add(more) > heard && !self.tells_nobody()
    }

    /// Parts that cost `more` wait for that.
    pub fn tell_of(&mut self, key: HeldKey, more: u64, now: Mono) {
        let Some((budget, spent)) = self.budget(key) else {
            return;
        };
        let wanted = spent.saturating_add(more).min(budget.reward);
        let held = self.held.get_mut(&key).expect("it has a budget");
        if wanted > held.word.asked {
            held.word.asked = wanted;
            self.renew_at.insert(key.requester, now);
        }
    }

    /// What the parts of a held task cost.
    pub fn spent(&self, key: HeldKey) -> u64 {
        self.held.get(&key).map_or(0, |held| held.record.spent)
    }

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
    fn tells_nobody(&self) -> bool {
        self.planted == Some(crate::proto::task::Planted::TellNobody)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "a planted defect of the tests")]
    fn tells_nobody(&self) -> bool {
        false
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
