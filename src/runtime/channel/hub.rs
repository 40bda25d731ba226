//! Every channel of the node, and the streams that come in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use libp2p::Stream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::agent::{Agent, AgentConfig};
use super::deliver::{ChannelEvent, Deliverer};
use super::frames::{read_frame, write_frame};
use super::handle::Channel;
use super::peer::{News, OPEN_TIMEOUT, PeerTask};
use super::shared::{ChannelCounts, Shared};
use crate::net::{Inbound, Streams};
use crate::proto::node::Settled;
use crate::proto::session::{
    OPENING_MAX_BYTES, Opener, Opening, Sealer, StreamSecrets, parse_opening, record_layer, refusal,
};
use crate::runtime::clock;
use crate::types::limits::SESSIONS_MAX;
use crate::types::{DeliveryId, EntityId, PeerId, SessionId, StreamKind};
use crate::wire::WireError;

const NEWS_MAX: usize = 64;
/// Streams whose first frame is awaited.
const GREETING_MAX: usize = 256;
/// Bulk streams that wait to be taken up.
const BULK_WAITING_MAX: usize = 64;

/// A stream for the chunks of a file, open on both sides.
pub(crate) struct BulkStream {
    pub(crate) peer: PeerId,
    pub(crate) entity: EntityId,
    pub(crate) stream: Stream,
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
}

/// Why a bulk stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BulkError {
    #[error("there is no session with the peer")]
    NoSession,
    #[error("the peer refused the stream: {0}")]
    Refused(WireError),
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
}

struct Entry {
    shared: Arc<Shared>,
    news: mpsc::Sender<News>,
}

/// See the module's header.
pub(crate) struct Channels {
    peers: Mutex<HashMap<PeerId, Entry>>,
    connected: Mutex<std::collections::HashSet<PeerId>>,
    deliverer: Arc<Deliverer>,
    streams: Option<Streams>,
    bulk: mpsc::Sender<BulkStream>,
    /// The counts of channels that are no more.
    past: ChannelCounts,
}

impl Channels {
    /// Takes up streams from now on. Returns where bulk streams of others come out.
    pub(crate) fn start(
        streams: Streams,
        agent: AgentConfig,
        outside: Option<Arc<dyn Agent>>,
        events: mpsc::Sender<ChannelEvent>,
    ) -> (Arc<Channels>, mpsc::Receiver<BulkStream>) {
        let (bulk, bulk_streams) = mpsc::channel(BULK_WAITING_MAX);
        let inbound = streams.accept();
        let channels = Arc::new(Channels {
            peers: Mutex::default(),
            connected: Mutex::default(),
            deliverer: Arc::new(Deliverer::new(agent, outside, events)),
            streams: Some(streams),
            bulk,
            past: ChannelCounts::default(),
        });
        tokio::spawn(greet_all(Arc::downgrade(&channels), inbound));
        (channels, bulk_streams)
    }

    /// No network: for tests of what stands above.
    #[cfg(test)]
    pub(crate) fn detached() -> Arc<Channels> {
        let (events, _) = mpsc::channel(1);
        let (bulk, _) = mpsc::channel(1);
        Arc::new(Channels {
            peers: Mutex::default(),
            connected: Mutex::default(),
            deliverer: Arc::new(Deliverer::new(AgentConfig::Inbox, None, events)),
            streams: None,
            bulk,
            past: ChannelCounts::default(),
        })
    }

