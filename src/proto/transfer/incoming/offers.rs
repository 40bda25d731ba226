//! Offers: what is taken, and what a file begins with.

use std::collections::BTreeMap;

use rand::RngExt as _;
use uuid::Uuid;

use super::{ReceiveEffect, Received, Receives};
use crate::proto::Step;
use crate::proto::transfer::record::{self, ReceivedRecord, ReceivedState};
use crate::proto::transfer::{ChunkSet, Manifest, Partial, safe_name};
use crate::types::limits::{TRANSFER_IDLE_MS, TRANSFERS_MAX};
use crate::types::{BatchId, EntityId, Keyspace, TransferId};
use crate::wire::{ChunkOffer, OfferAnswer, Purpose, RefusedFile};

/// Of one peer.
const OPEN_PER_PEER_MAX: usize = TRANSFERS_MAX / 4;

/// What becomes of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Offered {
    /// Say this once the batch is durable.
    Answer(OfferAnswer, BatchId),
    /// Find out whether the disk has room, then [`Receives::prepared`].
    Prepare,
}

pub(super) struct Preparing {
    from: EntityId,
    name: String,
    manifest: Manifest,
    purpose: Option<Purpose>,
    /// What the unfinished file is called.
    partial: Uuid,
}

impl Receives {
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
        // What a task may have was agreed on with the task.
        if offer.purpose.is_none() && offer.size > self.config.max_bytes {
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
        // The same content for another task: it is here when that has come.
        let coming = offer.purpose.is_some() && self.is_coming(from, offer);
        let no_room = all >= TRANSFERS_MAX || of_peer >= OPEN_PER_PEER_MAX || coming;
        if no_room || self.preparing.contains_key(&id) {
            return refused(RefusedFile::Busy);
        }
        let Some(manifest) = Manifest::from_offer(offer) else {
            return refused(RefusedFile::BadManifest);
        };
        let (name, size) = (safe_name(&offer.name), manifest.size);
        let purpose = offer.purpose;
        let new = Preparing {
            from,
            name,
            manifest,
            purpose,
            partial: uuid::Builder::from_random_bytes(step.rng.random()).into_uuid(),
        };
        if let Some(older) = self.same_file(&new) {
            let (answer, after) = self.take_over(id, older, new, step);
            return Offered::Answer(answer, after);
        }
        let partial = Partial {
            file: new.partial,
            payload: purpose.is_some(),
        };
        self.preparing.insert(id, new);
        let prepare = ReceiveEffect::Prepare { id, partial, size };
        self.effects.push(prepare);
        Offered::Prepare
    }

    /// Whether a part of another task, of the same content, is on its way from the same side.
    fn is_coming(&self, from: EntityId, offer: &ChunkOffer) -> bool {
        let task = |purpose: Option<Purpose>| purpose.map(Purpose::task_id);
        let other = |of: EntityId, root: [u8; 32], purpose: Option<Purpose>| {
            of == from
                && root == offer.root
                && purpose.is_some()
                && task(purpose) != task(offer.purpose)
        };
        let mut preparing = self.preparing.values();
        let mut files = self.files.values().map(|file| &file.record);
        preparing.any(|p| other(p.from, p.manifest.root, p.purpose))
            || files.any(|r| !r.state.is_terminal() && other(r.from, r.root, r.purpose))
    }

    /// The parts of tasks that were accepted, or are to be, and have not come: their hashes and sizes.
    pub fn coming_parts(&self) -> BTreeMap<[u8; 32], u64> {
        let preparing = self.preparing.values();
        let preparing = preparing.map(|p| (p.purpose, p.manifest.root, p.manifest.size));
        let files = self.files.values().map(|file| &file.record);
        let files = files.filter(|r| !r.state.is_terminal());
        let files = files.map(|r| (r.purpose, r.root, r.size));
        let parts = preparing.chain(files).filter(|(part, ..)| part.is_some());
        parts.map(|(_, root, size)| (root, size)).collect()
    }

    /// An unfinished transfer of the same file, of which chunks may be there already.
    fn same_file(&self, new: &Preparing) -> Option<TransferId> {
        let same = |received: &Received| {
            let record = &received.record;
            record.state == ReceivedState::Receiving
                && received.manifest.as_ref() == Some(&new.manifest)
                && (record.from, &record.name) == (new.from, &new.name)
                && record.purpose.map(Purpose::task_id) == new.purpose.map(Purpose::task_id)
        };
        let found = self.files.iter().find(|(_, received)| same(received));
        found.map(|(id, _)| *id)
    }

    fn take_over(
        &mut self,
        id: TransferId,
        older: TransferId,
        mut new: Preparing,
        step: &mut Step<'_>,
    ) -> (OfferAnswer, BatchId) {
        let new_is_file = new.purpose.is_none();
        let (have, have_bytes, checked) = {
            let old = &self.files[&older];
            new.partial = old.record.partial;
            (old.have.clone(), old.have_bytes, old.checked)
        };
        let reason = format!("goes on as {id}");
        self.end(older, ReceivedState::Canceled, None, reason, false, step);
        let after = self.begin(id, new, step);
        let received = self.files.get_mut(&id).expect("begun a moment ago");
        (received.have, received.have_bytes, received.checked) = (have, have_bytes, checked);
        let after = after.max(self.changed(id, step));
        let answer = answer(&self.files[&id]);
        if new_is_file {
            self.name_if_full(id);
        }
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
        let after = self.begin(id, new, step);
        Some((answer(&self.files[&id]), after))
    }

    fn begin(&mut self, id: TransferId, new: Preparing, step: &mut Step<'_>) -> BatchId {
        let Preparing {
            from,
            name,
            manifest,
            purpose,
            partial,
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
            purpose,
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
            moved_at: None,
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
