//! What a node says of itself.

use std::collections::BTreeSet;

use serde_bytes::ByteBuf;

use crate::crypto::Identity;
use crate::types::limits::{ADDRESSES_MAX, ENTRY_MAX_LIFE_MS, LABELS_MAX};
use crate::types::{Label, Multiaddr, NodeName, Now, Wall};
use crate::wire::{EntryBody, Offer, PeerBinding, SignedEntry, VERSIONS};

/// How long an entry of ours lives, and after how much of that it is issued again.
const LIFE_MS: u64 = ENTRY_MAX_LIFE_MS / 2;
const RENEW_AFTER_MS: u64 = LIFE_MS / 2;

/// The content of our next entry.
#[derive(Debug, Clone)]
pub struct Announcement {
    pub identity: Identity,
    pub name: NodeName,
    pub capabilities: Vec<Offer>,
    pub labels: BTreeSet<Label>,
    pub addresses: Vec<Multiaddr>,
    /// The number of the newest entry.
    pub seq: u64,
}

impl Announcement {
    /// Signs the next entry: its body, its bytes, and when the one after it is due.
    pub(super) fn sign(&mut self, now: Now) -> (EntryBody, Vec<u8>, Wall) {
        self.seq = self.seq.saturating_add(1);
        let binding = PeerBinding {
            peer_id: self.identity.peer_id,
            signature: self.identity.binding,
        };
        let body = EntryBody {
            entity_id: self.identity.entity_id,
            inception: self.identity.inception.to_bytes(),
            rotations: rotations_of(&self.identity),
            key: self.identity.key().public(),
            seq: self.seq,
            issued: now.wall,
            expires: now.wall + LIFE_MS,
            name: self.name.clone(),
            capabilities: self.capabilities.clone(),
            labels: self.labels.iter().take(LABELS_MAX).cloned().collect(),
            addresses: self.addresses.iter().take(ADDRESSES_MAX).cloned().collect(),
            peers: vec![binding],
            versions: VERSIONS.iter().map(|v| String::from(*v)).collect(),
        };
        let bytes = SignedEntry::sign(&body, self.identity.key()).to_bytes();
        (body, bytes, now.wall + RENEW_AFTER_MS)
    }
}

fn rotations_of(identity: &Identity) -> Vec<ByteBuf> {
    let rotations = identity.chain().rotations().iter();
    rotations
        .map(|rotation| ByteBuf::from(rotation.to_bytes()))
        .collect()
}
