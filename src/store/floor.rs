//! How many groups of batches the store is known to hold: a tripwire against silent loss.
//!
//! sled repairs a log that does not read to its end by cutting it there. For a tail that was never
//! fsynced that is right; where a disk or a person damaged the middle it would drop rows that were
//! promised, without a word. So every group raises a counter in the log itself (`tally`), and after
//! the group's fsync the same number goes into this file. A log that comes back with less than this
//! floor has lost something.
//!
//! Invariant: the number in the file is never above what was fsynced. It is not fsynced itself: it
//! survives the death of the process exactly, and after a power cut it may be older, which only
//! makes the tripwire less sharp. The file's existence says that the store was once created.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const FILE: &str = "floor";
/// The number, and its complement as a check; both `u64`, big-endian.
const FLOOR_BYTES: usize = 16;

/// The open file and what it says.
#[derive(Debug)]
pub(super) struct Floor {
    file: File,
    groups: u64,
}

impl Floor {
    /// The floor of the store in `dir`; none where the store was never fully created. A file that
    /// does not read counts as zero: then only the loss of everything is noticed.
    pub(super) fn open(dir: &Path) -> io::Result<Option<Floor>> {
        let file = match OpenOptions::new()
            .read(true)
            .write(true)
            .open(dir.join(FILE))
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = [0; FLOOR_BYTES];
        let groups = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => decode(&bytes).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(error),
        };
        Ok(Some(Floor { file, groups }))
    }

    /// Writes the first floor. The caller fsyncs the folder.
    pub(super) fn create(dir: &Path, groups: u64) -> io::Result<Floor> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join(FILE))?;
        let mut floor = Floor { file, groups };
        floor.raise(groups)?;
        floor.file.sync_all()?;
        Ok(floor)
    }

    /// How many groups the store must hold.
    pub(super) fn groups(&self) -> u64 {
        self.groups
    }

    /// Says that `groups` groups are durable. Call it after their fsync only.
    pub(super) fn raise(&mut self, groups: u64) -> io::Result<()> {
        let mut bytes = [0; FLOOR_BYTES];
        bytes[..8].copy_from_slice(&groups.to_be_bytes());
        bytes[8..].copy_from_slice(&(!groups).to_be_bytes());
        self.file.write_all_at(&bytes, 0)?;
        self.groups = groups;
        Ok(())
    }
}

fn decode(bytes: &[u8; FLOOR_BYTES]) -> Option<u64> {
    let (number, check) = bytes.split_first_chunk::<8>()?;
    let number = u64::from_be_bytes(*number);
    (check == (!number).to_be_bytes()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_survives_reopening() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Floor::open(dir.path()).unwrap().is_none());
        Floor::create(dir.path(), 3).unwrap().raise(8).unwrap();
        assert_eq!(Floor::open(dir.path()).unwrap().unwrap().groups(), 8);
    }

    #[test]
    fn garbage_in_the_floor_counts_as_zero() {
        let dir = tempfile::tempdir().unwrap();
        for garbage in [&b""[..], b"abc", b"0123456789abcdef"] {
            std::fs::write(dir.path().join(FILE), garbage).unwrap();
            assert_eq!(Floor::open(dir.path()).unwrap().unwrap().groups(), 0);
        }
    }
}
