//! Carries out what the task and wake cores ask for.

use super::Node;
use super::exchange::{Kind, Message};
use super::health::Standing;
use super::io::{HookSpec, Note, Output, RunOutcome, RunSpec};
use crate::proto::Step;
use crate::proto::task::{Candidate, HeldKey, RequesterEffect, WorkerEffect};
use crate::proto::wake::WakeEffect;
use crate::types::limits::{LIST_MAX_ITEMS, REASON_MAX_BYTES, RESULT_MAX_BYTES};
use crate::types::{BatchId, EntityId, FencingToken, RunId, TaskId};
use crate::wire::{
    CancelItem, DelegateItem, MsgType, RenewItem, ResultItem, TaskCancel, TaskDelegate,
    TaskOutcome, TaskRenew, TaskResult, cbor,
};

/// A list message is cut before its payloads pass this; one item alone always fits.
const LIST_SOFT_MAX_BYTES: usize = 512 * 1024;

impl Node {
    /// Gives waiting tasks to the workers that stand best: healthy ones if there are any, suspect
    /// ones if not, or else whoever is known to offer the capability.
    pub(super) fn assign(&mut self, step: &mut Step<'_>) {
        let Node {
            requester,
            registry,
            peers,
            sessions,
            health,
            guard,
            ..
        } = self;
        let now = step.now.mono;
        requester.assign(step, |capability| {
            let known: Vec<(Candidate, Standing)> = registry
                .offering(capability)
                .map(|(entry, slots)| (entry, entry.body.peer_id(), slots))
                .filter(|(_, peer, _)| !peers.is_shunned(peer, now))
                // An offer that is not even sent would only cost a token.
                .filter(|(_, peer, _)| guard.wait_ms(peer, now).is_none())
                .map(|(entry, peer, slots)| {
                    let said = health.of(&peer).and_then(|known| known.slots(capability));
                    let candidate = Candidate {
                        worker: entry.body.entity_id,
                        slots: said.map_or(slots, |said| said.slots),
                    };
                    (candidate, Standing::of(&peer, peers, sessions, health))
                })
                .collect();
            let best = known.iter().map(|(_, standing)| *standing).min();
            known
                .into_iter()
                .filter(|(_, standing)| Some(*standing) == best)
                .map(|(candidate, _)| candidate)
                .collect()
        });
    }

    /// Returns whether there was anything to do.
    pub(super) fn apply_effects(&mut self, step: &mut Step<'_>) -> bool {
        let requester = self.requester.effects();
        let worker = self.worker.effects();
        let wakes = self.wakes.effects();
        let beats = self.apply_health(step);
        let files = self.apply_file_effects(step);
        let busy =
            beats || files || !(requester.is_empty() && worker.is_empty() && wakes.is_empty());
        for effect in requester {
            self.apply_requester(effect, step);
        }
        for effect in worker {
            self.apply_worker(effect, step);
        }
        for effect in wakes {
            self.apply_wake(effect, step);
        }
        busy
    }

    fn apply_requester(&mut self, effect: RequesterEffect, step: &mut Step<'_>) {
        match effect {
            RequesterEffect::Delegate {
                worker,
                tasks,
                after,
            } => {
                self.delegate(worker, &tasks, after, step);
            }
            RequesterEffect::Cancel {
                worker,
                items,
                after,
            } => {
                self.send_cancel(worker, items, after, step);
            }
            RequesterEffect::Finished { task, after } => {
                self.task_finished(task, after);
            }
            RequesterEffect::Lost { task, worker, why } => {
                self.note(Note::LeaseLost { task, worker, why });
            }
        }
    }

    fn delegate(
        &mut self,
        worker: EntityId,
        tasks: &[TaskId],
        after: BatchId,
        step: &mut Step<'_>,
    ) {
        let mut items: Vec<DelegateItem> = Vec::new();
        let mut bytes = 0;
        for id in tasks {
            let Some(item) = self.delegate_item(*id, step) else {
                continue;
            };
            self.note(Note::TaskAssigned {
                task: *id,
                worker,
                token: item.token.0,
            });
            bytes += item.input.len();
            items.push(item);
            if items.len() >= LIST_MAX_ITEMS || bytes >= LIST_SOFT_MAX_BYTES {
                self.send_delegate(worker, std::mem::take(&mut items), after, step);
                bytes = 0;
            }
        }
        if !items.is_empty() {
            self.send_delegate(worker, items, after, step);
        }
    }

    fn delegate_item(&self, id: TaskId, step: &Step<'_>) -> Option<DelegateItem> {
        let (record, _) = self.requester.task(id)?;
        Some(DelegateItem {
            task_id: id,
            token: record.token,
            capability: record.capability.clone(),
            input: self.requester.input(id)?.to_vec(),
            lease_ms: self.requester.lease_ms(),
            remaining_ms: self.requester.remaining_ms(id, step.now.mono)?,
        })
    }

    fn send_delegate(
        &mut self,
        worker: EntityId,
        items: Vec<DelegateItem>,
        after: BatchId,
        step: &mut Step<'_>,
    ) {
        let offers: Vec<(TaskId, FencingToken)> = items
            .iter()
            .map(|item| (item.task_id, item.token))
            .collect();
        let body = cbor::encode(&TaskDelegate { items });
        let kind = Kind::Delegate {
            worker,
            offers: offers.clone(),
        };
        if !self.send_to(worker, MsgType::TaskDelegate, body, kind, after, step) {
            self.requester.offer_failed(worker, &offers, step, false);
        }
    }

