//! What workers report: renewals and results, judged by the fencing token; failures and losses.

use std::collections::BTreeMap;

use super::assign::state_at;
use super::witness::Signed;
use super::{AttemptEnd, Phase, Requester, RequesterEffect};
use crate::proto::Step;
use crate::types::limits::{REASON_MAX_BYTES, RELEASES_MAX, RESULT_MAX_BYTES};
use crate::types::{BatchId, BootId, EntityId, FencingToken, Keyspace, TaskId, TaskState};
use crate::wire::{AckAnswer, RenewAnswer, RenewItem, SignedItem, TaskOutcome};

/// Workers whose boot ids are remembered, and how many of each.
const LIVES_MAX: usize = 4_096;
const LIVES_PER_WORKER_MAX: usize = 8;
/// How often a task that came back without a failure goes elsewhere without a pause.
const AT_ONCE: u32 = 4;

impl Requester {
    /// The worker tells all it holds of ours. Returns the answers, and what they rest on.
    pub fn renewed(
        &mut self,
        worker: EntityId,
        boot: BootId,
        items: &[RenewItem],
        step: &mut Step<'_>,
    ) -> (Vec<RenewAnswer>, BatchId) {
        let newest_life = self.note_life(worker, boot);
        let mut after = BatchId::NONE;
        let mut answers = Vec::with_capacity(items.len());
        for item in items {
            let current = self.is_current(item.task_id, item.token, worker);
            if current {
                self.reopen(item.task_id, step);
                self.note_spending(item.task_id, worker, item.spent, step);
            }
            if let Some(task) = self.tasks.get(&item.task_id) {
                after = after.max(task.written);
            }
            if !current {
                answers.push(RenewAnswer::Fenced);
                continue;
            }
            if self.promised_by(item.task_id).is_some() {
                // It has ended; what it came to is kept there until it is asked for.
                answers.push(RenewAnswer::Renewed {
                    lease_ms: self.config.lease_ms,
                });
                continue;
            }
            let until = step.now.mono + self.config.lease_ms;
            let waits = item.waiting;
            self.set_outcome(item.task_id, state_at(waits), false, step);
            self.enter(
                item.task_id,
                Phase::Leased {
                    worker,
                    boot: Some(boot),
                    until,
                    waits,
                },
            );
            answers.push(RenewAnswer::Renewed {
                lease_ms: self.config.lease_ms,
            });
        }
        if newest_life {
            self.lose_unclaimed(worker, boot, items, step);
        }
        (answers, after)
    }

    /// Remembers a worker's boot id. Returns whether it is of its newest life.
    pub(super) fn note_life(&mut self, worker: EntityId, boot: BootId) -> bool {
        if self.lives.len() >= LIVES_MAX && !self.lives.contains_key(&worker) {
            self.lives.pop_first();
        }
        let lives = self.lives.entry(worker).or_default();
        if !lives.contains(&boot) {
            lives.push(boot);
            let forgotten = lives.len().saturating_sub(LIVES_PER_WORKER_MAX);
            lives.drain(..forgotten);
        }
        lives.last() == Some(&boot)
    }

    /// A worker thought lost renews before its task went elsewhere: the attempt goes on. Stored,
    /// or a restart of ours would give the task away while the worker relies on its lease (T6).
    fn reopen(&mut self, id: TaskId, step: &mut Step<'_>) {
        let record = &mut self.tasks.get_mut(&id).expect("the caller found it").record;
        if record.state == TaskState::Working {
            return;
        }
        record.state = TaskState::Working;
        if let Some(attempt) = record.attempts.last_mut() {
            attempt.ended = None;
        }
        self.set_outcome(id, "working", false, step);
        self.store(id, step);
    }

    /// A worker that came back with another boot id has lost what it does not claim.
    pub(super) fn lose_unclaimed(
        &mut self,
        worker: EntityId,
        boot: BootId,
        items: &[RenewItem],
        step: &mut Step<'_>,
    ) {
        let held: Vec<TaskId> = self
            .at_worker
            .get(&worker)
            .into_iter()
            .flat_map(BTreeMap::values)
            .flatten()
            .copied()
            .collect();
        for id in held {
            let Phase::Leased { boot: told, .. } = self.tasks[&id].phase else {
                continue;
            };
            if told != Some(boot) && !items.iter().any(|item| item.task_id == id) {
                self.lose(id, "the worker restarted without it", step);
            }
        }
    }

