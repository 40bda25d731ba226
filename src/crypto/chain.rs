//! The keys of an entity, one after the other: its inception and the rotations since.
//!
//! Each document commits to the hash of the key *after* the one it names, so a key can be
//! followed only by the one that was chosen before it was ever used: who steals the key in use
//! cannot rotate it. A rotation is signed by the old key and by the new one. The entity's id is
//! the hash of the inception and stays.
//!
//! # Invariants
//! - **K1** Every key but the first hashes to what the document before it committed to.
//! - **K2** A rotation names its entity, its index and the document before it: it fits in one
//!   place of one chain.
//! - **K3** At most [`ROTATIONS_MAX`] rotations: a chain fits into a registry entry.

use super::hash::{Digest, hash};
use super::identity::{Inception, InceptionError};
use super::sign::{KeyPair, PublicKey, SigCheck, Signature};
use crate::types::EntityId;
use crate::types::limits::ROTATIONS_MAX;

const ROTATION_MAGIC: &[u8; 8] = b"junto-r1";
const PURPOSE_OLD: &str = "rotation by the old key";
const PURPOSE_NEW: &str = "rotation by the new key";
const PURPOSE_NEXT: &str = "next key";
const PURPOSE_LINK: &str = "key chain";

/// A rotation as it is carried: what follows from its place in the chain is left out.
pub const ROTATION_BYTES: usize = 192;

/// What a document commits to: the hash of the key that will follow the one it names.
pub fn next_key_hash(next: &PublicKey) -> Digest {
    hash(PURPOSE_NEXT, &[&next.0])
}

/// One change of keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rotation {
    /// The key from now on.
    pub key: PublicKey,
    /// The hash of the key after that.
    pub next_hash: Digest,
    pub by_old: Signature,
    pub by_new: Signature,
}

impl Rotation {
    /// 192 bytes: key, hash of the next, the old key's signature, the new key's.
    pub fn to_bytes(&self) -> Vec<u8> {
        [
            &self.key.0[..],
            &self.next_hash,
            &self.by_old.0,
            &self.by_new.0,
        ]
        .concat()
    }

    /// Reads what [`Rotation::to_bytes`] wrote; nothing is checked yet.
    ///
    /// # Errors
    /// [`ChainError::Form`] when the length is another.
    pub fn from_bytes(bytes: &[u8]) -> Result<Rotation, ChainError> {
        let bytes: &[u8; ROTATION_BYTES] = bytes.try_into().map_err(|_| ChainError::Form)?;
        let (key, rest) = bytes.split_at(32);
        let (next_hash, rest) = rest.split_at(32);
        let (by_old, by_new) = rest.split_at(64);
        let signature = |part: &[u8]| {
            let bytes = part.try_into().map_err(|_| ChainError::Form)?;
            Ok::<_, ChainError>(Signature(bytes))
        };
        Ok(Rotation {
            key: PublicKey(key.try_into().map_err(|_| ChainError::Form)?),
            next_hash: next_hash.try_into().map_err(|_| ChainError::Form)?,
            by_old: signature(by_old)?,
            by_new: signature(by_new)?,
        })
    }

    /// What both keys sign, in full: 140 bytes.
    fn document(&self, entity: &EntityId, index: u32, previous: &Digest) -> Vec<u8> {
        [
            &ROTATION_MAGIC[..],
            &entity.0,
            &index.to_be_bytes(),
            previous,
            &self.key.0,
            &self.next_hash,
        ]
        .concat()
    }
}

/// Why documents do not make a chain, or a chain takes no further one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("the inception document is of another form")]
    Inception,
    #[error("a rotation document is of another form")]
    Form,
    #[error("a key is not the one that was committed to")]
    NotCommitted,
    #[error("the key does not belong to the newest document")]
    NotCurrent,
    #[error(
        "the key was rotated {ROTATIONS_MAX} times already, which is as often as an entity can"
    )]
    Full,
}

impl From<InceptionError> for ChainError {
    fn from(_: InceptionError) -> ChainError {
        ChainError::Inception
    }
}

/// A chain's newest document: how many rotations there were, and the hash over all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHead {
    pub rotations: u32,
    pub link: Digest,
}

/// How one chain stands to what is known of its entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The same keys.
    Same,
    /// It goes on where the known one ends.
    Newer,
    /// It ends before the known one does.
    Older,
    /// It has another document than the known one in the same place.
    Forked,
}

/// An inception and the rotations since. What is in here keeps K1 to K3; whether its signatures
/// hold is for [`Chain::checks`] to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    inception: Inception,
    rotations: Vec<Rotation>,
}

