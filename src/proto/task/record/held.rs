//! The worker's row of a held task.

use serde::{Deserialize, Serialize};

use super::{RowError, VERSION, read_version};
use crate::types::{Capability, EntityId, FencingToken, FileRef, Priority, TaskId, Wall};
use crate::wire::{AgreePart, Budget, cbor};

/// A held task's place: requester, then task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldKey {
    pub requester: EntityId,
    pub task: TaskId,
}

/// How far a held task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldState {
    /// Accepted; it runs, or will run again after a restart.
    Accepted,
    /// Its outcome is stored and not yet acknowledged.
    Ended,
    /// Acknowledged, fenced or canceled: kept only to know late duplicates.
    Tombstone,
}

/// The worker's row of one held task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldRecord {
    v: u8,
    pub state: HeldState,
    pub token: FencingToken,
    pub capability: Capability,
    pub deadline: Wall,
    /// When the state was entered.
    pub since: Wall,
    /// How often the node ended while it ran, and not because it was stopped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub crashes: u8,
    /// The node was stopped while it ran, and has not begun it anew since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Its run ends when its lease, of so many milliseconds, was not renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops_after_ms: Option<u64>,
    /// Which agreement it is part of: its result is committed to before it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agree: Option<AgreePart>,
    /// What it may hand on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What of the budget's reward its parts have.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub spent: u64,
    /// The input, where it is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_file: Option<FileRef>,
    /// That is here, and its requester had it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub input_came: bool,
    /// The requester wants to hear what the run says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// Its place among those that wait for a slot; none once it has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u64>,
    /// How urgent its requester says it is, and since when it waits, there and here.
    #[serde(default, skip_serializing_if = "is_normal")]
    pub priority: Priority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<Wall>,
    /// It is not to be handed over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stay: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde calls"
)]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde calls"
)]
fn is_nothing(number: &u64) -> bool {
    *number == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde calls"
)]
fn is_normal(priority: &Priority) -> bool {
    *priority == Priority::default()
}

impl HeldRecord {
    pub(in crate::proto::task) fn new(
        token: FencingToken,
        capability: Capability,
        deadline: Wall,
        since: Wall,
    ) -> HeldRecord {
        HeldRecord {
            v: VERSION,
            state: HeldState::Accepted,
            token,
            capability,
            deadline,
            since,
            crashes: 0,
            stopped: false,
            stops_after_ms: None,
            agree: None,
            budget: None,
            spent: 0,
            input_file: None,
            input_came: false,
            stream: false,
            place: None,
            priority: Priority::default(),
            queued: None,
            stay: false,
        }
    }

    /// The row.
    pub fn to_row(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a row of this version or an older one.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn from_row(bytes: &[u8]) -> Result<HeldRecord, RowError> {
        let mut record = read_version("held task", bytes, |record: &HeldRecord| record.v)?;
        record.v = VERSION;
        Ok(record)
    }
}

impl HeldKey {
    /// The row's key: 32 bytes of entity, 16 of task.
    pub fn to_bytes(self) -> Vec<u8> {
        [&self.requester.0[..], self.task.0.as_bytes()].concat()
    }
}

/// Reads a held task's key.
///
/// # Errors
/// [`RowError`].
pub fn held_key(bytes: &[u8]) -> Result<HeldKey, RowError> {
    let error = || RowError {
        what: "held task",
        why: "its key has another length".into(),
    };
    let (requester, task) = bytes.split_at_checked(32).ok_or_else(error)?;
    Ok(HeldKey {
        requester: EntityId(requester.try_into().map_err(|_| error())?),
        task: TaskId(uuid::Uuid::from_slice(task).map_err(|_| error())?),
    })
}
