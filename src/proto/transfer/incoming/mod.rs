//! Files that we receive: offered (`offers`), on their way (`chunks`), given a name (`storing`).

mod chunks;
mod offers;
mod storing;

use std::collections::BTreeMap;

use uuid::Uuid;

pub use self::offers::Offered;
use self::offers::Preparing;
use super::kept::{self, Kept};
use super::record::{self, ReceivedRecord, ReceivedState};
use super::{ChunkSet, Manifest, Partial, cut, idle_at, transfer_key};
use crate::proto::{RowError, Step, Violation};
use crate::types::{BatchId, BulkId, EntityId, Keyspace, Mono, Now, Row, TransferId, Wall};
use crate::wire::{Purpose, RefusedFile, cbor};

/// What is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivesConfig {
    /// One file's size.
    pub max_bytes: u64,
    /// Another in each life.
    pub first_revision: u64,
}

/// What the runtime needs to receive a file's chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivePlan {
    pub id: TransferId,
    pub manifest: Manifest,
    pub partial: Partial,
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
    Prepare {
        id: TransferId,
        partial: Partial,
        size: u64,
    },
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
        partial: Partial,
        name: String,
        manifest: Manifest,
        after: BatchId,
    },
    /// Tell the sender that all is there.
    Finished { bulk: BulkId, after: BatchId },
    /// Delete an unfinished file.
    Discard { partial: Partial },
    /// Delete every unfinished file but these.
    Sweep { keep: Vec<Partial> },
    /// Tell the sender that it is not wanted.
    Cancel { id: TransferId, to: EntityId },
    /// Somebody may await this.
    Changed { id: TransferId, after: BatchId },
    /// It has arrived.
    Arrived { id: TransferId },
    /// A part of a task has arrived: it is the file of that name. Its transfer is forgotten.
    Part {
        from: EntityId,
        purpose: Purpose,
        manifest: Manifest,
        file: Uuid,
    },
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
    /// When a chunk was last recorded in this life.
    pub moved_at: Option<Mono>,
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

    fn partial(&self) -> Partial {
        Partial {
            file: self.record.partial,
            payload: self.record.purpose.is_some(),
        }
    }

    fn have_count(&self) -> u32 {
        self.manifest.as_ref().map_or(0, Manifest::count)
    }
}

impl Kept for Received {
    const ROW: Keyspace = Keyspace::ReceivedFile;
    const CHUNKS: Keyspace = Keyspace::ReceivedChunks;

    fn is_over(&self) -> bool {
        self.record.state.is_terminal()
    }

    fn changed(&self) -> Wall {
        self.record.changed
    }

    fn row(&mut self, now: Wall) -> Vec<u8> {
        self.record.changed = now;
        if let Some(manifest) = &self.manifest {
            self.record.have = self.have.as_bytes().to_vec();
            self.have_bytes = self.have.bytes_of(manifest);
        }
        cbor::encode(&self.record)
    }
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
                        moved_at: None,
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
            keep.push(received.partial());
            match received.record.state {
                ReceivedState::Storing => self.store(id),
                _ => self.name_if_full(id),
            }
        }
        self.effects.push(ReceiveEffect::Sweep { keep });
        Ok(())
    }

    /// Our owner does not want it. None if there is no such; one that is over stays as it is.
    pub fn cancel(&mut self, id: TransferId, step: &mut Step<'_>) -> Option<BatchId> {
        let received = self.files.get(&id)?;
        let written = received.written;
        if received.record.state == ReceivedState::Receiving {
            let to = received.record.from;
            let why = Some(RefusedFile::Canceled);
            let reason = "canceled here".to_owned();
            self.end(id, ReceivedState::Canceled, why, reason, true, step);
            self.effects.push(ReceiveEffect::Cancel { id, to });
            return Some(step.batch);
        }
        Some(written)
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
        let (partial, part) = (received.partial(), received.record.purpose.is_some());
        if let Some(bulk) = received.stream.take() {
            self.effects.push(ReceiveEffect::Close { bulk });
        }
        if discard {
            self.effects.push(ReceiveEffect::Discard { partial });
        }
        self.changed(id, step);
        kept::close(&mut self.files, id, step);
        if part {
            self.forget(id, step);
        }
    }

    /// Nothing stays of a part of a task that is over.
    fn forget(&mut self, id: TransferId, step: &mut Step<'_>) -> Option<Received> {
        step.delete(Keyspace::ReceivedFile, *id.0.as_bytes());
        step.delete(Keyspace::ReceivedChunks, *id.0.as_bytes());
        self.files.remove(&id)
    }

    /// Writes the row.
    fn changed(&mut self, id: TransferId, step: &mut Step<'_>) -> BatchId {
        let Some(received) = self.files.get_mut(&id) else {
            return BatchId::NONE;
        };
        let written = kept::write(id, received, step);
        received.written = written;
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
