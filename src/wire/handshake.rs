//! The bodies of the three handshake messages and of the ready that answers the last.

use serde::{Deserialize, Serialize};

use crate::types::{Nonce, PeerId, SessionId};

/// The version this program speaks.
pub const PROTOCOL_VERSION: &str = "1.1";
/// X25519, HKDF-SHA-256, AES-256-GCM, Ed25519.
pub const SUITE: u16 = 1;

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
    #[serde(with = "serde_bytes")]
    pub share: [u8; 32],
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
    pub share: [u8; 32],
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
