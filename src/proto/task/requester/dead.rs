//! Failed tasks: each keeps its input and its attempts until it is handed over again or dropped.
//!
//! # Invariant
//! - **T9** A dead letter failed and has its input. It leaves by being handed over again, by being
//!   dropped, as the oldest of more than there is room for, or when it is as old as it may be.

use std::collections::BTreeMap;

use super::{Full, NewTask, Requester, RequesterEffect, Start};
use crate::proto::task::budget::{Delegation, Wish};
use crate::proto::task::record::AttemptRecord;
use crate::proto::{Step, Violation};
use crate::types::{BatchId, EntityId, FileRef, Mono, Now, Priority, TaskId, TaskState};

/// What is to be another than it was when a failed task is handed over again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    pub deadline_ms: Option<u64>,
    pub to: Option<EntityId>,
    pub priority: Option<Priority>,
}

/// What became of handing over a failed task again.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResubmitOutcome {
    /// This task repeats it, from now on or from before; acknowledge once the batch is durable.
    Again(TaskId, BatchId),
    Unknown,
    /// It did not fail, or its input was dropped.
    NotDead(BatchId),
    /// The new task's id is another's.
    Conflict(TaskId),
    Full(Full),
}

/// The inputs of dead letters that are files: each content counts once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DeadFiles {
    letters: BTreeMap<[u8; 32], u32>,
    bytes: u64,
}

impl DeadFiles {
    fn add(&mut self, file: FileRef) {
        let letters = self.letters.entry(file.root).or_default();
        if *letters == 0 {
            self.bytes += file.size;
        }
        *letters += 1;
    }

    fn remove(&mut self, file: FileRef) {
        let Some(letters) = self.letters.get_mut(&file.root) else {
            return;
        };
        *letters -= 1;
        if *letters == 0 {
            self.letters.remove(&file.root);
            self.bytes -= file.size;
        }
    }
}

impl Requester {
    /// Hands a failed task over again, as the new task `as_id`. One that was handed over again
    /// before is not changed any more.
    pub fn resubmit(
        &mut self,
        id: TaskId,
        as_id: TaskId,
        change: Change,
        step: &mut Step<'_>,
    ) -> ResubmitOutcome {
        let Some(task) = self.tasks.get(&id) else {
            return ResubmitOutcome::Unknown;
        };
        let record = &task.record;
        if let Some(again) = record.again {
            let written = self.tasks.get(&again).map(|again| again.written);
            let after = task.written.max(written.unwrap_or(BatchId::NONE));
            return ResubmitOutcome::Again(again, after);
        }
        if !record.dead {
            return ResubmitOutcome::NotDead(task.written);
        }
        if self.tasks.contains_key(&as_id) {
            return ResubmitOutcome::Conflict(as_id);
        }
        let asked = record.agreement.as_ref().map(|of| of.asked);
        let tasks = 1 + asked.map_or(0, |of| usize::from(of.replicas));
        if let Err(full) = self.room_for(tasks, task.input.len()) {
            return ResubmitOutcome::Full(full);
        }
        let began = record.start_at.unwrap_or(record.submitted);
        let wish = record.budget.map_or_else(Wish::default, |budget| Wish {
            depth: Some(budget.depth),
            reward: budget.reward,
        });
        let new = NewTask {
            id: as_id,
            capability: record.capability.clone(),
            input: task.input.clone(),
            input_file: record.input_file,
            stream: record.stream,
            to: change.to.or(record.to),
            priority: change.priority.unwrap_or(record.priority),
            start: Start::Now,
            deadline_ms: (change.deadline_ms)
                .unwrap_or_else(|| record.deadline.0.saturating_sub(began.0).max(1)),
            // The key stays with the task that it was given to.
            key: None,
            orphan: record.orphan,
            agreement: asked,
            // It is nobody's part any more: what it costs is its owner's matter.
            delegation: Delegation {
                wish,
                granted: record.budget,
                ..Delegation::default()
            },
            marks: record.marks.clone(),
            told: None,
        };
        let spec = new.spec();
        let written = self.admit(new, spec, Some(id), step);
        let task = self.tasks.get_mut(&id).expect("it was found above");
        task.record.again = Some(as_id);
        self.let_go(id, step);
        ResubmitOutcome::Again(as_id, written)
    }

    /// Lets a failed task's input go. Returns what an acknowledgement rests on, and whether there
    /// was one to let go; none for an unknown task.
    pub fn drop_dead(&mut self, id: TaskId, step: &mut Step<'_>) -> Option<(BatchId, bool)> {
        let dead = self.tasks.get(&id)?.record.dead;
        if dead {
            self.let_go(id, step);
        }
        Some((self.tasks[&id].written, dead))
    }

    /// How many failed tasks kept their input.
    pub fn dead(&self) -> usize {
        self.dead.len()
    }

