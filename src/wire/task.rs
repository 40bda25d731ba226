//! Handing over work. Every message is a list, so that one flush makes one exchange.
//!
//! A task is named by (requester, task id) and an attempt by its fencing token. The requester's
//! log is the only writer: a worker that hears `fenced` has nothing more to do with the task.

use serde::{Deserialize, Serialize};

use super::{ListProof, left_out};
use crate::types::{BootId, Capability, EntityId, FencingToken, FileRef, Priority, TaskId};

/// Requester to worker: run these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskDelegate {
    pub items: Vec<DelegateItem>,
}

/// One task on offer. It grants nothing until accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegateItem {
    pub task_id: TaskId,
    pub token: FencingToken,
    pub capability: Capability,
    #[serde(with = "serde_bytes")]
    pub input: Vec<u8>,
    /// The input, where it is too large to stand here: then `input` is empty, and the file comes
    /// once the offer was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_file: Option<FileRef>,
    /// How long the lease runs from each acceptance or renewal.
    pub lease_ms: u64,
    /// What is left until the task's deadline.
    pub remaining_ms: u64,
    /// What becomes of a run whose lease is lost. Left out: it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphan: Option<Orphan>,
    /// The requester wants to hear what the run says before it has ended.
    #[serde(
        default,
        skip_serializing_if = "left_out::is_default",
        deserialize_with = "left_out::yes"
    )]
    pub stream: bool,
    /// What the run may hand on to others. Left out: nothing is said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What of the budget parts have that this worker handed on in earlier attempts.
    #[serde(
        default,
        skip_serializing_if = "left_out::is_default",
        deserialize_with = "left_out::number"
    )]
    pub spent: u64,
    /// One of several runs of the same work: the worker commits to its result first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agree: Option<AgreePart>,
    /// It is not to be handed over: it names its worker, or was handed over often enough.
    #[serde(
        default,
        skip_serializing_if = "left_out::is_default",
        deserialize_with = "left_out::yes"
    )]
    pub stay: bool,
    /// How urgent it is among its requester's tasks. This and the next are hints: a worker that does
    /// not know them does as it would with normal ones.
    #[serde(
        rename = "_priority",
        default,
        skip_serializing_if = "left_out::is_default"
    )]
    pub priority: Priority,
    /// How long it has waited at its requester.
    #[serde(
        rename = "_waited_ms",
        default,
        skip_serializing_if = "left_out::is_default"
    )]
    pub waited_ms: u64,
}

/// What becomes of a run whose lease is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Orphan {
    /// It is ended and the task given back.
    Stop,
}

/// What a task may hand on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// How many levels of tasks may be below it.
    pub depth: u8,
    /// What these may cost together.
    pub reward: u64,
}

/// Which agreement a run is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgreePart {
    pub parent: TaskId,
    pub round: u32,
}

/// Worker to requester, the response: taken (and on disk), or why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskAccept {
    pub boot: BootId,
    /// In the order of the offers.
    pub answers: Vec<AcceptAnswer>,
}

/// The worker's word on one offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceptAnswer {
    /// It runs.
    Accepted,
    /// Accepted: it begins when a slot comes free.
    Queued,
    Refused(RefuseReason),
}

/// Why an offer was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefuseReason {
    /// All slots are taken at the moment.
    Busy,
    UnknownCapability,
    TooLarge,
    /// The worker has already heard of a higher token, or has finished this one.
    Stale,
    /// The worker's policy or its disk refuses, or it cannot do what the offer asks for.
    NotAllowed,
    /// It takes nothing more: it is about to stop.
    Draining,
    /// It asks for more than the task's reward.
    Price,
}

/// Worker to requester: everything I hold of yours (an absent one of an older boot is lost).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRenew {
    pub boot: BootId,
    pub items: Vec<RenewItem>,
}

/// One held task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewItem {
    pub task_id: TaskId,
    pub token: FencingToken,
    /// What its parts cost, those included that are to begin once this is answered.
    #[serde(
        default,
        skip_serializing_if = "left_out::is_default",
        deserialize_with = "left_out::number"
    )]
    pub spent: u64,
    /// No slot has been free for it yet.
    #[serde(
        default,
        skip_serializing_if = "left_out::is_default",
        deserialize_with = "left_out::yes"
    )]
    pub waiting: bool,
}

/// The response to a renewal, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRenewAck {
    pub answers: Vec<RenewAnswer>,
}

/// What the requester's log says of one held task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RenewAnswer {
    /// The lease runs again from now.
    Renewed { lease_ms: u64 },
    /// The token is not the current one, or the task is over or unknown: stop and forget.
    Fenced,
}

