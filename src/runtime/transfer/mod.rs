//! Files: everything about a transfer that touches bytes. The core decides, this reads, hashes,
//! seals, checks, writes and flushes, on threads of its own, and answers by [`FileNews`].
//!
//! Bounds: one file is hashed at a time; streams and chunks as in `sending` and `receiving`; at
//! most `ASKING_MAX` incoming streams whose file is not yet known. Whatever a file's size, a
//! transfer takes a few MiB of memory on each side.

mod folder;
mod receiving;
mod sending;
mod source;
mod words;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use self::folder::Folder;
use self::receiving::{Incoming, Signal};
use super::FilesConfig;
use super::channel::{BulkStream, Channels};
use super::claims::Claims;
use crate::proto::node::{FileJob, FileNews};
use crate::proto::transfer::{Partial, ReceivePlan, SendEnd, SendPlan};
use crate::types::{BulkId, PeerId, TransferId};
use crate::wire::{BulkWord, WireError};

/// News that wait for the driver; who has more waits.
const NEWS_MAX: usize = 256;
/// Incoming streams that have not yet been told what is wanted.
const ASKING_MAX: usize = 32;
/// How long a sender may take to name its file, and the core to answer.
const ASKING_TIME: Duration = Duration::from_secs(10);
/// How long a stream waits until the one before has left the file.
const TURN_TIME: Duration = Duration::from_secs(30);

/// One writer at a time for each unfinished file.
type Turns = BTreeMap<Partial, Weak<tokio::sync::Mutex<()>>>;

/// Everything that is done for files at the moment.
pub(super) struct Files {
    folder: Folder,
    channels: Arc<Channels>,
    news: mpsc::Sender<FileNews>,
    sending: BTreeMap<TransferId, AbortHandle>,
    hashing: BTreeMap<TransferId, Arc<AtomicBool>>,
    hash_turn: Arc<Semaphore>,
    streams: Arc<Mutex<BTreeMap<BulkId, Stream>>>,
    asking: Arc<Semaphore>,
    turns: Arc<Mutex<Turns>>,
    next_bulk: u64,
    /// Nothing of this process can be in the folder of payloads yet.
    first: bool,
}

/// An incoming stream.
struct Stream {
    /// Taken once the core has decided.
    plan: Option<oneshot::Sender<ReceivePlan>>,
    signal: watch::Sender<Signal>,
}

impl Files {
    /// Returns what the driver listens to, too. `first`: of this process.
    pub(super) fn new(
        config: &FilesConfig,
        channels: Arc<Channels>,
        first: bool,
        claims: Claims,
    ) -> (Files, mpsc::Receiver<FileNews>) {
        let (news, news_rx) = mpsc::channel(NEWS_MAX);
        let files = Files {
            folder: Folder::new(config, claims),
            channels,
            news,
            sending: BTreeMap::new(),
            hashing: BTreeMap::new(),
            hash_turn: Arc::new(Semaphore::new(1)),
            streams: Arc::default(),
            asking: Arc::new(Semaphore::new(ASKING_MAX)),
            turns: Arc::default(),
            next_bulk: 1,
            first,
        };
        (files, news_rx)
    }

    /// What of the disk is spoken for.
    pub(super) fn claims(&self) -> Claims {
        self.folder.claims()
    }

