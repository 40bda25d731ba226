//! How many tasks are in each state, kept rather than counted each time somebody asks.

use super::Requester;
use crate::proto::Violation;
use crate::types::{TaskId, TaskState};

/// Tasks by their state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([usize; 5]);

impl Counts {
    /// How many are in this one.
    pub fn of(&self, state: TaskState) -> usize {
        self.0[place(state)]
    }

    fn add(&mut self, state: TaskState) {
        self.0[place(state)] += 1;
    }

    fn take(&mut self, state: TaskState) {
        self.0[place(state)] -= 1;
    }
}

fn place(state: TaskState) -> usize {
    match state {
        TaskState::Submitted => 0,
        TaskState::Working => 1,
        TaskState::Completed => 2,
        TaskState::Failed => 3,
        TaskState::Canceled => 4,
    }
}

impl Requester {
    /// How many tasks are in each state.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A task is there, or its state may be another than before.
    pub(super) fn count(&mut self, id: TaskId) {
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        if task.record.part.is_some() {
            // One of several runs of a task that is counted.
            return;
        }
        let state = task.record.state;
        let before = task.counted.replace(state);
        if before == Some(state) {
            return;
        }
        if let Some(before) = before {
            self.counts.take(before);
        }
        self.counts.add(state);
    }

    /// It is not there any more.
    pub(super) fn uncount(&mut self, counted: Option<TaskState>) {
        if let Some(state) = counted {
            self.counts.take(state);
        }
    }

    pub(super) fn check_counts(&self) -> Result<(), Violation> {
        let mut counts = Counts::default();
        let whole = self
            .tasks
            .values()
            .filter(|task| task.record.part.is_none());
        whole.for_each(|task| counts.add(task.record.state));
        Violation::unless(counts == self.counts, "T7", || {
            format!(
                "the tasks are {counts:?} by their states, counted as {:?}",
                self.counts
            )
        })
    }
}
