//! One of the processes of a benchmark, from within: it says where it listens, then does what it
//! is told, one line of JSON in, one line out, until its input ends.
//!
//! Four of them serve a benchmark: two nodes, and two processes with nothing but libp2p
//! (`plain`). Of each pair one answers and one drives.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Subcommand, ValueEnum};
use futures::future::BoxFuture;
use libp2p::multiaddr::Protocol;
use rand::SeedableRng;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, Stdin};

use super::plain;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::config::Config;
use crate::crypto::{Identity, Rng, Seeds};
use crate::proto::node::PeerRef;
use crate::runtime::bench::{self, Measured, Recorder, Taker, Traffic};
use crate::runtime::channel::AgentConfig;
use crate::runtime::executor::{self, WorkJob};
use crate::runtime::{self, Running, ServeHow, ServeSpec, StoreOpener};
use crate::store::SledStore;
use crate::types::{Capability, Multiaddr, PeerId};
use crate::wire::Offer;

const NETWORK: &str = "bench";
/// Twice what is under way at once.
const SLOTS: u32 = 128;
pub(super) const LISTEN: &str = "/ip4/127.0.0.1/tcp/0";

/// What a side is.
#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum SideArgs {
    /// A node that echoes; with an address, one that drives.
    Node { dir: PathBuf, to: Option<Multiaddr> },
    /// Plain libp2p, likewise.
    Plain { to: Option<Multiaddr> },
}

/// What a driving side is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) work: Work,
    pub(super) span_ms: u64,
    /// How much is to be sent in bulk.
    pub(super) bytes: u64,
    /// The file that holds it, where it is a file; the folder to flush in.
    pub(super) file: Option<String>,
    /// Not the workload, but what is done with tasks that nobody takes.
    pub(super) queue: Option<Queue>,
}

/// What is done with tasks that nobody takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Queue {
    /// Hand over so many more.
    Fill(u64),
    /// List all tasks.
    List,
}

/// The workloads, as the command line and the sides name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Work {
    /// A question of 256 bytes and its echo, one at a time.
    Talk,
    /// The same, 64 at once.
    Pipeline,
    /// 256 bytes one way, as fast as they are acknowledged.
    Report,
    /// A file, from disk to disk; beside it as many bytes over one stream.
    Bulk,
    /// From the first packet to the first answer.
    Connect,
    /// A task of 256 bytes and its result, each kept on both disks, 64 at once; beside it flushes.
    Task,
}

/// The first line a side writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ready {
    /// With the peer id.
    pub(super) addr: String,
}

/// What a side answers to an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Done(Measured),
    Failed(String),
}

/// Runs one side until its input ends.
pub(in crate::cli) async fn run(args: SideArgs) -> Outcome {
    match args {
        SideArgs::Node { dir, to } => node(&dir, to).await,
        SideArgs::Plain { to } => plain::run(to).await,
    }
}

/// The orders of a side, and where its answers go.
pub(super) struct Orders {
    lines: Lines<BufReader<Stdin>>,
}

impl Orders {
    /// Says that this side is ready, at `addr`.
    pub(super) async fn ready(addr: String) -> std::io::Result<Orders> {
        say(&Ready { addr }).await?;
        Ok(Orders {
            lines: BufReader::new(tokio::io::stdin()).lines(),
        })
    }

    /// The next one; none when whoever gives them is gone.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Order>> {
        match self.lines.next_line().await? {
            Some(line) => Ok(Some(serde_json::from_str(&line)?)),
            None => Ok(None),
        }
    }

    pub(super) async fn answer(&self, outcome: Result<Measured, String>) -> std::io::Result<()> {
        match outcome {
            Ok(measured) => say(&Answer::Done(measured)).await,
            Err(what) => say(&Answer::Failed(what)).await,
        }
    }
}

async fn say(line: &impl Serialize) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    let mut out = tokio::io::stdout();
    out.write_all(&text).await?;
    out.flush().await
}

