//! Values too large for sled's pages, each in a file named by the SHA-256 of its content.
//!
//! Invariants
//! 1. A file that a row names is complete and fsynced, its folder entry too, before that row is
//!    handed to sled.
//! 2. A file is deleted only after the flush of the batch that dropped the last row naming it, and
//!    only if no row, durable or pending, names it then.
//! 3. What a crash leaves behind (temporary files, files without a row) is deleted at open.
//!
//! Which row names which file is derived from the rows at open and kept in memory: one entry of
//! about 100 bytes for each large row.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::opening::private_dir;

const FOLDER: &str = "payloads";
const TEMPORARY: &str = "new.tmp";

/// The SHA-256 of a file's content, and its name.
pub(super) type Hash = [u8; 32];

/// What a row holds in place of a large value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlobRef {
    pub(super) hash: Hash,
    pub(super) bytes: u64,
}

impl BlobRef {
    /// The reference to `value`.
    pub(super) fn of(value: &[u8]) -> BlobRef {
        BlobRef {
            hash: Sha256::digest(value).into(),
            bytes: value.len() as u64,
        }
    }

    fn file_name(&self) -> String {
        HEXLOWER.encode(&self.hash)
    }
}

/// Why a file could not be read back.
#[derive(Debug)]
pub(super) enum BlobFault {
    /// It is missing, or not what its name says.
    Damaged(String),
    Io(io::Error),
}

/// The folder of large values.
#[derive(Debug)]
pub(super) struct Blobs {
    dir: PathBuf,
    /// The rows whose value is a file, by their whole key.
    rows: BTreeMap<Vec<u8>, Hash>,
    /// How many of them name each file; never zero.
    uses: BTreeMap<Hash, usize>,
    /// Files whose last row went in a batch that is not flushed yet.
    dropped: BTreeSet<Hash>,
}

impl Blobs {
    /// Opens the folder below `dir`, makes it if it is not there, and deletes what no row of
    /// `rows` names.
    pub(super) fn open(dir: &Path, rows: BTreeMap<Vec<u8>, Hash>) -> io::Result<Blobs> {
        let dir = dir.join(FOLDER);
        private_dir(&dir)?;
        let mut uses = BTreeMap::new();
        for hash in rows.values() {
            *uses.entry(*hash).or_insert(0) += 1;
        }
        let blobs = Blobs {
            dir,
            rows,
            uses,
            dropped: BTreeSet::new(),
        };
        blobs.sweep()?;
        Ok(blobs)
    }

    /// Makes sure that the file of `value` is there. Says whether it is new: then it is durable
    /// once [`Blobs::sync`] has returned.
    pub(super) fn write(&self, blob: &BlobRef, value: &[u8]) -> io::Result<bool> {
        if self.uses.contains_key(&blob.hash) || self.dropped.contains(&blob.hash) {
            return Ok(false);
        }
        let temporary = self.dir.join(TEMPORARY);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(value)?;
        file.sync_all()?;
        fs::rename(&temporary, self.dir.join(blob.file_name()))?;
        Ok(true)
    }

    /// Makes the folder's entries durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// Says that the row `key` now names `hash`, or no file any more.
    pub(super) fn point(&mut self, key: &[u8], hash: Option<Hash>) {
        // The new name is counted first: a row that is written again with the same value must not
        // let its file go in between.
        if let Some(hash) = hash {
            *self.uses.entry(hash).or_insert(0) += 1;
            self.dropped.remove(&hash);
        }
        let before = match hash {
            Some(hash) => self.rows.insert(key.to_vec(), hash),
            None => self.rows.remove(key),
        };
        let Some(before) = before else { return };
        let Some(count) = self.uses.get_mut(&before) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.uses.remove(&before);
            self.dropped.insert(before);
        }
    }

    /// Deletes the files that no row names since the flush that just returned.
    pub(super) fn collect(&mut self) {
        for hash in std::mem::take(&mut self.dropped) {
            // One that cannot be deleted wastes space until the next open sweeps it.
            let _ = fs::remove_file(self.dir.join(HEXLOWER.encode(&hash)));
        }
    }

    /// Reads a value back and checks it against its name.
    pub(super) fn read(&self, blob: &BlobRef) -> Result<Vec<u8>, BlobFault> {
        let name = blob.file_name();
        let damaged = |what: &str| BlobFault::Damaged(format!("the file {FOLDER}/{name} {what}"));
        let file = match File::open(self.dir.join(&name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("is missing"));
            }
            Err(error) => return Err(BlobFault::Io(error)),
        };
        // The length stands in the row: a file that grew is not read into memory.
        let mut value = Vec::new();
        file.take(blob.bytes.saturating_add(1))
            .read_to_end(&mut value)
            .map_err(BlobFault::Io)?;
        if BlobRef::of(&value) != *blob {
            return Err(damaged("does not hold what its name says"));
        }
        Ok(value)
    }

    fn sweep(&self) -> io::Result<()> {
        let is_ours = |name: &str| {
            name == TEMPORARY
                || HEXLOWER
                    .decode(name.as_bytes())
                    .is_ok_and(|hash| hash.len() == size_of::<Hash>())
        };
        let is_named = |name: &str| {
            HEXLOWER
                .decode(name.as_bytes())
                .ok()
                .and_then(|hash| Hash::try_from(hash).ok())
                .is_some_and(|hash| self.uses.contains_key(&hash))
        };
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            // What we did not write stays where it is.
            if let Some(name) = name.to_str()
                && is_ours(name)
                && !is_named(name)
            {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}
