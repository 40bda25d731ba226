//! How what is said on a bulk stream ([`BulkWord`]) is put into records, and read again.

use std::io;

use crate::proto::session::{Opener, RECORD_OVERHEAD_BYTES, Sealer};
use crate::runtime::clock;
use crate::types::limits::RECORD_MAX_BYTES;
use crate::wire::{BULK_WORD_MAX_BYTES, BulkContent, BulkWord, WireError};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The bytes of one piece of a chunk.
pub(super) const PIECE_BYTES: usize = 256 * 1024;
/// The record of a word.
const WORD_RECORD_MAX_BYTES: usize = BULK_WORD_MAX_BYTES + RECORD_OVERHEAD_BYTES;
/// Records in a row that do not open.
const SKIPPED_MAX: u32 = 16;

/// The frame of a word.
pub(super) fn seal_word(sealer: &mut Sealer, word: &BulkWord) -> Vec<u8> {
    let mut frame = Vec::new();
    Sealer::begin(&mut frame);
    word.write(&mut frame);
    sealer.seal(&mut frame, clock::now().mono);
    frame
}

/// Puts a piece of a chunk into `frame`; `read` fills in its `length` bytes.
pub(super) fn seal_data<E>(
    sealer: &mut Sealer,
    frame: &mut Vec<u8>,
    chunk: u32,
    length: usize,
    read: impl FnOnce(&mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    Sealer::begin(frame);
    BulkContent::begin_piece(chunk, frame);
    let start = frame.len();
    frame.resize(start + length, 0);
    read(&mut frame[start..])?;
    sealer.seal(frame, clock::now().mono);
    Ok(())
}

/// Opens a record. None: it is to be skipped.
pub(super) fn open<'a>(
    opener: &mut Opener,
    skipped: &mut u32,
    record: &'a mut Vec<u8>,
) -> io::Result<Option<BulkContent<'a>>> {
    let start = match opener.open(record) {
        Ok(start) => start,
        Err(WireError::DecryptionFailed | WireError::SequenceError) if *skipped < SKIPPED_MAX => {
            *skipped += 1;
            return Ok(None);
        }
        Err(code) => return Err(io::Error::other(code)),
    };
    *skipped = 0;
    BulkContent::read(&record[start..])
        .map(Some)
        .map_err(io::Error::other)
}

/// Reads the next record into `record`. False at the stream's end.
pub(super) async fn read_record(
    stream: &mut (impl AsyncRead + Unpin),
    record: &mut Vec<u8>,
) -> io::Result<bool> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > RECORD_MAX_BYTES {
        return Err(io::Error::other(WireError::PayloadTooLarge));
    }
    record.resize(length, 0);
    stream.read_exact(record).await?;
    Ok(true)
}

/// Reads words. Dropping a call of [`WordReader::next`] loses nothing of what was read.
pub(super) struct WordReader<R> {
    read: R,
    opener: Opener,
    frame: Vec<u8>,
    filled: usize,
    skipped: u32,
}

impl<R: AsyncRead + Unpin> WordReader<R> {
    pub(super) fn new(read: R, opener: Opener) -> WordReader<R> {
        WordReader {
            read,
            opener,
            frame: Vec::new(),
            filled: 0,
            skipped: 0,
        }
    }

    /// The next word. None at the stream's end.
    pub(super) async fn next(&mut self) -> io::Result<Option<BulkWord>> {
        loop {
            let whole = self.length()?;
            if whole > 4 && self.filled == whole {
                self.filled = 0;
                let mut record = self.frame.split_off(4);
                self.frame.clear();
                match open(&mut self.opener, &mut self.skipped, &mut record)? {
                    None => continue,
                    Some(BulkContent::Word(word)) => return Ok(Some(word)),
                    Some(BulkContent::Data { .. }) => {
                        return Err(io::Error::other(WireError::InvalidState));
                    }
                }
            }
            self.frame.resize(whole, 0);
            let read = self.read.read(&mut self.frame[self.filled..]).await?;
            match (read, self.filled) {
                (0, 0) => return Ok(None),
                (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => self.filled += read,
            }
        }
    }

    /// How long the frame is, as far as is known.
    fn length(&self) -> io::Result<usize> {
        let Some(length) = self.frame.first_chunk().filter(|_| self.filled >= 4) else {
            return Ok(4);
        };
        match u32::from_be_bytes(*length) as usize {
            0 => Err(io::Error::other(WireError::Malformed)),
            length if length > WORD_RECORD_MAX_BYTES => {
                Err(io::Error::other(WireError::PayloadTooLarge))
            }
            length => Ok(4 + length),
        }
    }
}

/// Reads the next word; skips what does not open. None at the stream's end.
pub(super) async fn read_word(
    stream: &mut (impl AsyncRead + Unpin),
    opener: &mut Opener,
) -> io::Result<Option<BulkWord>> {
    let (mut record, mut skipped) = (Vec::new(), 0);
    while read_record(stream, &mut record).await? {
        match open(opener, &mut skipped, &mut record)? {
            None => {}
            Some(BulkContent::Word(word)) => return Ok(Some(word)),
            Some(BulkContent::Data { .. }) => {
                return Err(io::Error::other(WireError::InvalidState));
            }
        }
    }
    Ok(None)
}

/// Writes a frame.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    stream.write_all(frame).await
}