async fn node(dir: &Path, to: Option<Multiaddr>) -> Outcome {
    let host = Host::start(&dir.join("node"), identity_of(dir)?, to.clone()).await?;
    let mut orders = Orders::ready(host.addr()?).await?;
    let mut host = Some(host);
    let mut newcomer = None;
    while let Some(order) = orders.next().await? {
        let outcome = match (&to, &host) {
            // What it is asked for is how often it has flushed.
            (None, Some(host)) => Ok(host.flushes()),
            (None, None) => Err(String::from("this side only answers")),
            (Some(to), _) if order.work == Work::Connect => {
                // Only two are to be there: a third would shake hands with both meanwhile, on the
                // same processors.
                if let Some(host) = host.take() {
                    host.running.shutdown().await;
                }
                let span = Duration::from_millis(order.span_ms);
                connects(&mut newcomer, dir, to, span).await
            }
            (Some(to), Some(host)) => drive(host, to, order).await,
            (Some(_), None) => Err(String::from("this side has given up its node")),
        };
        orders.answer(outcome).await?;
    }
    if let Some(host) = host {
        host.running.shutdown().await;
    }
    Ok(Exit::Done)
}

async fn drive(host: &Host, to: &Multiaddr, order: Order) -> Result<Measured, String> {
    let span = Duration::from_millis(order.span_ms);
    let done = match order.queue {
        Some(Queue::Fill(more)) => bench::fill(&host.running.handle(), nobodys(), more).await,
        Some(Queue::List) => bench::list(&host.running.handle()).await,
        None => return traffic(host, to, order, span).await,
    };
    done.map_err(|error| error.to_string())
}

async fn traffic(
    host: &Host,
    to: &Multiaddr,
    order: Order,
    span: Duration,
) -> Result<Measured, String> {
    let peer = PeerRef::Peer(peer_of(to)?);
    host.meet(&peer).await?;
    let traffic = match order.work {
        Work::Talk => Traffic::Talk,
        Work::Pipeline => Traffic::Pipeline,
        Work::Report => Traffic::Report,
        Work::Bulk => {
            let path = order.file.ok_or("there is no file to be sent")?;
            let sent = bench::send_file(&host.running.handle(), peer, path).await;
            return sent.map_err(|error| error.to_string());
        }
        Work::Task if order.span_ms == 0 => return Ok(host.flushes()),
        Work::Task => {
            let done = bench::tasks(&host.running.handle(), peer, echo(), span).await;
            return done.map_err(|error| error.to_string());
        }
        Work::Connect => return Err(String::from("a connection is made by a node of its own")),
    };
    bench::measure(&host.running.handle(), peer, traffic, Taker::Agent, span)
        .await
        .map_err(|error| error.to_string())
}

/// A node that has just started reaches one that it knows: connection, handshake, first answer.
///
/// It is the same node each time, because a peer remembers whom it met; but a restart ends every
/// session. And a peer limits how often one node may begin anew, hence the pauses, and another node
/// now and then.
async fn connects(
    newcomer: &mut Option<Newcomer>,
    dir: &Path,
    to: &Multiaddr,
    span: Duration,
) -> Result<Measured, String> {
    const PAUSE: Duration = Duration::from_millis(150);
    const CONNECTS_MAX: u32 = 40;
    let peer = PeerRef::Peer(peer_of(to)?);
    let known = newcomer
        .take()
        .filter(|known| known.connects < CONNECTS_MAX);
    let newcomer = newcomer.insert(match known {
        Some(known) => known,
        None => Newcomer::meet(dir, to).await?,
    });
    let recorder = Recorder::default();
    let (began, mut count, mut connecting) = (Instant::now(), 0, Duration::ZERO);
    while count == 0 || began.elapsed() < span {
        tokio::time::sleep(PAUSE).await;
        let host = newcomer.start(None).await?;
        newcomer.connects += 1;
        let asked = Instant::now();
        let answered = bench::first_answer(&host.running.handle(), peer.clone()).await;
        let took = asked.elapsed();
        host.running.shutdown().await;
        answered.map_err(|error| error.to_string())?;
        recorder.record(took);
        connecting += took;
        count += 1;
    }
    Ok(recorder.finish(count, connecting))
}

/// A node that its peer has met. It comes and goes.
struct Newcomer {
    identity: Identity,
    place: TempDir,
    connects: u32,
}

