//! Work that others do, too: its result is committed to, and told when the requester asks for it.
//!
//! What is stored is the result and the salt of its commitment, in one row with everything else of
//! the outcome. Until the requester asks, what is handed over is the commitment; that it asks says
//! that the round is closed on its disk. Whether it has asked is in memory: after a restart the
//! commitment is told again, and the requester asks again. An acknowledgement does not end such a
//! task, for it may be that of the commitment: it is over when the requester says `fenced`.

use super::handover::RESEND_MAX_MS;
use super::{Held, HeldKey, Phase, Worker};
use crate::proto::Step;
use crate::types::{EntityId, Now};
use crate::wire::{AgreePart, Promised, RevealAnswer, RevealItem, TaskOutcome};

/// A commitment that is acknowledged is told again after so long, should the requester have
/// forgotten to ask. Sooner than that a renewal hears of it.
const AGAIN_MS: u64 = 3_600_000;

/// How far a commitment is. Not stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Promise {
    /// The requester acknowledged something of it.
    kept: bool,
    /// It asked for the result.
    asked: bool,
}

impl Held {
    /// Whether its requester has acknowledged something of it.
    pub(super) fn is_heard_of(&self) -> bool {
        self.promise.kept
    }

    /// Whether its result was committed to.
    pub(super) fn is_promised(&self) -> bool {
        self.record.agree.is_some() && matches!(self.outcome, Some(TaskOutcome::Revealed { .. }))
    }
}

impl Worker {
    /// What is stored of an outcome: with a salt, if it is to be committed to.
    pub(super) fn promised(
        &self,
        key: HeldKey,
        outcome: TaskOutcome,
        step: &mut Step<'_>,
    ) -> TaskOutcome {
        let agree = self.held[&key].record.agree;
        match outcome {
            TaskOutcome::Completed { result } if agree.is_some() => {
                let salt = step.nonce().0;
                TaskOutcome::Revealed { salt, result }
            }
            TaskOutcome::CompletedFile { .. } if agree.is_some() => TaskOutcome::Failed {
                reason: "a result that several are to agree on has 1 MiB at most".into(),
                poison: false,
            },
            outcome => outcome,
        }
    }

    /// What is to be handed over of a held task: its outcome, or a commitment to it.
    pub fn outcome(&self, key: HeldKey) -> Option<TaskOutcome> {
        let held = self.held.get(&key)?;
        let outcome = held.outcome.as_ref()?;
        let (Some(agree), TaskOutcome::Revealed { salt, result }) = (held.record.agree, outcome)
        else {
            return Some(outcome.clone());
        };
        if held.promise.asked {
            return self.as_told(outcome);
        }
        let promised = Promised {
            requester: key.requester,
            worker: self.config.entity,
            task: key.task,
            token: held.record.token,
            agree,
        };
        let commitment = promised.commitment(salt, result);
        Some(TaskOutcome::Committed { commitment, agree })
    }

    #[cfg(test)]
    fn as_told(&self, outcome: &TaskOutcome) -> Option<TaskOutcome> {
        use crate::proto::task::Planted;
        match (self.planted, outcome) {
            (Some(Planted::NoReveal), _) => None,
            (Some(Planted::FalseReveal), TaskOutcome::Revealed { salt, .. }) => {
                Some(TaskOutcome::Revealed {
                    salt: *salt,
                    result: b"another".to_vec(),
                })
            }
            _ => Some(outcome.clone()),
        }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "cheats are planted by the tests")]
    fn as_told(&self, outcome: &TaskOutcome) -> Option<TaskOutcome> {
        Some(outcome.clone())
    }

    /// The requester has what we told it: the commitment, or the result itself.
    pub(super) fn promise_kept(&mut self, key: HeldKey, step: &Step<'_>) {
        let held = self.held.get_mut(&key).expect("the caller holds it");
        held.promise.kept = true;
        let now = step.now.mono;
        let again_ms = match held.promise.asked {
            // Which of the two it was cannot be told; whether the task is over the requester can.
            true => {
                self.renew_at.insert(key.requester, now);
                RESEND_MAX_MS
            }
            false => AGAIN_MS,
        };
        self.await_ack(key, now + again_ms, 0);
    }

    /// The round is closed: the requester asks for the results of these.
    pub fn reveal(
        &mut self,
        requester: EntityId,
        items: &[RevealItem],
        now: Now,
    ) -> Vec<RevealAnswer> {
        let answer = |item: &RevealItem| {
            let key = HeldKey {
                requester,
                task: item.task_id,
            };
            let held = self.held.get_mut(&key);
            let held = held.filter(|held| held.is_promised() && held.record.token == item.token);
            let Some(held) = held else {
                return RevealAnswer::Unknown;
            };
            if !std::mem::replace(&mut held.promise.asked, true) {
                self.await_ack(key, now.mono, 0);
            }
            RevealAnswer::Noted
        };
        items.iter().map(answer).collect()
    }

    /// The commitments that their requesters have acknowledged, and whether they asked for the
    /// results; for checkers.
    pub fn promises(&self) -> impl Iterator<Item = (HeldKey, AgreePart, bool)> {
        let promised = self.held.iter().filter(|(_, held)| {
            let waits = matches!(held.phase, Phase::Ended { .. }) && held.is_promised();
            waits && (held.promise.kept || held.promise.asked)
        });
        promised.filter_map(|(key, held)| Some((*key, held.record.agree?, held.promise.asked)))
    }
}
