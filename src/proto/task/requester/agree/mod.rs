//! k of n: the same work given to several workers, who each commit to a result before any tells one.
//!
//! The task that was handed over is the *whole*: it waits for its *parts*, which are tasks with
//! attempts, tokens and leases like any other, and which nobody sees unless he asks. A part's worker
//! first tells a commitment. When all have, or when the round has lasted long enough and there are
//! enough, the round is closed, and only when that is on disk the results are asked for. Enough equal
//! ones complete the whole. Otherwise the round is followed by one with as many new parts as an
//! agreement still needs, given to workers that have had none.
//!
//! # Invariants
//! - **A1** A worker is asked for its result only behind a durable close of its part's round.
//! - **A2** No two parts of a whole are with one worker, nor in one public network.
//! - **A3** A commitment is on both disks before it is acknowledged.
//! - **A4** A completed whole has as many equal results that fit their commitments as was asked for.
//!
//! # Bounds
//! [`REPLICAS_MAX`](crate::types::limits::REPLICAS_MAX) parts in the first round, [`AGREE_ROUNDS_MAX`] rounds.

use std::collections::{BTreeMap, BTreeSet};

mod told;
mod why;

use serde_bytes::{ByteArray, ByteBuf};

use super::{AttemptEnd, Class, Handed, Log, Phase, Requester, RequesterEffect, Task};
use crate::crypto::hash;
use crate::proto::task::events::EventKind;
use crate::proto::task::record::{
    AgreementRecord, Fresh, PartRecord, TaskRecord, Verdict, VoteRecord,
};
use crate::proto::{Step, Violation};
use crate::types::limits::{ADDRESSES_MAX, AGREE_ROUNDS_MAX};
use crate::types::{BatchId, EntityId, Keyspace, Marks, Mono, Now, Prefix, TaskId, TaskState};
use crate::wire::{AgreePart, Budget, RevealItem};

/// How long results are waited for once a round is closed,
const REVEAL_MS: u64 = 30_000;
/// and how long the last of them where enough are equal already.
const GRACE_MS: u64 = 5_000;
/// How often they are asked for.
const ASK_MS: u64 = 2_000;
/// How long a round that is over time waits before it is looked at again; what comes is looked at
/// as it comes.
const LOOK_MS: u64 = 60_000;

/// Networks of one worker that are remembered: as many as addresses in an entry.
const NETWORKS_MAX: usize = ADDRESSES_MAX;

impl Requester {
    /// Which agreement a task is part of.
    pub fn agree_part(&self, id: TaskId) -> Option<AgreePart> {
        let part = self.tasks.get(&id)?.record.part.as_ref()?;
        Some(AgreePart {
            parent: part.parent,
            round: part.round,
        })
    }

    /// The committed parts whose workers are to be reachable.
    pub(super) fn promisers(&self) -> impl Iterator<Item = EntityId> {
        self.promised.keys().copied()
    }

    /// Who committed to a part and has not told its result.
    pub(super) fn promised_by(&self, id: TaskId) -> Option<EntityId> {
        let whole = self.open_whole(id)?;
        let vote = self.agreement(whole).vote(id)?;
        let promise = vote.promise.as_ref();
        let promise = promise.filter(|_| vote.verdict == Verdict::Committed);
        promise.map(|promise| promise.worker)
    }

    fn agreement(&self, whole: TaskId) -> &AgreementRecord {
        let record = &self.tasks[&whole].record;
        record.agreement.as_deref().expect("it is a whole")
    }

    fn agreement_mut(&mut self, whole: TaskId) -> &mut AgreementRecord {
        let task = self.tasks.get_mut(&whole).expect("the caller found it");
        task.record.agreement.as_deref_mut().expect("it is a whole")
    }

    fn vote_mut(&mut self, whole: TaskId, part: TaskId) -> &mut VoteRecord {
        let mut votes = self.agreement_mut(whole).votes.iter_mut();
        let vote = votes.find(|vote| vote.part == part);
        vote.expect("a part has its vote")
    }

    /// The whole that a task is part of, if that is still open.
    pub(super) fn open_whole(&self, id: TaskId) -> Option<TaskId> {
        let whole = self.tasks.get(&id)?.record.part.as_ref()?.parent;
        let task = self.tasks.get(&whole)?;
        let open = !task.record.state.is_terminal() && task.record.agreement.is_some();
        open.then_some(whole)
    }

