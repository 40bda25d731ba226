//! A file whose chunks are all there gets its name.

use super::{ReceiveEffect, Received, Receives, StoreOutcome};
use crate::proto::Step;
use crate::proto::transfer::ChunkSet;
use crate::proto::transfer::kept;
use crate::proto::transfer::record::ReceivedState;
use crate::types::TransferId;
use crate::wire::RefusedFile;

impl Receives {
    pub(super) fn name_if_full(&mut self, id: TransferId) {
        if let Some(received) = self.receiving(id)
            && received.have.is_full()
        {
            let name = received.record.name.clone();
            self.effects.push(ReceiveEffect::Name { id, name });
        }
    }

    /// A part of a task whose last chunk was recorded in this step is handed on in it.
    pub(super) fn hand_on_if_full(&mut self, id: TransferId, step: &mut Step<'_>) -> bool {
        let full = |r: &mut Received| r.record.purpose.is_some() && r.have.is_full();
        if !self.receiving(id).is_some_and(full) {
            return false;
        }
        let received = self.forget(id, step).expect("found a moment ago");
        if let Some(bulk) = received.stream {
            let after = step.batch;
            self.effects.push(ReceiveEffect::Finished { bulk, after });
        }
        if let (Some(manifest), Some(purpose)) = (received.manifest, received.record.purpose) {
            self.effects.push(ReceiveEffect::Part {
                from: received.record.from,
                purpose,
                manifest,
                file: received.record.partial,
            });
        }
        true
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

    pub(super) fn store(&mut self, id: TransferId) {
        let received = &self.files[&id];
        let record = &received.record;
        let (Some(name), Some(manifest)) = (record.stored_as.clone(), received.manifest.clone())
        else {
            return;
        };
        self.effects.push(ReceiveEffect::Store {
            id,
            partial: received.partial(),
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
                let after = self.changed(id, step);
                kept::close(&mut self.files, id, step);
                if let Some(bulk) = bulk {
                    self.effects.push(ReceiveEffect::Finished { bulk, after });
                }
                self.effects.push(ReceiveEffect::Arrived { id });
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
}
