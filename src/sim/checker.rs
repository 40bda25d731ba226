//! The invariants that no core can see alone: between memory and disk, and between nodes.
//!
//! What is durable is decoded as it becomes durable, so that a check after a step looks only at
//! the node that was stepped. The numbers are those of [`crate::proto::task`].
//!
//! - **T1** An acknowledged task has its row on its requester's disk, and keeps it.
//! - **T2** A terminal state and its result, once on disk or told to anybody, never change; what is
//!   told is on disk.
//! - **T3** A durable token never falls; memory is never behind it; no worker holds a token above
//!   the requester's durable one.
//! - **T4** A completed task's result is the right answer, from the worker the task was given.
//! - **T5** What the requester takes for accepted is on the worker's disk under that token or a
//!   later one; a worker lets go of an outcome only when the requester's disk no longer needs it.
//! - **T6** No two running workers hold a live lease on one task.

use std::collections::BTreeMap;

use super::disk::Disk;
use super::host::{Host, answer_to, read_result};
use super::stage::Stage;
use crate::proto::Violation;
use crate::proto::node::{Node, TaskState};
use crate::proto::task::{HeldKey, HeldRecord, HeldState, TaskRecord, held_key};
use crate::types::{EntityId, Keyspace, TaskId, WriteBatch, WriteOp};
use crate::wire::{TaskOutcome, cbor};

const OUTCOME_MAX_BYTES: usize = 2 * 1024 * 1024;

/// What a machine's disk says, decoded.
#[derive(Default)]
struct Durable {
    tasks: BTreeMap<TaskId, TaskRecord>,
    results: BTreeMap<TaskId, Vec<u8>>,
    held: BTreeMap<HeldKey, HeldRecord>,
    outcomes: BTreeMap<HeldKey, bool>,
}

/// Watches the whole world.
pub(super) struct Checker {
    entities: Vec<EntityId>,
    durable: Vec<Durable>,
    /// Whether the outcome a worker stored last completes the task: written, not yet durable.
    written_outcomes: Vec<BTreeMap<HeldKey, bool>>,
    /// What each task must come to.
    answers: BTreeMap<TaskId, String>,
    acknowledged: BTreeMap<TaskId, usize>,
    /// Terminal tasks as first seen.
    terminal: BTreeMap<TaskId, (TaskState, Option<Vec<u8>>)>,
}

type Checked = Result<(), Violation>;

impl Checker {
    pub(super) fn new(entities: Vec<EntityId>) -> Checker {
        let hosts = entities.len();
        Checker {
            entities,
            durable: (0..hosts).map(|_| Durable::default()).collect(),
            written_outcomes: vec![BTreeMap::new(); hosts],
            answers: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            terminal: BTreeMap::new(),
        }
    }

    /// A task that will be submitted.
    pub(super) fn expect(&mut self, task: TaskId, input: &[u8]) {
        self.answers.insert(task, answer_to(input));
    }

    fn host_of(&self, entity: &EntityId) -> Option<usize> {
        self.entities.iter().position(|known| known == entity)
    }

    /// The client at `host` was told that its submission is kept.
    pub(super) fn acknowledged(&mut self, host: usize, task: TaskId) -> Checked {
        self.acknowledged.insert(task, host);
        Violation::unless(self.durable[host].tasks.contains_key(&task), "T1", || {
            format!("task {task} was acknowledged by node {host} and is not on its disk")
        })
    }

    /// A client was told that a task is terminal.
    pub(super) fn told(&self, host: usize, task: TaskId, state: TaskState) -> Checked {
        let durable = self.durable[host]
            .tasks
            .get(&task)
            .map(|record| record.state);
        Violation::unless(durable == Some(state), "T2", || {
            let durable = durable.map_or("nothing", TaskState::as_str);
            format!(
                "a client of node {host} was told that {task} is {}, its disk says {durable}",
                state.as_str()
            )
        })
    }

    /// A client was told that a task was stopped.
    pub(super) fn told_stopped(&self, host: usize, task: TaskId) -> Checked {
        let durable = self.durable[host]
            .tasks
            .get(&task)
            .map(|record| record.state);
        Violation::unless(durable.is_some_and(TaskState::is_terminal), "T2", || {
            format!(
                "a client of node {host} was told that {task} is stopped, its disk is not so far"
            )
        })
    }

    /// A client was given a result.
    pub(super) fn told_result(&self, host: usize, task: TaskId, result: &[u8]) -> Checked {
        let durable = self.durable[host].results.get(&task);
        Violation::unless(
            durable.is_some_and(|durable| durable == result),
            "T2",
            || {
                format!(
                    "a client of node {host} was given a result of {task} that its disk has not"
                )
            },
        )
    }

