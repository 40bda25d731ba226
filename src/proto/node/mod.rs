//! The node's core: composes the others and is the only place where one hears of another.
//!
//! `handle` takes one [`Input`] and returns what should be done. Nothing else happens: no clock is
//! read, no socket touched. Outputs that promise something wait in the gate until what they
//! promise is durable.
//!
//! Where to look: `exchange` sends, `flush` is what leaves once it is durable, `meeting` opens sessions, `answers` hears what comes back,
//! `inbound` answers requests, `health` watches peers and guards against them, `gossip` merges the
//! registry, `work` carries out what the task and wake cores ask for,
//! `candidates` says who could take a task. `commands` serves the API, and hands on to `tasks`, `again`, `events`, `feed`,
//! `notify`, `wakes`, `inbox`, `transfers`, `payloads` and `reach` what is theirs; `views` are what
//! it answers with.

mod again;
mod agree;
mod answers;
mod candidates;
mod command;
mod commands;
mod config;
mod defects;
mod delegation;
mod events;
mod exchange;
mod feed;
mod fetching;
mod flush;
mod gate;
mod gossip;
mod health;
mod idle;
mod inbound;
mod inbox;
mod inspect;
mod io;
mod keys;
mod meeting;
mod message;
mod named;
mod notify;
mod outbox;
mod parked;
mod payloads;
mod pledges;
mod proofs;
mod reach;
mod room;
mod saying;
mod sizes;
mod stats;
mod tally;
mod tasks;
mod transfers;
mod views;
mod wakes;
mod work;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use command::*;
pub use config::*;
pub use feed::TOPIC_TASK;
pub use io::*;
pub use stats::*;
pub use transfers::{FileJob, FileNews};
pub use views::*;

use self::candidates::Candidates;
use self::exchange::{Message, Pending};
use self::flush::Flush;
use self::gate::Gate;
use self::gossip::Job;
use self::message::Held;
use self::outbox::Outbox;
use self::payloads::Parts;
use self::pledges::Pledges;
use self::room::Room;
use self::saying::Saying;
use self::tally::Tally;
use crate::crypto::{Identity, Rng};
use crate::proto::clear::Clear;
use crate::proto::guard::Guard;
use crate::proto::health::Health;
use crate::proto::inbox::Inbox;
use crate::proto::payload::Payloads;
use crate::proto::peers::Peers;
use crate::proto::registry::{Announcement, Registry};
use crate::proto::score::Scores;
use crate::proto::session::Sessions;
use crate::proto::task::{Requester, RequesterConfig, Worker, WorkerConfig};
use crate::proto::transfer::{Receives, ReceivesConfig, Sends};
use crate::proto::wake::{WakeRules, Wakes};
use crate::proto::webhook::Webhooks;
use crate::proto::{RowError, Step};
use crate::types::{
    BatchId, BootId, Capability, CommandId, EntityId, ExchangeId, JobId, Mono, Multiaddr, Now,
    PeerId, Row, TaskId, TransferId, WakeId, WriteBatch,
};
use crate::wire::WakeStatus;

/// How often sessions and the registry are looked through.
const MAINTENANCE_MS: u64 = 2_000;
/// How often one random peer is asked for what we lack.
const SYNC_MS: u64 = 30_000;

