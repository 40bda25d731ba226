//! Gossip and hints: what travels without an answer.
//!
//! A gossip message goes to whoever is connected, may be lost on the way, and is forwarded once
//! by a node that accepted it. The DHT answers with any node it likes, at times with an address
//! where nobody is.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt as _;

use super::network::{Network, full_address};
use super::stage::{Event, Incarnation, Stage};
use crate::crypto::{Digest, hash};
use crate::proto::node::{Input, Verdict};
use crate::types::{GossipId, Multiaddr};

/// What is known of gossip at each machine.
pub(super) struct Gossip {
    /// What each machine has sent or received in its current start.
    seen: Vec<BTreeSet<Digest>>,
    undecided: BTreeMap<(usize, GossipId), Vec<u8>>,
    next: u64,
}

impl Gossip {
    pub(super) fn new(hosts: usize) -> Gossip {
        Gossip {
            seen: vec![BTreeSet::new(); hosts],
            undecided: BTreeMap::new(),
            next: 1,
        }
    }

    pub(super) fn stopped(&mut self, host: usize) {
        self.seen[host].clear();
        self.undecided.retain(|(at, _), _| *at != host);
    }

    pub(super) fn publish(
        &mut self,
        from: Incarnation,
        bytes: &[u8],
        net: &Network,
        stage: &mut Stage,
    ) {
        if self.seen[from.host].insert(hash("simulated gossip", &[bytes])) {
            self.spread(from, bytes, net, stage);
        }
    }

    /// The node judged a message it was handed.
    pub(super) fn judged(
        &mut self,
        at: Incarnation,
        id: GossipId,
        verdict: Verdict,
        net: &Network,
        stage: &mut Stage,
    ) {
        let Some(bytes) = self.undecided.remove(&(at.host, id)) else {
            return;
        };
        if verdict == Verdict::Accept {
            self.spread(at, &bytes, net, stage);
        }
    }

    fn spread(&mut self, from: Incarnation, bytes: &[u8], net: &Network, stage: &mut Stage) {
        for to in net.connected(from.host) {
            if !net.passes(from.host, to) {
                continue;
            }
            let Some(receiver) = net.incarnation(to) else {
                continue;
            };
            if stage.strikes(stage.rates.loss) {
                stage.counts.gossip_lost += 1;
                continue;
            }
            if !self.seen[to].insert(hash("simulated gossip", &[bytes])) {
                continue;
            }
            let id = GossipId(self.next);
            self.next += 1;
            self.undecided.insert((to, id), bytes.to_vec());
            let source = net.peer(from.host);
            let input = Input::Gossip {
                id,
                source,
                bytes: bytes.to_vec(),
            };
            let after_us = stage.latency_us();
            stage.after(
                after_us,
                Event::Input {
                    to: receiver,
                    input: Box::new(input),
                },
            );
        }
    }
}

/// A hint at some other machine, now and then at the wrong address.
pub(super) fn hint(to: Incarnation, hosts: usize, net: &Network, stage: &mut Stage) {
    let other = (to.host + stage.rng.random_range(1..hosts)) % hosts;
    let peer = net.peer(other);
    let addr: Multiaddr = if stage.strikes(stage.rates.stale_hint) {
        stage.counts.stale_hints += 1;
        "/ip4/10.0.0.250/tcp/1"
            .parse()
            .expect("a form that is an address")
    } else {
        full_address(other, peer)
    };
    let after_us = stage.span_us(20, 3_000);
    let input = Input::Discovered {
        peer,
        addrs: vec![addr],
    };
    stage.after(
        after_us,
        Event::Input {
            to,
            input: Box::new(input),
        },
    );
}

/// Another machine is asked to keep a record.
pub(super) fn store_record(
    from: Incarnation,
    key: Vec<u8>,
    value: Vec<u8>,
    net: &Network,
    stage: &mut Stage,
) {
    let near = net.connected(from.host);
    if near.is_empty() {
        return;
    }
    let Some(to) = net.incarnation(near[stage.rng.random_range(0..near.len())]) else {
        return;
    };
    if stage.strikes(stage.rates.loss) || !net.passes(from.host, to.host) {
        return;
    }
    let after_us = stage.latency_us();
    let input = Input::DhtRecord {
        source: net.peer(from.host),
        key,
        value,
    };
    stage.after(
        after_us,
        Event::Input {
            to,
            input: Box::new(input),
        },
    );
}