    /// What a task demands of its worker at the moment: of a part that nobody has another part of
    /// the same whole, nor a neighbour of his (A2).
    pub(super) fn demands(&self, id: TaskId) -> Class {
        let mut class = self.tasks[&id].class();
        if let Some(whole) = self.open_whole(id) {
            let others = self
                .agreement(whole)
                .votes
                .iter()
                .filter(|vote| vote.part != id);
            for (worker, networks) in others.filter_map(|vote| self.holder(vote)) {
                class.apart.workers.insert(worker);
                let prefixes = networks
                    .iter()
                    .filter_map(|bytes| Prefix::from_bytes(bytes));
                class.apart.prefixes.extend(prefixes);
            }
        }
        class
    }

    /// Who has a part, or has committed to it, and the networks that he is in.
    fn holder(&self, vote: &VoteRecord) -> Option<(EntityId, &[ByteBuf])> {
        let record = &self.tasks.get(&vote.part)?.record;
        // Whoever had its newest attempt may still commit to it, though it was thought lost.
        let open = record.worker.filter(|_| !record.state.is_terminal());
        let worker = vote.promise.as_ref().map(|of| of.worker).or(open)?;
        let part = record.part.as_ref()?;
        Some((worker, &part.networks[..]))
    }

    /// A part goes to a worker in these networks.
    pub(super) fn note_networks(&mut self, id: TaskId, networks: &[Prefix]) {
        let task = self
            .tasks
            .get_mut(&id)
            .expect("the queue names known tasks");
        if let Some(part) = &mut task.record.part {
            let networks = networks.iter().take(NETWORKS_MAX);
            part.networks = networks.map(|of| ByteBuf::from(of.as_bytes())).collect();
        }
    }

    /// What a phase of a whole is after a start; and its parts' deadlines are its own.
    pub(super) fn resume_whole(&mut self, id: TaskId, now: Now) -> Phase {
        let agreement = self.agreement(id);
        let parts: Vec<TaskId> = agreement.votes.iter().map(|vote| vote.part).collect();
        let closed = agreement.closed;
        let closes = agreement.closes;
        let at_work = parts.iter().any(|part| {
            let of = self.tasks.get(part);
            of.is_some_and(|of| of.record.state == TaskState::Working)
        });
        let task = self.tasks.get_mut(&id).expect("its key");
        if at_work {
            // As of a task with a worker: it may have been done in time while we were away.
            let least = now.mono + (self.config.lease_ms + REVEAL_MS);
            task.deadline = task.deadline.max(least);
        }
        let deadline = task.deadline;
        let left_ms = now.mono.until(deadline) / 2;
        let turn_ms = match (closed, closes) {
            // Asked for anew: they have all the time again.
            (true, _) => 0,
            // A clock that was set back makes no round last longer than it may at first.
            (false, Some(at)) => at.0.saturating_sub(now.wall.0).min(left_ms),
            (false, None) => 0,
        };
        for part in parts {
            if let Some(task) = self.tasks.get_mut(&part) {
                task.deadline = deadline;
            }
        }
        Phase::Gathering {
            until: now.mono,
            turn: now.mono + turn_ms,
            ask: now.mono,
        }
    }

    /// Something happened to a part: its whole looks at it in this step.
    fn stir_whole(&mut self, whole: TaskId, step: &Step<'_>) {
        let now = step.now.mono;
        if let Phase::Gathering { turn, ask, .. } = self.tasks[&whole].phase {
            let until = now;
            self.enter(whole, Phase::Gathering { until, turn, ask });
        }
    }

    /// Looks at how far an agreement is, and does what follows.
    pub(super) fn gather(&mut self, id: TaskId, step: &mut Step<'_>) {
        let now = step.now.mono;
        let Phase::Gathering { turn, ask, .. } = self.tasks[&id].phase else {
            return;
        };
        let agreement = self.agreement(id);
        let need = usize::from(agreement.asked.agree);
        let best = agreement.best().1;
        let (open, committed) = (
            agreement.count(Verdict::Open),
            agreement.count(Verdict::Committed),
        );
        if agreement.round == 0 {
            let parts = agreement.asked.replicas.into();
            self.open_round(id, parts, step);
        } else if agreement.closed {
            let grace = turn + GRACE_MS;
            let by = if best >= need {
                grace
            } else {
                turn + REVEAL_MS
            };
            if committed > 0 && now < by {
                let ask = if now >= ask { self.ask(id, step) } else { ask };
                let until = ask.min(by);
                self.enter(id, Phase::Gathering { until, turn, ask });
            } else {
                self.conclude(id, step);
            }
        } else if open > 0 && (now < turn || best + committed < need) {
            let until = if now < turn { turn } else { now + LOOK_MS };
            self.enter(id, Phase::Gathering { until, turn, ask });
        } else if committed == 0 {
            self.conclude(id, step);
        } else {
            self.close_round(id, step);
        }
    }

