//! The store on disk: one sled tree, files for large values, and a real fsync for every group.
//!
//! A row's key in sled is its table's byte followed by its key. A value is a marker byte and then
//! the value itself, or the name and length of a file (`blobs`). The store's own two rows are raw
//! big-endian numbers, so that any program can read the schema version before anything else.
//!
//! Invariants
//! 1. `apply` returns `Ok` only after the log is fsynced: sled's own flush ends with
//!    `sync_file_range`, which neither flushes the disk's cache nor the file's length.
//! 2. A group is one sled batch (several, cut between batches, where it is very large) and one
//!    flush; recovery takes a sled batch whole or not at all.
//! 3. After the first error nothing more is written until the store is opened again.
//! 4. A log that lost promised rows, at its end (`floor`) or in its middle (`tally`), is refused,
//!    never opened as if it were complete.
//!
//! Bounds: 48 KiB inline to a row, 16 MiB inline to a sled batch (or one `WriteBatch`, if that is
//! larger), 64 MiB of page cache.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::blobs::{BlobFault, BlobRef, Blobs};
use super::floor::Floor;
use super::opening::{self, Fault, Scan, StoredRow, guarded, private_dir, split_key};
use super::spare::sync_folder;
use super::tally::Tally;
use super::{SCHEMA_KEY, SCHEMA_VERSION, Store, StoreError, TALLY_KEY, check_rows, is_own_row};
use crate::types::{Keyspace, Row, WriteBatch, WriteOp};

/// Larger values become files. See `opening` for how this and sled's segments depend on each other.
const INLINE_MAX_BYTES: usize = 48 * 1024;
/// While sled applies a batch, its pages must not be pushed out of the cache before the batch is
/// sealed; a quarter of the cache leaves room.
const SLED_BATCH_MAX_BYTES: usize = 16 * 1024 * 1024;
/// How long a store that is in use is waited for: a predecessor may still be dying.
const LOCK_WAIT: Duration = Duration::from_secs(5);

const MARKER_INLINE: u8 = 0;
const MARKER_BLOB: u8 = 1;

/// The durable store.
pub struct SledStore {
    dir: PathBuf,
    /// Present until drop.
    db: Option<sled::Db>,
    /// Our own handle of sled's log: an error of the disk is told once to each.
    log: File,
    floor: Floor,
    blobs: Blobs,
    tally: Tally,
    /// What was read when it was opened, until it was handed over or something was written.
    read: RefCell<Option<Vec<StoredRow>>>,
    /// Whether a write failed, so that what the log holds is not known any more.
    failed: bool,
    /// Let go last.
    _lock: File,
}

/// A value as it stands in sled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stored<'a> {
    Inline(&'a [u8]),
    Blob(BlobRef),
}

impl<'a> Stored<'a> {
    /// Reads a row's value.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Stored<'a>, Fault> {
        let damaged = || Fault::Damaged(String::from("a row's value has no known form"));
        match bytes.split_first() {
            Some((&MARKER_INLINE, value)) => Ok(Stored::Inline(value)),
            Some((&MARKER_BLOB, named)) => {
                let (hash, bytes) = named.split_first_chunk().ok_or_else(damaged)?;
                let bytes = bytes.try_into().map_err(|_| damaged())?;
                Ok(Stored::Blob(BlobRef {
                    hash: *hash,
                    bytes: u64::from_be_bytes(bytes),
                }))
            }
            _ => Err(damaged()),
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Stored::Inline(value) => [&[MARKER_INLINE], *value].concat(),
            Stored::Blob(BlobRef { hash, bytes }) => {
                [&[MARKER_BLOB][..], hash, &bytes.to_be_bytes()].concat()
            }
        }
    }
}

