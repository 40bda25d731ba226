//! The rows of work that several workers do apart from each other: what its parts came to stands
//! in the row of the whole, and a part's row says whose part it is.

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use crate::types::{Compare, EntityId, FencingToken, TaskId, Wall};

/// Of how many runs how many results must be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    pub replicas: u8,
    pub agree: u8,
    pub compare: Compare,
}

/// How far an agreement is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgreementRecord {
    pub asked: Agreement,
    /// From 1; 0 before it has begun.
    pub round: u32,
    /// No commitment of this round is taken any more, and its results may be told.
    pub closed: bool,
    /// When the round is closed at the latest, if there are enough commitments then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes: Option<Wall>,
    /// One of each part, of all rounds.
    pub votes: Vec<VoteRecord>,
    /// The hash of the result that enough of them gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<ByteArray<32>>,
}

/// What one part has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoteRecord {
    pub part: TaskId,
    pub round: u32,
    pub verdict: Verdict,
    /// Who committed, under which token, and to what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promise: Option<PromiseRecord>,
    /// Of the result told, in the form in which it is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<ByteArray<32>>,
}

/// A commitment that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromiseRecord {
    pub worker: EntityId,
    pub token: FencingToken,
    pub commitment: ByteArray<32>,
}

/// How far a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No commitment yet.
    Open,
    /// Committed, and its result not told yet.
    Committed,
    /// A result that fits its commitment.
    Revealed,
    /// A result that does not.
    FalseReveal,
    /// None in time.
    Unrevealed,
    /// It ended without a commitment.
    Failed,
    /// The round was closed without it.
    Late,
}

/// Whose part a task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartRecord {
    pub parent: TaskId,
    pub round: u32,
    /// The networks that the newest attempt's worker is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<ByteBuf>,
    /// What shows its worker's commitment to others: a `ResultProof`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<ByteBuf>,
}

impl AgreementRecord {
    pub(in crate::proto::task) fn new(asked: Agreement) -> AgreementRecord {
        AgreementRecord {
            asked,
            round: 0,
            closed: false,
            closes: None,
            votes: Vec::new(),
            chosen: None,
        }
    }

    /// The vote of a part.
    pub fn vote(&self, part: TaskId) -> Option<&VoteRecord> {
        self.votes.iter().find(|vote| vote.part == part)
    }

    /// How many votes of the current round stand so.
    pub fn count(&self, verdict: Verdict) -> usize {
        let current = self.votes.iter().filter(|vote| vote.round == self.round);
        current.filter(|vote| vote.verdict == verdict).count()
    }

    /// The result that most gave, and how many.
    pub fn best(&self) -> (Option<ByteArray<32>>, usize) {
        let count = |hash: &ByteArray<32>| {
            let equal = self
                .votes
                .iter()
                .filter(|vote| vote.hash.as_ref() == Some(hash));
            equal.count()
        };
        let told = self.votes.iter().filter_map(|vote| vote.hash);
        // Of equals the first that was asked for.
        let best = told.rev().max_by_key(count);
        (best, best.as_ref().map_or(0, count))
    }

    /// Who told another result than the one chosen, one that does not fit the commitment, or none.
    pub fn dissent(&self) -> impl Iterator<Item = EntityId> {
        self.votes.iter().filter_map(|vote| {
            let other = match vote.verdict {
                Verdict::FalseReveal | Verdict::Unrevealed => true,
                Verdict::Revealed => self.chosen.is_some() && vote.hash != self.chosen,
                _ => false,
            };
            vote.promise.as_ref().filter(|_| other).map(|of| of.worker)
        })
    }
}
