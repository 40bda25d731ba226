//! Which addresses are worth telling, and their forms with and without the peer id.

use std::net::IpAddr;

use libp2p::multiaddr::Protocol;

use crate::types::limits::ADDRESSES_MAX;
use crate::types::{Multiaddr, PeerId};

/// How far an address carries, nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// `0.0.0.0` and `::`, and what begins with no host at all.
    Nowhere,
    /// This machine, or one cable whose name (the zone) a multiaddr does not carry.
    Here,
    /// Other machines, perhaps.
    Further,
}

fn reach(addr: &Multiaddr) -> Reach {
    let ip: IpAddr = match addr.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => {
            return Reach::Further;
        }
        _ => return Reach::Nowhere,
    };
    let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if ip.is_unspecified() {
        Reach::Nowhere
    } else if ip.is_loopback() || link_local {
        Reach::Here
    } else {
        Reach::Further
    }
}

/// The addresses worth telling others: sorted, without `/p2p`, at most 16. Those that lead
/// nowhere are left out, and those of this machine alone where there are better ones.
pub(super) fn worth_telling(addrs: impl IntoIterator<Item = Multiaddr>) -> Vec<Multiaddr> {
    let mut addrs: Vec<Multiaddr> = addrs.into_iter().map(|addr| split_peer(addr).0).collect();
    let best = addrs.iter().map(reach).max().unwrap_or(Reach::Nowhere);
    addrs.retain(|addr| reach(addr) == best && best != Reach::Nowhere);
    addrs.sort();
    addrs.dedup();
    addrs.truncate(ADDRESSES_MAX);
    addrs
}

/// An address without its trailing `/p2p`, and the peer id that stood there.
pub(super) fn split_peer(mut addr: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    match addr.iter().last() {
        Some(Protocol::P2p(peer)) => {
            addr.pop();
            (addr, Some(peer))
        }
        _ => (addr, None),
    }
}

/// The addresses with `/p2p/<peer>` at the end, as the routing table has them, so that one that
/// stands in both is dialled once; those that name another peer are left out.
pub(super) fn with_peer(addrs: &[Multiaddr], peer: PeerId) -> Vec<Multiaddr> {
    addrs
        .iter()
        .filter_map(|addr| addr.clone().with_p2p(peer).ok())
        .take(ADDRESSES_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(addrs: &[&str]) -> Vec<String> {
        let addrs = addrs
            .iter()
            .map(|text| text.parse().expect("a valid multiaddr"));
        worth_telling(addrs)
            .iter()
            .map(Multiaddr::to_string)
            .collect()
    }

    #[test]
    fn loopback_is_told_only_where_there_is_nothing_better() {
        assert_eq!(told(&["/ip4/127.0.0.1/tcp/1"]), ["/ip4/127.0.0.1/tcp/1"]);
        assert_eq!(
            told(&[
                "/ip4/127.0.0.1/tcp/1",
                "/ip6/fe80::1/tcp/1",
                "/ip4/10.0.0.1/tcp/1"
            ]),
            ["/ip4/10.0.0.1/tcp/1"]
        );
    }

    #[test]
    fn the_unspecified_address_is_never_told() {
        assert!(told(&["/ip4/0.0.0.0/tcp/1", "/ip6/::/udp/1/quic-v1", "/tcp/1"]).is_empty());
    }

    #[test]
    fn at_most_sixteen_addresses_are_told_each_once() {
        let many: Vec<String> = (0..40)
            .map(|n| format!("/ip4/10.0.0.{}/tcp/1", n % 20 + 1))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let told = told(&many);
        assert_eq!(told.len(), ADDRESSES_MAX);
        assert_eq!(
            told.iter()
                .filter(|addr| *addr == "/ip4/10.0.0.1/tcp/1")
                .count(),
            1
        );
    }

    #[test]
    fn an_address_of_another_peer_is_not_dialled_for_this_one() {
        let (ours, other) = (PeerId::random(), PeerId::random());
        let plain: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().expect("a valid multiaddr");
        let theirs = plain.clone().with_p2p(other).expect("no peer id yet");
        let dialled = with_peer(&[plain.clone(), theirs], ours);
        assert_eq!(dialled.len(), 1);
        assert_eq!(split_peer(dialled[0].clone()), (plain, Some(ours)));
    }
}