/// A node without its shell.
pub struct Node {
    config: NodeConfig,
    identity: Identity,
    boot: BootId,
    started: Mono,
    listen: Vec<Multiaddr>,
    /// Out only while a step runs.
    rng: Option<Rng>,
    next_batch: BatchId,
    sessions: Sessions,
    /// Those made over HTTP: only ever answered in.
    http: Sessions,
    clear: Clear,
    /// Messages in clear that wait for their nonces to be durable.
    held_clear: VecDeque<Held>,
    registry: Registry,
    peers: Peers,
    guard: Guard,
    health: Health,
    tally: Tally,
    /// When our agent last used its node.
    agent_used: Option<Mono>,
    requester: Requester,
    candidates: Candidates,
    scores: Scores,
    worker: Worker,
    wakes: Wakes,
    webhooks: Webhooks,
    inbox: Inbox,
    sends: Sends,
    receives: Receives,
    /// Offers of files whose answer waits for the disk's word.
    waiting_offers: BTreeMap<TransferId, transfers::WaitingOffer>,
    parts: Parts,
    pledges: Pledges,
    saying: Saying,
    room: Room,
    gate: Gate,
    flush: Flush,
    out: Vec<Output>,
    exchanges: BTreeMap<ExchangeId, Pending>,
    next_exchange: u64,
    in_flight: BTreeMap<PeerId, usize>,
    outbox: BTreeMap<PeerId, Outbox>,
    /// Messages to be sent once more at a time.
    delayed: Vec<(Mono, PeerId, Message)>,
    /// Connected peers to open a session with, if there is none by then.
    session_at: BTreeMap<PeerId, Mono>,
    jobs: BTreeMap<JobId, Job>,
    next_job: u64,
    await_task: BTreeMap<TaskId, Vec<CommandId>>,
    /// Who waits for what happens to a task after which number.
    await_events: BTreeMap<TaskId, Vec<(CommandId, Option<u64>)>>,
    /// Who waits for another event than this one to be the newest of all.
    await_feed: Vec<(CommandId, u64)>,
    await_transfer: BTreeMap<TransferId, Vec<CommandId>>,
    await_wake: BTreeMap<WakeId, Vec<(CommandId, Option<WakeStatus>)>>,
    /// Who waits for a message to arrive.
    await_inbox: Vec<CommandId>,
    /// The peers whose connections work keeps up.
    needed: BTreeSet<PeerId>,
    peers_changed: bool,
    dial_at: Option<Mono>,
    maintenance_at: Mono,
    sync_at: Mono,
    provided: bool,
    sought: BTreeMap<Capability, Mono>,
}

