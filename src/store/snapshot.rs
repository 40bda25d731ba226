//! sled's snapshots, without which its log cannot always be read.
//!
//! sled writes a snapshot each time it opens a log, and clears segments then that are not used any
//! more. A log that was opened more than once and whose snapshot is gone may be taken for empty,
//! and what is left of it is cleared, too.
//!
//! Invariant: a log whose snapshot is damaged is read without it only after it was copied, and the
//! copy takes its place again unless that read every row.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::opening::Fault;

const PREFIX: &str = "snap.";
/// What sled appends to the name of one that it is writing.
const UNFINISHED: &str = ".generating";
/// Before the name of one that is set aside. sled looks for its own prefix.
const ASIDE: &str = "aside.";
const LOG: &str = "db";
/// The copy. While it is there, the log may be half cleared.
const COPY: &str = "aside.db";
const COPYING: &str = "aside.db.new";

/// Removes what a crash left while a snapshot was written, which sled would take for the newest
/// one, and puts a copied log back.
pub(super) fn prepare(dir: &Path) -> io::Result<()> {
    if dir.join(COPY).exists() {
        put_back(dir)?;
    }
    for name in names(dir)? {
        if name.starts_with(PREFIX) && name.ends_with(UNFINISHED) {
            fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}

/// Reads the log without its snapshots; not at all where it has none. Puts everything back if that
/// fails.
pub(super) fn without<T>(
    dir: &Path,
    attempt: impl FnOnce() -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    let snapshots = names(dir)?;
    let snapshots = snapshots.iter().filter(|name| name.starts_with(PREFIX));
    let snapshots: Vec<&String> = snapshots.collect();
    if snapshots.is_empty() {
        return Ok(None);
    }
    for old in names(dir)? {
        if old.starts_with(&format!("{ASIDE}{PREFIX}")) {
            fs::remove_file(dir.join(old))?;
        }
    }
    fs::copy(dir.join(LOG), dir.join(COPYING))?;
    File::open(dir.join(COPYING))?.sync_all()?;
    fs::rename(dir.join(COPYING), dir.join(COPY))?;
    sync_folder(dir)?;
    for name in snapshots {
        fs::rename(dir.join(name), dir.join(format!("{ASIDE}{name}")))?;
    }
    match attempt() {
        Ok(outcome) => {
            sync_folder(dir)?;
            fs::remove_file(dir.join(COPY))?;
            Ok(Some(outcome))
        }
        Err(fault) => {
            put_back(dir)?;
            Err(fault)
        }
    }
}

fn put_back(dir: &Path) -> io::Result<()> {
    let names = names(dir)?;
    for name in names.iter().filter(|name| name.starts_with(PREFIX)) {
        fs::remove_file(dir.join(name))?;
    }
    for name in &names {
        if let Some(before) = name.strip_prefix(ASIDE)
            && before.starts_with(PREFIX)
        {
            fs::rename(dir.join(name), dir.join(before))?;
        }
    }
    sync_folder(dir)?;
    // The last step: until then it begins again.
    fs::rename(dir.join(COPY), dir.join(LOG))
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}
