//! What the swarm reports, turned into [`NetEvent`]s.
//!
//! Bounds: [`INBOUND_MAX`] requests await an answer; above it new ones are dropped, which their
//! senders see as no answer. [`UNSETTLED_MAX`] gossip messages await a verdict; above it the oldest
//! is ignored.

use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::gossipsub::{self, Message as GossipMessage, MessageId};
use libp2p::kad::store::RecordStore;
use libp2p::kad::{self, GetProvidersOk, InboundRequest, ProviderRecord, QueryResult};
use libp2p::request_response::{self, Message, OutboundFailure, OutboundRequestId};
use libp2p::swarm::{ConnectionId, NetworkBehaviour, SwarmEvent};
use libp2p::{identify, mdns};

use super::addrs::{split_peer, worth_telling};
use super::behaviour::BehaviourEvent;
use super::{Net, NetEvent, NetFailure, Verdict};
use crate::types::limits::{ADDRESSES_MAX, ENTRY_MAX_BYTES};
use crate::types::{GossipId, InboundId, Multiaddr, PeerId};

/// Requests of others that await an answer, of all peers together.
const INBOUND_MAX: usize = 8_192;
/// Gossip messages that await a verdict.
const UNSETTLED_MAX: usize = 1_024;
/// Providers taken from one answer of the DHT.
const PROVIDERS_PER_ANSWER_MAX: usize = 64;
/// Addresses that the routing table keeps of one peer, old and new together.
const ROUTING_ADDRESSES_MAX: usize = 2 * ADDRESSES_MAX;

