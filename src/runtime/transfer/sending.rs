//! One file on its way out: a thread reads and seals, the task beside it writes to the stream and
//! hears what the receiver says.
//!
//! Bounds: [`FRAMES_MAX`] sealed pieces between the two. A receiver that reads slowly stops the
//! writing, that the reading.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::source::Source;
use super::words::{self, PIECE_BYTES, WordReader};
use crate::proto::node::FileNews;
use crate::proto::session::{Opener, Sealer};
use crate::proto::transfer::{ChunkSet, SendEnd, SendPlan};
use crate::types::TransferId;
use crate::wire::BulkWord;

/// Sealed pieces that wait for the stream.
const FRAMES_MAX: usize = 6;
/// A receiver that says nothing for so long, or takes nothing, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How often progress is told.
const TELL_EVERY_BYTES: u64 = 8 << 20;

type News = mpsc::Sender<FileNews>;

/// Sends what the receiver lacks, until it has everything.
pub(super) async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    sealer: Sealer,
    opener: Opener,
    plan: SendPlan,
    news: &News,
) -> SendEnd {
    let (path, size) = (plan.path.clone(), plan.manifest.size);
    let opened =
        tokio::task::spawn_blocking(move || Source::reopen(&path, size, plan.modified_ns)).await;
    let source = match opened {
        Ok(Ok(source)) => Arc::new(source),
        Ok(Err(reason)) => return SendEnd::Source(reason),
        Err(_) => return SendEnd::Broken,
    };
    let (read, write) = stream.split();
    let mut sending = Sending {
        read: WordReader::new(read, opener),
        write,
        plan: Arc::new(plan),
        source,
        acknowledged: Arc::new(AtomicBool::new(false)),
        news: news.clone(),
    };
    match sending.run(sealer).await {
        Ok(()) => SendEnd::Done,
        Err(Failed::Source(reason)) => SendEnd::Source(reason),
        Err(Failed::Stream(error)) => {
            tracing::debug!(id = %sending.plan.id, %error, "the stream of a file broke");
            SendEnd::Broken
        }
    }
}

enum Failed {
    Source(String),
    Stream(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Stream(error)
    }
}