impl SledStore {
    /// Opens the store in `dir`, and creates it if there is none. Blocks: up to 5 s where another
    /// process has it open, and as long as it takes to read every row once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(dir: &Path) -> Result<SledStore, StoreError> {
        SledStore::open_within(dir, LOCK_WAIT)
    }

    /// [`SledStore::open`] with another patience.
    pub(super) fn open_within(dir: &Path, wait: Duration) -> Result<SledStore, StoreError> {
        SledStore::try_open(dir, wait).map_err(|fault| fault.at(dir))
    }

    fn try_open(dir: &Path, wait: Duration) -> Result<SledStore, Fault> {
        let until = Instant::now() + wait;
        private_dir(dir)?;
        let lock = opening::lock(dir, until)?;
        let floor = Floor::open(dir)?;
        let groups = floor.as_ref().map(Floor::groups);
        let open = || opening::open_log(dir, until, |scan| judge(scan, groups));
        let (db, scan, found) = match open() {
            // The process or the power went while it was created: nothing was promised yet.
            Err(Fault::Damaged(what)) if groups.is_none() => {
                tracing::warn!(dir = %dir.display(), what, "moved a store aside that was never finished");
                opening::set_aside(dir)?;
                open()?
            }
            outcome => outcome?,
        };
        let log = OpenOptions::new()
            .read(true)
            .write(true)
            .open(dir.join("db"))?;
        // Files that no row names go: the rows are durable since the log was opened.
        let blobs = Blobs::open(dir, scan.blobs)?;
        sync_folder(dir)?;
        let floor = match (found, floor) {
            (Found::Complete, Some(floor)) => floor,
            (Found::Older, Some(floor)) => {
                raise(&db, &log)?;
                floor
            }
            _ => create(dir, &db, &log, scan.tally)?,
        };
        Ok(SledStore {
            dir: dir.to_path_buf(),
            db: Some(db),
            log,
            floor,
            blobs,
            tally: scan.tally,
            read: RefCell::new(Some(scan.rows)),
            failed: false,
            _lock: lock,
        })
    }

    fn db(&self) -> &sled::Db {
        self.db
            .as_ref()
            .expect("the log is there until the store is dropped")
    }

    /// Every row; the first time without another look at the log.
    fn read_all(&self) -> Result<Vec<Row>, Fault> {
        if let Some(read) = self.read.take() {
            let rows = read.into_iter();
            return rows.map(|(key, value)| self.row(&key, &value)).collect();
        }
        let mut rows = Vec::new();
        for row in self.db().iter() {
            let (key, value) = row?;
            let (space, rest) = split_key(&key)?;
            if !is_own_row(space, rest) {
                rows.push(self.row(&key, &value)?);
            }
        }
        Ok(rows)
    }

    fn row(&self, key: &[u8], stored: &[u8]) -> Result<Row, Fault> {
        let (space, key) = split_key(key)?;
        let value = match Stored::decode(stored)? {
            Stored::Inline(value) => value.to_vec(),
            Stored::Blob(blob) => self.blobs.read(&blob).map_err(|fault| match fault {
                BlobFault::Damaged(what) => Fault::Damaged(what),
                BlobFault::Io(error) => Fault::Io(error),
            })?,
        };
        Ok(Row {
            space,
            key: key.to_vec(),
            value,
        })
    }

    fn commit(&mut self, batches: &[WriteBatch]) -> Result<(), Fault> {
        check_rows(batches)?;
        let mut rest = batches;
        while !rest.is_empty() {
            let (group, later) = rest.split_at(group_len(rest));
            self.stage(group)?;
            rest = later;
        }
        self.db().flush()?;
        self.log.sync_data()?;
        self.floor.raise(self.tally.groups)?;
        self.blobs.collect();
        Ok(())
    }

    /// Hands one group to sled, its files first. Only what is left of each row at the group's end
    /// is written.
    fn stage(&mut self, group: &[WriteBatch]) -> Result<(), Fault> {
        let mut last: BTreeMap<Vec<u8>, Option<&[u8]>> = BTreeMap::new();
        for op in group.iter().flat_map(|batch| &batch.ops) {
            match op {
                WriteOp::Put { space, key, value } => {
                    last.insert(stored_key(*space, key), Some(value))
                }
                WriteOp::Delete { space, key } => last.insert(stored_key(*space, key), None),
            };
        }
        let mut batch = sled::Batch::default();
        let mut wrote_file = false;
        for (key, value) in last {
            let blob = value
                .filter(|value| value.len() > INLINE_MAX_BYTES)
                .map(BlobRef::of);
            if let (Some(blob), Some(value)) = (&blob, value) {
                wrote_file |= self.blobs.write(blob, value)?;
            }
            self.blobs.point(&key, blob.map(|blob| blob.hash));
            let before = self.db().get(&key)?;
            if let Some(before) = &before {
                self.tally.remove(&key, before);
            }
            let Some(value) = value else {
                // What was written and deleted within the group is not known to sled at all.
                if before.is_some() {
                    batch.remove(key);
                }
                continue;
            };
            let stored = blob.map_or(Stored::Inline(value), Stored::Blob).encode();
            self.tally.add(&key, &stored);
            batch.insert(key, stored);
        }
        if wrote_file {
            self.blobs.sync()?;
        }
        self.tally.groups += 1;
        batch.insert(stored_key(Keyspace::Meta, TALLY_KEY), &self.tally.encode());
        Ok(self.db().apply_batch(batch)?)
    }
}

