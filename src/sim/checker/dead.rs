//! **T9** on the disks: what failed keeps its input and its attempts, and leaves only as it may.

use super::{Checked, Checker};
use crate::proto::Violation;
use crate::proto::node::TaskState;
use crate::proto::task::{AttemptRecord, TaskRecord};
use crate::types::TaskId;

impl Checker {
    /// Whether nodes keep so few that failed that the oldest go.
    pub(in crate::sim) fn keeps_few_dead(&mut self, few: bool) {
        self.few_dead = few;
    }

    /// A client may ask for the task's input to be dropped from now on.
    pub(in crate::sim) fn may_be_dropped(&mut self, task: TaskId) {
        self.droppable.insert(task);
    }

    /// A batch wrote the task's row: how it was before, and how it is.
    pub(super) fn check_dead(&self, host: usize, id: TaskId, was: Option<&TaskRecord>) -> Checked {
        let durable = &self.durable[host];
        let Some(record) = durable.tasks.get(&id) else {
            return Ok(());
        };
        if record.dead {
            let there = match record.input_file {
                None => durable.inputs.get(&id).copied(),
                Some(file) => durable.payloads.get(&file.root).map(|_| file.size),
            };
            return check_whole(record, there);
        }
        // The oldest may have gone for want of room.
        if self.few_dead {
            return Ok(());
        }
        let was_dead = was.is_some_and(|was| was.dead);
        let just_failed =
            record.state == TaskState::Failed && was.is_some_and(|was| !was.state.is_terminal());
        // Of work that several do the whole is kept.
        if !was_dead && (!just_failed || record.part.is_some()) {
            return Ok(());
        }
        let again = record.again.and_then(|again| durable.tasks.get(&again));
        let handed_over = again.is_some_and(|again| again.prior == Some(id));
        let may = was_dead && (handed_over || self.droppable.contains(&id));
        Violation::unless(may, "T9", || {
            format!("{id} failed and its input went from the disk of node {host}")
        })
    }
}

fn check_whole(record: &TaskRecord, input_bytes: Option<u64>) -> Checked {
    let failed = |of: &&AttemptRecord| of.outcome.starts_with("failed");
    let failed = record.attempts.iter().filter(failed).count();
    let whole = record.state == TaskState::Failed
        && input_bytes == Some(record.input_bytes)
        && record.attempts_cut == 0
        && failed == record.failures as usize;
    Violation::unless(whole, "T9", || {
        format!(
            "{} is {} with {input_bytes:?} of {} bytes of input and {failed} of {} failed attempts",
            record.id,
            record.state.as_str(),
            record.input_bytes,
            record.failures
        )
    })
}
