//! The folder of received files, and that of payloads (parts of tasks): room for what comes, and a name for what has come.
//!
//! An unfinished file is `.partial/NAME`, with its whole size set aside. A finished one gets its
//! name by a rename that replaces nothing. A payload has its own name from its first byte on. These
//! names are ours, and none is used twice.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FallocateFlags, RenameFlags, fallocate, renameat2};
use uuid::Uuid;

use crate::crypto::ChunkHasher;
use crate::proto::transfer::{Manifest, Partial, ReceivePlan, StoreOutcome, numbered_name};
use crate::runtime::FilesConfig;
use crate::runtime::claims::Claims;
use crate::wire::RefusedFile;

/// Names tried for one file.
const NAMES_MAX: u32 = 10_000;
const READ_BYTES: usize = 256 * 1024;

/// See the module's header. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    dir: PathBuf,
    partial: PathBuf,
    payloads: PathBuf,
    keep_free_bytes: u64,
    claims: Claims,
}

impl Folder {
    pub(super) fn new(config: &FilesConfig, claims: Claims) -> Folder {
        Folder {
            partial: config.incoming.join(".partial"),
            dir: config.incoming.clone(),
            payloads: config.payloads.clone(),
            keep_free_bytes: config.keep_free_bytes,
            claims,
        }
    }

    /// What of the disk is spoken for.
    pub(super) fn claims(&self) -> Claims {
        self.claims.clone()
    }

    /// These are unfinished since a life before.
    pub(super) fn resume(&self, unfinished: &[Partial]) {
        for partial in unfinished {
            self.claims.unfinished(self.partial(*partial));
        }
    }

    /// Where unfinished files of this kind are.
    fn home(&self, partial: Partial) -> &Path {
        match partial.payload {
            true => &self.payloads,
            false => &self.partial,
        }
    }

    fn partial(&self, partial: Partial) -> PathBuf {
        self.home(partial).join(partial.file.to_string())
    }

