//! What of a disk is spoken for: room that files which are still coming were promised.
//!
//! Two files that each fit alone may not fit together. So what somebody said he would write, and has
//! not yet, counts as used, and so do the holes of unfinished files where the file system could not
//! set blocks aside for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::statvfs::statvfs;

/// The unit in which a file's blocks are counted (`st_blocks`).
const BLOCK_BYTES: u64 = 512;

/// All claims of a node. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Mutex<Claimed>>);

#[derive(Debug, Default)]
struct Claimed {
    next: u64,
    /// The device of each, and what is yet to be written.
    open: BTreeMap<u64, (u64, u64)>,
    /// Files that have their whole length from the start.
    unfinished: BTreeSet<PathBuf>,
}

impl Claimed {
    fn free(&mut self, dir: &Path) -> io::Result<u64> {
        let disk = statvfs(dir)?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        let here = fs::metadata(dir)?.dev();
        let open = self.open.values().filter(|(device, _)| *device == here);
        let mut taken: u64 = open.map(|(_, bytes)| bytes).sum();
        self.unfinished.retain(|path| {
            // One that is gone, or was given its name, needs nothing more.
            let Ok(file) = fs::metadata(path) else {
                return false;
            };
            let hole = file
                .len()
                .saturating_sub(file.blocks().saturating_mul(BLOCK_BYTES));
            if file.dev() == here {
                taken = taken.saturating_add(hole);
            }
            hole > 0
        });
        Ok(free.saturating_sub(taken))
    }
}

impl Claims {
    /// What is free where `dir` is, and not spoken for.
    ///
    /// # Errors
    /// What the system says.
    pub fn free(&self, dir: &Path) -> io::Result<u64> {
        self.claimed().free(dir)
    }

    /// Speaks for `bytes` where `dir` is, if `keep_bytes` stay free beside them; otherwise how many
    /// are free.
    ///
    /// # Errors
    /// What the system says.
    pub fn claim(&self, dir: &Path, bytes: u64, keep_bytes: u64) -> io::Result<Result<Claim, u64>> {
        let mut claimed = self.claimed();
        let free = claimed.free(dir)?;
        if free < keep_bytes.saturating_add(bytes) {
            return Ok(Err(free));
        }
        let number = claimed.next;
        claimed.next += 1;
        let device = fs::metadata(dir)?.dev();
        claimed.open.insert(number, (device, bytes));
        let of = self.clone();
        Ok(Ok(Claim { of, number }))
    }

    /// A file that has its whole length, and may have holes until it has come.
    pub fn unfinished(&self, path: PathBuf) {
        self.claimed().unfinished.insert(path);
    }

    fn claimed(&self) -> MutexGuard<'_, Claimed> {
        // Each change leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room that is kept for somebody, until this is dropped.
#[derive(Debug)]
pub struct Claim {
    of: Claims,
    number: u64,
}

impl Claim {
    /// So much of it is on the disk now.
    pub fn wrote(&self, bytes: u64) {
        if let Some((_, left)) = self.of.claimed().open.get_mut(&self.number) {
            *left = left.saturating_sub(bytes);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.of.claimed().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than half of what is free, whatever else goes on there.
    fn most(dir: &Path) -> u64 {
        Claims::default().free(dir).expect("it is there") / 10 * 6
    }

    #[test]
    fn two_that_fit_alone_and_not_together_are_not_both_given_room() {
        let dir = tempfile::tempdir().expect("a folder");
        let (dir, claims) = (dir.path(), Claims::default());
        let most = most(dir);
        let claim = |bytes| claims.claim(dir, bytes, 0).expect("it is there");
        let first = claim(most).expect("there is room");
        assert!(claim(most).is_err());
        // What is written is not free any more by itself.
        first.wrote(most);
        let second = claim(most).expect("nothing was really written");
        drop(first);
        assert!(claim(most).is_err());
        drop(second);
        assert!(claim(most).is_ok());
    }

    #[test]
    fn holes_of_unfinished_files_are_not_free() {
        let dir = tempfile::tempdir().expect("a folder");
        let (dir, claims) = (dir.path(), Claims::default());
        let most = most(dir);
        let path = dir.join("unfinished");
        let file = fs::File::create(&path).expect("made");
        file.set_len(most).expect("it has holes");
        let claim = |bytes| claims.claim(dir, bytes, 0).expect("it is there");
        assert!(claim(most).is_ok(), "nobody said what it is");
        claims.unfinished(path.clone());
        assert!(claim(most).is_err());
        fs::remove_file(&path).expect("given up");
        assert!(claim(most).is_ok());
    }
}
