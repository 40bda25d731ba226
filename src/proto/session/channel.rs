//! What a channel remembers of its messages, on both sides: numbers, what is not acknowledged,
//! what was seen before. Streams come and go beneath it.
//!
//! A message is numbered when it is sealed. `have` in whatever comes back says up to which number
//! all has arrived; what is above it is kept here and sent again on the next stream, or in the next
//! session, under a new number and the same id.
//!
//! # Invariants
//! - **C1** A number is given once in a session; they go up.
//! - **C2** At most [`UNACKED_MAX_MESSAGES`] messages are kept, and [`WINDOW_BYTES`] are under way
//!   (one message more, if it is large).
//! - **C3** Of two messages with one id only the first is handed on, as long as its sender may still
//!   send it again.

use std::collections::{HashSet, VecDeque};

use crate::proto::Violation;
use crate::types::limits::{
    RECENT_MAX_MESSAGES, UNACKED_MAX_MESSAGES, URGENT_WINDOW_BYTES, WINDOW_BYTES,
};
use crate::wire::{Batch, ChannelMessage, ChannelType, WireError};

/// What it costs to carry a message, beside its body.
const MESSAGE_BYTES: usize = 48;

/// So many batches may be under way, however small.
const BATCHES_UNDER_WAY: usize = 2;

/// What may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub bytes: usize,
    /// For messages of high and critical priority.
    pub urgent_bytes: usize,
    pub messages: usize,
}

struct Unacked {
    seq: u64,
    bytes: usize,
    message: ChannelMessage,
}

/// The sending side.
#[derive(Default)]
pub struct ChannelOut {
    next: u64,
    unacked: VecDeque<Unacked>,
    bytes: usize,
    /// The number behind each batch that is not acknowledged.
    batches: VecDeque<u64>,
}

impl ChannelOut {
    /// What may still be sent before something is acknowledged.
    pub fn room(&self) -> Room {
        Room {
            bytes: WINDOW_BYTES.saturating_sub(self.bytes),
            urgent_bytes: URGENT_WINDOW_BYTES.saturating_sub(self.bytes),
            messages: UNACKED_MAX_MESSAGES.saturating_sub(self.unacked.len()),
        }
    }

    /// Whether so much is under way that a small batch had better wait: for an acknowledgement, or
    /// to become a full one. Otherwise a sender that is faster than the other side's checks would
    /// have it check a signature for every message.
    pub fn is_ahead(&self) -> bool {
        self.batches.len() >= BATCHES_UNDER_WAY
    }

    /// Whether all that was sent has been acknowledged.
    pub fn is_idle(&self) -> bool {
        self.unacked.is_empty()
    }

    /// Numbers messages that are sealed now; returns the first one's number.
    pub fn number(&mut self, messages: &[ChannelMessage]) -> u64 {
        let first = self.next;
        for message in messages {
            let bytes = message.body.len() + MESSAGE_BYTES;
            self.bytes += bytes;
            self.unacked.push_back(Unacked {
                seq: self.next,
                bytes,
                message: message.clone(),
            });
            self.next += 1;
        }
        if !messages.is_empty() {
            self.batches.push_back(self.next);
        }
        first
    }

    /// The other side has all below `have`. Returns whether that was news.
    ///
    /// # Errors
    /// `SEQUENCE_ERROR` if it claims to have what was never sent.
    pub fn acknowledged(&mut self, have: u64) -> Result<bool, WireError> {
        if have > self.next {
            return Err(WireError::SequenceError);
        }
        let before = self.unacked.len();
        while self.unacked.front().is_some_and(|first| first.seq < have) {
            let gone = self.unacked.pop_front().expect("there is a first");
            self.bytes -= gone.bytes;
        }
        while self.batches.front().is_some_and(|end| *end <= have) {
            self.batches.pop_front();
        }
        Ok(self.unacked.len() < before)
    }

    /// A stream broke, or the session was replaced: hands out all that was not acknowledged, to be
    /// sent again.
    pub fn again(&mut self) -> Vec<ChannelMessage> {
        self.bytes = 0;
        self.batches.clear();
        self.unacked
            .drain(..)
            .map(|unacked| ChannelMessage {
                again: true,
                ..unacked.message
            })
            .collect()
    }

    /// A new session counts from 0. To be called after [`ChannelOut::again`].
    pub fn restart(&mut self) {
        self.next = 0;
    }

    /// Checks C2.
    ///
    /// # Errors
    /// The violation.
    pub fn check(&self) -> Result<(), Violation> {
        let sum: usize = self.unacked.iter().map(|unacked| unacked.bytes).sum();
        Violation::unless(sum == self.bytes, "C2", || {
            format!("{} bytes are counted, {sum} are there", self.bytes)
        })
    }
}

/// The receiving side.
#[derive(Default)]
pub struct ChannelIn {
    have: u64,
    recent: HashSet<[u8; 16]>,
    order: VecDeque<[u8; 16]>,
}

impl ChannelIn {
    /// The number expected next: all below have arrived.
    pub fn have(&self) -> u64 {
        self.have
    }

    /// Takes a verified batch: for each of its messages whether it is to be handed on.
    ///
    /// # Errors
    /// `SEQUENCE_ERROR` for numbers that were given before.
    pub fn take(&mut self, batch: &Batch) -> Result<Vec<bool>, WireError> {
        if batch.messages.is_empty() {
            return Ok(Vec::new());
        }
        if batch.head.first < self.have {
            return Err(WireError::SequenceError);
        }
        self.have = batch.head.first + batch.messages.len() as u64;
        let fresh = batch.messages.iter().map(|message| match message.kind {
            ChannelType::Talk | ChannelType::Report => self.is_new(message.id),
            _ => true,
        });
        Ok(fresh.collect())
    }

    fn is_new(&mut self, id: [u8; 16]) -> bool {
        if !self.recent.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > RECENT_MAX_MESSAGES
            && let Some(oldest) = self.order.pop_front()
        {
            self.recent.remove(&oldest);
        }
        true
    }

    /// A new session counts from 0; the ids are still known.
    pub fn restart(&mut self) {
        self.have = 0;
    }
}
