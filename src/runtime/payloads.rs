//! Payloads on the disk: written as they come, hashed on the way, and flushed before anybody is
//! told. Which of the files are somebody's, and for how long, is the core's to say
//! ([`crate::proto::payload`]).
//!
//! A file that was not handed to the core goes with its [`NewPayload`]; what a process leaves
//! behind that is killed goes at the next start.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Stream as _, ready};
use http_body::{Body, Frame, SizeHint};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::FilesConfig;
use super::claims::{Claim, Claims};
use crate::crypto::ContentHasher;
use crate::types::{FileRef, PayloadFile};

/// What is read and written at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// How often is looked at how much room there is.
const ROOM_EVERY_BYTES: u64 = 4 << 20;

/// Why a payload was not written.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    #[error(
        "the disk has no room for it: {free} bytes are free, and {keep} are to stay so \
         (`transfer.keep_free`); free space"
    )]
    NoRoom { free: u64, keep: u64 },
    #[error("the disk refuses it: {0}")]
    Disk(#[from] io::Error),
}

/// Where payloads are. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct PayloadFolder {
    dir: PathBuf,
    max_bytes: u64,
    keep_free_bytes: u64,
    claims: Claims,
}

impl PayloadFolder {
    /// The folder of a node, for payloads of at most `max_bytes`.
    pub fn new(files: &FilesConfig, max_bytes: u64) -> PayloadFolder {
        PayloadFolder {
            dir: files.payloads.clone(),
            max_bytes,
            keep_free_bytes: files.keep_free_bytes,
            claims: Claims::default(),
        }
    }

    /// What of the disk is spoken for.
    pub(super) fn claims(&self) -> Claims {
        self.claims.clone()
    }

    /// Where a payload lies.
    pub fn path(&self, file: Uuid) -> PathBuf {
        self.dir.join(file.to_string())
    }

    /// Opens a payload, to be read from its begin.
    ///
    /// # Errors
    /// What the system says.
    pub async fn open(&self, at: PayloadFile) -> io::Result<PayloadBody> {
        PayloadBody::open(&self.path(at.file)).await
    }

    /// Begins a payload of so many bytes, as far as that is known.
    ///
    /// # Errors
    /// [`PayloadError`].
    pub async fn create(&self, bytes: Option<u64>) -> Result<NewPayload, PayloadError> {
        let bytes = bytes.unwrap_or(0);
        if bytes > self.max_bytes {
            return Err(PayloadError::TooLarge(self.max_bytes));
        }
        let claim = self.claim(bytes)?;
        let id = Uuid::new_v4();
        let path = self.path(id);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .await?;
        Ok(NewPayload {
            folder: self.clone(),
            claim,
            id,
            path,
            file,
            hasher: ContentHasher::default(),
            size: 0,
            handed_over: false,
        })
    }

    /// Room for so much more, if it leaves what is to be kept free.
    fn claim(&self, bytes: u64) -> Result<Claim, PayloadError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        let keep = self.keep_free_bytes;
        let claimed = self.claims.claim(&self.dir, bytes, keep)?;
        claimed.map_err(|free| PayloadError::NoRoom { free, keep })
    }
}

/// A payload that is being written. Its file goes with it, unless it was handed over.
#[derive(Debug)]
pub struct NewPayload {
    folder: PayloadFolder,
    claim: Claim,
    id: Uuid,
    path: PathBuf,
    file: File,
    hasher: ContentHasher,
    size: u64,
    handed_over: bool,
}

impl NewPayload {
    /// Appends a piece.
    ///
    /// # Errors
    /// [`PayloadError`]; nothing can be done with it then.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), PayloadError> {
        let size = self.size + bytes.len() as u64;
        if size > self.folder.max_bytes {
            return Err(PayloadError::TooLarge(self.folder.max_bytes));
        }
        if size / ROOM_EVERY_BYTES > self.size / ROOM_EVERY_BYTES {
            // Of how much comes not all may have been said.
            drop(self.folder.claim(0)?);
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).await?;
        self.claim.wrote(bytes.len() as u64);
        self.size = size;
        Ok(())
    }

    /// Flushes it all, and says what it is.
    ///
    /// # Errors
    /// [`PayloadError::Disk`].
    pub async fn finish(&mut self) -> Result<FileRef, PayloadError> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        // The folder itself may be new, too.
        let dirs = [Some(self.folder.dir.as_path()), self.folder.dir.parent()];
        for dir in dirs.into_iter().flatten() {
            File::open(dir).await?.sync_all().await?;
        }
        Ok(FileRef {
            root: self.hasher.finish(),
            size: self.size,
        })
    }

    /// Its file's name.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// From here on the core answers for the file.
    pub fn hand_over(mut self) {
        self.handed_over = true;
    }
}

