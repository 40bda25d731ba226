//! A network weaker than the real one.
//!
//! Promised, as libp2p promises it: peers are who they say; `Connected` precedes a request over
//! that connection; a request ends in exactly one of response, or failure; *not sent* means that
//! it never left. Nothing else: exchanges are delayed, overtake each other, are lost with an
//! unknown outcome on either way, arrive twice; the two ends hear of a broken connection at
//! different times or make a new one before the old is gone.

use std::collections::{BTreeMap, BTreeSet};

use super::exchange::{Exchange, ReturnPath};
use super::stage::{Event, Incarnation, Stage};
use crate::proto::node::{ExchangeFailure, Input};
use crate::types::{ExchangeId, InboundId, Multiaddr, PeerId};

/// What the network puts on the agenda for itself.
#[derive(Debug)]
pub(super) enum NetEvent {
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

pub(super) struct Conn {
    /// The dialer, then the listener.
    pub(super) ends: [Incarnation; 2],
    pub(super) broken: bool,
    /// How many ends have heard that it broke.
    told: u8,
}

/// What the network hands to a node.
pub(super) type Delivery = (Incarnation, Input);

/// All machines' connections and what travels on them.
pub(super) struct Network {
    pub(super) peers: Vec<PeerId>,
    /// The start of each machine that is running.
    boots: Vec<Option<u32>>,
    /// How many faults cut each direction.
    cuts: Vec<Vec<u32>>,
    pub(super) conns: BTreeMap<u64, Conn>,
    /// Which connections each machine believes to have with each other one.
    pub(super) views: Vec<BTreeMap<usize, BTreeSet<u64>>>,
    pub(super) pending: BTreeMap<(usize, ExchangeId), Option<u64>>,
    pub(super) inbound: BTreeMap<(usize, InboundId), ReturnPath>,
    next_conn: u64,
    pub(super) next_inbound: u64,
}

/// Both ends hear of a new connection within this time.
pub(super) const UP_MAX_MS: u64 = 30;

/// The address a machine listens at.
pub(super) fn address(host: usize) -> Multiaddr {
    format!("/ip4/10.0.0.{}/tcp/1", host + 1)
        .parse()
        .expect("a form that is an address")
}

/// The address with the peer id behind it.
pub(super) fn full_address(host: usize, peer: PeerId) -> Multiaddr {
    address(host).with_p2p(peer).expect("it has no peer id yet")
}

impl Network {
    pub(super) fn new(peers: Vec<PeerId>) -> Network {
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

    pub(super) fn host_of(&self, peer: &PeerId) -> Option<usize> {
        self.peers.iter().position(|known| known == peer)
    }

    pub(super) fn peer(&self, host: usize) -> PeerId {
        self.peers[host]
    }

    /// The start of `host` that is running.
    pub(super) fn incarnation(&self, host: usize) -> Option<Incarnation> {
        self.boots[host].map(|boot| Incarnation { host, boot })
    }

    /// Who `host` believes to be connected with.
    pub(super) fn connected(&self, host: usize) -> Vec<usize> {
        self.views[host].keys().copied().collect()
    }

    pub(super) fn is_current(&self, end: Incarnation) -> bool {
        self.boots[end.host] == Some(end.boot)
    }

    pub(super) fn passes(&self, from: usize, to: usize) -> bool {
        self.cuts[from][to] == 0
    }

    pub(super) fn can_connect(&self, a: usize, b: usize) -> bool {
        self.boots[b].is_some() && self.passes(a, b) && self.passes(b, a)
    }

    pub(super) fn started(&mut self, who: Incarnation) {
        self.boots[who.host] = Some(who.boot);
    }

    /// The machine is gone; the others find out sooner or later.
    pub(super) fn stopped(&mut self, host: usize, stage: &mut Stage) {
        self.boots[host] = None;
        self.views[host].clear();
        self.pending.retain(|(asker, _), _| *asker != host);
        self.inbound.retain(|(asked, _), _| *asked != host);
        self.break_where(stage, |conn| conn.ends.iter().any(|end| end.host == host));
    }

    /// Nothing passes in these directions any more; some of the connections break.
    pub(super) fn cut(&mut self, cut: &[(usize, usize)], stage: &mut Stage) {
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

    pub(super) fn heal(&mut self, cut: &[(usize, usize)]) {
        for (from, to) in cut {
            self.cuts[*from][*to] -= 1;
        }
    }

    /// Breaks every connection between the two.
    pub(super) fn reset(&mut self, a: usize, b: usize, stage: &mut Stage) {
        self.break_where(stage, |conn| {
            let ends = [conn.ends[0].host, conn.ends[1].host];
            ends == [a, b] || ends == [b, a]
        });
    }

    fn break_where(&mut self, stage: &mut Stage, which: impl Fn(&Conn) -> bool) {
        let ids: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, conn)| which(conn))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.break_one(id, stage);
        }
    }

