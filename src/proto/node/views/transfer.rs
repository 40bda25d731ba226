//! Transfers as the API shows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which way a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// We send it.
    Out,
    /// We receive it.
    In,
}

/// A file sent or received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransferView {
    pub id: String,
    pub direction: Direction,
    /// The other side's entity id.
    pub peer: String,
    pub name: String,
    /// Where it is: the path of a file we send; of one we received, its name in the folder of
    /// received files.
    pub path: Option<String>,
    /// `hashing`, `waiting`, `sending`, `receiving`, `storing`, `completed`, `failed` or
    /// `canceled`.
    pub state: String,
    pub size: u64,
    /// What is on the receiver's disk, as far as this side knows.
    pub done_bytes: u64,
    /// What went over the network since this node started.
    pub moved_bytes: u64,
    /// BLAKE3, in hex; absent until it is known.
    pub hash: Option<String>,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339; when the state last changed.
    pub changed: String,
    /// Why it failed or was canceled.
    pub reason: Option<String>,
    /// Another whenever something above changed: what to wait for.
    pub revision: u64,
}

impl TransferView {
    /// Whether nothing follows.
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "completed" | "failed" | "canceled")
    }
}
