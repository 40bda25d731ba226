//! What a record of a channel holds: messages between agents, under one signature.
//!
//! ```text
//! batch   = have u64 ‖ count u8 ‖ ( nothing, if count is 0 )
//!           sent u64 ‖ first u64 ‖ seed[32] ‖ signature[64] ‖ message × count
//! message = type u8 ‖ priority u8 ‖ flags u8 ‖ id[16] ‖ re[16] ‖ length u32 ‖ body
//! ```
//!
//! Not CBOR, for this is the hot path: a fixed form has one encoding, and reading it takes no
//! allocation. Each message is a SecureMessage whose common fields are said once: version, sender,
//! recipient, session and stream make the *context*; the sequence number is `first` plus the place;
//! the nonce, which blinds it, is `H(seed, place)`. The signature is over the Merkle root of all
//! messages, so any of them can be shown to a third party without the others
//! ([`MessageProof`](super::MessageProof)). No path travels: the receiver has every leaf.

use bytes::Bytes;

use super::{PROTOCOL_VERSION, WireError};
use crate::crypto::{Digest, KeyPair, PreparedKey, Signature, hash, merkle_root};
use crate::types::limits::{BATCH_MAX_MESSAGES, TALK_MAX_BYTES};
use crate::types::{EntityId, Priority, SessionId, Wall};

/// The purpose of a batch's signature.
pub(super) const ROOT: &str = "channel root";
/// Before the messages: have, count, sent, first, seed, signature.
const FRONT_BYTES: usize = 8 + 1;
const SIGNED_BYTES: usize = 8 + 8 + 32 + 64;
/// Before a message's body.
const MESSAGE_FRONT_BYTES: usize = 3 + 16 + 16 + 4;
/// What a batch adds to the bodies of its messages.
pub const fn batch_bytes(messages: usize, bodies: usize) -> usize {
    FRONT_BYTES + SIGNED_BYTES + messages * MESSAGE_FRONT_BYTES + bodies
}

const DURABLE: u8 = 1;
const AGAIN: u8 = 2;
const CONFIRM: u8 = 4;

/// What a message on a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelType {
    /// Wants a reply.
    Talk,
    /// Wants none.
    Report,
    /// Answers a talk.
    Reply,
    /// A report has arrived, and is on disk if it was to be.
    Kept,
    /// A talk or report was refused; the body is the error's CBOR.
    Error,
    /// Wants its body back at once, from the node itself.
    Ping,
    /// Answers a ping.
    Pong,
}

impl ChannelType {
    const ALL: [ChannelType; 7] = [
        ChannelType::Talk,
        ChannelType::Report,
        ChannelType::Reply,
        ChannelType::Kept,
        ChannelType::Error,
        ChannelType::Ping,
        ChannelType::Pong,
    ];

    pub(super) fn from_byte(byte: u8) -> Option<ChannelType> {
        let place = usize::from(byte).checked_sub(1)?;
        Self::ALL.get(place).copied()
    }

    /// The name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            ChannelType::Talk => "talk",
            ChannelType::Report => "report",
            ChannelType::Reply => "reply",
            ChannelType::Kept => "kept",
            ChannelType::Error => "error",
            ChannelType::Ping => "ping",
            ChannelType::Pong => "pong",
        }
    }

    /// Whether it answers another.
    pub fn is_answer(self) -> bool {
        use ChannelType::{Error, Kept, Pong, Reply};
        matches!(self, Reply | Kept | Error | Pong)
    }
}

/// One message between agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelMessage {
    pub kind: ChannelType,
    pub priority: Priority,
    /// To be on disk before it is answered.
    pub durable: bool,
    /// Sent before, and perhaps received: the id tells.
    pub again: bool,
    /// A report that wants to hear `kept`.
    pub confirm: bool,
    /// A UUID: the durable identity, the same in a resend.
    pub id: [u8; 16],
    /// In an answer, the id of what it answers; else zeroes.
    pub re: [u8; 16],
    pub body: Bytes,
}