    fn send_cancel(
        &mut self,
        worker: EntityId,
        items: Vec<CancelItem>,
        after: BatchId,
        step: &mut Step<'_>,
    ) {
        let body = cbor::encode(&TaskCancel { items });
        self.send_to(worker, MsgType::TaskCancel, body, Kind::Cancel, after, step);
    }

    fn apply_worker(&mut self, effect: WorkerEffect, step: &mut Step<'_>) {
        match effect {
            WorkerEffect::Run {
                run,
                key,
                capability,
                timeout_ms,
            } => {
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
                    input,
                    timeout_ms,
                };
                self.out.push(Output::Run { run, spec });
            }
            WorkerEffect::Kill { run } => self.out.push(Output::Kill { run }),
            WorkerEffect::Renew {
                requester,
                items,
                after,
            } => {
                self.send_renewal(requester, items, after, step);
            }
            WorkerEffect::Results {
                requester,
                tasks,
                after,
            } => {
                self.send_results(requester, &tasks, after, step);
            }
        }
    }

    fn send_renewal(
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

    fn send_results(
        &mut self,
        requester: EntityId,
        tasks: &[(TaskId, FencingToken)],
        after: BatchId,
        step: &mut Step<'_>,
    ) {
        let (mut items, mut bytes) = (Vec::new(), 0);
        for (task, token) in tasks {
            let key = HeldKey {
                requester,
                task: *task,
            };
            let Some(outcome) = self.worker.outcome(key) else {
                continue;
            };
            if let TaskOutcome::Completed { result } = outcome {
                bytes += result.len();
            }
            items.push(ResultItem {
                task_id: *task,
                token: *token,
                outcome: outcome.clone(),
            });
            if items.len() >= LIST_MAX_ITEMS || bytes >= LIST_SOFT_MAX_BYTES {
                self.send_result_list(requester, std::mem::take(&mut items), after, step);
                bytes = 0;
            }
        }
        if !items.is_empty() {
            self.send_result_list(requester, items, after, step);
        }
    }

    fn send_result_list(
        &mut self,
        requester: EntityId,
        items: Vec<ResultItem>,
        after: BatchId,
        step: &mut Step<'_>,
    ) {
        let tasks: Vec<(TaskId, FencingToken)> = items
            .iter()
            .map(|item| (item.task_id, item.token))
            .collect();
        let body = cbor::encode(&TaskResult { items });
        let kind = Kind::Results {
            requester,
            tasks: tasks.clone(),
        };
        if !self.send_to(requester, MsgType::TaskResult, body, kind, after, step) {
            self.worker.acknowledged(requester, &tasks, None, step);
        }
    }

    /// Sends to an entity. Returns whether it is known where that is.
    pub(super) fn send_to(
        &mut self,
        entity: EntityId,
        msg_type: MsgType,
        body: Vec<u8>,
        kind: Kind,
        after: BatchId,
        step: &mut Step<'_>,
    ) -> bool {
        let Some(peer) = self.peer_of_entity(&entity) else {
            return false;
        };
        let message = Message {
            after,
            ..Message::new(msg_type, body, kind)
        };
        self.send(peer, message, step);
        true
    }

    pub(super) fn run_ended(&mut self, run: RunId, outcome: RunOutcome, step: &mut Step<'_>) {
        let outcome = match outcome {
            RunOutcome::Completed { result } if result.len() <= RESULT_MAX_BYTES => {
                TaskOutcome::Completed { result }
            }
            RunOutcome::Completed { .. } => TaskOutcome::Failed {
                reason: "the result is larger than 1 MiB".into(),
            },
            RunOutcome::Failed { mut reason } => {
                reason.truncate(reason.floor_char_boundary(REASON_MAX_BYTES));
                TaskOutcome::Failed { reason }
            }
        };
        self.worker.run_ended(run, outcome, step);
    }

    fn task_finished(&mut self, task: TaskId, after: BatchId) {
        if let Some((record, _)) = self.requester.task(task) {
            let state = record.state.as_str();
            self.note(Note::TaskEnded { task, state });
        }
        for command in self.await_task.remove(&task).into_iter().flatten() {
            self.reply_after(command, self.task_reply(task), after);
        }
    }

    fn apply_wake(&mut self, effect: WakeEffect, step: &mut Step<'_>) {
        match effect {
            WakeEffect::Send { id, to, body } => {
                let (body, kind) = (cbor::encode(&body), Kind::Wake { id });
                if !self.send_to(to, MsgType::WakeUp, body, kind, BatchId::NONE, step) {
                    self.wakes.send_failed(id, None, step.now.mono);
                }
            }
            WakeEffect::Update { to, nonce, status } => {
                if let Some(peer) = self.peer_of_entity(&to) {
                    self.wake_update(peer, nonce, status, step);
                }
            }
            WakeEffect::Hook {
                hook,
                id,
                from,
                call,
            } => {
                let spec = HookSpec {
                    id,
                    request: call.request,
                    from,
                    reason: call.reason,
                    priority: call.priority,
                    timeout_ms: self.config.wake.timeout_ms,
                };
                self.out.push(Output::Hook { hook, spec });
            }
            WakeEffect::Changed { id } => self.wake_changed(id, step.now.mono),
        }
    }
}
