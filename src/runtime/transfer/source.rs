//! Reading a file that is sent: its hashes first, its chunks later.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use crate::crypto::{ChunkHash, ChunkHasher};
use crate::proto::transfer::Manifest;
use crate::types::limits::FILE_MAX_BYTES;

/// Threads that hash one file.
const THREADS_MAX: usize = 4;
const READ_BYTES: usize = 256 * 1024;
const CHANGED: &str = "the file changed while it was being sent: send it again";

/// A file as it was when it was opened.
pub(super) struct Source {
    file: File,
    size: u64,
    modified_ns: u64,
}

impl Source {
    /// Opens a regular file.
    ///
    /// # Errors
    /// A sentence for who wants to send it.
    pub(super) fn open(path: &str) -> Result<Source, String> {
        let refused = |error: io::Error| format!("{path} cannot be read: {error}");
        // A pipe without a writer must not hold us up.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
            .open(path)
            .map_err(refused)?;
        let metadata = file.metadata().map_err(refused)?;
        if !metadata.is_file() {
            return Err(format!("{path} is not a regular file: pack a folder first"));
        }
        Ok(Source {
            size: metadata.len(),
            modified_ns: modified_ns(&metadata),
            file,
        })
    }

    /// Opens the file that was hashed before.
    ///
    /// # Errors
    /// A sentence, also when it is another by now.
    pub(super) fn reopen(path: &str, size: u64, modified_ns: u64) -> Result<Source, String> {
        let source = Source::open(path)?;
        if (source.size, source.modified_ns) == (size, modified_ns) {
            Ok(source)
        } else {
            Err(CHANGED.into())
        }
    }

    /// Reads exactly these bytes.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), String> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => CHANGED.to_owned(),
                _ => format!("the file cannot be read any more: {error}"),
            })
    }

    /// Whether nobody wrote to it since it was opened.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn unchanged(&self) -> Result<(), String> {
        let same = self
            .file
            .metadata()
            .is_ok_and(|m| (m.len(), modified_ns(&m)) == (self.size, self.modified_ns));
        if same { Ok(()) } else { Err(CHANGED.into()) }
    }
}

fn modified_ns(metadata: &Metadata) -> u64 {
    let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
    let nanos = u64::try_from(metadata.mtime_nsec()).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Computes a file's manifest on several threads, and says when it was last written. Ends early,
/// with an error nobody reads, when `stop` is set.
///
/// # Errors
/// A sentence.
pub(super) fn hash_file(path: &str, stop: &AtomicBool) -> Result<(Manifest, u64), String> {
    let source = Source::open(path)?;
    let size = source.size;
    let Some(chunk_bytes) = Manifest::chunk_bytes_for(size) else {
        return Err(format!(
            "{path} has {size} bytes, a transfer takes {FILE_MAX_BYTES}"
        ));
    };
    let count = u32::try_from(size.div_ceil(chunk_bytes).max(1)).expect("at most CHUNKS_MAX");
    let next = AtomicU32::new(0);
    let hashes = Mutex::new(vec![[0; 32]; count as usize]);
    let work = || {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(());
            }
            if stop.load(Ordering::Relaxed) {
                return Err(String::from("it was stopped"));
            }
            let start = u64::from(index) * chunk_bytes;
            let end = (start + chunk_bytes).min(size);
            let hash = hash_range(&source, start, end, count == 1, &mut buffer)?;
            hashes.lock().map_err(|_| "hashing broke off")?[index as usize] = hash;
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(THREADS_MAX).min(count as usize);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(String::from("hashing broke off")))
        })
    })?;
    source.unchanged()?;
    let hashes = hashes.into_inner().map_err(|_| "hashing broke off")?;
    let manifest = Manifest::new(size, chunk_bytes, hashes).expect("cut by its own rule");
    Ok((manifest, source.modified_ns))
}

fn hash_range(
    source: &Source,
    start: u64,
    end: u64,
    only: bool,
    buffer: &mut [u8],
) -> Result<ChunkHash, String> {
    let mut hasher = ChunkHasher::new(start, only);
    let mut at = start;
    while at < end {
        let length = (end - at).min(READ_BYTES as u64) as usize;
        source.read(&mut buffer[..length], at)?;
        hasher.update(&buffer[..length]);
        at += length as u64;
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(path: &std::path::Path) -> Result<(Manifest, u64), String> {
        hash_file(path.to_str().expect("a path"), &AtomicBool::new(false))
    }

    #[test]
    fn the_root_is_the_files_own_hash() {
        let dir = tempfile::tempdir().expect("a folder");
        for size in [0, 1, 1 << 20, (5 << 20) + 77] {
            let data: Vec<u8> = (0..size).map(|n| (n / 3) as u8).collect();
            let path = dir.path().join("f");
            std::fs::write(&path, &data).expect("written");
            let (manifest, _) = hash(&path).expect("it reads");
            assert_eq!(manifest.root, *blake3::hash(&data).as_bytes());
            assert_eq!(manifest.size, data.len() as u64);
        }
    }

    #[test]
    fn what_is_no_file_is_refused_with_a_sentence() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(hash(dir.path()).unwrap_err().contains("not a regular file"));
        let gone = hash(&dir.path().join("gone")).unwrap_err();
        assert!(gone.contains("cannot be read"), "{gone}");
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        assert!(hash(&pipe).unwrap_err().contains("not a regular file"));
    }

    #[test]
    fn a_file_that_was_written_to_is_another() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("f");
        std::fs::write(&path, b"one").expect("written");
        let (manifest, modified_ns) = hash(&path).expect("it reads");
        let text = path.to_str().expect("a path");
        let source = Source::reopen(text, manifest.size, modified_ns).expect("the same");
        assert_eq!(source.unchanged(), Ok(()));
        std::fs::write(&path, b"other").expect("written");
        assert!(source.unchanged().is_err());
        assert!(Source::reopen(text, manifest.size, modified_ns).is_err());
    }
}
