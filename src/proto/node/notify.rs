//! Webhooks: taken, called once a task's end is durable, tried again.

use super::Node;
use super::command::{CommandError, CommandErrorCode, CommandResult, Reply};
use super::io::{Note, Output, WebhookCall};
use super::tasks::{no_task, task_view};
use crate::proto::Step;
use crate::proto::webhook::{Added, Called, Target};
use crate::types::{BatchId, TaskId};

impl Node {
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
        if !target.is_here() && !self.config.task.remote_webhooks {
            let error = CommandError::new(
                CommandErrorCode::Invalid,
                "the address is on another machine: allow that with remote_webhooks in [task]",
            );
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
            Added::Full => {
                let text = "too many webhooks wait: wait until some tasks have ended";
                refused(CommandErrorCode::QueueFull, text)
            }
        }
    }

    /// Calls whoever is due, each once what it is told of is durable.
    pub(super) fn call_webhooks(&mut self, step: &mut Step<'_>) {
        for call in self.webhooks.tick(step.now.mono) {
            let Some((record, written)) = self.requester.task(call.task) else {
                // The task is forgotten: there is nothing left to tell of.
                let _ = self.webhooks.called(call.number, true, step);
                continue;
            };
            // Allowed when it was asked for, and not any more.
            if !call.target.is_here() && !self.config.task.remote_webhooks {
                let _ = self.webhooks.called(call.number, true, step);
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

    pub(super) fn webhook_called(&mut self, number: u64, heard: bool, step: &mut Step<'_>) {
        if let Called::GivenUp(task) = self.webhooks.called(number, heard, step) {
            self.note(Note::WebhookGivenUp { task });
        }
    }
}
