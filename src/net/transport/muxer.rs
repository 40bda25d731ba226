//! Yamux over an encrypted connection, with bounds of our own. libp2p's wrapper of the same
//! library does not let them be set; otherwise this is that wrapper.
//!
//! Bounds, for each connection:
//!
//! - 512 streams. A peer that opens more loses the connection.
//! - What a peer has sent on a stream and nobody has read: 256 KiB, and for all streams together
//!   16 MiB more. A stream that is read fast over a long way gets its larger window from those
//!   16 MiB. How long the way is, the peer can pretend, so without this bound (libp2p: 1 GiB) it
//!   could make a reader that takes its time hold that much.
//! - Streams that a peer has opened and the swarm has not taken yet: 256.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::io;
use std::iter::{Once, once};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use yamux::{Connection, ConnectionError, Mode};

const STREAMS_MAX: usize = 512;
/// What yamux lets a peer send on a new stream.
const WINDOW_BYTES: usize = 256 * 1024;
/// By how much all windows of a connection together may grow beyond that.
const WINDOWS_GROW_BYTES: usize = 16 * 1024 * 1024;
/// The longest frame we send. Longer ones save little and make other streams wait.
const FRAME_BYTES: usize = 32 * 1024;
/// As many as may be unacknowledged: a peer that keeps to the rules never has more waiting.
const UNTAKEN_MAX: usize = 256;

/// The upgrade from an encrypted connection to streams.
#[derive(Clone)]
pub(super) struct Config;

impl Config {
    fn yamux() -> yamux::Config {
        let mut config = yamux::Config::default();
        config
            .set_max_num_streams(STREAMS_MAX)
            .set_max_connection_receive_window(Some(
                STREAMS_MAX * WINDOW_BYTES + WINDOWS_GROW_BYTES,
            ))
            .set_split_send_size(FRAME_BYTES);
        config
    }
}

impl UpgradeInfo for Config {
    type Info = &'static str;
    type InfoIter = Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        once("/yamux/1.0.0")
    }
}

impl<C> InboundConnectionUpgrade<C> for Config
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_inbound(self, connection: C, _: &'static str) -> Self::Future {
        ready(Ok(Muxer::new(connection, Mode::Server)))
    }
}

impl<C> OutboundConnectionUpgrade<C> for Config
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_outbound(self, connection: C, _: &'static str) -> Self::Future {
        ready(Ok(Muxer::new(connection, Mode::Client)))
    }
}

/// A connection that carries streams.
pub(super) struct Muxer<C> {
    connection: Connection<C>,
    /// Opened by the peer while only progress was asked for; at most `UNTAKEN_MAX`.
    untaken: VecDeque<yamux::Stream>,
    /// Who waits for the next of them.
    taker: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(connection: C, mode: Mode) -> Muxer<C> {
        Muxer {
            connection: Connection::new(connection, Config::yamux(), mode),
            untaken: VecDeque::new(),
            taker: None,
        }
    }

    /// Moves everything on. Yamux does so only while it looks for the peer's next stream.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        self.connection.poll_next_inbound(cx).map(|next| {
            next.unwrap_or(Err(ConnectionError::Closed))
                .map_err(to_io_error)
        })
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = io::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<yamux::Stream>> {
        if let Some(stream) = self.untaken.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = self.poll_next(cx);
        if next.is_pending() {
            self.taker = Some(cx.waker().clone());
        }
        next
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<yamux::Stream>> {
        self.connection.poll_new_outbound(cx).map_err(to_io_error)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.poll_close(cx).map_err(to_io_error)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let stream = futures::ready!(self.poll_next(cx))?;
        if self.untaken.len() < UNTAKEN_MAX {
            self.untaken.push_back(stream);
            if let Some(taker) = self.taker.take() {
                taker.wake();
            }
        } else {
            tracing::debug!(%stream, "the peer opens streams faster than they are taken: reset");
        }
        // There may be more; others have their turn first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// What the system said is passed on as it is.
fn to_io_error(error: ConnectionError) -> io::Error {
    match error {
        ConnectionError::Io(error) => error,
        error => io::Error::other(error),
    }
}
