//! The inbox: talks and reports that came while no agent was attached, and notes of the files that
//! arrived, kept until an agent has taken them.
//!
//! ```text
//! new ──▶ read ──▶ gone (acknowledged or answered): a tombstone, known for 8 days
//!   └───────┴────▶ gone (7 days and nobody took it)
//! ```
//! A message is named by its sender's entity and its id, and is taken in once: a resend is told
//! what the first was told. A durable message counts as received when its row is on disk; another
//! counts at once and is written all the same. An id that another entity has used is refused, so
//! an id alone names a message here. A note is this node's own word, and counts as a message of
//! whoever sent the file.
//!
//! # Invariants
//! - **I1** A message is kept once, however often it comes, also after it was acknowledged, for
//!   as long as its tombstone is known.
//! - **I2** At most `INBOX_MAX_MESSAGES` of `INBOX_MAX_BYTES`, and of one sender
//!   `INBOX_PER_SENDER_MAX_MESSAGES` of `INBOX_PER_SENDER_MAX_BYTES`. Past that a sender is told
//!   `BUSY`; nothing that was taken in makes room.
//! - **I3** What is told of a message rests on the batch that last wrote it.
//! - **I4** At most `INBOX_TOMBSTONES_MAX` tombstones, and `INBOX_TOMBSTONES_PER_SENDER_MAX` of one
//!   sender: its own oldest goes first.
//! - **I5** A peer's message is taken in only if the disk has room for it beside what must stay free and
//!   what was promised before it; else it is told `BUSY`, too. A note is so small that it is not asked.

mod record;
mod senders;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use record::{MessageRecord, MessageState};

use self::record::unreadable;
use self::senders::Senders;
use crate::proto::{RowError, Step, Violation};
use crate::types::limits::{
    INBOX_KEEP_MS, INBOX_MAX_BYTES, INBOX_MAX_MESSAGES, INBOX_PER_SENDER_MAX_BYTES,
    INBOX_PER_SENDER_MAX_MESSAGES, INBOX_TOMBSTONE_KEEP_MS, INBOX_TOMBSTONES_MAX,
    INBOX_TOMBSTONES_PER_SENDER_MAX, TALK_MAX_BYTES, TALK_TIMEOUT_MS,
};
use crate::types::{
    BatchId, DeliveryId, EntityId, Keyspace, MessageId, MessageKind, Mono, Now, Priority, Received,
    Row, Wall,
};
use crate::wire::WireError;

/// What a message costs beside its payload.
const OVERHEAD_BYTES: usize = 256;
/// Answers that are remembered for a talk that comes again, and their bytes.
const ANSWERS_MAX: usize = 64;
const ANSWERS_MAX_BYTES: usize = 4 * 1024 * 1024;

/// What becomes of a message that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is received. If it was durable, it is on disk.
    Kept,
    /// It is not, and its sender is told why.
    Refused(WireError),
}

/// What to tell of a message that was handed in, once `after` is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub outcome: Settled,
    pub after: BatchId,
    /// A talk that was answered before: the same answer again.
    pub answer: Option<Vec<u8>>,
}

/// Why a reply went nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyError {
    /// There is no such message.
    Unknown,
    /// It is no talk: nobody awaits a reply.
    NoTalk,
    /// Its sender waits no more: it said so, its time is over, or it came to an earlier run of this
    /// node.
    Late,
}

/// A message that is kept.
#[derive(Debug)]
pub struct Kept {
    pub record: MessageRecord,
    pub body: Vec<u8>,
    pub proof: Vec<u8>,
    /// What waits for the answer to a talk, and until when at most.
    waiting: Option<(DeliveryId, Mono)>,
    /// When it expires, or its tombstone is forgotten.
    until: Mono,
    written: BatchId,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.body.len() + self.proof.len() + OVERHEAD_BYTES
    }

    fn is_gone(&self) -> bool {
        self.record.state == MessageState::Gone
    }

    /// The batch that last wrote it.
    pub fn written(&self) -> BatchId {
        self.written
    }

    /// Who still waits for a reply, as far as is known.
    fn waits_for(&self, now: Mono) -> Option<DeliveryId> {
        let (delivery, until) = self.waiting?;
        (now < until).then_some(delivery)
    }

    /// Whether a reply would still find who asked, as far as is known.
    pub fn waits(&self, now: Mono) -> bool {
        self.waits_for(now).is_some()
    }
}