    /// Runs ended, as `worker` says under its signature; `entry` says that the signature is its
    /// own. Returns the answers, and what they rest on.
    pub fn ended(
        &mut self,
        worker: EntityId,
        told: Vec<SignedItem>,
        entry: &[u8],
        step: &mut Step<'_>,
    ) -> (Vec<AckAnswer>, BatchId) {
        let mut after = BatchId::NONE;
        let mut answers = Vec::with_capacity(told.len());
        for SignedItem { item, proof } in told {
            let signed = Signed {
                proof: &proof,
                entry,
            };
            let (id, token) = (item.task_id, item.token);
            let Some(task) = self.tasks.get(&id) else {
                answers.push(AckAnswer::Fenced);
                continue;
            };
            if let Some(part) = &task.record.part {
                let whole = part.parent;
                answers.push(self.part_ended(worker, item, signed, step));
                let rows = [id, whole].into_iter().filter_map(|id| self.tasks.get(&id));
                after = rows.map(|task| task.written).fold(after, BatchId::max);
                continue;
            }
            let repeated =
                task.record.result_token == Some(token) && task.record.worker == Some(worker);
            let outcome = item.outcome;
            let answer = if repeated {
                AckAnswer::Kept
            } else if matches!(
                outcome,
                TaskOutcome::Committed { .. } | TaskOutcome::Revealed { .. }
            ) {
                // No commitment was asked for.
                AckAnswer::Fenced
            } else if self.is_current(id, token, worker) || self.skips_fencing(id) {
                self.settle_spending(id, worker, item.spent, step);
                self.take(id, token, outcome, signed, step);
                AckAnswer::Kept
            } else {
                self.settle_late(id, token, worker, item.spent, step);
                AckAnswer::Fenced
            };
            answers.push(answer);
            after = after.max(self.tasks[&id].written);
        }
        self.files.all_taken();
        (answers, after)
    }

    pub(super) fn take(
        &mut self,
        id: TaskId,
        token: FencingToken,
        outcome: TaskOutcome,
        signed: Signed<'_>,
        step: &mut Step<'_>,
    ) {
        let record = &mut self.tasks.get_mut(&id).expect("the caller found it").record;
        if let Some(attempt) = record.attempts.last_mut() {
            // It may have been thought lost: what it came to is said in place of that.
            attempt.ended = None;
        }
        match outcome {
            TaskOutcome::Completed { result } if result.len() <= RESULT_MAX_BYTES => {
                let task = self.tasks.get_mut(&id).expect("the caller found it");
                task.record.result_bytes = Some(result.len() as u64);
                task.record.result_token = Some(token);
                self.result_bytes += result.len();
                task.written = step.put(
                    Keyspace::TaskResult,
                    id.0.as_bytes().to_vec(),
                    result.clone(),
                );
                task.result = Some(result);
                self.keep_proof(id, signed, step);
                self.judge(id, AttemptEnd::Completed, step);
                self.set_outcome(id, "completed", true, step);
                self.finish(id, TaskState::Completed, None, step);
            }
            TaskOutcome::CompletedFile { file } if self.files.is_here(&file) => {
                let task = self.tasks.get_mut(&id).expect("the caller found it");
                task.record.result_bytes = Some(file.size);
                task.record.result_token = Some(token);
                task.record.result_file = Some(file);
                self.files.results.insert(id);
                self.keep_proof(id, signed, step);
                self.judge(id, AttemptEnd::Completed, step);
                self.set_outcome(id, "completed", true, step);
                self.finish(id, TaskState::Completed, None, step);
            }
            TaskOutcome::Completed { .. } | TaskOutcome::CompletedFile { .. } => {
                self.fail(id, "the result is too large", step);
            }
            TaskOutcome::Failed { reason, .. } => {
                self.keep_last_failure(id, signed, step);
                self.fail(id, &reason, step);
            }
            TaskOutcome::Released => {
                self.set_outcome(id, "released", true, step);
                self.given_back(id, step);
            }
            TaskOutcome::HandedOver { suggest } => self.handed_over(id, suggest, step),
            TaskOutcome::Committed { .. } | TaskOutcome::Revealed { .. } => {
                unreachable!("fenced before")
            }
        }
    }

