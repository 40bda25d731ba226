//! One file on its way in. The task reads records from the stream; a thread opens them, hashes
//! and writes; another flushes what was checked, a group at a time, and says so.
//!
//! Invariants
//! 1. A chunk is told as arrived only after its hash held and a flush began behind its last byte.
//! 2. Only chunks that were asked for and are not yet checked are written to.
//! 3. One thread writes to an unfinished file at a time: it holds `turn`.
//!
//! The pages of a large file leave the system's cache as soon as they are on disk: otherwise one
//! file would push out what everybody else on the machine has there, and fresh pages cost more than
//! the flush.
//!
//! Bounds: [`RECORDS_MAX`] records between task and thread, [`GROUP_BYTES`] in a group, two groups
//! before the thread waits for the disk.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use tokio::sync::{OwnedMutexGuard, mpsc, watch};
use tokio::time::{interval, timeout};

use super::folder::Folder;
use super::words;
use crate::crypto::ChunkHasher;
use crate::proto::node::FileNews;
use crate::proto::session::{Opener, Sealer};
use crate::proto::transfer::{ChunkSet, ReceivePlan};
use crate::types::{BulkId, PeerId};
use crate::wire::{BulkContent, BulkWord};

/// Records that wait to be opened.
const RECORDS_MAX: usize = 6;
/// What is flushed and recorded together, at most and at the latest.
const GROUP_BYTES: u64 = 32 << 20;
const GROUP_TIME: Duration = Duration::from_millis(500);
/// A file of this size stays in the cache when it has arrived.
const CACHED_MAX_BYTES: u64 = 256 << 20;
/// A sender that sends nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How often a sender hears from us, so that it does not take us for gone.
const LIFE_SIGN: Duration = Duration::from_secs(10);
/// A sender that does not close its side by then is left.
const CLOSING_MAX: Duration = Duration::from_secs(5);

type News = mpsc::Sender<FileNews>;

/// What the core has to say to a stream: always the newest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signal {
    pub(super) have_bytes: u64,
    pub(super) finished: bool,
    pub(super) closed: bool,
}

/// An incoming stream whose sender named the file.
pub(super) struct Incoming<S> {
    pub(super) stream: S,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    pub(super) peer: PeerId,
    pub(super) bulk: BulkId,
    pub(super) signal: watch::Receiver<Signal>,
    pub(super) news: News,
}

