//! The bodies of the three handshake messages and of the ready that answers the last.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::left_out;
use crate::types::limits::OFFERS_MAX;
use crate::types::{Nonce, PeerId, SessionId};

/// The version that handshakes and errors are written in, and the best this program speaks.
pub const PROTOCOL_VERSION: &str = "1.1";
/// The version before: signed, in clear, without sessions. Spoken only where the owner allows it.
pub const VERSION_1_0: &str = "1.0";
/// The versions a session may have, the best first.
pub const VERSIONS: &[&str] = &[PROTOCOL_VERSION];

/// The best version of ours (which stand in order, the best first) that is among theirs.
pub fn best_common<'a>(ours: &[&'a str], theirs: &[String]) -> Option<&'a str> {
    ours.iter().copied().find(|v| theirs.iter().any(|t| t == v))
}

/// M1. The header names the initiator, its nonce and the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handshake {
    pub versions: Vec<String>,
    pub suites: Vec<u16>,
    pub session_id: SessionId,
    /// The responder by its transport identity, which a first caller knows before its entity.
    pub to_peer: PeerId,
    /// The initiator's signed registry entry.
    #[serde(with = "serde_bytes")]
    pub entry: Vec<u8>,
    /// The key share of the first suite.
    #[serde(with = "serde_bytes")]
    pub share: Vec<u8>,
    /// The shares of the other suites, in their order.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "left_out::list"
    )]
    pub shares: Vec<ByteBuf>,
    /// What the responder gave under load, when M1 is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    pub cookie: Option<[u8; 32]>,
}

impl Handshake {
    /// Each suite with its share; none when there are not as many, or too many.
    pub fn offers(&self) -> Option<Vec<(u16, &[u8])>> {
        let rest = self.shares.iter().map(|share| share.as_slice());
        let shares: Vec<&[u8]> = std::iter::once(&self.share[..]).chain(rest).collect();
        let fits = self.suites.len() == shares.len() && shares.len() <= OFFERS_MAX;
        fits.then(|| self.suites.iter().copied().zip(shares).collect())
    }
}

/// M2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandshakeAck {
    pub version: String,
    pub suite: u16,
    pub session_id: SessionId,
    #[serde(with = "serde_bytes")]
    pub entry: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub share: Vec<u8>,
}

/// M3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    pub session_id: SessionId,
    /// The nonce of M2.
    pub answers: Nonce,
}

/// The sealed answer to M3: the session is live on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {}
