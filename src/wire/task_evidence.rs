//! What shows outcomes of a task to somebody who knows neither side: their proofs, and the entry of
//! each worker that signed one.
//!
//! What it shows: the holder of the worker's key signed that its run of this task, for this
//! requester and under this token, came to this. It does not show that the result is right, nor
//! when that was. Of work that several did it shows what each committed to and what it told then.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::armor::Armor;
use super::evidence::{EvidenceError, checked_entry};
use super::{EntryBody, ResultProof};
use crate::types::EntityId;
use crate::types::limits::{
    AGREE_ROUNDS_MAX, ENTRY_MAX_BYTES, REPLICAS_MAX, RESULT_PROOF_MAX_BYTES,
};

/// Workers of one task whose words are kept, and two words of each.
const WORKERS_MAX: usize = REPLICAS_MAX as usize * AGREE_ROUNDS_MAX as usize;
const OUTCOMES_MAX: usize = 2 * WORKERS_MAX;
const FRAME_BYTES: usize = 64;
const ARMOR: Armor = Armor {
    begin: "-----BEGIN JUNTO TASK PROOF-----",
    end: "-----END JUNTO TASK PROOF-----",
    max_bytes: WORKERS_MAX * (ENTRY_MAX_BYTES + FRAME_BYTES)
        + OUTCOMES_MAX * (RESULT_PROOF_MAX_BYTES + FRAME_BYTES),
};
/// The longest text of it.
pub const TASK_EVIDENCE_MAX_CHARS: usize = ARMOR.max_chars();

/// Proofs of outcomes and the entries of their workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskEvidence {
    /// The workers' signed entries. That they have expired by now does not matter.
    pub entries: Vec<ByteBuf>,
    /// Each a [`ResultProof`].
    pub outcomes: Vec<ByteBuf>,
    /// Of work that several did: how many equal results were asked for. Nobody signed that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agree: Option<u8>,
}

/// An outcome that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenOutcome {
    pub proof: ResultProof,
    /// What the worker called itself in its entry.
    pub name: String,
    /// Whether it is what its worker had committed to; none if it is no such pair.
    pub opens: Option<bool>,
}

impl TaskEvidence {
    /// Of these proofs, each with its worker's entry; an entry is said once.
    pub fn new<'a>(proofs: impl IntoIterator<Item = (ResultProof, &'a [u8])>) -> TaskEvidence {
        let mut entries = BTreeMap::new();
        let outcomes = proofs.into_iter().map(|(proof, entry)| {
            let of = entries.entry(proof.worker);
            of.or_insert_with(|| ByteBuf::from(entry));
            ByteBuf::from(proof.to_bytes())
        });
        TaskEvidence {
            outcomes: outcomes.collect(),
            entries: entries.into_values().collect(),
            agree: None,
        }
    }

    /// Whether a text says that it is one.
    pub fn is_in(text: &str) -> bool {
        ARMOR.is_in(text)
    }

    /// The text form.
    pub fn to_text(&self) -> String {
        ARMOR.write(self)
    }

    /// Reads the text form; what stands before and behind it is ignored.
    ///
    /// # Errors
    /// [`EvidenceError::NotOne`], [`EvidenceError::Unreadable`].
    pub fn from_text(text: &str) -> Result<TaskEvidence, EvidenceError> {
        ARMOR.read(text)
    }

    /// Checks everything, with nothing but what is here.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn verify(&self) -> Result<Vec<ProvenOutcome>, EvidenceError> {
        let TaskEvidence {
            entries, outcomes, ..
        } = self;
        if entries.len() > WORKERS_MAX || !(1..=OUTCOMES_MAX).contains(&outcomes.len()) {
            return Err(EvidenceError::Unreadable);
        }
        let entries = entries.iter().map(|bytes| {
            let body = checked_entry(bytes)?;
            Ok((body.entity_id, body))
        });
        let entries: BTreeMap<EntityId, EntryBody> =
            entries.collect::<Result<_, EvidenceError>>()?;
        let mut shown: Vec<ProvenOutcome> = Vec::new();
        for bytes in outcomes {
            let proof = ResultProof::from_bytes(bytes).map_err(|_| EvidenceError::Unreadable)?;
            let entry = entries.get(&proof.worker);
            let entry = entry.ok_or(EvidenceError::OtherSender)?;
            if !entry.has_had(&proof.key) {
                return Err(EvidenceError::OtherKey);
            }
            proof.verify()?;
            let mut before = shown.iter();
            shown.push(ProvenOutcome {
                opens: before.find_map(|earlier| proof.opens(&earlier.proof)),
                name: entry.name.to_string(),
                proof,
            });
        }
        Ok(shown)
    }
}