impl Chain {
    /// The chain of an entity that never rotated.
    pub fn founded(inception: Inception) -> Chain {
        Chain {
            inception,
            rotations: Vec::new(),
        }
    }

    /// Reads a chain and checks its commitments.
    ///
    /// # Errors
    /// [`ChainError`]: the first rule that does not hold.
    pub fn read<'a>(
        inception: &[u8],
        rotations: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Chain, ChainError> {
        let mut chain = Chain::founded(Inception::from_bytes(inception)?);
        for bytes in rotations {
            chain.push(Rotation::from_bytes(bytes)?)?;
        }
        Ok(chain)
    }

    fn push(&mut self, rotation: Rotation) -> Result<(), ChainError> {
        if self.rotations.len() >= ROTATIONS_MAX {
            return Err(ChainError::Full);
        }
        if next_key_hash(&rotation.key) != self.next_hash() {
            return Err(ChainError::NotCommitted);
        }
        self.rotations.push(rotation);
        Ok(())
    }

    /// The entity these keys speak for.
    pub fn entity_id(&self) -> EntityId {
        self.inception.entity_id()
    }

    /// The first document.
    pub fn inception(&self) -> &Inception {
        &self.inception
    }

    /// The documents after it.
    pub fn rotations(&self) -> &[Rotation] {
        &self.rotations
    }

    /// The key that speaks now.
    pub fn key(&self) -> PublicKey {
        self.rotations
            .last()
            .map_or(self.inception.key, |rotation| rotation.key)
    }

    /// The hash of the key that may follow.
    pub fn next_hash(&self) -> Digest {
        self.rotations
            .last()
            .map_or(self.inception.next_hash, |rotation| rotation.next_hash)
    }

    /// The chain with one more rotation: from `old`, the key in use, to `new`, which was
    /// committed to, and then to the key `after`.
    ///
    /// # Errors
    /// [`ChainError`] when a key is not the one for it, or the chain is full.
    pub fn rotate(
        &self,
        old: &KeyPair,
        new: &KeyPair,
        after: &PublicKey,
    ) -> Result<Chain, ChainError> {
        if old.public() != self.key() {
            return Err(ChainError::NotCurrent);
        }
        let mut rotation = Rotation {
            key: new.public(),
            next_hash: next_key_hash(after),
            by_old: Signature([0; 64]),
            by_new: Signature([0; 64]),
        };
        let head = self.head();
        let document = rotation.document(&self.entity_id(), head.rotations + 1, &head.link);
        rotation.by_old = old.sign(PURPOSE_OLD, &hash(PURPOSE_OLD, &[&document]));
        rotation.by_new = new.sign(PURPOSE_NEW, &hash(PURPOSE_NEW, &[&document]));
        let mut chain = self.clone();
        chain.push(rotation)?;
        Ok(chain)
    }

    /// The links after the inception and after each rotation.
    fn links(&self) -> Vec<Digest> {
        let entity = self.entity_id();
        let mut links = vec![hash(PURPOSE_LINK, &[&self.inception.document()])];
        for (rotation, index) in self.rotations.iter().zip(1..) {
            let previous = links[links.len() - 1];
            let document = rotation.document(&entity, index, &previous);
            links.push(hash(PURPOSE_LINK, &[&document]));
        }
        links
    }

    /// Its newest document.
    pub fn head(&self) -> ChainHead {
        let links = self.links();
        let rotations = u32::try_from(self.rotations.len()).expect("K3");
        ChainHead {
            rotations,
            link: links[links.len() - 1],
        }
    }

    /// How it stands to the newest document that is known of its entity. The signatures have no
    /// part in it: two that both hold say the same.
    pub fn standing(&self, known: &ChainHead) -> Standing {
        let links = self.links();
        let at_known = usize::try_from(known.rotations)
            .ok()
            .and_then(|at| links.get(at));
        match at_known {
            None => Standing::Older,
            Some(link) if *link != known.link => Standing::Forked,
            Some(link) if links.last() == Some(link) => Standing::Same,
            Some(_) => Standing::Newer,
        }
    }