impl Node {
    /// A node as its rows left it (sorted by keyspace, then key), and what it asks for at once.
    ///
    /// # Errors
    /// [`RowError`] when a row of ours does not read.
    pub fn new(
        config: NodeConfig,
        identity: Identity,
        rows: Vec<Row>,
        mut rng: Rng,
        now: Now,
    ) -> Result<(Node, Vec<Output>), RowError> {
        use rand::RngExt as _;
        let task = &config.task;
        let boot = BootId(rng.random());
        // The numbers of one life are not those of another: an answer to a question that a life
        // before asked finds nobody.
        let first_id = (boot.0 & 0xffff_ffff) << 24 | 1;
        let mut requester = Requester::new(RequesterConfig {
            entity: identity.entity_id,
            lease_ms: task.lease_ms,
            offer_lapse_ms: task.offer_lapse_ms,
            failures_max: task.failures_max,
            losses_max: task.losses_max,
            backoff_ms: task.backoff_ms,
            backoff_max_ms: task.backoff_max_ms,
            // The other half is for what is still to be done.
            dead_files_max_bytes: task.payload_space_bytes / 2,
            keep: task.keep,
            bounds: task.bounds,
        });
        let mut worker = Worker::new(WorkerConfig {
            entity: identity.entity_id,
            capabilities: config.capabilities.clone(),
            serving: config.serving.clone(),
            renew_ms: task.renew_ms,
            payload_max_bytes: task.payload_max_bytes,
            first_run: first_id,
            goes_on: config.goes_on,
            bounds: task.bounds,
        });
        let mut registry = Registry::new(Announcement {
            identity: identity.clone(),
            name: config.name.clone(),
            capabilities: config.capabilities.clone(),
            labels: config.labels.clone(),
            addresses: Vec::new(),
            seq: identity.entry_seq,
        });
        let mut scores = Scores::default();
        let mut inbox = Inbox::default();
        let mut clear = Clear::new(&identity, config.allow_v1_0.clone());
        // Small enough for every reader of JSON.
        let first_revision = first_id >> 8;
        let mut webhooks = Webhooks::new(first_id);
        let mut sends = Sends::new(first_revision);
        let mut receives = Receives::new(ReceivesConfig {
            max_bytes: config.transfer.max_bytes,
            first_revision,
        });
        let mut payloads = Payloads::new(task.payload_space_bytes);
        for row in &rows {
            payloads.load(row, now)?;
            clear.load(row, now);
            requester.load(row, now)?;
            worker.load(row, now)?;
            scores.load(row)?;
            inbox.load(row, now)?;
            sends.load(row, now)?;
            receives.load(row, now)?;
            webhooks.load(row)?;
            registry.load(row, now);
        }
        requester.resume(now);
        sends.resume(now);
        receives.resume()?;
        let mut peers = Peers::new(identity.peer_id, config.bootstrap.clone());
        for entry in registry.entries() {
            peers.learned(entry.body.peer_id(), &entry.body.addresses, now.mono);
        }
        let rules = WakeRules {
            first_hook: first_id,
            hook: config.wake.hook,
            restart_hook: config.wake.restart_hook,
            max_per_hour: config.wake.max_per_hour,
        };
        let mut node = Node {
            sessions: Sessions::new(&identity).configured(config.session),
            http: Sessions::over_http(&identity).configured(config.session),
            clear,
            held_clear: VecDeque::new(),
            boot,
            guard: Guard::new(config.limits.clone()),
            health: Health::new(config.health),
            tally: Tally::default(),
            agent_used: None,
            config,
            identity,
            started: now.mono,
            listen: Vec::new(),
            rng: Some(rng),
            next_batch: BatchId(1),
            registry,
            peers,
            requester,
            candidates: Candidates::default(),
            scores,
            worker,
            wakes: Wakes::new(rules),
            webhooks,
            inbox,
            sends,
            receives,
            waiting_offers: BTreeMap::new(),
            parts: Parts::new(payloads),
            pledges: Pledges::default(),
            saying: Saying::default(),
            room: Room::default(),
            gate: Gate::default(),
            flush: Flush::default(),
            out: Vec::new(),
            exchanges: BTreeMap::new(),
            next_exchange: first_id,
            in_flight: BTreeMap::new(),
            outbox: BTreeMap::new(),
            delayed: Vec::new(),
            session_at: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next_job: first_id,
            await_task: BTreeMap::new(),
            await_events: BTreeMap::new(),
            await_feed: Vec::new(),
            await_transfer: BTreeMap::new(),
            await_wake: BTreeMap::new(),
            await_inbox: Vec::new(),
            needed: BTreeSet::new(),
            peers_changed: true,
            dial_at: None,
            maintenance_at: now.mono,
            sync_at: now.mono + SYNC_MS,
            provided: false,
            sought: BTreeMap::new(),
        };
        let outputs = node.step(now, |node, step| {
            node.registry.issue(step);
            let requester = &node.requester;
            let over = |id| Some(requester.task(id)?.0.state.is_terminal());
            node.webhooks.resume(step, over);
            node.worker.resume(step);
            node.resume_payloads();
        });
        Ok((node, outputs))
    }

