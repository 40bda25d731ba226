//! Orders to the network. None of these waits; what comes of them comes as an event.
//!
//! Bounds: [`EXCHANGES_MAX`] requests and [`QUERIES_MAX`] DHT queries under way, dials by the
//! connection limits, [`UNPUBLISHED_MAX`] messages that wait for somebody to be told.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::gossipsub::{MessageAcceptance, PublishError};
use libp2p::kad::store::RecordStore;
use libp2p::kad::{Quorum, Record, RecordKey};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, DialError};

use super::addrs::{split_peer, with_peer};
use super::failure::dial_failure;
use super::{Net, NetEvent, NetFailure, Verdict, dht};
use crate::types::limits::{ADDRESSES_MAX, ENTRY_MAX_LIFE_MS, FRAME_MAX_BYTES};
use crate::types::{Capability, ExchangeId, GossipId, InboundId, Multiaddr, PeerId};

/// Requests under way, to all peers together.
const EXCHANGES_MAX: usize = 8_192;
/// DHT queries under way. Above this new ones are not begun: whoever asks, asks again.
const QUERIES_MAX: usize = 128;
/// The newest messages that nobody could be told are kept.
const UNPUBLISHED_MAX: usize = 64;
/// Dials that wait for the outcome of another to the same peer.
const WAITING_MAX: usize = 256;

/// A dial as the caller asked for it.
pub(super) struct Asked {
    peer: Option<PeerId>,
    addrs: Vec<Multiaddr>,
}

/// The caller's dials. Those that the protocols begin by themselves are not here, and their
/// failure is not reported.
#[derive(Default)]
pub(super) struct Dials {
    under_way: HashMap<ConnectionId, Asked>,
    /// Asked for while somebody else's dial of the same peer was under way, perhaps with worse
    /// addresses: begun should that one fail.
    waiting: HashMap<PeerId, Asked>,
}

impl Dials {
    /// A connection stands: whatever was asked for its peer is done.
    pub(super) fn succeeded(&mut self, connection: ConnectionId, peer: PeerId) {
        self.under_way.remove(&connection);
        self.waiting.remove(&peer);
    }
}

impl Net {
    /// Connects. With a peer id, one attempt over all `addrs` (and those the DHT knows), and none
    /// if that peer is connected; without, one attempt for each address, to whoever answers. A
    /// dial that leads back to us comes to nothing without a report.
    pub fn dial(&mut self, peer: Option<PeerId>, addrs: Vec<Multiaddr>) {
        match peer {
            Some(_) => self.begin_dial(Asked { peer, addrs }),
            None => {
                for addr in addrs.into_iter().take(ADDRESSES_MAX) {
                    self.begin_dial(Asked {
                        peer: None,
                        addrs: vec![addr],
                    });
                }
            }
        }
    }

    fn begin_dial(&mut self, asked: Asked) {
        let first = asked.addrs.first().cloned().map(split_peer);
        let target = asked
            .peer
            .or_else(|| first.as_ref().and_then(|(_, peer)| *peer));
        let nothing_to_do = match (target, &first) {
            (Some(peer), _) => peer == self.peer_id() || self.swarm.is_connected(&peer),
            (None, Some((addr, _))) => self.swarm.listeners().any(|ours| ours == addr),
            (None, None) => true,
        };
        if nothing_to_do {
            return;
        }
        let opts = match (target, asked.addrs.first()) {
            (Some(peer), _) => known_peer(peer, &asked.addrs),
            (None, Some(addr)) => unknown_peer(addr),
            (None, None) => return,
        };
        let connection = opts.connection_id();
        match (self.swarm.dial(opts), target) {
            (Ok(()), _) => {
                self.dials.under_way.insert(connection, asked);
            }
            (Err(DialError::DialPeerConditionFalse(_)), Some(peer))
                if self.dials.waiting.len() < WAITING_MAX =>
            {
                self.dials.waiting.insert(peer, asked);
            }
            (Err(error), _) => self.report_failed_dial(asked, &error),
        }
    }

    /// The end of a dial, ours or not, that led to no connection.
    pub(super) fn on_dial_failed(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        error: &DialError,
    ) {
        let connected = peer.is_some_and(|peer| self.swarm.is_connected(&peer));
        let harmless = connected || matches!(error, DialError::LocalPeerId { .. });
        if let Some(asked) = self.dials.under_way.remove(&connection)
            && !harmless
        {
            self.report_failed_dial(asked, error);
        }
        if let Some(asked) = peer.and_then(|peer| self.dials.waiting.remove(&peer)) {
            self.begin_dial(asked);
        }
    }

    fn report_failed_dial(&mut self, asked: Asked, error: &DialError) {
        let Asked { peer, addrs } = asked;
        self.events.push_back(NetEvent::DialFailed {
            peer,
            addrs,
            reason: dial_failure(error),
        });
    }

    /// Closes every connection to `peer`.
    pub fn disconnect(&mut self, peer: PeerId) {
        self.dials.waiting.remove(&peer);
        if self.swarm.disconnect_peer_id(peer).is_err() {
            tracing::debug!(%peer, "there is no connection to close");
        }
    }

