//! Who may speak version 1.0, and with what.

use crate::crypto::{Inception, PublicKey};
use crate::types::EntityId;
use crate::wire::{MsgType, PROTOCOL_VERSION, WireError};

/// An entity that may speak version 1.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// Its key is the registry's to tell.
    Entity(EntityId),
    /// Its founding document holds its key, should the registry not know it, nor that it rotated.
    Inception(Box<Inception>),
}

impl Allowed {
    /// Who is meant.
    pub fn entity(&self) -> EntityId {
        match self {
            Allowed::Entity(entity) => *entity,
            Allowed::Inception(inception) => inception.entity_id(),
        }
    }
}

/// What the registry says of the sender.
#[derive(Debug, Clone, Copy)]
pub enum Known<'a> {
    /// It has its entry.
    Entry {
        key: PublicKey,
        versions: &'a [String],
        /// Whether it names the PeerId that the message came through; true where there is none.
        speaks_through: bool,
    },
    /// It rotated its key, and the entry that would say to which has expired: its founding key is
    /// not its key any more.
    Rotated,
}

/// The key that a message of `allowed` must be signed with.
pub(super) fn key_of(allowed: &Allowed, known: Option<Known<'_>>) -> Result<PublicKey, WireError> {
    match (known, allowed) {
        (Some(Known::Entry { versions, .. }), _)
            if versions.iter().any(|v| v == PROTOCOL_VERSION) =>
        {
            Err(WireError::EncryptionRequired)
        }
        (
            Some(Known::Entry {
                key,
                speaks_through: true,
                ..
            }),
            _,
        ) => Ok(key),
        (Some(Known::Entry { .. } | Known::Rotated), _) => Err(WireError::UnknownSender),
        (None, Allowed::Inception(inception)) => Ok(inception.key),
        (None, Allowed::Entity(_)) => Err(WireError::UnknownSender),
    }
}

/// Version 1.0 shakes no hands.
pub(super) fn is_handshake(msg_type: MsgType) -> bool {
    matches!(
        msg_type,
        MsgType::Handshake | MsgType::HandshakeAck | MsgType::HandshakeConfirm | MsgType::Ready
    )
}

/// What anybody on the way may read. A task is not among them: its input would travel in clear,
/// and its result could not come back, because it is sent in a session.
pub(super) fn may_be_clear(msg_type: MsgType) -> bool {
    matches!(
        msg_type,
        MsgType::Ping
            | MsgType::Heartbeat
            | MsgType::StatusReport
            | MsgType::CapabilityQuery
            | MsgType::WakeUp
    )
}
