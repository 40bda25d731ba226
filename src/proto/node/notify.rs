//! Webhooks: taken, called once a task's end is durable, tried again.

use super::Node;
use super::command::{CommandError, CommandErrorCode, CommandResult, Reply, Submission};
use super::io::{Note, Output, WebhookCall};
use super::tasks::{no_task, task_view};
use super::views::WebhookView;
use crate::proto::Step;
use crate::proto::webhook::{Added, Called, Stage, Target};
use crate::types::{BatchId, TaskId, Wall};

/// Why a call is not made.
const ELSEWHERE: &str =
    "the address is on another machine: allow that with remote_webhooks in [task]";
const FULL: &str = "too many webhooks wait: wait until some tasks have ended";

impl Node {
    /// Whether what a submission says of a webhook is allowed.
    ///
    /// # Errors
    /// What the caller is told.
    pub(super) fn check_webhook(&self, submission: &Submission) -> Result<(), CommandError> {
        let Some(target) = &submission.webhook else {
            return Ok(());
        };
        if submission.parent.is_some() {
            // Whatever runs here for others is not to have this node call anybody.
            let text = "a part of a task has no webhook: the run that hands it on waits for it";
            return Err(CommandError::new(CommandErrorCode::NotAllowed, text));
        }
        self.check_target(target)
    }

    fn check_target(&self, target: &Target) -> Result<(), CommandError> {
        match target.is_here() || self.config.task.remote_webhooks {
            true => Ok(()),
            false => Err(CommandError::new(CommandErrorCode::Invalid, ELSEWHERE)),
        }
    }

    /// The webhooks of those of these submissions that are no repetitions by their id, with the
    /// tasks that they are of.
    ///
    /// # Errors
    /// There is no room for all.
    pub(super) fn new_webhooks(
        &self,
        all: &[Submission],
    ) -> Result<Vec<(TaskId, Target)>, CommandError> {
        let is_new = |one: &&Submission| self.requester.task(one.id).is_none();
        let new = all.iter().filter(is_new);
        let new = new.filter_map(|one| Some((one.id, Target::clone(one.webhook.as_deref()?))));
        let new: Vec<_> = new.collect();
        match new.len() > self.webhooks.room() {
            true => Err(CommandError::new(CommandErrorCode::QueueFull, FULL)),
            false => Ok(new),
        }
    }

    /// Keeps the webhooks of tasks that were queued in this step, so that both are on disk or
    /// neither is. What was known under its key is queued under no id of these.
    pub(super) fn keep_webhooks(&mut self, new: Vec<(TaskId, Target)>, step: &mut Step<'_>) {
        for (id, target) in new {
            if self.requester.task(id).is_some() {
                self.webhooks.begin(id, target, step);
            }
        }
    }

    /// How far a task's webhook is.
    pub(super) fn webhook_view(&self, id: TaskId) -> Option<WebhookView> {
        let (standing, _) = self.webhooks.standing(id)?;
        let (state, at) = match standing.stage {
            Stage::Waiting => ("waiting", None),
            Stage::Calling => ("calling", None),
            Stage::Heard(at) => ("heard", Some(at)),
            Stage::GivenUp(at) => ("given_up", Some(at)),
        };
        Some(WebhookView {
            state: state.into(),
            tries: standing.tries,
            at: at.map(Wall::to_rfc3339),
            answer: standing.answer.map(Into::into),
        })
    }

    /// What that rests on.
    pub(super) fn webhook_written(&self, id: TaskId) -> BatchId {
        let standing = self.webhooks.standing(id);
        standing.map_or(BatchId::NONE, |(_, written)| written)
    }

    pub(super) fn notify(
        &mut self,
        id: TaskId,
        target: Target,
        step: &mut Step<'_>,
    ) -> (CommandResult, BatchId) {
        let Some((over, written)) = self
            .requester
            .task(id)
            .map(|(record, written)| (record.state.is_terminal(), written))
        else {
            return (Err(no_task(id)), BatchId::NONE);
        };
        if let Err(error) = self.check_target(&target) {
            return (Err(error), BatchId::NONE);
        }
        let refused = |code, text: &str| (Err(CommandError::new(code, text)), BatchId::NONE);
        match self.webhooks.add(id, target, step) {
            Added::Kept(after) => {
                if over {
                    self.webhooks.ended(id, step.now.mono);
                }
                (Ok(Reply::Done), after.max(written))
            }
            Added::Other => {
                let text = "the task has another webhook already";
                refused(CommandErrorCode::Conflict, text)
            }
            Added::Full => refused(CommandErrorCode::QueueFull, FULL),
        }
    }

    /// Calls whoever is due, each once what it is told of is durable.
    pub(super) fn call_webhooks(&mut self, step: &mut Step<'_>) {
        for call in self.webhooks.tick(step.now.mono) {
            let Some((record, written)) = self.requester.task(call.task) else {
                // The task is forgotten: there is nothing left to tell of.
                self.webhooks.forget(call.task, step);
                continue;
            };
            // Allowed when it was asked for, and not any more.
            if self.check_target(&call.target).is_err() {
                self.webhooks.given_up(&call, ELSEWHERE, step);
                self.note(Note::WebhookGivenUp { task: call.task });
                continue;
            }
            let call = WebhookCall {
                number: call.number,
                task: task_view(record, None),
                target: call.target,
            };
            let output = Output::Webhook(Box::new(call));
            self.gate.pass(written, output, &mut self.out);
        }
    }

    pub(super) fn webhook_called(
        &mut self,
        number: u64,
        answer: Result<(), String>,
        step: &mut Step<'_>,
    ) {
        if let Called::GivenUp(task) = self.webhooks.called(number, answer, step) {
            self.note(Note::WebhookGivenUp { task });
        }
    }
}
