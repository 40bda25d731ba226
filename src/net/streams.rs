//! Long-lived streams: the door through which channels and transfers speak with a peer without
//! going through the exchanges.
//!
//! A stream belongs to a connection and ends with it. Nobody is dialled for a stream: whoever
//! opens one has seen the connection. An inbound stream may be lost when many come at once, which
//! its opener sees as a stream that ends; so opening is retried by who needs it.

use std::io;

use futures::StreamExt;
use libp2p::{Stream, StreamProtocol};
use libp2p_stream::{Control, IncomingStreams, OpenStreamError};
use tokio::sync::mpsc;

use crate::types::{NetworkName, PeerId, StreamKind};

/// Inbound streams that nobody has taken up yet; more are closed.
const WAITING_MAX: usize = 64;

/// A stream that a peer opened.
pub struct Inbound {
    pub peer: PeerId,
    pub kind: StreamKind,
    pub stream: Stream,
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The peer does not speak this protocol.
    #[error("the peer has no {0} streams: it runs an older version")]
    Unsupported(StreamKind),
    /// The connection ended, or there was none.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// Opens streams. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    control: Control,
    network: NetworkName,
}

impl Streams {
    pub(super) fn new(control: Control, network: NetworkName) -> Streams {
        Streams { control, network }
    }

    /// Opens a stream to a connected peer. The caller bounds the time.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn open(&self, peer: PeerId, kind: StreamKind) -> Result<Stream, StreamError> {
        let mut control = self.control.clone();
        control
            .open_stream(peer, protocol(&self.network, kind))
            .await
            .map_err(|error| match error {
                OpenStreamError::UnsupportedProtocol(_) => StreamError::Unsupported(kind),
                OpenStreamError::Io(error) => StreamError::Io(error),
                other => StreamError::Io(io::Error::other(other.to_string())),
            })
    }

    /// Takes up what peers open, of every kind, until the receiver is dropped. To be called once.
    pub fn accept(&self) -> mpsc::Receiver<Inbound> {
        let (tx, rx) = mpsc::channel(WAITING_MAX);
        for kind in StreamKind::ALL {
            let incoming = self
                .control
                .clone()
                .accept(protocol(&self.network, kind))
                .expect("nobody else accepts this protocol");
            tokio::spawn(forward(incoming, kind, tx.clone()));
        }
        rx
    }
}

/// Never waits for who takes them: an inbound stream that waits here would make the next one
/// fall away unseen.
async fn forward(mut incoming: IncomingStreams, kind: StreamKind, tx: mpsc::Sender<Inbound>) {
    while let Some((peer, stream)) = incoming.next().await {
        match tx.try_send(Inbound { peer, kind, stream }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::debug!(%peer, %kind, "too many streams at once: one is closed");
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
    }
}

fn protocol(network: &NetworkName, kind: StreamKind) -> StreamProtocol {
    StreamProtocol::try_from_owned(format!("/junto/{network}/{kind}/1"))
        .expect("a protocol name begins with a slash")
}
