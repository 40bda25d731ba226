//! The stored forms. Each row is deterministic CBOR and carries its version; payloads stand in
//! rows of their own, so that a change of state rewrites little.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::RowError;
use crate::types::{Capability, EntityId, FencingToken, Priority, TaskId, TaskState, Wall};
use crate::wire::cbor;

const VERSION: u8 = 1;
const ROW_MAX_BYTES: usize = 1024 * 1024;

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
    pub deadline: Wall,
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
    pub attempts: Vec<AttemptRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub input_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,
    /// The token under which the result came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_token: Option<FencingToken>,
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
    /// `offered`, `working`, `completed`, `failed: …`, `lost: …`, `released`, `canceled`.
    pub outcome: String,
}

/// What a new task begins with.
pub(super) struct Fresh {
    pub id: TaskId,
    pub capability: Capability,
    pub to: Option<EntityId>,
    pub priority: Priority,
    pub submitted: Wall,
    pub deadline: Wall,
    pub input_bytes: u64,
}

impl TaskRecord {
    pub(super) fn new(fresh: Fresh) -> TaskRecord {
        let Fresh {
            id,
            capability,
            to,
            priority,
            submitted,
            deadline,
            input_bytes,
        } = fresh;
        TaskRecord {
            v: VERSION,
            id,
            capability,
            to,
            priority,
            state: TaskState::Submitted,
            submitted,
            deadline,
            ended: None,
            token: FencingToken(0),
            worker: None,
            failures: 0,
            losses: 0,
            attempts: Vec::new(),
            reason: None,
            input_bytes,
            result_bytes: None,
            result_token: None,
        }
    }

    /// The row.
    pub fn to_row(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn from_row(bytes: &[u8]) -> Result<TaskRecord, RowError> {
        let record: TaskRecord = read("task", bytes)?;
        version("task", record.v)?;
        Ok(record)
    }
}

/// A held task's place: requester, then task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
}

impl HeldRecord {
    pub(super) fn new(
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
        }
    }

    /// The row.
    pub fn to_row(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn from_row(bytes: &[u8]) -> Result<HeldRecord, RowError> {
        let record: HeldRecord = read("held task", bytes)?;
        version("held task", record.v)?;
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

pub(super) fn read<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, RowError> {
    cbor::decode(bytes, ROW_MAX_BYTES * 2).map_err(|error| RowError {
        what,
        why: error.to_string(),
    })
}

fn version(what: &'static str, found: u8) -> Result<(), RowError> {
    if found == VERSION {
        return Ok(());
    }
    Err(RowError {
        what,
        why: format!("it has version {found}, this program reads {VERSION}"),
    })
}
