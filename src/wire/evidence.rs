//! What shows a message to somebody who knows neither side: the message's proof, and the sender's
//! entry, which says that the key that signed it is the sender's.
//!
//! It travels as text that survives mail and terminals. What it shows: the holder of the sender's
//! key signed this message to this recipient, with this id and time. It does not show when that
//! was (the time is the sender's word), nor that the message arrived. Whoever has stolen a key
//! can sign with it.

use serde::{Deserialize, Serialize};

use super::armor::Armor;
use super::proof::{MessageProof, ProofError};
use super::{ChannelType, EntryBody, EntryError, SignedEntry};
use crate::crypto::PublicKey;
use crate::types::limits::{ENTRY_MAX_BYTES, PROOF_MAX_BYTES};
use crate::types::{EntityId, MessageId, Wall};

/// Both parts and their frame.
const EVIDENCE_MAX_BYTES: usize = ENTRY_MAX_BYTES + PROOF_MAX_BYTES + 64;
const ARMOR: Armor = Armor {
    begin: "-----BEGIN JUNTO MESSAGE PROOF-----",
    end: "-----END JUNTO MESSAGE PROOF-----",
    max_bytes: EVIDENCE_MAX_BYTES,
};
/// The same as text.
pub const EVIDENCE_MAX_CHARS: usize = ARMOR.max_chars();

/// A message's proof and its sender's entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The sender's signed entry. That it has expired by now does not matter.
    #[serde(with = "serde_bytes")]
    pub entry: Vec<u8>,
    /// A [`MessageProof`].
    #[serde(with = "serde_bytes")]
    pub message: Vec<u8>,
}

/// A message that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    pub from: EntityId,
    /// What the sender called itself in its entry.
    pub name: String,
    pub to: EntityId,
    pub id: MessageId,
    pub kind: ChannelType,
    /// As the sender says.
    pub sent: Wall,
    /// The sender's key that signed.
    pub key: PublicKey,
    pub body: Vec<u8>,
}

