//! Identifiers. Random and durable ones are wide; counters local to one process are `u64`.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IdError(pub &'static str);

/// The durable identity of an agent: SHA-256 of its inception document (32 bytes).
///
/// Written as `ent1` followed by 52 lower-case base32 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityId(#[serde(with = "serde_bytes")] pub [u8; 32]);

const ENTITY_PREFIX: &str = "ent1";

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = BASE32_NOPAD.encode(&self.0).to_lowercase();
        write!(f, "{ENTITY_PREFIX}{body}")
    }
}

impl EntityId {
    /// Its end, behind `…`: enough for a person, and taken by commands in place of the whole.
    pub fn end(&self) -> String {
        const SHOWN: usize = 12;
        let text = self.to_string();
        format!("…{}", &text[text.len() - SHOWN..])
    }
}

impl fmt::Debug for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntityId({self})")
    }
}

impl FromStr for EntityId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let body = text
            .strip_prefix(ENTITY_PREFIX)
            .ok_or(IdError("an entity id begins with ent1"))?;
        let bytes = BASE32_NOPAD
            .decode(body.to_ascii_uppercase().as_bytes())
            .map_err(|_| IdError("an entity id is ent1 and 52 base32 characters"))?;
        let bytes = bytes
            .try_into()
            .map_err(|_| IdError("an entity id is ent1 and 52 base32 characters"))?;
        Ok(EntityId(bytes))
    }
}

/// 32 random bytes: the freshness of a message, and the blinding of its signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nonce(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::from_str(text).map($name).map_err(|_| IdError(concat!($what, " is a UUID")))
            }
        }
    };
}

uuid_id!(
    /// One end-to-end session (UUID v4, chosen by the initiator).
    SessionId,
    "a session id"
);
uuid_id!(
    /// One task (UUID v7, chosen at submission; doubles as its idempotency key).
    TaskId,
    "a task id"
);
uuid_id!(
    /// One wake-up as its sender counts it (UUID v7).
    WakeId,
    "a wake id"
);
uuid_id!(
    /// One talk or report (UUID v7, chosen by its sender; a resend carries the same).
    MessageId,
    "a message id"
);
uuid_id!(
    /// One transfer of a file (UUID v7, chosen by its sender).
    TransferId,
    "a transfer id"
);

macro_rules! counter_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter_id!(
    /// Which start of a process this is: random, new at every start, never stored.
    BootId
);
counter_id!(
    /// Orders the assignments of one task: stored, and strictly increasing.
    FencingToken
);
counter_id!(
    /// A request we sent and await the response of.
    ExchangeId
);
counter_id!(
    /// A request somebody sent us and awaits our response to.
    InboundId
);
counter_id!(
    /// A command from the API that awaits its reply.
    CommandId
);
counter_id!(
    /// A piece of slow work that runs outside the core.
    JobId
);
counter_id!(
    /// One run of a capability's command.
    RunId
);
counter_id!(
    /// One run of the wake hook.
    HookId
);
counter_id!(
    /// A message that was handed in and awaits its settlement, and a talk its answer.
    DeliveryId
);
counter_id!(
    /// An incoming bulk stream that asks which chunks are wanted.
    BulkId
);
counter_id!(
    /// A gossip message that awaits our verdict before it is forwarded.
    GossipId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_id_survives_its_text_form() {
        let id = EntityId([7; 32]);
        assert_eq!(id.to_string().parse::<EntityId>(), Ok(id));
        assert!("ent1zz".parse::<EntityId>().is_err());
        assert!("x".parse::<EntityId>().is_err());
        // A long s is an S in upper case, and no character of base32.
        let bent = EntityId([0x94; 32]).to_string().replace('s', "ſ");
        assert!(bent.contains('ſ') && bent.parse::<EntityId>().is_err());
    }
}
