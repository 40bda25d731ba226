//! The wires: carries what one node puts out to whom it concerns, under virtual time.
//!
//! Deliveries are instant and in order. A disk keeps batches back while it is told to; work is
//! computed at once; a run ends as soon as it begins, unless runs are left hanging.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::SeedableRng;

use super::*;
use crate::crypto::Seeds;
use crate::types::{DeliveryId, HookId, InboundId, Keyspace, RunId, Wall, WriteOp};

const STEPS_MAX: usize = 100_000;

/// One node and what is around it.
pub(super) struct Host {
    /// None while it is down.
    pub(super) node: Option<Node>,
    pub(super) identity: Identity,
    pub(super) config: NodeConfig,
    pub(super) rows: BTreeMap<(Keyspace, Vec<u8>), Vec<u8>>,
    pub(super) pending: VecDeque<(BatchId, WriteBatch)>,
    pub(super) disk_waits: bool,
    pub(super) runs_hang: bool,
    pub(super) runs: Vec<(RunId, RunSpec)>,
    pub(super) killed: Vec<RunId>,
    pub(super) hooks: Vec<(HookId, HookSpec)>,
    pub(super) settled: Vec<(DeliveryId, Settled)>,
    pub(super) answers: Vec<(DeliveryId, Vec<u8>)>,
    pub(super) replies: BTreeMap<CommandId, CommandResult>,
    pub(super) notes: Vec<Note>,
    /// To webhooks.
    pub(super) calls: Vec<WebhookCall>,
    pub(super) dials: usize,
    pub(super) dials_fail: bool,
    pub(super) life: u64,
}

/// What is under way.
pub(super) enum Event {
    Input(usize, u64, Input),
    Output(usize, u64, Output),
}

pub(super) struct Wires {
    pub(super) hosts: Vec<Host>,
    pub(super) now_us: u64,
    pub(super) connected: BTreeSet<(usize, usize)>,
    pub(super) queue: VecDeque<Event>,
    /// Who asked, by the number its request arrived under; none for the test itself.
    pub(super) asked: BTreeMap<InboundId, Option<(usize, u64, ExchangeId)>>,
    /// The responses to what the test itself asked.
    pub(super) answers: BTreeMap<InboundId, Vec<u8>>,
    pub(super) next_id: u64,
    /// Everything that was put out, as text: the same inputs give the same outputs.
    pub(super) transcript: Vec<String>,
}

impl Wires {
    /// Starts a node for each config, one after the other.
    pub(super) fn new(configs: Vec<NodeConfig>) -> Wires {
        let host = |(n, config): (usize, NodeConfig)| Host {
            node: None,
            identity: Identity::from_seeds(&Seeds::generate(&mut Rng::seed_from_u64(n as u64))),
            config,
            rows: BTreeMap::new(),
            pending: VecDeque::new(),
            disk_waits: false,
            runs_hang: false,
            runs: Vec::new(),
            killed: Vec::new(),
            hooks: Vec::new(),
            settled: Vec::new(),
            answers: Vec::new(),
            replies: BTreeMap::new(),
            notes: Vec::new(),
            calls: Vec::new(),
            dials: 0,
            dials_fail: false,
            life: 0,
        };
        let mut wires = Wires {
            hosts: configs.into_iter().enumerate().map(host).collect(),
            now_us: 1,
            connected: BTreeSet::new(),
            queue: VecDeque::new(),
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            next_id: 1,
            transcript: Vec::new(),
        };
        for n in 0..wires.hosts.len() {
            wires.start(n);
        }
        wires
    }

    pub(super) fn now(&self) -> Now {
        Now {
            mono: Mono::from_micros(self.now_us),
            wall: Wall(1_700_000_000_000 + self.now_us / 1000),
        }
    }

    /// Starts a node from its rows.
    pub(super) fn start(&mut self, n: usize) {
        let now = self.now();
        let host = &mut self.hosts[n];
        host.life += 1;
        let row = |((space, key), value): (&(Keyspace, Vec<u8>), &Vec<u8>)| Row {
            space: *space,
            key: key.clone(),
            value: value.clone(),
        };
        let rows = host.rows.iter().map(row).collect();
        let rng = Rng::seed_from_u64(1_000 * host.life + n as u64);
        let (config, identity) = (host.config.clone(), host.identity.clone());
        let (node, outputs) = Node::new(config, identity, rows, rng, now).expect("our own rows");
        host.node = Some(node);
        let life = host.life;
        self.queue.extend(
            outputs
                .into_iter()
                .map(|output| Event::Output(n, life, output)),
        );
        self.input(
            n,
            Input::ListenAddrs {
                addrs: vec![addr(n)],
            },
        );
    }

    /// Kills a node: what was not flushed is lost, its connections break a moment later.
    pub(super) fn stop(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        host.node = None;
        host.pending.clear();
        host.runs.clear();
        for other in 0..self.hosts.len() {
            self.disconnect(n, other);
        }
    }