    /// Sends a request, dialling `addrs` (and those the DHT knows) if there is no connection.
    pub fn request(&mut self, id: ExchangeId, peer: PeerId, addrs: Vec<Multiaddr>, bytes: Vec<u8>) {
        let too_much = bytes.len() > FRAME_MAX_BYTES || self.exchanges.len() >= EXCHANGES_MAX;
        if too_much || peer == self.peer_id() {
            let failure = NetFailure::NotSent;
            self.events
                .push_back(NetEvent::ExchangeFailed { id, failure });
            return;
        }
        if !self.swarm.is_connected(&peer) {
            // Ahead of the exchange's own dial, which cannot choose its port (see `known_peer`);
            // that one then finds this one under way, and shares its outcome.
            if let Err(error) = self.swarm.dial(known_peer(peer, &addrs)) {
                tracing::trace!(%peer, reason = dial_failure(&error), "not dialled for a request");
            }
        }
        let addrs = with_peer(&addrs, peer);
        let exchange = &mut self.swarm.behaviour_mut().exchange;
        let request = exchange.send_request_with_addresses(&peer, bytes, addrs);
        self.exchanges.insert(request, id);
    }

    /// Answers a request; without effect if whoever asked is gone or has waited too long. An
    /// answer that is too large is dropped, which the other side sees as no answer.
    pub fn respond(&mut self, id: InboundId, bytes: Vec<u8>) {
        let Some(channel) = self.inbound.remove(&id) else {
            tracing::debug!(%id, "nobody waits for this answer any more");
            return;
        };
        if bytes.len() > FRAME_MAX_BYTES {
            tracing::warn!(%id, bytes = bytes.len(), "an answer is too large and is not sent");
            return;
        }
        if self
            .swarm
            .behaviour_mut()
            .exchange
            .send_response(channel, bytes)
            .is_err()
        {
            tracing::debug!(%id, "whoever asked is gone");
        }
    }

    /// Gossips a message. Where nobody is there to be told it waits for somebody, up to 64
    /// messages, the newest; one that was gossiped within the last minute goes nowhere.
    pub fn publish(&mut self, bytes: Vec<u8>) {
        if self.unpublished.len() >= UNPUBLISHED_MAX {
            self.unpublished.pop_front();
        }
        self.unpublished.push_back(bytes);
        self.publish_waiting();
    }

    pub(super) fn publish_waiting(&mut self) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        while let Some(bytes) = self.unpublished.pop_front() {
            match gossip.publish(self.topic.clone(), bytes.clone()) {
                Ok(_) | Err(PublishError::Duplicate) => {}
                Err(PublishError::NoPeersSubscribedToTopic | PublishError::AllQueuesFull(_)) => {
                    self.unpublished.push_front(bytes);
                    return;
                }
                Err(error) => tracing::warn!(%error, "a message cannot be gossiped and is dropped"),
            }
        }
    }

    /// Says what becomes of a gossip message; without effect for one settled already.
    pub fn gossip_verdict(&mut self, id: GossipId, source: PeerId, verdict: Verdict) {
        let Some((message, _)) = self.unsettled.remove(&id) else {
            return;
        };
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        if !gossip.report_message_validation_result(&message, &source, acceptance) {
            tracing::debug!(%source, "the verdict came after the message was forgotten");
        }
    }

    /// Puts a record into the DHT for `life_ms` (at most 24 h), or only into our part of it.
    pub fn dht_put(&mut self, key: Vec<u8>, value: Vec<u8>, life_ms: u64, local_only: bool) {
        let life = Duration::from_millis(life_ms.min(ENTRY_MAX_LIFE_MS));
        let mut record = Record::new(RecordKey::from(key), value);
        record.expires = Some(Instant::now() + life);
        let room = local_only || self.may_query();
        let kad = &mut self.swarm.behaviour_mut().kad;
        let refused = match (local_only, room) {
            (true, _) => kad.store_mut().put(record).err(),
            (false, true) => kad.put_record(record, Quorum::One).err(),
            (false, false) => None,
        };
        if let Some(error) = refused {
            tracing::debug!(%error, "our part of the DHT does not take the record");
        }
    }

    /// Announces in the DHT that we offer `capability`, and keeps announcing it.
    pub fn dht_provide(&mut self, capability: &Capability) {
        let key = dht::capability_key(capability);
        if self.may_query()
            && let Err(error) = self.swarm.behaviour_mut().kad.start_providing(key)
        {
            tracing::debug!(%error, %capability, "our part of the DHT does not take the record");
        }
    }

    /// Looks in the DHT for who offers `capability`; they come as [`NetEvent::Discovered`], the
    /// same one perhaps more than once.
    pub fn dht_find(&mut self, capability: &Capability) {
        if self.may_query() {
            self.swarm
                .behaviour_mut()
                .kad
                .get_providers(dht::capability_key(capability));
        }
    }

    fn may_query(&self) -> bool {
        let room = self.swarm.behaviour().kad.iter_queries().count() < QUERIES_MAX;
        if !room {
            tracing::debug!("too many DHT queries are under way: one is not begun");
        }
        room
    }
}

/// From a port of its own: from the listening port, two peers that dial each other at the same
/// moment make one TCP connection of which each believes to be the dialer, and both fail.
fn known_peer(peer: PeerId, addrs: &[Multiaddr]) -> DialOpts {
    DialOpts::peer_id(peer)
        .addresses(with_peer(addrs, peer))
        .extend_addresses_through_behaviour()
        .allocate_new_port()
        .build()
}

fn unknown_peer(addr: &Multiaddr) -> DialOpts {
    DialOpts::unknown_peer_id()
        .address(addr.clone())
        .allocate_new_port()
        .build()
}
