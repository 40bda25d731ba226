//! Carries out what the task and wake cores ask for.

mod offers;
mod results;
mod runs;

use super::Node;
use super::exchange::{Kind, Message};
use super::io::{HookSpec, Note, Output};
use crate::proto::Step;
use crate::proto::task::{RequesterEffect, WorkerEffect};
use crate::proto::wake::WakeEffect;
use crate::types::{BatchId, EntityId, TaskId};
use crate::wire::{MsgType, cbor};

/// A list message is cut before its payloads pass this; one item alone always fits.
const LIST_SOFT_MAX_BYTES: usize = 512 * 1024;

impl Node {
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
        self.send_parked(step) || busy
    }

    fn apply_requester(&mut self, effect: RequesterEffect, step: &mut Step<'_>) {
        match effect {
            RequesterEffect::Delegate {
                worker,
                tasks,
                after,
            } => {
                let requester = &self.requester;
                let token = |id: TaskId| Some((id, requester.task(id)?.0.token));
                let offers = tasks.into_iter().filter_map(token);
                let parked = self.flush.after(after).offers.entry(worker);
                parked.or_default().extend(offers);
            }
            RequesterEffect::Cancel {
                worker,
                items,
                after,
            } => {
                let parked = self.flush.after(after).cancels.entry(worker);
                parked.or_default().extend(items);
            }
            RequesterEffect::Reveal {
                worker,
                items,
                after,
            } => {
                let parked = self.flush.after(after).reveals.entry(worker);
                let items = items.iter().map(|item| (item.task_id, item.token));
                parked.or_default().extend(items);
            }
            RequesterEffect::Finished { task, after } => {
                self.webhooks.ended(task, step.now.mono);
                self.task_finished(task, after);
            }
            RequesterEffect::Refund { parent, reward } => {
                self.worker.refund(parent, reward, step);
            }
            RequesterEffect::Forgot { task } => self.note(Note::DeadLetterForgotten { task }),
            RequesterEffect::Lost { task, worker, why } => {
                self.note(Note::LeaseLost { task, worker, why });
            }
        }
    }

    fn apply_worker(&mut self, effect: WorkerEffect, step: &mut Step<'_>) {
        match effect {
            WorkerEffect::Run {
                run,
                key,
                capability,
                token,
                timeout_ms,
            } => self.start_run(run, key, capability, token, timeout_ms, step),
            WorkerEffect::Kill { run } => {
                self.parts.forget_run(run);
                // Behind the run itself, if that still waits.
                let after = self.worker.resumed_in();
                self.gate.pass(after, Output::Kill { run }, &mut self.out);
            }
            WorkerEffect::Recall { run } => self.out.push(Output::Recall { run }),
            WorkerEffect::Over { key } => self.requester.parent_ended(key, step),
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
                let parked = self.flush.after(after).results.entry(requester);
                parked
                    .or_default()
                    .extend(tasks.iter().map(|(task, _)| *task));
            }
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