    /// Something happens to a node; the wires are run until nothing more follows.
    pub(super) fn input(&mut self, n: usize, input: Input) {
        let life = self.hosts[n].life;
        self.queue.push_back(Event::Input(n, life, input));
        self.settle();
    }

    /// Gives a command; its reply is looked up by the returned number.
    pub(super) fn command(&mut self, n: usize, command: Command) -> CommandId {
        let id = CommandId(self.fresh());
        self.input(n, Input::Command { id, command });
        id
    }

    /// Gives a command that is answered at once.
    pub(super) fn ask(&mut self, n: usize, command: Command) -> CommandResult {
        let id = self.command(n, command);
        self.reply(n, id).expect("answered at once")
    }

    /// Gives a command that is granted at once.
    pub(super) fn granted(&mut self, n: usize, command: Command) {
        self.ask(n, command).expect("granted");
    }

    pub(super) fn reply(&self, n: usize, id: CommandId) -> Option<CommandResult> {
        self.hosts[n].replies.get(&id).cloned()
    }

    /// Sends raw bytes to `to` as `from`'s request, and returns the raw answer, if one came yet.
    pub(super) fn request(&mut self, from: usize, to: usize, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let id = InboundId(self.fresh());
        self.asked.insert(id, None);
        let peer = self.hosts[from].identity.peer_id;
        self.input(to, Input::Request { id, peer, bytes });
        self.answers.remove(&id)
    }

    /// Lets time go by, from deadline to deadline.
    pub(super) fn run(&mut self, ms: u64) {
        let end_us = self.now_us + ms * 1_000;
        for _ in 0..STEPS_MAX {
            self.settle();
            let deadline = |host: &Host| host.node.as_ref().and_then(Node::next_deadline);
            let next = self.hosts.iter().filter_map(deadline).min();
            let next_us = next.map_or(u64::MAX, Mono::as_micros);
            if next_us > end_us {
                self.now_us = end_us;
                return;
            }
            self.now_us = self.now_us.max(next_us);
            for n in 0..self.hosts.len() {
                let due = deadline(&self.hosts[n]);
                if due.is_some_and(|at| at.as_micros() <= self.now_us) {
                    self.input(n, Input::Deadline);
                }
            }
        }
        panic!("time stands still: a deadline is never met");
    }

    /// Lets a disk that waited go on: all that waits shares one flush.
    pub(super) fn flush(&mut self, n: usize) {
        while let Some((id, writes)) = self.hosts[n].pending.pop_front() {
            self.write(n, writes);
            if self.hosts[n].pending.is_empty() {
                self.persisted(n, id);
            }
        }
        self.settle();
    }

    pub(super) fn persist(&mut self, n: usize, id: BatchId, writes: WriteBatch) {
        self.write(n, writes);
        self.persisted(n, id);
    }

    fn write(&mut self, n: usize, writes: WriteBatch) {
        for op in writes.ops {
            match op {
                WriteOp::Put { space, key, value } => {
                    self.hosts[n].rows.insert((space, key), value);
                }
                WriteOp::Delete { space, key } => {
                    self.hosts[n].rows.remove(&(space, key));
                }
            }
        }
    }

    fn persisted(&mut self, n: usize, upto: BatchId) {
        let life = self.hosts[n].life;
        self.queue
            .push_back(Event::Input(n, life, Input::Persisted { upto }));
    }

    pub(super) fn end_run(&mut self, n: usize, outcome: RunOutcome) {
        let (run, _) = self.hosts[n].runs.remove(0);
        self.input(n, Input::RunEnded { run, outcome });
    }

    pub(super) fn have_session(&self, n: usize, other: usize) -> bool {
        let peer = self.hosts[other].identity.peer_id;
        self.node(n).sessions.with(&peer).is_some()
    }

    pub(super) fn node(&self, n: usize) -> &Node {
        self.hosts[n].node.as_ref().expect("it is up")
    }

    pub(super) fn are_connected(&self, a: usize, b: usize) -> bool {
        self.connected.contains(&(a.min(b), a.max(b)))
    }

    pub(super) fn fresh(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            match self.queue.pop_front() {
                None => return,
                Some(Event::Input(n, life, input)) => self.handle(n, life, input),
                Some(Event::Output(n, life, output)) => self.apply(n, life, output),
            }
        }
        panic!("the nodes talk without end");
    }

    fn handle(&mut self, n: usize, life: u64, input: Input) {
        let now = self.now();
        let host = &mut self.hosts[n];
        let Some(node) = host.node.as_mut().filter(|_| host.life == life) else {
            return;
        };
        let outputs = node.handle(input, now);
        node.check()
            .expect("every invariant holds after every step");
        self.transcript
            .extend(outputs.iter().map(|output| format!("{n}: {output:?}")));
        self.queue.extend(
            outputs
                .into_iter()
                .map(|output| Event::Output(n, life, output)),
        );
    }
}
