//! Frames on a stream: a length, then as many bytes.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Reads one frame into `buffer`, whose content it replaces.
///
/// # Errors
/// The stream's; `InvalidData` for a length above `max_bytes`, before anything is reserved for it.
pub(crate) async fn read_frame<R: AsyncRead + Unpin>(
    stream: &mut R,
    max_bytes: usize,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > max_bytes {
        let why = format!("a frame of {length} bytes, where {max_bytes} is the most");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    buffer.resize(length, 0);
    stream.read_exact(buffer).await
}

/// Writes one frame and sends it off.
///
/// # Errors
/// The stream's.
pub(crate) async fn write_frame<W: AsyncWrite + Unpin>(
    stream: &mut W,
    content: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(content.len()).expect("a frame is far below 4 GiB");
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(content).await?;
    stream.flush().await
}
