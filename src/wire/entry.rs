//! The registry entry: what an entity says of itself, signed by it, and by each of its PeerIds.

use serde::{Deserialize, Serialize};

use serde_bytes::ByteBuf;

use super::{cbor, left_out};
use crate::crypto::{
    Chain, ChainError, Digest, Identity, KeyPair, PublicKey, SigCheck, Signature, hash,
};
use crate::types::limits::{
    ADDRESSES_MAX, CAPABILITIES_MAX, ENTRY_MAX_BYTES, ENTRY_MAX_LIFE_MS, LABELS_MAX, SLOTS_MAX,
};
use crate::types::{Capability, EntityId, Label, Multiaddr, NodeName, PeerId, Wall};

const PURPOSE: &str = "registry entry";
const PEER_IDS_MAX: usize = 4;

/// One capability on offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    pub name: Capability,
    /// How many tasks of it the node runs at once.
    pub slots: u32,
    /// What it asks for one task of it, in the unit of rewards; nothing where it is left out.
    #[serde(
        default,
        skip_serializing_if = "left_out::is_default",
        deserialize_with = "left_out::number"
    )]
    pub price: u64,
}

/// A transport identity of the entity, with that identity's own word for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerBinding {
    pub peer_id: PeerId,
    pub signature: Signature,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryBody {
    pub entity_id: EntityId,
    /// The inception document and its signature (136 bytes).
    #[serde(with = "serde_bytes")]
    pub inception: Vec<u8>,
    /// The rotations of its key since, in order (192 bytes each, at most `ROTATIONS_MAX`).
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "left_out::list"
    )]
    pub rotations: Vec<ByteBuf>,
    /// The key that signs: the last rotation's, or the first key.
    pub key: PublicKey,
    /// The newer entry of an entity has the higher number.
    pub seq: u64,
    pub issued: Wall,
    pub expires: Wall,
    pub name: NodeName,
    pub capabilities: Vec<Offer>,
    /// What it says of itself, such as `gpu=a100`: its own word, and nobody else's.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "left_out::list"
    )]
    pub labels: Vec<Label>,
    pub addresses: Vec<Multiaddr>,
    pub peers: Vec<PeerBinding>,
    pub versions: Vec<String>,
}

/// The body's exact bytes and the entity's signature over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedEntry {
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    pub signature: Signature,
}

/// Why bytes are not an acceptable entry (signatures apart).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error(transparent)]
    Form(#[from] cbor::CborError),
    #[error("the entry breaks a rule: {0}")]
    Rule(&'static str),
}

impl SignedEntry {
    /// Signs `body`.
    pub fn sign(body: &EntryBody, key: &KeyPair) -> SignedEntry {
        let body = cbor::encode(body);
        let signature = key.sign(PURPOSE, &hash(PURPOSE, &[&body]));
        SignedEntry { body, signature }
    }

    /// The entry as it travels and is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads an entry, checks every rule that needs no signature, and names the signatures that
    /// must hold: the founder's, those of each rotation, the entity's and each PeerId's.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn parse(bytes: &[u8]) -> Result<(EntryBody, Vec<SigCheck>), EntryError> {
        let signed: SignedEntry = cbor::decode(bytes, ENTRY_MAX_BYTES)?;
        let body: EntryBody = cbor::decode(&signed.body, ENTRY_MAX_BYTES)?;
        let rule = |holds: bool, rule: &'static str| {
            if holds {
                Ok(())
            } else {
                Err(EntryError::Rule(rule))
            }
        };
        let chain = body.chain().map_err(chain_rule)?;
        rule(
            chain.entity_id() == body.entity_id,
            "the entity id is not its inception's",
        )?;
        rule(chain.key() == body.key, "the key is not the entity's")?;
        // The entity could never speak again.
        rule(body.seq < u64::MAX, "no number can follow its own")?;
        rule(
            body.capabilities.len() <= CAPABILITIES_MAX,
            "too many capabilities",
        )?;
        let slots = |offer: &Offer| (1..=SLOTS_MAX).contains(&offer.slots);
        rule(
            body.capabilities.iter().all(slots),
            "1 to 256 slots are allowed",
        )?;
        rule(body.labels.len() <= LABELS_MAX, "too many labels")?;
        rule(
            body.labels.is_sorted_by(|a, b| a < b),
            "its labels do not ascend",
        )?;
        rule(body.addresses.len() <= ADDRESSES_MAX, "too many addresses")?;
        rule(
            (1..=PEER_IDS_MAX).contains(&body.peers.len()),
            "1 to 4 peer ids are allowed",
        )?;
        rule(body.issued < body.expires, "it expires before it is issued")?;
        let life_ms = body.expires.abs_diff(body.issued);
        rule(
            life_ms <= ENTRY_MAX_LIFE_MS,
            "it lives longer than 24 hours",
        )?;
        let mut checks = chain.checks();
        checks.push(SigCheck {
            key: body.key,
            purpose: PURPOSE,
            digest: hash(PURPOSE, &[&signed.body]),
            signature: signed.signature,
        });
        for binding in &body.peers {
            checks.push(
                Identity::binding_check(&body.entity_id, &binding.peer_id, binding.signature)
                    .ok_or(EntryError::Rule("a peer id holds no Ed25519 key"))?,
            );
        }
        Ok((body, checks))
    }
}

fn chain_rule(error: ChainError) -> EntryError {
    EntryError::Rule(match error {
        ChainError::Inception => "the inception document is of another form",
        ChainError::Form => "a rotation is of another form",
        ChainError::NotCommitted | ChainError::NotCurrent => "a rotation names another key",
        ChainError::Full => "too many rotations",
    })
}

impl EntryBody {
    /// The documents of the entity's keys; their signatures are not checked here.
    ///
    /// # Errors
    /// [`ChainError`] when they do not make a chain.
    pub fn chain(&self) -> Result<Chain, ChainError> {
        let rotations = self.rotations.iter().map(|rotation| &rotation[..]);
        Chain::read(&self.inception, rotations)
    }

    /// Whether `peer` is one of the entity's transport identities.
    pub fn speaks_through(&self, peer: &PeerId) -> bool {
        self.peers.iter().any(|binding| binding.peer_id == *peer)
    }

    /// Whether the entity signs with `key`, or did before it changed it.
    pub fn has_had(&self, key: &PublicKey) -> bool {
        let before = |chain: Chain| {
            chain.inception().key == *key || chain.rotations().iter().any(|link| link.key == *key)
        };
        self.key == *key || self.chain().is_ok_and(before)
    }

    /// The transport identity to dial.
    pub fn peer_id(&self) -> PeerId {
        self.peers[0].peer_id
    }

    /// What one task of `capability` costs; 0 if nothing is asked.
    pub fn price(&self, capability: &Capability) -> u64 {
        let offer = self.capabilities.iter().find(|of| of.name == *capability);
        offer.map_or(0, |offer| offer.price)
    }

    /// Slots on offer for `capability`.
    pub fn slots(&self, capability: &Capability) -> Option<u32> {
        self.capabilities
            .iter()
            .find(|offer| offer.name == *capability)
            .map(|offer| offer.slots)
    }
}

/// The hash by which a verified entry is recognised again.
pub fn entry_digest(bytes: &[u8]) -> Digest {
    hash("entry bytes", &[bytes])
}