    /// A worker gave it back, and nobody has failed at it.
    pub(super) fn given_back(&mut self, id: TaskId, step: &mut Step<'_>) {
        self.dismiss(id);
        let record = &mut self.tasks.get_mut(&id).expect("the caller found it").record;
        record.releases += 1;
        let releases = record.releases;
        self.come_back(id, releases, RELEASES_MAX, "workers gave it back", step);
    }

    pub(super) fn fail(&mut self, id: TaskId, reason: &str, step: &mut Step<'_>) {
        self.judge(id, AttemptEnd::Failed, step);
        let reason = &reason[..reason.floor_char_boundary(REASON_MAX_BYTES)];
        self.set_outcome(id, &format!("failed: {reason}"), true, step);
        self.dismiss(id);
        let record = &mut self.tasks.get_mut(&id).expect("the caller found it").record;
        record.failures += 1;
        let failures = record.failures;
        if failures >= self.config.failures_max {
            let why = format!("failed {failures} times, at last: {reason}");
            self.finish(id, TaskState::Failed, Some(why), step);
        } else {
            let wait =
                step.backoff_ms(failures, self.config.backoff_ms, self.config.backoff_max_ms);
            self.rest(id, wait, step);
        }
    }

    /// It came back for the `times`th time, and nobody has failed at it: it goes elsewhere, at once
    /// at first and then after pauses, but not for ever.
    pub(super) fn come_back(
        &mut self,
        id: TaskId,
        times: u32,
        most: u32,
        what: &str,
        step: &mut Step<'_>,
    ) {
        if times >= most {
            let why = self.with_last(id, &format!("{times} {what}"));
            self.finish(id, TaskState::Failed, Some(why), step);
            return;
        }
        let wait = match times {
            ..=AT_ONCE => 0,
            _ => {
                let (base, most) = (self.config.backoff_ms, self.config.backoff_max_ms);
                step.backoff_ms(times - AT_ONCE, base, most)
            }
        };
        self.rest(id, wait, step);
    }

    /// What became of a task's newest attempt speaks for or against its worker.
    pub(super) fn judge(&mut self, id: TaskId, end: AttemptEnd, step: &Step<'_>) {
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        let Some(worker) = task.record.worker else {
            return;
        };
        self.ends.push((worker, end));
        if let (AttemptEnd::Completed, Some(begun)) = (end, task.begun.take()) {
            let took_ms = step.now.mono.since(begun);
            self.pace.took(worker, &task.record.capability, took_ms);
        }
    }

    /// The worker has ended its attempt: its token is good for nothing more, a late renewal
    /// included.
    pub(super) fn dismiss(&mut self, id: TaskId) {
        self.tasks
            .get_mut(&id)
            .expect("the caller found it")
            .record
            .worker = None;
    }

    pub(super) fn lose(&mut self, id: TaskId, why: &'static str, step: &mut Step<'_>) {
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        let worker = task.record.worker.expect("an assignment names its worker");
        task.record.losses += 1;
        let losses = task.record.losses;
        self.judge(id, AttemptEnd::Lost, step);
        self.set_outcome(id, &format!("lost: {why}"), true, step);
        self.effects.push(RequesterEffect::Lost {
            task: id,
            worker,
            why,
        });
        if losses >= self.config.losses_max {
            let why = self.with_last(id, &format!("{losses} workers were lost while they had it"));
            self.finish(id, TaskState::Failed, Some(why), step);
        } else {
            self.rest(id, 0, step);
        }
    }

    /// Whether `worker` has the task's current token: the fencing check.
    pub(super) fn is_current(&self, id: TaskId, token: FencingToken, worker: EntityId) -> bool {
        self.tasks.get(&id).is_some_and(|task| {
            let record = &task.record;
            !record.state.is_terminal() && record.token == token && record.worker == Some(worker)
        })
    }

    #[cfg(test)]
    pub(super) fn skips_fencing(&self, id: TaskId) -> bool {
        self.planted == Some(crate::proto::task::Planted::SkipFencing)
            && !self.tasks[&id].record.state.is_terminal()
    }

    #[cfg(not(test))]
    pub(super) fn skips_fencing(&self, _: TaskId) -> bool {
        false
    }
}
