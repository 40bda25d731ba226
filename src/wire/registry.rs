//! Registry exchange (what each side lacks), and ping.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::left_out;
use crate::types::EntityId;

/// One line of a digest: the entry this side has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryHave {
    pub entity_id: EntityId,
    pub seq: u64,
    /// How often its key was rotated: that counts before the number.
    #[serde(
        default,
        skip_serializing_if = "left_out::is_default",
        deserialize_with = "left_out::number"
    )]
    pub rotations: u32,
}

/// Asks for what the sender lacks, or hands over what the other asked for, or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrySync {
    /// All the sender has; absent when it asks for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<Vec<RegistryHave>>,
    pub entries: Vec<ByteBuf>,
}

/// Entries the asker lacks, and those it has newer and should send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryEntries {
    pub entries: Vec<ByteBuf>,
    pub want: Vec<EntityId>,
    /// There is more than fitted: ask again.
    pub more: bool,
}

/// Asks for a pong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ping {}

/// Answers a ping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pong {}
