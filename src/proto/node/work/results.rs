//! What the worker tells of the tasks it holds, and who is told that one of ours ended.

use std::collections::BTreeSet;

use super::LIST_SOFT_MAX_BYTES;
use crate::proto::Step;
use crate::proto::node::exchange::Kind;
use crate::proto::node::io::Note;
use crate::proto::node::{Node, Output};
use crate::proto::task::HeldKey;
use crate::types::limits::LIST_MAX_ITEMS;
use crate::types::{BatchId, EntityId, FencingToken, TaskId};
use crate::wire::{
    MsgType, RenewItem, ResultItem, ResultParties, TaskOutcome, TaskRenew, TaskResult, cbor,
};

impl Node {
    pub(super) fn send_renewal(
        &mut self,
        requester: EntityId,
        items: Vec<RenewItem>,
        after: BatchId,
        step: &mut Step<'_>,
    ) {
        let body = cbor::encode(&TaskRenew {
            boot: self.boot,
            items: items.clone(),
        });
        let kind = Kind::Renew {
            requester,
            items,
            sent: step.now.mono,
        };
        self.send_to(requester, MsgType::TaskRenew, body, kind, after, step);
    }

    /// Hands over what is still to be handed over, now that the disk has it.
    pub(in crate::proto::node) fn send_results(
        &mut self,
        requester: EntityId,
        tasks: &BTreeSet<TaskId>,
        step: &mut Step<'_>,
    ) {
        let durable = self.gate.durable();
        let (mut items, mut bytes) = (Vec::new(), 0);
        for task in tasks {
            let key = HeldKey {
                requester,
                task: *task,
            };
            let Some((token, outcome, written)) = self.worker.to_hand_over(key) else {
                continue;
            };
            if written > durable {
                // It has another token since.
                let parked = self.flush.after(written).results.entry(requester);
                parked.or_default().insert(*task);
                continue;
            }
            if let TaskOutcome::Completed { result } | TaskOutcome::Revealed { result, .. } =
                &outcome
            {
                bytes += result.len();
            }
            items.push(ResultItem {
                task_id: *task,
                token,
                outcome,
                spent: self.worker.spent(key),
            });
            if items.len() >= LIST_MAX_ITEMS || bytes >= LIST_SOFT_MAX_BYTES {
                self.send_result_list(requester, std::mem::take(&mut items), step);
                bytes = 0;
            }
        }
        if !items.is_empty() {
            self.send_result_list(requester, items, step);
        }
    }

    fn send_result_list(
        &mut self,
        requester: EntityId,
        items: Vec<ResultItem>,
        step: &mut Step<'_>,
    ) {
        let tasks: Vec<(TaskId, FencingToken)> = items
            .iter()
            .map(|item| (item.task_id, item.token))
            .collect();
        let parties = ResultParties {
            requester,
            worker: self.identity.entity_id,
        };
        let list = TaskResult::sign(items, &parties, self.identity.key(), step.nonce().0);
        let body = cbor::encode(&list);
        let kind = Kind::Results {
            requester,
            tasks: tasks.clone(),
        };
        let after = BatchId::NONE;
        if !self.send_to(requester, MsgType::TaskResult, body, kind, after, step) {
            self.worker.acknowledged(requester, &tasks, None, step);
        }
    }

    pub(super) fn task_finished(&mut self, task: TaskId, after: BatchId) {
        if let Some((record, _)) = self.requester.task(task) {
            let state = record.state.as_str();
            let ended = Output::Note(Note::TaskEnded { task, state });
            self.gate.pass(after, ended, &mut self.out);
        }
        for command in self.await_task.remove(&task).into_iter().flatten() {
            self.reply_after(command, self.task_reply(task), after);
        }
    }
}
