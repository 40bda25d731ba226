//! Telling an address that a task has ended, until it has heard.
//!
//! A webhook waits for its task's end; then it is called, again after pauses that grow if nobody
//! answers well, until somebody did or the tries are used up. Then its address and secret are gone,
//! and how it came to its end is remembered as long as a task is.
//!
//! # Invariants
//! - **W1** A webhook is on disk with its task, and stays until it was heard or given up: after a
//!   restart it is called again. It is heard at least once, or not in [`TRIES_MAX`] tries.
//! - **W2** It is called only once its task has ended; the caller waits for the end to be durable.
//!
//! - **W3** Of one that is over neither address nor secret is kept.
//!
//! # Bounds
//! `WEBHOOKS_MAX` that are not over, as many that are, [`CALLS_MAX`] called at once.

mod over;
mod target;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::over::{End, Over};
pub use self::target::{Target, TargetError};
use crate::proto::{RowError, Step, Violation};
use crate::types::limits::WEBHOOKS_MAX;
use crate::types::{BatchId, Keyspace, Mono, Row, TaskId, Wall};
use crate::wire::cbor;

/// Tries until it is given up; with the pauses between them about an hour.
pub const TRIES_MAX: u32 = 12;
/// Calls at once.
pub const CALLS_MAX: usize = 16;
const PAUSE_MS: u64 = 1_000;
const PAUSE_MAX_MS: u64 = 3_600_000;
/// The version of a row that has a target, and of one that has an end.
const VERSION_OPEN: u8 = 1;
const VERSION_OVER: u8 = 2;
const ROW_MAX_BYTES: usize = 16 * 1024;
/// What is kept of an answer that was not good.
const ANSWER_MAX_CHARS: usize = 200;

/// The stored form: one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    v: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<End>,
}

#[derive(Debug)]
struct Hook {
    target: Target,
    tries: u32,
    phase: Phase,
    /// What the last try came to.
    answer: Option<String>,
    written: BatchId,
}

/// How far a webhook is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// For its task's end.
    Waiting,
    /// It is called, or will be again.
    Calling,
    Heard(Wall),
    GivenUp(Wall),
}

/// What is told of a webhook: neither address nor secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing<'a> {
    pub stage: Stage,
    /// Since the node's start, or in all where it is over.
    pub tries: u32,
    /// What the last try came to that was not heard.
    pub answer: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The task has not ended.
    Waiting,
    Due(Mono),
    Calling,
}

/// A call to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Names this try: the answer goes to [`Webhooks::called`] under it.
    pub number: u64,
    pub task: TaskId,
    pub target: Target,
}

/// What became of a webhook that was asked for.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// Acknowledge once this batch is durable.
    Kept(BatchId),
    /// The task has another one.
    Other,
    /// There are too many.
    Full,
}

/// What became of a call.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// It was heard, or is tried again, or is of another life.
    Fine,
    /// It was the last try.
    GivenUp(TaskId),
}

/// The webhooks of our tasks.
#[derive(Debug)]
pub struct Webhooks {
    hooks: BTreeMap<TaskId, Hook>,
    over: Over,
    due: BTreeSet<(Mono, TaskId)>,
    calling: BTreeMap<u64, TaskId>,
    next: u64,
}

impl Webhooks {
    /// None yet; calls are numbered from `first`.
    pub fn new(first: u64) -> Webhooks {
        Webhooks {
            hooks: BTreeMap::new(),
            over: Over::default(),
            due: BTreeSet::new(),
            calling: BTreeMap::new(),
            next: first,
        }
    }