    /// A core asked its disk to write: what a worker takes or lets go of is judged here, before
    /// anything could be told of it.
    pub(super) fn written(&mut self, host: usize, batch: &WriteBatch) -> Checked {
        for op in &batch.ops {
            match op {
                WriteOp::Put {
                    space: Keyspace::HeldResult,
                    key,
                    value,
                } => {
                    let outcome = completes(value)?;
                    self.written_outcomes[host].insert(read_held_key(key)?, outcome);
                }
                WriteOp::Put {
                    space: Keyspace::Held,
                    key,
                    value,
                } => {
                    self.check_held(host, read_held_key(key)?, &read_held(value)?)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_held(&self, host: usize, key: HeldKey, held: &HeldRecord) -> Checked {
        let requester = self.host_of(&key.requester);
        let record = requester.and_then(|at| self.durable[at].tasks.get(&key.task));
        let Some(record) = record.filter(|record| held.token <= record.token) else {
            let detail = format!(
                "node {host} holds {} under token {}, its requester's disk has {:?}",
                key.task,
                held.token,
                record.map(|record| record.token.0)
            );
            return Err(Violation {
                invariant: "T3",
                detail,
            });
        };
        if held.state != HeldState::Tombstone {
            return Ok(());
        }
        let completed = self.written_outcomes[host]
            .get(&key)
            .or_else(|| self.durable[host].outcomes.get(&key))
            .copied();
        let attempt_ended = || {
            let of_token = |a: &&crate::proto::task::AttemptRecord| a.token == held.token;
            record
                .attempts
                .iter()
                .find(of_token)
                .is_some_and(|attempt| attempt.ended.is_some())
        };
        let over = record.state.is_terminal()
            || record.token > held.token
            || (completed != Some(true) && attempt_ended());
        Violation::unless(over, "T5", || {
            format!(
                "node {host} let go of {} (token {}, completed: {completed:?}), which is {} on its \
                 requester's disk",
                key.task,
                held.token,
                record.state.as_str()
            )
        })
    }

    /// A batch became durable.
    pub(super) fn durable(&mut self, host: usize, batch: &WriteBatch) -> Checked {
        let mut changed = Vec::new();
        for op in &batch.ops {
            match op {
                WriteOp::Put {
                    space: Keyspace::Task,
                    value,
                    ..
                } => {
                    let record = TaskRecord::from_row(value).map_err(unreadable)?;
                    changed.push(record.id);
                    self.take_record(host, record)?;
                }
                WriteOp::Put {
                    space: Keyspace::TaskResult,
                    key,
                    value,
                } => {
                    self.durable[host]
                        .results
                        .insert(read_task_id(key)?, value.clone());
                }
                WriteOp::Put {
                    space: Keyspace::Held,
                    key,
                    value,
                } => {
                    self.durable[host]
                        .held
                        .insert(read_held_key(key)?, read_held(value)?);
                }
                WriteOp::Put {
                    space: Keyspace::HeldResult,
                    key,
                    value,
                } => {
                    self.durable[host]
                        .outcomes
                        .insert(read_held_key(key)?, completes(value)?);
                }
                WriteOp::Delete {
                    space: Keyspace::Task,
                    key,
                } => {
                    let id = read_task_id(key)?;
                    self.durable[host].tasks.remove(&id);
                    let kept = self.acknowledged.get(&id) != Some(&host);
                    Violation::unless(kept, "T1", || {
                        format!("acknowledged task {id} went from the disk of node {host}")
                    })?;
                }
                WriteOp::Delete {
                    space: Keyspace::Held,
                    key,
                } => {
                    self.durable[host].held.remove(&read_held_key(key)?);
                }
                _ => {}
            }
        }
        changed
            .into_iter()
            .try_for_each(|id| self.check_terminal(host, id))
    }

    fn take_record(&mut self, host: usize, record: TaskRecord) -> Checked {
        let id = record.id;
        let token = record.token;
        let old = self.durable[host].tasks.insert(id, record);
        let before = old.map(|old| old.token).unwrap_or_default();
        Violation::unless(before <= token, "T3", || {
            format!("the durable token of {id} fell from {before} to {token} at node {host}")
        })
    }

    fn check_terminal(&mut self, host: usize, id: TaskId) -> Checked {
        let durable = &self.durable[host];
        let Some(record) = durable.tasks.get(&id) else {
            return Ok(());
        };
        let result = durable.results.get(&id).cloned();
        if record.state == TaskState::Completed {
            self.check_result(id, record, result.as_deref())?;
        }
        let seen = (record.state, result);
        match self.terminal.get(&id) {
            Some(first) => Violation::unless(*first == seen, "T2", || {
                format!(
                    "{id} was {} and became {} or has another result",
                    first.0.as_str(),
                    seen.0.as_str()
                )
            }),
            None => {
                if seen.0.is_terminal() {
                    self.terminal.insert(id, seen);
                }
                Ok(())
            }
        }
    }

    fn check_result(&self, id: TaskId, record: &TaskRecord, result: Option<&[u8]>) -> Checked {
        let right = self.answers.get(&id).map(String::as_str);
        let given = record.worker.and_then(|worker| self.host_of(&worker));
        let found = result.and_then(read_result);
        let fits = found.is_some_and(|(answer, by)| Some(answer) == right && Some(by) == given)
            && record.result_token == Some(record.token);
        Violation::unless(fits, "T4", || {
            format!(
                "{id} completed with {found:?} under token {:?}; right is {right:?} from node \
                 {given:?} under token {}",
                record.result_token, record.token
            )
        })
    }

    /// A node crashed: what it had written and its disk had not is as if it had never been.
    pub(super) fn crashed(&mut self, host: usize) {
        self.written_outcomes[host].clear();
    }

    /// A node took a step.
    pub(super) fn stepped(&self, hosts: &[Host], at: usize, stage: &Stage) -> Checked {
        let Some(core) = &hosts[at].core else {
            return Ok(());
        };
        core.check()?;
        self.check_log(at, core)?;
        check_leases(hosts, at, core, stage)
    }

    fn check_log(&self, host: usize, core: &Node) -> Checked {
        let durable = &self.durable[host].tasks;
        for (record, _) in core.requester().tasks() {
            let Some(kept) = durable.get(&record.id) else {
                continue;
            };
            Violation::unless(kept.token <= record.token, "T3", || {
                format!(
                    "node {host} has {} under token {}, its disk under {}",
                    record.id, record.token, kept.token
                )
            })?;
            let same = !kept.state.is_terminal() || kept.state == record.state;
            Violation::unless(same, "T2", || {
                format!(
                    "{} is {} on the disk of node {host} and {} in its memory",
                    record.id,
                    kept.state.as_str(),
                    record.state.as_str()
                )
            })?;
            self.check_accepted(host, record)?;
        }
        Ok(())
    }

    fn check_accepted(&self, host: usize, record: &TaskRecord) -> Checked {
        let Some(attempt) = record.attempts.last() else {
            return Ok(());
        };
        if attempt.outcome != "working" || attempt.ended.is_some() {
            return Ok(());
        }
        let key = HeldKey {
            requester: self.entities[host],
            task: record.id,
        };
        let held = self
            .host_of(&attempt.worker)
            .and_then(|worker| self.durable[worker].held.get(&key));
        Violation::unless(
            held.is_some_and(|held| held.token >= attempt.token),
            "T5",
            || {
                format!(
                    "node {host} takes {} (token {}) for accepted, the worker's disk has token {:?}",
                    record.id,
                    attempt.token,
                    held.map(|held| held.token.0)
                )
            },
        )
    }

    /// Whether a disk agrees with what was decoded from it; asked once at the end.
    pub(super) fn agrees_with(&self, host: usize, disk: &Disk) -> bool {
        let rows = disk.rows();
        let count = |space| rows.iter().filter(|row| row.space == space).count();
        count(Keyspace::Task) == self.durable[host].tasks.len()
            && count(Keyspace::Held) == self.durable[host].held.len()
    }
}

fn check_leases(hosts: &[Host], at: usize, core: &Node, stage: &Stage) -> Checked {
    for key in core.worker().live_leases(hosts[at].now(stage).mono) {
        for other in hosts.iter().filter(|other| other.index != at) {
            let Some(theirs) = &other.core else { continue };
            let twice = theirs
                .worker()
                .live_leases(other.now(stage).mono)
                .any(|k| k == key);
            Violation::unless(!twice, "T6", || {
                format!(
                    "nodes {at} and {} both hold a live lease on {}",
                    other.index, key.task
                )
            })?;
        }
    }
    Ok(())
}

fn unreadable(error: impl std::fmt::Display) -> Violation {
    Violation {
        invariant: "T0",
        detail: format!("a row that does not read was written: {error}"),
    }
}

fn read_task_id(key: &[u8]) -> Result<TaskId, Violation> {
    uuid::Uuid::from_slice(key).map(TaskId).map_err(unreadable)
}

fn read_held_key(key: &[u8]) -> Result<HeldKey, Violation> {
    held_key(key).map_err(unreadable)
}

fn read_held(value: &[u8]) -> Result<HeldRecord, Violation> {
    HeldRecord::from_row(value).map_err(unreadable)
}

fn completes(value: &[u8]) -> Result<bool, Violation> {
    let outcome: TaskOutcome = cbor::decode(value, OUTCOME_MAX_BYTES).map_err(unreadable)?;
    Ok(matches!(outcome, TaskOutcome::Completed { .. }))
}
