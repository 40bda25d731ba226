//! Tasks that are parts of one that we hold for another: they end with it.

use super::{Requester, RequesterEffect};
use crate::proto::Step;
use crate::proto::task::record::HeldKey;
use crate::types::{TaskId, TaskState};

impl Requester {
    /// Whether it is there already, under its id or key.
    pub fn is_known(&self, new: &super::NewTask) -> bool {
        self.repeated(new, new.spec()).is_some()
    }

    /// The parts of a held task that have not ended.
    pub fn children(&self, parent: HeldKey) -> impl Iterator<Item = TaskId> {
        self.children.get(&parent).into_iter().flatten().copied()
    }

    /// The held task does not run any more: nobody waits for its parts.
    pub fn parent_ended(&mut self, parent: HeldKey, step: &mut Step<'_>) {
        let open: Vec<TaskId> = self.children(parent).collect();
        for id in open {
            self.set_outcome(id, "canceled", true, step);
            let why = "the task that it is a part of has ended";
            self.finish(id, TaskState::Canceled, Some(why.into()), step);
        }
    }

    /// An open task is there, new or read back.
    pub(super) fn note_child(&mut self, id: TaskId) {
        if let Some(parent) = self.tasks[&id].record.parent {
            self.children.entry(parent).or_default().insert(id);
        }
    }

    /// It has ended: what was not earned goes back to where it came from.
    pub(super) fn child_ended(&mut self, id: TaskId) {
        let record = &self.tasks[&id].record;
        let Some(parent) = record.parent else {
            return;
        };
        let reward = record.budget.map_or(0, |budget| budget.reward);
        let paid = record.state == TaskState::Completed;
        if let Some(children) = self.children.get_mut(&parent) {
            children.remove(&id);
            if children.is_empty() {
                self.children.remove(&parent);
            }
        }
        if !paid && reward > 0 {
            self.effects
                .push(RequesterEffect::Refund { parent, reward });
        }
    }
}
