//! How an exchange is written: one frame each way, a big-endian `u32` length and that many bytes.
//!
//! Bounds: a frame has at most [`FRAME_MAX_BYTES`]; a larger one is refused by its length alone.
//! Memory follows what has arrived, not what was promised. What large frames have arrived in part
//! takes at most [`READING_MAX_BYTES`] over all peers; past that, large frames are refused and
//! small ones still pass.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response;

use crate::types::limits::FRAME_MAX_BYTES;

/// The read buffer grows by this much at a time.
const STEP_BYTES: usize = 64 * 1024;
/// What a frame may take without asking for a share of [`READING_MAX_BYTES`].
const FREE_BYTES: usize = STEP_BYTES;
/// All large frames together while they are being read.
const READING_MAX_BYTES: usize = 256 * 1024 * 1024;
/// So much of a frame goes out in one write with its length.
const HEAD_BYTES: usize = 16 * 1024;

/// Reads and writes frames. Clones share the budget for large ones.
#[derive(Clone, Default)]
pub(super) struct FrameCodec {
    reading_bytes: Arc<AtomicUsize>,
}

impl FrameCodec {
    async fn read_frame<T>(&self, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut prefix = [0; 4];
        io.read_exact(&mut prefix).await?;
        let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
        check_length(length, io::ErrorKind::InvalidData)?;

        let mut share = Share {
            taken_bytes: 0,
            of: &self.reading_bytes,
        };
        let mut frame = Vec::new();
        while frame.len() < length {
            let filled = frame.len();
            let next = length.min(filled + STEP_BYTES);
            share.grow_to(next.saturating_sub(FREE_BYTES))?;
            frame.resize(next, 0);
            io.read_exact(&mut frame[filled..]).await?;
        }
        Ok(frame)
    }

    async fn write_frame<T>(&self, io: &mut T, frame: &[u8]) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let length = check_length(frame.len(), io::ErrorKind::InvalidInput)?;
        let (first, rest) = frame.split_at(frame.len().min(HEAD_BYTES));
        let mut head = Vec::with_capacity(4 + first.len());
        head.extend_from_slice(&length.to_be_bytes());
        head.extend_from_slice(first);
        io.write_all(&head).await?;
        io.write_all(rest).await?;
        io.flush().await
    }
}

/// Refuses a frame that is too large, whichever way it goes.
fn check_length(length: usize, kind: io::ErrorKind) -> io::Result<u32> {
    match u32::try_from(length) {
        Ok(prefix) if length <= FRAME_MAX_BYTES => Ok(prefix),
        _ => Err(io::Error::new(
            kind,
            format!(
                "a frame of {length} bytes is too large: at most {FRAME_MAX_BYTES} are allowed"
            ),
        )),
    }
}

/// One large frame's part of the budget, given back when it has been read or its reader is gone.
struct Share<'a> {
    taken_bytes: usize,
    of: &'a AtomicUsize,
}

impl Share<'_> {
    fn grow_to(&mut self, bytes: usize) -> io::Result<()> {
        let more = bytes.saturating_sub(self.taken_bytes);
        let before = self.of.fetch_add(more, Ordering::Relaxed);
        self.taken_bytes += more;
        if more > 0 && before.saturating_add(more) > READING_MAX_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "too many large frames are being read at once",
            ));
        }
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.of.fetch_sub(self.taken_bytes, Ordering::Relaxed);
    }
}

impl request_response::Codec for FrameCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read_frame(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read_frame(io).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.write_frame(io, &request).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.write_frame(io, &response).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::Cursor;

    fn read(codec: &FrameCodec, wire: &[u8]) -> io::Result<Vec<u8>> {
        block_on(codec.read_frame(&mut Cursor::new(wire)))
    }

    fn written(frame: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        block_on(FrameCodec::default().write_frame(&mut wire, frame)).expect("it is small enough");
        wire
    }

    #[test]
    fn a_frame_comes_back_as_it_was_sent() {
        let codec = FrameCodec::default();
        for length in [
            0,
            1,
            HEAD_BYTES,
            HEAD_BYTES + 1,
            STEP_BYTES * 3 + 7,
            FRAME_MAX_BYTES,
        ] {
            let frame: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let wire = written(&frame);
            assert_eq!(wire.len(), 4 + length);
            assert_eq!(read(&codec, &wire).expect("a whole frame"), frame);
        }
        assert_eq!(codec.reading_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_length_is_four_bytes_big_endian() {
        assert_eq!(written(b"abc"), b"\0\0\0\x03abc");
    }

    /// Counts what is asked for, so that a test sees how far a reader got.
    struct Counting<'a> {
        wire: &'a [u8],
        largest_request_bytes: usize,
    }

    impl AsyncRead for Counting<'_> {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut [u8],
        ) -> std::task::Poll<io::Result<usize>> {
            self.largest_request_bytes = self.largest_request_bytes.max(buffer.len());
            let count = buffer.len().min(self.wire.len());
            buffer[..count].copy_from_slice(&self.wire[..count]);
            self.wire = &self.wire[count..];
            std::task::Poll::Ready(Ok(count))
        }
    }

    #[test]
    fn a_promise_of_too_much_is_refused_before_anything_is_allocated() {
        let too_large = u32::try_from(FRAME_MAX_BYTES + 1)
            .expect("it fits")
            .to_be_bytes();
        for prefix in [too_large, [0xff; 4]] {
            let mut io = Counting {
                wire: &prefix,
                largest_request_bytes: 0,
            };
            let error = block_on(FrameCodec::default().read_frame(&mut io)).expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains("too large"), "{error}");
            assert_eq!(
                io.largest_request_bytes, 4,
                "nothing past the length was read"
            );
        }
    }

    #[test]
    fn a_promise_that_is_not_kept_costs_no_more_than_a_step() {
        let codec = FrameCodec::default();
        let mut wire = u32::try_from(FRAME_MAX_BYTES)
            .expect("it fits")
            .to_be_bytes()
            .to_vec();
        wire.extend_from_slice(&[1; 10]);
        let mut io = Counting {
            wire: &wire,
            largest_request_bytes: 0,
        };
        let error = block_on(codec.read_frame(&mut io)).expect_err("cut off");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(io.largest_request_bytes <= STEP_BYTES);
        assert_eq!(codec.reading_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_cut_frame_is_an_error_wherever_it_is_cut() {
        let wire = written(b"hello");
        for cut in 0..wire.len() {
            let error = read(&FrameCodec::default(), &wire[..cut]).expect_err("cut off");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
    }

    #[test]
    fn a_frame_that_is_too_large_is_not_written() {
        let mut wire = Vec::new();
        let frame = vec![0; FRAME_MAX_BYTES + 1];
        let error = block_on(FrameCodec::default().write_frame(&mut wire, &frame));
        assert_eq!(
            error.expect_err("refused").kind(),
            io::ErrorKind::InvalidInput
        );
        assert!(wire.is_empty());
    }

    #[test]
    fn without_room_large_frames_are_refused_and_small_ones_pass() {
        let codec = FrameCodec::default();
        codec
            .reading_bytes
            .store(READING_MAX_BYTES, Ordering::Relaxed);
        let small = vec![7; FREE_BYTES];
        assert_eq!(
            read(&codec, &written(&small)).expect("small frames are free"),
            small
        );
        let error = read(&codec, &written(&vec![7; FREE_BYTES + 1])).expect_err("no room");
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(
            codec.reading_bytes.load(Ordering::Relaxed),
            READING_MAX_BYTES
        );
    }
}
