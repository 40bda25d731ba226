//! What the disks say, decoded as it is written and as it becomes durable.

use super::payloads::{file_in, root_in};
use super::{Checked, Checker};
use crate::proto::Violation;
use crate::proto::node::TaskState;
use crate::proto::task::{AttemptRecord, HeldKey, HeldRecord, HeldState, TaskRecord, held_key};
use crate::sim::host::read_result;
use crate::types::{Keyspace, TaskId, WriteBatch, WriteOp};
use crate::wire::{TaskOutcome, cbor};

const OUTCOME_MAX_BYTES: usize = 2 * 1024 * 1024;

impl Checker {
    /// A core asked its disk to write: what a worker takes or lets go of is judged here, before
    /// anything could be told of it.
    pub(in crate::sim) fn written(&mut self, host: usize, batch: &WriteBatch) -> Checked {
        for op in &batch.ops {
            match op {
                WriteOp::Put {
                    space: Keyspace::HeldResult,
                    key,
                    value,
                } => {
                    let (key, outcome) = (read_held_key(key)?, read_outcome(value)?);
                    self.handed.ended(host, key, &outcome);
                    self.written_outcomes[host].insert(key, completes(&outcome));
                }
                WriteOp::Put {
                    space: Keyspace::Held,
                    key,
                    value,
                } => {
                    let (key, held) = (read_held_key(key)?, read_held(value)?);
                    self.handed.written(host, key, &held);
                    self.turns[host].written(host, key, &held)?;
                    self.check_held(host, key, &held)?;
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
        self.check_spending(host, key, held, record)?;
        if held.state != HeldState::Tombstone {
            return Ok(());
        }
        let completed = self.written_outcomes[host]
            .get(&key)
            .or_else(|| self.durable[host].outcomes.get(&key))
            .copied();
        let attempt_ended = || {
            let of_token = |a: &&AttemptRecord| a.token == held.token;
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
    pub(in crate::sim) fn durable(&mut self, host: usize, batch: &WriteBatch) -> Checked {
        let mut changed = Vec::new();
        for op in &batch.ops {
            match op {
                WriteOp::Put {
                    space: Keyspace::Task,
                    value,
                    ..
                } => {
                    let record = TaskRecord::from_row(value).map_err(unreadable)?;
                    let id = record.id;
                    let was = self.take_record(host, record)?;
                    changed.push((id, was));
                }
                WriteOp::Put {
                    space: Keyspace::TaskInput,
                    key,
                    value,
                } => {
                    let inputs = &mut self.durable[host].inputs;
                    inputs.insert(read_task_id(key)?, value.len() as u64);
                }
                WriteOp::Delete {
                    space: Keyspace::TaskInput,
                    key,
                } => {
                    self.durable[host].inputs.remove(&read_task_id(key)?);
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
                    space: Keyspace::TaskWorker,
                    key,
                    value,
                } => self.take_worker(host, key, Some(value))?,
                WriteOp::Delete {
                    space: Keyspace::TaskWorker,
                    key,
                } => self.take_worker(host, key, None)?,
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
                    let held = read_held_key(key)?;
                    if poisons(value)? {
                        self.run_failed(held.task);
                    }
                    self.durable[host]
                        .outcomes
                        .insert(held, completes(&read_outcome(value)?));
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
                WriteOp::Put {
                    space: Keyspace::Payload,
                    key,
                    value,
                } => {
                    let file = file_in(value)?;
                    self.durable[host].payloads.insert(root_in(key)?, file);
                }
                WriteOp::Delete {
                    space: Keyspace::Payload,
                    key,
                } => {
                    self.durable[host].payloads.remove(&root_in(key)?);
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
        changed.into_iter().try_for_each(|(id, was)| {
            self.check_terminal(host, id)?;
            self.check_agreement(host, id)?;
            self.check_proof(host, id, was.as_ref())?;
            self.check_dead(host, id, was.as_ref())
        })
    }

    /// Returns the row that was there before.
    fn take_record(
        &mut self,
        host: usize,
        record: TaskRecord,
    ) -> Result<Option<TaskRecord>, Violation> {
        let (id, token) = (record.id, record.token);
        let failed = self.failed_runs.get(&id).copied().unwrap_or_default();
        Violation::unless(record.failures <= failed, "F1", || {
            format!(
                "{id} is charged with {} failures, {failed} of its runs failed",
                record.failures
            )
        })?;
        self.check_demands(&record)?;
        let old = self.durable[host].tasks.insert(id, record);
        let before = old.as_ref().map(|old| old.token).unwrap_or_default();
        Violation::unless(before <= token, "T3", || {
            format!("the durable token of {id} fell from {before} to {token} at node {host}")
        })?;
        Ok(old)
    }

    fn check_terminal(&mut self, host: usize, id: TaskId) -> Checked {
        let durable = &self.durable[host];
        let Some(record) = durable.tasks.get(&id) else {
            return Ok(());
        };
        let result = durable.results.get(&id).cloned();
        if record.state == TaskState::Completed {
            self.check_result(host, record, result.as_deref())?;
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

    fn check_result(&self, host: usize, record: &TaskRecord, result: Option<&[u8]>) -> Checked {
        let id = record.id;
        if record.result_file.is_some() {
            return self.check_result_file(host, record);
        }
        if record.agreement.is_some() || record.part.is_some() {
            // What several came to is judged by their votes (A4).
            return Ok(());
        }
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
}

pub(super) fn unreadable(error: impl std::fmt::Display) -> Violation {
    Violation {
        invariant: "T0",
        detail: format!("a row that does not read was written: {error}"),
    }
}

pub(super) fn read_task_id(key: &[u8]) -> Result<TaskId, Violation> {
    uuid::Uuid::from_slice(key).map(TaskId).map_err(unreadable)
}

pub(super) fn read_held_key(key: &[u8]) -> Result<HeldKey, Violation> {
    held_key(key).map_err(unreadable)
}

pub(super) fn read_held(value: &[u8]) -> Result<HeldRecord, Violation> {
    HeldRecord::from_row(value).map_err(unreadable)
}

/// Whether the worker gave up a task under which its node went down: a failure that no run reports.
fn poisons(value: &[u8]) -> Result<bool, Violation> {
    let outcome: TaskOutcome = cbor::decode(value, OUTCOME_MAX_BYTES).map_err(unreadable)?;
    Ok(matches!(outcome, TaskOutcome::Failed { poison: true, .. }))
}

fn read_outcome(value: &[u8]) -> Result<TaskOutcome, Violation> {
    cbor::decode(value, OUTCOME_MAX_BYTES).map_err(unreadable)
}

fn completes(outcome: &TaskOutcome) -> bool {
    matches!(
        outcome,
        TaskOutcome::Completed { .. }
            | TaskOutcome::CompletedFile { .. }
            | TaskOutcome::Revealed { .. }
    )
}
