//! Accepts connections, but never too many and none that does nothing.
//!
//! Bounds: [`CONNECTIONS_MAX`] at once (more wait in the kernel's queue), [`IDLE_TIMEOUT`] without
//! a byte in either direction.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

const CONNECTIONS_MAX: usize = 512;
/// Longer than any request is held open ([`super::guard::WAIT_TIMEOUT`]).
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// A TCP listener with a limit.
pub(super) struct BoundedListener {
    inner: TcpListener,
    slots: Arc<Semaphore>,
}

impl BoundedListener {
    /// Takes connections from `inner`.
    pub(super) fn new(inner: TcpListener) -> BoundedListener {
        BoundedListener {
            inner,
            slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        let (stream, peer) = Listener::accept(&mut self.inner).await;
        // Answers are small and awaited; a socket that refuses this is only slower.
        let _ = stream.set_nodelay(true);
        let idle = Box::pin(sleep(IDLE_TIMEOUT));
        (
            Connection {
                stream,
                idle,
                _slot: slot,
            },
            peer,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// The address that a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote(pub(super) IpAddr);

impl Connected<IncomingStream<'_, BoundedListener>> for Remote {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Remote {
        Remote(stream.remote_addr().ip())
    }
}

/// One connection, its place among them, and the clock on its silence.
pub(super) struct Connection {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// Passes on what a read or write came to; nothing for too long is an error.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(result) => {
                self.idle.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
                Poll::Ready(result)
            }
            Poll::Pending => {
                ready!(self.idle.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watch(cx, polled)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_closed_connection_gives_its_slot_back() {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = inner.local_addr().unwrap();
        let mut listener = BoundedListener {
            inner,
            slots: Arc::new(Semaphore::new(1)),
        };
        let _first = TcpStream::connect(addr).await.unwrap();
        let (held, _) = listener.accept().await;
        let _second = TcpStream::connect(addr).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(early.is_err(), "no slot is free");
        drop(held);
        let next = tokio::time::timeout(Duration::from_secs(5), listener.accept()).await;
        assert!(next.is_ok());
    }

    #[tokio::test]
    async fn a_silent_connection_ends_and_a_byte_starts_the_clock_anew() {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(inner.local_addr().unwrap())
            .await
            .unwrap();
        let mut listener = BoundedListener::new(inner);
        let (mut served, _) = listener.accept().await;
        served.idle.as_mut().reset(Instant::now());
        let error = served.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        client.write_all(b"x").await.unwrap();
        served.stream.readable().await.unwrap();
        assert_eq!(served.read_u8().await.unwrap(), b'x');
        assert!(served.idle.deadline() > Instant::now());
    }
}