impl Newcomer {
    /// One that whoever listens at `to` has met.
    async fn meet(dir: &Path, to: &Multiaddr) -> Result<Newcomer, String> {
        let newcomer = Newcomer {
            identity: new_identity(),
            place: tempfile::tempdir_in(dir).map_err(|error| error.to_string())?,
            connects: 0,
        };
        let host = newcomer.start(Some(to.clone())).await?;
        let met = host.meet(&PeerRef::Peer(peer_of(to)?)).await;
        host.running.shutdown().await;
        met.map(|()| newcomer)
    }

    async fn start(&self, bootstrap: Option<Multiaddr>) -> Result<Host, String> {
        let started = Host::start(self.place.path(), self.identity.clone(), bootstrap).await;
        started.map_err(|failure| failure.to_string())
    }
}

/// The capability that gives back what it is given.
fn echo() -> Capability {
    "echo".parse().expect("a valid name")
}

/// What no node serves.
fn nobodys() -> Capability {
    "nobodys".parse().expect("a valid name")
}

struct Echo;

impl executor::Work for Echo {
    fn run(&self, job: WorkJob) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move { Ok(job.input) })
    }
}

/// A node in this process, on loopback.
struct Host {
    running: Running,
    peer_id: PeerId,
}

impl Host {
    async fn start(
        store: &Path,
        identity: Identity,
        bootstrap: Option<Multiaddr>,
    ) -> Result<Host, Failure> {
        let peer_id = identity.peer_id;
        let mut config =
            Config::default().runtime_config(identity, None, None, store.join("incoming"));
        config.node.network = NETWORK.parse().expect("a valid name");
        config.node.bootstrap = bootstrap.into_iter().collect();
        config.listen = vec![LISTEN.parse().expect("a valid address")];
        config.mdns = false;
        config.agent = AgentConfig::Echo;
        let serve = ServeSpec::new(ServeHow::Work(Arc::new(Echo)), 60_000);
        config.serve.insert(echo(), serve);
        config.node.capabilities = vec![Offer {
            name: echo(),
            slots: SLOTS,
            price: 0,
        }];
        config.files.incoming = store.join("incoming");
        let store = store.to_owned();
        let open: StoreOpener = Arc::new(move || Ok(Box::new(SledStore::open(&store)?)));
        let running = runtime::start(config, open)
            .await
            .map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Host { running, peer_id })
    }

    /// How often it has flushed so far, and how long that took together.
    fn flushes(&self) -> Measured {
        let handle = self.running.handle();
        let store = &handle.metrics().store;
        let took = Duration::from_micros(store.flush_us.get());
        Recorder::default().finish(store.flushes.get(), took)
    }

    fn addr(&self) -> Result<String, Failure> {
        match self.running.listen().first() {
            Some(addr) => Ok(format!("{addr}/p2p/{}", self.peer_id)),
            None => Err(Failure::failed("the node listens nowhere")),
        }
    }

    /// Waits until the bootstrap address has told who is there.
    async fn meet(&self, peer: &PeerRef) -> Result<(), String> {
        const PATIENCE: Duration = Duration::from_secs(20);
        const PAUSE: Duration = Duration::from_millis(10);
        let handle = self.running.handle();
        let end = Instant::now() + PATIENCE;
        loop {
            match handle.channel(peer.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > end => return Err(error.to_string()),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// The identity of the node in `dir`: it comes back as who it was.
fn identity_of(dir: &Path) -> std::io::Result<Identity> {
    let path = dir.join("seed");
    let seed = match std::fs::read_to_string(&path) {
        Ok(seed) => seed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let seed = rand::random::<u64>().to_string();
            std::fs::write(&path, &seed)?;
            seed
        }
        Err(error) => return Err(error),
    };
    let seed = seed.parse().map_err(std::io::Error::other)?;
    let seeds = Seeds::generate(&mut Rng::seed_from_u64(seed));
    Ok(Identity::from_seeds(&seeds))
}

fn new_identity() -> Identity {
    Identity::from_seeds(&Seeds::generate(&mut Rng::from_rng(&mut rand::rng())))
}

/// Whose address it is.
pub(super) fn peer_of(addr: &Multiaddr) -> Result<PeerId, String> {
    match addr.iter().last() {
        Some(Protocol::P2p(peer)) => Ok(peer),
        _ => Err(format!("{addr} does not end with a peer id")),
    }
}
