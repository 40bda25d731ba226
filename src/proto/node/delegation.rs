//! A task that we hold hands parts of itself on: within what it was given (G1).

use std::collections::BTreeMap;

use super::Node;
use super::command::{CommandError, CommandErrorCode};
use crate::proto::task::{
    Agreement, Allowance, Beyond, CHILDREN_MAX, Delegation, HeldKey, NewTask, Wish,
};
use crate::proto::{Step, Violation};
use crate::types::{Mono, TaskState};
use crate::wire::Budget;

/// What tasks that are submitted together take of their parents' budgets.
#[derive(Default)]
pub(super) struct Spending(BTreeMap<HeldKey, (Allowance, u64)>);

/// Whether several workers can do it: each is paid an equal share, and hands nothing on.
fn several(agreement: Agreement, of: &Delegation) -> Result<(), CommandError> {
    let invalid = |why: String| Err(CommandError::new(CommandErrorCode::Invalid, why));
    if of.parent.is_some() {
        return invalid("a task that several workers do is no part of another".into());
    }
    if of.wish.depth.is_some_and(|depth| depth > 0) {
        return invalid(
            "a task that several workers do is not handed on: leave depth out, or let one do it"
                .into(),
        );
    }
    let (reward, replicas) = (of.wish.reward, u64::from(agreement.replicas));
    if reward > 0 && reward < replicas {
        return invalid(format!(
            "a reward of {reward} leaves nothing for some of {replicas} workers: each has an \
             equal share"
        ));
    }
    Ok(())
}

impl Node {
    /// Narrows a task to what its parent leaves, if it has one, and notes what it takes.
    pub(super) fn narrow(
        &self,
        new: &mut NewTask,
        wait_ms: u64,
        spending: &mut Spending,
        now: Mono,
    ) -> Result<(), CommandError> {
        let wish = new.delegation.wish;
        if let Some(agreement) = new.agreement {
            several(agreement, &new.delegation)?;
        }
        let Some(parent) = new.delegation.parent else {
            // Nothing is said of it unless something was asked for.
            let asked = wish != Wish::default();
            new.delegation.granted = asked.then_some(Budget {
                depth: wish.depth.unwrap_or(0),
                reward: wish.reward,
            });
            return Ok(());
        };
        let refused = |why: String| Err(CommandError::new(CommandErrorCode::NotAllowed, why));
        let Some(left) = self.worker.allowance(parent, now) else {
            let beyond = match self.worker.runs(parent) {
                true => Beyond::Leaf,
                false => Beyond::Over,
            };
            return refused(beyond.to_string());
        };
        let budget = left.child(wish);
        new.delegation.granted = Some(budget);
        new.delegation.within_ms = Some(left.left_ms);
        if self.requester.is_known(new) {
            return Ok(());
        }
        if self.requester.children(parent).count() >= CHILDREN_MAX {
            let text = format!("the task has {CHILDREN_MAX} parts already: wait for some of them");
            return Err(CommandError::new(CommandErrorCode::QueueFull, text));
        }
        let (allowance, spent) = spending.0.entry(parent).or_insert((left, 0));
        if let Err(beyond) = allowance.take(budget, wait_ms) {
            return refused(beyond.to_string());
        }
        *spent += budget.reward;
        Ok(())
    }

    /// The tasks were queued in this step: what they take is written with them.
    pub(super) fn spend(&mut self, spending: Spending, step: &mut Step<'_>) {
        for (parent, (_, spent)) in spending.0 {
            self.worker.spend(parent, spent, step);
        }
    }

    /// Checks G1 for what runs here.
    pub(super) fn check_budgets(&self) -> Result<(), Violation> {
        let mut costs: BTreeMap<HeldKey, u64> = BTreeMap::new();
        for (child, _) in self.requester.tasks() {
            let Some(parent) = child.parent else {
                continue;
            };
            let open = !child.state.is_terminal();
            let Some((held, _)) = self.worker.budget(parent) else {
                Violation::unless(!open, "G1", || {
                    format!("{} goes on without {}", child.id, parent.task)
                })?;
                continue;
            };
            let budget = child.budget.unwrap_or_default();
            Violation::unless(budget.depth < held.depth, "G1", || {
                format!("{} reaches as deep as {}", child.id, parent.task)
            })?;
            if open || child.state == TaskState::Completed {
                *costs.entry(parent).or_default() += budget.reward;
            }
        }
        for (parent, cost) in costs {
            let held = self.worker.budget(parent);
            let within = held.is_some_and(|(held, spent)| cost <= spent && spent <= held.reward);
            Violation::unless(within, "G1", || {
                format!("the parts of {} cost {cost}, of {held:?}", parent.task)
            })?;
        }
        Ok(())
    }
}
