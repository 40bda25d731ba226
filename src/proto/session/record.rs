//! Records: what is sealed on a stream, one after the other.
//!
//! ```text
//! frame  = length u32 ‖ record
//! record = epoch u32 ‖ seq u64 ‖ ciphertext and tag      AAD = length ‖ epoch ‖ seq ‖ transcript
//! ```
//!
//! A stream keeps its order, so the receiver knows the one number that comes next. One that does
//! not open is skipped and moves no counter (somebody in between may have put it there); one that
//! opens under a higher number than the next means that something was left out, and the stream is
//! given up: what was lost is sent again on the next.
//!
//! # Invariants
//! - **R1** A number is sealed once in a stream; epochs only go forward.
//! - **R2** What does not open moves nothing.
//! - **R3** A sender enters an epoch only after something of the one before was acknowledged; a
//!   receiver derives at most one epoch ahead.

use super::lane::TrafficSecret;
use super::streams::StreamKeys;
use crate::crypto::{Digest, TAG_BYTES};
use crate::types::Mono;
use crate::types::limits::{EPOCH_MAX_BYTES, EPOCH_MAX_MS, EPOCH_MAX_RECORDS, RECORD_MAX_BYTES};
use crate::wire::WireError;

/// Length, epoch and number.
pub const RECORD_HEADER_BYTES: usize = 4 + 4 + 8;
/// What a record adds to its content, its length included.
pub const RECORD_OVERHEAD_BYTES: usize = RECORD_HEADER_BYTES + TAG_BYTES;

/// Seals the records of one direction.
pub struct Sealer {
    secret: TrafficSecret,
    transcript: Digest,
    epoch: u32,
    next_seq: u64,
    records: u64,
    bytes: u64,
    since: Mono,
    acknowledged: bool,
}

/// Opens the records of one direction.
pub struct Opener {
    secret: TrafficSecret,
    transcript: Digest,
    epoch: u32,
    next_seq: u64,
}

/// Both directions of a stream.
pub fn record_layer(keys: StreamKeys, now: Mono) -> (Sealer, Opener) {
    let transcript = keys.transcript;
    let sealer = Sealer {
        secret: keys.send,
        transcript,
        epoch: 0,
        next_seq: 0,
        records: 0,
        bytes: 0,
        since: now,
        acknowledged: false,
    };
    let opener = Opener {
        secret: keys.receive,
        transcript,
        epoch: 0,
        next_seq: 0,
    };
    (sealer, opener)
}

impl Sealer {
    /// Room for a frame's header at the front of a buffer; [`Sealer::seal`] fills it in.
    pub fn begin(buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.resize(RECORD_HEADER_BYTES, 0);
    }

    /// Seals what stands behind the header in `buffer`, which then is a whole frame.
    ///
    /// # Panics
    /// When the content is longer than a record may be: a defect of the caller.
    pub fn seal(&mut self, buffer: &mut Vec<u8>, now: Mono) {
        assert!(
            buffer.len() >= RECORD_HEADER_BYTES && buffer.len() + TAG_BYTES <= RECORD_MAX_BYTES + 4,
            "a record fits its limit"
        );
        self.turn(now);
        let length = (buffer.len() + TAG_BYTES - 4) as u32;
        buffer[..4].copy_from_slice(&length.to_be_bytes());
        buffer[4..8].copy_from_slice(&self.epoch.to_be_bytes());
        buffer[8..16].copy_from_slice(&self.next_seq.to_be_bytes());
        let aad = aad(&buffer[..RECORD_HEADER_BYTES], &self.transcript);
        let seq = self.next_seq;
        self.secret
            .key()
            .seal_in_place(seq, &aad, buffer, RECORD_HEADER_BYTES);
        self.next_seq += 1;
        self.records += 1;
        self.bytes += u64::from(length);
    }

    /// Something that was sealed in this epoch has arrived.
    pub fn acknowledged(&mut self) {
        self.acknowledged = true;
    }

    /// Enters the next epoch when this one has done enough (R3).
    fn turn(&mut self, now: Mono) {
        let worn = self.records >= EPOCH_MAX_RECORDS
            || self.bytes >= EPOCH_MAX_BYTES
            || now.since(self.since) >= EPOCH_MAX_MS;
        if !(worn && self.acknowledged) {
            return;
        }
        self.secret = self.secret.next();
        self.epoch += 1;
        self.records = 0;
        self.bytes = 0;
        self.since = now;
        self.acknowledged = false;
    }
}

impl Opener {
    /// Opens a record (a frame without its length) where it stands; the content is left behind
    /// the returned offset.
    ///
    /// # Errors
    /// `DECRYPTION_FAILED` or `SEQUENCE_ERROR` for a record to be skipped. `INVALID_STATE`: one
    /// before this is missing, the stream is of no more use.
    pub fn open(&mut self, record: &mut Vec<u8>) -> Result<usize, WireError> {
        const SKIP: usize = RECORD_HEADER_BYTES - 4;
        if record.len() < SKIP + TAG_BYTES || record.len() > RECORD_MAX_BYTES {
            return Err(WireError::DecryptionFailed);
        }
        let epoch = u32::from_be_bytes(record[..4].try_into().expect("4 bytes"));
        let seq = u64::from_be_bytes(record[4..12].try_into().expect("8 bytes"));
        let ahead = epoch.checked_sub(self.epoch);
        if seq < self.next_seq || !matches!(ahead, Some(0 | 1)) {
            return Err(WireError::SequenceError);
        }
        let length = (record.len() as u32).to_be_bytes();
        let header: [u8; RECORD_HEADER_BYTES] = [&length[..], &record[..SKIP]]
            .concat()
            .try_into()
            .expect("4 and 12 bytes");
        let aad = aad(&header, &self.transcript);
        let next = (ahead == Some(1)).then(|| self.secret.next());
        let key = next.as_ref().unwrap_or(&self.secret).key();
        key.open_in_place(seq, &aad, record, SKIP)
            .map_err(|_| WireError::DecryptionFailed)?;
        if seq > self.next_seq {
            return Err(WireError::InvalidState);
        }
        self.next_seq += 1;
        if let Some(next) = next {
            self.secret = next;
            self.epoch = epoch;
        }
        Ok(SKIP)
    }
}

fn aad(header: &[u8], transcript: &Digest) -> [u8; RECORD_HEADER_BYTES + 32] {
    let mut aad = [0; RECORD_HEADER_BYTES + 32];
    aad[..RECORD_HEADER_BYTES].copy_from_slice(header);
    aad[RECORD_HEADER_BYTES..].copy_from_slice(transcript);
    aad
}
