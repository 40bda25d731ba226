//! One stream of a channel while it lasts: a loop that reads and a loop that writes, neither of
//! which waits for the other.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use futures::io::{BufReader, ReadHalf, WriteHalf};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;
use rand::RngExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::deliver::Deliverer;
use super::frames::read_frame;
use super::shared::Shared;
use crate::crypto::{KeyPair, PreparedKey};
use crate::proto::session::{Opener, Sealer, StreamKeys, StreamSecrets, record_layer};
use crate::runtime::clock;
use crate::types::limits::RECORD_MAX_BYTES;
use crate::wire::{
    Batch, BatchContext, BatchHead, ChannelType, ErrorBody, ProofParties, WireError, cbor,
    decode_batch, encode_batch,
};

const READ_BUFFER_BYTES: usize = 128 * 1024;
/// Without anything to do the writer looks around so often.
const IDLE: Duration = Duration::from_secs(30);

/// What both loops need, taken from the session when the stream begins.
pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
    pub(super) deliverer: Arc<Deliverer>,
    key: KeyPair,
    outgoing: BatchContext,
    incoming: BatchContext,
    /// Their side of the stream, for proofs.
    theirs: ProofParties,
    their_key: PreparedKey,
    sealer: Sealer,
    opener: Opener,
    stream: Stream,
    /// Which of the channel's streams this is.
    number: u64,
}

impl Link {
    pub(super) fn new(
        shared: Arc<Shared>,
        deliverer: Arc<Deliverer>,
        secrets: &StreamSecrets,
        keys: StreamKeys,
        stream: Stream,
    ) -> Link {
        let transcript = keys.transcript;
        let (sealer, opener) = record_layer(keys, clock::now().mono);
        let context = |from, to| BatchContext::new(from, to, secrets.session, &transcript);
        Link {
            number: shared.stream_number(),
            outgoing: context(&secrets.ours, &secrets.theirs),
            incoming: context(&secrets.theirs, &secrets.ours),
            theirs: ProofParties {
                sender: secrets.theirs,
                recipient: secrets.ours,
                session: secrets.session,
                transcript,
                key: secrets.their_key,
            },
            their_key: secrets
                .their_key
                .prepare()
                .expect("it signed the handshake"),
            key: secrets.key.clone(),
            shared,
            deliverer,
            sealer,
            opener,
            stream,
        }
    }

    /// Carries messages from now on.
    pub(super) fn start(self) -> Linked {
        let (reader, writer) = self.stream.split();
        let stop = CancellationToken::new();
        let read = tokio::spawn(
            Reading {
                number: self.number,
                stopped: stop.clone(),
                shared: Arc::clone(&self.shared),
                deliverer: self.deliverer,
                context: self.incoming,
                theirs: self.theirs,
                their_key: self.their_key,
                opener: self.opener,
                stream: BufReader::with_capacity(READ_BUFFER_BYTES, reader),
            }
            .run(),
        );
        let writing = Writing {
            number: self.number,
            shared: self.shared,
            context: self.outgoing,
            key: self.key,
            sealer: self.sealer,
            stream: writer,
            alarm: Alarm::new(),
        };
        Linked {
            read,
            write: tokio::spawn(writing.run()),
            stop,
        }
    }
}

/// A stream that carries messages. It ends when this is dropped; what was read by then is still
/// handed on.
pub(super) struct Linked {
    read: JoinHandle<Option<WireError>>,
    write: JoinHandle<std::io::Result<()>>,
    stop: CancellationToken,
}

impl Linked {
    /// Until the stream ends. Says what the peer did wrong, if it did. To be called until it
    /// returns, and not again.
    pub(super) async fn ended(&mut self) -> Option<WireError> {
        tokio::select! {
            fault = &mut self.read => fault.ok()?,
            // Whatever broke, the next stream tells.
            _ = &mut self.write => None,
        }
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        self.write.abort();
        // Not the reader: what it took in is acknowledged, and does not come again.
        self.stop.cancel();
    }
}

struct Writing {
    number: u64,
    shared: Arc<Shared>,
    context: BatchContext,
    key: KeyPair,
    sealer: Sealer,
    stream: WriteHalf<Stream>,
    alarm: Alarm,
}

/// A timer that may ring too early. Setting a timer wakes the thread that waits for the system's
/// events, which with a timer for each message costs more than the message: this one is set again
/// only to ring earlier, or after it rang.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    rang: bool,
}

impl Alarm {
    fn new() -> Alarm {
        Alarm {
            sleep: Box::pin(tokio::time::sleep(IDLE)),
            rang: false,
        }
    }

    /// Ends when `wait` has passed, or before.
    async fn rings(&mut self, wait: Duration) {
        let at = Instant::now() + wait;
        if self.rang || at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
            self.rang = false;
        }
        self.sleep.as_mut().await;
        self.rang = true;
    }
}

impl Writing {
    async fn run(mut self) -> std::io::Result<()> {
        let mut frame = Vec::new();
        loop {
            if self.shared.acknowledged.swap(false, Relaxed) {
                self.sealer.acknowledged();
            }
            let ack_due = self.shared.ack_due_in();
            if self.fill(&mut frame, ack_due == Some(Duration::ZERO)) {
                self.stream.write_all(&frame).await?;
                if self.shared.outbox.is_empty() {
                    self.stream.flush().await?;
                }
                continue;
            }
            self.stream.flush().await?;
            let wait = ack_due.unwrap_or(IDLE);
            // Whatever woke us, the loop looks at everything.
            tokio::select! {
                () = self.shared.outbox.ready() => {}
                () = self.alarm.rings(wait) => {}
            }
        }
    }

