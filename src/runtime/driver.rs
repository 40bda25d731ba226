//! The driver: one task that owns the core and the network, and carries inputs in and outputs out.
//!
//! It never awaits a send. What is slow runs elsewhere: the disk on the store's thread, signatures
//! on the compute threads, commands in processes of their own; each answers by an input.
//!
//! When the disk refuses a write, everything that waited on it is dropped, commands are answered
//! with `storage`, and the core is loaded anew from what the disk really holds before it promises
//! anything again: the same as a crash and a restart, without the process ending.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::channel::{BulkStream, ChannelEvent, Channels};
use super::claims::Claims;
use super::compute::{Answer, ComputePool, Computed};
use super::executor::{ExecDone, Executor};
use super::handle::Call;
use super::persist::{PersistDone, Persister};
use super::transfer::Files;
use super::{RuntimeConfig, StartError, StoreOpener, clock, log, pool_view, room, webhook};
use crate::crypto::{Rng, WorkOutput};
use crate::metrics::Metrics;
use crate::net::{Net, NetEvent, NetFailure, Verdict as NetVerdict};
use crate::proto::node::{
    Command, CommandError, CommandErrorCode, CommandResult, DiskRoom, ExchangeFailure, FileNews,
    Input, Node, Output, Reply, Verdict, WakeRequest,
};
use crate::types::{CommandId, JobId, Keyspace, Multiaddr, PeerId, RunId, WriteBatch};

const CALLS_MAX: usize = 1_024;
const DONE_MAX: usize = 4_096;
/// Of one kind of event so many are taken before the others are looked at.
const TOGETHER_MAX: usize = 32;
/// A sleep is cut into pieces: the timer below does not run while the machine sleeps.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// How long after a failure of the disk it is tried again.
const RELOAD_AFTER: Duration = Duration::from_secs(1);

/// What comes by long-lived streams.
pub(super) struct Streams {
    pub(super) channels: Arc<Channels>,
    pub(super) events: mpsc::Receiver<ChannelEvent>,
    /// Those that bring files.
    pub(super) bulk: mpsc::Receiver<BulkStream>,
    pub(super) claims: Claims,
}

/// See the module's header.
pub(super) struct Driver {
    config: RuntimeConfig,
    open: StoreOpener,
    node: Node,
    net: Net,
    executor: Executor,
    compute: ComputePool,
    persister: Option<Persister>,
    persisted: mpsc::Receiver<PersistDone>,
    computed: mpsc::Receiver<Computed>,
    executed: mpsc::Receiver<ExecDone>,
    exec_done: mpsc::Sender<ExecDone>,
    bulk: mpsc::Receiver<BulkStream>,
    files: Files,
    files_news: mpsc::Receiver<FileNews>,
    room: watch::Receiver<DiskRoom>,
    calls: mpsc::Receiver<Call>,
    replies: BTreeMap<CommandId, oneshot::Sender<CommandResult>>,
    next_command: u64,
    running: BTreeSet<RunId>,
    /// Work that was done here because the compute threads were full.
    done_inline: VecDeque<(JobId, WorkOutput)>,
    /// For a core that is loaded anew.
    connected: BTreeMap<PeerId, (Multiaddr, bool)>,
    listen: Vec<Multiaddr>,
    /// Why the disk is not used at the moment.
    broken: Option<String>,
    metrics: Metrics,
    channels: Arc<Channels>,
    channel_events: mpsc::Receiver<ChannelEvent>,
}

