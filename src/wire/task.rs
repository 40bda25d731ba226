//! Handing over work. Every message is a list, so that one flush makes one exchange.
//!
//! A task is named by (requester, task id) and an attempt by its fencing token. The requester's
//! log is the only writer: a worker that hears `fenced` has nothing more to do with the task.

use serde::{Deserialize, Serialize};

use crate::types::{BootId, Capability, FencingToken, TaskId};

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
    /// How long the lease runs from each acceptance or renewal.
    pub lease_ms: u64,
    /// What is left until the task's deadline.
    pub remaining_ms: u64,
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
    Accepted,
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
    /// The worker's policy or its disk refuses.
    NotAllowed,
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
}

/// The response to a renewal, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRenewAck {
    pub answers: Vec<RenewAnswer>,
}

/// What the requester's log says of one held task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewAnswer {
    /// The lease runs again from now.
    Renewed { lease_ms: u64 },
    /// The token is not the current one, or the task is over or unknown: stop and forget.
    Fenced,
}

/// Worker to requester: these ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskResult {
    pub items: Vec<ResultItem>,
}

/// One ended run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultItem {
    pub task_id: TaskId,
    pub token: FencingToken,
    pub outcome: TaskOutcome,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskOutcome {
    Completed {
        #[serde(with = "serde_bytes")]
        result: Vec<u8>,
    },
    /// The command failed, could not be started, or went over a limit.
    Failed { reason: String },
    /// The worker gives the task back unharmed.
    Released,
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
