//! What the two loops of a channel, and whoever sends on it, share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use super::outbox::Outbox;
use crate::proto::session::{ChannelIn, ChannelOut, StreamSecrets};
use crate::types::limits::TALKS_PER_PEER_MAX;
use crate::types::{PeerId, Priority};
use crate::wire::{ChannelMessage, ChannelType, WireError, cbor};

/// How long an acknowledgement waits for a message to ride on.
const ACK_DELAY: Duration = Duration::from_millis(1);
/// After so many batches it does not wait: the other side may be waiting for it.
const ACK_BATCHES: usize = 2;

/// How an answer ended.
pub(super) type Answer = Result<Bytes, WireError>;

/// Counts for people and metrics.
#[derive(Debug, Default)]
pub struct ChannelCounts {
    pub messages_out: AtomicU64,
    pub messages_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub bytes_in: AtomicU64,
    pub records_out: AtomicU64,
    pub records_in: AtomicU64,
    /// Messages that were sent again after a stream broke.
    pub again: AtomicU64,
    /// Messages that came again and were not handed on.
    pub duplicates: AtomicU64,
    /// Frames that did not open.
    pub refused: AtomicU64,
    /// Answers that nobody waited for: too late, or the second time.
    pub unclaimed: AtomicU64,
    pub streams: AtomicU64,
}

impl ChannelCounts {
    /// Each count with its name and what it says.
    pub fn all(&self) -> [(&'static str, &'static str, &AtomicU64); 11] {
        [
            (
                "messages_sent",
                "Messages sent on channels",
                &self.messages_out,
            ),
            (
                "messages_received",
                "Messages received on channels",
                &self.messages_in,
            ),
            ("bytes_sent", "Bytes of their records sent", &self.bytes_out),
            (
                "bytes_received",
                "Bytes of their records received",
                &self.bytes_in,
            ),
            ("records_sent", "Records sent", &self.records_out),
            ("records_received", "Records received", &self.records_in),
            (
                "resent",
                "Messages sent again after a stream broke",
                &self.again,
            ),
            (
                "duplicates",
                "Messages that came again and went no further",
                &self.duplicates,
            ),
            ("frames_refused", "Frames that did not open", &self.refused),
            (
                "answers_unclaimed",
                "Answers that nobody waited for: too late, or the second time",
                &self.unclaimed,
            ),
            ("streams_opened", "Streams opened", &self.streams),
        ]
    }

    pub(super) fn add(&self, others: &ChannelCounts) {
        for ((_, _, sum), (_, _, more)) in self.all().into_iter().zip(others.all()) {
            sum.fetch_add(more.load(Relaxed), Relaxed);
        }
    }
}

#[derive(Default)]
struct Acks {
    due: Option<Instant>,
    batches: usize,
}

pub(super) struct Shared {
    pub(super) peer: PeerId,
    pub(super) outbox: Outbox,
    pub(super) counts: ChannelCounts,
    secrets: Mutex<Option<StreamSecrets>>,
    sending: Mutex<ChannelOut>,
    receiving: Mutex<ChannelIn>,
    waiting: Mutex<HashMap<[u8; 16], oneshot::Sender<Answer>>>,
    acks: Mutex<Acks>,
    /// Which stream numbers messages and counts those that arrive: the newest, if it is not over.
    stream: Mutex<u64>,
    /// Held by whoever hands on what arrived.
    pub(super) handing_on: tokio::sync::Mutex<()>,
    /// Something of ours was acknowledged since the writer last looked.
    pub(super) acknowledged: AtomicBool,
    /// How many messages an agent of ours may be working on.
    pub(super) talks: Arc<Semaphore>,
    ids: IdSource,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(peer: PeerId) -> Shared {
        Shared {
            peer,
            outbox: Outbox::new(),
            counts: ChannelCounts::default(),
            secrets: Mutex::default(),
            sending: Mutex::default(),
            receiving: Mutex::default(),
            waiting: Mutex::default(),
            acks: Mutex::default(),
            stream: Mutex::default(),
            handing_on: tokio::sync::Mutex::default(),
            acknowledged: AtomicBool::new(false),
            talks: Arc::new(Semaphore::new(TALKS_PER_PEER_MAX)),
            ids: IdSource::new(),
        }
    }