    fn open_round(&mut self, id: TaskId, parts: usize, step: &mut Step<'_>) {
        let now = step.now;
        let deadline = self.tasks[&id].deadline;
        let lasts_ms = now.mono.until(deadline) / 2;
        let round = self.agreement(id).round + 1;
        let share = self.share(id, parts);
        for _ in 0..parts {
            let part = TaskId(step.uuid_v7());
            self.add_part(id, (part, share), round, step);
            let vote = VoteRecord {
                part,
                round,
                verdict: Verdict::Open,
                promise: None,
                hash: None,
            };
            self.agreement_mut(id).votes.push(vote);
        }
        let agreement = self.agreement_mut(id);
        agreement.round = round;
        agreement.closed = false;
        agreement.closes = Some(now.wall + lasts_ms);
        self.store(id, step);
        let turn = now.mono + lasts_ms;
        let phase = Phase::Gathering {
            until: turn,
            turn,
            ask: now.mono,
        };
        self.enter(id, phase);
    }

    /// What each of so many new parts is worth, if the whole is worth something: equal shares of
    /// what is left once who told a result before has his. What is over is nobody's.
    fn share(&self, whole: TaskId, parts: usize) -> Option<u64> {
        let reward = self.tasks[&whole].record.budget?.reward;
        let votes = self.agreement(whole).votes.iter();
        let told = votes.filter(|vote| vote.verdict == Verdict::Revealed);
        let has = |vote: &VoteRecord| Some(self.tasks.get(&vote.part)?.record.budget?.reward);
        let had = told.filter_map(has).fold(0, u64::saturating_add);
        let left = reward.saturating_sub(had);
        (reward > 0).then(|| left / (parts as u64).max(1))
    }

    fn add_part(
        &mut self,
        whole: TaskId,
        (part, share): (TaskId, Option<u64>),
        round: u32,
        step: &mut Step<'_>,
    ) {
        let Task {
            record, deadline, ..
        } = &self.tasks[&whole];
        let deadline = *deadline;
        let mut part_record = TaskRecord::new(Fresh {
            id: part,
            capability: record.capability.clone(),
            to: None,
            priority: record.priority,
            submitted: step.now.wall,
            start_at: None,
            queued: Some(record.queued_at()),
            deadline: record.deadline,
            key: None,
            // Nobody's submission.
            spec: hash("task part", &[whole.0.as_bytes(), part.0.as_bytes()]),
            prior: None,
            orphan: record.orphan,
            // What several do is not handed on.
            parent: None,
            budget: share.map(|reward| Budget { depth: 0, reward }),
            // Parts are found by their whole.
            marks: Marks {
                labels: BTreeSet::new(),
                ..record.marks.clone()
            },
            input_bytes: record.input_bytes,
            input_file: None,
            stream: false,
        });
        part_record.part = Some(Box::new(PartRecord {
            parent: whole,
            round,
            networks: Vec::new(),
            commitment: None,
        }));
        let task = Task {
            record: part_record,
            input: Vec::new(),
            result: None,
            deadline,
            phase: Phase::Over,
            written: BatchId::NONE,
            due: None,
            events: Log::default(),
            begun: None,
            handed: Handed::default(),
            counted: None,
        };
        self.tasks.insert(part, task);
        self.store(part, step);
        self.enter(part, Phase::Waiting);
        self.feed_submitted(part, step);
    }

    /// From here on results may be told; who has not committed is left out.
    fn close_round(&mut self, id: TaskId, step: &mut Step<'_>) {
        let agreement = self.agreement(id);
        let (round, count) = (agreement.round, agreement.count(Verdict::Committed));
        let note = format!("round {round} with {count} commitments");
        self.event(id, EventKind::Closed, None, Some(&note), step);
        let agreement = self.agreement_mut(id);
        agreement.closed = true;
        let mut late = Vec::new();
        for vote in &mut agreement.votes {
            if vote.verdict == Verdict::Open {
                vote.verdict = Verdict::Late;
                late.push(vote.part);
            }
        }
        for part in late {
            let reason = "the round was closed without it";
            self.end_part(part, TaskState::Canceled, "canceled", reason, step);
        }
        self.store(id, step);
        let now = step.now.mono;
        let ask = self.ask(id, step);
        let phase = Phase::Gathering {
            until: ask,
            turn: now,
            ask,
        };
        self.enter(id, phase);
    }

