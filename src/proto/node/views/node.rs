//! The node itself as the API shows it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TaskCounts;
use crate::proto::node::stats::{GuardView, HealthCounts, PoolView};

/// The node as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    pub name: String,
    pub peer_id: String,
    pub entity_id: String,
    pub fingerprint: String,
    pub network: String,
    pub version: String,
    pub listen: Vec<String>,
    pub capabilities: Vec<String>,
    /// Those of them whose tasks agents are to fetch, and none does at the moment: they take none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unattended: Vec<String>,
    pub uptime_ms: u64,
    /// Peers with a connection.
    pub connected: usize,
    /// Peers with a live session.
    pub sessions: usize,
    /// Registry entries, our own included.
    pub registry: usize,
    /// Our tasks by state.
    pub tasks: TaskCounts,
    /// Tasks of others that we hold: running, or done and not yet acknowledged.
    pub held: usize,
    /// Whether it was told to take no more of them.
    #[serde(default)]
    pub draining: bool,
    /// `ok`, or why nothing new is accepted: that the disk has too little free, or what it said
    /// when it refused a write.
    pub storage: String,
    #[serde(default)]
    pub guard: GuardView,
    /// Peers by health.
    #[serde(default)]
    pub health: HealthCounts,
    #[serde(default)]
    pub pool: PoolView,
}

/// How far a node is that was told to take no more tasks of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainView {
    /// Whether it takes none.
    pub draining: bool,
    /// Tasks of others that run here.
    pub running: usize,
    /// What tasks of others came to and their requesters have not acknowledged yet. It is on the
    /// disk: a node that is stopped now hands it over when it is back.
    pub undelivered: usize,
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdentityView {
    /// The durable identity.
    pub entity_id: String,
    /// The transport's identity; holds its public key.
    pub peer_id: String,
    /// The entity's Ed25519 key, in hex.
    pub public_key: String,
    /// The entity id in eight groups of four digits, for people to compare.
    pub fingerprint: String,
    /// The node's signed registry entry, in base64.
    pub entry: String,
}

/// Whose key is whose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FingerprintView {
    pub name: String,
    pub peer_id: String,
    pub entity_id: String,
    /// Eight groups of four digits, of the entity's id: it outlives every rotation.
    pub fingerprint: String,
    /// The public key in use, in hexadecimal. Absent only where a key file of the first version
    /// is asked without its passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How often the key was rotated.
    pub rotations: usize,
}
