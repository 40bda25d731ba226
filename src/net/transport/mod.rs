//! The transports: TCP and QUIC, and names through DNS.
//!
//! A TCP connection is buffered ([`buffered`]), secured with TLS or, with a peer that has none,
//! with Noise ([`security`]), and shared by streams ([`muxer`]). What each layer may hold is
//! bounded there. Why it is not libp2p's usual stack: `docs/adr/0013-a-faster-tcp-stack.md`.

mod buffered;
mod muxer;
mod ports;
mod security;
mod tls;

#[cfg(test)]
mod tests;

use std::hint::black_box;
use std::io;
use std::sync::Once;
use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{Transport, dns, quic, tcp};

use self::buffered::Buffered;
use self::security::Security;
use super::NetError;
use crate::types::PeerId;

pub(super) use self::ports::{await_ports, refusal};

type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// From the first packet to an encrypted, multiplexed connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What is allocated and freed once so that the allocator keeps freed memory up to twice this.
const ALLOCATOR_LESSON_BYTES: usize = 4 * 1024 * 1024;

/// Everything that a node dials and listens with. A system whose DNS settings cannot be read
/// leaves it without names, not without network.
pub(super) fn build(keypair: &Keypair) -> Result<Connections, NetError> {
    static WARM: Once = Once::new();
    WARM.call_once(warm_up);
    let connections = match dns::tokio::Transport::system(sockets(keypair)?) {
        Ok(with_names) => with_names.boxed(),
        Err(error) => {
            tracing::warn!(%error, "the system's DNS settings cannot be read: names are not resolved");
            sockets(keypair)?
        }
    };
    Ok(TransportTimeout::new(connections, CONNECT_TIMEOUT).boxed())
}

/// Pays once per process, and aside, for what the first connection would wait for.
///
/// The cryptographic library gathers its first randomness for 30 ms or more. And glibc's
/// allocator gives freed memory back to the system so eagerly that buffers which come and go at
/// a gigabyte a second spend a third of the time in page faults; freeing one large block raises
/// its limits for good. On other allocators that does nothing.
fn warm_up() {
    drop(black_box(Vec::<u8>::with_capacity(ALLOCATOR_LESSON_BYTES)));
    // Without the thread the first connection pays instead.
    let _ = std::thread::Builder::new()
        .name(String::from("junto-warm-up"))
        .spawn(tls::gather_randomness);
}

/// What the system said about a TCP socket. libp2p joins the errors of a transport's layers in
/// an `Either`, whose `source` is that of what it holds: only what stands beneath stays findable.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SocketError(#[source] io::Error);

/// TCP and QUIC. Each is boxed before they are joined, so that either's error stays findable.
fn sockets(keypair: &Keypair) -> Result<Connections, NetError> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .map_err(SocketError)
        .map(|socket, _| Buffered::new(socket))
        .upgrade(Version::V1Lazy)
        .authenticate(Security::new(keypair)?)
        .multiplex(muxer::Config)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed();
    let quic = quic::tokio::Transport::new(quic::Config::new(keypair))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed();
    Ok(tcp
        .or_transport(quic)
        .map(|either, _| either.into_inner())
        .map_err(|either| either.into_inner())
        .boxed())
}