/// What every message of one direction of one stream has in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchContext(Digest);

impl BatchContext {
    /// From who sends, who receives, and what the stream is bound to.
    pub fn new(
        sender: &EntityId,
        recipient: &EntityId,
        session: SessionId,
        transcript: &Digest,
    ) -> BatchContext {
        BatchContext(hash(
            "channel context",
            &[
                PROTOCOL_VERSION.as_bytes(),
                &sender.0,
                &recipient.0,
                session.0.as_bytes(),
                transcript,
            ],
        ))
    }

    /// What a message is in the tree: `front` is its bytes before the body.
    pub(super) fn leaf(
        &self,
        front: &[u8],
        seq: u64,
        sent: Wall,
        nonce: &Digest,
        body: &[u8],
    ) -> Digest {
        let numbers = [seq.to_be_bytes(), sent.0.to_be_bytes()].concat();
        hash("channel leaf", &[&self.0, front, &numbers, nonce, body])
    }

    /// What the signature of a batch covers.
    pub(super) fn signed(&self, root: &Digest, count: u32) -> Digest {
        hash(ROOT, &[&self.0, root, &count.to_be_bytes()])
    }
}

pub(super) fn nonce(seed: &[u8; 32], place: u32) -> Digest {
    hash("channel nonce", &[seed, &place.to_be_bytes()])
}

/// What a message's signature covers of it beside the body: all but the length and `again`, which
/// says something of this sending only.
pub(super) fn signed_front(message: &ChannelMessage) -> [u8; 35] {
    let mut front = [0; 35];
    front[0] = message.kind as u8 + 1;
    front[1] = message.priority as u8;
    front[2] = u8::from(message.durable) * DURABLE + u8::from(message.confirm) * CONFIRM;
    front[3..19].copy_from_slice(&message.id);
    front[19..].copy_from_slice(&message.re);
    front
}

/// What a batch says beside its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHead {
    /// The next sequence number expected of the other side: all below have arrived.
    pub have: u64,
    pub sent: Wall,
    /// The sequence number of the first message.
    pub first: u64,
    pub seed: [u8; 32],
}

/// Writes a batch behind what `buffer` holds.
///
/// # Panics
/// With more than 64 messages: a defect of the caller.
pub fn encode_batch(
    head: &BatchHead,
    messages: &[ChannelMessage],
    context: &BatchContext,
    key: &KeyPair,
    buffer: &mut Vec<u8>,
) {
    let count = u8::try_from(messages.len())
        .ok()
        .filter(|count| usize::from(*count) <= BATCH_MAX_MESSAGES)
        .expect("the caller counts its messages");
    buffer.extend_from_slice(&head.have.to_be_bytes());
    buffer.push(count);
    if count == 0 {
        return;
    }
    buffer.extend_from_slice(&head.sent.0.to_be_bytes());
    buffer.extend_from_slice(&head.first.to_be_bytes());
    buffer.extend_from_slice(&head.seed);
    let mut leaves = Vec::with_capacity(messages.len());
    for (place, message) in (0_u32..).zip(messages) {
        let seq = head.first + u64::from(place);
        let front = signed_front(message);
        let nonce = nonce(&head.seed, place);
        leaves.push(context.leaf(&front, seq, head.sent, &nonce, &message.body));
    }
    let root = merkle_root(&leaves);
    let signature = key.sign(ROOT, &context.signed(&root, u32::from(count)));
    buffer.extend_from_slice(&signature.0);
    for message in messages {
        let mut front = signed_front(message);
        front[2] += u8::from(message.again) * AGAIN;
        buffer.extend_from_slice(&front);
        let length = u32::try_from(message.body.len()).expect("bodies are bounded");
        buffer.extend_from_slice(&length.to_be_bytes());
        buffer.extend_from_slice(&message.body);
    }
}

