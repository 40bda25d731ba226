//! Inputs and results that are too large for a message.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A payload by its content, which is the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// The BLAKE3 hash of it all.
    #[serde(with = "serde_bytes")]
    pub root: [u8; 32],
    pub size: u64,
}

/// Where a payload lies: the name of a file of ours. A copy that comes later has another, so that
/// none is deleted in the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadFile {
    pub file: Uuid,
    pub size: u64,
}
