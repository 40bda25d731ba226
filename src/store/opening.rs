//! Opening a sled log that may be locked, half created, or damaged.
//!
//! What is handled here, each seen with sled 0.34.7:
//! - a predecessor that is still dying holds the lock for some milliseconds: wait, with backoff;
//! - a snapshot cut off in the middle (`snap.*.generating`, or one that fails its check) makes sled
//!   refuse the whole log, which may be whole: it is read without;
//! - what sled writes while it opens a log can lose all of it: it is copied first (`spare`);
//! - bytes that make no sense are met by assertions as often as by errors: a panic is a finding
//!   about the files, not about this program;
//! - pages are read lazily: everything is read once before the log is trusted.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::blobs::Hash;
use super::sled::Stored;
use super::spare;
use super::tally::Tally;
use super::{SCHEMA_KEY, SCHEMA_VERSION, StoreError, TALLY_KEY, is_own_row};
use crate::types::Keyspace;

/// Held by whoever has the store open.
const LOCK_FILE: &str = "lock";
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// sled's page cache; its default is 1 GiB.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
const FLUSH_EVERY_MS: u64 = 500;
/// A page that is larger than a quarter of a segment goes to a file of its own, which sled neither
/// fsyncs nor ever deletes. A leaf holds up to 16 rows and up to 20 while it merges; with our cap
/// of 48 KiB to a row they stay below 1 MiB, so a segment has four.
const SEGMENT_BYTES: usize = 4 * 1024 * 1024;

const MIB: u64 = 1 << 20;

/// What is wrong, before it has a path.
#[derive(Debug)]
pub(super) enum Fault {
    Locked,
    Damaged(String),
    Newer(u32),
    /// So many bytes are needed to copy the log, and so many are free.
    NoRoom {
        needed: u64,
        free: u64,
    },
    Io(io::Error),
}

impl Fault {
    /// The error with its path.
    pub(super) fn at(self, dir: &Path) -> StoreError {
        let path = dir.display().to_string();
        match self {
            Fault::Locked => StoreError::InUse { path },
            Fault::Damaged(what) => StoreError::Damaged { path, what },
            Fault::Newer(found) => StoreError::Newer { path, found },
            Fault::NoRoom { needed, free } => StoreError::NoRoom {
                path,
                needed_mib: needed.div_ceil(MIB),
                free_mib: free / MIB,
            },
            Fault::Io(source) => StoreError::Io { path, source },
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error)
    }
}

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Fault {
        match error {
            // sled gives a lock that is held no kind of its own.
            sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock") => {
                Fault::Locked
            }
            sled::Error::Io(error) => Fault::Io(error),
            sled::Error::Corruption { .. } => Fault::Damaged(String::from(
                "its log or settings do not match their checksums",
            )),
            sled::Error::Unsupported(what) | sled::Error::ReportableBug(what) => {
                Fault::Damaged(what)
            }
            sled::Error::CollectionNotFound(_) => {
                Fault::Damaged(String::from("its log names a table that is not there"))
            }
        }
    }
}

/// Runs what may panic on damaged files.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // Whatever `work` touched is dropped or never used again by the callers.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Fault::Damaged(text_of(&*panic))))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given");
    let line: String = text
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect();
    format!("its log cannot be read: {line}")
}

/// Makes the folder if it is not there, for its owner alone.
pub(super) fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))
}

/// Takes the store's lock. It is let go with the file.
pub(super) fn lock(dir: &Path, until: Instant) -> Result<File, Fault> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join(LOCK_FILE))?;
    while_locked(until, || match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Fault::Locked),
        Err(TryLockError::Error(error)) => Err(Fault::Io(error)),
    })?;
    Ok(file)
}

/// Repeats `attempt` as long as a lock is in its way, until a time.
fn while_locked<T>(until: Instant, attempt: impl Fn() -> Result<T, Fault>) -> Result<T, Fault> {
    let mut pause = BACKOFF_FIRST;
    loop {
        match attempt() {
            Err(Fault::Locked) if Instant::now() < until => {
                thread::sleep(pause.min(until.saturating_duration_since(Instant::now())));
                pause = (pause * 2).min(BACKOFF_MAX);
            }
            outcome => return outcome,
        }
    }
}

/// A row's key and value in sled.
pub(super) type StoredRow = (sled::IVec, sled::IVec);

/// What a first reading of every row found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) schema: Option<u32>,
    pub(super) tally: Tally,
    /// All but the store's own, as they stand in sled.
    pub(super) rows: Vec<StoredRow>,
    /// The rows whose value is a file.
    pub(super) blobs: BTreeMap<Vec<u8>, Hash>,
}

/// Opens the log, reads it once, and has it judged. The caller holds the store's lock.
pub(super) fn open_log<T>(
    dir: &Path,
    until: Instant,
    judge: impl Fn(&Scan) -> Result<T, Fault>,
) -> Result<(sled::Db, Scan, T), Fault> {
    let attempt = || {
        guarded(|| {
            let (db, scan) = open_and_scan(dir)?;
            let found = judge(&scan)?;
            Ok((db, scan, found))
        })
    };
    while_locked(until, || {
        spare::open_over(dir, || while_locked(until, attempt))
    })
}

fn open_and_scan(dir: &Path) -> Result<(sled::Db, Scan), Fault> {
    let db = sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SEGMENT_BYTES)
        .use_compression(false)
        .flush_every_ms(Some(FLUSH_EVERY_MS))
        .open()?;
    let mut scan = Scan::default();
    let mut found = Tally::default();
    for row in db.iter() {
        let (key, value) = row?;
        let (space, rest) = split_key(&key)?;
        if is_own_row(space, rest) {
            match rest {
                SCHEMA_KEY => {
                    let schema = decode_schema(&value)?;
                    if schema > SCHEMA_VERSION {
                        // Its row comes before all others, whose tables may be unknown here.
                        return Err(Fault::Newer(schema));
                    }
                    scan.schema = Some(schema);
                }
                TALLY_KEY => scan.tally = Tally::decode(&value)?,
                _ => {}
            }
            continue;
        }
        found.add(&key, &value);
        if let Stored::Blob(blob) = Stored::decode(&value)? {
            scan.blobs.insert(key.to_vec(), blob.hash);
        }
        scan.rows.push((key, value));
    }
    if !found.agrees_with(&scan.tally) {
        return Err(Fault::Damaged(String::from(
            "its rows are not those that were written",
        )));
    }
    Ok((db, scan))
}

fn decode_schema(value: &[u8]) -> Result<u32, Fault> {
    let bytes = value.try_into().map_err(|_| {
        Fault::Damaged(String::from(
            "the row with its schema version has the wrong length",
        ))
    })?;
    Ok(u32::from_be_bytes(bytes))
}

/// The table and the key within it.
pub(super) fn split_key(stored: &[u8]) -> Result<(Keyspace, &[u8]), Fault> {
    stored
        .split_first()
        .and_then(|(byte, rest)| Some((Keyspace::from_byte(*byte)?, rest)))
        .ok_or_else(|| Fault::Damaged(String::from("a row stands in no known table")))
}

/// Renames sled's files so that it begins anew.
pub(super) fn set_aside(dir: &Path) -> io::Result<()> {
    for name in ["db", "conf"] {
        match fs::rename(dir.join(name), dir.join(format!("unfinished.{name}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
