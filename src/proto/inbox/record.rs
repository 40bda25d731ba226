//! The stored form of a message's state. Its body and its proof stand in rows of their own, so
//! that a change of state rewrites little.

use serde::{Deserialize, Serialize};

use crate::proto::RowError;
use crate::types::{EntityId, MessageKind, Priority, Wall};
use crate::wire::cbor;

const VERSION: u8 = 1;
const ROW_MAX_BYTES: usize = 1_024;

/// How far our agent is with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// Nobody has looked at it.
    New,
    /// It was shown, and is kept until it is acknowledged.
    Read,
    /// Acknowledged, answered or expired: a tombstone that only knows a resend.
    Gone,
}

impl MessageState {
    /// The state's name.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageState::New => "new",
            MessageState::Read => "read",
            MessageState::Gone => "gone",
        }
    }
}

/// One message, its payload apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageRecord {
    v: u8,
    /// Ascends in the order of arrival, over restarts, too.
    pub number: u64,
    pub from: EntityId,
    pub kind: MessageKind,
    pub priority: Priority,
    pub durable: bool,
    pub sent: Wall,
    pub received: Wall,
    pub state: MessageState,
    /// When the state was entered.
    pub since: Wall,
}

impl MessageRecord {
    pub(super) fn new(
        number: u64,
        from: EntityId,
        message: &crate::types::Received,
        now: Wall,
    ) -> MessageRecord {
        MessageRecord {
            v: VERSION,
            number,
            from,
            kind: message.kind,
            priority: message.priority,
            durable: message.durable,
            sent: message.sent,
            received: now,
            state: MessageState::New,
            since: now,
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
    pub fn from_row(bytes: &[u8]) -> Result<MessageRecord, RowError> {
        let record: MessageRecord =
            cbor::decode(bytes, ROW_MAX_BYTES).map_err(|error| unreadable(error.to_string()))?;
        if record.v != VERSION {
            return Err(unreadable(format!(
                "it has version {}, this program reads {VERSION}",
                record.v
            )));
        }
        Ok(record)
    }
}

pub(super) fn unreadable(why: String) -> RowError {
    RowError {
        what: "message",
        why,
    }
}
