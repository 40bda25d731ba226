//! L3: the store applies batches of rows and hands them back at start. It knows no row's meaning.

mod memory;
mod sled;

pub use self::memory::MemoryStore;
pub use self::sled::SledStore;

use crate::types::{Row, WriteBatch};

/// The layout of rows this program writes. A store with a higher number is refused by name.
pub const SCHEMA_VERSION: u32 = 1;

/// What went wrong with the store, in a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store at {path} is in use by another process: stop that one first")]
    InUse { path: String },
    /// Its bytes do not make sense.
    #[error("the store at {path} is damaged ({what}): restore a backup, or move the folder aside to start empty")]
    Damaged { path: String, what: String },
    /// A newer program wrote it.
    #[error("the store at {path} has schema {found}, this program knows up to {SCHEMA_VERSION}: update Junto")]
    Newer { path: String, found: u32 },
    /// The disk refused.
    #[error("the store at {path} cannot be written or read: {source}")]
    Io { path: String, source: std::io::Error },
}

/// A durable table of rows. Blocking: the runtime gives it a thread of its own.
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
