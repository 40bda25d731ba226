//! Chunks: who may send them, and which have arrived.

use super::{ReceiveEffect, ReceivePlan, Receives};
use crate::proto::Step;
use crate::proto::transfer::STREAMS_PER_PEER_MAX;
use crate::proto::transfer::record::ReceivedState;
use crate::types::limits::{BULK_STREAMS_MAX, CHUNK_ERRORS_MAX, TRANSFER_IDLE_MS};
use crate::types::{BatchId, BulkId, EntityId, TransferId};
use crate::wire::RefusedFile;

impl Receives {
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
            partial: received.partial(),
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
        received.moved_at = Some(step.now.mono);
        received.idle_at = step.now.mono + TRANSFER_IDLE_MS;
        let after = self.changed(id, step);
        if self.hand_on_if_full(id, step) {
            return;
        }
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
}
