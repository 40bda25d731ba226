//! What a table's handshakes come by: connections of the network, or HTTP. The two are never in one
//! table, and only a connection tells who the peer is and where.

use super::Sessions;
use crate::crypto::Identity;
use crate::types::{Multiaddr, PeerId, Prefix};

/// What a handshake's messages came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// The transport vouches for the PeerId.
    Exchange,
    /// Anybody can write any PeerId: nothing is counted in its name before the signatures hold.
    Http,
}

impl Carrier {
    /// Whether it vouches for the PeerId of who sends.
    pub(super) fn vouches(self) -> bool {
        self == Carrier::Exchange
    }
}

impl Sessions {
    /// Those that are made over HTTP: none yet. Their PeerId is the first that the other side's
    /// entry names; nobody but its own signature in that entry vouches for it.
    pub fn over_http(identity: &Identity) -> Sessions {
        Sessions::carried(identity, Carrier::Http)
    }

    /// There is a connection to `peer`, whose far end is `addr`.
    pub fn connected(&mut self, peer: PeerId, addr: &Multiaddr) {
        if let Some(prefix) = Prefix::of(addr) {
            self.prefixes.insert(peer, prefix);
        }
    }

    /// There is no connection to `peer` any more; its session stays.
    pub fn disconnected(&mut self, peer: &PeerId) {
        self.prefixes.remove(peer);
    }
}