    /// Takes one stored row back; rows of other keyspaces are left alone.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn load(&mut self, row: &Row) -> Result<(), RowError> {
        if row.space != Keyspace::Webhook {
            return Ok(());
        }
        let error = |why: String| RowError {
            what: "webhook",
            why,
        };
        let id = uuid::Uuid::from_slice(&row.key)
            .map_err(|_| error("its key has another length".into()))?;
        let record: Record =
            cbor::decode(&row.value, ROW_MAX_BYTES).map_err(|e| error(e.to_string()))?;
        match record {
            Record {
                v: VERSION_OPEN,
                target: Some(target),
                end: None,
            } => self.insert(TaskId(id), target, BatchId::NONE),
            Record {
                v: VERSION_OVER,
                target: None,
                end: Some(end),
            } => self.over.insert(TaskId(id), end, BatchId::NONE),
            Record { v, .. } => {
                let why = format!("this program does not read it as version {v}");
                return Err(error(why));
            }
        }
        Ok(())
    }

    /// After the last row: those whose task has ended are due, and those whose task is gone are
    /// forgotten. `over` says whether a task has ended; none if there is no such task.
    pub fn resume(&mut self, step: &mut Step<'_>, over: impl Fn(TaskId) -> Option<bool>) {
        let ids: Vec<TaskId> = self
            .hooks
            .keys()
            .chain(self.over.tasks())
            .copied()
            .collect();
        for id in ids {
            match over(id) {
                Some(true) => self.ended(id, step.now.mono),
                Some(false) => {}
                None => self.forget(id, step),
            }
        }
        self.over.trim(step);
    }

    /// Keeps a task's webhook. The same once more is kept again: an acknowledgement of it rests on
    /// the row's newest writing, too.
    pub fn add(&mut self, task: TaskId, target: Target, step: &mut Step<'_>) -> Added {
        match self.hooks.get(&task) {
            Some(hook) if hook.target != target => return Added::Other,
            Some(_) => {}
            None if self.room() == 0 => return Added::Full,
            None => self.insert(task, target, BatchId::NONE),
        }
        Added::Kept(self.store(task, step))
    }

    /// Keeps the webhook of a task that is new, for which there is [`Webhooks::room`]. It rests on
    /// the returned batch.
    pub fn begin(&mut self, task: TaskId, target: Target, step: &mut Step<'_>) -> BatchId {
        // Of a task of the same id that is forgotten.
        self.forget(task, step);
        self.insert(task, target, BatchId::NONE);
        self.store(task, step)
    }

    /// How many more may be kept.
    pub fn room(&self) -> usize {
        WEBHOOKS_MAX.saturating_sub(self.hooks.len())
    }

    /// How far a task's webhook is, and the batch that this rests on.
    pub fn standing(&self, task: TaskId) -> Option<(Standing<'_>, BatchId)> {
        let Some(hook) = self.hooks.get(&task) else {
            return self.over.standing(task);
        };
        let standing = Standing {
            stage: match hook.phase {
                Phase::Waiting => Stage::Waiting,
                Phase::Due(_) | Phase::Calling => Stage::Calling,
            },
            tries: hook.tries,
            answer: hook.answer.as_deref(),
        };
        Some((standing, hook.written))
    }

    /// The task has ended.
    pub fn ended(&mut self, task: TaskId, now: Mono) {
        let waiting = |hook: &&mut Hook| hook.phase == Phase::Waiting;
        if let Some(hook) = self.hooks.get_mut(&task).filter(waiting) {
            hook.phase = Phase::Due(now);
            self.due.insert((now, task));
        }
    }

    /// The calls to make now.
    pub fn tick(&mut self, now: Mono) -> Vec<Call> {
        let mut calls = Vec::new();
        while self.calling.len() < CALLS_MAX {
            let due = self.due.first().copied().filter(|(at, _)| *at <= now);
            let Some((at, task)) = due else {
                break;
            };
            self.due.remove(&(at, task));
            let hook = self.hooks.get_mut(&task).expect("what is due is known");
            hook.phase = Phase::Calling;
            hook.tries += 1;
            let (number, target) = (self.next, hook.target.clone());
            self.next += 1;
            self.calling.insert(number, task);
            calls.push(Call {
                number,
                task,
                target,
            });
        }
        calls
    }

    /// A call came to its end: it was heard, or why not.
    pub fn called(
        &mut self,
        number: u64,
        answer: Result<(), String>,
        step: &mut Step<'_>,
    ) -> Called {
        let Some(task) = self.calling.remove(&number) else {
            return Called::Fine;
        };
        let hook = self.hooks.get_mut(&task).expect("who is called is known");
        let Err(why) = answer else {
            self.end(task, true, step);
            return Called::Fine;
        };
        hook.answer = Some(why.chars().take(ANSWER_MAX_CHARS).collect());
        if hook.tries >= TRIES_MAX {
            self.end(task, false, step);
            return Called::GivenUp(task);
        }
        // Half of the pause at least: without it a dead address would use its tries up in moments.
        let pause = (PAUSE_MS << hook.tries.min(20)).min(PAUSE_MAX_MS) / 2;
        let at = step.now.mono + (pause + step.backoff_ms(0, pause, pause));
        hook.phase = Phase::Due(at);
        self.due.insert((at, task));
        Called::Fine
    }

    /// A call that was not made and is not to be tried again, and why.
    pub fn given_up(&mut self, call: &Call, why: &str, step: &mut Step<'_>) {
        self.calling.remove(&call.number);
        if let Some(hook) = self.hooks.get_mut(&call.task) {
            hook.answer = Some(why.into());
            self.end(call.task, false, step);
        }
    }

    /// When [`Webhooks::tick`] is next needed.
    pub fn next_deadline(&self) -> Option<Mono> {
        let room = self.calling.len() < CALLS_MAX;
        self.due.first().map(|(at, _)| *at).filter(|_| room)
    }

    /// Checks that every index names what there is.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<(), Violation> {
        let count = |fits: fn(&Hook) -> bool| self.hooks.values().filter(|hook| fits(hook)).count();
        let due = count(|hook| matches!(hook.phase, Phase::Due(_)));
        let calling = count(|hook| hook.phase == Phase::Calling);
        Violation::unless(
            due == self.due.len() && calling == self.calling.len(),
            "W1",
            || format!("{due} webhooks are due and {calling} called, not as indexed"),
        )
    }

    fn insert(&mut self, task: TaskId, target: Target, written: BatchId) {
        let hook = Hook {
            target,
            tries: 0,
            phase: Phase::Waiting,
            answer: None,
            written,
        };
        self.over.remove(task);
        self.hooks.insert(task, hook);
    }

    /// Writes the row of one that is not over.
    fn store(&mut self, task: TaskId, step: &mut Step<'_>) -> BatchId {
        let hook = self.hooks.get_mut(&task).expect("it was just added");
        let record = Record {
            v: VERSION_OPEN,
            target: Some(hook.target.clone()),
            end: None,
        };
        let key = task.0.as_bytes().to_vec();
        hook.written = step.put(Keyspace::Webhook, key, cbor::encode(&record));
        hook.written
    }

    /// It is over: how that came is remembered, and nothing else (W3).
    fn end(&mut self, task: TaskId, heard: bool, step: &mut Step<'_>) {
        let Some(hook) = self.hooks.remove(&task) else {
            return;
        };
        let end = End {
            at: step.now.wall,
            heard,
            tries: hook.tries,
            answer: hook.answer.filter(|_| !heard),
        };
        let record = Record {
            v: VERSION_OVER,
            target: None,
            end: Some(end.clone()),
        };
        let key = task.0.as_bytes().to_vec();
        let written = step.put(Keyspace::Webhook, key, cbor::encode(&record));
        self.over.insert(task, end, written);
        self.over.trim(step);
    }

    /// Nothing of it is left.
    pub fn forget(&mut self, task: TaskId, step: &mut Step<'_>) {
        let open = self.hooks.remove(&task).is_some();
        if open {
            self.due.retain(|(_, of)| *of != task);
            self.calling.retain(|_, of| *of != task);
        }
        if open || self.over.remove(task) {
            step.delete(Keyspace::Webhook, task.0.as_bytes().to_vec());
        }
    }
}