    /// What a restart leaves of a session, for tests of what the other side makes of it.
    #[cfg(test)]
    pub(super) fn lose_session(&self, peer: &PeerId) {
        if let Some(entry) = self.peers().get(peer) {
            *entry.shared.secrets() = None;
        }
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<PeerId, Entry>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session is live.
    pub(crate) fn up(&self, secrets: Box<StreamSecrets>) {
        let Some(streams) = &self.streams else {
            return;
        };
        let peer = secrets.peer;
        let mut peers = self.peers();
        if peers.len() >= SESSIONS_MAX {
            // What waits for a session that does not come gives way.
            peers.retain(|_, entry| entry.shared.secrets().is_some());
        }
        let entry = peers.entry(peer).or_insert_with(|| {
            let shared = Arc::new(Shared::new(peer));
            let (news, queue) = mpsc::channel(NEWS_MAX);
            let task = PeerTask::new(
                Arc::clone(&shared),
                Arc::clone(&self.deliverer),
                streams.clone(),
                queue,
                self.is_connected(&peer),
            );
            tokio::spawn(task.run());
            Entry { shared, news }
        });
        tell(entry, News::Session(secrets));
    }

    /// A session is over. What waits on its channel waits for the next.
    pub(crate) fn down(&self, peer: PeerId, session: SessionId) {
        if let Some(entry) = self.peers().get(&peer) {
            tell(entry, News::SessionOver(session));
        }
    }

    /// The node's core begins anew: every session is gone.
    pub(crate) fn down_all(&self) {
        for (_, entry) in self.peers().drain() {
            self.past.add(&entry.shared.counts);
        }
    }

    /// The first connection to a peer stands, or the last is gone.
    pub(crate) fn connected(&self, peer: PeerId, connected: bool) {
        {
            let mut set = self
                .connected
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if connected {
                set.insert(peer);
            } else {
                set.remove(&peer);
            }
        }
        let mut peers = self.peers();
        // Nobody sends, no session: the peer is forgotten with its connection.
        let idle =
            |entry: &Entry| entry.shared.secrets().is_none() && entry.shared.outbox.is_empty();
        if !connected
            && peers.get(&peer).is_some_and(idle)
            && let Some(gone) = peers.remove(&peer)
        {
            self.past.add(&gone.shared.counts);
        }
        if let Some(entry) = peers.get(&peer) {
            tell(entry, News::Connected(connected));
        }
    }

    fn is_connected(&self, peer: &PeerId) -> bool {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(peer)
    }

    /// The channel of a peer with a session.
    pub(crate) fn channel(&self, peer: &PeerId, entity: EntityId) -> Option<Channel> {
        let peers = self.peers();
        let entry = peers.get(peer)?;
        Some(Channel::new(Arc::clone(&entry.shared), entity))
    }

    /// What went over all channels, those that are no more among them.
    pub(crate) fn totals(&self) -> ChannelCounts {
        let totals = ChannelCounts::default();
        let peers = self.peers();
        totals.add(&self.past);
        for entry in peers.values() {
            totals.add(&entry.shared.counts);
        }
        totals
    }

    pub(crate) fn settle(&self, delivery: DeliveryId, outcome: Settled) {
        self.deliverer.settle(delivery, outcome);
    }

    pub(crate) fn answer(&self, delivery: DeliveryId, body: Vec<u8>) {
        self.deliverer.answer(delivery, body);
    }

    /// Opens a bulk stream to a peer with a session and a connection.
    ///
    /// # Errors
    /// [`BulkError`].
    pub(crate) async fn open_bulk(&self, peer: PeerId) -> Result<BulkStream, BulkError> {
        let streams = self.streams.as_ref().ok_or(BulkError::NoSession)?;
        let shared = self
            .peers()
            .get(&peer)
            .map(|entry| Arc::clone(&entry.shared))
            .ok_or(BulkError::NoSession)?;
        let attempt = async {
            let mut stream = streams
                .open(peer, StreamKind::Bulk)
                .await
                .map_err(|error| BulkError::Io(std::io::Error::other(error.to_string())))?;
            let (frame, opened, entity, session) = {
                let mut secrets = shared.secrets();
                let secrets = secrets.as_mut().ok_or(BulkError::NoSession)?;
                let (frame, opened) = secrets.open(StreamKind::Bulk, 0);
                (frame, opened, secrets.theirs, secrets.session)
            };
            write_frame(&mut stream, &frame).await?;
            let mut answer = Vec::new();
            read_frame(&mut stream, OPENING_MAX_BYTES, &mut answer).await?;
            let (keys, _) = opened.answered(&answer).map_err(|code| {
                if code == WireError::SessionNotFound {
                    self.deliverer.refused(peer, session);
                }
                BulkError::Refused(code)
            })?;
            let (sealer, opener) = record_layer(keys, clock::now().mono);
            Ok(BulkStream {
                peer,
                entity,
                stream,
                sealer,
                opener,
            })
        };
        let late = || BulkError::Io(std::io::ErrorKind::TimedOut.into());
        timeout(OPEN_TIMEOUT, attempt).await.map_err(|_| late())?
    }

    async fn greet(&self, inbound: Inbound) {
        let Inbound {
            peer,
            kind,
            mut stream,
        } = inbound;
        let mut frame = Vec::new();
        let read = read_frame(&mut stream, OPENING_MAX_BYTES, &mut frame);
        if !matches!(timeout(OPEN_TIMEOUT, read).await, Ok(Ok(()))) {
            return;
        }
        let code = match parse_opening(&frame) {
            Ok(opening) => match kind {
                StreamKind::Channel => match self.news_of(&peer) {
                    // A task that does not keep up with its peer's openings drops them.
                    Some(news) => return drop(news.try_send(News::Inbound(stream, opening))),
                    None => WireError::SessionNotFound,
                },
                StreamKind::Bulk => match self.accept_bulk(peer, &opening) {
                    Ok((entity, keys, answer)) => {
                        if write_frame(&mut stream, &answer).await.is_ok() {
                            let (sealer, opener) = record_layer(keys, clock::now().mono);
                            let bulk = BulkStream {
                                peer,
                                entity,
                                stream,
                                sealer,
                                opener,
                            };
                            if self.bulk.try_send(bulk).is_err() {
                                tracing::debug!(%peer, "too many bulk streams: one is closed");
                            }
                        }
                        return;
                    }
                    Err(code) => code,
                },
            },
            Err(code) => code,
        };
        // They may be gone already.
        let _ = timeout(OPEN_TIMEOUT, write_frame(&mut stream, &refusal(code))).await;
        if code != WireError::SessionNotFound {
            self.deliverer.abused(peer, code);
        }
    }

    fn news_of(&self, peer: &PeerId) -> Option<mpsc::Sender<News>> {
        self.peers().get(peer).map(|entry| entry.news.clone())
    }

    fn accept_bulk(
        &self,
        peer: PeerId,
        opening: &Opening,
    ) -> Result<(EntityId, crate::proto::session::StreamKeys, Vec<u8>), WireError> {
        let peers = self.peers();
        let entry = peers.get(&peer).ok_or(WireError::SessionNotFound)?;
        let mut secrets = entry.shared.secrets();
        let secrets = secrets.as_mut().ok_or(WireError::SessionNotFound)?;
        let (keys, answer, _) = secrets.accept(StreamKind::Bulk, opening, 0)?;
        Ok((secrets.theirs, keys, answer))
    }
}

fn tell(entry: &Entry, news: News) {
    if entry.news.try_send(news).is_err() {
        tracing::warn!(peer = %entry.shared.peer, "a channel's task does not keep up");
    }
}

/// Reads the first frame of each stream beside the others, until the hub is gone.
async fn greet_all(channels: Weak<Channels>, mut inbound: mpsc::Receiver<Inbound>) {
    let room = Arc::new(Semaphore::new(GREETING_MAX));
    while let Some(stream) = inbound.recv().await {
        let Some(channels) = channels.upgrade() else {
            return;
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        tokio::spawn(async move {
            channels.greet(stream).await;
            drop(permit);
        });
    }
}