    fn break_one(&mut self, id: u64, stage: &mut Stage) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.broken) else {
            return;
        };
        conn.broken = true;
        stage.counts.connections_broken += 1;
        for side in 0..2 {
            // A closed socket shows at once; a machine that is gone, at the next keep-alive.
            let silent = stage.strikes(0.3);
            let after_us = if silent {
                stage.span_us(200, 12_000)
            } else {
                stage.span_us(0, 200)
            };
            stage.after(after_us, Event::Net(NetEvent::Down { conn: id, side }));
        }
    }

    /// A node asked to connect.
    pub(super) fn dial(
        &mut self,
        from: Incarnation,
        peer: Option<PeerId>,
        addrs: Vec<Multiaddr>,
        stage: &mut Stage,
    ) {
        let to = self.resolve(peer, &addrs);
        if to.is_some_and(|to| self.views[from.host].contains_key(&to)) {
            return;
        }
        let reachable = to.is_some_and(|to| self.can_connect(from.host, to));
        let after_us = dial_time_us(reachable, stage);
        stage.after(
            after_us,
            Event::Net(NetEvent::Dialed {
                from,
                to,
                peer,
                addrs,
            }),
        );
    }

    /// Whom these addresses lead to, if it is the one who is wanted.
    pub(super) fn resolve(&self, peer: Option<PeerId>, addrs: &[Multiaddr]) -> Option<usize> {
        let listens = |addr: &Multiaddr| {
            let is_at = |host: usize| {
                let bare = address(host);
                *addr == bare || *addr == full_address(host, self.peers[host])
            };
            (0..self.peers.len()).find(|host| is_at(*host))
        };
        let wanted = peer.map(|peer| self.host_of(&peer));
        addrs
            .iter()
            .filter_map(listens)
            .find(|host| wanted.is_none_or(|w| w == Some(*host)))
    }

    /// A node closes its connections to a peer.
    pub(super) fn disconnect(&mut self, host: usize, peer: usize, stage: &mut Stage) {
        self.reset(host, peer, stage);
    }

    /// Something of the network's own comes about.
    pub(super) fn handle(&mut self, event: NetEvent, stage: &mut Stage) -> Vec<Delivery> {
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

    fn dialed(
        &mut self,
        from: Incarnation,
        to: Option<usize>,
        peer: Option<PeerId>,
        addrs: Vec<Multiaddr>,
        stage: &mut Stage,
    ) -> Vec<Delivery> {
        if !self.is_current(from) {
            return Vec::new();
        }
        match to {
            Some(to) if self.can_connect(from.host, to) => {
                if !self.views[from.host].contains_key(&to) {
                    self.connect(from, to, stage);
                }
                Vec::new()
            }
            _ => {
                stage.counts.dials_failed += 1;
                let reason = "nobody answers there".into();
                vec![(
                    from,
                    Input::DialFailed {
                        peer,
                        addrs,
                        reason,
                    },
                )]
            }
        }
    }

    pub(super) fn connect(&mut self, from: Incarnation, to: usize, stage: &mut Stage) {
        let boot = self.boots[to].expect("it was found running");
        let id = self.next_conn;
        self.next_conn += 1;
        let ends = [from, Incarnation { host: to, boot }];
        self.conns.insert(
            id,
            Conn {
                ends,
                broken: false,
                told: 0,
            },
        );
        for side in 0..2 {
            let after_us = stage.span_us(0, UP_MAX_MS);
            stage.after(after_us, Event::Net(NetEvent::Up { conn: id, side }));
        }
    }

    fn up(&mut self, id: u64, side: usize) -> Vec<Delivery> {
        let Some(conn) = self.conns.get(&id) else {
            return Vec::new();
        };
        let (end, far) = (conn.ends[side], conn.ends[1 - side]);
        if conn.broken || !self.is_current(end) {
            return Vec::new();
        }
        let view = self.views[end.host].entry(far.host).or_default();
        view.insert(id);
        if view.len() > 1 {
            return Vec::new();
        }
        let dialer = side == 0;
        let addr = if dialer {
            address(far.host)
        } else {
            format!("/ip4/10.0.0.{}/tcp/{}", far.host + 1, 40_000 + id % 20_000)
                .parse()
                .expect("a form that is an address")
        };
        vec![(
            end,
            Input::Connected {
                peer: self.peers[far.host],
                addr,
                dialer,
            },
        )]
    }

    fn down(&mut self, id: u64, side: usize, stage: &mut Stage) -> Vec<Delivery> {
        let Some(conn) = self.conns.get_mut(&id) else {
            return Vec::new();
        };
        let (end, far) = (conn.ends[side], conn.ends[1 - side]);
        conn.told += 1;
        if conn.told == 2 {
            self.conns.remove(&id);
        }
        let Some(view) = self.views[end.host].get_mut(&far.host) else {
            return Vec::new();
        };
        if self.boots[end.host] != Some(end.boot) || !view.remove(&id) {
            return Vec::new();
        }
        let last = view.is_empty();
        let on_it: Vec<ExchangeId> = self
            .pending
            .range((end.host, ExchangeId(0))..=(end.host, ExchangeId(u64::MAX)))
            .filter(|(_, conn)| **conn == Some(id))
            .map(|((_, exchange), _)| *exchange)
            .collect();
        let mut deliveries = Vec::new();
        for exchange in on_it {
            deliveries.extend(self.failed(end, exchange, ExchangeFailure::Unknown));
        }
        if last {
            self.views[end.host].remove(&far.host);
            let gone = (
                end,
                Input::Disconnected {
                    peer: self.peers[far.host],
                },
            );
            // Which comes first is left open.
            let at = if stage.chance(0.5) {
                0
            } else {
                deliveries.len()
            };
            deliveries.insert(at, gone);
        }
        deliveries
    }
}

/// A refusal comes at once; silence lasts as long as a dial may take.
pub(super) fn dial_time_us(reachable: bool, stage: &mut Stage) -> u64 {
    if reachable || stage.chance(0.5) {
        stage.span_us(2, 80)
    } else {
        stage.span_us(1_000, 8_000)
    }
}
