//! Peers and registry entries as the API shows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::proto::node::stats::{LoadView, PeerTraffic};
use crate::types::Tier;

/// A peer we know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerView {
    pub peer_id: String,
    /// Absent until a session or the registry told.
    pub entity_id: Option<String>,
    pub name: Option<String>,
    /// `connected` (session live), `connecting`, `disconnected` or `banned`.
    pub state: String,
    pub capabilities: Vec<String>,
    /// Those of them whose tasks agents are to fetch, and none does, as it last said itself: it takes
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unattended: Vec<String>,
    pub addresses: Vec<String>,
    /// `healthy`, `suspect` or `unreachable`; absent until there was a session.
    pub health: Option<String>,
    /// Smoothed over heartbeats.
    pub rtt_us: Option<u64>,
    /// Of the last heartbeats, up to 32, those not answered in time.
    pub loss_percent: Option<u32>,
    /// Intervals in a row without a sign of life.
    pub missed: Option<u32>,
    /// Since the last sign of life.
    pub last_seen_ms: Option<u64>,
    /// The newest protocol version it speaks.
    pub version: Option<String>,
    /// As it last said itself.
    pub load: Option<LoadView>,
    /// `awake`, `wakeable` or `absent`, as it last said itself.
    pub agent: Option<String>,
    /// It cannot be reached and no wake-up got through: somebody has to look.
    pub manual_check: bool,
    /// `closed`, `open` (nothing is sent to it) or `half_open`.
    pub breaker: String,
    /// Requests of it that were over their rate.
    pub rate_limited: u64,
    pub traffic: PeerTraffic,
    /// 0 to 1000: what this node thinks of it, from what became of tasks it was given; absent if it
    /// was given none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u16>,
    /// What that comes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
}

/// A registry entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntryView {
    pub peer_id: String,
    pub entity_id: String,
    pub name: String,
    /// `self`, or the peer's state.
    pub state: String,
    pub capabilities: Vec<String>,
    /// What it says of itself.
    #[serde(default)]
    pub labels: Vec<String>,
    pub addresses: Vec<String>,
    /// The public key in use, in hexadecimal.
    pub key: String,
    /// How often the key was rotated.
    pub rotations: usize,
    pub seq: u64,
    /// RFC 3339.
    pub expires: String,
}

/// A peer answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PongView {
    pub peer_id: String,
    pub rtt_us: Vec<u64>,
}
