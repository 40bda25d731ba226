//! L4: the shell around the core. One driver owns the core and the swarm; everything slow (disk,
//! signatures, commands) runs beside it and answers by an input.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::crypto::Identity;
use crate::proto::node::NodeConfig;
use crate::types::{Capability, Multiaddr};

mod handle;

pub use handle::Handle;

/// A node to run.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    pub identity: Identity,
    /// The folder that holds `store/`. The caller holds its lock.
    pub home: PathBuf,
    pub node: NodeConfig,
    /// Where to listen; port 0 takes a free one.
    pub listen: Vec<Multiaddr>,
    pub mdns: bool,
    pub serve: BTreeMap<Capability, CommandSpec>,
    /// The wake hook's command.
    pub on_wake: Option<String>,
}

/// How a capability's command is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSpec {
    /// Given to `/bin/sh -c`.
    pub command: String,
    /// A run that takes longer is cut, whatever the task's deadline.
    pub timeout_ms: u64,
}