    /// Sets aside room for a new file of `size` bytes. One that is there stays as it is.
    pub(super) fn prepare(&self, partial: Partial, size: u64) -> Result<(), RefusedFile> {
        let made = self.try_prepare(partial, size);
        made.map_err(|error| {
            let no_space = matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            );
            tracing::warn!(%error, size, "no room could be made for a file");
            if no_space {
                RefusedFile::NoSpace
            } else {
                RefusedFile::Storage
            }
        })
    }

    fn try_prepare(&self, partial: Partial, size: u64) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.home(partial))?;
        let keep = self.keep_free_bytes;
        let claim = self.claims.claim(self.home(partial), size, keep)?;
        let claim = claim.map_err(|_| io::Error::from(io::ErrorKind::StorageFull))?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.partial(partial))?;
        let durable = set_aside(&file, size)
            .and_then(|()| file.sync_all())
            .and_then(|()| sync_dir(self.home(partial)))
            .and_then(|()| match partial.payload {
                true => self.payloads.parent().map_or(Ok(()), sync_dir),
                false => sync_dir(&self.dir),
            });
        durable.inspect_err(|_| remove(&self.partial(partial)))?;
        // From here on its own blocks count, and its holes, if it has any.
        self.claims.unfinished(self.partial(partial));
        drop(claim);
        Ok(())
    }

    /// Opens an unfinished file.
    pub(super) fn open(&self, partial: Partial) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.partial(partial))
    }

    /// Hashes again what a life before wrote, and returns the chunks that are not there after all.
    pub(super) fn check(&self, plan: &ReceivePlan, file: &File) -> Vec<u32> {
        let is_bad = |index: &u32| !has_chunk(file, &plan.manifest, *index);
        plan.have.iter(true).filter(is_bad).collect()
    }

    /// A name that is free.
    pub(super) fn free_name(&self, name: &str) -> Result<String, String> {
        let free = |name: &String| {
            fs::symlink_metadata(self.dir.join(name))
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        (1..=NAMES_MAX)
            .map(|n| numbered_name(name, n))
            .find(free)
            .ok_or_else(|| format!("there is no free name for it in {}", self.dir.display()))
    }

    /// Flushes an unfinished file and gives it its name. May be repeated after a crash.
    pub(super) fn store(&self, partial: Partial, name: &str, manifest: &Manifest) -> StoreOutcome {
        match self.try_store(partial, name, manifest) {
            Ok(outcome) => outcome,
            Err(error) => StoreOutcome::Failed(format!("it could not be stored: {error}")),
        }
    }

    fn try_store(
        &self,
        partial: Partial,
        name: &str,
        manifest: &Manifest,
    ) -> io::Result<StoreOutcome> {
        let (from, to) = (self.partial(partial), self.dir.join(name));
        let file = match File::open(&from) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(self.was_stored(&to, manifest));
            }
            Err(error) => return Err(error),
        };
        file.sync_all()?;
        match renameat2(
            AT_FDCWD,
            &from,
            AT_FDCWD,
            &to,
            RenameFlags::RENAME_NOREPLACE,
        ) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Ok(StoreOutcome::Taken),
            // The file system knows no such rename. Nobody but us puts files there.
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                if fs::symlink_metadata(&to).is_ok() {
                    return Ok(StoreOutcome::Taken);
                }
                fs::rename(&from, &to)?;
            }
            Err(error) => return Err(error.into()),
        }
        sync_dir(&self.dir)?;
        sync_dir(&self.partial)?;
        Ok(StoreOutcome::Stored)
    }

    /// Whether a life before got as far as the rename.
    fn was_stored(&self, path: &Path, manifest: &Manifest) -> StoreOutcome {
        let stored = File::open(path).is_ok_and(|file| {
            file.metadata().is_ok_and(|m| m.len() == manifest.size)
                && (0..manifest.count()).all(|index| has_chunk(&file, manifest, index))
                && file.sync_all().is_ok()
        });
        if stored && sync_dir(&self.dir).is_ok() {
            StoreOutcome::Stored
        } else {
            StoreOutcome::Lost
        }
    }

    pub(super) fn discard(&self, partial: Partial) {
        remove(&self.partial(partial));
    }

    /// The unfinished files that are none of these.
    pub(super) fn leftovers(&self, keep: &[Partial]) -> Vec<PathBuf> {
        let kept = keep.iter().map(|partial| self.partial(*partial)).collect();
        others(&self.partial, &kept)
    }

    /// The payloads that are nobody's: `unfinished` are not yet whole.
    pub(super) fn stray_payloads(&self, keep: &[Uuid], unfinished: &[Partial]) -> Vec<PathBuf> {
        let kept = keep.iter().map(|file| self.payloads.join(file.to_string()));
        let unfinished = unfinished.iter().map(|partial| self.partial(*partial));
        others(&self.payloads, &kept.chain(unfinished).collect())
    }

    pub(super) fn drop_payload(&self, file: Uuid) {
        remove(&self.payloads.join(file.to_string()));
    }
}

/// What is in a folder beside `kept`.
fn others(dir: &Path, kept: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| !kept.contains(path))
        .collect()
}

/// Deletes an unfinished file.
pub(super) fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "an unfinished file stays behind");
        }
        _ => {}
    }
}