    /// Takes in what happened and returns what to do.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Output> {
        self.step(now, |node, step| node.dispatch(input, step))
    }

    /// Runs one step: the cause, then everything that follows from it, then its one batch.
    fn step(&mut self, now: Now, cause: impl FnOnce(&mut Node, &mut Step<'_>)) -> Vec<Output> {
        let mut rng = self
            .rng
            .take()
            .expect("a step does not begin within a step");
        let mut writes = WriteBatch::default();
        let mut step = Step {
            now,
            rng: &mut rng,
            batch: self.next_batch,
            writes: &mut writes,
        };
        cause(self, &mut step);
        self.settle(&mut step);
        self.judge(&mut step);
        self.rng = Some(rng);
        if !writes.is_empty() {
            let id = self.next_batch;
            self.next_batch = BatchId(id.0 + 1);
            self.wrote(writes.bytes());
            self.out.push(Output::Persist { id, writes });
        }
        std::mem::take(&mut self.out)
    }

    fn dispatch(&mut self, input: Input, step: &mut Step<'_>) {
        match input {
            Input::Connected { peer, addr, dialer } => {
                self.candidates.drop_all();
                self.connected(peer, &addr, dialer, step);
            }
            Input::Disconnected { peer } => {
                self.session_at.remove(&peer);
                self.sessions.disconnected(&peer);
                self.peers.disconnected(&peer, step);
                self.health.disconnected(&peer);
                self.candidates.drop_all();
                self.peers_changed = true;
            }
            Input::DialFailed {
                peer,
                addrs,
                reason,
            } => {
                if let Some(addr) = self.peers.dial_failed(peer, &addrs, step) {
                    let addr = addr.to_string();
                    self.note(Note::BootstrapFailed { addr, why: reason });
                }
                self.peers_changed = true;
            }
            Input::WrongNetwork { peer } => {
                self.peers.wrong_network(peer, step.now.mono);
                self.note(Note::WrongNetwork { peer });
                self.out.push(Output::Disconnect { peer });
            }
            Input::Discovered { peer, addrs } => self.learned(peer, &addrs, step),
            Input::ListenAddrs { addrs } => self.listening(addrs, step),
            Input::Request { id, peer, bytes } => self.request(id, peer, &bytes, step),
            Input::Response { id, bytes } => self.response(id, &bytes, step),
            Input::ExchangeFailed { id, failure } => self.exchange_failed(id, failure, step),
            Input::Gossip { id, source, bytes } => self.gossip(id, source, bytes, step),
            Input::DhtRecord { source, key, value } => self.dht_record(source, key, value, step),
            Input::Command { id, command } => self.command(id, command, step),
            Input::Persisted { upto } => {
                self.gate.open(upto, &mut self.out);
                self.release_clear(upto, step);
            }
            Input::Computed { job, output } => self.computed(job, output, step),
            Input::RunEnded { run, outcome } => self.run_ended(run, outcome, step),
            Input::RunSaid { run, said } => self.run_said(run, said, step.now.mono),
            Input::HookEnded { hook, ok } => self.wakes.hook_ended(hook, ok),
            Input::StreamRefused { peer, session } => self.stream_refused(peer, session, step),
            Input::StreamAbused { peer, code } => self.penalize(peer, code, step),
            Input::Received {
                delivery,
                peer,
                from,
                message,
            } => self.received(delivery, peer, from, message, step),
            Input::Withdrawn { from, talk } => self.inbox.withdraw(from, talk),
            Input::WebhookCalled { number, answer } => self.webhook_called(number, answer, step),
            Input::File(news) => self.file_news(news, step),
            Input::Disk(disk) => self.disk_seen(disk),
            Input::Stopping => self.worker.stopping(step),
            Input::Deadline => {}
        }
    }

    /// Lets every core do what the time and the news demand, until nothing more follows.
    fn settle(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        if now >= self.maintenance_at {
            self.maintain(step);
        }
        self.hand_on_pledged(step);
        self.note_waits(step.now);
        self.requester.tick(step);
        self.worker.tick(step);
        self.wakes.tick(now);
        self.health.tick(now);
        self.tend_inbox(step);
        self.sends.tick(step);
        self.receives.tick(step);
        self.tend_payloads(step);
        self.tell_said(step);
        self.hear_key_news(step);
        self.offer_to_idle(step);
        self.send_delayed(step);
        self.open_sessions(step);
        // What one core asks for may give another something to do; four rounds are plenty, and a
        // fifth is left to the next step rather than looped for.
        for _ in 0..4 {
            self.assign(step);
            if !self.apply_effects(step) {
                break;
            }
        }
        self.tell_events();
        self.tell_feed();
        self.call_webhooks(step);
        for (peer, session) in self.sessions.ended() {
            self.candidates.drop_all();
            self.out.push(Output::ChannelDown { peer, session });
        }
        self.keep_connections(step);
    }

    /// Dials who is due. The address book is looked through only when something changed in it.
    fn keep_connections(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        let needed: BTreeSet<PeerId> = self
            .requester
            .workers()
            .chain(self.worker.requesters())
            .chain(self.sends.receivers())
            .filter_map(|entity| self.peer_of_entity(&entity))
            .collect();
        if needed != self.needed {
            self.peers.need(|peer| needed.contains(peer), now);
            self.needed = needed;
            self.peers_changed = true;
        }
        if self.peers_changed || self.dial_at.is_some_and(|at| at <= now) {
            for dial in self.peers.dials(step) {
                self.out.push(Output::Dial {
                    peer: dial.peer,
                    addrs: dial.addrs,
                });
            }
            self.dial_at = self.peers.next_deadline(now);
            self.peers_changed = false;
        }
    }

    fn maintain(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        self.maintenance_at = now.mono + MAINTENANCE_MS;
        let registry = &self.registry;
        for sessions in [&mut self.sessions, &mut self.http] {
            sessions.outdate(|entity| registry.rotations(entity), now.mono);
        }
        self.sessions.tick(now);
        self.forget_strangers(now.mono);
        for peer in self.peers.idle(now.mono) {
            self.out.push(Output::Disconnect { peer });
        }
        self.http.tick(now);
        // Nobody waits for the end of a session that nothing is sent through.
        let _ = self.http.ended();
        self.clear.tick(step);
        let renew: Vec<PeerId> = self
            .sessions
            .peers()
            .map(|info| info.peer)
            .filter(|peer| {
                let due = self.sessions.wants_renewal(peer, now.mono);
                self.peers.is_up(peer) && (due || self.sessions.has_old_key(peer))
            })
            .collect();
        for peer in renew {
            self.open_session(peer, step);
        }
        for peer in self.sessions.wanting_acknowledgement(now.mono) {
            self.probe(peer, step);
        }
        // Whatever became of a handshake: a message that waits for a session gets one, or fails.
        let stuck: Vec<PeerId> = self
            .outbox
            .keys()
            .filter(|peer| !self.sessions.is_opening(peer) && !self.session_at.contains_key(peer))
            .copied()
            .collect();
        for peer in stuck {
            self.pump(peer, step);
        }
        if self.registry.tick(step) {
            self.publish_own();
        }
        if now.mono >= self.sync_at {
            self.sync_at = now.mono + SYNC_MS;
            self.sync_with_somebody(step);
        }
        self.seek_workers(step);
    }

    fn learned(&mut self, peer: PeerId, addrs: &[Multiaddr], step: &Step<'_>) {
        self.peers.learned(peer, addrs, step.now.mono);
        self.peers_changed = true;
    }

    fn listening(&mut self, addrs: Vec<Multiaddr>, step: &mut Step<'_>) {
        self.listen = addrs.clone();
        if self.registry.addresses_changed(addrs, step) {
            self.publish_own();
        }
    }

    fn note(&mut self, note: Note) {
        self.out.push(Output::Note(note));
    }

    /// Where an entity is spoken to.
    fn peer_of_entity(&self, entity: &EntityId) -> Option<PeerId> {
        let session = || self.sessions.peers().find(|info| info.entity == *entity);
        match self.registry.entry(entity) {
            Some(entry) => Some(entry.body.peer_id()),
            None => session().map(|info| info.peer),
        }
    }

    /// When [`Input::Deadline`] is next due.
    pub fn next_deadline(&self) -> Option<Mono> {
        [
            Some(self.maintenance_at),
            self.requester.next_deadline(),
            self.worker.next_deadline(),
            self.wakes.next_deadline(),
            self.webhooks.next_deadline(),
            self.health.next_deadline(),
            self.inbox.next_deadline(),
            self.sends.next_deadline(),
            self.receives.next_deadline(),
            self.parts.next_deadline(),
            self.pledges.next_deadline(),
            self.saying.next_deadline(),
            self.dial_at,
            self.session_at.values().min().copied(),
            self.delayed.iter().map(|(at, ..)| *at).min(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
