//! Requests and responses over the network's connections.

use rand::RngExt as _;

use super::conn::dial_time_us;
use super::{Delivery, NetEvent, Network, UP_MAX_MS};
use crate::proto::node::{ExchangeFailure, Input};
use crate::sim::stage::{Event, Incarnation, Stage};
use crate::types::limits::EXCHANGE_TIMEOUT_MS;
use crate::types::{ExchangeId, InboundId, Multiaddr};

/// A request under way.
#[derive(Debug, Clone)]
pub(in crate::sim) struct Exchange {
    pub(in crate::sim) asker: Incarnation,
    pub(in crate::sim) id: ExchangeId,
    pub(in crate::sim) to: usize,
    pub(in crate::sim) bytes: Vec<u8>,
}

/// Where a response goes. None: nobody awaits it.
pub(super) struct ReturnPath {
    to: Option<(Incarnation, ExchangeId)>,
    conn: u64,
}

impl Network {
    /// A node asked to send a request.
    pub(in crate::sim) fn request(
        &mut self,
        exchange: Exchange,
        addrs: &[Multiaddr],
        stage: &mut Stage,
    ) {
        let Exchange { asker, id, to, .. } = exchange;
        let timeout = Event::Net(NetEvent::Failed {
            asker,
            id,
            failure: ExchangeFailure::Unknown,
        });
        stage.after(EXCHANGE_TIMEOUT_MS * 1000, timeout);
        self.pending.insert((asker.host, id), None);
        match self.any_connection(asker.host, to, stage) {
            Some(conn) => self.send(exchange, conn, stage),
            None => {
                let known = self.resolve(Some(self.peers[to]), addrs) == Some(to);
                let reachable = known && self.can_connect(asker.host, to);
                let after_us = dial_time_us(reachable, stage);
                let dialed = NetEvent::DialedToSend {
                    exchange,
                    reachable,
                };
                stage.after(after_us, Event::Net(dialed));
            }
        }
    }

    fn any_connection(&self, from: usize, to: usize, stage: &mut Stage) -> Option<u64> {
        let conns = self.views[from].get(&to)?;
        conns
            .iter()
            .nth(stage.rng.random_range(0..conns.len()))
            .copied()
    }

    fn send(&mut self, exchange: Exchange, conn: u64, stage: &mut Stage) {
        let Exchange { asker, id, to, .. } = exchange;
        self.pending.insert((asker.host, id), Some(conn));
        if !self.passes(asker.host, to) {
            stage.counts.cut_off += 1;
            return;
        }
        if stage.strikes(stage.rates.loss) {
            stage.counts.requests_lost += 1;
            self.lose(asker, id, stage);
            return;
        }
        if stage.strikes(stage.rates.duplicate) {
            stage.counts.duplicated += 1;
            let after_us = stage.latency_us();
            let again = NetEvent::Arrives {
                exchange: exchange.clone(),
                conn,
                again: true,
            };
            stage.after(after_us, Event::Net(again));
        }
        let after_us = stage.latency_us();
        stage.after(
            after_us,
            Event::Net(NetEvent::Arrives {
                exchange,
                conn,
                again: false,
            }),
        );
    }

    /// The asker hears of a loss at once, or only from its timeout.
    fn lose(&mut self, asker: Incarnation, id: ExchangeId, stage: &mut Stage) {
        if stage.chance(0.3) {
            stage.counts.unknown_prompt += 1;
            let after_us = stage.span_us(1, 500);
            let failure = ExchangeFailure::Unknown;
            stage.after(
                after_us,
                Event::Net(NetEvent::Failed { asker, id, failure }),
            );
        }
    }