impl Drop for NewPayload {
    fn drop(&mut self) {
        if !self.handed_over
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "an unfinished payload stays behind");
        }
    }
}

/// A file as the body of a request or an answer: read as it is sent.
pub struct PayloadBody {
    pieces: ReaderStream<tokio::io::Take<File>>,
    left: u64,
    seen: Option<Box<dyn Fn(u64) + Send + Sync>>,
}

impl PayloadBody {
    /// Opens a file.
    ///
    /// # Errors
    /// What the system says.
    pub async fn open(path: &Path) -> io::Result<PayloadBody> {
        use tokio::io::AsyncReadExt as _;
        let file = File::open(path).await?;
        let size = file.metadata().await?.len();
        Ok(PayloadBody {
            pieces: ReaderStream::with_capacity(file.take(size), PIECE_BYTES),
            left: size,
            seen: None,
        })
    }

    /// Tells `seen` the length of each piece that has left.
    #[must_use]
    pub fn told_to(self, seen: impl Fn(u64) + Send + Sync + 'static) -> PayloadBody {
        PayloadBody {
            seen: Some(Box::new(seen)),
            ..self
        }
    }

    /// What is left of it.
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl Body for PayloadBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = ready!(Pin::new(&mut self.pieces).poll_next(cx));
        Poll::Ready(piece.map(|piece| {
            let piece = piece?;
            self.left = self.left.saturating_sub(piece.len() as u64);
            if let Some(seen) = &self.seen {
                seen(piece.len() as u64);
            }
            Ok(Frame::data(piece))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(max_bytes: u64) -> (tempfile::TempDir, PayloadFolder) {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = PayloadFolder {
            dir: dir.path().join("payloads"),
            max_bytes,
            keep_free_bytes: 0,
            claims: Claims::default(),
        };
        (dir, folder)
    }

    fn files(folder: &PayloadFolder) -> usize {
        std::fs::read_dir(&folder.dir).expect("it was made").count()
    }

    #[tokio::test]
    async fn a_payload_is_known_by_its_hash_and_stays_once_it_is_handed_over() {
        let (_dir, folder) = folder(100);
        let mut new = folder.create(None).await.expect("begun");
        for piece in [&b"some "[..], b"words"] {
            new.write(piece).await.expect("written");
        }
        let content = new.finish().await.expect("flushed");
        assert_eq!(content.size, 10);
        assert_eq!(content.root, *blake3::hash(b"some words").as_bytes());
        let path = folder.path(new.id());
        new.hand_over();
        assert_eq!(std::fs::read(path).expect("there"), b"some words");
    }

    #[tokio::test]
    async fn what_is_not_handed_over_goes_and_no_more_than_the_limit_is_written() {
        let (_dir, folder) = folder(4);
        let mut new = folder.create(None).await.expect("begun");
        new.write(b"four").await.expect("it fits");
        let refused = new.write(b"s").await.expect_err("too much");
        assert!(matches!(refused, PayloadError::TooLarge(4)));
        assert_eq!(files(&folder), 1);
        drop(new);
        assert_eq!(files(&folder), 0);
    }

    #[tokio::test]
    async fn what_is_known_to_be_too_much_is_not_begun() {
        let (_dir, folder) = folder(u64::MAX);
        let refused = folder.create(Some(u64::MAX)).await.expect_err("no disk");
        assert!(matches!(refused, PayloadError::NoRoom { .. }));
        assert_eq!(files(&folder), 0);
        let (_dir, folder) = self::folder(4);
        let refused = folder.create(Some(5)).await.expect_err("too much");
        assert!(matches!(refused, PayloadError::TooLarge(4)));
    }

    #[tokio::test]
    async fn without_room_nothing_is_begun() {
        let (_dir, mut folder) = folder(4);
        folder.keep_free_bytes = 1 << 60;
        let refused = folder.create(None).await.expect_err("no room");
        assert!(matches!(refused, PayloadError::NoRoom { .. }));
    }

    #[tokio::test]
    async fn two_payloads_that_fit_alone_and_not_together_are_not_both_begun() {
        let (dir, folder) = folder(u64::MAX);
        let free = folder.claims().free(dir.path()).expect("it is there");
        let most = free / 10 * 6;
        let first = folder.create(Some(most)).await.expect("there is room");
        let refused = folder.create(Some(most)).await.expect_err("no more");
        assert!(matches!(refused, PayloadError::NoRoom { .. }));
        drop(first);
        assert!(folder.create(Some(most)).await.is_ok());
    }
}
