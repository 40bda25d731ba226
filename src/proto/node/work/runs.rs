//! Runs of the tasks we hold, begun and ended.

use crate::proto::Step;
use crate::proto::node::Node;
use crate::proto::node::command::{CommandError, CommandErrorCode, CommandResult, Reply};
use crate::proto::node::io::{RunOutcome, RunSpec};
use crate::proto::node::views::DrainView;
use crate::proto::task::HeldKey;
use crate::types::limits::{REASON_MAX_BYTES, RESULT_MAX_BYTES};
use crate::types::{BatchId, Capability, FencingToken, RunId};
use crate::wire::TaskOutcome;

impl Node {
    pub(super) fn start_run(
        &mut self,
        run: RunId,
        key: HeldKey,
        capability: Capability,
        token: FencingToken,
        timeout_ms: u64,
        step: &mut Step<'_>,
    ) {
        let input = self
            .worker
            .input(key)
            .map(<[u8]>::to_vec)
            .unwrap_or_default();
        let HeldKey {
            requester,
            task: task_id,
        } = key;
        let spec = RunSpec {
            task_id,
            requester,
            capability,
            token,
            input,
            input_file: None,
            stream: self.worker.streams(key),
            timeout_ms,
        };
        self.begin_run(run, key, spec, step);
    }

    /// How far this node has emptied itself.
    pub(in crate::proto::node) fn drain_reply(&self) -> Reply {
        Reply::Drain(DrainView {
            draining: self.worker.is_draining(),
            running: self.worker.running(),
            undelivered: self.worker.undelivered(),
        })
    }

    /// As [`Node::run_ended`], for somebody who waits until that is durable.
    pub(in crate::proto::node) fn end_run(
        &mut self,
        run: RunId,
        outcome: RunOutcome,
        step: &mut Step<'_>,
    ) -> (CommandResult, BatchId) {
        let Some(key) = self.worker.held_by(run) else {
            let error = CommandError::new(CommandErrorCode::NotFound, "there is no such run");
            return (Err(error), BatchId::NONE);
        };
        self.run_ended(run, outcome, step);
        (Ok(Reply::Done), self.worker.written(key))
    }

    pub(in crate::proto::node) fn run_ended(
        &mut self,
        run: RunId,
        outcome: RunOutcome,
        step: &mut Step<'_>,
    ) {
        let outcome = match outcome {
            RunOutcome::Completed { result } if result.len() <= RESULT_MAX_BYTES => {
                TaskOutcome::Completed { result }
            }
            RunOutcome::Completed { .. } => TaskOutcome::Failed {
                reason: "the result is larger than 1 MiB".into(),
                poison: false,
            },
            RunOutcome::CompletedFile { content, file } => {
                self.keep_result(run, content, file, step)
            }
            RunOutcome::Returned => {
                self.worker.run_returned(run, step);
                return;
            }
            RunOutcome::Failed { mut reason } => {
                reason.truncate(reason.floor_char_boundary(REASON_MAX_BYTES));
                TaskOutcome::Failed {
                    reason,
                    poison: false,
                }
            }
        };
        self.worker.run_ended(run, outcome, step);
    }
}