impl Net {
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id: peer,
                connection_id,
                endpoint,
                num_established,
                ..
            } => {
                self.dials.succeeded(connection_id, peer);
                if num_established.get() == 1 {
                    let addr = split_peer(endpoint.get_remote_address().clone()).0;
                    let dialer = endpoint.is_dialer();
                    self.events
                        .push_back(NetEvent::Connected { peer, addr, dialer });
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id: peer,
                num_established: 0,
                ..
            } => {
                self.foreign.remove(&peer);
                self.events.push_back(NetEvent::Disconnected { peer });
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                peer_id,
                error,
            } => {
                self.on_dial_failed(connection_id, peer_id, &error);
            }
            SwarmEvent::ListenerClosed {
                reason: Err(error), ..
            } => {
                tracing::warn!(%error, "a listener stopped: peers cannot connect there any more");
                self.on_listen_addrs();
            }
            SwarmEvent::NewListenAddr { .. }
            | SwarmEvent::ExpiredListenAddr { .. }
            | SwarmEvent::ListenerClosed { .. } => self.on_listen_addrs(),
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.on_identified(peer_id, info);
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.on_mdns(found),
            BehaviourEvent::Kad(event) => self.on_kad(event),
            BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            }) => self.on_gossip(propagation_source, message_id, message),
            BehaviourEvent::Gossip(gossipsub::Event::Subscribed { .. }) => self.publish_waiting(),
            BehaviourEvent::Exchange(event) => self.on_exchange(event),
            _ => {}
        }
    }

    /// Tells the caller, and through `identify` and the DHT everybody else, where we are reached.
    fn on_listen_addrs(&mut self) {
        let addrs = worth_telling(self.swarm.listeners().cloned());
        if addrs == self.listen_addrs {
            return;
        }
        for gone in self
            .listen_addrs
            .iter()
            .filter(|addr| !addrs.contains(addr))
        {
            self.swarm.remove_external_address(gone);
        }
        for new in addrs
            .iter()
            .filter(|addr| !self.listen_addrs.contains(addr))
        {
            self.swarm.add_external_address(new.clone());
        }
        self.listen_addrs.clone_from(&addrs);
        // Only the newest is of use.
        self.events
            .retain(|event| !matches!(event, NetEvent::ListenAddrs { .. }));
        self.events.push_back(NetEvent::ListenAddrs { addrs });
    }

    fn on_identified(&mut self, peer: PeerId, info: identify::Info) {
        if info.protocol_version != self.version {
            if self.foreign.insert(peer) {
                self.events.push_back(NetEvent::WrongNetwork { peer });
            }
            self.disconnect(peer);
            return;
        }
        let addrs = worth_telling(info.listen_addrs);
        let kad = &mut self.swarm.behaviour_mut().kad;
        let known = kad.kbucket(peer).map_or(0, |bucket| {
            let entry = bucket
                .iter()
                .find(|entry| entry.node.key.preimage() == &peer);
            entry.map_or(0, |entry| entry.node.value.len())
        });
        if known + addrs.len() > ROUTING_ADDRESSES_MAX {
            kad.remove_peer(&peer);
        }
        for addr in addrs {
            kad.add_address(&peer, addr);
        }
        if !self.bootstrapped {
            // Fails only while the table is empty; the next peer's addresses try again.
            self.bootstrapped = kad.bootstrap().is_ok();
        }
    }

    fn on_mdns(&mut self, mut found: Vec<(PeerId, Multiaddr)>) {
        found.sort();
        for of_peer in found.chunk_by(|a, b| a.0 == b.0) {
            let addrs = of_peer.iter().map(|(_, addr)| addr.clone());
            self.discovered(of_peer[0].0, addrs);
        }
    }

    fn discovered(&mut self, peer: PeerId, addrs: impl IntoIterator<Item = Multiaddr>) {
        let addrs = worth_telling(addrs);
        if !addrs.is_empty() && peer != self.peer_id() {
            self.events.push_back(NetEvent::Discovered { peer, addrs });
        }
    }

    fn on_kad(&mut self, event: kad::Event) {
        match event {
            kad::Event::InboundRequest {
                request:
                    InboundRequest::PutRecord {
                        source,
                        record: Some(record),
                        ..
                    },
            } if record.value.len() <= ENTRY_MAX_BYTES => {
                let (key, value) = (record.key.to_vec(), record.value);
                self.events
                    .push_back(NetEvent::DhtRecord { source, key, value });
            }
            kad::Event::InboundRequest {
                request:
                    InboundRequest::AddProvider {
                        record: Some(record),
                    },
            } => self.on_provider(record),
            kad::Event::OutboundQueryProgressed {
                result:
                    QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })),
                ..
            } => {
                for peer in providers.into_iter().take(PROVIDERS_PER_ANSWER_MAX) {
                    let addrs = self.routing_addrs(peer);
                    self.discovered(peer, addrs);
                }
            }
            _ => {}
        }
    }

    /// Where the DHT would dial `peer` now: its routing table and what its queries have heard.
    /// There is no other door to the latter than the one through which the swarm asks.
    fn routing_addrs(&mut self, peer: PeerId) -> Vec<Multiaddr> {
        let no_connection = ConnectionId::new_unchecked(0);
        self.swarm
            .behaviour_mut()
            .kad
            .handle_pending_outbound_connection(no_connection, Some(peer), &[], Endpoint::Dialer)
            .unwrap_or_default()
    }

    fn on_provider(&mut self, mut record: ProviderRecord) {
        let Some(expires) = record.expires else {
            return;
        };
        if !self
            .providers
            .admit(record.provider, &record.key, expires, Instant::now())
        {
            tracing::debug!(peer = %record.provider, "an announcement is malformed or one too many");
            return;
        }
        record.addresses = worth_telling(record.addresses);
        if let Err(error) = self
            .swarm
            .behaviour_mut()
            .kad
            .store_mut()
            .add_provider(record)
        {
            tracing::debug!(%error, "our part of the DHT has no room for an announcement");
        }
    }

    fn on_gossip(&mut self, source: PeerId, message_id: MessageId, message: GossipMessage) {
        if self.unsettled.len() >= UNSETTLED_MAX
            && let Some((&oldest, &(_, from))) = self.unsettled.first_key_value()
        {
            self.gossip_verdict(oldest, from, Verdict::Ignore);
        }
        self.last_gossip += 1;
        let id = GossipId(self.last_gossip);
        self.unsettled.insert(id, (message_id, source));
        self.events.push_back(NetEvent::Gossip {
            id,
            source,
            bytes: message.data,
        });
    }

    fn on_exchange(&mut self, event: request_response::Event<Vec<u8>, Vec<u8>>) {
        match event {
            request_response::Event::Message {
                peer,
                message:
                    Message::Request {
                        request, channel, ..
                    },
                ..
            } => self.on_request(peer, request, channel),
            request_response::Event::Message {
                message:
                    Message::Response {
                        request_id,
                        response: bytes,
                    },
                ..
            } => {
                if let Some(id) = self.exchanges.remove(&request_id) {
                    self.events.push_back(NetEvent::Response { id, bytes });
                }
            }
            request_response::Event::OutboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                self.on_exchange_failed(peer, request_id, &error);
            }
            request_response::Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "a request was not answered");
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    fn on_request(
        &mut self,
        peer: PeerId,
        bytes: Vec<u8>,
        channel: request_response::ResponseChannel<Vec<u8>>,
    ) {
        if self.inbound.len() >= INBOUND_MAX {
            self.forget_unanswerable();
        }
        if self.inbound.len() >= INBOUND_MAX {
            tracing::debug!(%peer, "too many requests are unanswered: one is dropped");
            return;
        }
        self.last_inbound += 1;
        let id = InboundId(self.last_inbound);
        self.inbound.insert(id, channel);
        self.events.push_back(NetEvent::Request { id, peer, bytes });
    }

    /// Drops the channels of requests whose sender is gone or has waited too long.
    pub(super) fn forget_unanswerable(&mut self) {
        self.inbound.retain(|_, channel| channel.is_open());
    }

    fn on_exchange_failed(
        &mut self,
        peer: PeerId,
        request: OutboundRequestId,
        error: &OutboundFailure,
    ) {
        let failure = match error {
            OutboundFailure::DialFailure => NetFailure::NotSent,
            OutboundFailure::UnsupportedProtocols => NetFailure::Unsupported,
            OutboundFailure::Timeout
            | OutboundFailure::ConnectionClosed
            | OutboundFailure::Io(_) => NetFailure::Unknown,
        };
        if let Some(id) = self.exchanges.remove(&request) {
            tracing::debug!(%peer, %error, "a request failed");
            self.events
                .push_back(NetEvent::ExchangeFailed { id, failure });
        }
    }
}
