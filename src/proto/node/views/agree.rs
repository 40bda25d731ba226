//! Work that several workers do, as the API shows it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::types::Compare;

/// How far several workers of one task are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgreementView {
    /// How many do it,
    pub replicas: u8,
    /// and how many results must be equal.
    pub agree: u8,
    pub compare: Compare,
    /// From 1; 0 before the first has begun.
    pub round: u32,
    /// Whether the round takes no commitment any more, so that results are told.
    pub closed: bool,
    /// Of the result that enough of them gave, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// What each part came to, of all rounds.
    pub votes: Vec<VoteView>,
}

/// What one part of the work came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VoteView {
    /// The part's own task id: its attempts, and a result that differs, are to be found under it.
    pub part: String,
    pub round: u32,
    /// `open` or `committed`; `agreed`, `differs`, or `revealed` while nothing is decided;
    /// `false_reveal`: its result does not fit its commitment; `unrevealed`: it told none;
    /// `failed`: it ended without a commitment; `late`: the round was closed without it.
    pub verdict: String,
    /// The entity id of who committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// In hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<String>,
    /// Of the result it told, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}
