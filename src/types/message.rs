//! What agents say to each other.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{MessageId, Priority, Wall};

/// Whether an answer is awaited.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// The sender waits for a reply.
    Talk,
    /// The sender only wants it to arrive.
    Report,
    /// A file of the sender's has arrived: this node's own note, in JSON.
    File,
}

impl MessageKind {
    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageKind::Talk => "talk",
            MessageKind::Report => "report",
            MessageKind::File => "file",
        }
    }
}

/// A message for our agent, opened and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub id: MessageId,
    pub kind: MessageKind,
    pub priority: Priority,
    /// Whether it counts as received only once it is on disk.
    pub durable: bool,
    /// When it was sent, as its sender says.
    pub sent: Wall,
    pub body: Vec<u8>,
    /// What shows it to a third party; empty where there is nothing.
    pub proof: Vec<u8>,
}