/// Worker to requester: these ended, and the worker signs that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskResult {
    pub items: Vec<ResultItem>,
    pub proof: ListProof,
}

/// One ended run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultItem {
    pub task_id: TaskId,
    pub token: FencingToken,
    pub outcome: TaskOutcome,
    /// What its parts have cost.
    #[serde(
        default,
        skip_serializing_if = "left_out::is_default",
        deserialize_with = "left_out::number"
    )]
    pub spent: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TaskOutcome {
    Completed {
        #[serde(with = "serde_bytes")]
        result: Vec<u8>,
    },
    /// The same with a result too large to stand here: the file comes once it was asked for.
    CompletedFile { file: FileRef },
    /// The command failed, could not be started, or went over a limit.
    Failed {
        reason: String,
        /// The run took its worker down with it, again and again.
        #[serde(
            default,
            skip_serializing_if = "left_out::is_default",
            deserialize_with = "left_out::yes"
        )]
        poison: bool,
    },
    /// The worker gives the task back unharmed.
    Released,
    /// The same before it has begun: others, who offer the capability, have slots free.
    HandedOver {
        /// Some of them, at most [`SUGGESTED_MAX`](crate::types::limits::SUGGESTED_MAX).
        suggest: Vec<EntityId>,
    },
    /// The result is fixed and not told yet: a commitment to it, as part of that agreement.
    Committed {
        #[serde(with = "serde_bytes")]
        commitment: [u8; 32],
        agree: AgreePart,
    },
    /// What was committed to.
    Revealed {
        #[serde(with = "serde_bytes")]
        salt: [u8; 32],
        #[serde(with = "serde_bytes")]
        result: Vec<u8>,
    },
}

/// The response to results: from here on the requester's disk answers for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskResultAck {
    pub answers: Vec<AckAnswer>,
}

/// What the requester's log says of one result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckAnswer {
    /// Taken now, or before: it is on disk.
    Kept,
    /// The token is not the current one, or the task is over or unknown.
    Fenced,
    /// It is to be taken, but its file is not here yet: send it, then say this again.
    Pending,
}

/// Requester to worker: stop these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskCancel {
    pub items: Vec<CancelItem>,
}

/// One attempt to stop: everything of the task up to this token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelItem {
    pub task_id: TaskId,
    pub token: FencingToken,
}

/// The response to a cancellation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskCancelAck {}

/// Requester to worker: the round is closed, tell the results of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskReveal {
    pub items: Vec<RevealItem>,
}

/// One commitment to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevealItem {
    pub task_id: TaskId,
    pub token: FencingToken,
}

/// The response; the results themselves come as [`TaskResult`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRevealAck {
    pub answers: Vec<RevealAnswer>,
}

/// What the worker says of one commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevealAnswer {
    /// Its result will come.
    Noted,
    /// It has not committed to anything under this token.
    Unknown,
}

/// Worker to requester: how far these are. Never stored, never sent twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskProgress {
    pub items: Vec<ProgressItem>,
}

/// What one run said since the last word of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgressItem {
    pub task_id: TaskId,
    pub token: FencingToken,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputPart>,
}

/// A piece of what a run has written so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputPart {
    /// Where it begins: what lies between the pieces was lost on the way.
    pub offset: u64,
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// The response to progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskProgressAck {
    pub answers: Vec<ProgressAnswer>,
}

/// What the requester's log says of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressAnswer {
    Ok,
    /// Nobody wants to hear more of it under this token.
    Fenced,
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::wire::{OfferAnswer, cbor};

    /// Reads `value` as it is, and with one key more in the map of its variant.
    fn read_with_more<T: Serialize + DeserializeOwned>(value: &T) -> [bool; 2] {
        let bytes = cbor::encode(value);
        let mut tree: ciborium::Value = ciborium::from_reader(&bytes[..]).expect("our own");
        let variant = &mut tree.as_map_mut().expect("a map")[0].1;
        let inner = variant.as_map_mut().expect("a map");
        inner.push(("unknown".into(), true.into()));
        [bytes, cbor::encode(&tree)].map(|bytes| cbor::decode::<T>(&bytes, 1024).is_ok())
    }

    #[test]
    fn an_unknown_key_in_a_variant_is_refused_as_anywhere_else() {
        let failed = TaskOutcome::Failed {
            reason: "x".into(),
            poison: false,
        };
        assert_eq!(read_with_more(&failed), [true, false]);
        let renewed = RenewAnswer::Renewed { lease_ms: 1 };
        assert_eq!(read_with_more(&renewed), [true, false]);
        let accepted = OfferAnswer::Accepted { have_bytes: 1 };
        assert_eq!(read_with_more(&accepted), [true, false]);
    }
}