impl Driver {
    /// Opens everything. Returns the driver, the door to it, and where it listens.
    pub(super) async fn start(
        config: RuntimeConfig,
        open: StoreOpener,
        net: Net,
        executor: Executor,
        metrics: Metrics,
        streams: Streams,
    ) -> Result<(Driver, mpsc::Sender<Call>), StartError> {
        let (calls_tx, calls) = mpsc::channel(CALLS_MAX);
        let (exec_done, executed) = mpsc::channel(DONE_MAX);
        let (compute_done, computed) = mpsc::channel(DONE_MAX);
        let loaded = load(&config, &open, &metrics).await?;
        let Streams {
            channels,
            events: channel_events,
            bulk,
            claims,
        } = streams;
        let room = room::watch(&config, claims.clone()).await;
        let (files, files_news) = Files::new(&config.files, Arc::clone(&channels), true, claims);
        let mut driver = Driver {
            executor,
            room,
            compute: ComputePool::start(config.jitter, compute_done).map_err(StartError::Thread)?,
            config,
            open,
            node: loaded.node,
            net,
            persister: Some(loaded.persister),
            persisted: loaded.persisted,
            computed,
            executed,
            exec_done,
            bulk,
            files,
            files_news,
            calls,
            replies: BTreeMap::new(),
            next_command: 1,
            running: BTreeSet::new(),
            done_inline: VecDeque::new(),
            connected: BTreeMap::new(),
            listen: Vec::new(),
            broken: None,
            metrics,
            channels,
            channel_events,
        };
        driver.apply(loaded.outputs);
        driver.on_room();
        driver.listen = driver.net.local_addrs().to_vec();
        driver.feed(Input::ListenAddrs {
            addrs: driver.listen.clone(),
        });
        Ok((driver, calls_tx))
    }

