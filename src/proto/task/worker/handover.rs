//! Handing over what ended, again and again until it is acknowledged.

use std::collections::BTreeMap;

use super::{HeldKey, Phase, Worker, WorkerEffect};
use crate::proto::Step;
use crate::types::{BatchId, EntityId, FencingToken, Mono, TaskId};
use crate::wire::AckAnswer;

/// First and longest wait before a result is sent again.
const RESEND_MS: u64 = 500;
pub(super) const RESEND_MAX_MS: u64 = 10_000;

/// How long a result whose file is on its way waits to be said again.
const PENDING_MS: u64 = 60_000;

impl Worker {
    pub(super) fn await_ack(&mut self, key: HeldKey, resend: Mono, tries: u32) {
        let held = self.held.get_mut(&key).expect("the caller holds it");
        if let Phase::Ended { resend, .. } = held.phase {
            self.resend.remove(&(resend, key));
        }
        held.phase = Phase::Ended { resend, tries };
        self.space.ended.entry(key).or_insert(resend);
        self.resend.insert((resend, key));
    }

    /// The requester answered (or did not answer, when `answers` is none) what we handed over.
    pub fn acknowledged(
        &mut self,
        requester: EntityId,
        tasks: &[(TaskId, FencingToken)],
        answers: Option<&[AckAnswer]>,
        step: &mut Step<'_>,
    ) {
        for (at, (task, token)) in tasks.iter().enumerate() {
            let key = HeldKey {
                requester,
                task: *task,
            };
            let Some(held) = self.held.get(&key) else {
                continue;
            };
            let Phase::Ended { tries, .. } = held.phase else {
                continue;
            };
            let answer = answers.and_then(|answers| answers.get(at));
            match answer {
                Some(AckAnswer::Kept) if held.is_promised() && held.record.token == *token => {
                    self.promise_kept(key, step);
                }
                Some(AckAnswer::Kept | AckAnswer::Fenced) if held.record.token == *token => {
                    self.bury(key, step);
                }
                Some(AckAnswer::Pending) if held.record.token == *token => {
                    self.asked.insert(key);
                    self.await_ack(key, step.now.mono + PENDING_MS, tries);
                }
                Some(_) => self.await_ack(key, step.now.mono, 0),
                None => {
                    let wait = RESEND_MS + step.backoff_ms(tries, RESEND_MS, RESEND_MAX_MS);
                    self.await_ack(key, step.now.mono + wait, tries + 1);
                }
            }
        }
    }

    /// A session with `requester` came up: tell it at once what we hold, and hand over what ended.
    ///
    /// Nothing, too, is told, once: an offer that a restarted requester remembers may never have
    /// left, and it would wait for the lease to run out, after its next restart for another.
    pub fn requester_is_back(&mut self, requester: EntityId, now: Mono) {
        if !self.config.capabilities.is_empty() || self.renew_at.contains_key(&requester) {
            self.renew_at.insert(requester, now);
        }
        let ended: Vec<HeldKey> = self
            .live_of(requester)
            .filter(|(_, held)| matches!(held.phase, Phase::Ended { .. }))
            .map(|(key, _)| key)
            .collect();
        for key in ended {
            self.await_ack(key, now, 0);
        }
    }

    pub(super) fn send_results(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        let mut due: BTreeMap<EntityId, (Vec<(TaskId, FencingToken)>, BatchId)> = BTreeMap::new();
        while let Some((at, key)) = self.resend.first().copied() {
            if at > now {
                break;
            }
            let held = &self.held[&key];
            let Phase::Ended { tries, .. } = held.phase else {
                unreachable!("only ended tasks are to be sent")
            };
            if held.keep_until <= now {
                self.bury(key, step);
                continue;
            }
            let list = due.entry(key.requester).or_default();
            list.0.push((key.task, held.record.token));
            list.1 = list.1.max(held.written);
            // The answer, or the lack of one, sets the time anew.
            self.await_ack(key, now + 2 * RESEND_MAX_MS, tries);
        }
        for (requester, (tasks, after)) in due {
            self.effects.push(WorkerEffect::Results {
                requester,
                tasks,
                after,
            });
        }
    }
}
