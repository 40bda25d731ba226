//! The libp2p protocols a node speaks, and their bounds. Every protocol of ours carries the
//! network's name, so that two networks on one wire do not mix; `identify` and `ping` are common
//! to all of libp2p, and `identify` is how a peer of another network is recognised.

use std::collections::HashSet;
use std::fmt::Display;
use std::time::Duration;

use libp2p::gossipsub::{
    self, IdentTopic, IdentityTransform, MessageAuthenticity, MessageId, PeerScoreParams,
    PeerScoreThresholds, TopicScoreParams, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{StreamProtocol, connection_limits, identify, kad, mdns, ping};

use super::codec::FrameCodec;
use super::{NetConfig, NetError};
use crate::crypto;
use crate::types::limits::{
    ENTRY_MAX_BYTES, ENTRY_MAX_LIFE_MS, EXCHANGE_TIMEOUT_MS, REGISTRY_MAX_ENTRIES,
};
use crate::types::{NetworkName, PeerId};

pub(super) const CONNECTIONS_MAX: u32 = 512;
/// Of these, how many others may open: the rest is for our own dials.
pub(super) const INCOMING_MAX: u32 = 384;
/// Half-open connections, in each direction.
const PENDING_MAX: u32 = 128;
/// Two peers that dial each other at once have two or more for a while.
pub(super) const PER_PEER_MAX: u32 = 4;
/// Exchanges in both directions on one connection.
pub(super) const STREAMS_MAX: usize = 64;
/// One gossip message with its signature.
pub(super) const GOSSIP_MAX_BYTES: usize = 64 * 1024;
/// Gossip messages that wait to be sent to one peer.
const GOSSIP_QUEUE_MAX: usize = 512;
/// Capabilities for which we hold provider records, our own included.
const PROVIDED_MAX: usize = 1_024;
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);
const MDNS_INTERVAL: Duration = Duration::from_secs(15);
/// How long a disconnected peer's gossip score is remembered.
const SCORE_KEEP: Duration = Duration::from_secs(120);

/// All protocols. The limits come first: what they deny, the others never see.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(super) kad: kad::Behaviour<MemoryStore>,
    pub(super) gossip: gossipsub::Behaviour<IdentityTransform, WhitelistSubscriptionFilter>,
    mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) exchange: request_response::Behaviour<FrameCodec>,
    pub(super) streams: libp2p_stream::Behaviour,
}

impl Behaviour {
    pub(super) fn new(config: &NetConfig) -> Result<Behaviour, NetError> {
        let peer = config.keypair.public().to_peer_id();
        Ok(Behaviour {
            limits: connection_limits::Behaviour::new(limits()),
            identify: identify(&config.keypair, &config.network),
            ping: ping::Behaviour::default(),
            kad: kad(peer, &config.network),
            gossip: gossip(&config.keypair, &config.network)?,
            mdns: mdns(peer, config.mdns).into(),
            exchange: exchange(&config.network),
            streams: libp2p_stream::Behaviour::new(),
        })
    }
}

/// What `identify` says about which network a peer belongs to.
pub(super) fn network_version(network: &NetworkName) -> String {
    format!("/junto/{network}/1")
}

/// The one topic there is.
pub(super) fn registry_topic(network: &NetworkName) -> IdentTopic {
    IdentTopic::new(format!("/junto/{network}/registry/1"))
}

fn protocol(network: &NetworkName, rest: &str) -> StreamProtocol {
    StreamProtocol::try_from_owned(format!("/junto/{network}/{rest}"))
        .expect("a protocol name begins with a slash")
}

fn setup(error: impl Display) -> NetError {
    NetError::Setup {
        what: error.to_string(),
    }
}

fn limits() -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_established(Some(CONNECTIONS_MAX))
        .with_max_established_incoming(Some(INCOMING_MAX))
        .with_max_established_per_peer(Some(PER_PEER_MAX))
        .with_max_pending_incoming(Some(PENDING_MAX))
        .with_max_pending_outgoing(Some(PENDING_MAX))
}

/// `identify` keeps no addresses: the address book is not here.
fn identify(keypair: &Keypair, network: &NetworkName) -> identify::Behaviour {
    let config = identify::Config::new(network_version(network), keypair.public())
        .with_agent_version(concat!("junto/", env!("CARGO_PKG_VERSION")).to_owned())
        .with_push_listen_addr_updates(true)
        .with_cache_size(0);
    identify::Behaviour::new(config)
}

