//! Files that we receive.

use std::collections::BTreeMap;

use super::record::{self, ReceivedRecord, ReceivedState};
use super::{ChunkSet, Manifest, STREAMS_PER_PEER_MAX, cut, idle_at, safe_name, transfer_key};
use crate::proto::{RowError, Step, Violation};
use crate::types::limits::{
    BULK_STREAMS_MAX, CHUNK_ERRORS_MAX, TRANSFER_IDLE_MS, TRANSFERS_KEPT, TRANSFERS_MAX,
};
use crate::types::{BatchId, BulkId, EntityId, Keyspace, Mono, Now, Row, TransferId};
use crate::wire::{ChunkOffer, OfferAnswer, RefusedFile, cbor};

/// Of one peer.
const OPEN_PER_PEER_MAX: usize = TRANSFERS_MAX / 4;

/// What is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivesConfig {
    /// One file's size.
    pub max_bytes: u64,
    /// Another in each life.
    pub first_revision: u64,
}

/// What becomes of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Offered {
    /// Say this once the batch is durable.
    Answer(OfferAnswer, BatchId),
    /// Find out whether the disk has room, then [`Receives::prepared`].
    Prepare,
}

/// What the runtime needs to receive a file's chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivePlan {
    pub id: TransferId,
    pub manifest: Manifest,
    pub partial: TransferId,
    pub have: ChunkSet,
    /// Whether what is there is to be hashed again first: a life before wrote it.
    pub check: bool,
}

/// What became of giving a file its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreOutcome {
    /// It is there, flushed and by its name.
    Stored,
    /// Another file took the name.
    Taken,
    /// The unfinished file is gone.
    Lost,
    Failed(String),
}

/// What receiving asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiveEffect {
    /// Make room for an unfinished file.
    Prepare { id: TransferId, size: u64 },
    /// Take chunks from this stream.
    Receive { bulk: BulkId, plan: ReceivePlan },
    /// End this stream.
    Close { bulk: BulkId },
    /// Tell the sender how much is durable.
    Recorded {
        bulk: BulkId,
        have_bytes: u64,
        after: BatchId,
    },
    /// Find a free name.
    Name { id: TransferId, name: String },
    /// Flush the file and give it the name.
    Store {
        id: TransferId,
        partial: TransferId,
        name: String,
        manifest: Manifest,
        after: BatchId,
    },
    /// Tell the sender that all is there.
    Finished { bulk: BulkId, after: BatchId },
    /// Delete an unfinished file.
    Discard { partial: TransferId },
    /// Delete every unfinished file but these.
    Sweep { keep: Vec<TransferId> },
    /// Tell the sender that it is not wanted.
    Cancel { id: TransferId, to: EntityId },
    /// Somebody may await this.
    Changed { id: TransferId, after: BatchId },
    /// It has arrived.
    Arrived { id: TransferId },
}

/// A file that we receive.
#[derive(Debug)]
pub struct Received {
    pub record: ReceivedRecord,
    /// The batch that last wrote its row.
    pub written: BatchId,
    /// Rises with everything a reader could see change.
    pub revision: u64,
    /// What came over the network in this life of ours.
    pub moved_bytes: u64,
    /// None once it is over.
    manifest: Option<Manifest>,
    have: ChunkSet,
    have_bytes: u64,
    checked: bool,
    stream: Option<BulkId>,
    errors: u32,
    idle_at: Mono,
}

impl Received {
    /// What is on disk.
    pub fn have_bytes(&self) -> u64 {
        if self.record.state == ReceivedState::Completed {
            self.record.size
        } else {
            self.have_bytes
        }
    }

    /// Whether its chunks are coming.
    pub fn is_streaming(&self) -> bool {
        self.stream.is_some()
    }
}

struct Preparing {
    from: EntityId,
    name: String,
    manifest: Manifest,
}

/// Every file that we receive or received.
pub struct Receives {
    config: ReceivesConfig,
    files: BTreeMap<TransferId, Received>,
    preparing: BTreeMap<TransferId, Preparing>,
    revision: u64,
    effects: Vec<ReceiveEffect>,
}

