//! Inputs and results that are too large for a message: which of them lie on our disk, and how long
//! each stays.
//!
//! A payload is known by the hash of its content and lies in a file of its own, whose name nobody
//! else ever had. It is here only once its bytes are on the disk and the row that says so is
//! written; a file without a row is nobody's. It stays while a task, ours or held, names it. One
//! that was handed over, and that no task was made for yet, stays for `SPARE_MS`, whoever names it
//! meanwhile.
//!
//! # Invariants
//! - **P1** A row names a file that was flushed before.
//! - **P2** A file is deleted only behind the batch that deletes its row, and that behind every batch
//!   that named it.
//!
//! # Bounds
//! [`PAYLOADS_MAX`] of them, of `max_bytes` together.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::proto::{RowError, Step};
use crate::types::limits::PAYLOADS_MAX;
use crate::types::{BatchId, FileRef, Keyspace, Mono, Now, PayloadFile, Row};
use crate::wire::cbor;

/// How long a payload stays that no task has named yet.
const SPARE_MS: u64 = 3_600_000;
/// How long what came for a task waits after a start until that task is told of again.
const GRACE_MS: u64 = 60_000;
const VERSION: u8 = 1;
const ROW_MAX_BYTES: usize = 1024;

/// What became of [`Payloads::keep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Kept {
    Taken(BatchId),
    /// The same content is here already: the new file is of no use.
    Known(BatchId),
    Full,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PayloadRecord {
    v: u8,
    file: Uuid,
    size: u64,
    /// It was handed over for a task to come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    spare: bool,
}

#[derive(Debug)]
struct Payload {
    at: PayloadFile,
    written: BatchId,
    /// Until when it stays though nobody may name it: it was handed over for a task to come.
    spare_until: Option<Mono>,
}

fn row(at: PayloadFile, spare: bool) -> Vec<u8> {
    let PayloadFile { file, size } = at;
    cbor::encode(&PayloadRecord {
        v: VERSION,
        file,
        size,
        spare,
    })
}

/// Every payload that is here.
#[derive(Debug)]
pub struct Payloads {
    files: BTreeMap<[u8; 32], Payload>,
    bytes: u64,
    /// Of what was accepted and has yet to come.
    coming_bytes: u64,
    max_bytes: u64,
}

impl Payloads {
    /// None yet, and never more than `max_bytes` together.
    pub fn new(max_bytes: u64) -> Payloads {
        Payloads {
            files: BTreeMap::new(),
            bytes: 0,
            coming_bytes: 0,
            max_bytes,
        }
    }

    /// Takes in a stored row.
    ///
    /// # Errors
    /// [`RowError`] when a row of ours does not read.
    pub fn load(&mut self, row: &Row, now: Now) -> Result<(), RowError> {
        if row.space != Keyspace::Payload {
            return Ok(());
        }
        let broken = |why: String| RowError {
            what: "payload",
            why,
        };
        let root = row.key[..].try_into();
        let root = root.map_err(|_| broken("its key has another length".into()))?;
        let record: PayloadRecord =
            cbor::decode(&row.value, ROW_MAX_BYTES).map_err(|error| broken(error.to_string()))?;
        if record.v != VERSION {
            let why = format!("it has version {}, this program reads {VERSION}", record.v);
            return Err(broken(why));
        }
        let PayloadRecord {
            file, size, spare, ..
        } = record;
        // How much of its hour has gone is not known.
        let stays_ms = if spare { SPARE_MS } else { GRACE_MS };
        let spare_until = Some(now.mono + stays_ms);
        let at = PayloadFile { file, size };
        self.insert(root, at, BatchId::NONE, spare_until);
        Ok(())
    }

    fn insert(
        &mut self,
        root: [u8; 32],
        at: PayloadFile,
        written: BatchId,
        spare_until: Option<Mono>,
    ) {
        self.bytes += at.size;
        let payload = Payload {
            at,
            written,
            spare_until,
        };
        self.files.insert(root, payload);
    }

    /// A payload that was handed over for a task to come; its bytes are on the disk in `file`.
    pub fn keep(&mut self, content: FileRef, file: Uuid, step: &mut Step<'_>) -> Kept {
        let kept = self.take(content, file, step);
        let Some(one) = self.files.get_mut(&content.root) else {
            return kept;
        };
        one.spare_until = Some(step.now.mono + SPARE_MS);
        one.written = step.put(Keyspace::Payload, content.root, row(one.at, true));
        match kept {
            Kept::Known(_) => Kept::Known(one.written),
            _ => kept,
        }
    }

    /// A payload that is named already; its bytes are on the disk in `file`.
    pub fn take(&mut self, content: FileRef, file: Uuid, step: &mut Step<'_>) -> Kept {
        let FileRef { root, size } = content;
        if let Some(known) = self.files.get(&root) {
            return Kept::Known(known.written);
        }
        if !self.has_room(size) {
            return Kept::Full;
        }
        let at = PayloadFile { file, size };
        let written = step.put(Keyspace::Payload, root, row(at, false));
        self.insert(root, at, written, None);
        Kept::Taken(written)
    }

    /// The task that it was handed over for names it from now on.
    pub fn named(&mut self, root: &[u8; 32]) {
        if let Some(one) = self.files.get_mut(root) {
            one.spare_until = None;
        }
    }

    /// So much was accepted and is still to come: it has its room already.
    pub fn expect(&mut self, coming_bytes: u64) {
        self.coming_bytes = coming_bytes;
    }

    /// Whether one more of this size fits.
    pub fn has_room(&self, size: u64) -> bool {
        self.files.len() < PAYLOADS_MAX && self.would_have_room(size, 0)
    }

    /// Whether it would fit if `spare` bytes were let go.
    pub fn would_have_room(&self, size: u64, spare: u64) -> bool {
        let left = self.bytes.saturating_sub(spare);
        left.saturating_add(self.coming_bytes).saturating_add(size) <= self.max_bytes
    }

    /// Where a payload lies, and the batch that rests on.
    pub fn file(&self, root: &[u8; 32]) -> Option<(PayloadFile, BatchId)> {
        self.files.get(root).map(|one| (one.at, one.written))
    }

    /// Whether exactly this is here.
    pub fn has(&self, content: &FileRef) -> bool {
        let size = |one: &Payload| one.at.size == content.size;
        self.files.get(&content.root).is_some_and(size)
    }

    /// The files that are somebody's.
    pub fn files(&self) -> impl Iterator<Item = Uuid> {
        self.files.values().map(|one| one.at.file)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Forgets what none of `named` is, and returns the files that may be deleted behind this batch.
    pub fn sweep(&mut self, named: &BTreeSet<[u8; 32]>, step: &mut Step<'_>) -> Vec<Uuid> {
        let now = step.now.mono;
        let mut gone = Vec::new();
        self.files.retain(|root, one| {
            if named.contains(root) || one.spare_until.is_some_and(|until| now < until) {
                return true;
            }
            step.delete(Keyspace::Payload, *root);
            self.bytes -= one.at.size;
            gone.push(one.at.file);
            false
        });
        gone
    }
}
