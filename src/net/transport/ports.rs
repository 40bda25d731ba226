//! Whether an address can be listened on, and what the system's refusal means to a person.

use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use tokio::time::{Instant, sleep};

use crate::net::NetError;
use crate::types::Multiaddr;

/// How long a killed predecessor may hold on to our port.
const PORT_PATIENCE: Duration = Duration::from_secs(5);
const PORT_RETRY: Duration = Duration::from_millis(100);

/// Waits until every port is free, at most 5 s.
///
/// libp2p's TCP listeners set `SO_REUSEPORT`, with which the system lets two nodes of one user
/// share a port and deals incoming connections out to both. Binding once without it tells.
pub(in crate::net) async fn await_ports(listen: &[Multiaddr]) -> Result<(), NetError> {
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
pub(in crate::net) fn refusal(addr: Multiaddr, source: io::Error) -> NetError {
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