    pub(super) fn secrets(&self) -> MutexGuard<'_, Option<StreamSecrets>> {
        lock(&self.secrets)
    }

    pub(super) fn sending(&self) -> MutexGuard<'_, ChannelOut> {
        lock(&self.sending)
    }

    pub(super) fn receiving(&self) -> MutexGuard<'_, ChannelIn> {
        lock(&self.receiving)
    }

    /// The stream that there was is over: its loops number and count nothing from now on, wherever
    /// they are.
    pub(super) fn end_stream(&self) {
        *lock(&self.stream) += 1;
    }

    /// What the stream that begins now is known by.
    pub(super) fn stream_number(&self) -> u64 {
        *lock(&self.stream)
    }

    /// Keeps the stream of that number the current one, if it is, for as long as this is held.
    pub(super) fn if_current(&self, number: u64) -> Option<MutexGuard<'_, u64>> {
        Some(lock(&self.stream)).filter(|current| **current == number)
    }

    pub(super) fn next_id(&self) -> [u8; 16] {
        self.ids.next()
    }

    /// Registers who waits for the answer to `id`.
    pub(super) fn await_answer(&self, id: [u8; 16]) -> oneshot::Receiver<Answer> {
        let (tx, rx) = oneshot::channel();
        lock(&self.waiting).insert(id, tx);
        rx
    }

    /// Nobody waits for it any more. Tells whether somebody did until now.
    pub(super) fn forget_answer(&self, id: &[u8; 16]) -> bool {
        lock(&self.waiting).remove(id).is_some()
    }

    /// Hands answers to who waits for them. Returns what the errors answer that nobody waited for:
    /// who asked us gives such a one to a talk of its own once it waits no more.
    pub(super) fn answered(
        &self,
        answers: impl Iterator<Item = ([u8; 16], Answer)>,
    ) -> Vec<[u8; 16]> {
        let mut waiting = lock(&self.waiting);
        let mut withdrawn = Vec::new();
        for (id, answer) in answers {
            let refused = answer.is_err();
            let taken = waiting.remove(&id).map(|tx| tx.send(answer));
            if refused && taken.is_none() {
                withdrawn.push(id);
            }
            // Whoever asked has waited long enough, or is gone.
            if !matches!(taken, Some(Ok(()))) {
                self.counts.unclaimed.fetch_add(1, Relaxed);
            }
        }
        withdrawn
    }

    /// Tells the other side that nobody waits for the reply to this talk any more.
    pub(super) fn withdraw(&self, talk: [u8; 16], priority: Priority) {
        let code = WireError::AgentFailed;
        if !self.answer(talk, priority, Answered::Refused(code)) {
            tracing::debug!(peer = %self.peer, "a talk that was given up is not withdrawn: no room");
        }
    }

    /// Answers a message. Returns false when the peer asked more at once than it may.
    pub(super) fn answer(&self, re: [u8; 16], priority: Priority, answer: Answered) -> bool {
        let (kind, body) = match answer {
            Answered::Reply(body) => (ChannelType::Reply, body),
            Answered::Pong(body) => (ChannelType::Pong, body),
            Answered::Kept => (ChannelType::Kept, Bytes::new()),
            Answered::Refused(code) => {
                let body = cbor::encode(&crate::wire::ErrorBody::from(code));
                (ChannelType::Error, Bytes::from(body))
            }
        };
        self.outbox.push_answer(ChannelMessage {
            kind,
            priority,
            durable: false,
            again: false,
            confirm: false,
            id: self.next_id(),
            re,
            body,
        })
    }

    /// A batch of theirs was taken in: it is to be acknowledged.
    pub(super) fn owe_ack(&self) {
        let mut acks = lock(&self.acks);
        acks.due.get_or_insert_with(|| Instant::now() + ACK_DELAY);
        acks.batches += 1;
    }

    /// An acknowledgement leaves now.
    pub(super) fn ack_sent(&self) {
        *lock(&self.acks) = Acks::default();
    }

    /// When an acknowledgement is due; `Duration::ZERO` for at once.
    pub(super) fn ack_due_in(&self) -> Option<Duration> {
        let acks = lock(&self.acks);
        let due = acks.due?;
        if acks.batches >= ACK_BATCHES {
            return Some(Duration::ZERO);
        }
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// What was under way on a stream that broke goes again. With another session the numbers
    /// begin anew.
    pub(super) fn begin_again(&self, new_session: bool) {
        let mut sending = self.sending();
        let again = sending.again();
        if new_session {
            sending.restart();
            self.receiving().restart();
        }
        drop(sending);
        self.counts.again.fetch_add(again.len() as u64, Relaxed);
        self.ack_sent();
        self.outbox.push_again(again);
    }

    /// The channel is over: who waits hears so.
    pub(super) fn close(&self) {
        self.outbox.close();
        lock(&self.waiting).clear();
    }
}

