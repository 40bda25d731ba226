//! Files from node to node: who sends what to whom, which chunks have arrived, and what becomes of
//! a transfer that breaks off. Bytes never come here: the runtime reads, checks and writes them.
//!
//! ```text
//! sender:    hashing ──▶ offered ⇄ streaming ──▶ completed        failed, canceled from anywhere
//! receiver:  preparing ──▶ receiving ──▶ storing ──▶ completed
//! ```
//! A sender repeats its offer until the answer is final. The answer is always what is durable at
//! the receiver, so a lost stream, connection or process of either side costs a repeated offer
//! and the chunks that were not yet recorded.
//!
//! A file that is a part of a task ([`crate::wire::Purpose`]) needs no name: it is where it belongs
//! from its first byte on, and is handed on ([`ReceiveEffect::Part`]) when its last chunk is
//! recorded. Nothing of the transfer stays then.
//!
//! # Invariants
//! - **X1** A chunk counts as arrived only once its bytes are flushed, and is told to the sender
//!   only once the row that says so is.
//! - **X2** `complete` is said only when the file has its name and the row that says so is durable.
//! - **X3** A transfer's manifest never changes; a terminal state never does.
//! - **X4** Nothing is taken from a peer but by the transfer's own sender.
//! - **X5** The chunks of a completed transfer had the hashes of the manifest, whose root the
//!   sender signed.
//! - **X6** What an offer says decides in no way which file on our disk is written or deleted.
//!
//! # Bounds
//! `TRANSFERS_MAX`, `TRANSFERS_KEPT`, `CHUNKS_MAX`, `BULK_STREAMS_MAX`, `CHUNK_ERRORS_MAX`,
//! `TRANSFER_IDLE_MS` of [`crate::types::limits`].

mod incoming;
mod kept;
mod manifest;
mod name;
mod outgoing;
mod record;

#[cfg(test)]
mod tests;

pub use incoming::{
    Offered, ReceiveEffect, ReceivePlan, Received, Receives, ReceivesConfig, StoreOutcome,
};
pub use manifest::{ChunkSet, Manifest};
pub use name::{numbered_name, safe_name};
pub use outgoing::{NewFile, SendEffect, SendEnd, SendPlan, Sends, Sent, Submitted};
pub use record::{ReceivedRecord, ReceivedState, SentRecord, SentState};

use crate::proto::RowError;
use crate::types::limits::{TRANSFER_IDLE_MS, TRANSFER_REASON_MAX_BYTES};
use crate::types::{Mono, Now, TransferId, Wall};
use uuid::Uuid;

/// Streams with one peer, in each direction.
const STREAMS_PER_PEER_MAX: usize = 4;
/// A transfer that a restart finds idle gets at least so long.
const GRACE_MS: u64 = 3_600_000;

/// An unfinished file: a name that no other file ever had and no peer chose, and in which of two
/// folders it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partial {
    pub file: Uuid,
    /// A part of a task, which stays under this name.
    pub payload: bool,
}

/// When a transfer that last moved at `changed` by the wall clock has been idle for too long.
fn idle_at(changed: Wall, now: Now) -> Mono {
    let age_ms = now.wall.0.saturating_sub(changed.0);
    let left_ms = TRANSFER_IDLE_MS.saturating_sub(age_ms);
    now.mono + left_ms.max(GRACE_MS)
}

fn transfer_key(bytes: &[u8]) -> Result<TransferId, RowError> {
    Uuid::from_slice(bytes)
        .map(TransferId)
        .map_err(|_| RowError {
            what: "transfer",
            why: "its key has another length".into(),
        })
}

/// A reason of bounded length.
fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(TRANSFER_REASON_MAX_BYTES));
    reason
}