    /// Runs until told to stop.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            if self.broken.is_some() {
                self.reload(&stop).await;
            }
            let sleep = self.sleep();
            tokio::select! {
                () = stop.cancelled() => break,
                event = self.net.next() => self.on_net(event),
                Some(call) = self.calls.recv() => self.on_calls(call),
                Some(done) = self.persisted.recv() => self.on_persisted(done),
                Some(computed) = self.computed.recv() => self.on_computed(computed),
                Some(done) = self.executed.recv() => self.on_all_executed(done),
                Some(event) = self.channel_events.recv() => self.on_channel(event),
                Some(stream) = self.bulk.recv() => self.files.accept(stream),
                Some(news) = self.files_news.recv() => self.feed(Input::File(news)),
                Ok(()) = self.room.changed() => self.on_room(),
                () = tokio::time::sleep(sleep) => self.feed(Input::Deadline),
            }
        }
        if self.broken.is_none() {
            self.feed(Input::Stopping);
        }
        self.executor.shutdown().await;
        if let Some(persister) = self.persister.take() {
            let _ = tokio::task::spawn_blocking(move || persister.stop()).await;
        }
    }

    fn sleep(&self) -> Duration {
        let Some(deadline) = self.node.next_deadline() else {
            return SLEEP_MAX;
        };
        let left_ms = clock::now().mono.until(deadline);
        Duration::from_millis(left_ms).min(SLEEP_MAX)
    }

    fn feed(&mut self, input: Input) {
        let outputs = self.node.handle(input, clock::now());
        self.apply(outputs);
        // Only now: a step within a step would hand its writes to the store before ours.
        while let Some((job, output)) = self.done_inline.pop_front() {
            let outputs = self
                .node
                .handle(Input::Computed { job, output }, clock::now());
            self.apply(outputs);
        }
    }

    /// Takes what came together together: to look round for the next event costs as much as a step.
    fn on_calls(&mut self, first: Call) {
        self.on_call(first);
        for _ in 1..TOGETHER_MAX {
            match self.calls.try_recv() {
                Ok(call) => self.on_call(call),
                Err(_) => break,
            }
        }
    }

    fn on_all_executed(&mut self, first: ExecDone) {
        self.on_executed(first);
        for _ in 1..TOGETHER_MAX {
            match self.executed.try_recv() {
                Ok(done) => self.on_executed(done),
                Err(_) => break,
            }
        }
    }

    fn on_call(&mut self, call: Call) {
        let id = CommandId(self.next_command);
        self.next_command += 1;
        // Whoever no longer waits for an answer makes room for others.
        if self.replies.len() >= DONE_MAX {
            self.replies.retain(|_, reply| !reply.is_closed());
        }
        self.replies.insert(id, call.reply);
        self.take_keys(&call.command);
        if let Command::EndRun { run, .. } = &call.command {
            self.running.remove(run);
        }
        self.feed(Input::Command {
            id,
            command: call.command,
        });
    }

    /// A core that is loaded anew begins with the newest keys.
    fn take_keys(&mut self, command: &Command) {
        if let Command::KeyRotated(identity) = command
            && identity.follows(&self.config.identity)
        {
            self.config.identity = (**identity).clone();
        }
    }

    fn on_room(&mut self) {
        let seen = *self.room.borrow_and_update();
        self.feed(Input::Disk(seen));
    }

    fn on_persisted(&mut self, done: PersistDone) {
        match done {
            PersistDone::Upto(upto) => self.feed(Input::Persisted { upto }),
            PersistDone::Failed(why) => self.broken = Some(why),
        }
    }

    fn on_computed(&mut self, computed: Computed) {
        match computed {
            Computed::Work(job, output) => self.feed(Input::Computed { job, output }),
            Computed::Held(Answer { to, bytes }) => self.net.respond(to, bytes),
        }
    }

    fn on_executed(&mut self, done: ExecDone) {
        match done {
            ExecDone::Run { run, outcome } => {
                self.running.remove(&run);
                self.feed(Input::RunEnded { run, outcome });
            }
            ExecDone::Said { run, said } => self.feed(Input::RunSaid { run, said }),
            ExecDone::Hook { hook, ok } => self.feed(Input::HookEnded { hook, ok }),
            ExecDone::Webhook { number, answer } => {
                self.feed(Input::WebhookCalled { number, answer });
            }
        }
    }

    fn on_channel(&mut self, event: ChannelEvent) {
        self.feed(match event {
            ChannelEvent::Received {
                delivery,
                peer,
                from,
                message,
            } => Input::Received {
                delivery,
                peer,
                from,
                message,
            },
            ChannelEvent::Withdrawn { from, talk } => Input::Withdrawn { from, talk },
            ChannelEvent::Refused { peer, session } => Input::StreamRefused { peer, session },
            ChannelEvent::Abused { peer, code } => Input::StreamAbused { peer, code },
        });
    }

    fn on_net(&mut self, event: NetEvent) {
        self.watch(&event);
        let input = match event {
            NetEvent::Connected { peer, addr, dialer } => Input::Connected { peer, addr, dialer },
            NetEvent::Disconnected { peer } => Input::Disconnected { peer },
            NetEvent::DialFailed {
                peer,
                addrs,
                reason,
            } => Input::DialFailed {
                peer,
                addrs,
                reason,
            },
            NetEvent::WrongNetwork { peer } => Input::WrongNetwork { peer },
            NetEvent::Discovered { peer, addrs } => Input::Discovered { peer, addrs },
            NetEvent::ListenAddrs { addrs } => Input::ListenAddrs { addrs },
            NetEvent::Request { id, peer, bytes } => Input::Request { id, peer, bytes },
            NetEvent::Response { id, bytes } => Input::Response { id, bytes },
            NetEvent::ExchangeFailed { id, failure } => {
                let failure = match failure {
                    NetFailure::NotSent => ExchangeFailure::NotSent,
                    NetFailure::Unknown => ExchangeFailure::Unknown,
                    NetFailure::Unsupported => ExchangeFailure::Unsupported,
                };
                Input::ExchangeFailed { id, failure }
            }
            NetEvent::Gossip { id, source, bytes } => Input::Gossip { id, source, bytes },
            NetEvent::DhtRecord { source, key, value } => Input::DhtRecord { source, key, value },
        };
        self.feed(input);
    }

    /// Keeps what a core that is loaded anew must be told.
    fn watch(&mut self, event: &NetEvent) {
        match event {
            NetEvent::Connected { peer, addr, dialer } => {
                self.connected.insert(*peer, (addr.clone(), *dialer));
                self.channels.connected(*peer, true);
            }
            NetEvent::Disconnected { peer } => {
                self.connected.remove(peer);
                self.channels.connected(*peer, false);
            }
            NetEvent::ListenAddrs { addrs } => self.listen.clone_from(addrs),
            _ => {}
        }
    }

    fn apply(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Dial { peer, addrs } => self.net.dial(peer, addrs),
                Output::Disconnect { peer } => self.net.disconnect(peer),
                Output::Request {
                    id,
                    peer,
                    addrs,
                    bytes,
                } => {
                    self.net.request(id, peer, addrs, bytes);
                }
                Output::Respond { id, bytes } => {
                    if let Some(answer) = self.compute.hold(Answer { to: id, bytes }) {
                        self.net.respond(answer.to, answer.bytes);
                    }
                }
                Output::Publish { bytes } => self.net.publish(bytes),
                Output::GossipVerdict {
                    id,
                    source,
                    verdict,
                } => {
                    let verdict = match verdict {
                        Verdict::Accept => NetVerdict::Accept,
                        Verdict::Ignore => NetVerdict::Ignore,
                        Verdict::Reject => NetVerdict::Reject,
                    };
                    self.net.gossip_verdict(id, source, verdict);
                }
                Output::DhtPut {
                    key,
                    value,
                    life_ms,
                    local_only,
                } => {
                    self.net.dht_put(key, value, life_ms, local_only);
                }
                Output::DhtProvide { capability } => self.net.dht_provide(&capability),
                Output::DhtFind { capability } => self.net.dht_find(&capability),
                Output::Reply { id, mut result } => {
                    if let Ok(Reply::Status(status)) = &mut result {
                        status.pool = pool_view(self.net.pool());
                    }
                    if let Some(reply) = self.replies.remove(&id) {
                        // Whoever asked may have gone.
                        let _ = reply.send(result);
                    }
                }
                Output::Note(note) => log::note(&note),
                Output::ChannelUp(secrets) => self.channels.up(secrets),
                Output::ChannelDown { peer, session } => self.channels.down(peer, session),
                output => self.apply_local(output),
            }
        }
    }

    /// What stays on this machine: the disk, the processors, commands.
    fn apply_local(&mut self, output: Output) {
        match output {
            Output::Persist { id, writes } => {
                let taken = self.persister.as_ref().map(|p| p.submit(id, writes));
                if !matches!(taken, Some(Ok(()))) && self.broken.is_none() {
                    self.broken = Some("the store takes no more writes".into());
                }
            }
            Output::Compute { job, work } => {
                if let Some(output) = self.compute.run(job, work) {
                    self.done_inline.push_back((job, output));
                }
            }
            Output::Run { run, spec } => {
                if let Some(serve) = self.config.serve.get(&spec.capability) {
                    self.running.insert(run);
                    self.executor
                        .spawn_run(run, spec, serve, self.exec_done.clone());
                }
            }
            Output::Kill { run } => {
                self.running.remove(&run);
                self.executor.kill(run);
            }
            Output::Recall { run } => self.executor.recall(run),
            Output::File(job) => self.files.run(job),
            Output::Webhook(call) => webhook::spawn(*call, self.exec_done.clone()),
            Output::Hook { hook, spec } => {
                let action = match spec.request {
                    WakeRequest::Resume => &self.config.on_wake,
                    WakeRequest::Restart => &self.config.on_restart,
                };
                if let Some(action) = action {
                    self.executor
                        .spawn_hook(hook, spec, action, self.exec_done.clone());
                }
            }
            Output::Settle { delivery, outcome } => self.channels.settle(delivery, outcome),
            Output::Answer { delivery, body } => self.channels.answer(delivery, body),
            _ => unreachable!("`apply` took the others"),
        }
    }

    /// The disk refused: everything that was promised to nobody is dropped, and the core begins
    /// again from what is really stored, once that can be read and written.
    async fn reload(&mut self, stop: &CancellationToken) {
        let mut why = self.broken.clone().unwrap_or_default();
        if let Some(persister) = self.persister.take() {
            let _ = tokio::task::spawn_blocking(move || persister.stop()).await;
        }
        // Its own word says more than that it took no more, which may have been met first.
        while let Ok(done) = self.persisted.try_recv() {
            if let PersistDone::Failed(told) = done {
                why = told;
            }
        }
        error!("the disk refused a write, nothing new is accepted: {why}");
        self.config.node.goes_on = true;
        self.refuse_all(&why);
        self.running.clear();
        self.executor.kill_all();
        // What was done for files ends with the core that asked for it.
        let channels = Arc::clone(&self.channels);
        let claims = self.files.claims();
        (self.files, self.files_news) = Files::new(&self.config.files, channels, false, claims);
        let mut retry =
            tokio::time::interval_at(tokio::time::Instant::now() + RELOAD_AFTER, RELOAD_AFTER);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                event = self.net.next() => self.watch(&event),
                Some(call) = self.calls.recv() => {
                    self.take_keys(&call.command);
                    let answer = match call.command {
                        Command::Status => self.status_of_broken(&why),
                        _ => Err(storage_error(&why)),
                    };
                    let _ = call.reply.send(answer);
                }
                Some(_) = self.executed.recv() => {}
                Some(_) = self.channel_events.recv() => {}
                Some(_) = self.bulk.recv() => {}
                Some(_) = self.computed.recv() => {}
                _ = retry.tick() => match load(&self.config, &self.open, &self.metrics).await {
                    Ok(loaded) => {
                        self.begin_again(loaded);
                        return;
                    }
                    Err(error) => warn!("the store is still of no use: {error}"),
                },
            }
        }
    }

    /// The one thing a node tells while its disk is of no use: how it is. The old core is asked,
    /// and whatever else it would do is left undone.
    fn status_of_broken(&mut self, why: &str) -> CommandResult {
        let input = Input::Command {
            id: CommandId(0),
            command: Command::Status,
        };
        let outputs = self.node.handle(input, clock::now());
        let reply = outputs.into_iter().find_map(|output| match output {
            Output::Reply {
                id: CommandId(0),
                result: Ok(Reply::Status(status)),
            } => Some(status),
            _ => None,
        });
        let mut status = reply.ok_or_else(|| storage_error(why))?;
        status.storage = why.to_owned();
        status.pool = pool_view(self.net.pool());
        Ok(Reply::Status(status))
    }

    fn begin_again(&mut self, loaded: Loaded) {
        info!("the store works again");
        self.broken = None;
        self.done_inline.clear();
        self.node = loaded.node;
        // Its sessions are gone, and with them the channels.
        self.channels.down_all();
        self.persister = Some(loaded.persister);
        self.persisted = loaded.persisted;
        self.apply(loaded.outputs);
        self.on_room();
        self.feed(Input::ListenAddrs {
            addrs: self.listen.clone(),
        });
        for (peer, (addr, dialer)) in self.connected.clone() {
            self.feed(Input::Connected { peer, addr, dialer });
        }
    }

    fn refuse_all(&mut self, why: &str) {
        for (_, reply) in std::mem::take(&mut self.replies) {
            let _ = reply.send(Err(storage_error(why)));
        }
    }
}

