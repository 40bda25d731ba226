//! The stored forms: deterministic CBOR with a version. The list of hashes stands in a row of its
//! own, written once.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::proto::RowError;
use crate::types::{EntityId, TransferId, Wall};
use crate::wire::{Purpose, RefusedFile, cbor};

const VERSION: u8 = 1;
const ROW_MAX_BYTES: usize = 64 * 1024;

/// How far a file is that we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SentState {
    /// Its hash is being computed.
    Hashing,
    /// It is offered, or its chunks are on their way.
    Offered,
    Completed,
    Failed,
    Canceled,
}

/// How far a file is that we receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceivedState {
    Receiving,
    /// All chunks are there; it gets its name.
    Storing,
    Completed,
    Failed,
    Canceled,
}

/// The row of a file that we send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentRecord {
    pub(super) v: u8,
    pub id: TransferId,
    pub to: EntityId,
    /// Where it is on our disk.
    pub path: String,
    /// What the receiver is told it is called.
    pub name: String,
    pub state: SentState,
    /// Zero until the hash is known, as are the next three.
    pub size: u64,
    pub chunk_bytes: u64,
    #[serde(with = "serde_bytes")]
    pub root: [u8; 32],
    /// When the file was last written, in nanoseconds since 1970: another time, another file.
    pub modified_ns: u64,
    pub since: Wall,
    pub changed: Wall,
    /// Which part of a task it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The row of a file that we receive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceivedRecord {
    pub(super) v: u8,
    pub id: TransferId,
    pub from: EntityId,
    /// Made safe already.
    pub name: String,
    pub state: ReceivedState,
    pub size: u64,
    pub chunk_bytes: u64,
    #[serde(with = "serde_bytes")]
    pub root: [u8; 32],
    /// What the unfinished file is called.
    pub partial: Uuid,
    /// The chunks that are on disk.
    #[serde(with = "serde_bytes")]
    pub have: Vec<u8>,
    /// The name it gets, or got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_as: Option<String>,
    pub since: Wall,
    pub changed: Wall,
    /// Which part of a task it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// What its sender is told if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl SentState {
    /// Whether nothing follows.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            SentState::Completed | SentState::Failed | SentState::Canceled
        )
    }
}

impl ReceivedState {
    /// Whether nothing follows.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            ReceivedState::Completed | ReceivedState::Failed | ReceivedState::Canceled
        )
    }
}

pub(super) fn version() -> u8 {
    VERSION
}

pub(super) fn read<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    version: impl Fn(&T) -> u8,
) -> Result<T, RowError> {
    let record: T = cbor::decode(bytes, ROW_MAX_BYTES).map_err(|error| RowError {
        what,
        why: error.to_string(),
    })?;
    let found = version(&record);
    if found != VERSION {
        let why = format!("it has version {found}, this program reads {VERSION}");
        return Err(RowError { what, why });
    }
    Ok(record)
}
