//! The transports (TCP with Noise and Yamux, QUIC, names through DNS), and whether an address can
//! be listened on.

use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Transport, dns, noise, quic, tcp, yamux};
use tokio::time::{Instant, sleep};

use super::NetError;
use crate::types::{Multiaddr, PeerId};

type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// From the first packet to an encrypted, multiplexed connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a killed predecessor may hold on to our port.
const PORT_PATIENCE: Duration = Duration::from_secs(5);
const PORT_RETRY: Duration = Duration::from_millis(100);

/// Everything that a node dials and listens with. A system whose DNS settings cannot be read
/// leaves it without names, not without network.
pub(super) fn build(keypair: &Keypair) -> Result<Connections, NetError> {
    let connections = match dns::tokio::Transport::system(sockets(keypair)?) {
        Ok(with_names) => with_names.boxed(),
        Err(error) => {
            tracing::warn!(%error, "the system's DNS settings cannot be read: names are not resolved");
            sockets(keypair)?
        }
    };
    Ok(TransportTimeout::new(connections, CONNECT_TIMEOUT).boxed())
}

/// What the system said about a TCP socket. libp2p joins the errors of a transport's layers in
/// an `Either`, whose `source` is that of what it holds: only what stands beneath stays findable.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SocketError(#[source] io::Error);

/// TCP and QUIC. Each is boxed before they are joined, so that either's error stays findable.
fn sockets(keypair: &Keypair) -> Result<Connections, NetError> {
    let encryption = noise::Config::new(keypair).map_err(|error| NetError::Setup {
        what: error.to_string(),
    })?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .map_err(SocketError)
        .upgrade(Version::V1Lazy)
        .authenticate(encryption)
        .multiplex(yamux::Config::default())
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

/// Waits until every port is free, at most 5 s.
///
/// libp2p's TCP listeners set `SO_REUSEPORT`, with which the system lets two nodes of one user
/// share a port and deals incoming connections out to both. Binding once without it tells.
pub(super) async fn await_ports(listen: &[Multiaddr]) -> Result<(), NetError> {
    let patience_ends = Instant::now() + PORT_PATIENCE;
    loop {
        match listen.iter().try_for_each(probe) {
            Err(NetError::InUse { .. }) if Instant::now() < patience_ends => {
                sleep(PORT_RETRY).await;
            }
            outcome => return outcome,
        }
    }
}

/// Binds the address for a moment.
fn probe(addr: &Multiaddr) -> Result<(), NetError> {
    let not_understood = || NetError::NotUnderstood { addr: addr.clone() };
    let mut parts = addr.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Err(not_understood()),
    };
    let bound = match (parts.next(), parts.next(), parts.next()) {
        (Some(Protocol::Tcp(port)), None, None) => TcpListener::bind((ip, port)).map(drop),
        (Some(Protocol::Udp(port)), Some(Protocol::QuicV1), None) => {
            UdpSocket::bind((ip, port)).map(drop)
        }
        _ => return Err(not_understood()),
    };
    bound.map_err(|source| refusal(addr.clone(), source))
}

/// What the system's refusal to bind means to a person.
pub(super) fn refusal(addr: Multiaddr, source: io::Error) -> NetError {
    match source.kind() {
        io::ErrorKind::AddrInUse => NetError::InUse { addr },
        io::ErrorKind::AddrNotAvailable => NetError::NotOurs { addr },
        io::ErrorKind::PermissionDenied => NetError::NotAllowed { addr },
        _ => NetError::Listen { addr, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> Multiaddr {
        text.parse().expect("a valid multiaddr")
    }

    #[test]
    fn only_tcp_and_quic_addresses_can_be_listened_on() {
        for text in ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"] {
            assert!(probe(&addr(text)).is_ok(), "{text}");
        }
        let not = [
            "/memory/1",
            "/dns4/x/tcp/1",
            "/ip4/127.0.0.1",
            "/ip4/127.0.0.1/tcp/0/ws",
        ];
        for text in not {
            let refused = probe(&addr(text)).expect_err(text);
            assert!(
                matches!(refused, NetError::NotUnderstood { .. }),
                "{text}: {refused}"
            );
        }
    }

    #[test]
    fn an_address_of_another_machine_is_named_as_such() {
        let refused = probe(&addr("/ip4/192.0.2.1/tcp/0")).expect_err("a documentation address");
        assert!(matches!(refused, NetError::NotOurs { .. }), "{refused}");
    }
}