/// What a message is answered with.
pub(super) enum Answered {
    Reply(Bytes),
    Pong(Bytes),
    Kept,
    Refused(WireError),
}

/// UUIDs of version 7, cheap: a counter behind the time, and random bits for this channel.
struct IdSource {
    counter: AtomicU64,
    random: [u8; 4],
}

impl IdSource {
    fn new() -> IdSource {
        IdSource {
            counter: AtomicU64::new(0),
            random: rand::random(),
        }
    }

    fn next(&self) -> [u8; 16] {
        let count = self.counter.fetch_add(1, Relaxed).to_be_bytes();
        let mut tail = [0; 10];
        // Two bytes hold the version, one the variant: the counter stands behind them.
        tail[3..6].copy_from_slice(&count[5..]);
        tail[6..].copy_from_slice(&self.random);
        tail[2] = count[4] & 0x3f;
        let millis = super::super::clock::now().wall.0;
        uuid::Builder::from_unix_timestamp_millis(millis, &tail)
            .into_uuid()
            .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::crypto::{Identity, Seeds};

    #[test]
    fn an_answer_that_nobody_waits_for_is_counted() {
        let mut rng = crate::crypto::Rng::seed_from_u64(1);
        let identity = Identity::from_seeds(&Seeds::generate(&mut rng));
        let shared = Shared::new(identity.peer_id);
        let answer = |id: u8| {
            let withdrawn = shared.answered([([id; 16], Ok(Bytes::new()))].into_iter());
            assert!(withdrawn.is_empty(), "a reply withdraws nothing");
        };
        let mut waits = shared.await_answer([1; 16]);
        answer(1);
        assert!(waits.try_recv().is_ok());
        assert_eq!(shared.counts.unclaimed.load(Relaxed), 0);
        // One timed out and said so, one is gone, one was never asked.
        drop(shared.await_answer([2; 16]));
        shared.forget_answer(&[2; 16]);
        drop(shared.await_answer([3; 16]));
        for id in 2..5 {
            answer(id);
        }
        assert_eq!(shared.counts.unclaimed.load(Relaxed), 3);
        // An error that nobody waits for withdraws what it answers; another is an answer.
        let mut waits = shared.await_answer([5; 16]);
        let errors = [[5; 16], [6; 16]].map(|id| (id, Err(WireError::AgentFailed)));
        assert_eq!(shared.answered(errors.into_iter()), [[6; 16]]);
        assert_eq!(waits.try_recv(), Ok(Err(WireError::AgentFailed)));
    }
}
