//! Submission: what a task is, and when it is one that is there already.

use serde::Serialize;
use serde_bytes::ByteArray;

use super::super::budget::Delegation;
use super::super::record::{Agreement, AgreementRecord, Fresh, HeldKey, TaskRecord};
use super::{Handed, Log, Phase, Requester, Task};
use crate::crypto::{Digest, hash};
use crate::proto::Step;
use crate::types::{
    BatchId, Capability, EntityId, FileRef, Keyspace, Marks, Now, Priority, TaskId, TaskKey, Wall,
};
use crate::wire::{Orphan, cbor};

/// What a task's row takes on the disk over time.
const TASK_DISK_BYTES: usize = 4 * 1024;

/// When a task may begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    #[default]
    Now,
    /// So many milliseconds from now.
    In(u64),
    /// By the wall clock.
    At(Wall),
}

/// A task to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    pub id: TaskId,
    pub capability: Capability,
    pub input: Vec<u8>,
    /// The input, where it is a file; then `input` is empty.
    pub input_file: Option<FileRef>,
    /// What its runs say is wanted before they have ended.
    pub stream: bool,
    pub to: Option<EntityId>,
    pub priority: Priority,
    pub start: Start,
    /// From its start until it must have ended.
    pub deadline_ms: u64,
    /// Handing over a task under the same key again makes no second one.
    pub key: Option<TaskKey>,
    pub orphan: Option<Orphan>,
    /// Several workers do it, and so many results must be equal.
    pub agreement: Option<Agreement>,
    pub delegation: Delegation,
    pub marks: Marks,
    /// Whom its end is told, as a hash: who asks for something else there asks for another task.
    pub told: Option<Digest>,
}

/// What became of a submission.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// Queued; acknowledge once this batch is durable.
    Queued(BatchId),
    /// The submission was a repetition: this is the task.
    Known(TaskId, BatchId),
    /// Its id or its key belongs to this task, which is another one.
    Conflict(TaskId),
    Full(Full),
}

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    Tasks,
    Bytes,
    /// The disk has no room for more.
    Disk,
}

/// All that a submitter chose, except for the task's id. What is not chosen is left out, so that
/// a later version's choices change nothing for who does not make them.
#[derive(Serialize)]
struct Spec<'a> {
    capability: &'a Capability,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a EntityId>,
    priority: Priority,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Start>,
    deadline_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a TaskKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orphan: Option<Orphan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<Agreement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a HeldKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reward: Option<u64>,
    #[serde(skip_serializing_if = "Marks::is_empty")]
    marks: &'a Marks,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_file: Option<&'a FileRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<&'a Digest>,
}

impl NewTask {
    /// How many tasks it is, with its parts.
    pub(super) fn tasks(&self) -> usize {
        1 + self.agreement.map_or(0, |of| usize::from(of.replicas))
    }

    pub(super) fn spec(&self) -> Digest {
        let spec = Spec {
            capability: &self.capability,
            to: self.to.as_ref(),
            priority: self.priority,
            start: Some(self.start).filter(|start| *start != Start::Now),
            deadline_ms: self.deadline_ms,
            key: self.key.as_ref(),
            orphan: self.orphan,
            agreement: self.agreement,
            parent: self.delegation.parent.as_ref(),
            depth: self.delegation.wish.depth,
            reward: Some(self.delegation.wish.reward).filter(|reward| *reward > 0),
            marks: &self.marks,
            input_file: self.input_file.as_ref(),
            told: self.told.as_ref(),
        };
        hash("task spec", &[&cbor::encode(&spec), &self.input])
    }

    /// How long until it may begin, and when that is.
    fn start(&self, now: Now) -> (u64, Option<Wall>) {
        let wait_ms = match self.start {
            Start::Now => 0,
            Start::In(ms) => ms,
            Start::At(at) => at.0.saturating_sub(now.wall.0),
        };
        let at = now.wall + wait_ms;
        (wait_ms, Some(at).filter(|_| wait_ms > 0))
    }
}

impl Requester {
    /// Queues a task.
    pub fn submit(&mut self, new: NewTask, step: &mut Step<'_>) -> SubmitOutcome {
        let spec = new.spec();
        if let Some(answer) = self.repeated(&new, spec) {
            return answer;
        }
        match self.room_for(new.tasks(), new.input.len()) {
            Err(full) => SubmitOutcome::Full(full),
            Ok(()) => SubmitOutcome::Queued(self.admit(new, spec, None, step)),
        }
    }

    /// So many bytes may still be written.
    pub fn disk_has(&mut self, left_bytes: u64) {
        self.files.disk_left = Some(left_bytes);
    }

    /// So much of it is a task that is written now.
    fn disk_took(&mut self, input_bytes: usize) {
        if let Some(left) = &mut self.files.disk_left {
            *left = left.saturating_sub((TASK_DISK_BYTES + input_bytes) as u64);
        }
    }

