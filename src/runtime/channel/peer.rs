//! The task of one peer's channel: sees to it that there is a stream while there is a session and a
//! connection.
//!
//! The session's initiator opens the stream, and opens the next when one ends, after a growing
//! pause. Whatever is newer takes the place of what is older: the opener of a second stream knows
//! that the first is of no use.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use libp2p::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::deliver::Deliverer;
use super::frames::{read_frame, write_frame};
use super::link::{Link, Linked};
use super::shared::Shared;
use crate::net::Streams;
use crate::proto::session::{OPENING_MAX_BYTES, Opening, StreamKeys, StreamSecrets, refusal};
use crate::types::{SessionId, StreamKind};
use crate::wire::WireError;

/// From asking for a stream to its answer.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// A stream that lasted so long was a good one: the next is opened without a long pause.
const SETTLED: Duration = Duration::from_secs(10);

/// What happened to the peer's channel.
pub(super) enum News {
    Session(Box<StreamSecrets>),
    SessionOver(SessionId),
    Connected(bool),
    /// They opened a stream, and this is its first frame.
    Inbound(Stream, Opening),
}

/// A stream that was opened: it carries messages as soon as it is linked.
type OpenedStream = (Stream, StreamKeys, u64);

pub(super) struct PeerTask {
    pub(super) shared: Arc<Shared>,
    pub(super) deliverer: Arc<Deliverer>,
    pub(super) streams: Streams,
    pub(super) news: mpsc::Receiver<News>,
    connected: bool,
    link: Option<Linked>,
    opening: Option<JoinHandle<Result<OpenedStream, Option<WireError>>>>,
    retry_at: Instant,
    retry: Duration,
    linked_at: Instant,
}

impl PeerTask {
    pub(super) fn new(
        shared: Arc<Shared>,
        deliverer: Arc<Deliverer>,
        streams: Streams,
        news: mpsc::Receiver<News>,
        connected: bool,
    ) -> PeerTask {
        PeerTask {
            shared,
            deliverer,
            streams,
            news,
            connected,
            link: None,
            opening: None,
            retry_at: Instant::now(),
            retry: RETRY,
            linked_at: Instant::now(),
        }
    }

    /// Runs until the hub lets go of the peer.
    pub(super) async fn run(mut self) {
        loop {
            let wants = self.wants_stream();
            tokio::select! {
                biased;
                news = self.news.recv() => match news {
                    Some(news) => self.on_news(news).await,
                    None => break,
                },
                fault = ended(&mut self.link) => {
                    self.stop();
                    if self.linked_at.elapsed() > SETTLED {
                        self.retry = RETRY;
                    }
                    self.pause();
                    if let Some(code) = fault {
                        self.deliverer.abused(self.shared.peer, code);
                    }
                }
                opened = joined(&mut self.opening) => {
                    self.opening = None;
                    match opened.unwrap_or(Err(None)) {
                        Ok(opened) => self.link(opened),
                        Err(code) => self.not_opened(code),
                    }
                }
                () = sleep_until(self.retry_at), if wants => self.open(),
            }
        }
        self.stop();
        self.shared.close();
    }

    fn wants_stream(&self) -> bool {
        self.connected
            && self.link.is_none()
            && self.opening.is_none()
            && self
                .shared
                .secrets()
                .as_ref()
                .is_some_and(|secrets| secrets.initiator)
    }

    async fn on_news(&mut self, news: News) {
        match news {
            News::Session(secrets) => {
                self.stop();
                *self.shared.secrets() = Some(*secrets);
                self.shared.begin_again(true);
                self.retry_now();
            }
            News::SessionOver(session) => {
                let ours = self
                    .shared
                    .secrets()
                    .as_ref()
                    .map(|secrets| secrets.session);
                if ours == Some(session) {
                    self.stop();
                    *self.shared.secrets() = None;
                }
            }
            News::Connected(connected) => {
                self.connected = connected;
                self.retry_now();
            }
            News::Inbound(stream, opening) => self.accept(stream, &opening).await,
        }
    }

