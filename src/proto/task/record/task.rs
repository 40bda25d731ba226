//! The requester's row of a task.

use std::ops::Not;

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use super::{
    AgreementRecord, Considered, HeldKey, PartRecord, RowError, SpentRecord, VERSION, read_version,
};
use crate::crypto::Digest;
use crate::types::limits::{ATTEMPTS_MAX, CONSIDERED_ATTEMPTS_MAX};
use crate::types::{
    Capability, EntityId, FencingToken, FileRef, Marks, Priority, TaskId, TaskKey, TaskState, Wall,
};
use crate::wire::{Budget, Orphan, cbor};

/// The requester's row of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRecord {
    v: u8,
    pub id: TaskId,
    pub capability: Capability,
    /// The only worker that may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<EntityId>,
    pub priority: Priority,
    pub state: TaskState,
    pub submitted: Wall,
    /// It is not to begin before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Wall>,
    /// When it counts as queued, where that is another time: the clock was set back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<Wall>,
    pub deadline: Wall,
    /// What its submitter calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<TaskKey>,
    /// The hash of all that its submitter chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<ByteArray<32>>,
    /// What becomes of a run whose lease is lost; it goes on if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphan: Option<Orphan>,
    /// The held task that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<HeldKey>,
    /// What it may hand on itself, and what it is worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What of that its workers have handed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spent: Vec<SpentRecord>,
    /// What it demands of its worker, and its labels.
    #[serde(default, skip_serializing_if = "Marks::is_empty")]
    pub marks: Marks,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Wall>,
    /// Of the newest assignment; 0 before the first.
    pub token: FencingToken,
    /// Whom the newest assignment went to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<EntityId>,
    /// Attempts that ran and failed.
    pub failures: u32,
    /// Attempts whose worker was lost.
    pub losses: u32,
    /// Offers that went unanswered.
    #[serde(default, skip_serializing_if = "is_none_of")]
    pub lapses: u32,
    /// Attempts that a worker gave back.
    #[serde(default, skip_serializing_if = "is_none_of")]
    pub releases: u32,
    /// Attempts that a worker handed to others before they had begun.
    #[serde(default, skip_serializing_if = "is_none_of")]
    pub handovers: u32,
    pub attempts: Vec<AttemptRecord>,
    /// Attempts that are not among them any more.
    #[serde(default, skip_serializing_if = "is_none_of")]
    pub attempts_cut: u32,
    /// It failed and kept its input: somebody is to decide what becomes of it.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub dead: bool,
    /// The failed task that this one repeats, and the one that repeats this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<TaskId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<TaskId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of one that waited for a worker when it ended: who was looked at last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub considered: Vec<Considered>,
    /// How many more were.
    #[serde(default, skip_serializing_if = "is_none_of")]
    pub others: u32,
    pub input_bytes: u64,
    /// The input, where it is a file; the result likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_file: Option<FileRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_file: Option<FileRef>,
    /// What its runs say is wanted before they have ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,
    /// The token under which the result came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_token: Option<FencingToken>,
    /// What shows its result to others: a `ResultProof`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ByteBuf>,
    /// Several workers do it: what their parts have come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Box<AgreementRecord>>,
    /// It is a part of another task's work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Box<PartRecord>>,
}

/// One assignment and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptRecord {
    pub worker: EntityId,
    pub token: FencingToken,
    pub started: Wall,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Wall>,
    /// `offered`, `waiting`, `working`, `completed`, `failed: …`, `lost: …`, `released`,
    /// `handed over: …`, `canceled`.
    pub outcome: String,
    /// Who was looked at; kept for the newest attempts only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub considered: Vec<Considered>,
    /// How many more were.
    #[serde(default, skip_serializing_if = "is_none_of")]
    pub others: u32,
}

impl AttemptRecord {
    /// What it is worth to who reads why a task failed: the least goes first where there are too
    /// many.
    fn weight(&self) -> u8 {
        let says = |word| self.outcome.starts_with(word);
        match self {
            _ if says("failed") => 2,
            _ if says("released") || says("handed over") || says("lost: it did not answer") => 0,
            _ => 1,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
fn is_none_of(count: &u32) -> bool {
    *count == 0
}

/// What a new task begins with.
pub(in crate::proto::task) struct Fresh {
    pub id: TaskId,
    pub capability: Capability,
    pub to: Option<EntityId>,
    pub priority: Priority,
    pub submitted: Wall,
    pub start_at: Option<Wall>,
    pub queued: Option<Wall>,
    pub deadline: Wall,
    pub key: Option<TaskKey>,
    pub spec: Digest,
    pub prior: Option<TaskId>,
    pub orphan: Option<Orphan>,
    pub parent: Option<HeldKey>,
    pub budget: Option<Budget>,
    pub marks: Marks,
    pub input_bytes: u64,
    pub input_file: Option<FileRef>,
    pub stream: bool,
}

impl TaskRecord {
    pub(in crate::proto::task) fn new(fresh: Fresh) -> TaskRecord {
        let Fresh {
            id,
            capability,
            to,
            priority,
            submitted,
            start_at,
            queued,
            deadline,
            key,
            spec,
            prior,
            orphan,
            parent,
            budget,
            marks,
            input_bytes,
            input_file,
            stream,
        } = fresh;
        TaskRecord {
            v: VERSION,
            id,
            capability,
            to,
            priority,
            state: TaskState::Submitted,
            submitted,
            start_at,
            queued,
            deadline,
            key,
            spec: Some(ByteArray::new(spec)),
            orphan,
            parent,
            budget,
            spent: Vec::new(),
            marks,
            ended: None,
            token: FencingToken(0),
            worker: None,
            failures: 0,
            losses: 0,
            lapses: 0,
            releases: 0,
            handovers: 0,
            attempts: Vec::new(),
            attempts_cut: 0,
            dead: false,
            prior,
            again: None,
            reason: None,
            considered: Vec::new(),
            others: 0,
            input_bytes,
            input_file,
            result_file: None,
            stream,
            result_bytes: None,
            result_token: None,
            proof: None,
            agreement: None,
            part: None,
        }
    }

    /// Notes a new attempt. Of too many the oldest goes that says least; who was considered
    /// is kept with the newest only.
    pub(in crate::proto::task) fn push_attempt(&mut self, attempt: AttemptRecord) {
        if self.attempts.len() >= ATTEMPTS_MAX {
            let weights = self.attempts.iter().map(AttemptRecord::weight);
            let least = weights
                .enumerate()
                .min_by_key(|(at, weight)| (*weight, *at));
            self.attempts.remove(least.map_or(0, |(at, _)| at));
            self.attempts_cut += 1;
        }
        let known = self.attempts.len();
        for older in &mut self.attempts[..known.saturating_sub(CONSIDERED_ATTEMPTS_MAX - 1)] {
            (older.considered, older.others) = (Vec::new(), 0);
        }
        self.attempts.push(attempt);
    }

    /// When it counts as queued: tasks are given out in that order, their priorities apart.
    pub fn queued_at(&self) -> Wall {
        let first = self.start_at.unwrap_or(self.submitted);
        self.queued.unwrap_or(first)
    }

    /// The row.
    pub fn to_row(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a row of this version or an older one.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn from_row(bytes: &[u8]) -> Result<TaskRecord, RowError> {
        let mut record = read_version("task", bytes, |record: &TaskRecord| record.v)?;
        record.v = VERSION;
        Ok(record)
    }
}
