//! Tasks as the API sees them: submitted, shown, awaited.

use std::collections::BTreeSet;

use super::Node;
use super::agree::{self, agreement_view};
use super::command::{
    CommandError, CommandErrorCode, CommandResult, Orphan, Reply, Submission, TaskFilter,
};
use super::delegation::Spending;
use super::events::progress_view;
use super::views::{AttemptView, BudgetView, ConsideredView, ParentView, TaskView};
use crate::proto::Step;
use crate::proto::task::{
    Considered, Delegation, NewTask, Start, SubmitOutcome, TaskRecord, Verdict, nobody_fits,
};
use crate::proto::webhook::Target;
use crate::types::limits::{COMMANDS_MAX, INPUT_MAX_BYTES, LABELS_MAX, SUBMIT_MAX_TASKS};
use crate::types::{Amount, BatchId, CommandId, Label, Now, TaskId, TaskState, Wall};

pub(super) const DEADLINE_MAX_MS: u64 = 7 * 24 * 3600 * 1000;
/// How far ahead a task may be scheduled.
const START_MAX_MS: u64 = 30 * 24 * 3600 * 1000;

impl Node {
    pub(super) fn submit(
        &mut self,
        submission: Submission,
        step: &mut Step<'_>,
    ) -> (CommandResult, BatchId) {
        let mut spending = Spending::default();
        let webhooks = self.new_webhooks(std::slice::from_ref(&submission));
        let new = self.new_task(submission, &mut spending, step.now);
        let (new, webhooks) = match new.and_then(|new| Ok((new, webhooks?))) {
            Ok(both) => both,
            Err(error) => return (Err(error), BatchId::NONE),
        };
        let (id, input_file) = (new.id, new.input_file);
        match self.requester.submit(new, step) {
            SubmitOutcome::Queued(after) => {
                self.spend(spending, step);
                self.name_input(input_file);
                self.keep_webhooks(webhooks, step);
                self.seek_workers(step);
                (self.task_reply(id), after)
            }
            SubmitOutcome::Known(known, after) => (
                self.task_reply(known),
                after.max(self.webhook_written(known)),
            ),
            SubmitOutcome::Conflict(other) => self.rested(other, Err(taken(other))),
            SubmitOutcome::Full(full) => (Err(self.full(full)), BatchId::NONE),
        }
    }

    /// All of these tasks, or none.
    pub(super) fn submit_many(
        &mut self,
        all: Vec<Submission>,
        step: &mut Step<'_>,
    ) -> (CommandResult, BatchId) {
        if !(1..=SUBMIT_MAX_TASKS).contains(&all.len()) {
            let text = format!(
                "a list has 1 to {SUBMIT_MAX_TASKS} tasks, not {}",
                all.len()
            );
            let code = match all.len() {
                0 => CommandErrorCode::Invalid,
                _ => CommandErrorCode::TooLarge,
            };
            return (Err(CommandError::new(code, text)), BatchId::NONE);
        }
        // Which one it was, by its place.
        let at = |place: usize, error: CommandError| CommandError {
            message: format!(
                "tasks[{place}]: {}; none of the list was handed over",
                error.message
            ),
            ..error
        };
        let webhooks = match self.new_webhooks(&all) {
            Ok(webhooks) => webhooks,
            Err(error) => return (Err(error), BatchId::NONE),
        };
        let mut spending = Spending::default();
        let mut news = Vec::with_capacity(all.len());
        for (place, submission) in all.into_iter().enumerate() {
            match self.new_task(submission, &mut spending, step.now) {
                Ok(new) => news.push(new),
                Err(error) => return (Err(at(place, error)), BatchId::NONE),
            }
        }
        let files: Vec<_> = news.iter().map(|new| new.input_file).collect();
        match self.requester.submit_many(news, step) {
            Ok((ids, after)) => {
                self.spend(spending, step);
                files.into_iter().for_each(|file| self.name_input(file));
                self.keep_webhooks(webhooks, step);
                self.seek_workers(step);
                let view = |id: &TaskId| {
                    let (record, _) = self.requester.task(*id)?;
                    Some(task_view(record, self.waits_for(record)))
                };
                let tasks = ids.iter().filter_map(view).collect();
                (Ok(Reply::Tasks { tasks, next: None }), after)
            }
            Err((place, SubmitOutcome::Full(full))) => {
                (Err(at(place, self.full(full))), BatchId::NONE)
            }
            Err((place, SubmitOutcome::Conflict(other) | SubmitOutcome::Known(other, _))) => {
                self.rested(other, Err(at(place, taken(other))))
            }
            Err((_, SubmitOutcome::Queued(_))) => unreachable!("that is no refusal"),
        }
    }

