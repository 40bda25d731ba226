//! A socket with a buffer on either side, between the system and the encryption.
//!
//! TLS takes 4 KiB at a time from what is beneath it and Noise little more, and the multiplexer
//! flushes after every frame: each would be a system call, and they would cost more than the
//! encryption. Here a read takes what the system has, and a flush is put off.
//!
//! # What a flush means here
//!
//! 1. What was written leaves before this side asks the system for more to read, and when the
//!    buffer is full, and on close. A layer above that has written waits for an answer or for
//!    work, and either way reads until there is nothing to read: so nothing is left behind, and
//!    what was written meanwhile leaves in one call.
//! 2. Only one task uses the two halves. The multiplexer owns the socket, so this holds.
//!
//! Bounds: each buffer starts at 4 KiB, doubles while it is filled, ends at 64 KiB, and is small
//! again after 64 small uses in a row: an idle connection holds 8 KiB.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite, ready};

const BUFFER_MIN: usize = 4 * 1024;
const BUFFER_MAX: usize = 64 * 1024;
/// So many uses in a row that a small buffer would have served, and it is small again.
const SMALL_USES_MAX: u8 = 64;

/// A socket whose reads and writes are gathered. See the module.
pub(super) struct Buffered<S> {
    socket: S,
    /// What the system gave: `read[taken..filled]` has not been taken yet.
    read: Vec<u8>,
    taken: usize,
    filled: usize,
    read_size: Size,
    /// What waits for the system: `write[sent..]`, at most `BUFFER_MAX`.
    write: Vec<u8>,
    sent: usize,
    write_size: Size,
}

/// How large a buffer should be, learned from how it is used.
struct Size {
    bytes: usize,
    small_uses: u8,
}

impl Size {
    fn new() -> Size {
        Size {
            bytes: BUFFER_MIN,
            small_uses: 0,
        }
    }

    /// Learns from one use of the buffer; whether its size has changed.
    fn used(&mut self, bytes: usize) -> bool {
        if bytes >= self.bytes && self.bytes < BUFFER_MAX {
            self.small_uses = 0;
            self.bytes *= 2;
            return true;
        }
        if bytes > BUFFER_MIN || self.bytes == BUFFER_MIN {
            self.small_uses = 0;
            return false;
        }
        self.small_uses += 1;
        if self.small_uses < SMALL_USES_MAX {
            return false;
        }
        *self = Size::new();
        true
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Buffered<S> {
    pub(super) fn new(socket: S) -> Buffered<S> {
        Buffered {
            socket,
            read: vec![0; BUFFER_MIN],
            taken: 0,
            filled: 0,
            read_size: Size::new(),
            write: Vec::with_capacity(BUFFER_MIN),
            sent: 0,
            write_size: Size::new(),
        }
    }

    /// Hands everything that was written to the system.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.write.len() {
            let rest = &self.write[self.sent..];
            match ready!(Pin::new(&mut self.socket).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        if !self.write.is_empty() {
            let changed = self.write_size.used(self.write.len());
            self.write.clear();
            self.sent = 0;
            if changed {
                self.write = Vec::with_capacity(self.write_size.bytes);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what the system has. Whoever asks for more has said all: that leaves first.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.send(cx) {
            return Poll::Ready(Err(error));
        }
        (self.taken, self.filled) = (0, 0);
        if self.read.len() != self.read_size.bytes {
            self.read = vec![0; self.read_size.bytes];
        }
        self.filled = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut self.read))?;
        self.read_size.used(self.filled);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Buffered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.taken == self.filled {
            ready!(self.fill(cx))?;
        }
        let count = buf.len().min(self.filled - self.taken);
        buf[..count].copy_from_slice(&self.read[self.taken..self.taken + count]);
        self.taken += count;
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Buffered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.write.len() + buf.len() > self.write_size.bytes && !self.write.is_empty() {
            ready!(self.send(cx))?;
        }
        let count = buf.len().min(BUFFER_MAX);
        self.write.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    /// Puts it off: see the module.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(cx))?;
        Pin::new(&mut self.socket).poll_close(cx)
    }
}
