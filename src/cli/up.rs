//! `up`: the node itself, in the foreground, until a signal.
//!
//! In this order: lock the home, read the settings, open the identity (all of it may talk to a
//! person, nothing runs yet); take the API's port, open the store, start the node; say that it is
//! ready. A second signal ends the process at once; the store survives that like a power cut.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::args::ServeSpec;
use super::exit::{Exit, Failure, Outcome};
use super::harden;
use super::init::PassphraseArgs;
use super::output;
use crate::api::{ApiServer, ApiToken};
use crate::config::{
    Config, FirstRun, Flags, Home, HomeKeys, HomeLock, LogFormat, NodeFile, TerminalPrompt,
    load_or_create, parse_multiaddr, show_duration_ms,
};
use crate::crypto::Identity;
use crate::proto::node::{Command, Reply};
use crate::runtime::{self, Handle, Running, StoreOpener};
use crate::store::SledStore;
use crate::types::{Multiaddr, NetworkName, NodeName};

/// A node that takes longer to stop is left to the system.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(20);
const DRAIN_POLL: Duration = Duration::from_millis(100);
/// How often it is looked whether results were taken; they are on the disk.
const HANDOVER_POLLS: u32 = 50;
/// What still runs on other threads after that.
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  junto up\n  junto up --name alice --serve wc='wc -w'\n  \
    junto up --bootstrap /ip4/192.0.2.7/tcp/4001 --on-wake 'notify-send wake'"
)]
pub(super) struct UpArgs {
    /// The network the node belongs to [default: junto].
    #[arg(long, value_name = "NAME")]
    pub(super) network: Option<NetworkName>,
    /// Where to listen for peers; may be given several times.
    #[arg(long, value_name = "MULTIADDR", value_parser = parse_multiaddr)]
    pub(super) listen: Vec<Multiaddr>,
    /// Where to meet the network first; may be given several times.
    #[arg(long, value_name = "MULTIADDR", value_parser = parse_multiaddr)]
    pub(super) bootstrap: Vec<Multiaddr>,
    /// Do not look for others on the local network.
    #[arg(long)]
    pub(super) no_mdns: bool,
    /// What people call this node [default: the machine's name and the end of the peer id].
    #[arg(long)]
    pub(super) name: Option<NodeName>,
    /// Where the local HTTP API listens [default: 127.0.0.1, a free port].
    #[arg(long, value_name = "ADDR")]
    pub(super) api: Option<SocketAddr>,
    /// Do a kind of work for others: COMMAND is run by /bin/sh with the input on stdin; may be
    /// given several times.
    #[arg(long, value_name = "CAP=COMMAND")]
    pub(super) serve: Vec<ServeSpec>,
    /// Who answers what others say: COMMAND is run by /bin/sh for each message, with it on stdin,
    /// and the reply is what it writes to stdout.
    #[arg(long, value_name = "COMMAND")]
    pub(super) agent: Option<String>,
    /// What runs when somebody wakes this node's agent.
    #[arg(long, value_name = "COMMAND")]
    pub(super) on_wake: Option<String>,
    #[command(flatten)]
    pub(super) passphrase: PassphraseArgs,
}

impl UpArgs {
    /// The flags as the strongest layer of the configuration.
    fn flags(&self) -> Flags {
        let mut flags = Flags::default();
        let texts = |addrs: &[Multiaddr]| addrs.iter().map(ToString::to_string).collect::<Vec<_>>();
        if let Some(network) = &self.network {
            flags.set("--network", &["node", "network"], network.as_str());
        }
        if let Some(name) = &self.name {
            flags.set("--name", &["node", "name"], name.as_str());
        }
        if !self.listen.is_empty() {
            flags.set_list("--listen", &["net", "listen"], &texts(&self.listen));
        }
        if !self.bootstrap.is_empty() {
            flags.set_list(
                "--bootstrap",
                &["net", "bootstrap"],
                &texts(&self.bootstrap),
            );
        }
        if self.no_mdns {
            flags.set("--no-mdns", &["net", "mdns"], "false");
        }
        if let Some(api) = self.api {
            flags.set("--api", &["api", "listen"], api.to_string());
        }
        for serve in &self.serve {
            let key = ["serve", serve.capability.as_str(), "command"];
            flags.set("--serve", &key, serve.command.as_str());
        }
        if let Some(command) = &self.agent {
            flags.set("--agent", &["agent", "command"], command.as_str());
        }
        if let Some(command) = &self.on_wake {
            flags.set("--on-wake", &["wake", "command"], command.as_str());
        }
        flags
    }
}

