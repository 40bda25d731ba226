//! Who a node is: an entity that outlives its keys, bound both ways to the transport's PeerId.
//!
//! The inception document names the first key and the hash of the next one (pre-rotation); the
//! entity id is its hash, and [`Chain`] says how one key follows another. The PeerId's key is
//! separate and counter-signs the entity: a binding signed from one side only could be stolen.

use std::fmt;
use std::sync::Arc;

use rand::Rng as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Rng;
use super::chain::{Chain, ChainError, Standing, next_key_hash};
use super::hash::hash;
use super::protected::{Protected, scrub_stack};
use super::sign::{KeyPair, PublicKey, SigCheck, Signature};
use crate::types::{EntityId, PeerId};

const PURPOSE_INCEPTION: &str = "inception";
const PURPOSE_BINDING: &str = "peer binding";

/// The three secrets of a node. Cleared on drop, shown nowhere.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seeds {
    /// Signs for the entity.
    pub entity: [u8; 32],
    /// The entity's next key; its hash is in the inception document.
    pub next: [u8; 32],
    /// The PeerId's key.
    pub transport: [u8; 32],
}

impl Seeds {
    /// Three fresh secrets.
    pub fn generate(rng: &mut Rng) -> Seeds {
        let mut seeds = Seeds {
            entity: [0; 32],
            next: [0; 32],
            transport: [0; 32],
        };
        rng.fill_bytes(&mut seeds.entity);
        rng.fill_bytes(&mut seeds.next);
        rng.fill_bytes(&mut seeds.transport);
        seeds
    }
}

impl Seeds {
    /// The three one after the other: 96 bytes.
    pub(super) fn to_bytes(&self) -> Zeroizing<[u8; 96]> {
        let mut bytes = Zeroizing::new([0; 96]);
        bytes[..32].copy_from_slice(&self.entity);
        bytes[32..64].copy_from_slice(&self.next);
        bytes[64..].copy_from_slice(&self.transport);
        bytes
    }

    /// Reads what [`Seeds::to_bytes`] wrote.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Seeds> {
        let bytes: &[u8; 96] = bytes.try_into().ok()?;
        Some(Seeds {
            entity: bytes[..32].try_into().ok()?,
            next: bytes[32..64].try_into().ok()?,
            transport: bytes[64..].try_into().ok()?,
        })
    }

    /// The chain of the entity that these seeds found.
    fn found(&self) -> Chain {
        let key = KeyPair::from_seed(&self.entity);
        let unsigned = Inception {
            key: key.public(),
            next_hash: next_key_hash(&KeyPair::from_seed(&self.next).public()),
            signature: Signature([0; 64]),
        };
        let digest = hash(PURPOSE_INCEPTION, &[&unsigned.document()]);
        Chain::founded(Inception {
            signature: key.sign(PURPOSE_INCEPTION, &digest),
            ..unsigned
        })
    }
}

impl fmt::Debug for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seeds(…)")
    }
}

/// The first document of an entity: 72 bytes, `"junto-e1" ‖ first key ‖ hash of the next key`,
/// and the first key's signature over it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inception {
    pub key: PublicKey,
    pub next_hash: [u8; 32],
    pub signature: Signature,
}

/// The inception document is cut or of another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an inception document of version 1")]
pub struct InceptionError;

const INCEPTION_MAGIC: &[u8; 8] = b"junto-e1";

impl Inception {
    pub(super) fn document(&self) -> Vec<u8> {
        [&INCEPTION_MAGIC[..], &self.key.0, &self.next_hash].concat()
    }

    /// The document and its signature: 136 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.document()[..], &self.signature.0].concat()
    }

    /// Reads what [`Inception::to_bytes`] wrote; the signature is not checked yet.
    ///
    /// # Errors
    /// [`InceptionError`] when the length or the version is another.
    pub fn from_bytes(bytes: &[u8]) -> Result<Inception, InceptionError> {
        let bytes: &[u8; 136] = bytes.try_into().map_err(|_| InceptionError)?;
        let (magic, rest) = bytes.split_at(8);
        let (key, rest) = rest.split_at(32);
        let (next_hash, signature) = rest.split_at(32);
        if magic != INCEPTION_MAGIC {
            return Err(InceptionError);
        }
        Ok(Inception {
            key: PublicKey(key.try_into().map_err(|_| InceptionError)?),
            next_hash: next_hash.try_into().map_err(|_| InceptionError)?,
            signature: Signature(signature.try_into().map_err(|_| InceptionError)?),
        })
    }

    /// The entity this document founds.
    pub fn entity_id(&self) -> EntityId {
        EntityId(hash("entity", &[&self.document()]))
    }

    /// The check of the founder's own signature.
    pub fn check(&self) -> SigCheck {
        SigCheck {
            key: self.key,
            purpose: PURPOSE_INCEPTION,
            digest: hash(PURPOSE_INCEPTION, &[&self.document()]),
            signature: self.signature,
        }
    }
}

