//! What shows one message of a channel to a third party.

use serde::{Deserialize, Serialize};

use super::batch::{BatchContext, ChannelMessage, ChannelType, ROOT, nonce, signed_front};
use super::{Batch, PROTOCOL_VERSION, WireError, cbor};
use crate::crypto::{Digest, PublicKey, SigCheck, Signature, merkle_climb, merkle_path};
use crate::types::limits::{BATCH_MAX_MESSAGES, PROOF_MAX_BYTES};
use crate::types::{EntityId, MessageId, Nonce, SessionId, Wall};

/// A message with all that its signature covers, and the way to the signed root. Its nonce blinds
/// it: nothing is learned of the other messages of its batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageProof {
    pub version: String,
    pub sender_id: EntityId,
    pub recipient_id: EntityId,
    pub session_id: SessionId,
    /// What the stream was bound to.
    #[serde(with = "serde_bytes")]
    pub transcript: Digest,
    pub sequence_num: u64,
    pub timestamp: Wall,
    pub nonce: Nonce,
    /// Type, priority, flags, id and re, as in the batch.
    #[serde(with = "serde_bytes")]
    pub front: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    pub index: u32,
    pub count: u32,
    pub path: Vec<Nonce>,
    /// The key that signed; that it is the sender's is shown by the sender's entry.
    pub key: PublicKey,
    pub root_signature: Signature,
}

/// Who a batch came from and went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProofParties {
    pub sender: EntityId,
    pub recipient: EntityId,
    pub session: SessionId,
    pub transcript: Digest,
    pub key: PublicKey,
}

/// Why a proof shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the proof is for another version of the protocol")]
    Version,
    #[error("the proof's path does not fit its place")]
    Path,
    #[error("the signature does not hold: what was signed or the proof was altered")]
    Signature,
}

impl MessageProof {
    /// The proof of message `index` of a batch; none if it has no such message.
    pub fn cut(batch: &Batch, index: u32, parties: &ProofParties) -> Option<MessageProof> {
        let place = index as usize;
        let message: &ChannelMessage = batch.messages.get(place)?;
        let path = merkle_path(&batch.leaves, place)?;
        Some(MessageProof {
            version: PROTOCOL_VERSION.into(),
            sender_id: parties.sender,
            recipient_id: parties.recipient,
            session_id: parties.session,
            transcript: parties.transcript,
            sequence_num: batch.head.first + u64::from(index),
            timestamp: batch.head.sent,
            nonce: Nonce(nonce(&batch.head.seed, index)),
            front: signed_front(message).to_vec(),
            body: message.body.to_vec(),
            index,
            count: batch.leaves.len() as u32,
            path: path.into_iter().map(Nonce).collect(),
            key: parties.key,
            root_signature: batch.signature,
        })
    }

    /// The bytes of this proof.
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a proof; it still has to be verified.
    ///
    /// # Errors
    /// `MALFORMED`.
    pub fn from_bytes(bytes: &[u8]) -> Result<MessageProof, WireError> {
        let proof: MessageProof =
            cbor::decode(bytes, PROOF_MAX_BYTES).map_err(|_| WireError::Malformed)?;
        let sound = proof.front.len() == 35
            && proof.count as usize <= BATCH_MAX_MESSAGES
            && proof.path.len() <= 8;
        sound.then_some(proof).ok_or(WireError::Malformed)
    }

    /// What kind of message it is and how its sender calls it; none when it is of no known kind.
    pub fn kind_and_id(&self) -> Option<(ChannelType, MessageId)> {
        let kind = ChannelType::from_byte(*self.front.first()?)?;
        let id = self.front.get(3..19)?;
        Some((kind, MessageId(uuid::Uuid::from_slice(id).ok()?)))
    }

    /// Whether the holder of [`MessageProof::key`] signed this message to this recipient.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self) -> Result<(), ProofError> {
        if self.version != PROTOCOL_VERSION {
            return Err(ProofError::Version);
        }
        let context = BatchContext::new(
            &self.sender_id,
            &self.recipient_id,
            self.session_id,
            &self.transcript,
        );
        let leaf = context.leaf(
            &self.front,
            self.sequence_num,
            self.timestamp,
            &self.nonce.0,
            &self.body,
        );
        let path: Vec<Digest> = self.path.iter().map(|sibling| sibling.0).collect();
        let root = merkle_climb(leaf, self.index, self.count, &path).ok_or(ProofError::Path)?;
        let check = SigCheck {
            key: self.key,
            purpose: ROOT,
            digest: context.signed(&root, self.count),
            signature: self.root_signature,
        };
        check.verify().then_some(()).ok_or(ProofError::Signature)
    }
}
