//! A spare copy of sled's log and snapshots for as long as sled opens them.
//!
//! Opening is when sled writes to what it reads: it puts a new snapshot in place, deletes the old
//! one, and clears segments that are not used any more, and flushes the folder nowhere in between.
//! A power cut there may leave a log without its snapshot; sled takes such a log for empty, and
//! clears the rest. A snapshot that is damaged leads to the same. So sled opens nothing of which
//! there is no copy.
//!
//! # Invariants
//! 1. While `aside.db` is there, it and the snapshots beside it are whole and durable, and count;
//!    the log itself does not.
//! 2. It is gone for good before anything that the opened log shows is told, or anything written.
//!
//! # Costs
//! A copy of the log at each start, and the room for it. Where there is none nothing is opened, and
//! everything is as it was.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::opening::Fault;

const LOG: &str = "db";
const SNAPSHOT: &str = "snap.";
/// What sled appends to the name of a snapshot that it is writing.
const UNFINISHED: &str = ".generating";
/// Before the names of copies. sled looks for names that begin with its own.
const ASIDE: &str = "aside.";
const SPARE: &str = "aside.db";
const COPYING: &str = "aside.db.new";

/// Opens the log in `dir`, with its snapshots, or without if it does not open with them. If it
/// does not open at all, everything is as it was.
pub(super) fn open_over<T>(dir: &Path, attempt: impl Fn() -> Result<T, Fault>) -> Result<T, Fault> {
    if dir.join(SPARE).exists() {
        // The process or the power went while sled opened it.
        put_back(dir)?;
    }
    // sled would take it for the newest snapshot.
    remove(dir, |name| {
        name.starts_with(SNAPSHOT) && name.ends_with(UNFINISHED)
    })?;
    let what = match open_once(dir, &attempt, |_| Ok(())) {
        Err(Fault::Damaged(what)) => what,
        outcome => return outcome,
    };
    if !names(dir)?.iter().any(|name| name.starts_with(SNAPSHOT)) {
        return Err(Fault::Damaged(what));
    }
    // The log may be whole, and a snapshot only speeds up its reading.
    let without = |dir: &Path| remove(dir, |name| name.starts_with(SNAPSHOT));
    let opened = open_once(dir, &attempt, without).map_err(|_| Fault::Damaged(what.clone()))?;
    tracing::warn!(dir = %dir.display(), what, "the store was read without its snapshot");
    Ok(opened)
}

fn open_once<T>(
    dir: &Path,
    attempt: impl Fn() -> Result<T, Fault>,
    prepare: impl Fn(&Path) -> io::Result<()>,
) -> Result<T, Fault> {
    if !dir.join(LOG).exists() {
        return attempt();
    }
    if let Err(fault) = copy(dir) {
        // sled has opened nothing: the log counts, and a part of a copy only takes room.
        let _ = remove(dir, |name| name.starts_with(ASIDE));
        return Err(match fault {
            Fault::Io(error) if is_full(&error) => {
                let (needed, free) = room(dir)?;
                Fault::NoRoom { needed, free }
            }
            other => other,
        });
    }
    let opened = prepare(dir).map_err(Fault::Io).and_then(|()| attempt());
    match opened {
        Ok(opened) => {
            settle(dir)?;
            Ok(opened)
        }
        Err(fault) => {
            put_back(dir)?;
            Err(fault)
        }
    }
}

/// Copies log and snapshots; the log's copy gets its name once everything is durable.
fn copy(dir: &Path) -> Result<(), Fault> {
    let log = File::open(dir.join(LOG))?;
    // A predecessor in this process may not have let go of it yet. Let go of with the handle.
    match log.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Fault::Locked),
        Err(TryLockError::Error(error)) => return Err(Fault::Io(error)),
    }
    remove(dir, |name| name.starts_with(ASIDE))?;
    // Rather than fill a disk that others may need.
    let (needed, free) = room(dir)?;
    if free < needed {
        return Err(Fault::NoRoom { needed, free });
    }
    for name in names(dir)? {
        if name.starts_with(SNAPSHOT) {
            copy_file(dir, &name, &format!("{ASIDE}{name}"))?;
        }
    }
    copy_file(dir, LOG, COPYING)?;
    sync_folder(dir)?;
    fs::rename(dir.join(COPYING), dir.join(SPARE))?;
    Ok(sync_folder(dir)?)
}

/// How many bytes the copies take, and how many are free.
pub fn room(dir: &Path) -> io::Result<(u64, u64)> {
    let mut needed = 0;
    for name in names(dir)? {
        if name == LOG || name.starts_with(SNAPSHOT) {
            needed += fs::metadata(dir.join(name))?.len();
        }
    }
    let disk = statvfs(dir)?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    Ok((needed, free))
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// Makes durable what sled opened, and then does away with the copy.
fn settle(dir: &Path) -> io::Result<()> {
    File::open(dir.join(LOG))?.sync_all()?;
    sync_folder(dir)?;
    fs::remove_file(dir.join(SPARE))?;
    sync_folder(dir)?;
    remove(dir, |name| name.starts_with(ASIDE))
}

/// Puts the copies in place. Until its last step it can be begun again.
fn put_back(dir: &Path) -> io::Result<()> {
    remove(dir, |name| name.starts_with(SNAPSHOT))?;
    for name in names(dir)? {
        if let Some(before) = name.strip_prefix(ASIDE)
            && before.starts_with(SNAPSHOT)
        {
            copy_file(dir, &name, before)?;
        }
    }
    sync_folder(dir)?;
    fs::rename(dir.join(SPARE), dir.join(LOG))?;
    sync_folder(dir)?;
    remove(dir, |name| name.starts_with(ASIDE))
}

fn copy_file(dir: &Path, from: &str, to: &str) -> io::Result<()> {
    let to = dir.join(to);
    fs::copy(dir.join(from), &to)?;
    File::open(to)?.sync_all()
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn remove(dir: &Path, fits: impl Fn(&str) -> bool) -> io::Result<()> {
    let names = names(dir)?;
    let mut fitting = names.iter().filter(|name| fits(name));
    fitting.try_for_each(|name| fs::remove_file(dir.join(name)))
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}
