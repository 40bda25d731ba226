//! Health and statistics as the API shows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went to and fro.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountView {
    pub messages_sent: u64,
    /// Whole frames.
    pub bytes_sent: u64,
    pub messages_received: u64,
    pub bytes_received: u64,
}

/// What went to and fro with one peer, since it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerTraffic {
    /// Sessions made with it.
    pub sessions: u64,
    /// Requests of it that were answered with an error.
    pub errors_sent: u64,
    /// Requests to it that it answered with an error.
    pub errors_received: u64,
    /// Requests to it that got no answer.
    pub unanswered: u64,
    /// All points of penalty, worn off or not.
    pub penalty_points: u64,
    pub messages_sent: u64,
    pub bytes_sent: u64,
    pub messages_received: u64,
    pub bytes_received: u64,
    /// The same by class: `handshake`, `probe`, `registry`, `wake`, `task`, `other`.
    pub classes: BTreeMap<String, CountView>,
}

/// What a node does for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoadView {
    /// Tasks it holds for others.
    pub held: u32,
    pub slots: u32,
    pub free: u32,
    /// Of those it holds, the ones that wait for a slot.
    #[serde(default)]
    pub waiting: u32,
    /// It takes nothing more: it is about to stop.
    #[serde(default)]
    pub draining: bool,
}

/// What a peer answered when it was asked how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerStatusView {
    pub peer_id: String,
    pub entity_id: String,
    /// How long the answer took.
    pub rtt_us: u64,
    pub uptime_ms: u64,
    pub load: LoadView,
    /// `awake`, `wakeable` or `absent`.
    pub agent: String,
}

/// The guard in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuardView {
    /// Peers that are asked nothing at the moment because they failed too often.
    pub breakers_open: usize,
    /// Peers of which one request tries whether they are back.
    pub breakers_half_open: usize,
    /// How often a breaker opened since the start.
    pub breakers_opened: u64,
    /// Peers that asked us to send less of something.
    pub held_back: usize,
    /// Requests of others that were over their rate, since the start.
    pub rate_limited: u64,
}

/// Peers by health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthCounts {
    pub healthy: usize,
    pub suspect: usize,
    pub unreachable: usize,
}

/// Connections, and the requests that share them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolView {
    pub connections: usize,
    /// Of these, opened by others.
    pub incoming: usize,
    pub connections_max: usize,
    pub incoming_max: usize,
    pub per_peer_max: usize,
    /// Requests under way, each a stream of its own: ours, and those of others.
    pub requests_sent: usize,
    pub requests_received: usize,
    /// At most so many on one connection.
    pub streams_max: usize,
}

/// The node's messages in numbers, and those of each peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeStats {
    /// Sessions made since the start.
    pub sessions_made: u64,
    /// Requests that got no answer.
    pub unanswered: u64,
    /// By type.
    pub messages: BTreeMap<String, CountView>,
    /// By code.
    pub errors_sent: BTreeMap<String, u64>,
    pub errors_received: BTreeMap<String, u64>,
    pub peers: Vec<PeerStats>,
}

/// One peer of [`NodeStats`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerStats {
    pub peer_id: String,
    pub name: Option<String>,
    #[serde(flatten)]
    pub traffic: PeerTraffic,
}
