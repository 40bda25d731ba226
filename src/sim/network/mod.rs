//! A network weaker than the real one.
//!
//! Promised, as libp2p promises it: peers are who they say; `Connected` precedes a request over
//! that connection; a request ends in exactly one of response, or failure; *not sent* means that
//! it never left. Nothing else: exchanges are delayed, overtake each other, are lost with an
//! unknown outcome on either way, arrive twice; the two ends hear of a broken connection at
//! different times or make a new one before the old is gone.

mod conn;
mod exchange;

use std::collections::{BTreeMap, BTreeSet};

pub(in crate::sim) use self::exchange::Exchange;
use self::exchange::ReturnPath;
use crate::proto::node::{ExchangeFailure, Input};
use crate::sim::stage::{Event, Incarnation, Stage};
use crate::types::{ExchangeId, InboundId, Multiaddr, PeerId};

/// What the network puts on the agenda for itself.
#[derive(Debug)]
pub(in crate::sim) enum NetEvent {
    Dialed {
        from: Incarnation,
        to: Option<usize>,
        peer: Option<PeerId>,
        addrs: Vec<Multiaddr>,
    },
    DialedToSend {
        exchange: Exchange,
        reachable: bool,
    },
    Up {
        conn: u64,
        side: usize,
    },
    Broken {
        conn: u64,
    },
    Down {
        conn: u64,
        side: usize,
    },
    /// `again`: the second delivery, whose response nobody awaits.
    Arrives {
        exchange: Exchange,
        conn: u64,
        again: bool,
    },
    Answered {
        asker: Incarnation,
        id: ExchangeId,
        from: usize,
        bytes: Vec<u8>,
    },
    Failed {
        asker: Incarnation,
        id: ExchangeId,
        failure: ExchangeFailure,
    },
}

struct Conn {
    /// The dialer, then the listener.
    ends: [Incarnation; 2],
    broken: bool,
    /// How many ends have heard that it broke.
    told: u8,
}

/// What the network hands to a node.
pub(in crate::sim) type Delivery = (Incarnation, Input);

/// All machines' connections and what travels on them.
pub(in crate::sim) struct Network {
    peers: Vec<PeerId>,
    /// The start of each machine that is running.
    boots: Vec<Option<u32>>,
    /// How many faults cut each direction.
    cuts: Vec<Vec<u32>>,
    conns: BTreeMap<u64, Conn>,
    /// Which connections each machine believes to have with each other one.
    views: Vec<BTreeMap<usize, BTreeSet<u64>>>,
    pending: BTreeMap<(usize, ExchangeId), Option<u64>>,
    inbound: BTreeMap<(usize, InboundId), ReturnPath>,
    next_conn: u64,
    next_inbound: u64,
}

/// Both ends hear of a new connection within this time.
pub(in crate::sim) const UP_MAX_MS: u64 = 30;

/// The address a machine listens at.
pub(in crate::sim) fn address(host: usize) -> Multiaddr {
    format!("/ip4/10.0.0.{}/tcp/1", host + 1)
        .parse()
        .expect("a form that is an address")
}

/// The address with the peer id behind it.
pub(in crate::sim) fn full_address(host: usize, peer: PeerId) -> Multiaddr {
    address(host).with_p2p(peer).expect("it has no peer id yet")
}

impl Network {
    pub(in crate::sim) fn new(peers: Vec<PeerId>) -> Network {
        let count = peers.len();
        Network {
            peers,
            boots: vec![None; count],
            cuts: vec![vec![0; count]; count],
            conns: BTreeMap::new(),
            views: vec![BTreeMap::new(); count],
            pending: BTreeMap::new(),
            inbound: BTreeMap::new(),
            next_conn: 0,
            next_inbound: 1,
        }
    }

    pub(in crate::sim) fn host_of(&self, peer: &PeerId) -> Option<usize> {
        self.peers.iter().position(|known| known == peer)
    }

    pub(in crate::sim) fn peer(&self, host: usize) -> PeerId {
        self.peers[host]
    }

    /// The start of `host` that is running.
    pub(in crate::sim) fn incarnation(&self, host: usize) -> Option<Incarnation> {
        self.boots[host].map(|boot| Incarnation { host, boot })
    }

    /// Who `host` believes to be connected with.
    pub(in crate::sim) fn connected(&self, host: usize) -> Vec<usize> {
        self.views[host].keys().copied().collect()
    }

    pub(in crate::sim) fn is_current(&self, end: Incarnation) -> bool {
        self.boots[end.host] == Some(end.boot)
    }

    pub(in crate::sim) fn passes(&self, from: usize, to: usize) -> bool {
        self.cuts[from][to] == 0
    }

    pub(in crate::sim) fn can_connect(&self, a: usize, b: usize) -> bool {
        self.boots[b].is_some() && self.passes(a, b) && self.passes(b, a)
    }

    pub(in crate::sim) fn started(&mut self, who: Incarnation) {
        self.boots[who.host] = Some(who.boot);
    }

    /// The machine is gone; the others find out sooner or later.
    pub(in crate::sim) fn stopped(&mut self, host: usize, stage: &mut Stage) {
        self.boots[host] = None;
        self.views[host].clear();
        self.pending.retain(|(asker, _), _| *asker != host);
        self.inbound.retain(|(asked, _), _| *asked != host);
        self.break_where(stage, |conn| conn.ends.iter().any(|end| end.host == host));
    }

    /// Nothing passes in these directions any more; some of the connections break.
    pub(in crate::sim) fn cut(&mut self, cut: &[(usize, usize)], stage: &mut Stage) {
        for (from, to) in cut {
            self.cuts[*from][*to] += 1;
        }
        let touched: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, conn)| {
                cut.contains(&(conn.ends[0].host, conn.ends[1].host))
                    || cut.contains(&(conn.ends[1].host, conn.ends[0].host))
            })
            .map(|(id, _)| *id)
            .collect();
        for conn in touched {
            if stage.chance(0.6) {
                let after_us = stage.span_us(0, 10_000);
                stage.after(after_us, Event::Net(NetEvent::Broken { conn }));
            }
        }
    }

    pub(in crate::sim) fn heal(&mut self, cut: &[(usize, usize)]) {
        for (from, to) in cut {
            self.cuts[*from][*to] -= 1;
        }
    }

    /// A node closes its connections to a peer.
    pub(in crate::sim) fn disconnect(&mut self, host: usize, peer: usize, stage: &mut Stage) {
        self.reset(host, peer, stage);
    }

    /// Something of the network's own comes about.
    pub(in crate::sim) fn handle(&mut self, event: NetEvent, stage: &mut Stage) -> Vec<Delivery> {
        match event {
            NetEvent::Dialed {
                from,
                to,
                peer,
                addrs,
            } => self.dialed(from, to, peer, addrs, stage),
            NetEvent::DialedToSend {
                exchange,
                reachable,
            } => self.dialed_to_send(exchange, reachable, stage),
            NetEvent::Up { conn, side } => self.up(conn, side),
            NetEvent::Broken { conn } => {
                self.break_one(conn, stage);
                Vec::new()
            }
            NetEvent::Down { conn, side } => self.down(conn, side, stage),
            NetEvent::Arrives {
                exchange,
                conn,
                again,
            } => self.arrives(exchange, conn, again, stage),
            NetEvent::Answered {
                asker,
                id,
                from,
                bytes,
            } => self.answered(asker, id, from, bytes, stage),
            NetEvent::Failed { asker, id, failure } => self.failed(asker, id, failure),
        }
    }
}