/// Receives what `plan` lacks, and stays until the sender knows that all is stored.
pub(super) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    incoming: Incoming<S>,
    plan: ReceivePlan,
    folder: Folder,
    turn: OwnedMutexGuard<()>,
) -> io::Result<()> {
    let Incoming {
        stream,
        sealer,
        opener,
        peer,
        bulk,
        signal,
        news,
    } = incoming;
    let (mut read, write) = stream.split();
    let (records_tx, records) = mpsc::channel::<Vec<u8>>(RECORDS_MAX);
    let (back, mut empty) = mpsc::channel::<Vec<u8>>(RECORDS_MAX + 2);
    let (words_tx, words) = mpsc::channel::<BulkWord>(4);
    let expecting = Arc::new(AtomicBool::new(false));
    let writer = Writer {
        plan,
        bulk,
        peer,
        opener,
        records,
        back,
        words: words_tx,
        news,
        expecting: Arc::clone(&expecting),
        _turn: turn,
    };
    let mut writing = tokio::task::spawn_blocking(move || writer.run(&folder));
    let mut reading = Box::pin(async move {
        loop {
            let mut record = empty.try_recv().unwrap_or_default();
            let more = match timeout(SILENCE_MAX, words::read_record(&mut read, &mut record)).await
            {
                Ok(more) => more?,
                // While it is our turn, silence means nothing; nor is a record cut in two.
                Err(_) if !expecting.load(Ordering::Relaxed) => continue,
                Err(_) => return Err(io::Error::from(io::ErrorKind::TimedOut)),
            };
            if !more || records_tx.send(record).await.is_err() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    });
    let mut speaking = std::pin::pin!(speak(write, sealer, words, signal));
    let mut written = None;
    let ended: io::Result<()> = loop {
        tokio::select! {
            said = &mut speaking => break said,
            ended = &mut reading => break ended,
            ended = &mut writing, if written.is_none() => {
                let ended = ended.map_err(io::Error::other).flatten();
                if ended.is_err() {
                    break ended;
                }
                written = Some(());
            }
        }
    };
    // What came until now is still checked, flushed and recorded before the stream counts as over.
    drop(reading);
    if written.is_none() && !writing.is_finished() {
        let _ = writing.await;
    }
    ended
}

/// Says what the thread and the core have to say. Ends when the sender knows that all is stored.
async fn speak(
    mut write: impl AsyncWrite + Unpin,
    mut sealer: Sealer,
    mut words: mpsc::Receiver<BulkWord>,
    mut signal: watch::Receiver<Signal>,
) -> io::Result<()> {
    let mut life = interval(LIFE_SIGN);
    life.tick().await;
    let mut open = true;
    loop {
        let word = tokio::select! {
            word = words.recv(), if open => match word {
                Some(word) => word,
                None => {
                    open = false;
                    continue;
                }
            },
            changed = signal.changed() => {
                let now = *signal.borrow_and_update();
                if changed.is_err() || now.closed {
                    return Err(io::Error::other("it was ended here"));
                }
                if now.finished {
                    break;
                }
                BulkWord::Have { bytes: now.have_bytes }
            }
            _ = life.tick() => BulkWord::Have { bytes: signal.borrow().have_bytes },
        };
        say(&mut write, &mut sealer, &word).await?;
    }
    say(&mut write, &mut sealer, &BulkWord::Done).await?;
    let _ = timeout(CLOSING_MAX, write.close()).await;
    Ok(())
}

async fn say(
    write: &mut (impl AsyncWrite + Unpin),
    sealer: &mut Sealer,
    word: &BulkWord,
) -> io::Result<()> {
    // The sender reads our words at any time.
    sealer.acknowledged();
    let frame = words::seal_word(sealer, word);
    let written = async {
        words::write(write, &frame).await?;
        write.flush().await
    };
    timeout(SILENCE_MAX, written)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// The thread that opens, checks and writes.
struct Writer {
    plan: ReceivePlan,
    bulk: BulkId,
    peer: PeerId,
    opener: Opener,
    records: mpsc::Receiver<Vec<u8>>,
    back: mpsc::Sender<Vec<u8>>,
    words: mpsc::Sender<BulkWord>,
    news: News,
    /// Whether it is the sender's turn.
    expecting: Arc<AtomicBool>,
    _turn: OwnedMutexGuard<()>,
}

/// The chunk whose pieces are coming.
struct Open {
    chunk: u32,
    at: u64,
    end: u64,
    hasher: ChunkHasher,
}

/// Chunks that were checked and wait for a flush.
#[derive(Default)]
struct Group {
    chunks: Vec<u32>,
    bytes: u64,
    moved: u64,
}

impl Writer {
    fn run(mut self, folder: &Folder) -> io::Result<()> {
        let file = Arc::new(self.open(folder)?);
        self.check(folder, &file)?;
        let mut wanted = ChunkSet::empty(self.plan.manifest.count());
        for index in self.plan.have.iter(false) {
            wanted.set(index, true);
        }
        let (groups, flusher) = self.flusher(Arc::clone(&file))?;
        let received = self.rounds(&file, wanted, &groups);
        drop(groups);
        let flushed = flusher
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the flushing thread broke off")));
        received.and(flushed)
    }

    /// Opens the unfinished file, or begins it again should it be gone.
    fn open(&mut self, folder: &Folder) -> io::Result<File> {
        let partial = self.plan.partial;
        match folder.open(partial) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                folder
                    .prepare(partial, self.plan.manifest.size)
                    .map_err(|why| io::Error::other(why.as_str()))?;
                self.plan.check = true;
                folder.open(partial)
            }
            opened => opened,
        }
    }

    /// What a life before wrote is hashed again.
    fn check(&mut self, folder: &Folder, file: &File) -> io::Result<()> {
        if !self.plan.check {
            return Ok(());
        }
        let missing = folder.check(&self.plan, file);
        for index in &missing {
            self.plan.have.set(*index, false);
        }
        let id = self.plan.id;
        self.tell(FileNews::Checked { id, missing })
    }

    /// Asks for what is wanted until nothing is.
    fn rounds(
        &mut self,
        file: &File,
        mut wanted: ChunkSet,
        groups: &std::sync::mpsc::SyncSender<Group>,
    ) -> io::Result<()> {
        while wanted.iter(true).next().is_some() {
            let chunks = wanted.as_bytes().to_vec();
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            self.words
                .blocking_send(BulkWord::Want { chunks })
                .map_err(gone)?;
            self.expecting.store(true, Ordering::Relaxed);
            self.round(file, &mut wanted, groups)?;
            self.expecting.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes in records until the sender says that this is all.
    fn round(
        &mut self,
        file: &File,
        wanted: &mut ChunkSet,
        groups: &std::sync::mpsc::SyncSender<Group>,
    ) -> io::Result<()> {
        let (mut open, mut group) = (None, Group::default());
        let (mut since, mut skipped) = (Instant::now(), 0);
        loop {
            let Some(mut record) = self.records.blocking_recv() else {
                // What is there is kept.
                hand_over(groups, group)?;
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            group.moved += record.len() as u64;
            let ended = match words::open(&mut self.opener, &mut skipped, &mut record)? {
                None => false,
                Some(BulkContent::Word(BulkWord::End)) => true,
                Some(BulkContent::Word(_)) => return Err(io::Error::other("a word out of turn")),
                Some(BulkContent::Data { chunk, bytes }) => {
                    match self.take_in(file, &mut open, wanted, chunk, bytes)? {
                        Some(true) => {
                            wanted.set(chunk, false);
                            group.chunks.push(chunk);
                            let range = self.plan.manifest.range(chunk);
                            group.bytes += range.end - range.start;
                        }
                        Some(false) => {
                            let (id, peer) = (self.plan.id, self.peer);
                            self.tell(FileNews::BadChunk { id, peer })?;
                        }
                        None => {}
                    }
                    false
                }
            };
            let _ = self.back.try_send(record);
            let full = group.bytes >= GROUP_BYTES || since.elapsed() >= GROUP_TIME;
            if ended || (full && !group.chunks.is_empty()) {
                hand_over(groups, std::mem::take(&mut group))?;
                since = Instant::now();
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Writes a piece. At a chunk's end: whether it had its hash.
    fn take_in(
        &self,
        file: &File,
        open: &mut Option<Open>,
        wanted: &ChunkSet,
        chunk: u32,
        bytes: &[u8],
    ) -> io::Result<Option<bool>> {
        let manifest = &self.plan.manifest;
        if open.is_none() {
            if !wanted.has(chunk) {
                return Err(io::Error::other("it sent a chunk that nobody asked for"));
            }
            let range = manifest.range(chunk);
            *open = Some(Open {
                chunk,
                at: range.start,
                end: range.end,
                hasher: ChunkHasher::new(range.start, manifest.count() == 1),
            });
        }
        let Some(current) = open.as_mut().filter(|open| open.chunk == chunk) else {
            return Err(io::Error::other(
                "it began a chunk before the end of another",
            ));
        };
        let left = current.end - current.at;
        if bytes.len() as u64 > left || (bytes.is_empty() && left > 0) {
            return Err(io::Error::other("a piece does not fit its chunk"));
        }
        current.hasher.update(bytes);
        file.write_all_at(bytes, current.at)?;
        current.at += bytes.len() as u64;
        if current.at < current.end {
            return Ok(None);
        }
        let good = current.hasher.finish() == manifest.chunks[chunk as usize];
        *open = None;
        Ok(Some(good))
    }

    /// The thread that flushes groups and says so.
    fn flusher(&self, file: Arc<File>) -> io::Result<Flusher> {
        let (groups, queue) = std::sync::mpsc::sync_channel::<Group>(1);
        let (id, bulk, news) = (self.plan.id, self.bulk, self.news.clone());
        let uncached =
            (self.plan.manifest.size > CACHED_MAX_BYTES).then(|| self.plan.manifest.clone());
        let flush = move || {
            for group in queue {
                file.sync_data()?;
                if let Some(manifest) = &uncached {
                    uncache(
                        &file,
                        group.chunks.iter().map(|chunk| manifest.range(*chunk)),
                    );
                }
                let arrived = FileNews::Arrived {
                    id,
                    bulk,
                    chunks: group.chunks,
                    moved: group.moved,
                };
                let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
                news.blocking_send(arrived).map_err(gone)?;
            }
            Ok(())
        };
        let thread = std::thread::Builder::new()
            .name("file-flush".into())
            .spawn(flush)?;
        Ok((groups, thread))
    }

    fn tell(&self, news: FileNews) -> io::Result<()> {
        self.news
            .blocking_send(news)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

type Flusher = (
    std::sync::mpsc::SyncSender<Group>,
    std::thread::JoinHandle<io::Result<()>>,
);

/// Tells the system that these pages, which are on disk, will not be read soon.
fn uncache(file: &File, ranges: impl Iterator<Item = Range<u64>>) {
    for range in ranges {
        let bytes = (range.start as i64, (range.end - range.start) as i64);
        // A file system that cannot do without its pages keeps them.
        let _ = posix_fadvise(
            file,
            bytes.0,
            bytes.1,
            PosixFadviseAdvice::POSIX_FADV_DONTNEED,
        );
    }
}

fn hand_over(groups: &std::sync::mpsc::SyncSender<Group>, group: Group) -> io::Result<()> {
    groups
        .send(group)
        .map_err(|_| io::Error::other("the disk refused a flush"))
}
