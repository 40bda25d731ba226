//! Failed tasks handed over again, as they were or changed, and the inputs that tasks of ours have.

use super::command::{Changed, CommandError, CommandErrorCode, CommandResult, Reply};
use super::tasks::{DEADLINE_MAX_MS, no_task};
use super::{Node, agree};
use crate::proto::Step;
use crate::proto::task::{Change, ResubmitOutcome};
use crate::types::{BatchId, TaskId};

impl Node {
    pub(super) fn resubmit(
        &mut self,
        id: TaskId,
        as_id: TaskId,
        changed: &Changed,
        step: &mut Step<'_>,
    ) -> (CommandResult, BatchId) {
        let conflict = |text: String| Err(CommandError::new(CommandErrorCode::Conflict, text));
        let change = match self.change(id, changed) {
            Ok(change) => change,
            Err(error) => return (Err(error), BatchId::NONE),
        };
        match self.requester.resubmit(id, as_id, change, step) {
            ResubmitOutcome::Again(again, after) => {
                self.seek_workers(step);
                // It may have ended and be forgotten.
                (self.task_reply(again), after)
            }
            ResubmitOutcome::Unknown => (Err(no_task(id)), BatchId::NONE),
            ResubmitOutcome::NotDead(after) => {
                let what = "only a failed task whose input is kept can be handed over again";
                (conflict(format!("task {id}: {what}")), after)
            }
            ResubmitOutcome::Conflict(other) => {
                let error = conflict(format!(
                    "there is a task {other} already: choose another id"
                ));
                self.rested(other, error)
            }
            ResubmitOutcome::Full(full) => (Err(self.full(full)), BatchId::NONE),
        }
    }

    fn change(&self, id: TaskId, changed: &Changed) -> Result<Change, CommandError> {
        let Changed {
            deadline_ms,
            to,
            priority,
        } = changed;
        if deadline_ms.is_some_and(|ms| !(1..=DEADLINE_MAX_MS).contains(&ms)) {
            return Err(CommandError::new(
                CommandErrorCode::Invalid,
                "the deadline must be between 1 ms and 7 days from the start",
            ));
        }
        let task = self.requester.task(id);
        let agreement = task.and_then(|(record, _)| record.agreement.as_deref());
        if let (Some(of), Some(_)) = (agreement, to) {
            agree::check(of.asked, true)?;
        }
        let to = to.as_ref().map(|peer| self.resolve(peer)).transpose()?;
        Ok(Change {
            deadline_ms: *deadline_ms,
            to: to.map(|(_, entity)| entity),
            priority: *priority,
        })
    }

    /// The input of a task of ours; that of a part is the one of its whole.
    pub(super) fn input_reply(&self, id: TaskId) -> CommandResult {
        let (record, _) = self.requester.task(id).ok_or_else(|| no_task(id))?;
        let whole = record.part.as_ref().map(|part| part.parent);
        let owner = whole.and_then(|whole| self.requester.task(whole));
        let owner = owner.map_or(record, |(whole, _)| whole);
        let gone = |why: &str| {
            let text = format!("the input of task {id} is gone: {why}");
            CommandError::new(CommandErrorCode::Conflict, text)
        };
        if owner.state.is_terminal() && !owner.dead {
            let why = "it is kept until a task has completed or was canceled, or it is dropped";
            return Err(gone(why));
        }
        if let Some(content) = owner.input_file {
            let file = self.payload_file(&content);
            return (file.map(Reply::TaskInputFile)).ok_or_else(|| gone("its file is lost"));
        }
        let input = self.requester.input(id).unwrap_or_default();
        Ok(Reply::TaskInput(input.to_vec()))
    }
}