/// Why a text shows nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    #[error("this is no proof of that kind: one begins with {0}")]
    NotOne(&'static str),
    #[error("the proof is cut or altered: it does not read")]
    Unreadable,
    #[error("the signer's entry is not sound: {0}")]
    Entry(#[from] EntryError),
    #[error("a signature in the signer's entry does not hold: it was altered")]
    EntrySignature,
    #[error("the entry of who is said to have signed is not there")]
    OtherSender,
    #[error("it was signed by a key that is not the signer's")]
    OtherKey,
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// An entry whose signatures hold.
pub(super) fn checked_entry(bytes: &[u8]) -> Result<EntryBody, EvidenceError> {
    let (body, checks) = SignedEntry::parse(bytes)?;
    let holds = checks.iter().all(crate::crypto::SigCheck::verify);
    holds.then_some(body).ok_or(EvidenceError::EntrySignature)
}

impl Evidence {
    /// The text form.
    pub fn to_text(&self) -> String {
        ARMOR.write(self)
    }

    /// Reads the text form; what stands before and behind it is ignored.
    ///
    /// # Errors
    /// [`EvidenceError::NotOne`], [`EvidenceError::Unreadable`].
    pub fn from_text(text: &str) -> Result<Evidence, EvidenceError> {
        ARMOR.read(text)
    }

    /// Checks everything, with nothing but what is here.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn verify(&self) -> Result<Proven, EvidenceError> {
        let proof =
            MessageProof::from_bytes(&self.message).map_err(|_| EvidenceError::Unreadable)?;
        let body = checked_entry(&self.entry)?;
        if body.entity_id != proof.sender_id {
            return Err(EvidenceError::OtherSender);
        }
        if !body.has_had(&proof.key) {
            return Err(EvidenceError::OtherKey);
        }
        proof.verify()?;
        let (kind, id) = proof.kind_and_id().ok_or(EvidenceError::Unreadable)?;
        Ok(Proven {
            from: proof.sender_id,
            name: body.name.to_string(),
            to: proof.recipient_id,
            id,
            kind,
            sent: proof.timestamp,
            key: proof.key,
            body: proof.body,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rand::SeedableRng as _;
    use serde_bytes::ByteBuf;

    use super::*;
    use crate::crypto::{KeyPair, Keys, Rng, Seeds};
    use crate::types::{Priority, SessionId};
    use crate::wire::{
        BatchContext, BatchHead, ChannelMessage, PeerBinding, ProofParties, decode_batch,
        encode_batch,
    };

    fn keys(seed: u64) -> Keys {
        Keys::found(Seeds::generate(&mut Rng::seed_from_u64(seed)))
    }

    /// The seed is that of the key that comes after.
    fn rotated(keys: &Keys, seed: u64) -> Keys {
        keys.rotate(&mut Rng::seed_from_u64(seed)).expect("room")
    }

    fn entry(keys: &Keys) -> Vec<u8> {
        let identity = keys.identity();
        let rotations = identity.chain().rotations().iter();
        let body = EntryBody {
            entity_id: identity.entity_id,
            inception: identity.inception.to_bytes(),
            rotations: rotations
                .map(|rotation| ByteBuf::from(rotation.to_bytes()))
                .collect(),
            key: identity.key().public(),
            seq: 1,
            issued: Wall(1),
            expires: Wall(2),
            name: "sender".parse().expect("a name"),
            capabilities: Vec::new(),
            labels: Vec::new(),
            addresses: Vec::new(),
            peers: vec![PeerBinding {
                peer_id: identity.peer_id,
                signature: identity.binding,
            }],
            versions: vec!["1.1".into()],
        };
        SignedEntry::sign(&body, identity.key()).to_bytes()
    }

    /// A message of `sender`'s, signed with `key`.
    fn message(sender: EntityId, key: &KeyPair) -> Vec<u8> {
        let parties = ProofParties {
            sender,
            recipient: EntityId([2; 32]),
            session: SessionId(uuid::Uuid::from_u128(3)),
            transcript: [4; 32],
            key: key.public(),
        };
        let (session, transcript) = (parties.session, &parties.transcript);
        let context = BatchContext::new(&sender, &parties.recipient, session, transcript);
        let head = BatchHead {
            have: 0,
            sent: Wall(1),
            first: 0,
            seed: [5; 32],
        };
        let said = ChannelMessage {
            kind: ChannelType::Report,
            priority: Priority::Normal,
            durable: false,
            again: false,
            confirm: false,
            id: [6; 16],
            re: [0; 16],
            body: Bytes::from_static(b"done"),
        };
        let mut bytes = Vec::new();
        encode_batch(&head, &[said], &context, key, &mut bytes);
        let batch = decode_batch(&bytes.into(), &context).expect("our own");
        let proof = MessageProof::cut(&batch, 0, &parties).expect("it is there");
        proof.to_bytes()
    }

    #[test]
    fn a_proof_holds_under_every_key_that_its_sender_has_had_and_no_other() {
        let first = keys(1);
        let second = rotated(&first, 51);
        let third = rotated(&second, 52);
        let sender = first.identity().entity_id;
        let verified = |keys: &Keys| {
            let evidence = Evidence {
                entry: entry(&third),
                message: message(sender, keys.identity().key()),
            };
            evidence.verify().map(|proven| proven.key)
        };
        for had in [&first, &second, &third] {
            assert_eq!(verified(had), Ok(had.identity().key().public()));
        }
        // Somebody else's, the one that comes next, and one that a copy of the secrets led to.
        let fork = rotated(&second, 77);
        for never in [keys(2), rotated(&third, 53), rotated(&fork, 53)] {
            assert_eq!(verified(&never), Err(EvidenceError::OtherKey));
        }
        // An entry from before the rotation cannot know of the key that came by it.
        let older = Evidence {
            entry: entry(&first),
            message: message(sender, third.identity().key()),
        };
        assert_eq!(older.verify(), Err(EvidenceError::OtherKey));
    }
}