/// Always a server: a node on a private network never learns of a confirmed external address.
fn kad(peer: PeerId, network: &NetworkName) -> kad::Behaviour<MemoryStore> {
    let life = Some(Duration::from_millis(ENTRY_MAX_LIFE_MS));
    let mut config = kad::Config::new(protocol(network, "kad/1"));
    config
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_record_ttl(life)
        .set_provider_record_ttl(life)
        .set_query_timeout(QUERY_TIMEOUT)
        .set_caching(kad::Caching::Disabled)
        .disjoint_query_paths(true);
    let bounds = MemoryStoreConfig {
        max_records: REGISTRY_MAX_ENTRIES,
        // The store refuses what is as large as this.
        max_value_bytes: ENTRY_MAX_BYTES + 1,
        max_provided_keys: PROVIDED_MAX,
        ..MemoryStoreConfig::default()
    };
    let store = MemoryStore::with_config(peer, bounds);
    let mut kad = kad::Behaviour::with_config(peer, store, config);
    kad.set_mode(Some(kad::Mode::Server));
    kad
}

/// Signed messages on one topic, each identified by its content: the same entry from two authors
/// is one message, and a resend within a minute goes nowhere.
fn gossip(
    keypair: &Keypair,
    network: &NetworkName,
) -> Result<gossipsub::Behaviour<IdentityTransform, WhitelistSubscriptionFilter>, NetError> {
    let topic = registry_topic(network);
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix(format!("/junto/{network}/meshsub"))
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(GOSSIP_MAX_BYTES)
        .connection_handler_queue_len(GOSSIP_QUEUE_MAX)
        .message_id_fn(|message| {
            MessageId::from(crypto::hash("gossip id", &[&message.data]).to_vec())
        })
        .build()
        .map_err(setup)?;
    let mut gossip = gossipsub::Behaviour::new_with_subscription_filter(
        MessageAuthenticity::Signed(keypair.clone()),
        config,
        WhitelistSubscriptionFilter(HashSet::from([topic.hash()])),
    )
    .map_err(setup)?;
    let params = score_params(&topic);
    gossip
        .with_peer_score(params, PeerScoreThresholds::default())
        .map_err(setup)?;
    gossip.subscribe(&topic).map_err(setup)?;
    Ok(gossip)
}

/// Only misbehaviour counts, nothing earns credit that could pay for it. One rejected message
/// costs a peer its place in the mesh until it has decayed, after about a minute; with three in a
/// row or more nothing that it sends is looked at for a while. How much somebody delivers says
/// nothing on a quiet topic, and many peers on one address are normal behind a router or on one
/// machine: diversity is judged at admission.
fn score_params(topic: &IdentTopic) -> PeerScoreParams {
    let registry = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -20.0,
        invalid_message_deliveries_decay: 0.97,
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: [(topic.hash(), registry)].into(),
        ip_colocation_factor_weight: 0.0,
        // A restarted node regrafts without knowing whom it was pruned by.
        behaviour_penalty_threshold: 6.0,
        retain_score: SCORE_KEEP,
        ..PeerScoreParams::default()
    }
}

/// A machine where multicast does not work still has a node.
fn mdns(peer: PeerId, wanted: bool) -> Option<mdns::tokio::Behaviour> {
    if !wanted {
        return None;
    }
    let config = mdns::Config {
        query_interval: MDNS_INTERVAL,
        ..mdns::Config::default()
    };
    mdns::tokio::Behaviour::new(config, peer)
        .inspect_err(|error| {
            tracing::warn!(%error, "mDNS cannot be used here: peers are not found by themselves");
        })
        .ok()
}

fn exchange(network: &NetworkName) -> request_response::Behaviour<FrameCodec> {
    let config = request_response::Config::default()
        .with_request_timeout(Duration::from_millis(EXCHANGE_TIMEOUT_MS))
        .with_max_concurrent_streams(STREAMS_MAX);
    let protocols = [(protocol(network, "exchange/1"), ProtocolSupport::Full)];
    request_response::Behaviour::with_codec(FrameCodec::default(), protocols, config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_accepted_by_the_libraries() {
        let config = NetConfig {
            keypair: Keypair::generate_ed25519(),
            network: "a.b_c-9".parse().expect("a valid network name"),
            listen: Vec::new(),
            mdns: false,
        };
        let behaviour = Behaviour::new(&config).expect("the settings are valid");
        let names = behaviour.kad.protocol_names();
        assert_eq!(names[0].as_ref(), "/junto/a.b_c-9/kad/1");
        assert_eq!(behaviour.kad.mode(), kad::Mode::Server);
    }
}