struct Sending<R, W> {
    read: WordReader<R>,
    write: W,
    plan: Arc<SendPlan>,
    source: Arc<Source>,
    /// Something of this epoch arrived: the sealer may go on to the next.
    acknowledged: Arc<AtomicBool>,
    news: News,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Sending<R, W> {
    async fn run(&mut self, mut sealer: Sealer) -> Result<(), Failed> {
        let transfer_id = self.plan.id;
        let file = words::seal_word(&mut sealer, &BulkWord::File { transfer_id });
        self.write_out(&file).await?;
        self.flush().await?;
        let mut wanted = self.hear_want().await?;
        while let Some(chunks) = wanted {
            sealer = self.send_chunks(sealer, chunks).await?;
            wanted = self.hear_want().await?;
        }
        // The other side closes first.
        let _ = self.write.close().await;
        Ok(())
    }

    /// Waits until the receiver wants chunks, or none any more.
    async fn hear_want(&mut self) -> Result<Option<ChunkSet>, Failed> {
        loop {
            let word = timeout(SILENCE_MAX, self.read.next())
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            let done = match word {
                Some(BulkWord::Want { chunks }) => {
                    let count = self.plan.manifest.count();
                    let set = ChunkSet::from_bytes(&chunks, count);
                    let malformed = || io::Error::other("it wants chunks that do not exist");
                    return Ok(Some(set.ok_or_else(malformed)?));
                }
                Some(BulkWord::Have { bytes }) => bytes,
                Some(BulkWord::Done) => return Ok(None),
                Some(BulkWord::File { .. } | BulkWord::End) => {
                    return Err(io::Error::other("a word out of turn").into());
                }
                None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            };
            self.heard(done).await;
        }
    }

    async fn heard(&self, done: u64) {
        self.acknowledged.store(true, Ordering::Relaxed);
        tell(&self.news, self.plan.id, Some(done), 0).await;
    }

    async fn send_chunks(&mut self, sealer: Sealer, chunks: ChunkSet) -> Result<Sealer, Failed> {
        let (frames, mut sealed) = mpsc::channel::<Vec<u8>>(FRAMES_MAX);
        let (back, empty) = mpsc::channel::<Vec<u8>>(FRAMES_MAX + 2);
        let reader = Reader {
            plan: Arc::clone(&self.plan),
            source: Arc::clone(&self.source),
            acknowledged: Arc::clone(&self.acknowledged),
            frames,
            empty,
        };
        let reading = tokio::task::spawn_blocking(move || reader.run(sealer, &chunks));
        let mut untold = 0_u64;
        // What the receiver says meanwhile is read, too, or both sides could wait for each other.
        let (acknowledged, news) = (&self.acknowledged, &self.news);
        let mut hearing = Box::pin(hear_progress(
            &mut self.read,
            acknowledged,
            news,
            self.plan.id,
        ));
        loop {
            let frame = tokio::select! {
                biased;
                frame = sealed.recv() => frame,
                error = &mut hearing => return Err(error.into()),
            };
            let Some(frame) = frame else { break };
            tokio::select! {
                biased;
                written = timeout(SILENCE_MAX, words::write(&mut self.write, &frame)) => {
                    written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                }
                error = &mut hearing => return Err(error.into()),
            }
            untold += frame.len() as u64;
            if untold >= TELL_EVERY_BYTES {
                tell(&self.news, self.plan.id, None, std::mem::take(&mut untold)).await;
            }
            // A buffer that is not wanted back is freed.
            let _ = back.try_send(frame);
        }
        drop(hearing);
        tell(&self.news, self.plan.id, None, untold).await;
        let read = reading.await.map_err(io::Error::other)?;
        let sealer = read.map_err(Failed::Source)?;
        self.flush().await?;
        Ok(sealer)
    }

    async fn write_out(&mut self, frame: &[u8]) -> io::Result<()> {
        timeout(SILENCE_MAX, words::write(&mut self.write, frame))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn flush(&mut self) -> io::Result<()> {
        timeout(SILENCE_MAX, self.write.flush())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

/// Hears words while chunks are sent; only ends when the stream is of no more use.
async fn hear_progress(
    read: &mut WordReader<impl AsyncRead + Unpin>,
    acknowledged: &AtomicBool,
    news: &News,
    id: TransferId,
) -> io::Error {
    loop {
        match read.next().await {
            Ok(Some(BulkWord::Have { bytes })) => {
                acknowledged.store(true, Ordering::Relaxed);
                tell(news, id, Some(bytes), 0).await;
            }
            Ok(Some(_)) => return io::Error::other("a word out of turn"),
            Ok(None) => return io::ErrorKind::UnexpectedEof.into(),
            Err(error) => return error,
        }
    }
}

async fn tell(news: &News, id: TransferId, done: Option<u64>, moved: u64) {
    // The driver is gone only when the node stops.
    let _ = news.send(FileNews::Sending { id, done, moved }).await;
}

/// The thread beside the stream.
struct Reader {
    plan: Arc<SendPlan>,
    source: Arc<Source>,
    acknowledged: Arc<AtomicBool>,
    frames: mpsc::Sender<Vec<u8>>,
    empty: mpsc::Receiver<Vec<u8>>,
}

impl Reader {
    /// Reads, seals and hands over; gives the sealer back at the end.
    fn run(mut self, mut sealer: Sealer, chunks: &ChunkSet) -> Result<Sealer, String> {
        let plan = Arc::clone(&self.plan);
        for chunk in chunks.iter(true) {
            let range = plan.manifest.range(chunk);
            let mut at = range.start;
            loop {
                let length = (range.end - at).min(PIECE_BYTES as u64) as usize;
                let mut frame = self.empty.try_recv().unwrap_or_default();
                if self.acknowledged.swap(false, Ordering::Relaxed) {
                    sealer.acknowledged();
                }
                words::seal_data(&mut sealer, &mut frame, chunk, length, |buffer| {
                    self.source.read(buffer, at)
                })?;
                if self.frames.blocking_send(frame).is_err() {
                    // The stream is gone: nobody looks at the sealer any more.
                    return Ok(sealer);
                }
                at += length as u64;
                if at >= range.end {
                    break;
                }
            }
            self.source.unchanged()?;
        }
        let end = words::seal_word(&mut sealer, &BulkWord::End);
        let _ = self.frames.blocking_send(end);
        Ok(sealer)
    }
}