/// Runs a node until a signal or its own end.
pub(super) fn run(home: &Home, args: UpArgs, json: bool) -> Outcome {
    home.create()?;
    let lock = home.lock()?;
    let first = FirstRun {
        keychain: args.passphrase.keychain,
        ..FirstRun::default()
    };
    if Config::write_new(&home.config_file(), &first)? {
        eprintln!(
            "Wrote the default settings to {}.",
            home.config_file().display()
        );
    }
    let config = Config::load(home, args.flags())?;
    super::start_log(
        config.log.level.as_str(),
        config.log.format == LogFormat::Json,
    )?;
    harden::keep_memory_private();
    args.passphrase.advise(home, &config);
    let loaded = load_or_create(
        home,
        &args.passphrase.options(&config)?,
        &mut TerminalPrompt,
    )?;
    harden::tell_unlocked_memory();
    if loaded.created {
        eprintln!("Made a new identity in {}.", home.key_file().display());
    }
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("this process could not be set up: {error}")))?;
    let outcome = tokio.block_on(serve(home, lock, config, loaded.identity, json));
    // A disk that hangs must not keep the process.
    tokio.shutdown_timeout(LEFTOVER_TIMEOUT);
    outcome
}

async fn serve(
    home: &Home,
    lock: HomeLock,
    config: Config,
    identity: Identity,
    json: bool,
) -> Outcome {
    // From here on a signal is a clean stop, also while the node is still starting.
    let mut signals = Signals::new()?;
    let token = ApiToken::load_or_create(&home.token_file())?;
    let api = ApiServer::bind(config.api.listen, config.api.allow_remote)?;
    let mut runtime_config = config.runtime_config(
        identity.clone(),
        guard_exe(),
        Some(home.work_dir()),
        home.incoming_dir(),
    );
    runtime_config.api = Some(api.local_addr());
    let name = runtime_config.node.name.clone();
    let starting = runtime::start(runtime_config, opener(home));
    let mut running = tokio::select! {
        started = starting => started.map_err(|error| Failure::failed(error.to_string()))?,
        () = signals.next() => return Ok(Exit::Done),
    };
    let node = describe(&identity, &name, &running, api.local_addr());

    let (stop_api, api_stopped) = oneshot::channel::<()>();
    let stop = async move {
        // A sender that is gone means the same.
        let _ = api_stopped.await;
    };
    let keeper = Arc::new(HomeKeys::new(home, &identity));
    let handle = running.handle().with_keeper(keeper);
    let mut serving = tokio::spawn(api.serve(handle, token, stop));
    lock.publish(&node)?;
    if json {
        output::json(&node)?;
    }
    greet(home, &config, &node);

    let mut node_ended = false;
    let mut told_to_stop = false;
    let outcome = tokio::select! {
        () = signals.next() => {
            told_to_stop = true;
            Ok(Exit::Done)
        }
        () = running.ended() => {
            node_ended = true;
            Err(Failure::failed("the node ended by itself, which is a defect: its log says more"))
        }
        ended = &mut serving => Err(api_ended(ended)),
    };
    if told_to_stop {
        drain(&running.handle(), config.task.drain_ms, &mut signals).await;
        eprintln!("Stopping; press Ctrl-C again to stop at once.");
    }
    lock.retract();
    // What has ended already must not be awaited again.
    let stopping = async {
        drop(stop_api);
        if !serving.is_finished() {
            let _ = serving.await;
        }
        if !node_ended {
            running.shutdown().await;
        }
    };
    tokio::select! {
        stopped = tokio::time::timeout(SHUTDOWN_TIMEOUT, stopping) => {
            if stopped.is_err() {
                eprintln!("warning: the node did not stop within {} s", SHUTDOWN_TIMEOUT.as_secs());
            }
        }
        () = signals.next() => eprintln!("Stopped at once."),
    }
    outcome
}

/// Lets what runs for others end, for at most `limit_ms`. A second signal cuts it short.
async fn drain(handle: &Handle, limit_ms: u64, signals: &mut Signals) {
    let timeout_ms = limit_ms;
    if limit_ms == 0 || handle.call(Command::Drain { timeout_ms }).await.is_err() {
        return;
    }
    let limit = show_duration_ms(limit_ms);
    eprintln!("Finishing what runs, for at most {limit}; press Ctrl-C to stop without.");
    let empty = async {
        let mut handover = HANDOVER_POLLS;
        while let Ok(Reply::Drain(view)) = handle.call(Command::Drained).await {
            if view.running == 0 {
                if view.undelivered == 0 || handover == 0 {
                    break;
                }
                handover -= 1;
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
    };
    tokio::select! {
        () = empty => {}
        () = signals.next() => {}
    }
}

/// Opens the store: at start, and again after the disk refused a write.
fn opener(home: &Home) -> StoreOpener {
    let dir = home.store_dir();
    Arc::new(move || Ok(Box::new(SledStore::open(&dir)?)))
}

/// This program, which also guards the commands it runs.
fn guard_exe() -> Option<PathBuf> {
    std::env::current_exe()
        .inspect_err(|error| {
            tracing::warn!(
                %error,
                "this program does not find its own file: should it be killed, its commands go on"
            );
        })
        .ok()
}

/// How the API's task came to its end before it was told to.
fn api_ended(ended: Result<Result<(), crate::api::ApiError>, tokio::task::JoinError>) -> Failure {
    match ended {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) => Failure::failed("the API ended by itself"),
        Err(error) => Failure::failed(format!("the API ended by itself: {error}")),
    }
}

/// SIGINT (Ctrl-C) and SIGTERM. SIGHUP keeps its meaning: `nohup` must be able to ignore it.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Signals, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::failed(format!("this process cannot listen for signals: {error}"))
            })
        };
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn describe(identity: &Identity, name: &NodeName, running: &Running, api: SocketAddr) -> NodeFile {
    let suffix = format!("/p2p/{}", identity.peer_id);
    let full = |addr: &Multiaddr| {
        let addr = addr.to_string();
        if addr.ends_with(&suffix) {
            addr
        } else {
            format!("{addr}{suffix}")
        }
    };
    NodeFile {
        pid: Some(std::process::id()),
        name: name.to_string(),
        peer_id: identity.peer_id.to_string(),
        entity_id: identity.entity_id.to_string(),
        fingerprint: Identity::fingerprint(&identity.entity_id),
        listen: running.listen().iter().map(full).collect(),
        api: Some(api.to_string()),
    }
}

