//! [`Net`]: the swarm and the tables that tie libp2p's ids to ours. Orders go to `outbound`, what
//! the swarm reports is turned into events in `inbound`; here they are started and joined.
//!
//! Events wait in a queue of their own until [`Net::next`] is called: an order that fails at once
//! adds one, an event of the swarm a few. So it is as long as what the caller has asked since.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::num::NonZeroU8;
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::gossipsub::{IdentTopic, MessageId};
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{OutboundRequestId, ResponseChannel};
use libp2p::swarm::{self, Swarm, SwarmEvent};
use libp2p::{TransportError, identity};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout, timeout_at};

use super::behaviour::{Behaviour, network_version, registry_topic};
use super::dht::ProviderQuota;
use super::outbound::Dials;
use super::{NetConfig, NetError, NetEvent, Streams, transport};
use crate::types::{ExchangeId, GossipId, InboundId, Multiaddr, PeerId};

/// A connection that carries nothing is closed after this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Addresses of one peer that are tried at once.
const DIALS_AT_ONCE: NonZeroU8 = NonZeroU8::new(8).expect("8 is not 0");
/// Streams that a peer may be opening at once: all that an exchange may use.
const NEGOTIATING_MAX: usize = 256;
/// How long the listeners have to report their addresses.
const LISTEN_PATIENCE: Duration = Duration::from_secs(10);
/// When no further interface has told its address for so long, all have.
const INTERFACES_APART: Duration = Duration::from_millis(150);
/// How often messages that nobody could be told are tried again.
const TICK: Duration = Duration::from_secs(2);

/// A node's place in the network. Dropping it closes every connection and listener.
///
/// No method but [`Net::start`] and [`Net::next`] waits. Nothing moves unless [`Net::next`] is
/// being awaited.
pub struct Net {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) version: String,
    pub(super) topic: IdentTopic,
    pub(super) events: VecDeque<NetEvent>,
    pub(super) listen_addrs: Vec<Multiaddr>,
    pub(super) dials: Dials,
    /// Our requests under way.
    pub(super) exchanges: HashMap<OutboundRequestId, ExchangeId>,
    /// Others' requests that are not answered.
    pub(super) inbound: BTreeMap<InboundId, ResponseChannel<Vec<u8>>>,
    pub(super) last_inbound: u64,
    /// Gossip without a verdict, oldest first.
    pub(super) unsettled: BTreeMap<GossipId, (MessageId, PeerId)>,
    pub(super) last_gossip: u64,
    /// Messages that nobody could be told, oldest first.
    pub(super) unpublished: VecDeque<Vec<u8>>,
    /// Connected peers of another network.
    pub(super) foreign: HashSet<PeerId>,
    pub(super) providers: ProviderQuota,
    pub(super) bootstrapped: bool,
    streams: Streams,
    tick: Interval,
}

impl Net {
    /// Joins the network: binds every address, waiting up to 5 s for one that a dying process
    /// still holds, and returns when each listener has reported where it listens.
    ///
    /// # Errors
    /// [`NetError`], with a sentence for the person who wrote the address.
    pub async fn start(config: NetConfig) -> Result<Net, NetError> {
        let mut listen = config.listen.clone();
        listen.sort();
        listen.dedup();
        transport::await_ports(&listen).await?;
        let mut net = Net::assemble(&config)?;
        net.listen(listen).await?;
        Ok(net)
    }

    fn assemble(config: &NetConfig) -> Result<Net, NetError> {
        let transport = transport::build(&config.keypair)?;
        let behaviour = Behaviour::new(config)?;
        let streams = Streams::new(behaviour.streams.new_control(), config.network.clone());
        let swarm_config = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(IDLE_TIMEOUT)
            .with_dial_concurrency_factor(DIALS_AT_ONCE)
            .with_max_negotiating_inbound_streams(NEGOTIATING_MAX);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Net {
            swarm: Swarm::new(transport, behaviour, peer_id(&config.keypair), swarm_config),
            version: network_version(&config.network),
            topic: registry_topic(&config.network),
            events: VecDeque::new(),
            listen_addrs: Vec::new(),
            dials: Dials::default(),
            exchanges: HashMap::new(),
            inbound: BTreeMap::new(),
            last_inbound: 0,
            unsettled: BTreeMap::new(),
            last_gossip: 0,
            unpublished: VecDeque::new(),
            foreign: HashSet::new(),
            providers: ProviderQuota::default(),
            bootstrapped: false,
            streams,
            tick,
        })
    }

    async fn listen(&mut self, listen: Vec<Multiaddr>) -> Result<(), NetError> {
        let mut silent: HashMap<ListenerId, Multiaddr> = HashMap::new();
        for addr in listen {
            let listener = self
                .swarm
                .listen_on(addr.clone())
                .map_err(|error| match error {
                    TransportError::MultiaddrNotSupported(_) => {
                        NetError::NotUnderstood { addr: addr.clone() }
                    }
                    TransportError::Other(source) => transport::refusal(addr.clone(), source),
                })?;
            silent.insert(listener, addr);
        }
        let asked = silent.len();
        let everywhere = silent.values().any(is_unspecified);
        let patience_ends = Instant::now() + LISTEN_PATIENCE;
        while !silent.is_empty() {
            let Ok(event) = timeout_at(patience_ends, self.swarm.select_next_some()).await else {
                break;
            };
            match &event {
                SwarmEvent::NewListenAddr { listener_id, .. } => {
                    silent.remove(listener_id);
                }
                SwarmEvent::ListenerClosed {
                    listener_id,
                    reason: Err(error),
                    ..
                } => {
                    if let Some(addr) = silent.remove(listener_id) {
                        let source = std::io::Error::new(error.kind(), error.to_string());
                        return Err(transport::refusal(addr, source));
                    }
                }
                _ => {}
            }
            self.on_swarm_event(event);
        }
        if asked > 0 && silent.len() == asked {
            return Err(NetError::NoAddress {
                waited_s: LISTEN_PATIENCE.as_secs(),
            });
        }
        // Each interface has its say; nobody tells when that was the last.
        while everywhere && Instant::now() < patience_ends {
            let more = timeout(INTERFACES_APART, self.swarm.select_next_some());
            let Ok(event) = more.await else {
                break;
            };
            self.on_swarm_event(event);
        }
        for addr in silent.values() {
            tracing::warn!(%addr, "no interface has given this listener an address yet");
        }
        Ok(())
    }

    /// The next event. Cancel-safe: a dropped call loses nothing.
    pub async fn next(&mut self) -> NetEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                _ = self.tick.tick() => self.on_tick(),
            }
        }
    }

    fn on_tick(&mut self) {
        self.publish_waiting();
        self.forget_unanswerable();
    }

    /// The door to long-lived streams.
    pub fn streams(&self) -> Streams {
        self.streams.clone()
    }

    /// Who we are on the network.
    pub fn peer_id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    /// The addresses at which others may reach us, as last told in [`NetEvent::ListenAddrs`].
    pub fn local_addrs(&self) -> &[Multiaddr] {
        &self.listen_addrs
    }
}

/// Whether it stands for all interfaces.
fn is_unspecified(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_unspecified(),
        Protocol::Ip6(ip) => ip.is_unspecified(),
        _ => false,
    })
}

fn peer_id(keypair: &identity::Keypair) -> PeerId {
    keypair.public().to_peer_id()
}