/// What a PeerId's key signs to say *this entity speaks through me*.
pub fn binding_bytes(entity: &EntityId, peer: &PeerId) -> [u8; 32] {
    hash(PURPOSE_BINDING, &[&entity.0, &peer.to_bytes()])
}

/// Everything that makes a node who it is: its secrets, and the public documents of its keys.
#[derive(Clone, Debug)]
pub struct Keys {
    seeds: Arc<Protected<Seeds>>,
    chain: Chain,
    /// The highest number of a registry entry that they are known to have signed. Higher ones may
    /// exist; it only spares a restored node to find out.
    pub entry_seq: u64,
}

impl Keys {
    /// The keys of a new entity.
    pub fn found(seeds: Seeds) -> Keys {
        let chain = seeds.found();
        Keys::of(seeds, chain, 0)
    }

    /// Secrets and documents that were stored together.
    ///
    /// # Errors
    /// [`ChainError`] when they do not belong together.
    pub fn join(seeds: Seeds, chain: Chain, entry_seq: u64) -> Result<Keys, ChainError> {
        if KeyPair::from_seed(&seeds.entity).public() != chain.key() {
            return Err(ChainError::NotCurrent);
        }
        if next_key_hash(&KeyPair::from_seed(&seeds.next).public()) != chain.next_hash() {
            return Err(ChainError::NotCommitted);
        }
        Ok(Keys::of(seeds, chain, entry_seq))
    }

    fn of(seeds: Seeds, chain: Chain, entry_seq: u64) -> Keys {
        let keys = Keys {
            seeds: Arc::new(Protected::new(seeds)),
            chain,
            entry_seq,
        };
        scrub_stack();
        keys
    }

    /// The same entity with its next key in use, and a fresh one after that.
    ///
    /// # Errors
    /// [`ChainError::Full`].
    pub fn rotate(&self, rng: &mut Rng) -> Result<Keys, ChainError> {
        let mut seeds = Seeds::clone(&self.seeds);
        seeds.entity = self.seeds.next;
        rng.fill_bytes(&mut seeds.next);
        let old = KeyPair::from_seed(&self.seeds.entity);
        let new = KeyPair::from_seed(&seeds.entity);
        let after = KeyPair::from_seed(&seeds.next).public();
        let chain = self.chain.rotate(&old, &new, &after)?;
        Ok(Keys::of(seeds, chain, self.entry_seq))
    }

    /// The secrets.
    pub fn seeds(&self) -> &Seeds {
        &self.seeds
    }

    /// The documents.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What a running node needs of them: all but the next key.
    pub fn identity(&self) -> Identity {
        Identity::of(&self.seeds, &self.chain, self.entry_seq)
    }
}

/// A node's identity, ready for use.
#[derive(Clone)]
pub struct Identity {
    pub entity_id: EntityId,
    pub peer_id: PeerId,
    pub inception: Inception,
    /// The transport key's signature over [`binding_bytes`].
    pub binding: Signature,
    /// Our entry had this number when the keys were last stored: the next one is above it.
    pub entry_seq: u64,
    chain: Chain,
    key: KeyPair,
    transport_seed: Arc<Protected<[u8; 32]>>,
}

impl Identity {
    /// The identity of an entity that never rotated; the same secrets give the same one.
    pub fn from_seeds(seeds: &Seeds) -> Identity {
        Identity::of(seeds, &seeds.found(), 0)
    }

    fn of(seeds: &Seeds, chain: &Chain, entry_seq: u64) -> Identity {
        let transport = KeyPair::from_seed(&seeds.transport);
        let peer_id = peer_id_of(&transport.public());
        let entity_id = chain.entity_id();
        let binding = transport.sign(PURPOSE_BINDING, &binding_bytes(&entity_id, &peer_id));
        Identity {
            entity_id,
            peer_id,
            inception: *chain.inception(),
            binding,
            entry_seq,
            chain: chain.clone(),
            key: KeyPair::from_seed(&seeds.entity),
            transport_seed: Arc::new(Protected::new(seeds.transport)),
        }
    }

