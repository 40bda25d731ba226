//! L3: the network. libp2p behind a small door: [`Net`] takes orders that never block and hands
//! out [`NetEvent`]s. It decides nothing about peers, sessions or tasks, and keeps no address book.
//!
//! # What the rest may rely on, and the simulator's network must not promise more than
//!
//! 1. *Exchanges.* A request ends exactly once: [`NetEvent::Response`] or
//!    [`NetEvent::ExchangeFailed`]. [`NetFailure::NotSent`] and [`NetFailure::Unsupported`] mean
//!    that the other side never saw it. [`NetFailure::Unknown`] means just that: it may have been
//!    lost, may have been acted on with the answer lost, or may still be acted on later.
//! 2. *No duplicates.* libp2p itself never delivers one request twice and never resends. (The
//!    simulator may, to be weaker than this.)
//! 3. *No order.* Each exchange is a stream of its own: two requests to one peer may arrive in
//!    either order, with any delay up to the timeout.
//! 4. *Connections.* `Connected` and `Disconnected` of one peer alternate, however many
//!    connections there are beneath. Two peers may dial each other at once. The two ends learn of
//!    a connection's start and end at different times, and one may see it while the other never
//!    does. An exchange's outcome and the `Disconnected` that caused it come in either order.
//! 5. *Gossip* may be lost, late, out of order, and may come again once it has left the
//!    duplicate cache (60 s). It goes no further from here until it is given a verdict.
//! 6. *The DHT and mDNS* may be stale, incomplete or lie. Everything from them is a hint.
//! 7. *Identity.* A `PeerId` in an event has been proven by the transport's handshake, except in
//!    [`NetEvent::Discovered`].
//!
//! Bounds: see [`limits`](crate::types::limits) and the constants beside each table. Nothing that
//! a remote peer does makes a table here grow without end.

mod addrs;
mod behaviour;
mod codec;
mod dht;
mod event;
mod failure;
mod inbound;
mod outbound;
mod pool;
mod streams;
mod swarm;
mod transport;

#[cfg(test)]
mod tests;

pub use event::{NetEvent, NetFailure, Verdict};
pub use pool::Pool;
pub use streams::{Inbound, StreamError, Streams};
pub use swarm::Net;

use crate::types::{Multiaddr, NetworkName};

/// How to join the network.
#[derive(Clone)]
pub struct NetConfig {
    /// The transport identity; its public half is our peer id.
    pub keypair: libp2p::identity::Keypair,
    /// Part of every protocol id.
    pub network: NetworkName,
    /// Where to listen; port 0 takes a free one. Empty: only dial.
    pub listen: Vec<Multiaddr>,
    /// Whether to announce ourselves, and look for others, on the local network.
    pub mdns: bool,
}

/// Why the network could not be started, in a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Somebody else has the port.
    #[error(
        "cannot listen on {addr}: another program uses that port; stop it or choose another port (0 takes a free one)"
    )]
    InUse { addr: Multiaddr },
    /// The address is not this machine's.
    #[error(
        "cannot listen on {addr}: this machine has no such address; use one of its own, or /ip4/0.0.0.0 for all of them"
    )]
    NotOurs { addr: Multiaddr },
    /// The system does not let this user.
    #[error("cannot listen on {addr}: this user may not open that port; choose one above 1023")]
    NotAllowed { addr: Multiaddr },
    /// Not an address that we can listen on.
    #[error(
        "cannot listen on {addr}: use /ip4/ADDRESS/tcp/PORT or /ip4/ADDRESS/udp/PORT/quic-v1 (or /ip6)"
    )]
    NotUnderstood { addr: Multiaddr },
    /// Anything else the system said.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        addr: Multiaddr,
        source: std::io::Error,
    },
    /// Listening began, but no interface gave it an address.
    #[error(
        "none of the listen addresses came up within {waited_s} s: check that a network interface is up"
    )]
    NoAddress { waited_s: u64 },
    /// The libraries refused our settings.
    #[error("the network could not be set up ({what}): this build of Junto does not work here")]
    Setup { what: String },
}