    /// Seals the next record into `frame`. Returns false when there is nothing to send.
    fn fill(&mut self, frame: &mut Vec<u8>, ack: bool) -> bool {
        let shared = &*self.shared;
        let Some(current) = shared.if_current(self.number) else {
            return false;
        };
        let mut sending = shared.sending();
        let messages = shared.outbox.pop(sending.room(), sending.is_ahead());
        if messages.is_empty() && !ack {
            return false;
        }
        let first = sending.number(&messages);
        drop((sending, current));
        shared.ack_sent();
        let now = clock::now();
        let head = BatchHead {
            have: shared.receiving().have(),
            sent: now.wall,
            first,
            seed: rand::rng().random(),
        };
        Sealer::begin(frame);
        encode_batch(&head, &messages, &self.context, &self.key, frame);
        self.sealer.seal(frame, now.mono);
        let counts = &shared.counts;
        counts.records_out.fetch_add(1, Relaxed);
        counts
            .messages_out
            .fetch_add(messages.len() as u64, Relaxed);
        counts.bytes_out.fetch_add(frame.len() as u64, Relaxed);
        true
    }
}

struct Reading {
    number: u64,
    stopped: CancellationToken,
    shared: Arc<Shared>,
    deliverer: Arc<Deliverer>,
    context: BatchContext,
    theirs: ProofParties,
    their_key: PreparedKey,
    opener: Opener,
    stream: BufReader<ReadHalf<Stream>>,
}

impl Reading {
    async fn run(mut self) -> Option<WireError> {
        let mut record = Vec::new();
        let stopped = self.stopped.clone();
        let mut stopped = std::pin::pin!(stopped.cancelled());
        loop {
            let read = tokio::select! {
                biased;
                () = &mut stopped => return None,
                read = read_frame(&mut self.stream, RECORD_MAX_BYTES, &mut record) => read,
            };
            match read {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    return Some(WireError::PayloadTooLarge);
                }
                Err(_) => return None,
            }
            let bytes = record.len();
            match self.opener.open(&mut record) {
                Ok(at) => {
                    let content = Bytes::from(std::mem::take(&mut record)).slice(at..);
                    if let Err(code) = self.take(&content, bytes).await {
                        return Some(code);
                    }
                }
                // One before it is missing: what was lost comes again on the next stream.
                Err(WireError::InvalidState) => return Some(WireError::SequenceError),
                Err(code) => {
                    self.shared.counts.refused.fetch_add(1, Relaxed);
                    self.deliverer.abused(self.shared.peer, code);
                }
            }
        }
    }

    /// Counts a batch as arrived, and tells which of its messages are to be handed on. None if
    /// another stream has taken this one's place: what is not counted comes again on that one.
    fn number_in(&self, batch: &Batch) -> Result<Option<Vec<bool>>, WireError> {
        let shared = &*self.shared;
        let Some(_current) = shared.if_current(self.number) else {
            return Ok(None);
        };
        if shared.sending().acknowledged(batch.head.have)? {
            shared.acknowledged.store(true, Relaxed);
        }
        shared.receiving().take(batch).map(Some)
    }

    /// Takes in what a record holds. An error is the peer's, who alone has the keys.
    async fn take(&mut self, content: &Bytes, bytes: usize) -> Result<(), WireError> {
        let shared = &*self.shared;
        let batch = decode_batch(content, &self.context)?;
        if !batch.verify(&self.context, &self.their_key) {
            return Err(WireError::InvalidSignature);
        }
        // One stream's batch at a time, so that a slow agent holds up one.
        let _turn = tokio::select! {
            biased;
            turn = shared.handing_on.lock() => turn,
            () = self.stopped.cancelled() => return Ok(()),
        };
        let Some(fresh) = self.number_in(&batch)? else {
            return Ok(());
        };
        let counts = &shared.counts;
        counts.records_in.fetch_add(1, Relaxed);
        counts.messages_in.fetch_add(fresh.len() as u64, Relaxed);
        counts.bytes_in.fetch_add(bytes as u64, Relaxed);
        let answers = batch
            .messages
            .iter()
            .filter(|message| message.kind.is_answer());
        let withdrawn = shared.answered(answers.map(|message| {
            let answer = match message.kind {
                ChannelType::Error => Err(refusal(&message.body)),
                _ => Ok(message.body.clone()),
            };
            (message.re, answer)
        }));
        for (place, fresh) in fresh.into_iter().enumerate() {
            let message = &batch.messages[place];
            if message.kind.is_answer() {
                continue;
            }
            if !fresh {
                // Whatever was to be answered has been, and that answer is sent again by itself.
                counts.duplicates.fetch_add(1, Relaxed);
                continue;
            }
            self.deliverer
                .deliver(&self.shared, &batch, place, &self.theirs)
                .await?;
        }
        // Behind the messages: one of them may be what is withdrawn.
        for talk in withdrawn {
            self.deliverer.withdrawn(self.theirs.sender, talk);
        }
        if !batch.messages.is_empty() {
            shared.owe_ack();
        }
        shared.outbox.wake();
        Ok(())
    }
}

fn refusal(body: &[u8]) -> WireError {
    cbor::decode::<ErrorBody>(body, 256).map_or(WireError::Malformed, |body| body.code)
}