    /// Whether this is the same node as `before` after one or more rotations.
    pub fn follows(&self, before: &Identity) -> bool {
        let rotated = self.chain.standing(&before.chain.head()) == Standing::Newer;
        rotated && self.entity_id == before.entity_id && self.peer_id == before.peer_id
    }

    /// The documents of its keys.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The entity's signing key.
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// The transport's key, in the form the swarm takes.
    pub fn transport_keypair(&self) -> libp2p::identity::Keypair {
        let mut seed = Zeroizing::new(**self.transport_seed);
        libp2p::identity::Keypair::ed25519_from_bytes(&mut *seed)
            .expect("any 32 bytes are an Ed25519 seed")
    }

    /// Eight groups of four digits for a person to compare, derived from the entity id.
    pub fn fingerprint(entity: &EntityId) -> String {
        let digest = hash("fingerprint", &[&entity.0]);
        let group = |pair: &[u8]| {
            let value = u32::from(pair[0]) << 16 | u32::from(pair[1]) << 8 | u32::from(pair[2]);
            format!("{:04}", value % 10_000)
        };
        digest[..24]
            .chunks(3)
            .map(group)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The check that `peer` speaks for `entity`; none when the PeerId holds no Ed25519 key.
    pub fn binding_check(
        entity: &EntityId,
        peer: &PeerId,
        signature: Signature,
    ) -> Option<SigCheck> {
        Some(SigCheck {
            key: peer_key(peer)?,
            purpose: PURPOSE_BINDING,
            digest: binding_bytes(entity, peer),
            signature,
        })
    }
}

/// By what is public of them: the secrets follow from it.
impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        self.peer_id == other.peer_id && self.chain == other.chain
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {})", self.entity_id, self.peer_id)
    }
}

fn peer_id_of(key: &PublicKey) -> PeerId {
    let key = libp2p::identity::ed25519::PublicKey::try_from_bytes(&key.0)
        .expect("a key pair's public half is a point");
    PeerId::from_public_key(&key.into())
}

/// The Ed25519 key inside a PeerId (an identity multihash holds it whole).
fn peer_key(peer: &PeerId) -> Option<PublicKey> {
    let bytes = peer.to_bytes();
    // multihash: code 0x00 (identity), length, then the protobuf of the key.
    let protobuf = bytes.strip_prefix(&[0x00, 0x24])?;
    let key = libp2p::identity::PublicKey::try_decode_protobuf(protobuf).ok()?;
    Some(PublicKey(key.try_into_ed25519().ok()?.to_bytes()))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn identity(seed: u64) -> Identity {
        Identity::from_seeds(&Seeds::generate(&mut Rng::seed_from_u64(seed)))
    }

    #[test]
    fn the_same_secrets_give_the_same_entity_and_peer() {
        let (a, b) = (identity(1), identity(1));
        assert_eq!(a.entity_id, b.entity_id);
        assert_eq!(a.peer_id, b.peer_id);
        assert_eq!(a.transport_keypair().public().to_peer_id(), a.peer_id);
    }

    #[test]
    fn inception_reads_back_and_a_changed_byte_is_another_entity_or_refused() {
        let inception = identity(1).inception;
        let bytes = inception.to_bytes();
        assert_eq!(Inception::from_bytes(&bytes), Ok(inception));
        assert!(inception.check().verify());
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            if let Ok(other) = Inception::from_bytes(&bent) {
                assert!(!other.check().verify(), "byte {at}");
            }
        }
        assert_eq!(Inception::from_bytes(&bytes[1..]), Err(InceptionError));
    }

    #[test]
    fn a_binding_holds_for_its_entity_and_peer_only() {
        let (a, b) = (identity(1), identity(2));
        let check = |e: &Identity, p: &Identity| {
            Identity::binding_check(&e.entity_id, &p.peer_id, a.binding)
                .is_some_and(|check| check.verify())
        };
        assert!(check(&a, &a));
        assert!(!check(&b, &a));
        assert!(!check(&a, &b));
    }

    #[test]
    fn no_secret_in_debug() {
        let seeds = Seeds::generate(&mut Rng::seed_from_u64(1));
        assert_eq!(format!("{seeds:?}"), "Seeds(…)");
        assert!(format!("{:?}", identity(1)).starts_with("Identity(ent1"));
    }
}