    /// Ends the stream. What its loops share with the next one's is about to be numbered anew.
    fn stop(&mut self) {
        self.link = None;
        self.shared.end_stream();
        if let Some(opening) = self.opening.take() {
            opening.abort();
        }
    }

    fn retry_now(&mut self) {
        self.retry = RETRY;
        self.retry_at = Instant::now();
    }

    fn pause(&mut self) {
        self.retry_at = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(RETRY_MAX);
    }

    fn open(&mut self) {
        let have = self.shared.receiving().have();
        let mut secrets = self.shared.secrets();
        let Some(secrets) = secrets.as_mut() else {
            return;
        };
        let (frame, opened) = secrets.open(StreamKind::Channel, have);
        let (streams, peer) = (self.streams.clone(), self.shared.peer);
        self.opening = Some(tokio::spawn(async move {
            let attempt = async {
                let mut stream =
                    streams
                        .open(peer, StreamKind::Channel)
                        .await
                        .map_err(|error| {
                            tracing::debug!(%peer, %error, "no stream for the channel");
                            None
                        })?;
                write_frame(&mut stream, &frame).await.map_err(|_| None)?;
                let mut answer = Vec::new();
                read_frame(&mut stream, OPENING_MAX_BYTES, &mut answer)
                    .await
                    .map_err(|_| None)?;
                let (keys, have) = opened.answered(&answer).map_err(Some)?;
                Ok((stream, keys, have))
            };
            timeout(OPEN_TIMEOUT, attempt).await.unwrap_or(Err(None))
        }));
    }

    fn not_opened(&mut self, code: Option<WireError>) {
        self.pause();
        let session = self
            .shared
            .secrets()
            .as_ref()
            .map(|secrets| secrets.session);
        if let (Some(WireError::SessionNotFound), Some(session)) = (code, session) {
            self.deliverer.refused(self.shared.peer, session);
        }
    }

    async fn accept(&mut self, mut stream: Stream, opening: &Opening) {
        let have = self.shared.receiving().have();
        let accepted = match self.shared.secrets().as_mut() {
            Some(secrets) => secrets.accept(StreamKind::Channel, opening, have),
            None => Err(WireError::SessionNotFound),
        };
        match accepted {
            Ok((keys, answer, their_have)) => {
                self.stop();
                match timeout(OPEN_TIMEOUT, write_frame(&mut stream, &answer)).await {
                    Ok(Ok(())) => self.link((stream, keys, their_have)),
                    _ => self.pause(),
                }
            }
            Err(code) => {
                // They may be gone already.
                let _ = timeout(OPEN_TIMEOUT, write_frame(&mut stream, &refusal(code))).await;
                if code != WireError::SessionNotFound {
                    self.deliverer.abused(self.shared.peer, code);
                }
            }
        }
    }

    fn link(&mut self, (stream, keys, their_have): OpenedStream) {
        self.linked_at = Instant::now();
        let resumed = self.shared.sending().acknowledged(their_have);
        if let Err(code) = resumed {
            self.deliverer.abused(self.shared.peer, code);
            return self.pause();
        }
        self.shared.begin_again(false);
        let secrets = self.shared.secrets();
        let Some(session) = secrets.as_ref() else {
            return;
        };
        self.shared.counts.streams.fetch_add(1, Relaxed);
        let link = Link::new(
            Arc::clone(&self.shared),
            Arc::clone(&self.deliverer),
            session,
            keys,
            stream,
        );
        self.link = Some(link.start());
    }
}

/// The end of the stream, if there is one; else never.
async fn ended(link: &mut Option<Linked>) -> Option<WireError> {
    match link {
        Some(link) => link.ended().await,
        None => std::future::pending().await,
    }
}

/// The outcome of a task, if there is one; else never.
async fn joined<T>(task: &mut Option<JoinHandle<T>>) -> Option<T> {
    match task {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}
