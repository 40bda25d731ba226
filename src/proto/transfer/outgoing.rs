//! Files that we send.

use std::collections::BTreeMap;

use super::kept::{self, Kept};
use super::record::{self, SentRecord, SentState};
use super::{Manifest, STREAMS_PER_PEER_MAX, cut, idle_at, transfer_key};
use crate::proto::{RowError, Step};
use crate::types::limits::{BULK_STREAMS_MAX, TRANSFER_IDLE_MS, TRANSFERS_MAX};
use crate::types::{BatchId, EntityId, Keyspace, Mono, Now, Row, TransferId, Wall};
use crate::wire::{ChunkOffer, OfferAnswer, Purpose, RefusedFile, cbor};

const RETRY_MS: u64 = 500;
const RETRY_MAX_MS: u64 = 15_000;

/// A file to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    pub id: TransferId,
    pub to: EntityId,
    pub path: String,
    pub name: String,
}

/// What became of [`Sends::submit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Submitted {
    Taken(BatchId),
    /// There is one of this id already.
    Known(BatchId),
    Full,
}

/// What the runtime needs to send a file's chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendPlan {
    pub id: TransferId,
    pub path: String,
    pub modified_ns: u64,
    pub manifest: Manifest,
}

/// How a stream of ours ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendEnd {
    /// The receiver says that it has everything: the offer's answer will tell.
    Done,
    /// It broke, or came to nothing.
    Broken,
    /// The file cannot be read any more, or is another by now.
    Source(String),
}

/// What sending asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendEffect {
    /// Compute the file's hashes.
    Hash { id: TransferId, path: String },
    /// Send the offer.
    Offer {
        id: TransferId,
        to: EntityId,
        after: BatchId,
    },
    /// Open a stream and send what the receiver lacks.
    Open { to: EntityId, plan: SendPlan },
    /// End its stream, or the computing of its hash.
    Stop { id: TransferId },
    /// Tell the receiver that it is not coming.
    Cancel { id: TransferId, to: EntityId },
    /// Somebody may await this.
    Changed { id: TransferId, after: BatchId },
    /// A part of a task is with its receiver, or will not be.
    Brought {
        to: EntityId,
        purpose: Purpose,
        arrived: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Offering,
    Streaming,
}

/// A file that we send.
#[derive(Debug)]
pub struct Sent {
    pub record: SentRecord,
    /// The batch that last wrote its row.
    pub written: BatchId,
    /// Rises with everything a reader could see change.
    pub revision: u64,
    /// What the receiver is known to have.
    pub done_bytes: u64,
    /// What went over the network in this life of ours.
    pub moved_bytes: u64,
    manifest: Option<Manifest>,
    phase: Phase,
    tries: u32,
    /// When it is offered next; none while it is under way or over.
    next_offer: Option<Mono>,
    idle_at: Mono,
}

impl Sent {
    /// Whether its chunks are on their way.
    pub fn is_streaming(&self) -> bool {
        self.phase == Phase::Streaming
    }
}

impl Kept for Sent {
    const ROW: Keyspace = Keyspace::SentFile;
    const CHUNKS: Keyspace = Keyspace::SentChunks;

    fn is_over(&self) -> bool {
        self.record.state.is_terminal()
    }

    fn changed(&self) -> Wall {
        self.record.changed
    }

    fn row(&mut self, now: Wall) -> Vec<u8> {
        self.record.changed = now;
        cbor::encode(&self.record)
    }
}

/// Every file that we send or sent.
#[derive(Debug)]
pub struct Sends {
    files: BTreeMap<TransferId, Sent>,
    revision: u64,
    effects: Vec<SendEffect>,
}

impl Sends {
    /// None yet. Revisions count from `first_revision`, another in each life.
    pub fn new(first_revision: u64) -> Sends {
        Sends {
            files: BTreeMap::new(),
            revision: first_revision,
            effects: Vec::new(),
        }
    }

