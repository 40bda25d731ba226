//! What becomes of a node's outputs.

use super::wiring::{Event, Wires};
use super::*;
use crate::crypto::WorkOutput;
use crate::types::{GossipId, InboundId, RunId};

impl Wires {
    pub(super) fn apply(&mut self, n: usize, life: u64, output: Output) {
        if self.hosts[n].life != life || self.hosts[n].node.is_none() {
            return;
        }
        match output {
            Output::Dial { peer, addrs } => self.dial(n, peer, addrs),
            Output::Disconnect { peer } => {
                if let Some(other) = self.host_of(&peer) {
                    self.disconnect(n, other);
                }
            }
            Output::Request {
                id, peer, bytes, ..
            } => self.carry(n, id, &peer, bytes),
            Output::Respond { id, bytes } => self.carry_back(id, bytes),
            Output::Publish { bytes } => self.publish(n, &bytes),
            Output::Persist { id, writes } => {
                if self.hosts[n].disk_waits {
                    self.hosts[n].pending.push_back((id, writes));
                } else {
                    self.persist(n, id, writes);
                }
            }
            Output::Compute { job, work } => {
                let output: WorkOutput = work.run();
                self.queue
                    .push_back(Event::Input(n, life, Input::Computed { job, output }));
            }
            Output::Run { run, spec } => self.begin_run(n, run, spec),
            Output::Kill { run } => {
                self.hosts[n].runs.retain(|(other, _)| *other != run);
                self.hosts[n].killed.push(run);
            }
            Output::Hook { hook, spec } => self.hosts[n].hooks.push((hook, spec)),
            Output::Reply { id, result } => {
                let before = self.hosts[n].replies.insert(id, result);
                assert!(before.is_none(), "a command is answered once");
            }
            Output::Settle { delivery, outcome } => {
                self.hosts[n].settled.push((delivery, outcome));
            }
            Output::Answer { delivery, body } => self.hosts[n].answers.push((delivery, body)),
            Output::Webhook(call) => self.hosts[n].calls.push(*call),
            Output::Note(note) => self.hosts[n].notes.push(note),
            Output::Recall { .. }
            | Output::GossipVerdict { .. }
            | Output::DhtPut { .. }
            | Output::DhtProvide { .. }
            | Output::DhtFind { .. }
            | Output::File(_)
            | Output::ChannelUp(_)
            | Output::ChannelDown { .. } => {}
        }
    }

    fn begin_run(&mut self, n: usize, run: RunId, spec: RunSpec) {
        if self.hosts[n].runs_hang {
            self.hosts[n].runs.push((run, spec));
            return;
        }
        let result = spec.input.to_ascii_uppercase();
        let outcome = RunOutcome::Completed { result };
        let life = self.hosts[n].life;
        self.queue
            .push_back(Event::Input(n, life, Input::RunEnded { run, outcome }));
    }

    fn host_of(&self, peer: &PeerId) -> Option<usize> {
        self.hosts
            .iter()
            .position(|host| host.identity.peer_id == *peer)
    }

    fn is_up(&self, n: usize) -> bool {
        self.hosts[n].node.is_some()
    }

    fn dial(&mut self, n: usize, peer: Option<PeerId>, addrs: Vec<Multiaddr>) {
        self.hosts[n].dials += 1;
        let by_addr = (0..self.hosts.len()).find(|other| addrs.contains(&addr(*other)));
        let target = peer.and_then(|peer| self.host_of(&peer)).or(by_addr);
        let fails = self.hosts[n].dials_fail;
        match target.filter(|other| *other != n && !fails && self.is_up(*other)) {
            Some(other) => self.connect(n, other),
            None => {
                let reason = "nobody answers there".into();
                let failed = Input::DialFailed {
                    peer,
                    addrs,
                    reason,
                };
                let life = self.hosts[n].life;
                self.queue.push_back(Event::Input(n, life, failed));
            }
        }
    }

    pub(super) fn connect(&mut self, n: usize, other: usize) {
        if !self.connected.insert((n.min(other), n.max(other))) {
            return;
        }
        for (at, peer, dialer) in [(n, other, true), (other, n, false)] {
            let addr = addr(peer);
            let peer = self.hosts[peer].identity.peer_id;
            let life = self.hosts[at].life;
            let input = Input::Connected { peer, addr, dialer };
            self.queue.push_back(Event::Input(at, life, input));
        }
    }

    pub(super) fn disconnect(&mut self, n: usize, other: usize) {
        if !self.connected.remove(&(n.min(other), n.max(other))) {
            return;
        }
        for (at, peer) in [(n, other), (other, n)] {
            let peer = self.hosts[peer].identity.peer_id;
            let life = self.hosts[at].life;
            self.queue
                .push_back(Event::Input(at, life, Input::Disconnected { peer }));
        }
    }

    fn carry(&mut self, n: usize, id: ExchangeId, peer: &PeerId, bytes: Vec<u8>) {
        let life = self.hosts[n].life;
        let Some(to) = self.host_of(peer).filter(|to| self.is_up(*to)) else {
            let failure = ExchangeFailure::NotSent;
            self.queue
                .push_back(Event::Input(n, life, Input::ExchangeFailed { id, failure }));
            return;
        };
        self.connect(n, to);
        let inbound = InboundId(self.fresh());
        self.asked.insert(inbound, Some((n, life, id)));
        let peer = self.hosts[n].identity.peer_id;
        let request = Input::Request {
            id: inbound,
            peer,
            bytes,
        };
        let life = self.hosts[to].life;
        self.queue.push_back(Event::Input(to, life, request));
    }

    fn carry_back(&mut self, id: InboundId, bytes: Vec<u8>) {
        match self.asked.remove(&id) {
            Some(Some((asker, life, id))) => {
                self.queue
                    .push_back(Event::Input(asker, life, Input::Response { id, bytes }));
            }
            Some(None) => {
                self.answers.insert(id, bytes);
            }
            None => panic!("a request is answered once"),
        }
    }

    fn publish(&mut self, n: usize, bytes: &[u8]) {
        let source = self.hosts[n].identity.peer_id;
        for to in 0..self.hosts.len() {
            if self.are_connected(n, to) && n != to {
                let id = GossipId(self.fresh());
                let bytes = bytes.to_vec();
                let life = self.hosts[to].life;
                let input = Input::Gossip { id, source, bytes };
                self.queue.push_back(Event::Input(to, life, input));
            }
        }
    }
}