impl Receives {
    /// None yet.
    pub fn new(config: ReceivesConfig) -> Receives {
        Receives {
            revision: config.first_revision,
            config,
            files: BTreeMap::new(),
            preparing: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// Takes in a stored row.
    ///
    /// # Errors
    /// [`RowError`] when a row of ours does not read.
    pub fn load(&mut self, row: &Row, now: Now) -> Result<(), RowError> {
        let broken = |what, why: &str| RowError {
            what,
            why: why.into(),
        };
        match row.space {
            Keyspace::ReceivedFile => {
                let what = "received file";
                let record = record::read(what, &row.value, |r: &ReceivedRecord| r.v)?;
                let id = transfer_key(&row.key)?;
                let count = u32::try_from(record.have.len() * 8).unwrap_or(0);
                let have = ChunkSet::from_bytes(&record.have, count)
                    .ok_or_else(|| broken(what, "its set of chunks is damaged"))?;
                let idle_at = idle_at(record.changed, now);
                self.files.insert(
                    id,
                    Received {
                        record,
                        written: BatchId::NONE,
                        revision: self.revision,
                        moved_bytes: 0,
                        manifest: None,
                        have,
                        have_bytes: 0,
                        checked: false,
                        stream: None,
                        errors: 0,
                        idle_at,
                    },
                );
            }
            Keyspace::ReceivedChunks => {
                let what = "list of a received file";
                let id = transfer_key(&row.key)?;
                if let Some(received) = self.files.get_mut(&id) {
                    let record = &received.record;
                    let (size, chunk_bytes) = (record.size, record.chunk_bytes);
                    let manifest = Manifest::from_parts(size, chunk_bytes, record.root, &row.value)
                        .ok_or_else(|| broken(what, "it is not that of the file"))?;
                    received.have = ChunkSet::from_bytes(&record.have, manifest.count())
                        .ok_or_else(|| broken(what, "it does not fit the chunks that arrived"))?;
                    received.have_bytes = received.have.bytes_of(&manifest);
                    received.manifest = Some(manifest);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Goes on with what a life before left.
    ///
    /// # Errors
    /// [`RowError`] when a file's list of hashes is missing.
    pub fn resume(&mut self) -> Result<(), RowError> {
        let mut keep = Vec::new();
        let ids: Vec<TransferId> = self.files.keys().copied().collect();
        for id in ids {
            let received = &self.files[&id];
            if received.record.state.is_terminal() {
                continue;
            }
            if received.manifest.is_none() {
                return Err(RowError {
                    what: "received file",
                    why: "its list of hashes is missing".into(),
                });
            }
            keep.push(received.record.partial);
            match received.record.state {
                ReceivedState::Storing => self.store(id),
                _ => self.name_if_full(id),
            }
        }
        self.effects.push(ReceiveEffect::Sweep { keep });
        Ok(())
    }

    /// Somebody offers a file. `allowed` is the policy's word on who it is.
    pub fn offered(
        &mut self,
        from: EntityId,
        offer: &ChunkOffer,
        allowed: bool,
        step: &mut Step<'_>,
    ) -> Offered {
        let refused = |why| Offered::Answer(OfferAnswer::Refused(why), BatchId::NONE);
        let id = offer.transfer_id;
        if let Some(known) = self.files.get(&id) {
            let same = known.record.from == from
                && (known.record.root, known.record.size) == (offer.root, offer.size);
            if !same {
                return refused(RefusedFile::BadManifest);
            }
            return Offered::Answer(answer(known), known.written);
        }
        if !allowed {
            return refused(RefusedFile::NotAllowed);
        }
        if offer.size > self.config.max_bytes {
            return refused(RefusedFile::TooLarge);
        }
        let open = || {
            self.files
                .values()
                .filter(|r| !r.record.state.is_terminal())
        };
        let of_peer = open().filter(|r| r.record.from == from).count()
            + self.preparing.values().filter(|p| p.from == from).count();
        let all = open().count() + self.preparing.len();
        let no_room = all >= TRANSFERS_MAX || of_peer >= OPEN_PER_PEER_MAX;
        if no_room || self.preparing.contains_key(&id) {
            return refused(RefusedFile::Busy);
        }
        let Some(manifest) = Manifest::from_offer(offer) else {
            return refused(RefusedFile::BadManifest);
        };
        let (name, size) = (safe_name(&offer.name), manifest.size);
        let new = Preparing {
            from,
            name,
            manifest,
        };
        if let Some(older) = self.same_file(&new) {
            let (answer, after) = self.take_over(id, older, new, step);
            return Offered::Answer(answer, after);
        }
        self.preparing.insert(id, new);
        self.effects.push(ReceiveEffect::Prepare { id, size });
        Offered::Prepare
    }

    /// An unfinished transfer of the same file, of which chunks may be there already.
    fn same_file(&self, new: &Preparing) -> Option<TransferId> {
        let same = |received: &Received| {
            let record = &received.record;
            record.state == ReceivedState::Receiving
                && received.manifest.as_ref() == Some(&new.manifest)
                && (record.from, &record.name) == (new.from, &new.name)
        };
        let found = self.files.iter().find(|(_, received)| same(received));
        found.map(|(id, _)| *id)
    }

    fn take_over(
        &mut self,
        id: TransferId,
        older: TransferId,
        new: Preparing,
        step: &mut Step<'_>,
    ) -> (OfferAnswer, BatchId) {
        let (partial, have, have_bytes, checked) = {
            let old = &self.files[&older];
            (
                old.record.partial,
                old.have.clone(),
                old.have_bytes,
                old.checked,
            )
        };
        let reason = format!("goes on as {id}");
        self.end(older, ReceivedState::Canceled, None, reason, false, step);
        let after = self.begin(id, partial, new, step);
        let received = self.files.get_mut(&id).expect("begun a moment ago");
        (received.have, received.have_bytes, received.checked) = (have, have_bytes, checked);
        let after = after.max(self.changed(id, step));
        let answer = answer(&self.files[&id]);
        self.name_if_full(id);
        (answer, after)
    }

    /// There is room on the disk, or there is not.
    pub fn prepared(
        &mut self,
        id: TransferId,
        prepared: Result<(), RefusedFile>,
        step: &mut Step<'_>,
    ) -> Option<(OfferAnswer, BatchId)> {
        let new = self.preparing.remove(&id)?;
        if let Err(why) = prepared {
            return Some((OfferAnswer::Refused(why), BatchId::NONE));
        }
        let after = self.begin(id, id, new, step);
        Some((answer(&self.files[&id]), after))
    }

    fn begin(
        &mut self,
        id: TransferId,
        partial: TransferId,
        new: Preparing,
        step: &mut Step<'_>,
    ) -> BatchId {
        let Preparing {
            from,
            name,
            manifest,
        } = new;
        let have = ChunkSet::empty(manifest.count());
        let record = ReceivedRecord {
            v: record::version(),
            id,
            from,
            name,
            state: ReceivedState::Receiving,
            size: manifest.size,
            chunk_bytes: manifest.chunk_bytes,
            root: manifest.root,
            partial,
            have: have.as_bytes().to_vec(),
            stored_as: None,
            since: step.now.wall,
            changed: step.now.wall,
            refused: None,
            reason: None,
        };
        step.writes
            .put(Keyspace::ReceivedChunks, *id.0.as_bytes(), manifest.list());
        let received = Received {
            record,
            written: BatchId::NONE,
            revision: 0,
            moved_bytes: 0,
            manifest: Some(manifest),
            have,
            have_bytes: 0,
            checked: true,
            stream: None,
            errors: 0,
            idle_at: step.now.mono + TRANSFER_IDLE_MS,
        };
        self.files.insert(id, received);
        self.changed(id, step)
    }

    /// A stream of `from` asks which chunks of a file are wanted.
    pub fn stream_asked(&mut self, bulk: BulkId, from: EntityId, id: TransferId) {
        let streams = || self.files.values().filter(|r| r.stream.is_some());
        let of_peer = streams().filter(|r| r.record.from == from).count();
        let no_room = streams().count() >= BULK_STREAMS_MAX || of_peer >= STREAMS_PER_PEER_MAX;
        let wanted = self.files.get_mut(&id).filter(|received| {
            received.record.from == from && received.record.state == ReceivedState::Receiving
        });
        let Some(received) = wanted else {
            return self.effects.push(ReceiveEffect::Close { bulk });
        };
        if received.stream.is_none() && no_room {
            return self.effects.push(ReceiveEffect::Close { bulk });
        }
        // The sender knows before us that the older one broke.
        if let Some(bulk) = received.stream.replace(bulk) {
            self.effects.push(ReceiveEffect::Close { bulk });
        }
        let plan = ReceivePlan {
            id,
            manifest: received.manifest.clone().expect("it is receiving"),
            partial: received.record.partial,
            have: received.have.clone(),
            check: !received.checked,
        };
        self.effects.push(ReceiveEffect::Receive { bulk, plan });
    }

    /// What a life before wrote was hashed again; these chunks are not there after all.
    pub fn checked(&mut self, id: TransferId, missing: &[u32], step: &mut Step<'_>) {
        let Some(received) = self.receiving(id) else {
            return;
        };
        received.checked = true;
        if missing.is_empty() {
            return;
        }
        for index in missing {
            received.have.set(*index, false);
        }
        self.changed(id, step);
    }

    /// Chunks that were checked are flushed.
    pub fn arrived(
        &mut self,
        id: TransferId,
        bulk: BulkId,
        chunks: &[u32],
        moved: u64,
        step: &mut Step<'_>,
    ) {
        let Some(received) = self.receiving(id) else {
            return;
        };
        for index in chunks {
            received.have.set(*index, true);
        }
        received.moved_bytes = received.moved_bytes.saturating_add(moved);
        received.idle_at = step.now.mono + TRANSFER_IDLE_MS;
        let after = self.changed(id, step);
        let have_bytes = self.files[&id].have_bytes;
        self.effects.push(ReceiveEffect::Recorded {
            bulk,
            have_bytes,
            after,
        });
        self.name_if_full(id);
    }

    /// A chunk was not what its hash says. Returns whether that counts against the peer.
    pub fn bad_chunk(&mut self, id: TransferId, step: &mut Step<'_>) -> Option<EntityId> {
        let received = self.receiving(id)?;
        received.errors += 1;
        let from = received.record.from;
        if received.errors > CHUNK_ERRORS_MAX {
            let why = RefusedFile::ChunkErrors;
            let reason = why.as_str().to_owned();
            self.end(id, ReceivedState::Failed, Some(why), reason, true, step);
        }
        Some(from)
    }

    /// A stream ended.
    pub fn stream_ended(&mut self, bulk: BulkId) {
        let mut files = self.files.iter_mut();
        if let Some((id, received)) = files.find(|(_, r)| r.stream == Some(bulk)) {
            received.stream = None;
            let id = *id;
            self.told(id, BatchId::NONE);
        }
    }

    fn name_if_full(&mut self, id: TransferId) {
        if let Some(received) = self.receiving(id)
            && received.have.is_full()
        {
            let name = received.record.name.clone();
            self.effects.push(ReceiveEffect::Name { id, name });
        }
    }

    /// A free name was found. It is durable before the file gets it, so that a restart knows.
    pub fn named(&mut self, id: TransferId, named: Result<String, String>, step: &mut Step<'_>) {
        let Some(received) = self.receiving(id) else {
            return;
        };
        match named {
            Ok(name) => {
                received.record.stored_as = Some(name);
                received.record.state = ReceivedState::Storing;
                self.changed(id, step);
                self.store(id);
            }
            Err(reason) => self.not_stored(id, reason, step),
        }
    }

    fn store(&mut self, id: TransferId) {
        let received = &self.files[&id];
        let record = &received.record;
        let (Some(name), Some(manifest)) = (record.stored_as.clone(), received.manifest.clone())
        else {
            return;
        };
        self.effects.push(ReceiveEffect::Store {
            id,
            partial: record.partial,
            name,
            manifest,
            after: received.written,
        });
    }

    /// The file has its name, or not.
    pub fn stored(&mut self, id: TransferId, outcome: StoreOutcome, step: &mut Step<'_>) {
        let Some(received) = self.files.get_mut(&id) else {
            return;
        };
        if received.record.state != ReceivedState::Storing {
            return;
        }
        match outcome {
            StoreOutcome::Stored => {
                received.record.state = ReceivedState::Completed;
                received.record.have = Vec::new();
                received.manifest = None;
                let bulk = received.stream;
                step.delete(Keyspace::ReceivedChunks, *id.0.as_bytes());
                let after = self.changed(id, step);
                if let Some(bulk) = bulk {
                    self.effects.push(ReceiveEffect::Finished { bulk, after });
                }
                self.effects.push(ReceiveEffect::Arrived { id });
                self.prune(step);
            }
            StoreOutcome::Taken | StoreOutcome::Lost => {
                received.record.state = ReceivedState::Receiving;
                received.record.stored_as = None;
                if outcome == StoreOutcome::Lost {
                    received.have = ChunkSet::empty(received.have_count());
                }
                let bulk = received.stream.filter(|_| outcome == StoreOutcome::Lost);
                self.changed(id, step);
                // The sender offers again, and hears what is missing.
                if let Some(bulk) = bulk {
                    self.effects.push(ReceiveEffect::Close { bulk });
                }
                self.name_if_full(id);
            }
            StoreOutcome::Failed(reason) => self.not_stored(id, reason, step),
        }
    }

    fn not_stored(&mut self, id: TransferId, reason: String, step: &mut Step<'_>) {
        let why = Some(RefusedFile::Storage);
        self.end(id, ReceivedState::Failed, why, reason, true, step);
    }

    /// Our owner does not want it. None if there is no such; one that is over stays as it is.
    pub fn cancel(&mut self, id: TransferId, step: &mut Step<'_>) -> Option<BatchId> {
        let received = self.files.get(&id)?;
        if received.record.state == ReceivedState::Receiving {
            let to = received.record.from;
            let why = Some(RefusedFile::Canceled);
            let reason = "canceled here".to_owned();
            self.end(id, ReceivedState::Canceled, why, reason, true, step);
            self.effects.push(ReceiveEffect::Cancel { id, to });
        }
        Some(self.files.get(&id)?.written)
    }

    /// The sender gave it up.
    pub fn canceled_by(&mut self, from: EntityId, id: TransferId, step: &mut Step<'_>) {
        if self.receiving(id).is_some_and(|r| r.record.from == from) {
            let why = Some(RefusedFile::Canceled);
            let reason = "the sender canceled it".to_owned();
            self.end(id, ReceivedState::Canceled, why, reason, true, step);
        }
    }

    fn end(
        &mut self,
        id: TransferId,
        state: ReceivedState,
        refused: Option<RefusedFile>,
        reason: String,
        discard: bool,
        step: &mut Step<'_>,
    ) {
        let Some(received) = self.files.get_mut(&id) else {
            return;
        };
        received.record.state = state;
        received.record.refused = refused;
        received.record.reason = Some(cut(reason));
        received.record.stored_as = None;
        received.record.have = Vec::new();
        received.manifest = None;
        let partial = received.record.partial;
        if let Some(bulk) = received.stream.take() {
            self.effects.push(ReceiveEffect::Close { bulk });
        }
        if discard {
            self.effects.push(ReceiveEffect::Discard { partial });
        }
        step.delete(Keyspace::ReceivedChunks, *id.0.as_bytes());
        self.changed(id, step);
        self.prune(step);
    }

    fn prune(&mut self, step: &mut Step<'_>) {
        let over = self
            .files
            .iter()
            .filter(|(_, r)| r.record.state.is_terminal());
        let mut over: Vec<_> = over.map(|(id, r)| (r.record.changed, *id)).collect();
        over.sort_unstable();
        let excess = over.len().saturating_sub(TRANSFERS_KEPT);
        for (_, id) in over.into_iter().take(excess) {
            self.files.remove(&id);
            step.delete(Keyspace::ReceivedFile, *id.0.as_bytes());
        }
    }

    /// Writes the row.
    fn changed(&mut self, id: TransferId, step: &mut Step<'_>) -> BatchId {
        let Some(received) = self.files.get_mut(&id) else {
            return BatchId::NONE;
        };
        received.record.changed = step.now.wall;
        if let Some(manifest) = &received.manifest {
            received.record.have = received.have.as_bytes().to_vec();
            received.have_bytes = received.have.bytes_of(manifest);
        }
        let row = cbor::encode(&received.record);
        received.written = step.put(Keyspace::ReceivedFile, *id.0.as_bytes(), row);
        let written = received.written;
        self.told(id, written);
        written
    }

    fn told(&mut self, id: TransferId, after: BatchId) {
        self.revision += 1;
        if let Some(received) = self.files.get_mut(&id) {
            received.revision = self.revision;
            self.effects.push(ReceiveEffect::Changed { id, after });
        }
    }

    fn receiving(&mut self, id: TransferId) -> Option<&mut Received> {
        let is_receiving = |r: &&mut Received| r.record.state == ReceivedState::Receiving;
        self.files.get_mut(&id).filter(is_receiving)
    }

    /// Gives up what has been idle for too long.
    pub fn tick(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        let idle = |r: &Received| r.record.state == ReceivedState::Receiving && r.idle_at <= now;
        let idle: Vec<TransferId> = self
            .files
            .iter()
            .filter(|(_, received)| idle(received))
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            let why = Some(RefusedFile::Canceled);
            let reason = "it made no progress for 7 days".to_owned();
            self.end(id, ReceivedState::Failed, why, reason, true, step);
        }
    }

    /// When [`Receives::tick`] is next needed.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.files
            .values()
            .filter(|r| r.record.state == ReceivedState::Receiving)
            .map(|r| r.idle_at)
            .min()
    }

    /// Takes what is asked for since the last call.
    pub fn effects(&mut self) -> Vec<ReceiveEffect> {
        std::mem::take(&mut self.effects)
    }

    /// One of them.
    pub fn file(&self, id: TransferId) -> Option<&Received> {
        self.files.get(&id)
    }

    /// All of them, the oldest first.
    pub fn files(&self) -> impl Iterator<Item = &Received> {
        self.files.values()
    }

    /// Checks what can be seen of X2 and X3.
    ///
    /// # Errors
    /// The violation.
    pub fn check(&self) -> Result<(), Violation> {
        for (id, received) in &self.files {
            let state = received.record.state;
            let named = received.record.stored_as.is_some();
            let wants_name = matches!(state, ReceivedState::Storing | ReceivedState::Completed);
            Violation::unless(named == wants_name, "X2", || {
                format!(
                    "{id} is {state:?}, its name is {:?}",
                    received.record.stored_as
                )
            })?;
            let has_manifest = received.manifest.is_some();
            Violation::unless(has_manifest != state.is_terminal(), "X3", || {
                format!("{id} is {state:?}, and has a manifest: {has_manifest}")
            })?;
        }
        Ok(())
    }
}

impl Received {
    fn have_count(&self) -> u32 {
        self.manifest.as_ref().map_or(0, Manifest::count)
    }
}

/// What an offer of this file is answered.
fn answer(received: &Received) -> OfferAnswer {
    match received.record.state {
        ReceivedState::Receiving | ReceivedState::Storing => OfferAnswer::Accepted {
            have_bytes: received.have_bytes,
        },
        ReceivedState::Completed => OfferAnswer::Complete,
        ReceivedState::Failed | ReceivedState::Canceled => {
            let why = received.record.refused.unwrap_or(RefusedFile::Canceled);
            OfferAnswer::Refused(why)
        }
    }
}