/// A batch that was read; its signature is still to be checked.
#[derive(Debug, Clone)]
pub struct Batch {
    pub head: BatchHead,
    pub messages: Vec<ChannelMessage>,
    pub leaves: Vec<Digest>,
    pub signature: Signature,
}

impl Batch {
    /// Whether the sender signed these messages, strictly judged. A batch without messages says
    /// nothing that is signed.
    pub fn verify(&self, context: &BatchContext, key: &PreparedKey) -> bool {
        if self.messages.is_empty() {
            return true;
        }
        let root = merkle_root(&self.leaves);
        let count = self.leaves.len() as u32;
        key.verify(ROOT, &context.signed(&root, count), &self.signature)
    }
}

/// Reads a batch. The bodies share the record's memory.
///
/// # Errors
/// `MALFORMED`, or `PAYLOAD_TOO_LARGE` for a message over its limit.
pub fn decode_batch(content: &Bytes, context: &BatchContext) -> Result<Batch, WireError> {
    let mut reader = Reader { content, at: 0 };
    let have = reader.u64()?;
    let count = reader.byte()?;
    let mut head = BatchHead {
        have,
        sent: Wall(0),
        first: 0,
        seed: [0; 32],
    };
    let mut batch = Batch {
        head,
        messages: Vec::new(),
        leaves: Vec::new(),
        signature: Signature([0; 64]),
    };
    if usize::from(count) > BATCH_MAX_MESSAGES {
        return Err(WireError::PayloadTooLarge);
    }
    if count > 0 {
        head.sent = Wall(reader.u64()?);
        head.first = reader.u64()?;
        head.seed = reader.array()?;
        batch.head = head;
        batch.signature = Signature(reader.array()?);
        head.first
            .checked_add(u64::from(count))
            .ok_or(WireError::Malformed)?;
        batch.messages.reserve(usize::from(count));
        batch.leaves.reserve(usize::from(count));
    }
    for place in 0..u32::from(count) {
        let message = reader.message()?;
        let front = signed_front(&message);
        let nonce = nonce(&head.seed, place);
        let seq = head.first + u64::from(place);
        let leaf = context.leaf(&front, seq, head.sent, &nonce, &message.body);
        batch.leaves.push(leaf);
        batch.messages.push(message);
    }
    if reader.at == content.len() {
        Ok(batch)
    } else {
        Err(WireError::Malformed)
    }
}

struct Reader<'a> {
    content: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Result<std::ops::Range<usize>, WireError> {
        let end = self.at.checked_add(length).ok_or(WireError::Malformed)?;
        if end > self.content.len() {
            return Err(WireError::Malformed);
        }
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let range = self.take(N)?;
        Ok(self.content[range].try_into().expect("as many as asked"))
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn message(&mut self) -> Result<ChannelMessage, WireError> {
        let kind = ChannelType::from_byte(self.byte()?).ok_or(WireError::Malformed)?;
        let priority = match self.byte()? {
            0 => Priority::Low,
            1 => Priority::Normal,
            2 => Priority::High,
            3 => Priority::Critical,
            _ => return Err(WireError::Malformed),
        };
        let flags = self.byte()?;
        if flags & !(DURABLE | AGAIN | CONFIRM) != 0 {
            return Err(WireError::Malformed);
        }
        let id = self.array()?;
        let re: [u8; 16] = self.array()?;
        if kind.is_answer() == (re == [0; 16]) {
            return Err(WireError::Malformed);
        }
        let length = u32::from_be_bytes(self.array()?) as usize;
        if length > TALK_MAX_BYTES {
            return Err(WireError::PayloadTooLarge);
        }
        let range = self.take(length)?;
        Ok(ChannelMessage {
            kind,
            priority,
            durable: flags & DURABLE != 0,
            again: flags & AGAIN != 0,
            confirm: flags & CONFIRM != 0,
            id,
            re,
            body: self.content.slice(range),
        })
    }
}
