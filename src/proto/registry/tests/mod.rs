//! The registry: laws of the merge, what is taken and what is not, and how two become one.

mod keys;
mod merge;
mod own;
mod rules;

use rand::SeedableRng;

use super::*;
use crate::crypto::{Identity, Rng, Seeds};
use crate::types::limits::{ADDRESSES_MAX, ENTRY_MAX_LIFE_MS};
use crate::types::{Label, Mono, WriteBatch, WriteOp};
use crate::wire::PeerBinding;

const HOUR_MS: u64 = 3_600_000;
const START: Wall = Wall(1_700_000_000_000);

fn identity(seed: u64) -> Identity {
    Identity::from_seeds(&Seeds::generate(&mut Rng::seed_from_u64(seed)))
}

fn at(wall: Wall) -> Now {
    let mono = Mono::from_micros(1);
    Now { mono, wall }
}

/// An honest entry, to be signed as it is or bent before.
fn body(by: &Identity, seq: u64, name: &str) -> EntryBody {
    let binding = PeerBinding {
        peer_id: by.peer_id,
        signature: by.binding,
    };
    EntryBody {
        entity_id: by.entity_id,
        inception: by.inception.to_bytes(),
        rotations: by
            .chain()
            .rotations()
            .iter()
            .map(|rotation| ByteBuf::from(rotation.to_bytes()))
            .collect(),
        key: by.key().public(),
        seq,
        issued: START,
        expires: START + HOUR_MS,
        name: name.parse().expect("a name"),
        capabilities: vec![Offer {
            name: wc(),
            slots: 2,
            price: 0,
        }],
        labels: Vec::new(),
        addresses: Vec::new(),
        peers: vec![binding],
        versions: vec!["1.1".into()],
    }
}

fn wc() -> Capability {
    "wc".parse().expect("a capability")
}

fn sign(body: &EntryBody, by: &Identity) -> Vec<u8> {
    SignedEntry::sign(body, by.key()).to_bytes()
}

fn entry(by: &Identity, seq: u64) -> Vec<u8> {
    sign(&body(by, seq, "somebody"), by)
}

fn announcement(identity: Identity) -> Announcement {
    Announcement {
        identity,
        name: "me".parse().expect("a name"),
        capabilities: Vec::new(),
        labels: Default::default(),
        addresses: Vec::new(),
        seq: 0,
    }
}

/// The registry of node `seed`, which has not published yet.
fn registry(seed: u64) -> Registry {
    Registry::new(announcement(identity(seed)))
}

/// One step, whose writes are returned.
fn step<T>(now: Now, act: impl FnOnce(&mut Step<'_>) -> T) -> (T, WriteBatch) {
    let (mut rng, mut writes) = (Rng::seed_from_u64(1), WriteBatch::default());
    let mut step = Step {
        now,
        rng: &mut rng,
        batch: BatchId(7),
        writes: &mut writes,
    };
    let out = act(&mut step);
    (out, writes)
}

fn merge(registry: &mut Registry, bytes: &[u8]) -> bool {
    step(at(START), |step| registry.merge(bytes, step)).0
}

fn all_merged(entries: &[&Vec<u8>]) -> Registry {
    let mut registry = registry(0);
    for bytes in entries {
        merge(&mut registry, bytes);
    }
    registry.check().expect("R1 and R3");
    registry
}

fn content(registry: &Registry) -> Vec<&[u8]> {
    registry.entries().map(|entry| &entry.bytes[..]).collect()
}
