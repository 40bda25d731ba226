//! The part of an address that is likely to be one owner's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::multiaddr::Protocol;

use super::Multiaddr;

/// An IPv4 /24 or an IPv6 /48. What holds a quota by address is counted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    V4([u8; 3]),
    V6([u8; 6]),
}

impl Prefix {
    /// The prefix of the address's IP (an IPv4 address written as IPv6 counts as IPv4); none for
    /// loopback, where everybody is one owner's, and for an address without an IP.
    pub fn of(addr: &Multiaddr) -> Option<Prefix> {
        let ip = match addr.iter().next()? {
            Protocol::Ip4(ip) => IpAddr::V4(ip),
            Protocol::Ip6(ip) => ip.to_canonical(),
            _ => return None,
        };
        match ip {
            ip if ip.is_loopback() => None,
            IpAddr::V4(ip) => Some(Prefix::of_v4(ip)),
            IpAddr::V6(ip) => Some(Prefix::of_v6(ip)),
        }
    }

    /// The same of an address that the world can reach; none in a private network, where neighbours
    /// are not one owner's for that.
    pub fn of_public(addr: &Multiaddr) -> Option<Prefix> {
        let prefix = Prefix::of(addr)?;
        let private = match prefix {
            Prefix::V4([a, b, c]) => {
                let ip = Ipv4Addr::new(a, b, c, 0);
                ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64)
            }
            // Unique local and link local.
            Prefix::V6([a, b, ..]) => a & 0xfe == 0xfc || (a == 0xfe && b & 0xc0 == 0x80),
        };
        (!private).then_some(prefix)
    }

    fn of_v4(ip: Ipv4Addr) -> Prefix {
        let [a, b, c, _] = ip.octets();
        Prefix::V4([a, b, c])
    }

    fn of_v6(ip: Ipv6Addr) -> Prefix {
        let [a, b, c, d, e, f, ..] = ip.octets();
        Prefix::V6([a, b, c, d, e, f])
    }

    /// The prefix of these bytes; none if they are not 3 or 6.
    pub fn from_bytes(bytes: &[u8]) -> Option<Prefix> {
        match bytes.len() {
            3 => bytes.try_into().ok().map(Prefix::V4),
            6 => bytes.try_into().ok().map(Prefix::V6),
            _ => None,
        }
    }

    /// The bytes of the prefix: 3 or 6.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Prefix::V4(bytes) => bytes,
            Prefix::V6(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(addr: &str) -> Option<Prefix> {
        Prefix::of(&addr.parse().expect("an address"))
    }

    #[test]
    fn neighbours_share_a_prefix_and_loopback_has_none() {
        let v4 = Some(Prefix::V4([192, 0, 2]));
        assert_eq!(of("/ip4/192.0.2.7/tcp/1"), v4);
        assert_eq!(of("/ip4/192.0.2.200/udp/1/quic-v1"), v4);
        assert_eq!(of("/ip6/::ffff:192.0.2.9/tcp/1"), v4, "as IPv6");
        assert_ne!(of("/ip4/192.0.3.7/tcp/1"), v4);
        assert_eq!(
            of("/ip6/2001:db8:7:1::1/tcp/1"),
            of("/ip6/2001:db8:7:2::1/tcp/1")
        );
        for none in [
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/::1/tcp/1",
            "/ip6/::ffff:127.0.0.1/tcp/1",
            "/dns4/example.org/tcp/1",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn neighbours_of_a_private_network_are_no_neighbours_of_the_world() {
        let public = |addr: &str| Prefix::of_public(&addr.parse().expect("an address"));
        for private in [
            "/ip4/10.1.2.3/tcp/1",
            "/ip4/192.168.1.2/tcp/1",
            "/ip4/172.31.0.1/tcp/1",
            "/ip4/169.254.0.1/tcp/1",
            "/ip4/100.64.0.1/tcp/1",
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/dns/example.org/tcp/1",
        ] {
            assert_eq!(public(private), None, "{private}");
        }
        for world in [
            "/ip4/8.8.8.8/tcp/1",
            "/ip4/100.128.0.1/tcp/1",
            "/ip6/2001:db8::1/tcp/1",
        ] {
            assert!(public(world).is_some(), "{world}");
            assert_eq!(public(world), of(world));
        }
    }
}