/// Who it is and how to reach it, for the person at the terminal.
fn greet(home: &Home, config: &Config, node: &NodeFile) {
    eprintln!();
    eprintln!(
        "  {} is up in the network {}.",
        node.name, config.node.network
    );
    eprintln!();
    eprintln!("  peer id      {}", node.peer_id);
    eprintln!("  entity id    {}", node.entity_id);
    eprintln!("  fingerprint  {}", node.fingerprint);
    for addr in &node.listen {
        eprintln!("  listening    {addr}");
    }
    for (capability, serve) in &config.serve {
        eprintln!("  serving      {capability} ({} at once)", serve.slots);
    }
    if let Some(api) = &node.api {
        eprintln!(
            "  api          http://{api} (token: {})",
            home.token_file().display()
        );
    }
    if let Some(command) = join_hint(config, &node.listen) {
        eprintln!();
        eprintln!("  Join from another machine:");
        eprintln!("    {command}");
    }
    eprintln!();
}

/// The command that makes another machine's node meet this one; none when this one listens on
/// loopback only.
fn join_hint(config: &Config, listen: &[String]) -> Option<String> {
    let reachable = |addr: &&String| {
        !addr.starts_with("/ip4/127.") && !addr.starts_with("/ip6/::1/") && !addr.contains("/fe80:")
    };
    let addr = listen.iter().find(reachable)?;
    let network = match config.node.network.as_str() {
        "junto" => String::new(),
        network => format!(" --network {network}"),
    };
    Some(format!("junto up{network} --bootstrap {addr}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        up: UpArgs,
    }

    fn config(line: &[&str], text: &str) -> Config {
        let line = std::iter::once("up").chain(line.iter().copied());
        let args = Line::try_parse_from(line).expect("valid arguments").up;
        let path = Path::new("/h/junto.toml");
        Config::from_sources(path, Some(text), [], args.flags()).expect("valid settings")
    }

    #[test]
    fn every_flag_reaches_its_setting() {
        let line = [
            "--network",
            "lab",
            "--listen",
            "/ip4/127.0.0.1/tcp/1",
            "--bootstrap",
            "/ip4/10.0.0.1/tcp/2",
            "--no-mdns",
            "--name",
            "a",
            "--api",
            "127.0.0.1:3",
            "--serve",
            "wc=wc -w",
            "--serve",
            "x.y=cat",
            "--on-wake",
            "true",
            "--agent",
            "cat",
        ];
        let config = config(&line, "[net]\nmdns = true\nlisten = ['/ip4/0.0.0.0/tcp/9']");
        assert_eq!(config.node.network.as_str(), "lab");
        assert_eq!(config.node.name.as_ref().map(NodeName::as_str), Some("a"));
        assert_eq!(
            config.net.listen,
            ["/ip4/127.0.0.1/tcp/1".parse().expect("an address")]
        );
        assert_eq!(config.net.bootstrap.len(), 1);
        assert!(!config.net.mdns);
        assert_eq!(config.api.listen.port(), 3);
        assert_eq!(config.serve.len(), 2);
        assert_eq!(config.wake.command.as_deref(), Some("true"));
        assert_eq!(config.agent.command.as_deref(), Some("cat"));
    }

    #[test]
    fn flags_that_are_not_given_change_nothing() {
        assert_eq!(config(&[], ""), Config::default());
    }

    #[test]
    fn the_hint_names_an_address_others_can_reach_and_the_network() {
        let listen = ["/ip4/127.0.0.1/tcp/1/p2p/x", "/ip4/192.0.2.7/tcp/1/p2p/x"].map(String::from);
        let default = config(&[], "");
        let hint = join_hint(&default, &listen).expect("one address is reachable");
        assert_eq!(hint, "junto up --bootstrap /ip4/192.0.2.7/tcp/1/p2p/x");
        let lab = config(&["--network", "lab"], "");
        let hint = join_hint(&lab, &listen).expect("one address is reachable");
        assert!(hint.contains("--network lab "), "{hint}");
        assert_eq!(join_hint(&default, &listen[..1]), None);
    }
}
