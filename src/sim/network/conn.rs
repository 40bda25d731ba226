//! Connections: made by a dial, heard of by each end in its own time, broken likewise.

use super::{Conn, Delivery, NetEvent, Network, UP_MAX_MS, address, full_address};
use crate::proto::node::{ExchangeFailure, Input};
use crate::sim::stage::{Event, Incarnation, Stage};
use crate::types::{ExchangeId, Multiaddr, PeerId};

impl Network {
    /// Breaks every connection between the two.
    pub(in crate::sim) fn reset(&mut self, a: usize, b: usize, stage: &mut Stage) {
        self.break_where(stage, |conn| {
            let ends = [conn.ends[0].host, conn.ends[1].host];
            ends == [a, b] || ends == [b, a]
        });
    }

    pub(super) fn break_where(&mut self, stage: &mut Stage, which: impl Fn(&Conn) -> bool) {
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

    pub(super) fn break_one(&mut self, id: u64, stage: &mut Stage) {
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
    pub(in crate::sim) fn dial(
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

    pub(super) fn dialed(
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

    pub(super) fn up(&mut self, id: u64, side: usize) -> Vec<Delivery> {
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

    pub(super) fn down(&mut self, id: u64, side: usize, stage: &mut Stage) -> Vec<Delivery> {
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