    fn new_task(
        &self,
        submission: Submission,
        spending: &mut Spending,
        now: Now,
    ) -> Result<NewTask, CommandError> {
        self.check_webhook(&submission)?;
        let Submission {
            id,
            capability,
            input,
            to,
            priority,
            start,
            deadline_ms,
            key,
            orphan,
            agreement,
            wish,
            parent,
            input_file,
            stream,
            marks,
            webhook,
        } = submission;
        if !marks.fits() {
            return Err(CommandError::new(
                CommandErrorCode::Invalid,
                format!("a task has at most {LABELS_MAX} labels, and needs at most as many"),
            ));
        }
        let input_file = input_file
            .map(|root| self.input_file(id, root))
            .transpose()?;
        if input.len() > INPUT_MAX_BYTES {
            return Err(CommandError::new(
                CommandErrorCode::TooLarge,
                format!(
                    "the input has {} bytes, a task takes {INPUT_MAX_BYTES}",
                    input.len()
                ),
            ));
        }
        if !(1..=DEADLINE_MAX_MS).contains(&deadline_ms) {
            return Err(CommandError::new(
                CommandErrorCode::Invalid,
                "the deadline must be between 1 ms and 7 days from the start",
            ));
        }
        if let Some(asked) = agreement {
            if input_file.is_some() {
                return Err(CommandError::new(
                    CommandErrorCode::Invalid,
                    "an input for several workers has 1 MiB at most",
                ));
            }
            if stream {
                return Err(CommandError::new(
                    CommandErrorCode::Invalid,
                    "what several workers are to agree on is not told before it is done: leave \
                     out stream",
                ));
            }
            agree::check(asked, to.is_some())?;
        }
        let wait_ms = match start {
            Start::Now => 0,
            Start::In(ms) => ms,
            Start::At(at) => at.0.saturating_sub(now.wall.0),
        };
        if wait_ms > START_MAX_MS {
            return Err(CommandError::new(
                CommandErrorCode::Invalid,
                "the start must be within 30 days from now",
            ));
        }
        let to = to
            .map(|peer| self.resolve(&peer))
            .transpose()?
            .map(|(_, entity)| entity);
        let mut new = NewTask {
            id,
            capability,
            input,
            to,
            priority,
            start,
            deadline_ms,
            key,
            orphan,
            agreement,
            marks,
            input_file,
            stream,
            delegation: Delegation {
                wish,
                parent,
                ..Delegation::default()
            },
            told: webhook.as_deref().map(Target::digest),
        };
        self.narrow(&mut new, wait_ms, spending, now.mono)?;
        Ok(new)
    }

    pub(super) fn tasks(&self, filter: &TaskFilter) -> (CommandResult, BatchId) {
        let asked = |record: &TaskRecord| {
            (filter.parts || record.part.is_none())
                && filter.state.is_none_or(|state| record.state == state)
                && (record.dead || !filter.dead)
                && (filter.label.as_ref()).is_none_or(|label| record.marks.labels.contains(label))
                && (filter.capability.as_ref()).is_none_or(|cap| record.capability == *cap)
        };
        let (mut after, mut next) = (BatchId::NONE, None);
        let mut tasks = Vec::new();
        let found = self.requester.tasks_from(filter.after, filter.newest);
        for (record, written) in found.filter(|(record, _)| asked(record)) {
            if tasks.len() >= filter.limit {
                break;
            }
            after = after.max(written);
            next = Some(record.id);
            tasks.push(task_view(record, self.waits_for(record)));
        }
        // A full page may be the last: then the next one is empty.
        let next = next.filter(|_| tasks.len() >= filter.limit);
        (Ok(Reply::Tasks { tasks, next }), after)
    }

    pub(super) fn task_reply(&self, id: TaskId) -> CommandResult {
        let (record, _) = self.requester.task(id).ok_or_else(|| no_task(id))?;
        let view = TaskView {
            moving: self.moving(id),
            progress: self.requester.progress(id).map(progress_view),
            considered: record.considered.iter().map(considered_view).collect(),
            others: record.others,
            webhook: self.webhook_view(id),
            ..task_view(record, self.waits_for(record))
        };
        Ok(Reply::Task(Box::new(view)))
    }