    /// The signatures that must hold: the founder's, and two for each rotation.
    pub fn checks(&self) -> Vec<SigCheck> {
        let entity = self.entity_id();
        let mut checks = vec![self.inception.check()];
        let (mut key, links) = (self.inception.key, self.links());
        for ((rotation, index), previous) in self.rotations.iter().zip(1..).zip(&links) {
            let document = rotation.document(&entity, index, previous);
            let mut signed = |key, purpose, signature| {
                checks.push(SigCheck {
                    key,
                    purpose,
                    digest: hash(purpose, &[&document]),
                    signature,
                });
            };
            signed(key, PURPOSE_OLD, rotation.by_old);
            signed(rotation.key, PURPOSE_NEW, rotation.by_new);
            key = rotation.key;
        }
        checks
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::crypto::{Keys, Rng, Seeds};

    fn rotated(times: usize) -> Keys {
        let mut rng = Rng::seed_from_u64(1);
        let mut keys = Keys::found(Seeds::generate(&mut rng));
        for _ in 0..times {
            keys = keys.rotate(&mut rng).expect("room for more");
        }
        keys
    }

    fn reread(chain: &Chain) -> Result<Chain, ChainError> {
        let rotations: Vec<Vec<u8>> = chain.rotations().iter().map(Rotation::to_bytes).collect();
        let rotations = rotations.iter().map(Vec::as_slice);
        Chain::read(&chain.inception().to_bytes(), rotations)
    }

    #[test]
    fn a_chain_reads_back_and_all_its_signatures_hold() {
        let keys = rotated(ROTATIONS_MAX);
        let chain = keys.chain();
        assert_eq!(reread(chain).as_ref(), Ok(chain));
        assert_eq!(chain.entity_id(), rotated(0).chain().entity_id());
        assert_eq!(chain.checks().len(), 1 + 2 * ROTATIONS_MAX);
        assert!(chain.checks().iter().all(SigCheck::verify));
        assert_eq!(keys.identity().key().public(), chain.key());
        let again = keys.rotate(&mut Rng::seed_from_u64(2));
        assert_eq!(again.err(), Some(ChainError::Full), "K3");
    }

    #[test]
    fn only_the_key_that_was_committed_to_can_follow() {
        let keys = rotated(1);
        let pair = |seed: u8| KeyPair::from_seed(&[seed; 32]);
        let current = KeyPair::from_seed(&keys.seeds().entity);
        let next = KeyPair::from_seed(&keys.seeds().next);
        let after = pair(9).public();
        let chain = keys.chain();
        let thief = chain.rotate(&current, &pair(8), &after);
        assert_eq!(
            thief.err(),
            Some(ChainError::NotCommitted),
            "K1: with the key in use"
        );
        let other = chain.rotate(&next, &pair(8), &after);
        assert_eq!(
            other.err(),
            Some(ChainError::NotCurrent),
            "with the next one"
        );
        assert!(chain.rotate(&current, &next, &after).is_ok());
    }

    #[test]
    fn both_keys_must_have_signed() {
        let keys = rotated(2);
        for (nth, by_old) in [(0, true), (0, false), (1, true), (1, false)] {
            let mut chain = keys.chain().clone();
            let rotation = &mut chain.rotations[nth];
            let signature = match by_old {
                true => &mut rotation.by_old,
                false => &mut rotation.by_new,
            };
            signature.0[7] ^= 1;
            let held = chain.checks().iter().filter(|check| check.verify()).count();
            assert_eq!(held, 4, "one of five is bent");
        }
        // One key's signature does not stand for the other's.
        let mut chain = keys.chain().clone();
        let rotation = &mut chain.rotations[0];
        std::mem::swap(&mut rotation.by_old, &mut rotation.by_new);
        assert!(!chain.checks().iter().all(SigCheck::verify));
    }

    #[test]
    fn a_rotation_does_not_fit_into_another_place_or_entity() {
        let mine = rotated(2);
        // An entity that commits to the same key, so that only what was signed differs.
        let seeds = Seeds {
            entity: [3; 32],
            next: mine.seeds().entity,
            transport: [4; 32],
        };
        let mut other = Keys::found(seeds).chain().clone();
        let stolen = mine.chain().rotations()[1];
        other.push(stolen).expect("K1 holds");
        assert!(
            !other.checks().iter().all(SigCheck::verify),
            "K2: another entity"
        );
    }

    #[test]
    fn chains_are_told_apart_by_their_documents() {
        let (one, two) = (rotated(1), rotated(2));
        let fork = one.rotate(&mut Rng::seed_from_u64(99)).expect("room");
        let standing = |of: &Keys, known: &Keys| of.chain().standing(&known.chain().head());
        assert_eq!(standing(&one, &one), Standing::Same);
        assert_eq!(standing(&two, &one), Standing::Newer);
        assert_eq!(standing(&one, &two), Standing::Older);
        assert_eq!(standing(&fork, &two), Standing::Forked);
        let longer = fork.rotate(&mut Rng::seed_from_u64(98)).expect("room");
        assert_eq!(standing(&longer, &two), Standing::Forked);
    }
}