    /// Asks for the results that are not told yet, once the close is durable (A1).
    fn ask(&mut self, id: TaskId, step: &Step<'_>) -> Mono {
        let mut asked: BTreeMap<EntityId, Vec<RevealItem>> = BTreeMap::new();
        let agreement = self.agreement(id);
        let committed = |vote: &&VoteRecord| vote.verdict == Verdict::Committed;
        for vote in agreement.votes.iter().filter(committed) {
            if let Some(promise) = &vote.promise {
                asked.entry(promise.worker).or_default().push(RevealItem {
                    task_id: vote.part,
                    token: promise.token,
                });
            }
        }
        let after = match self.asks_early() {
            true => BatchId::NONE,
            false => self.tasks[&id].written,
        };
        for (worker, items) in asked {
            self.effects.push(RequesterEffect::Reveal {
                worker,
                items,
                after,
            });
        }
        step.now.mono + ASK_MS
    }

    #[cfg(test)]
    fn asks_early(&self) -> bool {
        self.planted == Some(crate::proto::task::Planted::RevealBeforeClose)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "a planted defect of the tests")]
    fn asks_early(&self) -> bool {
        false
    }

    /// The round has come to its end: an agreement, another round, or nothing.
    fn conclude(&mut self, id: TaskId, step: &mut Step<'_>) {
        let silent: Vec<TaskId> = self
            .agreement(id)
            .votes
            .iter()
            .filter(|vote| vote.verdict == Verdict::Committed)
            .map(|vote| vote.part)
            .collect();
        for part in silent {
            self.unrevealed(id, part, step);
        }
        let agreement = self.agreement(id);
        let need = usize::from(agreement.asked.agree);
        let (best, count) = agreement.best();
        let round = agreement.round;
        let told = agreement
            .votes
            .iter()
            .any(|vote| vote.round == round && vote.promise.is_some());
        if let Some(best) = best.filter(|_| count >= need) {
            return self.agreed(id, best, step);
        }
        let ever = agreement.votes.iter().any(|vote| vote.promise.is_some());
        if (told || round > 1) && round < AGREE_ROUNDS_MAX {
            return self.open_round(id, need - count, step);
        }
        let reason = if ever {
            let told = agreement
                .votes
                .iter()
                .filter(|vote| vote.hash.is_some())
                .count();
            format!(
                "{need} equal results were asked for: of {told} in {round} rounds {count} were equal \
                 at most: {}",
                why::told(agreement).unwrap_or_else(|| "nobody told one".into())
            )
        } else {
            let failed = agreement.votes.iter().rev().find_map(|vote| {
                let task = self.tasks.get(&vote.part)?;
                task.record.reason.clone()
            });
            let failed = failed.unwrap_or_else(|| "none of them ended".into());
            format!("none of its runs came to a result: {failed}")
        };
        self.finish(id, TaskState::Failed, Some(reason), step);
    }

    fn agreed(&mut self, id: TaskId, chosen: ByteArray<32>, step: &mut Step<'_>) {
        self.judge_votes(id, chosen);
        let result = self.agreement(id).votes.iter().find_map(|vote| {
            let equal = vote.hash == Some(chosen);
            let task = self.tasks.get(&vote.part).filter(|_| equal)?;
            task.result.clone()
        });
        let result = result.expect("a result is kept until its whole has ended");
        self.agreement_mut(id).chosen = Some(chosen);
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        task.record.result_bytes = Some(result.len() as u64);
        task.record.result_token = Some(task.record.token);
        self.result_bytes += result.len();
        let key = id.0.as_bytes().to_vec();
        task.written = step.put(Keyspace::TaskResult, key, result.clone());
        task.result = Some(result);
        self.finish(id, TaskState::Completed, None, step);
    }

    /// Who came to the result has done its work; who told another, or a false one, lied; who told none
    /// was lost.
    fn judge_votes(&mut self, id: TaskId, chosen: ByteArray<32>) {
        let judged = self.agreement(id).votes.iter().filter_map(|vote| {
            let end = match vote.verdict {
                Verdict::Revealed if vote.hash == Some(chosen) => AttemptEnd::Completed,
                Verdict::Revealed | Verdict::FalseReveal => AttemptEnd::Lied,
                Verdict::Unrevealed => AttemptEnd::Lost,
                _ => return None,
            };
            Some((vote.promise.as_ref()?.worker, end))
        });
        let judged: Vec<_> = judged.collect();
        self.ends.extend(judged);
    }

    /// Who does not tell its result has its part in no agreement.
    fn unrevealed(&mut self, whole: TaskId, part: TaskId, step: &mut Step<'_>) {
        let reason = "it did not tell the result that it committed to";
        let promise = self
            .agreement(whole)
            .vote(part)
            .and_then(|vote| vote.promise.as_ref());
        let attempt = promise.map(|of| (of.worker, of.token));
        self.event(whole, EventKind::Lost, attempt, Some(reason), step);
        self.vote_mut(whole, part).verdict = Verdict::Unrevealed;
        self.end_part(part, TaskState::Failed, "failed", reason, step);
    }

    fn end_part(
        &mut self,
        part: TaskId,
        state: TaskState,
        word: &str,
        reason: &str,
        step: &mut Step<'_>,
    ) {
        let open = self
            .tasks
            .get(&part)
            .is_some_and(|task| !task.record.state.is_terminal());
        if open {
            self.set_outcome(part, &format!("{word}: {reason}"), true, step);
            self.finish(part, state, Some(reason.into()), step);
        }
    }

    /// A part has ended, or the whole has. The last part of [`Requester::finish`].
    pub(super) fn agreement_ends(&mut self, id: TaskId, step: &mut Step<'_>) {
        let record = &self.tasks[&id].record;
        if let Some(agreement) = &record.agreement {
            let parts: Vec<TaskId> = agreement.votes.iter().map(|vote| vote.part).collect();
            for part in parts {
                let tried = self
                    .tasks
                    .get(&part)
                    .is_some_and(|of| !of.record.attempts.is_empty());
                let vote = self.vote_mut(id, part);
                if vote.verdict == Verdict::Open {
                    vote.verdict = if tried {
                        Verdict::Failed
                    } else {
                        Verdict::Late
                    };
                }
                let reason = "the task that it is part of has ended";
                self.end_part(part, TaskState::Canceled, "canceled", reason, step);
                self.settle_part(id, part, step);
            }
            self.store(id, step);
        } else if let Some(whole) = self.open_whole(id) {
            let vote = self.vote_mut(whole, id);
            if vote.verdict == Verdict::Open {
                vote.verdict = Verdict::Failed;
            }
            self.store(whole, step);
            self.stir_whole(whole, step);
        }
    }

    /// The whole has ended: its result is no part's any more, and the part is forgotten with time.
    fn settle_part(&mut self, whole: TaskId, part: TaskId, step: &mut Step<'_>) {
        let agreement = self.agreement(whole);
        let vote = agreement.vote(part).expect("it has one");
        let same = vote.hash.is_some() && vote.hash == agreement.chosen;
        let Some(task) = self.tasks.get_mut(&part) else {
            return;
        };
        if same && let Some(result) = task.result.take() {
            self.result_bytes -= result.len();
            step.delete(Keyspace::TaskResult, part.0.as_bytes().to_vec());
        }
        let forget_at = step.now.mono + self.config.keep.ended_ms;
        self.over.insert((forget_at, part));
    }

    /// Checks A2 and A4 on this log.
    pub(super) fn check_agreements(&self) -> Result<(), Violation> {
        for (id, task) in &self.tasks {
            let Some(agreement) = &task.record.agreement else {
                continue;
            };
            if task.record.state == TaskState::Completed {
                let count = agreement.best().1;
                let enough = count >= usize::from(agreement.asked.agree)
                    && agreement.best().0 == agreement.chosen;
                Violation::unless(enough, "A4", || {
                    format!("task {id} completed with {count} equal results")
                })?;
            }
            if task.record.state.is_terminal() {
                continue;
            }
            let (mut workers, mut networks) = (BTreeSet::new(), BTreeSet::new());
            for (worker, of) in agreement.votes.iter().filter_map(|vote| self.holder(vote)) {
                let of: BTreeSet<&ByteBuf> = of.iter().collect();
                let apart = workers.insert(worker) && networks.is_disjoint(&of);
                networks.extend(of);
                Violation::unless(apart, "A2", || {
                    format!("{worker} has two parts of {id}, or one beside a neighbour")
                })?;
            }
        }
        Ok(())
    }
}