    /// A task, and if it waits for a worker, what keeps each from it.
    pub(super) fn show_task(&mut self, id: TaskId, now: Now) -> CommandResult {
        let mut reply = self.task_reply(id)?;
        let (record, _) = self.requester.task(id).ok_or_else(|| no_task(id))?;
        if let Reply::Task(view) = &mut reply
            && record.state == TaskState::Submitted
        {
            let capability = record.capability.clone();
            let candidates = self.candidates(&capability, now);
            let (considered, others) = self.requester.considered(id, &candidates, now.mono);
            if let Some(why) = nobody_fits(&capability, &considered) {
                view.reason = Some(format!("waits for a worker: {why}"));
            }
            view.considered = considered.iter().map(considered_view).collect();
            view.others = others;
        }
        Ok(reply)
    }

    pub(super) fn result_reply(&self, id: TaskId) -> CommandResult {
        let (record, _) = self.requester.task(id).ok_or_else(|| no_task(id))?;
        if let Some(content) = record.result_file {
            let file = self.payload_file(&content).ok_or_else(|| {
                let text = format!(
                    "the result of task {id} is gone from this node's disk: hand the task over again"
                );
                CommandError::new(CommandErrorCode::NotFound, text)
            })?;
            return Ok(Reply::TaskResultFile {
                worker: record.worker,
                attempts: record.attempts.len(),
                file,
            });
        }
        match (record.state, self.requester.result(id)) {
            (TaskState::Completed, Some(result)) => Ok(Reply::TaskResult {
                worker: record.worker,
                attempts: record.attempts.len(),
                result: result.to_vec(),
            }),
            (state, _) => Err(CommandError::new(
                CommandErrorCode::Conflict,
                format!(
                    "task {id} is {}: only a completed task has a result",
                    state.as_str()
                ),
            )),
        }
    }

    pub(super) fn await_task(
        &mut self,
        id: CommandId,
        task: TaskId,
    ) -> Option<(CommandResult, BatchId)> {
        let Some((record, written)) = self.requester.task(task) else {
            return Some((Err(no_task(task)), BatchId::NONE));
        };
        if record.state.is_terminal() {
            let written = written.max(self.webhook_written(task));
            return Some((self.task_reply(task), written));
        }
        if self.await_task.values().map(Vec::len).sum::<usize>() >= COMMANDS_MAX {
            let error = CommandError::new(CommandErrorCode::Busy, "too many wait for tasks");
            return Some((Err(error), BatchId::NONE));
        }
        self.await_task.entry(task).or_default().push(id);
        None
    }

    pub(super) fn cancel_task(
        &mut self,
        id: TaskId,
        step: &mut Step<'_>,
    ) -> (CommandResult, BatchId) {
        let Some((after, stopped)) = self.requester.cancel(id, step) else {
            return (Err(no_task(id)), BatchId::NONE);
        };
        let record = self.requester.task(id).map(|(record, _)| record);
        let why_not = match record.map(|record| (record.state, record.part.as_ref())) {
            // Said again, it is true again.
            _ if stopped => None,
            Some((TaskState::Canceled, _)) => None,
            Some((state, _)) if state.is_terminal() => {
                Some(format!("task {id} is {} already", state.as_str()))
            }
            Some((_, Some(part))) => Some(format!(
                "task {id} is a part of task {}: cancel that one",
                part.parent
            )),
            _ => None,
        };
        let conflict = |text| CommandError::new(CommandErrorCode::Conflict, text);
        match why_not {
            Some(text) => (Err(conflict(text)), after),
            None => (self.task_reply(id), after),
        }
    }

    pub(super) fn drop_task(
        &mut self,
        id: TaskId,
        step: &mut Step<'_>,
    ) -> (CommandResult, BatchId) {
        match self.requester.drop_dead(id, step) {
            Some((after, true)) => (self.task_reply(id), after),
            Some((after, false)) => {
                let text = format!(
                    "task {id} keeps no input: it did not fail, or its input was dropped before"
                );
                (
                    Err(CommandError::new(CommandErrorCode::Conflict, text)),
                    after,
                )
            }
            None => (Err(no_task(id)), BatchId::NONE),
        }
    }

    /// A reply about a task waits for what the task's rows wait for.
    pub(super) fn rested(&self, task: TaskId, result: CommandResult) -> (CommandResult, BatchId) {
        let written = self.requester.task(task).map(|(_, written)| written);
        let written = written.unwrap_or(BatchId::NONE);
        (result, written.max(self.webhook_written(task)))
    }