impl Store for SledStore {
    fn load(&self) -> Result<Vec<Row>, StoreError> {
        guarded(|| self.read_all()).map_err(|fault| fault.at(&self.dir))
    }

    fn apply(&mut self, batches: &[WriteBatch]) -> Result<(), StoreError> {
        if batches.is_empty() {
            return Ok(());
        }
        if self.failed {
            let text = "an earlier write failed; restart the node so that it is read again";
            return Err(Fault::Io(io::Error::other(text)).at(&self.dir));
        }
        self.failed = true;
        self.read.take();
        guarded(|| self.commit(batches)).map_err(|fault| fault.at(&self.dir))?;
        self.failed = false;
        Ok(())
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        // sled flushes when its last handle goes, and panics if the disk refuses that.
        let db = self.db.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

/// What is in the folder.
enum Found {
    Complete,
    /// Written by an older program.
    Older,
    /// Nothing, or no floor: it is new, or the process that created it died before the last step.
    Unfinished,
}

/// Whether what was read can be what was written, of which so many groups are promised.
fn judge(scan: &Scan, floor: Option<u64>) -> Result<Found, Fault> {
    let damaged = |what: String| Err(Fault::Damaged(what));
    match (scan.schema, floor) {
        (Some(0), _) => damaged(String::from("it claims schema 0, which never was")),
        (Some(_), Some(floor)) if scan.tally.groups < floor => {
            let lost = floor - scan.tally.groups;
            damaged(format!(
                "the last {lost} of {floor} groups of writes are lost"
            ))
        }
        (Some(found), Some(_)) if found < SCHEMA_VERSION => Ok(Found::Older),
        (Some(_), Some(_)) => Ok(Found::Complete),
        (None, Some(_)) => damaged(String::from("everything in its log is lost")),
        (_, None) => Ok(Found::Unfinished),
    }
}

/// Makes the schema this program's, before a row of it is written. From 1 to 2 that is all; what
/// else a migration has to do goes here, in front, and must bear to be cut off and begun again.
fn raise(db: &sled::Db, log: &File) -> Result<(), Fault> {
    let key = stored_key(Keyspace::Meta, SCHEMA_KEY);
    guarded(|| Ok(db.insert(key.clone(), &SCHEMA_VERSION.to_be_bytes())?))?;
    guarded(|| Ok(db.flush()?))?;
    Ok(log.sync_all()?)
}

/// Writes the store's own rows, and makes them and the files they stand in durable, whose names
/// are; the floor comes last and says that all of it is.
fn create(dir: &Path, db: &sled::Db, log: &File, tally: Tally) -> Result<Floor, Fault> {
    let mut own = sled::Batch::default();
    own.insert(
        stored_key(Keyspace::Meta, SCHEMA_KEY),
        &SCHEMA_VERSION.to_be_bytes(),
    );
    own.insert(stored_key(Keyspace::Meta, TALLY_KEY), &tally.encode());
    guarded(|| Ok(db.apply_batch(own)?))?;
    guarded(|| Ok(db.flush()?))?;
    log.sync_all()?;
    File::open(dir.join("conf"))?.sync_all()?;
    fs::set_permissions(dir.join("blobs"), Permissions::from_mode(0o700))?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_folder(parent)?;
    }
    let floor = Floor::create(dir, tally.groups)?;
    sync_folder(dir)?;
    Ok(floor)
}

/// How many batches, at least one, go into one sled batch.
fn group_len(batches: &[WriteBatch]) -> usize {
    let mut bytes = 0;
    let fits = |batch: &&WriteBatch| {
        bytes += batch.ops.iter().map(inline_bytes).sum::<usize>();
        bytes <= SLED_BATCH_MAX_BYTES
    };
    batches.iter().take_while(fits).count().max(1)
}

fn inline_bytes(op: &WriteOp) -> usize {
    match op {
        WriteOp::Put { key, value, .. } if value.len() <= INLINE_MAX_BYTES => {
            key.len() + value.len()
        }
        WriteOp::Put { key, .. } | WriteOp::Delete { key, .. } => key.len(),
    }
}

fn stored_key(space: Keyspace, key: &[u8]) -> Vec<u8> {
    [&[space as u8], key].concat()
}