/// Makes sure that the disk has the blocks, where the file system can promise that.
fn set_aside(file: &File, size: u64) -> io::Result<()> {
    file.set_len(size)?;
    let length = i64::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?;
    if length == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn has_chunk(file: &File, manifest: &Manifest, index: u32) -> bool {
    let range = manifest.range(index);
    let mut hasher = ChunkHasher::new(range.start, manifest.count() == 1);
    let mut buffer = vec![0; READ_BYTES];
    let mut at = range.start;
    while at < range.end {
        let length = (range.end - at).min(READ_BYTES as u64) as usize;
        if file.read_exact_at(&mut buffer[..length], at).is_err() {
            return false;
        }
        hasher.update(&buffer[..length]);
        at += length as u64;
    }
    hasher.finish() == manifest.chunks[index as usize]
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::runtime::transfer::source::hash_file;

    fn folder(keep_free_bytes: u64) -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().expect("a folder");
        let config = FilesConfig {
            incoming: dir.path().join("incoming"),
            payloads: dir.path().join("payloads"),
            keep_free_bytes,
        };
        let folder = Folder::new(&config, Claims::default());
        (dir, folder)
    }

    fn id(n: u128) -> Partial {
        Partial {
            file: Uuid::from_u128(n),
            payload: false,
        }
    }

    fn manifest_of(path: &Path) -> Manifest {
        let path = path.to_str().expect("a path");
        hash_file(path, &AtomicBool::new(false))
            .expect("it reads")
            .0
    }

    #[test]
    fn a_name_is_never_taken_twice_and_a_crash_after_the_rename_is_seen() {
        let (_dir, folder) = folder(0);
        for n in 1..=2 {
            folder.prepare(id(n), 3).expect("there is room");
            fs::write(folder.partial(id(n)), b"abc").expect("written");
        }
        let manifest = manifest_of(&folder.partial(id(1)));
        assert_eq!(folder.free_name("a.txt").as_deref(), Ok("a.txt"));
        assert_eq!(
            folder.store(id(1), "a.txt", &manifest),
            StoreOutcome::Stored
        );
        assert_eq!(folder.store(id(2), "a.txt", &manifest), StoreOutcome::Taken);
        assert_eq!(folder.free_name("a.txt").as_deref(), Ok("a (2).txt"));
        // As a life that crashed behind the rename would try again.
        assert_eq!(
            folder.store(id(1), "a.txt", &manifest),
            StoreOutcome::Stored
        );
        fs::write(folder.dir.join("a.txt"), b"abd").expect("written");
        assert_eq!(folder.store(id(1), "a.txt", &manifest), StoreOutcome::Lost);
    }

    #[test]
    fn without_room_a_file_is_refused_before_a_byte_comes() {
        let (_dir, folder) = folder(1 << 60);
        assert_eq!(folder.prepare(id(1), 1), Err(RefusedFile::NoSpace));
        assert!(!folder.partial(id(1)).exists());
    }

    #[test]
    fn what_an_upload_was_promised_is_not_given_to_a_file_that_is_offered() {
        let (dir, folder) = folder(0);
        let claims = folder.claims();
        let most = claims.free(dir.path()).expect("it is there") / 10 * 6;
        let claim = claims.claim(dir.path(), most, 0).expect("it is there");
        assert_eq!(folder.prepare(id(1), most), Err(RefusedFile::NoSpace));
        folder.prepare(id(2), 3).expect("that fits beside it");
        drop(claim.expect("there is room"));
    }

    #[test]
    fn a_file_that_is_there_is_neither_emptied_nor_deleted_for_another() {
        let (_dir, folder) = folder(0);
        let payload = Partial {
            payload: true,
            ..id(1)
        };
        for partial in [id(1), payload] {
            folder.prepare(partial, 3).expect("there is room");
            fs::write(folder.partial(partial), b"abc").expect("written");
            assert_eq!(folder.prepare(partial, 10), Err(RefusedFile::Storage));
            let kept = fs::read(folder.partial(partial)).expect("it is there");
            assert_eq!(kept, b"abc");
        }
    }

    #[test]
    fn payloads_of_nobody_are_swept_and_no_others() {
        let (_dir, folder) = folder(0);
        let payload = |n| Partial {
            payload: true,
            ..id(n)
        };
        for n in 1..=3 {
            folder.prepare(payload(n), 10).expect("there is room");
        }
        folder.prepare(id(3), 10).expect("there is room");
        let stray = folder.stray_payloads(&[Uuid::from_u128(1)], &[payload(2), id(3)]);
        stray.iter().for_each(|path| remove(path));
        let left = [1, 2, 3].map(|n| folder.partial(payload(n)).exists());
        assert_eq!(left, [true, true, false]);
        assert!(folder.partial(id(3)).exists());
    }

    #[test]
    fn only_unfinished_files_of_nobody_are_swept() {
        let (_dir, folder) = folder(0);
        for n in 1..=3 {
            folder.prepare(id(n), 10).expect("there is room");
        }
        folder
            .leftovers(&[id(2)])
            .iter()
            .for_each(|path| remove(path));
        let left = [1, 2, 3].map(|n| folder.partial(id(n)).exists());
        assert_eq!(left, [false, true, false]);
    }
}
