//! L4: the shell around the core. One driver owns the core and the swarm; everything slow (disk,
//! signatures, commands) runs beside it and answers by an input.

pub mod bench;
pub mod channel;
mod claims;
mod clock;
mod compute;
mod driver;
pub mod executor;
mod handle;
mod http;
mod keys;
mod log;
pub mod payloads;
mod persist;
mod room;
mod serve;
mod tools;
mod transfer;
mod webhook;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use handle::Handle;
pub use keys::{KeyKeeper, KeyKeeperError};
pub use serve::{CommandSpec, ServeHow, ServeSpec};
pub use tools::{AliveView, RESTART_ATTEMPTS_MAX, ReportOptions, WakeOptions};

use self::channel::{Agent, AgentConfig, Channels, Outside};
use self::driver::{Driver, Streams};
use self::executor::Executor;
use self::payloads::PayloadFolder;
use crate::crypto::{Identity, Jitter};
use crate::metrics::Metrics;
use crate::net::{Net, NetConfig, NetError, Pool};
use crate::proto::RowError;
use crate::proto::node::{NodeConfig, PoolView};
use crate::store::{Store, StoreError};
use crate::types::{Capability, Multiaddr};

/// What channels have for the driver, until it takes it up.
const CHANNEL_EVENTS_MAX: usize = 256;

/// A node to run.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    pub identity: Identity,
    pub node: NodeConfig,
    /// Where to listen; port 0 takes a free one.
    pub listen: Vec<Multiaddr>,
    pub mdns: bool,
    /// Which verifications are followed by a random delay.
    pub jitter: Jitter,
    /// Who does what we offer.
    pub serve: BTreeMap<Capability, ServeSpec>,
    /// Who answers what others say to us.
    pub agent: AgentConfig,
    /// The wake hook.
    pub on_wake: Option<HookAction>,
    /// What restarts the agent when a peer asks for it.
    pub on_restart: Option<HookAction>,
    /// The program that ends the commands' processes when this one dies: ourselves, by our path.
    /// None: only a clean stop ends them.
    pub guard_exe: Option<PathBuf>,
    /// Commands work in folders below it; it is emptied at the start. None: below the system's
    /// folder for temporary files.
    pub work_dir: Option<PathBuf>,
    pub files: FilesConfig,
    /// Where the store is, whose disk is looked at: new tasks, too, leave `keep_free_bytes` of it
    /// free. None, or nothing to be kept free: they are taken until it is full.
    pub store: Option<PathBuf>,
    /// Where the API listens, if there is one: runs that may hand on parts of their tasks are told.
    pub api: Option<SocketAddr>,
}

impl RuntimeConfig {
    /// A node on a free port of loopback that serves nothing, keeps what it is told in its inbox
    /// and received files below `files`.
    pub fn new(identity: Identity, node: NodeConfig, files: FilesConfig) -> RuntimeConfig {
        let loopback = "/ip4/127.0.0.1/tcp/0".parse().expect("a valid address");
        RuntimeConfig {
            identity,
            node,
            listen: vec![loopback],
            mdns: false,
            jitter: Jitter::default(),
            serve: BTreeMap::new(),
            agent: AgentConfig::default(),
            on_wake: None,
            on_restart: None,
            guard_exe: None,
            work_dir: None,
            files,
            store: None,
            api: None,
        }
    }
}

/// Where received files go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesConfig {
    /// Made when the first file comes; unfinished ones are in a folder within.
    pub incoming: PathBuf,
    /// Made when the first payload comes: inputs and results of tasks that are too large for a
    /// message. This node's alone.
    pub payloads: PathBuf,
    /// What they must leave free on the disk.
    pub keep_free_bytes: u64,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookAction {
    /// Given to `/bin/sh -c`.
    Command(String),
    /// Posted to, with who asks and why as JSON; an answer of 2xx is success.
    Url(String),
}

/// Opens the store: at start, and again after the disk refused a write.
pub type StoreOpener = Arc<dyn Fn() -> Result<Box<dyn Store>, StoreError> + Send + Sync>;

/// How the network's pool is shown.
fn pool_view(pool: Pool) -> PoolView {
    PoolView {
        connections: pool.connections,
        incoming: pool.incoming,
        connections_max: pool.connections_max,
        incoming_max: pool.incoming_max,
        per_peer_max: pool.per_peer_max,
        requests_sent: pool.requests_sent,
        requests_received: pool.requests_received,
        streams_max: pool.streams_max,
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the store is damaged: {0}; restore a backup, or move the folder aside to start empty")]
    Row(#[from] RowError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("the system refused what a node needs: {0}")]
    Thread(std::io::Error),
}

/// A running node.
pub struct Running {
    handle: Handle,
    listen: Vec<Multiaddr>,
    stop: CancellationToken,
    driver: JoinHandle<()>,
}

/// Starts a node: opens its store, listens, and begins to serve.
///
/// # Errors
/// [`StartError`].
pub async fn start(mut config: RuntimeConfig, open: StoreOpener) -> Result<Running, StartError> {
    // Only an empty path has no absolute form.
    let incoming = &config.files.incoming;
    config.node.transfer.folder =
        std::path::absolute(incoming).unwrap_or_else(|_| incoming.clone());
    let payloads = &config.files.payloads;
    config.node.task.payload_folder =
        std::path::absolute(payloads).unwrap_or_else(|_| payloads.clone());
    let max_bytes = config.node.task.payload_max_bytes;
    let payloads = PayloadFolder::new(&config.files, max_bytes);
    let net = Net::start(NetConfig {
        keypair: config.identity.transport_keypair(),
        network: config.node.network.clone(),
        listen: config.listen.clone(),
        mdns: config.mdns,
    })
    .await?;
    let listen = net.local_addrs().to_vec();
    let executor = Executor::start(config.guard_exe.clone(), config.work_dir.clone());
    let executor = executor
        .with_api(config.api)
        .with_payloads(payloads.clone());
    let outside = match &config.agent {
        AgentConfig::Outside(agent) => Some(Outside::new(agent.clone(), executor.runner())),
        AgentConfig::Inbox | AgentConfig::Echo | AgentConfig::Custom(_) => None,
    };
    let (desk, passes) = (executor.desk(), executor.passes());
    let answering = outside.clone().map(|outside| outside as Arc<dyn Agent>);
    let metrics = Metrics::default();
    let (events, channel_events) = mpsc::channel(CHANNEL_EVENTS_MAX);
    let (channels, bulk) = Channels::start(net.streams(), config.agent.clone(), answering, events);
    let streams = Streams {
        channels: Arc::clone(&channels),
        events: channel_events,
        bulk,
        claims: payloads.claims(),
    };
    let (driver, calls) =
        Driver::start(config, open, net, executor, metrics.clone(), streams).await?;
    let stop = CancellationToken::new();
    let driver = tokio::spawn(driver.run(stop.clone()));
    let handle = Handle::new(calls, metrics, channels, desk, passes, payloads);
    if let Some(outside) = outside {
        tokio::spawn(outside.take_reports(handle.clone(), stop.clone()));
    }
    Ok(Running {
        handle,
        listen,
        stop,
        driver,
    })
}

impl Running {
    /// The door to the node.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Where it listens, without its peer id.
    pub fn listen(&self) -> &[Multiaddr] {
        &self.listen
    }

    /// Waits until the node ends by itself, which only a defect makes it do.
    pub async fn ended(&mut self) {
        let _ = (&mut self.driver).await;
    }

    /// Stops the node: ends the commands it runs, makes durable what is queued.
    pub async fn shutdown(self) {
        self.stop.cancel();
        let _ = self.driver.await;
    }
}