    /// A node answers a request.
    pub(in crate::sim) fn respond(
        &mut self,
        from: usize,
        id: InboundId,
        bytes: Vec<u8>,
        stage: &mut Stage,
    ) {
        let Some(path) = self.inbound.remove(&(from, id)) else {
            return;
        };
        let Some((asker, id)) = path.to else { return };
        if self.conns.get(&path.conn).is_none_or(|conn| conn.broken) {
            return;
        }
        if !self.passes(from, asker.host) {
            stage.counts.cut_off += 1;
        } else if stage.strikes(stage.rates.loss) {
            stage.counts.responses_lost += 1;
            self.lose(asker, id, stage);
        } else {
            let after_us = stage.latency_us();
            stage.after(
                after_us,
                Event::Net(NetEvent::Answered {
                    asker,
                    id,
                    from,
                    bytes,
                }),
            );
        }
    }

    pub(in crate::sim) fn dialed_to_send(
        &mut self,
        exchange: Exchange,
        reachable: bool,
        stage: &mut Stage,
    ) -> Vec<Delivery> {
        let Exchange { asker, id, to, .. } = exchange;
        if !self.is_current(asker) || !self.pending.contains_key(&(asker.host, id)) {
            return Vec::new();
        }
        if let Some(conn) = self.any_connection(asker.host, to, stage) {
            self.send(exchange, conn, stage);
            return Vec::new();
        }
        if reachable && self.can_connect(asker.host, to) {
            self.connect(asker, to, stage);
            // It leaves once the connection stands on this side.
            let dialed = NetEvent::DialedToSend {
                exchange,
                reachable,
            };
            stage.after(UP_MAX_MS * 1000 + 1, Event::Net(dialed));
            return Vec::new();
        }
        stage.counts.not_sent += 1;
        self.failed(asker, id, ExchangeFailure::NotSent)
    }

    pub(in crate::sim) fn arrives(
        &mut self,
        exchange: Exchange,
        id: u64,
        again: bool,
        stage: &mut Stage,
    ) -> Vec<Delivery> {
        let Exchange { asker, to, .. } = exchange;
        let Some(conn) = self.conns.get(&id).filter(|conn| !conn.broken) else {
            return Vec::new();
        };
        let end = conn.ends[usize::from(conn.ends[0].host != to)];
        if !self.is_current(end) {
            return Vec::new();
        }
        if !self.passes(asker.host, to) {
            stage.counts.cut_off += 1;
            return Vec::new();
        }
        if !self.views[to]
            .get(&asker.host)
            .is_some_and(|view| view.contains(&id))
        {
            // It overtook the news of its connection.
            let arrives = NetEvent::Arrives {
                exchange,
                conn: id,
                again,
            };
            let after_us = stage.span_us(1, 10);
            stage.after(after_us, Event::Net(arrives));
            return Vec::new();
        }
        let inbound = InboundId(self.next_inbound);
        self.next_inbound += 1;
        let back = (!again).then_some((asker, exchange.id));
        self.inbound
            .insert((to, inbound), ReturnPath { to: back, conn: id });
        let peer = self.peers[asker.host];
        vec![(
            end,
            Input::Request {
                id: inbound,
                peer,
                bytes: exchange.bytes,
            },
        )]
    }

    pub(in crate::sim) fn answered(
        &mut self,
        asker: Incarnation,
        id: ExchangeId,
        from: usize,
        bytes: Vec<u8>,
        stage: &mut Stage,
    ) -> Vec<Delivery> {
        if !self.is_current(asker) {
            return Vec::new();
        }
        if !self.passes(from, asker.host) {
            stage.counts.cut_off += 1;
            return Vec::new();
        }
        if self.pending.remove(&(asker.host, id)).is_none() {
            return Vec::new();
        }
        vec![(asker, Input::Response { id, bytes })]
    }

    pub(in crate::sim) fn failed(
        &mut self,
        asker: Incarnation,
        id: ExchangeId,
        failure: ExchangeFailure,
    ) -> Vec<Delivery> {
        if !self.is_current(asker) || self.pending.remove(&(asker.host, id)).is_none() {
            return Vec::new();
        }
        vec![(asker, Input::ExchangeFailed { id, failure })]
    }
}