    /// A task has just failed.
    pub(super) fn keep_dead(&mut self, id: TaskId, step: &mut Step<'_>) {
        let task = &self.tasks[&id];
        self.input_bytes -= task.input.len();
        self.note_dead(id, step.now);
        self.forget_input_if_planted(id, step);
        while self.has_too_many_dead() {
            let (_, oldest) = self.oldest_dead().expect("there is one too many");
            self.let_go(oldest, step);
            self.effects.push(RequesterEffect::Forgot { task: oldest });
        }
    }

    fn oldest_dead(&self) -> Option<(Option<Mono>, TaskId)> {
        let ((_, id), until) = self.dead.first_key_value()?;
        Some((*until, *id))
    }

    /// Those go whose time has come.
    pub(super) fn let_outdated_go(&mut self, step: &mut Step<'_>) {
        while let Some((Some(until), oldest)) = self.oldest_dead()
            && until <= step.now.mono
        {
            self.let_go(oldest, step);
            self.effects.push(RequesterEffect::Forgot { task: oldest });
        }
    }

    /// What the inputs that are files take.
    pub(super) fn dead_file_bytes(&self) -> u64 {
        self.dead_files.bytes
    }

    /// Returns whether there was one.
    pub(super) fn let_oldest_dead_file_go(&mut self, step: &mut Step<'_>) -> bool {
        let large = |id: &TaskId| self.tasks[id].record.input_file.is_some();
        let Some(oldest) = self.dead.keys().map(|(_, id)| *id).find(large) else {
            return false;
        };
        self.let_go(oldest, step);
        self.effects.push(RequesterEffect::Forgot { task: oldest });
        true
    }

    fn has_too_many_dead(&self) -> bool {
        let keep = &self.config.keep;
        self.dead.len() > keep.failed_tasks as usize
            || self.dead_bytes as u64 > keep.failed_bytes
            || self.dead_files.bytes > self.config.dead_files_max_bytes
    }

    /// Puts a dead letter where it is counted.
    pub(super) fn note_dead(&mut self, id: TaskId, now: Now) {
        let task = &self.tasks[&id];
        self.dead_bytes += task.input.len();
        if let Some(file) = task.record.input_file {
            self.dead_files.add(file);
        }
        let ended = task.record.ended.unwrap_or(task.record.submitted);
        let until = self.decided_at(ended, now);
        self.dead.insert((ended, id), until);
    }

    /// It is a task that has ended like any other from now on.
    fn let_go(&mut self, id: TaskId, step: &mut Step<'_>) {
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        let ended = task.record.ended.unwrap_or(task.record.submitted);
        task.record.dead = false;
        self.dead.remove(&(ended, id));
        self.dead_bytes -= task.input.len();
        if let Some(file) = task.record.input_file {
            self.dead_files.remove(file);
        }
        // `drop_input` counts it among those of open tasks.
        self.input_bytes += task.input.len();
        self.drop_input(id, step);
        self.store(id, step);
        let forget_at = self.forgotten_at(ended, step.now);
        self.over.insert((forget_at, id));
    }

    #[cfg(test)]
    fn forget_input_if_planted(&self, id: TaskId, step: &mut Step<'_>) {
        if self.planted == Some(crate::proto::task::Planted::ForgetInput) {
            step.delete(crate::types::Keyspace::TaskInput, id.0.as_bytes().to_vec());
        }
    }

    #[cfg(not(test))]
    fn forget_input_if_planted(&self, _: TaskId, _: &mut Step<'_>) {}

    /// Checks T9.
    pub(super) fn check_dead(&self) -> Result<(), Violation> {
        let mut bytes = 0;
        let mut dead = 0;
        let mut files = DeadFiles::default();
        for (id, task) in &self.tasks {
            let record = &task.record;
            if !record.dead {
                continue;
            }
            dead += 1;
            bytes += task.input.len();
            record
                .input_file
                .into_iter()
                .for_each(|file| files.add(file));
            let failed = |of: &&AttemptRecord| of.outcome.starts_with("failed");
            let failed = record.attempts.iter().filter(failed).count();
            let whole = record.state == TaskState::Failed
                && (record.attempts_cut > 0 || failed == record.failures as usize)
                && (record.input_file.is_some() || task.input.len() as u64 == record.input_bytes)
                && self
                    .dead
                    .contains_key(&(record.ended.unwrap_or(record.submitted), *id));
            Violation::unless(whole, "T9", || format!("task {id} is no whole dead letter"))?;
        }
        let counted = (dead, bytes, &files) == (self.dead.len(), self.dead_bytes, &self.dead_files);
        Violation::unless(counted, "T9", || {
            format!(
                "{dead} dead letters with {bytes} bytes and {files:?}, counted as {} with {} and {:?}",
                self.dead.len(),
                self.dead_bytes,
                self.dead_files
            )
        })
    }
}
