//! The newest key of every entity that rotated, as far as this node has heard.
//!
//! It outlives the entity's entry: when that has expired, an old key that somebody stole must not
//! be taken for the entity's again. An entity that never rotated needs no memory, for its id says
//! what its first key is.
//!
//! Bound: [`HEADS_MAX`]; past it the one heard of longest ago goes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::crypto::{Chain, ChainHead, Standing};
use crate::proto::Step;
use crate::types::limits::HEADS_MAX;
use crate::types::{BatchId, EntityId, Keyspace, Row, Wall};
use crate::wire::{EntryBody, cbor};

const ROW_VERSION: u32 = 1;
const ROW_MAX_BYTES: usize = 256;

/// What became known of somebody's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyNews {
    /// An entity speaks with a newer key from now on.
    Rotated { entity: EntityId, rotations: u32 },
    /// Two rotations of one key of an entity exist. The one seen first stays; somebody else has
    /// its secrets, or an old copy of them was rotated.
    Forked { entity: EntityId },
    /// The network knows keys of ours that we do not: what we have is an old copy.
    Outdated,
}

/// See the module's header.
#[derive(Default)]
pub(super) struct Heads {
    known: BTreeMap<EntityId, Known>,
    /// Of whom a fork was told already.
    forked: BTreeSet<EntityId>,
}

struct Known {
    head: ChainHead,
    heard: Wall,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadRow {
    version: u32,
    rotations: u32,
    #[serde(with = "serde_bytes")]
    link: [u8; 32],
    heard: Wall,
}

impl Heads {
    /// Takes a stored row back; one that does not read is left out.
    pub(super) fn load(&mut self, row: &Row) {
        let entity = row.key.as_slice().try_into().map(EntityId);
        let read = cbor::decode::<HeadRow>(&row.value, ROW_MAX_BYTES);
        if let (Ok(entity), Ok(row)) = (entity, read)
            && row.version == ROW_VERSION
        {
            let head = ChainHead {
                rotations: row.rotations,
                link: row.link,
            };
            let heard = row.heard;
            self.known.insert(entity, Known { head, heard });
        }
    }

    /// How the keys of an entry stand to what is known. An entry that was never a chain is
    /// refused before it comes here.
    pub(super) fn standing(&self, body: &EntryBody) -> Standing {
        let Some(known) = self.known.get(&body.entity_id) else {
            return match body.rotations.is_empty() {
                true => Standing::Same,
                false => Standing::Newer,
            };
        };
        body.chain()
            .map_or(Standing::Forked, |chain| chain.standing(&known.head))
    }

    /// How often the entity rotated, as far as is known.
    pub(super) fn rotations(&self, entity: &EntityId) -> u32 {
        self.known
            .get(entity)
            .map_or(0, |known| known.head.rotations)
    }

    /// An entry with this chain was taken.
    pub(super) fn heard(&mut self, chain: &Chain, step: &mut Step<'_>) -> BatchId {
        let (entity, head, heard) = (chain.entity_id(), chain.head(), step.now.wall);
        if head.rotations == 0 {
            return BatchId::NONE;
        }
        if self.known.len() >= HEADS_MAX && !self.known.contains_key(&entity) {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.heard);
            if let Some(oldest) = oldest.map(|(entity, _)| *entity) {
                self.known.remove(&oldest);
                self.forked.remove(&oldest);
                step.delete(Keyspace::Head, oldest.0.to_vec());
            }
        }
        self.known.insert(entity, Known { head, heard });
        let row = HeadRow {
            version: ROW_VERSION,
            rotations: head.rotations,
            link: head.link,
            heard,
        };
        step.put(Keyspace::Head, entity.0.to_vec(), cbor::encode(&row))
    }

    /// The same for somebody who has no place in the registry, and whom it cost little to come here:
    /// nobody is forgotten for it.
    pub(super) fn heard_aside(&mut self, chain: &Chain, step: &mut Step<'_>) -> BatchId {
        let room = self.known.len() < HEADS_MAX || self.known.contains_key(&chain.entity_id());
        match room {
            true => self.heard(chain, step),
            false => BatchId::NONE,
        }
    }

    /// Whether a fork of this entity's keys has been told.
    pub(super) fn told_fork(&self, entity: &EntityId) -> bool {
        self.forked.contains(entity)
    }

    /// Remembers that it has. Only who is known here can have a fork, so this is bounded, too.
    pub(super) fn tell_fork(&mut self, entity: EntityId) -> Option<KeyNews> {
        let new = self.known.contains_key(&entity) && self.forked.insert(entity);
        new.then_some(KeyNews::Forked { entity })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