    /// Takes in a stored row.
    ///
    /// # Errors
    /// [`RowError`] when a row of ours does not read.
    pub fn load(&mut self, row: &Row, now: Now) -> Result<(), RowError> {
        match row.space {
            Keyspace::SentFile => {
                let record: SentRecord =
                    record::read("sent file", &row.value, |r: &SentRecord| r.v)?;
                let id = transfer_key(&row.key)?;
                self.files.insert(id, self.fresh(record, now));
            }
            Keyspace::SentChunks => {
                let id = transfer_key(&row.key)?;
                if let Some(sent) = self.files.get_mut(&id) {
                    let record = &sent.record;
                    let (size, chunk_bytes) = (record.size, record.chunk_bytes);
                    let read = Manifest::from_parts(size, chunk_bytes, record.root, &row.value);
                    sent.manifest = Some(read.ok_or_else(|| RowError {
                        what: "list of a sent file",
                        why: "it is not that of the file".into(),
                    })?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn fresh(&self, record: SentRecord, now: Now) -> Sent {
        Sent {
            idle_at: idle_at(record.changed, now),
            record,
            written: BatchId::NONE,
            revision: self.revision,
            done_bytes: 0,
            moved_bytes: 0,
            manifest: None,
            phase: Phase::Idle,
            tries: 0,
            next_offer: None,
        }
    }

    /// Goes on with what a life before left.
    pub fn resume(&mut self, now: Now) {
        for (id, sent) in &mut self.files {
            match (sent.record.state, &sent.manifest) {
                (SentState::Offered, Some(_)) => sent.next_offer = Some(now.mono),
                (SentState::Offered | SentState::Hashing, _) => {
                    sent.record.state = SentState::Hashing;
                    let path = sent.record.path.clone();
                    self.effects.push(SendEffect::Hash { id: *id, path });
                }
                _ => {}
            }
        }
    }

    /// Begins to send a file.
    pub fn submit(&mut self, new: NewFile, step: &mut Step<'_>) -> Submitted {
        self.submit_as(new, None, step)
    }

    /// Begins to send a file that is a part of a task. Nothing stays of it when it is over.
    pub fn submit_part(
        &mut self,
        new: NewFile,
        purpose: Purpose,
        step: &mut Step<'_>,
    ) -> Submitted {
        self.submit_as(new, Some(purpose), step)
    }

    fn submit_as(
        &mut self,
        new: NewFile,
        purpose: Option<Purpose>,
        step: &mut Step<'_>,
    ) -> Submitted {
        if let Some(known) = self.files.get(&new.id) {
            return Submitted::Known(known.written);
        }
        if self.open().count() >= TRANSFERS_MAX {
            return Submitted::Full;
        }
        let NewFile { id, to, path, name } = new;
        self.effects.push(SendEffect::Hash {
            id,
            path: path.clone(),
        });
        let record = SentRecord {
            v: record::version(),
            id,
            to,
            path,
            name,
            state: SentState::Hashing,
            size: 0,
            chunk_bytes: 0,
            root: [0; 32],
            modified_ns: 0,
            since: step.now.wall,
            changed: step.now.wall,
            purpose,
            reason: None,
        };
        let sent = self.fresh(record, step.now);
        self.files.insert(id, sent);
        Submitted::Taken(self.changed(id, step))
    }

    /// The file's hashes are known, or it could not be read.
    pub fn hashed(
        &mut self,
        id: TransferId,
        hashed: Result<(Manifest, u64), String>,
        step: &mut Step<'_>,
    ) {
        let Some(sent) = self.files.get_mut(&id) else {
            return;
        };
        if sent.record.state != SentState::Hashing {
            return;
        }
        let (manifest, modified_ns) = match hashed {
            Ok(hashed) => hashed,
            Err(reason) => return self.end(id, SentState::Failed, Some(reason), step),
        };
        sent.record.size = manifest.size;
        sent.record.chunk_bytes = manifest.chunk_bytes;
        sent.record.root = manifest.root;
        sent.record.modified_ns = modified_ns;
        sent.record.state = SentState::Offered;
        sent.next_offer = Some(step.now.mono);
        step.writes
            .put(Keyspace::SentChunks, *id.0.as_bytes(), manifest.list());
        sent.manifest = Some(manifest);
        self.changed(id, step);
        self.take_over(id, step);
    }

    /// A transfer of the same file to the same peer goes on as this one: the receiver keeps what
    /// it has.
    fn take_over(&mut self, id: TransferId, step: &mut Step<'_>) {
        let new = &self.files[&id].record;
        let what = |r: &SentRecord| (r.to, r.root, r.size, r.name.clone(), r.purpose);
        let older = |(other, sent): (&TransferId, &Sent)| {
            let same = *other != id
                && sent.record.state == SentState::Offered
                && what(&sent.record) == what(new);
            same.then_some(*other)
        };
        let older: Vec<TransferId> = self.files.iter().filter_map(older).collect();
        for other in older {
            let reason = format!("goes on as {id}");
            self.end(other, SentState::Canceled, Some(reason), step);
        }
    }

    /// The offer of a file.
    pub fn offer(&self, id: TransferId) -> Option<ChunkOffer> {
        let sent = self.files.get(&id)?;
        let manifest = sent.manifest.as_ref()?;
        Some(ChunkOffer {
            transfer_id: id,
            name: sent.record.name.clone(),
            size: manifest.size,
            chunk_bytes: manifest.chunk_bytes,
            root: manifest.root,
            chunks: manifest.list(),
            purpose: sent.record.purpose,
        })
    }

    /// An offer got no answer.
    pub fn offer_failed(&mut self, id: TransferId, step: &mut Step<'_>) {
        self.again(id, Phase::Offering, step);
    }

    /// The receiver answered an offer.
    pub fn answered(&mut self, id: TransferId, answer: OfferAnswer, step: &mut Step<'_>) {
        let Some(sent) = self.files.get_mut(&id) else {
            return;
        };
        if sent.phase != Phase::Offering {
            return;
        }
        match answer {
            OfferAnswer::Complete => {
                sent.done_bytes = sent.record.size;
                self.end(id, SentState::Completed, None, step);
            }
            OfferAnswer::Refused(why) if why.is_passing() => {
                self.again(id, Phase::Offering, step);
            }
            // Who does not wait for its input has ended its run, or never had it: what becomes of the
            // task its result says, or its lease.
            OfferAnswer::Refused(RefusedFile::Unexpected)
                if matches!(sent.record.purpose, Some(Purpose::TaskInput { .. })) =>
            {
                self.end(id, SentState::Completed, None, step);
            }
            OfferAnswer::Refused(why) => {
                self.end(id, SentState::Failed, Some(why.as_str().into()), step);
            }
            OfferAnswer::Accepted { have_bytes } => {
                let Some(manifest) = sent.manifest.clone() else {
                    return;
                };
                sent.phase = Phase::Streaming;
                sent.done_bytes = have_bytes.min(sent.record.size);
                sent.idle_at = step.now.mono + TRANSFER_IDLE_MS;
                let plan = SendPlan {
                    id,
                    path: sent.record.path.clone(),
                    modified_ns: sent.record.modified_ns,
                    manifest,
                };
                let to = sent.record.to;
                self.changed(id, step);
                self.effects.push(SendEffect::Open { to, plan });
            }
        }
    }

    /// The stream goes on: the receiver has recorded so much.
    pub fn progress(&mut self, id: TransferId, done: Option<u64>, moved: u64, step: &Step<'_>) {
        let Some(sent) = self.files.get_mut(&id) else {
            return;
        };
        if sent.phase != Phase::Streaming {
            return;
        }
        if let Some(done) = done {
            sent.done_bytes = done.min(sent.record.size);
            sent.idle_at = step.now.mono + TRANSFER_IDLE_MS;
            // It came through: the next break is a first one again.
            sent.tries = 0;
        }
        sent.moved_bytes = sent.moved_bytes.saturating_add(moved);
        self.told(id, BatchId::NONE);
    }

    /// A stream ended.
    pub fn stream_ended(&mut self, id: TransferId, end: SendEnd, step: &mut Step<'_>) {
        match end {
            SendEnd::Source(reason) => {
                if self.is_open(id) {
                    self.end(id, SentState::Failed, Some(reason), step);
                }
            }
            SendEnd::Broken => self.again(id, Phase::Streaming, step),
            SendEnd::Done => {
                self.again(id, Phase::Streaming, step);
                if let Some(sent) = self.files.get_mut(&id)
                    && sent.phase == Phase::Idle
                    && sent.next_offer.is_some()
                {
                    sent.next_offer = Some(step.now.mono);
                }
            }
        }
    }

    /// The offer is repeated after a while.
    fn again(&mut self, id: TransferId, from: Phase, step: &mut Step<'_>) {
        let Some(sent) = self.files.get_mut(&id) else {
            return;
        };
        if sent.phase != from || sent.record.state != SentState::Offered {
            return;
        }
        sent.phase = Phase::Idle;
        let wait = RETRY_MS / 2 + step.backoff_ms(sent.tries, RETRY_MS, RETRY_MAX_MS);
        sent.tries = sent.tries.saturating_add(1);
        sent.next_offer = Some(step.now.mono + wait);
        self.told(id, BatchId::NONE);
    }

    /// There is a session with a receiver: what waits for it need not wait longer.
    pub fn peer_is_back(&mut self, peer: EntityId, now: Mono) {
        for sent in self.files.values_mut().filter(|s| s.record.to == peer) {
            if let Some(at) = &mut sent.next_offer {
                *at = now.min(*at);
            }
        }
    }

    /// Gives a file up. None if there is no such, or it is over.
    pub fn cancel(&mut self, id: TransferId, step: &mut Step<'_>) -> Option<BatchId> {
        let sent = self.files.get(&id)?;
        if !sent.record.state.is_terminal() {
            let to = sent.record.to;
            let offered = sent.record.state == SentState::Offered;
            self.end(id, SentState::Canceled, None, step);
            if offered {
                self.effects.push(SendEffect::Cancel { id, to });
            }
            return Some(step.batch);
        }
        Some(sent.written)
    }

    /// The receiver does not want it any more.
    pub fn canceled_by(&mut self, from: EntityId, id: TransferId, step: &mut Step<'_>) {
        if self.files.get(&id).is_some_and(|s| s.record.to == from) && self.is_open(id) {
            let reason = Some("the receiver canceled it".into());
            self.end(id, SentState::Failed, reason, step);
        }
    }

    fn end(
        &mut self,
        id: TransferId,
        state: SentState,
        reason: Option<String>,
        step: &mut Step<'_>,
    ) {
        let Some(sent) = self.files.get_mut(&id) else {
            return;
        };
        let busy = sent.phase == Phase::Streaming || sent.record.state == SentState::Hashing;
        sent.record.state = state;
        sent.record.reason = reason.map(cut);
        sent.phase = Phase::Idle;
        sent.next_offer = None;
        sent.manifest = None;
        if busy {
            self.effects.push(SendEffect::Stop { id });
        }
        let (to, purpose) = (sent.record.to, sent.record.purpose);
        self.changed(id, step);
        kept::close(&mut self.files, id, step);
        if let Some(purpose) = purpose {
            self.files.remove(&id);
            step.delete(Keyspace::SentFile, *id.0.as_bytes());
            self.effects.push(SendEffect::Brought {
                to,
                purpose,
                arrived: state == SentState::Completed,
            });
        }
    }

    /// Writes the row.
    fn changed(&mut self, id: TransferId, step: &mut Step<'_>) -> BatchId {
        let Some(sent) = self.files.get_mut(&id) else {
            return BatchId::NONE;
        };
        let written = kept::write(id, sent, step);
        sent.written = written;
        self.told(id, written);
        written
    }

    fn told(&mut self, id: TransferId, after: BatchId) {
        self.revision += 1;
        if let Some(sent) = self.files.get_mut(&id) {
            sent.revision = self.revision;
            self.effects.push(SendEffect::Changed { id, after });
        }
    }

    /// Offers what is due, and gives up what has been idle for too long.
    pub fn tick(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        let idle: Vec<TransferId> = self
            .open()
            .filter(|(_, sent)| sent.idle_at <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            let reason = Some("it made no progress for 7 days".into());
            self.end(id, SentState::Failed, reason, step);
        }
        while let Some((id, to, after)) = self.due(now) {
            let sent = self.files.get_mut(&id).expect("found a moment ago");
            sent.next_offer = None;
            sent.phase = Phase::Offering;
            self.effects.push(SendEffect::Offer { id, to, after });
        }
    }

    fn due(&self, now: Mono) -> Option<(TransferId, EntityId, BatchId)> {
        let due = |s: &Sent| s.next_offer.is_some_and(|at| at <= now) && self.has_room(s);
        let (id, sent) = self.files.iter().find(|(_, sent)| due(sent))?;
        Some((*id, sent.record.to, sent.written))
    }

    /// Whether one more may be under way to its receiver.
    fn has_room(&self, sent: &Sent) -> bool {
        let active = || self.files.values().filter(|s| s.phase != Phase::Idle);
        let to_it = active().filter(|s| s.record.to == sent.record.to);
        active().count() < BULK_STREAMS_MAX && to_it.count() < STREAMS_PER_PEER_MAX
    }

    /// When [`Sends::tick`] is next needed.
    pub fn next_deadline(&self) -> Option<Mono> {
        let offers = self
            .files
            .values()
            .filter(|sent| sent.next_offer.is_some() && self.has_room(sent))
            .filter_map(|sent| sent.next_offer);
        let idle = self.open().map(|(_, sent)| sent.idle_at);
        offers.chain(idle).min()
    }

    /// Takes what is asked for since the last call.
    pub fn effects(&mut self) -> Vec<SendEffect> {
        std::mem::take(&mut self.effects)
    }

    fn open(&self) -> impl Iterator<Item = (&TransferId, &Sent)> {
        self.files
            .iter()
            .filter(|(_, sent)| !sent.record.state.is_terminal())
    }

    fn is_open(&self, id: TransferId) -> bool {
        self.files
            .get(&id)
            .is_some_and(|sent| !sent.record.state.is_terminal())
    }

    /// Who is waited for.
    pub fn receivers(&self) -> impl Iterator<Item = EntityId> {
        let offered = |s: &&Sent| s.record.state == SentState::Offered;
        self.files.values().filter(offered).map(|s| s.record.to)
    }

    /// One of them.
    pub fn file(&self, id: TransferId) -> Option<&Sent> {
        self.files.get(&id)
    }

    /// All of them, the oldest first.
    pub fn files(&self) -> impl Iterator<Item = &Sent> {
        self.files.values()
    }
}
