//! What [`Net`](super::Net) reports. The module's header says what may be relied on.

use crate::types::{ExchangeId, GossipId, InboundId, Multiaddr, PeerId};

/// What happened on the network.
#[derive(Debug)]
pub enum NetEvent {
    /// The first connection to `peer` stands. `addr` is its far end without `/p2p`; where `peer`
    /// connected to us (`dialer` is false) that is not an address it listens on.
    Connected {
        peer: PeerId,
        addr: Multiaddr,
        dialer: bool,
    },
    /// The last connection to `peer` is gone.
    Disconnected { peer: PeerId },
    /// A [`Net::dial`](super::Net::dial) came to nothing. `peer` and `addrs` are as they were
    /// given; a dial without a peer id is reported address by address.
    DialFailed {
        peer: Option<PeerId>,
        addrs: Vec<Multiaddr>,
        reason: String,
    },
    /// `peer` belongs to another network and is being disconnected. Once per connected time.
    WrongNetwork { peer: PeerId },
    /// mDNS, or the DHT after [`Net::dht_find`](super::Net::dht_find), says that `peer` may be
    /// found there: at least one address, at most 16, without `/p2p`. A hint, not a fact.
    Discovered { peer: PeerId, addrs: Vec<Multiaddr> },
    /// The addresses at which others may reach us changed; at most 16, without `/p2p`.
    ListenAddrs { addrs: Vec<Multiaddr> },
    /// `peer` asks; answer with [`Net::respond`](super::Net::respond) within 10 s.
    Request {
        id: InboundId,
        peer: PeerId,
        bytes: Vec<u8>,
    },
    /// The answer to our request.
    Response { id: ExchangeId, bytes: Vec<u8> },
    /// No answer will come to our request.
    ExchangeFailed { id: ExchangeId, failure: NetFailure },
    /// A gossiped message, handed to us by `source` (which need not be its author); settle it
    /// with [`Net::gossip_verdict`](super::Net::gossip_verdict) within 5 s.
    Gossip {
        id: GossipId,
        source: PeerId,
        bytes: Vec<u8>,
    },
    /// `source` wants to store a record with us; it is stored only if
    /// [`Net::dht_put`](super::Net::dht_put) follows.
    DhtRecord {
        source: PeerId,
        key: Vec<u8>,
        value: Vec<u8>,
    },
}

/// Why a request got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetFailure {
    /// It never left: no connection could be made, or it is too large, or too many are under way.
    NotSent,
    /// It may have arrived and may have been acted on.
    Unknown,
    /// The other side does not speak our network's exchange protocol.
    Unsupported,
}

/// What becomes of a gossip message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on.
    Accept,
    /// Drop it; nobody is to blame.
    Ignore,
    /// Drop it and hold it against whoever sent it.
    Reject,
}
