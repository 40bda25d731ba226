//! How a node is: heartbeats, status reports, capabilities with their free slots, discovery.

use serde::{Deserialize, Serialize};

use super::left_out;
use crate::types::Capability;

/// What a node does for others at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Tasks it holds for others: running, or done and not acknowledged.
    pub held: u32,
    /// Slots of all its capabilities together, and how many are free.
    pub slots: u32,
    pub free: u32,
    /// Tasks it has accepted for which no slot is free yet.
    #[serde(
        default,
        skip_serializing_if = "left_out::is_default",
        deserialize_with = "left_out::number"
    )]
    pub waiting: u32,
    /// It takes nothing more: it is about to stop.
    #[serde(
        default,
        skip_serializing_if = "left_out::is_default",
        deserialize_with = "left_out::yes"
    )]
    pub draining: bool,
}

/// Whether there is an agent behind a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentPresence {
    /// It used its node lately.
    Awake,
    /// It did not, but a wake-up runs its hook.
    Wakeable,
    Absent,
}

impl AgentPresence {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            AgentPresence::Awake => "awake",
            AgentPresence::Wakeable => "wakeable",
            AgentPresence::Absent => "absent",
        }
    }
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeStatus {
    /// Since it started.
    pub uptime_ms: u64,
    pub load: Load,
    pub agent: AgentPresence,
}

/// A sign of life. `seq` counts those of this session from 0: an older one says nothing new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    pub seq: u64,
    pub status: NodeStatus,
}

/// The answer to the heartbeat of that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatAck {
    pub seq: u64,
}

/// How the sender is; request and response have the same form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusReport {
    pub status: NodeStatus,
}

/// Asks what a node can take on: of one capability, or of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapabilityQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<Capability>,
}

/// A capability as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreeSlots {
    pub name: Capability,
    pub slots: u32,
    pub free: u32,
    /// Tasks of it that are accepted and wait for a slot.
    #[serde(
        default,
        skip_serializing_if = "left_out::is_default",
        deserialize_with = "left_out::number"
    )]
    pub waiting: u32,
    /// How many may wait at most.
    #[serde(
        default,
        skip_serializing_if = "left_out::is_default",
        deserialize_with = "left_out::number"
    )]
    pub queue: u32,
    /// No agent has asked for tasks of it for long: it takes none.
    #[serde(
        default,
        skip_serializing_if = "left_out::is_default",
        deserialize_with = "left_out::yes"
    )]
    pub unattended: bool,
}

/// The answer: at most `CAPABILITIES_MAX`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapabilityResponse {
    pub capabilities: Vec<FreeSlots>,
}

/// Asks for the signed entries of those who offer a capability, at most `limit`. The answer is
/// `registry_entries`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discovery {
    pub capability: Capability,
    pub limit: u32,
}
