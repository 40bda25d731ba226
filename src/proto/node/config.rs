//! What a node's core is told once, at start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::proto::clear::Allowed;
use crate::proto::guard::GuardRules;
use crate::proto::health::HealthRules;
use crate::proto::session::SessionConfig;
use crate::proto::task::{Bounds, Keep, Serving};
use crate::types::limits::PAYLOAD_MAX_BYTES;
use crate::types::{Capability, Label, Multiaddr, NetworkName, NodeName};
use crate::wire::Offer;

/// The core's settings. All times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    pub network: NetworkName,
    pub name: NodeName,
    pub capabilities: Vec<Offer>,
    /// What else is to be known of them; what is not named has the default.
    pub serving: BTreeMap<Capability, Serving>,
    /// What the node says of itself.
    pub labels: BTreeSet<Label>,
    pub bootstrap: Vec<Multiaddr>,
    pub session: SessionConfig,
    pub task: TaskConfig,
    pub wake: WakePolicy,
    pub health: HealthRules,
    pub limits: GuardRules,
    /// Who may speak version 1.0: signed, in clear.
    pub allow_v1_0: Vec<Allowed>,
    pub transfer: TransferPolicy,
    /// The process did not end: its disk refused a write, and the core begins again from what is on
    /// it. No task took the node down.
    pub goes_on: bool,
}

impl NodeConfig {
    /// The defaults: no capabilities, nobody to begin with.
    pub fn new(network: NetworkName, name: NodeName) -> NodeConfig {
        NodeConfig {
            network,
            name,
            capabilities: Vec::new(),
            serving: BTreeMap::new(),
            labels: BTreeSet::new(),
            bootstrap: Vec::new(),
            session: SessionConfig::default(),
            task: TaskConfig::default(),
            wake: WakePolicy::default(),
            health: HealthRules::default(),
            limits: GuardRules::default(),
            allow_v1_0: Vec::new(),
            transfer: TransferPolicy::default(),
            goes_on: false,
        }
    }
}

/// How work is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskConfig {
    /// A worker that is silent for so long loses its tasks.
    pub lease_ms: u64,
    /// How often a worker renews.
    pub renew_ms: u64,
    /// An offer without an answer lapses.
    pub offer_lapse_ms: u64,
    /// Failed attempts before a task is given up.
    pub failures_max: u32,
    /// Lost workers before a task is given up.
    pub losses_max: u32,
    /// The first delay between attempts; doubles up to `backoff_max_ms`, with full jitter.
    pub backoff_ms: u64,
    pub backoff_max_ms: u64,
    /// Whether webhooks may go to other machines.
    pub remote_webhooks: bool,
    /// The largest input or result, and what all that are kept may take together.
    pub payload_max_bytes: u64,
    pub payload_space_bytes: u64,
    /// Where they are.
    pub payload_folder: PathBuf,
    /// What is kept of tasks that have ended.
    pub keep: Keep,
    /// How much there may be of what has not ended.
    pub bounds: Bounds,
}

impl Default for TaskConfig {
    fn default() -> TaskConfig {
        TaskConfig {
            lease_ms: 20_000,
            renew_ms: 5_000,
            offer_lapse_ms: 10_000,
            failures_max: 5,
            losses_max: 20,
            backoff_ms: 500,
            backoff_max_ms: 30_000,
            remote_webhooks: false,
            payload_max_bytes: PAYLOAD_MAX_BYTES,
            payload_space_bytes: 16 * PAYLOAD_MAX_BYTES,
            payload_folder: PathBuf::new(),
            keep: Keep::default(),
            bounds: Bounds::default(),
        }
    }
}

/// Who may wake this node's agent, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakePolicy {
    /// Whether there is a hook to run.
    pub hook: bool,
    /// Whether there is a hook that restarts the agent; without it nobody may.
    pub restart_hook: bool,
    /// Peer ids or entity ids that may wake us (a name proves nothing); none: everybody.
    pub allow: Option<Vec<String>>,
    pub max_per_hour: u32,
    pub timeout_ms: u64,
}

impl Default for WakePolicy {
    fn default() -> WakePolicy {
        WakePolicy {
            hook: false,
            restart_hook: false,
            allow: None,
            max_per_hour: 60,
            timeout_ms: 60_000,
        }
    }
}

/// Which files this node takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferPolicy {
    /// Peer ids or entity ids that may send us files (a name proves nothing); none: everybody.
    pub allow: Option<Vec<String>>,
    /// One file's size.
    pub max_bytes: u64,
    /// Where they are put, as our agent is told.
    pub folder: PathBuf,
}

impl Default for TransferPolicy {
    fn default() -> TransferPolicy {
        TransferPolicy {
            allow: None,
            max_bytes: 64 << 30,
            folder: PathBuf::new(),
        }
    }
}