/// Every message for our agent.
#[derive(Default)]
pub struct Inbox {
    kept: BTreeMap<MessageId, Kept>,
    /// What is not gone, by the number of its arrival.
    live: BTreeMap<u64, MessageId>,
    /// Everything, by when its time is over.
    due: BTreeSet<(Mono, MessageId)>,
    tombstones: BTreeSet<(Mono, MessageId)>,
    senders: Senders,
    bytes: usize,
    /// What messages may still take of the disk, if that is known.
    disk_left: Option<u64>,
    last_number: u64,
    answers: VecDeque<(MessageId, Vec<u8>)>,
    expired: Vec<(MessageId, EntityId)>,
}

impl Inbox {
    /// Takes one stored row back. A message's row comes before those of its payload.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn load(&mut self, row: &Row, now: Now) -> Result<(), RowError> {
        match row.space {
            Keyspace::Inbox => {
                let id = message_id(&row.key)?;
                let record = MessageRecord::from_row(&row.value)?;
                let (since, keep_ms) = match record.state {
                    MessageState::Gone => (record.since, INBOX_TOMBSTONE_KEEP_MS),
                    MessageState::New | MessageState::Read => (record.received, INBOX_KEEP_MS),
                };
                self.last_number = self.last_number.max(record.number);
                let kept = Kept {
                    record,
                    body: Vec::new(),
                    proof: Vec::new(),
                    waiting: None,
                    until: left(since, keep_ms, now),
                    written: BatchId::NONE,
                };
                self.insert(id, kept);
            }
            Keyspace::InboxBody | Keyspace::InboxProof => {
                let id = message_id(&row.key)?;
                let kept = self.kept.get_mut(&id).filter(|kept| !kept.is_gone());
                let kept = kept
                    .ok_or_else(|| unreadable("there is a payload and no message to it".into()))?;
                if row.space == Keyspace::InboxBody {
                    kept.body.clone_from(&row.value);
                } else {
                    kept.proof.clone_from(&row.value);
                }
                self.bytes += row.value.len();
                self.senders.grew(&kept.record.from, row.value.len());
            }
            Keyspace::InboxSender => {
                let entity = <[u8; 32]>::try_from(&row.key[..])
                    .map_err(|_| unreadable("its sender's key has another length".into()))?;
                self.senders.load(EntityId(entity), row.value.clone());
            }
            _ => {}
        }
        Ok(())
    }

    /// A message came in. `entry` is the registry's word on who sent it.
    pub fn receive(
        &mut self,
        from: EntityId,
        delivery: DeliveryId,
        message: Received,
        entry: Option<&[u8]>,
        step: &mut Step<'_>,
    ) -> Receipt {
        if let Some(kept) = self.kept.get_mut(&message.id) {
            if kept.record.from != from {
                return refused(WireError::InvalidState);
            }
            let answer = self.answers.iter().find(|(id, _)| *id == message.id);
            if !kept.is_gone() && kept.record.kind == MessageKind::Talk {
                // One that is sent again is waited for no longer than it was.
                let until = kept.waiting.map(|(_, until)| until);
                let until = until.unwrap_or(step.now.mono + TALK_TIMEOUT_MS);
                kept.waiting = Some((delivery, until));
            }
            return Receipt {
                outcome: Settled::Kept,
                after: rests_on(message.durable, kept.written),
                answer: answer.map(|(_, body)| body.clone()),
            };
        }
        if message.body.len() > TALK_MAX_BYTES {
            return refused(WireError::PayloadTooLarge);
        }
        let bytes = message.body.len() + message.proof.len() + OVERHEAD_BYTES;
        if !self.has_room(&from, bytes) || !self.disk_takes(bytes) {
            return refused(WireError::Busy);
        }
        let durable = message.durable;
        let after = self.take(from, Some(delivery), message, step);
        self.senders.witness(from, entry, step);
        Receipt {
            outcome: Settled::Kept,
            after: rests_on(durable, after),
            answer: None,
        }
    }

    /// A note of ours on something that `from` did. It is in the step's batch; none if there is no
    /// room for it (I2).
    pub fn note(
        &mut self,
        from: EntityId,
        kind: MessageKind,
        body: Vec<u8>,
        step: &mut Step<'_>,
    ) -> Option<BatchId> {
        let room = self.has_room(&from, body.len() + OVERHEAD_BYTES);
        let note = Received {
            id: MessageId(step.uuid_v7()),
            kind,
            priority: Priority::Normal,
            durable: true,
            sent: step.now.wall,
            body,
            proof: Vec::new(),
        };
        let free = !self.kept.contains_key(&note.id);
        (room && free).then(|| self.take(from, None, note, step))
    }

    /// So many bytes of messages may still be written.
    pub fn disk_has(&mut self, left_bytes: u64) {
        self.disk_left = Some(left_bytes);
    }

    fn disk_takes(&self, bytes: usize) -> bool {
        self.disk_left.is_none_or(|left| bytes as u64 <= left)
    }

    fn has_room(&self, from: &EntityId, bytes: usize) -> bool {
        let (messages, held) = self.senders.share(from);
        self.live.len() < INBOX_MAX_MESSAGES
            && self.bytes + bytes <= INBOX_MAX_BYTES
            && messages < INBOX_PER_SENDER_MAX_MESSAGES
            && held + bytes <= INBOX_PER_SENDER_MAX_BYTES
    }

    fn take(
        &mut self,
        from: EntityId,
        delivery: Option<DeliveryId>,
        message: Received,
        step: &mut Step<'_>,
    ) -> BatchId {
        // By the clock, so that numbers ascend even when nothing that bore one is left.
        self.last_number = (self.last_number + 1).max(step.now.wall.0);
        let record = MessageRecord::new(self.last_number, from, &message, step.now.wall);
        let bytes = message.body.len() + message.proof.len() + OVERHEAD_BYTES;
        self.disk_left = (self.disk_left).map(|left| left.saturating_sub(bytes as u64));
        let key = *message.id.0.as_bytes();
        if !message.body.is_empty() {
            let _ = step.put(Keyspace::InboxBody, key, message.body.clone());
        }
        if !message.proof.is_empty() {
            let _ = step.put(Keyspace::InboxProof, key, message.proof.clone());
        }
        let written = step.put(Keyspace::Inbox, key, record.to_row());
        let kept = Kept {
            waiting: delivery
                .filter(|_| message.kind == MessageKind::Talk)
                .map(|delivery| (delivery, step.now.mono + TALK_TIMEOUT_MS)),
            record,
            body: message.body,
            proof: message.proof,
            until: step.now.mono + INBOX_KEEP_MS,
            written,
        };
        self.insert(message.id, kept);
        written
    }

    fn insert(&mut self, id: MessageId, kept: Kept) {
        let from = kept.record.from;
        self.due.insert((kept.until, id));
        if kept.is_gone() {
            self.tombstones.insert((kept.until, id));
            self.senders.buried(from, kept.until, id);
        } else {
            self.live.insert(kept.record.number, id);
            self.bytes += kept.bytes();
            self.senders.took(from, kept.bytes());
        }
        self.kept.insert(id, kept);
    }

    /// Shows a message to our agent: from now on it is read.
    pub fn read(&mut self, id: MessageId, step: &mut Step<'_>) -> Option<&Kept> {
        let kept = self.kept.get_mut(&id).filter(|kept| !kept.is_gone())?;
        if kept.record.state == MessageState::New {
            kept.record.state = MessageState::Read;
            kept.record.since = step.now.wall;
            kept.written = step.put(Keyspace::Inbox, *id.0.as_bytes(), kept.record.to_row());
        }
        Some(kept)
    }

    /// Our agent's reply to a talk, which is thereby acknowledged. Tells whose it is, and what
    /// it rests on.
    ///
    /// # Errors
    /// [`ReplyError`].
    pub fn reply(
        &mut self,
        id: MessageId,
        body: &[u8],
        step: &mut Step<'_>,
    ) -> Result<(DeliveryId, BatchId), ReplyError> {
        let kept = self.kept.get(&id).filter(|kept| !kept.is_gone());
        let kept = kept.ok_or(ReplyError::Unknown)?;
        if kept.record.kind != MessageKind::Talk {
            return Err(ReplyError::NoTalk);
        }
        let delivery = kept.waits_for(step.now.mono).ok_or(ReplyError::Late)?;
        let after = self.bury(id, step).ok_or(ReplyError::Unknown)?;
        self.remember_answer(id, body);
        Ok((delivery, after))
    }

    /// Who sent a talk says that it waits for the reply no more.
    pub fn withdraw(&mut self, from: EntityId, id: MessageId) {
        let kept = self.kept.get_mut(&id);
        if let Some(kept) = kept.filter(|kept| kept.record.from == from) {
            kept.waiting = None;
        }
    }

    fn remember_answer(&mut self, id: MessageId, body: &[u8]) {
        self.answers.push_back((id, body.to_vec()));
        let bytes = |answers: &VecDeque<(MessageId, Vec<u8>)>| -> usize {
            answers.iter().map(|(_, body)| body.len()).sum()
        };
        while self.answers.len() > ANSWERS_MAX || bytes(&self.answers) > ANSWERS_MAX_BYTES {
            self.answers.pop_front();
        }
    }

    /// Our agent is done with a message. Tells what the answer rests on; none when there is no
    /// such message. To say it again changes nothing.
    pub fn acknowledge(&mut self, id: MessageId, step: &mut Step<'_>) -> Option<BatchId> {
        match self.kept.get(&id) {
            Some(kept) if kept.is_gone() => Some(kept.written),
            _ => self.bury(id, step),
        }
    }

    /// Turns a message into its tombstone.
    fn bury(&mut self, id: MessageId, step: &mut Step<'_>) -> Option<BatchId> {
        let mut kept = self.remove(&id)?;
        let key = *id.0.as_bytes();
        if !kept.body.is_empty() {
            step.delete(Keyspace::InboxBody, key);
        }
        if !kept.proof.is_empty() {
            step.delete(Keyspace::InboxProof, key);
        }
        kept.record.state = MessageState::Gone;
        kept.record.since = step.now.wall;
        let from = kept.record.from;
        let written = step.put(Keyspace::Inbox, key, kept.record.to_row());
        let tombstone = Kept {
            record: kept.record,
            body: Vec::new(),
            proof: Vec::new(),
            waiting: None,
            until: step.now.mono + INBOX_TOMBSTONE_KEEP_MS,
            written,
        };
        self.insert(id, tombstone);
        self.senders.forget_if_idle(&from, step);
        let own = self
            .senders
            .oldest_tombstone(&from, INBOX_TOMBSTONES_PER_SENDER_MAX);
        let oldest = || self.tombstones.first().map(|(_, id)| *id);
        let over = || self.tombstones.len() > INBOX_TOMBSTONES_MAX;
        if let Some(oldest) = own.or_else(|| over().then(oldest).flatten()) {
            self.forget(&oldest, step);
        }
        Some(written)
    }

    fn remove(&mut self, id: &MessageId) -> Option<Kept> {
        let kept = self.kept.remove(id)?;
        self.due.remove(&(kept.until, *id));
        if kept.is_gone() {
            self.tombstones.remove(&(kept.until, *id));
            self.senders.dug_up(&kept.record.from, kept.until, *id);
        } else {
            self.live.remove(&kept.record.number);
            self.bytes -= kept.bytes();
            self.senders.gave_back(&kept.record.from, kept.bytes());
        }
        Some(kept)
    }

    fn forget(&mut self, tombstone: &MessageId, step: &mut Step<'_>) {
        self.answers.retain(|(id, _)| id != tombstone);
        if self.remove(tombstone).is_some() {
            step.delete(Keyspace::Inbox, *tombstone.0.as_bytes());
        }
    }

    /// Drops what expired, and forgets tombstones whose time is over.
    pub fn tick(&mut self, step: &mut Step<'_>) {
        while let Some((at, id)) = self.due.first().copied() {
            if at > step.now.mono {
                break;
            }
            match self.kept.get(&id) {
                Some(kept) if !kept.is_gone() => {
                    self.expired.push((id, kept.record.from));
                    let _ = self.bury(id, step);
                }
                _ => self.forget(&id, step),
            }
        }
    }

    /// When [`Inbox::tick`] is next needed.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What expired since the last call, and whose it was.
    pub fn expired(&mut self) -> Vec<(MessageId, EntityId)> {
        std::mem::take(&mut self.expired)
    }

    /// A message that is not gone.
    pub fn message(&self, id: &MessageId) -> Option<&Kept> {
        self.kept.get(id).filter(|kept| !kept.is_gone())
    }

    /// What is not gone and came after the number `after`, in the order of arrival.
    pub fn messages(&self, after: u64) -> impl Iterator<Item = (MessageId, &Kept)> {
        self.live
            .range(after.saturating_add(1)..)
            .filter_map(|(_, id)| Some((*id, self.kept.get(id)?)))
    }

    /// The number of the newest arrival.
    pub fn last_number(&self) -> u64 {
        self.last_number
    }

    /// How many messages are kept.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// The signed entry of a sender whose message is kept.
    pub fn sender_entry(&self, entity: &EntityId) -> Option<&[u8]> {
        self.senders.entry(entity)
    }

    /// Checks I2 and I4, and that every count is what it counts.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<(), Violation> {
        let live = || self.kept.values().filter(|kept| !kept.is_gone());
        let bytes: usize = live().map(Kept::bytes).sum();
        let counts = live().count() == self.live.len()
            && bytes == self.bytes
            && self.kept.len() == self.live.len() + self.tombstones.len()
            && self.kept.len() == self.due.len();
        Violation::unless(counts, "I2", || {
            format!(
                "{} messages of {bytes} bytes are miscounted",
                self.kept.len()
            )
        })?;
        let bounded = self.live.len() <= INBOX_MAX_MESSAGES && self.bytes <= INBOX_MAX_BYTES;
        Violation::unless(bounded, "I2", || {
            format!("{} messages of {bytes} bytes", self.live.len())
        })?;
        let tombstones = self.tombstones.len();
        Violation::unless(tombstones <= INBOX_TOMBSTONES_MAX, "I4", || {
            format!("{tombstones} tombstones")
        })?;
        self.senders
            .check(live().map(|kept| (kept.record.from, kept.bytes())))
    }
}

fn refused(code: WireError) -> Receipt {
    Receipt {
        outcome: Settled::Refused(code),
        after: BatchId::NONE,
        answer: None,
    }
}

/// A durable message is told of only when it is on disk.
fn rests_on(durable: bool, written: BatchId) -> BatchId {
    if durable { written } else { BatchId::NONE }
}

/// When what began at `since` by the wall clock is over. Only a start reads the wall clock for
/// this, and a clock that is ahead makes nothing younger than the full time.
fn left(since: Wall, keep_ms: u64, now: Now) -> Mono {
    let age_ms = now.wall.0.saturating_sub(since.0).min(keep_ms);
    now.mono + (keep_ms - age_ms)
}

fn message_id(key: &[u8]) -> Result<MessageId, RowError> {
    uuid::Uuid::from_slice(key)
        .map(MessageId)
        .map_err(|_| unreadable("its key has another length".into()))
}
