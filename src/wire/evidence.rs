//! What shows a message to somebody who knows neither side: the message's proof, and the sender's
//! entry, which says that the key that signed it is the sender's.
//!
//! It travels as text that survives mail and terminals. What it shows: the holder of the sender's
//! key signed this message to this recipient, with this id and time. It does not show when that
//! was (the time is the sender's word), nor that the message arrived. Whoever has stolen a key
//! can sign with it.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::proof::{MessageProof, ProofError};
use super::{ChannelType, EntryError, SignedEntry, cbor};
use crate::crypto::PublicKey;
use crate::types::limits::{ENTRY_MAX_BYTES, PROOF_MAX_BYTES};
use crate::types::{EntityId, MessageId, Wall};

const BEGIN: &str = "-----BEGIN JUNTO MESSAGE PROOF-----";
const END: &str = "-----END JUNTO MESSAGE PROOF-----";
const LINE_CHARS: usize = 64;
/// Both parts and their frame.
const EVIDENCE_MAX_BYTES: usize = ENTRY_MAX_BYTES + PROOF_MAX_BYTES + 64;
/// The same as text, with line ends of any kind and a little around it.
pub const EVIDENCE_MAX_CHARS: usize = EVIDENCE_MAX_BYTES * 2;

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
    #[error("this is not a message proof: it begins with {BEGIN}")]
    NotOne,
    #[error("the proof is cut or altered: it does not read")]
    Unreadable,
    #[error("the sender's entry is not sound: {0}")]
    Entry(#[from] EntryError),
    #[error("a signature in the sender's entry does not hold: it was altered")]
    EntrySignature,
    #[error("the entry is not that of the sender named in the message")]
    OtherSender,
    #[error("the message was signed by a key that is not the sender's")]
    OtherKey,
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl Evidence {
    /// The text form.
    pub fn to_text(&self) -> String {
        let encoded = BASE64.encode(&cbor::encode(self));
        let mut text = format!("{BEGIN}\n");
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(LINE_CHARS));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str(END);
        text.push('\n');
        text
    }

    /// Reads the text form; what stands before and behind it is ignored.
    ///
    /// # Errors
    /// [`EvidenceError::NotOne`], [`EvidenceError::Unreadable`].
    pub fn from_text(text: &str) -> Result<Evidence, EvidenceError> {
        let (_, rest) = text.split_once(BEGIN).ok_or(EvidenceError::NotOne)?;
        let (encoded, _) = rest.split_once(END).ok_or(EvidenceError::Unreadable)?;
        if encoded.len() > EVIDENCE_MAX_CHARS {
            return Err(EvidenceError::Unreadable);
        }
        let packed: String = encoded.split_ascii_whitespace().collect();
        let bytes = BASE64
            .decode(packed.as_bytes())
            .map_err(|_| EvidenceError::Unreadable)?;
        cbor::decode(&bytes, EVIDENCE_MAX_BYTES).map_err(|_| EvidenceError::Unreadable)
    }

    /// Checks everything, with nothing but what is here.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn verify(&self) -> Result<Proven, EvidenceError> {
        let proof =
            MessageProof::from_bytes(&self.message).map_err(|_| EvidenceError::Unreadable)?;
        let (body, checks) = SignedEntry::parse(&self.entry)?;
        if !checks.iter().all(crate::crypto::SigCheck::verify) {
            return Err(EvidenceError::EntrySignature);
        }
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