    /// Whether so many more tasks fit, with so many bytes of inputs together.
    pub(super) fn room_for(&self, tasks: usize, input_bytes: usize) -> Result<(), Full> {
        let bounds = self.config.bounds;
        let open = self.tasks.len() - self.over.len() - self.dead.len();
        if open + tasks > bounds.queue_tasks && !self.queues_all() {
            return Err(Full::Tasks);
        }
        if self
            .files
            .disk_left
            .is_some_and(|left| left < (tasks * TASK_DISK_BYTES + input_bytes) as u64)
            && !self.asks_no_room()
        {
            return Err(Full::Disk);
        }
        match self.input_bytes + input_bytes > bounds.queue_bytes {
            true => Err(Full::Bytes),
            false => Ok(()),
        }
    }

    /// Queues a task that is new and has room. `prior` is the one it repeats.
    pub(super) fn admit(
        &mut self,
        new: NewTask,
        spec: Digest,
        prior: Option<TaskId>,
        step: &mut Step<'_>,
    ) -> BatchId {
        let (wait_ms, start_at) = new.start(step.now);
        let within_ms = new.delegation.within_ms.unwrap_or(u64::MAX);
        let deadline_ms = new.deadline_ms.min(within_ms.saturating_sub(wait_ms));
        let first = start_at.unwrap_or(step.now.wall);
        let mut record = TaskRecord::new(Fresh {
            id: new.id,
            capability: new.capability,
            to: new.to,
            priority: new.priority,
            submitted: step.now.wall,
            start_at,
            queued: match start_at {
                Some(_) => None,
                None => self.queued_at(step.now.wall),
            },
            deadline: first + deadline_ms,
            key: new.key,
            spec,
            prior,
            orphan: new.orphan,
            parent: new.delegation.parent,
            budget: new.delegation.granted,
            marks: self.kept_marks(new.marks),
            input_bytes: (new.input_file).map_or(new.input.len() as u64, |file| file.size),
            input_file: new.input_file,
            stream: new.stream,
        });
        let agreement = new.agreement.map(AgreementRecord::new);
        record.agreement = agreement.map(Box::new);
        let key = new.id.0.as_bytes().to_vec();
        let _ = step.put(Keyspace::TaskInput, key.clone(), new.input.clone());
        let written = step.put(Keyspace::Task, key, record.to_row());
        self.input_bytes += new.input.len();
        self.disk_took(new.input.len());
        if new.input_file.is_some() {
            self.files.inputs.insert(new.id);
        }
        let start = step.now.mono + wait_ms;
        if let Some(key) = &record.key {
            self.by_key.insert(key.clone(), new.id);
        }
        let task = Task {
            record,
            input: new.input,
            result: None,
            deadline: start + deadline_ms,
            phase: Phase::Over,
            written,
            due: None,
            events: Log::default(),
            counted: None,
            begun: None,
            handed: Handed::default(),
        };
        self.tasks.insert(new.id, task);
        let phase = match start_at {
            Some(_) => Phase::Resting { until: start },
            None if new.agreement.is_some() => Phase::gathering(step.now.mono),
            None => Phase::Waiting,
        };
        self.enter(new.id, phase);
        self.count(new.id);
        self.note_child(new.id);
        self.feed_submitted(new.id, step);
        written
    }

    /// What is answered to a task whose id or key is there.
    pub(super) fn repeated(&self, new: &NewTask, spec: Digest) -> Option<SubmitOutcome> {
        let by_key = new.key.as_ref().and_then(|key| self.by_key.get(key));
        let by_id = self.tasks.contains_key(&new.id).then_some(&new.id);
        if let (Some(by_id), Some(by_key)) = (by_id, by_key)
            && by_id != by_key
        {
            return Some(SubmitOutcome::Conflict(*by_id));
        }
        let known = *by_id.or(by_key)?;
        let task = &self.tasks[&known];
        // Of a task from before there were hashes nothing else can be said.
        let same = task.record.spec.is_none_or(|of| of == ByteArray::new(spec));
        Some(match same {
            true => SubmitOutcome::Known(known, task.written),
            false => SubmitOutcome::Conflict(known),
        })
    }

    /// When a task of now counts as queued, if that is another time: never before those that are
    /// there, however the clock was set.
    fn queued_at(&mut self, now: Wall) -> Option<Wall> {
        let behind = self.newest > now;
        self.newest = self.newest.max(now);
        Some(self.newest).filter(|_| behind)
    }

    #[cfg(test)]
    fn asks_no_room(&self) -> bool {
        self.planted == Some(crate::proto::task::Planted::AskNoRoom)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "a planted defect of the tests")]
    fn asks_no_room(&self) -> bool {
        false
    }

    #[cfg(test)]
    fn queues_all(&self) -> bool {
        self.planted == Some(crate::proto::task::Planted::QueueAll)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "a planted defect of the tests")]
    fn queues_all(&self) -> bool {
        false
    }

    #[cfg(test)]
    fn kept_marks(&self, marks: Marks) -> Marks {
        match self.planted {
            Some(crate::proto::task::Planted::ForgetDemands) => Marks::default(),
            _ => marks,
        }
    }

    #[cfg(not(test))]
    fn kept_marks(&self, marks: Marks) -> Marks {
        marks
    }
}
