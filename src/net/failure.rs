//! Why a dial failed, in words for a person: one short sentence, no library's debug output.

use std::error::Error;
use std::io::{self, ErrorKind};

use libp2p::TransportError;
use libp2p::core::transport::timeout::TransportTimeoutError;
use libp2p::swarm::DialError;
use libp2p::{connection_limits, dns, quic};

use super::addrs::split_peer;
use crate::types::Multiaddr;

/// Addresses named in one sentence; the others are counted.
const NAMED_MAX: usize = 3;

/// What went wrong, for a log or a person.
pub(super) fn dial_failure(error: &DialError) -> String {
    match error {
        DialError::LocalPeerId { address } => format!("{address} leads back to this node"),
        DialError::NoAddresses => String::from("no address is known at which to dial"),
        DialError::DialPeerConditionFalse(_) => {
            String::from("it is connected or being dialled already")
        }
        DialError::Aborted => String::from("the attempt was called off"),
        DialError::WrongPeerId { obtained, address } => {
            format!("another peer, {obtained}, answered at {address}")
        }
        DialError::Denied { cause } => match cause.downcast_ref::<connection_limits::Exceeded>() {
            Some(exceeded) => {
                format!(
                    "this node has as many connections as it allows ({})",
                    exceeded.limit()
                )
            }
            None => String::from("this node does not allow the connection"),
        },
        DialError::Transport(errors) => transport_failures(errors),
    }
}

fn transport_failures(errors: &[(Multiaddr, TransportError<io::Error>)]) -> String {
    let named: Vec<String> = errors
        .iter()
        .take(NAMED_MAX)
        .map(|(addr, error)| transport_failure(addr, error))
        .collect();
    match (named.is_empty(), errors.len().saturating_sub(NAMED_MAX)) {
        (true, _) => String::from("no connection could be set up"),
        (false, 0) => named.join("; "),
        (false, more) => format!("{}; and {more} more addresses failed", named.join("; ")),
    }
}

fn transport_failure(addr: &Multiaddr, error: &TransportError<io::Error>) -> String {
    let addr = split_peer(addr.clone()).0;
    let TransportError::Other(error) = error else {
        return format!("{addr} is not an address that this node can dial");
    };
    match cause(error) {
        Some(Cause::Refused) => format!("nobody listens at {addr}"),
        Some(Cause::TimedOut) => format!("{addr} did not answer in time"),
        Some(Cause::NoRoute) => format!("there is no way from here to {addr}"),
        Some(Cause::NotAllowed) => format!("this machine does not allow connections to {addr}"),
        Some(Cause::HungUp) => format!("{addr} closed the connection during the handshake"),
        Some(Cause::NoName) => format!("the name in {addr} cannot be resolved"),
        None => format!("no secure connection could be agreed with {addr}"),
    }
}

enum Cause {
    Refused,
    TimedOut,
    NoRoute,
    NotAllowed,
    HungUp,
    NoName,
}

/// The first thing we have words for on the way down an error's chain. An `io::Error` that wraps
/// another error skips it in `source`, so what it wraps is looked at first.
fn cause(error: &(dyn Error + 'static)) -> Option<Cause> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return match (io_cause(error.kind()), error.get_ref()) {
            (Some(cause), _) => Some(cause),
            (None, Some(wrapped)) => cause_of_wrapped(wrapped),
            (None, None) => None,
        };
    }
    if let Some(TransportTimeoutError::Timeout) =
        error.downcast_ref::<TransportTimeoutError<io::Error>>()
    {
        return Some(Cause::TimedOut);
    }
    if let Some(quic::Error::HandshakeTimedOut) = error.downcast_ref::<quic::Error>() {
        return Some(Cause::TimedOut);
    }
    if let Some(dns::Error::ResolveError(_)) = error.downcast_ref::<dns::Error<io::Error>>() {
        return Some(Cause::NoName);
    }
    error.source().and_then(cause)
}

fn cause_of_wrapped(error: &(dyn Error + Send + Sync + 'static)) -> Option<Cause> {
    cause(error)
}

fn io_cause(kind: ErrorKind) -> Option<Cause> {
    match kind {
        ErrorKind::ConnectionRefused => Some(Cause::Refused),
        ErrorKind::TimedOut => Some(Cause::TimedOut),
        ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::AddrNotAvailable => Some(Cause::NoRoute),
        ErrorKind::PermissionDenied => Some(Cause::NotAllowed),
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => Some(Cause::HungUp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(error: io::Error) -> String {
        let addr: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().expect("a valid multiaddr");
        dial_failure(&DialError::Transport(vec![(
            addr,
            TransportError::Other(error),
        )]))
    }

    #[test]
    fn the_cause_is_found_beneath_the_wrappers() {
        let refused = io::Error::from(ErrorKind::ConnectionRefused);
        let wrapped = io::Error::other(TransportTimeoutError::Other(io::Error::other(refused)));
        assert_eq!(failed(wrapped), "nobody listens at /ip4/10.0.0.1/tcp/1");
        let timeout: TransportTimeoutError<io::Error> = TransportTimeoutError::Timeout;
        assert_eq!(
            failed(io::Error::other(timeout)),
            "/ip4/10.0.0.1/tcp/1 did not answer in time"
        );
        assert!(failed(io::Error::other("?")).starts_with("no secure connection"));
    }

    #[test]
    fn a_long_list_of_failures_is_cut() {
        let addr: Multiaddr = "/memory/1".parse().expect("a valid multiaddr");
        let error = || TransportError::MultiaddrNotSupported(addr.clone());
        let many = (0..10).map(|_| (addr.clone(), error())).collect();
        assert!(dial_failure(&DialError::Transport(many)).ends_with("and 7 more addresses failed"));
    }
}