    /// Does what the core asks for. Never waits.
    pub(super) fn run(&mut self, job: FileJob) {
        match job {
            FileJob::Hash { id, path } => self.hash(id, path),
            FileJob::Send { peer, plan } => self.send(peer, plan),
            FileJob::StopSending { id } => {
                if let Some(task) = self.sending.remove(&id) {
                    task.abort();
                }
                if let Some(stop) = self.hashing.remove(&id) {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            FileJob::Prepare { id, partial, size } => self.on_disk(move |folder| {
                let prepared = folder.prepare(partial, size);
                Some(FileNews::Prepared { id, prepared })
            }),
            FileJob::Receive { bulk, plan } => {
                if let Some(stream) = self.streams().get_mut(&bulk)
                    && let Some(waiting) = stream.plan.take()
                {
                    // It may have given up waiting: then its end is on its way to the core.
                    let _ = waiting.send(plan);
                }
            }
            FileJob::Recorded { bulk, have_bytes } => {
                self.signal(bulk, |signal| signal.have_bytes = have_bytes);
            }
            FileJob::Finished { bulk } => self.signal(bulk, |signal| signal.finished = true),
            FileJob::Close { bulk } => {
                self.signal(bulk, |signal| signal.closed = true);
                if let Some(stream) = self.streams().get_mut(&bulk) {
                    stream.plan = None;
                }
            }
            FileJob::Name { id, name } => self.on_disk(move |folder| {
                let named = folder.free_name(&name);
                Some(FileNews::Named { id, named })
            }),
            FileJob::Store {
                id,
                partial,
                name,
                manifest,
            } => self.on_disk(move |folder| {
                let outcome = folder.store(partial, &name, &manifest);
                Some(FileNews::Stored { id, outcome })
            }),
            FileJob::Discard { partial } => self.on_disk(move |folder| {
                folder.discard(partial);
                None
            }),
            FileJob::DropPayload { file } => self.on_disk(move |folder| {
                folder.drop_payload(file);
                None
            }),
            FileJob::Sweep { keep, payloads } => {
                self.folder.resume(&keep);
                // Looked up at once, so that none that begins from now on is among them.
                let mut leftovers = self.folder.leftovers(&keep);
                // What is on its way in by other doors is of this life, and known to them only.
                if std::mem::take(&mut self.first) {
                    leftovers.extend(self.folder.stray_payloads(&payloads, &keep));
                }
                self.on_disk(move |_| {
                    leftovers.iter().for_each(|path| folder::remove(path));
                    None
                });
            }
        }
    }

    fn signal(&self, bulk: BulkId, change: impl FnOnce(&mut Signal)) {
        if let Some(stream) = self.streams().get(&bulk) {
            stream.signal.send_modify(change);
        }
    }

    fn streams(&self) -> MutexGuard<'_, BTreeMap<BulkId, Stream>> {
        lock(&self.streams)
    }

    /// Work that waits for the disk.
    fn on_disk(&self, work: impl FnOnce(&Folder) -> Option<FileNews> + Send + 'static) {
        let (folder, news) = (self.folder.clone(), self.news.clone());
        tokio::task::spawn_blocking(move || {
            if let Some(told) = work(&folder) {
                // The driver is gone only when the node stops.
                let _ = news.blocking_send(told);
            }
        });
    }

    fn hash(&mut self, id: TransferId, path: String) {
        let stop = Arc::new(AtomicBool::new(false));
        self.hashing.insert(id, Arc::clone(&stop));
        let (turn, news) = (Arc::clone(&self.hash_turn), self.news.clone());
        tokio::spawn(async move {
            let Ok(_turn) = turn.acquire().await else {
                return;
            };
            let hashed = tokio::task::spawn_blocking(move || source::hash_file(&path, &stop)).await;
            let hashed = hashed.unwrap_or_else(|_| Err(String::from("hashing broke off")));
            let _ = news.send(FileNews::Hashed { id, hashed }).await;
        });
    }

    fn send(&mut self, peer: PeerId, plan: SendPlan) {
        let id = plan.id;
        self.hashing.remove(&id);
        let (channels, news) = (Arc::clone(&self.channels), self.news.clone());
        let task = tokio::spawn(async move {
            let end = match channels.open_bulk(peer).await {
                Ok(bulk) => sending::send(bulk.stream, bulk.sealer, bulk.opener, plan, &news).await,
                Err(error) => {
                    tracing::debug!(%peer, %error, "no stream for a file");
                    SendEnd::Broken
                }
            };
            let _ = news.send(FileNews::SendEnded { id, end }).await;
        });
        if let Some(older) = self.sending.insert(id, task.abort_handle()) {
            older.abort();
        }
        self.sending.retain(|_, task| !task.is_finished());
    }

    /// A peer opened a stream to send a file.
    pub(super) fn accept(&mut self, stream: BulkStream) {
        let Ok(permit) = Arc::clone(&self.asking).try_acquire_owned() else {
            tracing::debug!(peer = %stream.peer, "too many streams of files at once: one is closed");
            return;
        };
        let bulk = BulkId(self.next_bulk);
        self.next_bulk += 1;
        let (plan_tx, plan_rx) = oneshot::channel();
        let (signal_tx, signal) = watch::channel(Signal::default());
        let open = Stream {
            plan: Some(plan_tx),
            signal: signal_tx,
        };
        self.streams().insert(bulk, open);
        let accepting = Accepting {
            bulk,
            folder: self.folder.clone(),
            news: self.news.clone(),
            signal,
            turns: Arc::clone(&self.turns),
        };
        let (streams, news) = (Arc::clone(&self.streams), self.news.clone());
        tokio::spawn(async move {
            if let Err(error) = accepting.run(stream, plan_rx, permit).await {
                tracing::debug!(%bulk, %error, "a stream that brings a file ended");
            }
            lock(&streams).remove(&bulk);
            let _ = news.send(FileNews::ReceiveEnded { bulk }).await;
        });
    }
}

impl Drop for Files {
    /// Ends everything: what is recorded is recorded.
    fn drop(&mut self) {
        self.streams().clear();
        for task in self.sending.values() {
            task.abort();
        }
        for stop in self.hashing.values() {
            stop.store(true, Ordering::Relaxed);
        }
    }
}

/// A stream from its first frame on.
struct Accepting {
    bulk: BulkId,
    folder: Folder,
    news: mpsc::Sender<FileNews>,
    signal: watch::Receiver<Signal>,
    turns: Arc<Mutex<Turns>>,
}

impl Accepting {
    async fn run(
        self,
        bulk: BulkStream,
        plan: oneshot::Receiver<ReceivePlan>,
        asking: OwnedSemaphorePermit,
    ) -> io::Result<()> {
        let BulkStream {
            peer,
            entity,
            mut stream,
            sealer,
            mut opener,
        } = bulk;
        let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
        let first = timeout(ASKING_TIME, words::read_word(&mut stream, &mut opener));
        let Some(BulkWord::File { transfer_id: id }) = first.await.map_err(timed_out)?? else {
            return Err(io::Error::other(WireError::InvalidState));
        };
        let asked = FileNews::StreamAsked {
            bulk: self.bulk,
            from: entity,
            id,
        };
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.news.send(asked).await.map_err(gone)?;
        let unwanted = |_| io::Error::other("the file is not wanted");
        let plan = timeout(ASKING_TIME, plan).await.map_err(timed_out)?;
        let plan = plan.map_err(unwanted)?;
        drop(asking);
        let turn = self.turn(plan.partial);
        let turn = timeout(TURN_TIME, turn.lock_owned())
            .await
            .map_err(timed_out)?;
        let incoming = Incoming {
            stream,
            sealer,
            opener,
            peer,
            bulk: self.bulk,
            signal: self.signal,
            news: self.news,
        };
        receiving::receive(incoming, plan, self.folder, turn).await
    }

    /// Who writes to an unfinished file holds this.
    fn turn(&self, partial: Partial) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = lock(&self.turns);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(&partial).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        turns.insert(partial, Arc::downgrade(&turn));
        turn
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Held for look-ups only, which leave the map whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
