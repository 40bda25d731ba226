//! What the workers of parts tell: commitments, results, and that they know nothing of either.

use serde_bytes::ByteArray;

use super::super::witness::Signed;
use super::super::{Phase, Requester};
use crate::crypto::{Digest, hash};
use crate::proto::Step;
use crate::proto::task::events::EventKind;
use crate::proto::task::record::{PromiseRecord, Verdict};
use crate::types::limits::RESULT_MAX_BYTES;
use crate::types::{Compare, EntityId, Keyspace, TaskId, TaskState};
use crate::wire::{AckAnswer, Promised, ResultItem, RevealAnswer, RevealItem, TaskOutcome};

/// The hash by which results are equal or not.
fn digest(compare: Compare, result: &[u8]) -> Digest {
    match compare.canonical(result) {
        Some(form) => hash("agreed result", &[compare.as_str().as_bytes(), &form]),
        None => hash("agreed result", &[b"", result]),
    }
}

impl Requester {
    /// The worker of a part says what it has come to. See [`Requester::ended`].
    pub(in crate::proto::task::requester) fn part_ended(
        &mut self,
        worker: EntityId,
        item: ResultItem,
        signed: Signed<'_>,
        step: &mut Step<'_>,
    ) -> AckAnswer {
        let ResultItem {
            task_id: id,
            token,
            outcome,
            // Parts hand nothing on.
            spent: _,
        } = item;
        let Some(whole) = self.open_whole(id) else {
            return AckAnswer::Fenced;
        };
        let agreement = self.agreement(whole);
        let (closed, asked) = (agreement.closed, agreement.asked);
        let vote = agreement.vote(id).expect("a part has its vote");
        let (verdict, promise) = (vote.verdict, vote.promise.clone());
        let open = !self.tasks[&id].record.state.is_terminal();
        let Some(promise) = promise else {
            return match outcome {
                _ if !self.is_current(id, token, worker) => AckAnswer::Fenced,
                TaskOutcome::Committed { agree, .. } if Some(agree) != self.agree_part(id) => {
                    self.fail(id, "it committed to a part of something else", step);
                    AckAnswer::Kept
                }
                TaskOutcome::Committed { commitment, .. } => {
                    self.keep_proof(id, signed, step);
                    let commitment = ByteArray::new(commitment);
                    let promise = PromiseRecord {
                        worker,
                        token,
                        commitment,
                    };
                    self.promise(whole, id, promise, step);
                    AckAnswer::Kept
                }
                TaskOutcome::Completed { .. }
                | TaskOutcome::CompletedFile { .. }
                | TaskOutcome::Revealed { .. } => {
                    self.fail(id, "it told its result before it was asked", step);
                    AckAnswer::Kept
                }
                outcome @ (TaskOutcome::Failed { .. }
                | TaskOutcome::Released
                | TaskOutcome::HandedOver { .. }) => {
                    self.take(id, token, outcome, signed, step);
                    AckAnswer::Kept
                }
            };
        };
        if (promise.worker, promise.token) != (worker, token) {
            return AckAnswer::Fenced;
        }
        match (outcome, verdict) {
            (TaskOutcome::Committed { commitment, .. }, Verdict::Committed)
                if promise.commitment == ByteArray::new(commitment) =>
            {
                AckAnswer::Kept
            }
            (TaskOutcome::Revealed { .. }, Verdict::Revealed) => AckAnswer::Kept,
            (TaskOutcome::Revealed { salt, result }, Verdict::Committed) if closed && open => {
                self.keep_proof(id, signed, step);
                self.revealed(whole, id, asked.compare, &promise, &salt, result, step);
                AckAnswer::Kept
            }
            _ => AckAnswer::Fenced,
        }
    }

    /// A commitment came: it is stored, and what it is to waits at its worker.
    fn promise(&mut self, whole: TaskId, id: TaskId, promise: PromiseRecord, step: &mut Step<'_>) {
        let worker = promise.worker;
        let attempt = Some((worker, promise.token));
        self.event(whole, EventKind::Committed, attempt, None, step);
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        // It may have been thought lost and taken up again.
        task.record.state = TaskState::Working;
        if let Some(attempt) = task.record.attempts.last_mut() {
            attempt.ended = None;
        }
        self.set_outcome(id, "committed", false, step);
        self.store(id, step);
        self.enter(id, Phase::Promised { worker });
        let vote = self.vote_mut(whole, id);
        vote.verdict = Verdict::Committed;
        vote.promise = Some(promise);
        let record = &mut self.tasks.get_mut(&whole).expect("it is open").record;
        record.state = TaskState::Working;
        self.store(whole, step);
        self.stir_whole(whole, step);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all of one reveal, from one caller"
    )]
    fn revealed(
        &mut self,
        whole: TaskId,
        id: TaskId,
        compare: Compare,
        promise: &PromiseRecord,
        salt: &[u8; 32],
        result: Vec<u8>,
        step: &mut Step<'_>,
    ) {
        let promised = Promised {
            requester: self.config.entity,
            worker: promise.worker,
            task: id,
            token: promise.token,
            agree: self.agree_part(id).expect("it is a part"),
        };
        let commits = promised.commitment(salt, &result) == *promise.commitment;
        let fits = commits && result.len() <= RESULT_MAX_BYTES;
        let note = Some("it does not fit its commitment").filter(|_| !fits);
        let attempt = Some((promise.worker, promise.token));
        self.event(whole, EventKind::Revealed, attempt, note, step);
        if !fits {
            self.vote_mut(whole, id).verdict = Verdict::FalseReveal;
            let reason = "its result does not fit its commitment";
            self.end_part(id, TaskState::Failed, "failed", reason, step);
            return;
        }
        let vote = self.vote_mut(whole, id);
        vote.verdict = Verdict::Revealed;
        vote.hash = Some(ByteArray::new(digest(compare, &result)));
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        task.record.result_bytes = Some(result.len() as u64);
        task.record.result_token = Some(promise.token);
        self.result_bytes += result.len();
        let key = id.0.as_bytes().to_vec();
        task.written = step.put(Keyspace::TaskResult, key, result.clone());
        task.result = Some(result);
        self.set_outcome(id, "completed", true, step);
        self.finish(id, TaskState::Completed, None, step);
    }

    /// The worker answered that it will tell these results, or that it knows nothing of them.
    pub fn reveal_answered(
        &mut self,
        worker: EntityId,
        items: &[RevealItem],
        answers: &[RevealAnswer],
        step: &mut Step<'_>,
    ) {
        for (item, answer) in items.iter().zip(answers) {
            let Some(whole) = self.open_whole(item.task_id) else {
                continue;
            };
            let vote = self
                .agreement(whole)
                .vote(item.task_id)
                .expect("it has one");
            let of = vote.promise.as_ref().map(|of| (of.worker, of.token));
            let waits = vote.verdict == Verdict::Committed && of == Some((worker, item.token));
            if waits && *answer == RevealAnswer::Unknown {
                self.unrevealed(whole, item.task_id, step);
            }
        }
    }
}