    /// What a waiting task waits for, in words.
    pub(super) fn waits_for(&self, record: &TaskRecord) -> Option<String> {
        if record.state != TaskState::Submitted {
            return None;
        }
        if let Some(at) = self.requester.begins(record.id) {
            return Some(format!("waits for its start at {}", at.to_rfc3339()));
        }
        if let Some(agreement) = &record.agreement {
            let replicas = agreement.asked.replicas;
            return Some(format!(
                "waits for workers that commit to a result, of {replicas} asked"
            ));
        }
        let capability = &record.capability;
        let offered = self.registry.offering(capability).next().is_some();
        let what = match (record.to, offered) {
            (Some(to), _) if self.registry.entry(&to).is_none() => {
                "the worker it names is not known at the moment"
            }
            (None, false) => return Some(format!("no known peer offers {capability}")),
            _ => "a free slot at a worker that can be reached",
        };
        Some(format!("waits for {what}"))
    }
}

/// An id or a key belongs to this task.
fn taken(other: TaskId) -> CommandError {
    let what = "is another task than this one under the same id or key: nothing was handed over; \
                choose another";
    CommandError::new(CommandErrorCode::Conflict, format!("task {other} {what}"))
}

pub(super) fn no_task(id: TaskId) -> CommandError {
    CommandError::new(CommandErrorCode::NotFound, format!("there is no task {id}"))
}

pub(super) fn task_view(record: &TaskRecord, waits_for: Option<String>) -> TaskView {
    let attempts = record
        .attempts
        .iter()
        .map(|attempt| AttemptView {
            worker: attempt.worker.to_string(),
            token: attempt.token.0,
            started: attempt.started.to_rfc3339(),
            ended: attempt.ended.map(|at| at.to_rfc3339()),
            outcome: attempt.outcome.clone(),
            considered: attempt.considered.iter().map(considered_view).collect(),
            others: attempt.others,
        })
        .collect();
    let agreement = record.agreement.as_deref();
    let mut votes = agreement.into_iter().flat_map(|of| &of.votes);
    let untried = votes.all(|vote| vote.verdict == Verdict::Late && vote.promise.is_none());
    TaskView {
        id: record.id.to_string(),
        capability: record.capability.to_string(),
        state: record.state,
        priority: record.priority,
        to: record.to.map(|worker| worker.to_string()),
        submitted: record.submitted.to_rfc3339(),
        start_at: record.start_at.map(Wall::to_rfc3339),
        deadline: record.deadline.to_rfc3339(),
        key: record.key.as_ref().map(ToString::to_string),
        parent: record.parent.map(|parent| ParentView {
            requester: parent.requester.to_string(),
            task: parent.task.to_string(),
        }),
        budget: record.budget.map(|budget| BudgetView {
            depth: budget.depth,
            reward: Amount(budget.reward),
            spent: Amount(record.spent()),
        }),
        stops: record.orphan == Some(Orphan::Stop),
        stream: record.stream,
        moving: None,
        progress: None,
        input_bytes: usize::try_from(record.input_bytes).unwrap_or(usize::MAX),
        result_bytes: record
            .result_bytes
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        reason: record.reason.clone().or(waits_for),
        no_worker: record.state == TaskState::Failed && record.attempts.is_empty() && untried,
        dead: record.dead,
        prior: record.prior.map(|id| id.to_string()),
        again: record.again.map(|id| id.to_string()),
        attempts,
        attempts_cut: record.attempts_cut,
        labels: texts(&record.marks.labels),
        needs: texts(&record.marks.needs),
        min_tier: record.marks.tier_min,
        considered: Vec::new(),
        others: 0,
        agreement: agreement.map(agreement_view),
        dissent: agreement.map(|of| of.dissent().map(|who| who.to_string()).collect()),
        part_of: record.part.as_ref().map(|part| part.parent.to_string()),
        webhook: None,
    }
}

fn texts(labels: &BTreeSet<Label>) -> Vec<String> {
    labels.iter().map(ToString::to_string).collect()
}

fn considered_view(one: &Considered) -> ConsideredView {
    ConsideredView {
        worker: one.worker.to_string(),
        why: one.why.as_str().into(),
        room: one.room,
        rtt_us: one.rtt_us,
        score: one.score,
        price: Amount(one.price),
        weight: one.weight,
    }
}