fn storage_error(why: &str) -> CommandError {
    let message = format!("the disk refuses writes ({why}): free space or mend it, then try again");
    CommandError::new(CommandErrorCode::Storage, message)
}

/// A core fresh from the disk.
struct Loaded {
    node: Node,
    outputs: Vec<Output>,
    persister: Persister,
    persisted: mpsc::Receiver<PersistDone>,
}

async fn load(
    config: &RuntimeConfig,
    open: &StoreOpener,
    metrics: &Metrics,
) -> Result<Loaded, StartError> {
    let open = std::sync::Arc::clone(open);
    let (store, rows) = tokio::task::spawn_blocking(move || {
        let mut store = open()?;
        // First: the store still has what it read when it was opened.
        let rows = store.load()?;
        // Proves that the disk takes writes, not only that it can be read.
        let mut probe = WriteBatch::default();
        probe.put(
            Keyspace::Meta,
            *b"opened",
            clock::now().wall.0.to_be_bytes().to_vec(),
        );
        store.apply(&[probe])?;
        Ok::<_, StartError>((store, rows))
    })
    .await
    .map_err(|_| StartError::Thread(std::io::Error::other("opening the store was cut short")))??;
    let rng = Rng::try_from_rng(&mut rand::rngs::SysRng)
        .map_err(|error| StartError::Thread(std::io::Error::other(error.to_string())))?;
    let (node, outputs) = Node::new(
        config.node.clone(),
        config.identity.clone(),
        rows,
        rng,
        clock::now(),
    )?;
    let (done, persisted) = mpsc::channel(DONE_MAX);
    let persister =
        Persister::spawn(store, done, metrics.store.clone()).map_err(StartError::Thread)?;
    Ok(Loaded {
        node,
        outputs,
        persister,
        persisted,
    })
}
