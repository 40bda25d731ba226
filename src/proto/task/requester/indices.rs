//! The log's rows and the indices over it: read back, kept in step, checked.

use std::collections::{BTreeMap, BTreeSet};

use super::super::RowError;
use super::super::record::TaskRecord;
use super::witness::witness_of;
use super::{Handed, Log, Phase, Requester, Task};
use crate::proto::{Step, Violation};
use crate::types::{BatchId, EntityId, Keyspace, Now, Row, TaskId, TaskState};

impl Requester {
    /// Takes one stored row back; rows of other keyspaces are left alone. Call
    /// [`Requester::resume`] after the last.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn load(&mut self, row: &Row, now: Now) -> Result<(), RowError> {
        let id = |key: &[u8]| {
            uuid::Uuid::from_slice(key)
                .map(TaskId)
                .map_err(|_| RowError {
                    what: "task",
                    why: "its key has another length".into(),
                })
        };
        match row.space {
            Keyspace::Task => {
                let record = TaskRecord::from_row(&row.value)?;
                if let Some(key) = &record.key {
                    self.by_key.insert(key.clone(), record.id);
                }
                if record.input_file.is_some() && (record.dead || !record.state.is_terminal()) {
                    self.files.inputs.insert(record.id);
                }
                if record.result_file.is_some() {
                    self.files.results.insert(record.id);
                }
                if let Some(worker) = witness_of(&record) {
                    self.witnesses.took(worker);
                }
                let left_ms = record.deadline.0.saturating_sub(now.wall.0);
                let task = Task {
                    deadline: now.mono + left_ms,
                    phase: Phase::Over,
                    written: BatchId::NONE,
                    due: None,
                    input: Vec::new(),
                    result: None,
                    events: Log::default(),
                    counted: None,
                    begun: None,
                    handed: Handed::default(),
                    record,
                };
                self.tasks.insert(id(&row.key)?, task);
            }
            Keyspace::TaskInput | Keyspace::TaskResult => {
                let id = id(&row.key)?;
                // Rows come in the order of their keyspaces: the record is there already, or
                // this is what a pruned task left behind.
                if let Some(task) = self.tasks.get_mut(&id) {
                    match row.space {
                        Keyspace::TaskInput => {
                            if !task.record.dead {
                                self.input_bytes += row.value.len();
                            }
                            task.input = row.value.clone();
                        }
                        _ => {
                            self.result_bytes += row.value.len();
                            task.result = Some(row.value.clone());
                        }
                    }
                }
            }
            Keyspace::TaskWorker => {
                let worker = row.key.as_slice().try_into().map_err(|_| RowError {
                    what: "task's worker",
                    why: "its key has another length".into(),
                })?;
                self.witnesses.load(EntityId(worker), &row.value);
            }
            _ => {}
        }
        Ok(())
    }

    /// Derives every phase after a start: an open assignment keeps its token and gets a fresh
    /// lease, because the worker may be computing, or may have ended in time while we were away.
    /// So its deadline does not come before that lease has run out.
    pub fn resume(&mut self, now: Now) {
        self.first_event = now.wall.0.max(1);
        self.feed.begin(now.wall);
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        for id in ids {
            let (promised, part) = (self.promised_by(id), self.open_whole(id).is_some());
            let task = self.tasks.get_mut(&id).expect("its key");
            let record = &task.record;
            if !record.state.is_terminal() && record.start_at.is_none() {
                self.newest = self.newest.max(record.queued_at());
            }
            let begins_ms = record
                .start_at
                .map_or(0, |at| at.0.saturating_sub(now.wall.0));
            let phase = match (record.state, record.worker) {
                (TaskState::Failed, _) if record.dead => {
                    self.note_dead(id, now);
                    Phase::Over
                }
                (state, _) if state.is_terminal() => {
                    let ended = record.ended.unwrap_or(record.submitted);
                    if !part {
                        self.over.insert((self.forgotten_at(ended, now), id));
                    }
                    Phase::Over
                }
                _ if promised.is_some() => Phase::Promised {
                    worker: promised.expect("just looked"),
                },
                (TaskState::Working, Some(worker)) => {
                    let until = now.mono + self.config.lease_ms;
                    task.deadline = task.deadline.max(until);
                    Phase::Leased {
                        worker,
                        boot: None,
                        until,
                        waits: false,
                    }
                }
                _ if begins_ms > 0 => Phase::Resting {
                    until: now.mono + begins_ms,
                },
                _ if record.agreement.is_some() => self.resume_whole(id, now),
                _ => Phase::Waiting,
            };
            self.enter(id, phase);
            self.count(id);
            if phase != Phase::Over {
                self.note_child(id);
            }
        }
    }

    pub(super) fn store(&mut self, id: TaskId, step: &mut Step<'_>) {
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        task.written = step.put(
            Keyspace::Task,
            id.0.as_bytes().to_vec(),
            task.record.to_row(),
        );
        self.count(id);
    }

    /// Moves a task to `phase` and every index with it.
    pub(super) fn enter(&mut self, id: TaskId, phase: Phase) {
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        let capability = &task.record.capability;
        let stays = task.phase.slot() == phase.slot();
        if let Phase::Promised { worker } = task.phase
            && let Some(promised) = self.promised.get_mut(&worker)
        {
            promised.remove(&id);
            if promised.is_empty() {
                self.promised.remove(&worker);
            }
        }
        if let Phase::Promised { worker } = phase {
            self.promised.entry(worker).or_default().insert(id);
        }
        if let Some(worker) = task.phase.slot()
            && !stays
            && let Some(held) = self.at_worker.get_mut(&worker)
        {
            if let Some(of_kind) = held.get_mut(capability) {
                of_kind.remove(&id);
                if of_kind.is_empty() {
                    held.remove(capability);
                }
            }
            if held.is_empty() {
                self.at_worker.remove(&worker);
            }
            // A slot came free.
            self.stirs = true;
        }
        if let Some(worker) = phase.slot()
            && !stays
        {
            let held = self.at_worker.entry(worker).or_default();
            held.entry(capability.clone()).or_default().insert(id);
        }
        let behind = |worker| (worker, capability.clone());
        if let Some(place) = task.phase.behind().map(behind)
            && let Some(waiting) = self.behind.get_mut(&place)
        {
            waiting.remove(&id);
            if waiting.is_empty() {
                self.behind.remove(&place);
            }
        }
        if let Some(place) = phase.behind().map(behind) {
            self.behind.entry(place).or_default().insert(id);
        }
        let ready = task.ready();
        if task.phase == Phase::Waiting {
            self.queue.remove(capability, &task.class(), ready);
        }
        if phase == Phase::Waiting {
            self.queue.insert(capability.clone(), task.class(), ready);
            self.stirs = true;
        }
        if let Some(due) = task.due.take() {
            self.due.remove(&(due, id));
        }
        if phase != Phase::Over {
            // A part ends with its whole.
            let deadline = Some(task.deadline).filter(|_| task.record.part.is_none());
            task.due = phase.due().into_iter().chain(deadline).min();
            self.due.extend(task.due.map(|due| (due, id)));
        }
        task.phase = phase;
    }

    /// Checks T4, T7, T9, T11 and E6 on this log.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<(), Violation> {
        let mut indexed = self.queue.len();
        for (id, task) in &self.tasks {
            let record = &task.record;
            let completed = record.state == TaskState::Completed;
            let kept =
                task.result.is_some() || record.part.is_some() || record.result_file.is_some();
            let fits = !completed || (record.result_token == Some(record.token) && kept);
            Violation::unless(fits, "T4", || {
                format!(
                    "task {id} completed under token {:?}, its token is {:?}",
                    record.result_token, record.token
                )
            })?;
            let over = task.phase == Phase::Over;
            Violation::unless(over == record.state.is_terminal(), "T7", || {
                format!(
                    "task {id} is {} and in phase {:?}",
                    record.state.as_str(),
                    task.phase
                )
            })?;
            if let Some(worker) = task.phase.slot() {
                let held = self.at_worker.get(&worker);
                let known = held
                    .and_then(|held| held.get(&record.capability))
                    .is_some_and(|held| held.contains(id));
                Violation::unless(known, "T7", || format!("task {id} is not with its worker"))?;
            }
            if let Some(worker) = task.phase.behind() {
                let place = (worker, record.capability.clone());
                let known = self.behind.get(&place).is_some_and(|ids| ids.contains(id));
                Violation::unless(known, "T7", || format!("task {id} waits at no worker"))?;
            }
            indexed += usize::from(matches!(
                task.phase,
                Phase::Resting { .. } | Phase::Gathering { .. } | Phase::Over
            ));
        }
        let behind: usize = self.behind.values().map(BTreeSet::len).sum();
        let waits = |task: &&Task| task.phase.behind().is_some();
        let waiting = self.tasks.values().filter(waits).count();
        Violation::unless(behind == waiting, "T7", || {
            format!("{waiting} tasks wait at workers, {behind} are known to")
        })?;
        self.check_dead()?;
        self.check_feed()?;
        self.check_counts()?;
        let held = self.at_worker.values().flat_map(BTreeMap::values);
        let promised = self.promised.values();
        let at_workers: usize = held.chain(promised).map(BTreeSet::len).sum();
        self.check_agreements()?;
        self.check_witnesses()?;
        Violation::unless(indexed + at_workers == self.tasks.len(), "T7", || {
            format!(
                "{indexed} waiting or over and {at_workers} at workers of {}",
                self.tasks.len()
            )
        })
    }
}
