//! Wake-ups and messages as the API shows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::types::{MessageKind, Priority};

/// A wake-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WakeView {
    pub id: String,
    /// The other side's entity id.
    pub peer: String,
    pub reason: String,
    /// How urgent its sender says it is.
    pub priority: Priority,
    /// `resume` or `restart`.
    pub request: String,
    /// `sending`, `delivered`, `hook_started`, `resumed`, `already_awake`, `rate_limited`,
    /// `not_allowed`, `failed` or `undelivered`.
    pub phase: String,
    pub elapsed_ms: u64,
    /// Every phase so far, in order. Empty for a wake-up that we received.
    pub phases: Vec<WakePhaseView>,
    /// The newest wake-up of this peer came to nothing: somebody has to look there.
    pub manual_check_needed: bool,
    /// With what error the peer refused the newest attempt, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_code: Option<String>,
}

/// A phase a wake-up went through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WakePhaseView {
    pub phase: String,
    /// From the wake-up's sending until the phase was known.
    pub elapsed_ms: u64,
}

/// A message for our agent, its body apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageView {
    pub id: String,
    /// Ascends in the order of arrival.
    pub number: u64,
    /// The sender's entity id.
    pub from: String,
    /// What the sender calls itself, if that is known.
    pub name: Option<String>,
    pub kind: MessageKind,
    /// `new` or `read`.
    pub state: String,
    pub priority: Priority,
    pub durable: bool,
    /// RFC 3339, as the sender says; of a note of ours, when it was made.
    pub sent: String,
    /// RFC 3339.
    pub received: String,
    pub bytes: usize,
    /// Whether its sender still waits for a reply.
    pub awaits_reply: bool,
    /// Whether it can be shown to a third party.
    pub provable: bool,
}
