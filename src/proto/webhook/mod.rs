//! Telling an address that a task has ended, until it has heard.
//!
//! A webhook waits for its task's end; then it is called, again after pauses that grow if nobody
//! answers well, and is gone once somebody did or the tries are used up.
//!
//! # Invariants
//! - **W1** A webhook is on disk with its task, and stays until it was heard or given up: after a
//!   restart it is called again. It is heard at least once, or not in [`TRIES_MAX`] tries.
//! - **W2** It is called only once its task has ended; the caller waits for the end to be durable.
//!
//! # Bounds
//! `WEBHOOKS_MAX` in all, [`CALLS_MAX`] called at once.

mod target;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::target::{Target, TargetError};
use crate::proto::{RowError, Step, Violation};
use crate::types::limits::WEBHOOKS_MAX;
use crate::types::{BatchId, Keyspace, Mono, Row, TaskId};
use crate::wire::cbor;

/// Tries until it is given up; with the pauses between them about an hour.
pub const TRIES_MAX: u32 = 12;
/// Calls at once.
pub const CALLS_MAX: usize = 16;
const PAUSE_MS: u64 = 1_000;
const PAUSE_MAX_MS: u64 = 3_600_000;
const VERSION: u8 = 1;
const ROW_MAX_BYTES: usize = 16 * 1024;

/// The stored form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    v: u8,
    target: Target,
}

#[derive(Debug)]
struct Hook {
    target: Target,
    tries: u32,
    phase: Phase,
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
    due: BTreeSet<(Mono, TaskId)>,
    calling: BTreeMap<u64, TaskId>,
    next: u64,
}

impl Webhooks {
    /// None yet; calls are numbered from `first`.
    pub fn new(first: u64) -> Webhooks {
        Webhooks {
            hooks: BTreeMap::new(),
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
        if record.v != VERSION {
            let why = format!("it has version {}, this program reads {VERSION}", record.v);
            return Err(error(why));
        }
        self.insert(TaskId(id), record.target);
        Ok(())
    }

    /// After the last row: those whose task has ended are due, and those whose task is gone are
    /// forgotten. `over` says whether a task has ended; none if there is no such task.
    pub fn resume(&mut self, step: &mut Step<'_>, over: impl Fn(TaskId) -> Option<bool>) {
        let ids: Vec<TaskId> = self.hooks.keys().copied().collect();
        for id in ids {
            match over(id) {
                Some(true) => self.ended(id, step.now.mono),
                Some(false) => {}
                None => self.forget(id, step),
            }
        }
    }

    /// Keeps a task's webhook. The same once more is kept again: an acknowledgement of it rests on
    /// the row's newest writing, too.
    pub fn add(&mut self, task: TaskId, target: Target, step: &mut Step<'_>) -> Added {
        match self.hooks.get(&task) {
            Some(hook) if hook.target != target => return Added::Other,
            Some(_) => {}
            None if self.hooks.len() >= WEBHOOKS_MAX => return Added::Full,
            None => self.insert(task, target.clone()),
        }
        let record = Record { v: VERSION, target };
        let key = task.0.as_bytes().to_vec();
        Added::Kept(step.put(Keyspace::Webhook, key, cbor::encode(&record)))
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

    /// A call came to its end.
    pub fn called(&mut self, number: u64, heard: bool, step: &mut Step<'_>) -> Called {
        let Some(task) = self.calling.remove(&number) else {
            return Called::Fine;
        };
        let hook = self.hooks.get_mut(&task).expect("who is called is known");
        if heard || hook.tries >= TRIES_MAX {
            self.forget(task, step);
            return if heard {
                Called::Fine
            } else {
                Called::GivenUp(task)
            };
        }
        // Half of the pause at least: without it a dead address would use its tries up in moments.
        let pause = (PAUSE_MS << hook.tries.min(20)).min(PAUSE_MAX_MS) / 2;
        let at = step.now.mono + (pause + step.backoff_ms(0, pause, pause));
        hook.phase = Phase::Due(at);
        self.due.insert((at, task));
        Called::Fine
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

    fn insert(&mut self, task: TaskId, target: Target) {
        let hook = Hook {
            target,
            tries: 0,
            phase: Phase::Waiting,
        };
        self.hooks.insert(task, hook);
    }

    fn forget(&mut self, task: TaskId, step: &mut Step<'_>) {
        self.hooks.remove(&task);
        step.delete(Keyspace::Webhook, task.0.as_bytes().to_vec());
    }
}
