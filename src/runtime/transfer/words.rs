//! What is said on a bulk stream, and how it is put into records.
//!
//! ```text
//! sender                                   receiver
//!   file {transfer_id} ──────────────────▶
//!                      ◀────────────────── want {chunks}        a set, the lowest bit first
//!   data, data, … end ───────────────────▶
//!                      ◀────────────────── have {bytes} …       recorded so far; also a sign of life
//!                      ◀────────────────── want {chunks}        what did not have its hash
//!                      ◀────────────────── done                 all is stored, or:
//! ```
//! A record's content is `00` and the CBOR of a [`Word`], or `01`, a chunk's number as `u32`, and
//! the next piece of that chunk.

use std::io;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use serde::{Deserialize, Serialize};

use crate::proto::session::{Opener, RECORD_OVERHEAD_BYTES, Sealer};
use crate::runtime::clock;
use crate::types::TransferId;
use crate::types::limits::{CHUNKS_MAX, RECORD_MAX_BYTES};
use crate::wire::{WireError, cbor};

/// The bytes of one piece of a chunk.
pub(super) const PIECE_BYTES: usize = 256 * 1024;
/// A longer word is none: the largest holds a set of chunks.
const WORD_MAX_BYTES: usize = CHUNKS_MAX / 8 + 256;
/// The record of a word.
const WORD_RECORD_MAX_BYTES: usize = WORD_MAX_BYTES + RECORD_OVERHEAD_BYTES;
/// Records in a row that do not open.
const SKIPPED_MAX: u32 = 16;

const WORD: u8 = 0;
const DATA: u8 = 1;

/// See the module's header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Word {
    File {
        transfer_id: TransferId,
    },
    Want {
        #[serde(with = "serde_bytes")]
        chunks: Vec<u8>,
    },
    End,
    Have {
        bytes: u64,
    },
    Done,
}

/// A record's content.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    Word(Word),
    Data { chunk: u32, bytes: &'a [u8] },
}

/// The frame of a word.
pub(super) fn seal_word(sealer: &mut Sealer, word: &Word) -> Vec<u8> {
    let mut frame = Vec::new();
    Sealer::begin(&mut frame);
    frame.push(WORD);
    frame.extend_from_slice(&cbor::encode(word));
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
    frame.push(DATA);
    frame.extend_from_slice(&chunk.to_be_bytes());
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
) -> io::Result<Option<Content<'a>>> {
    let start = match opener.open(record) {
        Ok(start) => start,
        Err(WireError::DecryptionFailed | WireError::SequenceError) if *skipped < SKIPPED_MAX => {
            *skipped += 1;
            return Ok(None);
        }
        Err(code) => return Err(io::Error::other(code)),
    };
    *skipped = 0;
    read_content(&record[start..]).map(Some)
}

fn read_content(content: &[u8]) -> io::Result<Content<'_>> {
    let malformed = || io::Error::other(WireError::Malformed);
    match content.split_first() {
        Some((&WORD, word)) => cbor::decode(word, WORD_MAX_BYTES)
            .map(Content::Word)
            .map_err(|_| malformed()),
        Some((&DATA, rest)) => {
            let (chunk, bytes) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
            let chunk = u32::from_be_bytes(*chunk);
            Ok(Content::Data { chunk, bytes })
        }
        _ => Err(malformed()),
    }
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
    pub(super) async fn next(&mut self) -> io::Result<Option<Word>> {
        loop {
            let whole = self.length()?;
            if whole > 4 && self.filled == whole {
                self.filled = 0;
                let mut record = self.frame.split_off(4);
                self.frame.clear();
                match open(&mut self.opener, &mut self.skipped, &mut record)? {
                    None => continue,
                    Some(Content::Word(word)) => return Ok(Some(word)),
                    Some(Content::Data { .. }) => {
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
) -> io::Result<Option<Word>> {
    let (mut record, mut skipped) = (Vec::new(), 0);
    while read_record(stream, &mut record).await? {
        match open(opener, &mut skipped, &mut record)? {
            None => {}
            Some(Content::Word(word)) => return Ok(Some(word)),
            Some(Content::Data { .. }) => return Err(io::Error::other(WireError::InvalidState)),
        }
    }
    Ok(None)
}

/// Writes a frame.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    stream.write_all(frame).await
}
