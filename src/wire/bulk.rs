//! What is said on a bulk stream: the content of its records.
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
//! A record's content is `00` and the CBOR of a [`BulkWord`], or `01`, a chunk's number as `u32`,
//! and the next piece of that chunk.

use serde::{Deserialize, Serialize};

use super::{WireError, cbor};
use crate::types::TransferId;
use crate::types::limits::CHUNKS_MAX;

/// A longer word is none: the largest holds a set of chunks.
pub const BULK_WORD_MAX_BYTES: usize = CHUNKS_MAX / 8 + 256;

const WORD: u8 = 0;
const DATA: u8 = 1;

/// See the module's header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BulkWord {
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
pub enum BulkContent<'a> {
    Word(BulkWord),
    Data { chunk: u32, bytes: &'a [u8] },
}

impl BulkWord {
    /// Adds the content that says this to a record.
    pub fn write(&self, record: &mut Vec<u8>) {
        record.push(WORD);
        record.extend_from_slice(&cbor::encode(self));
    }
}

impl BulkContent<'_> {
    /// Reads a record's content.
    ///
    /// # Errors
    /// `MALFORMED`.
    pub fn read(content: &[u8]) -> Result<BulkContent<'_>, WireError> {
        match content.split_first() {
            Some((&WORD, word)) => cbor::decode(word, BULK_WORD_MAX_BYTES)
                .map(BulkContent::Word)
                .map_err(|_| WireError::Malformed),
            Some((&DATA, rest)) => {
                let (chunk, bytes) = rest.split_first_chunk().ok_or(WireError::Malformed)?;
                let chunk = u32::from_be_bytes(*chunk);
                Ok(BulkContent::Data { chunk, bytes })
            }
            _ => Err(WireError::Malformed),
        }
    }

    /// Adds what stands before a piece of chunk `chunk` to a record.
    pub fn begin_piece(chunk: u32, record: &mut Vec<u8>) {
        record.push(DATA);
        record.extend_from_slice(&chunk.to_be_bytes());
    }
}
