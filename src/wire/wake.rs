//! Waking a peer's agent: *resume your work*.

use serde::{Deserialize, Serialize};

use crate::types::{Nonce, Priority};

/// What the woken node is asked to do.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum WakeRequest {
    /// Have the agent take up its work.
    #[default]
    Resume,
    /// End the agent and start it anew.
    Restart,
}

impl WakeRequest {
    /// The request's name.
    pub fn as_str(self) -> &'static str {
        match self {
            WakeRequest::Resume => "resume",
            WakeRequest::Restart => "restart",
        }
    }
}

/// What became of a wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WakeStatus {
    /// The node has it.
    Delivered,
    /// The hook command runs.
    HookStarted,
    /// The hook ended with status 0, or the agent said so over the API.
    Resumed,
    AlreadyAwake,
    RateLimited,
    NotAllowed,
    /// The hook ended with another status or ran out of time.
    Failed,
}

impl WakeStatus {
    /// Whether nothing follows it.
    pub fn is_final(self) -> bool {
        !matches!(self, WakeStatus::Delivered | WakeStatus::HookStarted)
    }
}

/// Asks the other side to wake its agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WakeUp {
    /// Names this wake-up; a resend carries the same.
    pub nonce: Nonce,
    pub reason: String,
    /// High where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// To resume where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<WakeRequest>,
}

/// The response to `wake_up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WakeUpAck {
    /// The nonce of the wake-up it answers.
    pub nonce: Nonce,
    pub status: WakeStatus,
}

/// A later phase, sent by the woken side as a request of its own and answered by a pong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WakeUpdate {
    pub nonce: Nonce,
    pub status: WakeStatus,
}
