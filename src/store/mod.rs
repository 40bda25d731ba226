//! L3: the store applies batches of rows and hands them back at start. It knows no row's meaning.
//!
//! Two backends, one contract (`tests.rs` runs it over both): [`SledStore`] on disk, and
//! [`MemoryStore`] for tests, which forgets nothing as long as one clone of it lives.

mod blobs;
mod floor;
mod memory;
mod opening;
mod sled;
mod spare;
mod tally;
#[cfg(test)]
mod tests;

pub use self::memory::MemoryStore;
pub use self::sled::SledStore;
pub use self::spare::room;

use std::io;

use crate::types::{Keyspace, Row, WriteBatch, WriteOp};

/// The layout of rows this program writes. A store with a higher number is refused by name.
///
/// - 1: the first.
/// - 2: rows of tasks have version 2 and more tables may have rows. Nothing is rewritten: rows of
///   version 1 are read as they are.
pub const SCHEMA_VERSION: u32 = 2;

/// The row in [`Keyspace::Meta`] that holds the schema version: `u32`, big-endian.
const SCHEMA_KEY: &[u8] = b"schema";
/// The row in [`Keyspace::Meta`] that says what the rows add up to (`tally`).
const TALLY_KEY: &[u8] = b"tally";

/// What went wrong with the store, in a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store at {path} is in use by another process: stop that one first")]
    InUse { path: String },
    /// Its bytes do not make sense.
    #[error(
        "the store at {path} is damaged ({what}): restore a backup, or move the folder aside to start empty"
    )]
    Damaged { path: String, what: String },
    /// A newer program wrote it.
    #[error(
        "the store at {path} has schema {found}, this program knows up to {SCHEMA_VERSION}: update Junto"
    )]
    Newer { path: String, found: u32 },
    /// Its log cannot be copied, which is done before it is opened.
    #[error(
        "the store at {path} cannot be opened: No space left on its disk. It takes {needed_mib} MiB \
         for a copy of its log, and {free_mib} MiB are free there: free some, then start again; \
         nothing of the store was changed"
    )]
    NoRoom {
        path: String,
        needed_mib: u64,
        free_mib: u64,
    },
    /// The disk refused.
    #[error("the store at {path} cannot be written or read: {source}")]
    Io { path: String, source: io::Error },
}

/// A durable table of rows. Blocking: the runtime gives it a thread of its own.
///
/// The rows `schema` and `tally` of [`Keyspace::Meta`] belong to the store itself: `load` leaves
/// them out and `apply` refuses a batch that touches them.
pub trait Store: Send {
    /// Every row.
    ///
    /// # Errors
    /// [`StoreError`].
    fn load(&self) -> Result<Vec<Row>, StoreError>;

    /// Applies the batches in order, each whole or not at all. On return all of them survive a
    /// power cut (a real fsync, not only a write). After an error any suffix may be missing.
    ///
    /// # Errors
    /// [`StoreError`]; the caller must reload before it promises anything again.
    fn apply(&mut self, batches: &[WriteBatch]) -> Result<(), StoreError>;
}

/// Whether the row is one of the store's own.
fn is_own_row(space: Keyspace, key: &[u8]) -> bool {
    space == Keyspace::Meta && (key == SCHEMA_KEY || key == TALLY_KEY)
}

/// Refuses batches that touch a row of the store's own.
fn check_rows(batches: &[WriteBatch]) -> io::Result<()> {
    let touches_own = |op: &WriteOp| match op {
        WriteOp::Put { space, key, .. } | WriteOp::Delete { space, key } => is_own_row(*space, key),
    };
    if batches.iter().flat_map(|batch| &batch.ops).any(touches_own) {
        let text = "the rows `schema` and `tally` belong to the store itself";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}
