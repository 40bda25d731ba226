//! Tasks as the API shows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AgreementView;
use crate::types::{Amount, Priority, TaskState, Tier};

/// How many of our tasks are in each state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskCounts {
    pub submitted: usize,
    pub working: usize,
    pub completed: usize,
    pub failed: usize,
    pub canceled: usize,
    /// Of those that failed, the ones that kept their input.
    #[serde(default)]
    pub dead: usize,
}

/// A task of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    pub id: String,
    pub capability: String,
    pub state: TaskState,
    pub priority: Priority,
    /// The entity id of the one worker that may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// RFC 3339.
    pub submitted: String,
    /// RFC 3339: it does not begin before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<String>,
    /// RFC 3339.
    pub deadline: String,
    /// What its submitter calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The task that it is a part of, which runs here for somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentView>,
    /// What it may hand on; none if nothing was said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetView>,
    /// Whether its run ends where its worker loses the lease (`orphan` was `stop`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stops: bool,
    /// Whether what its runs say before they have ended is told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    pub input_bytes: usize,
    /// How far a large input or result is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<MovingView>,
    /// Of one task that runs: how far it is, as its run last said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressView>,
    pub result_bytes: Option<usize>,
    /// Why it failed, or what it waits for.
    pub reason: Option<String>,
    /// Whether a failure came for want of a worker before the deadline.
    pub no_worker: bool,
    /// Whether it failed and kept its input: it can be handed over again.
    #[serde(default)]
    pub dead: bool,
    /// The failed task that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<String>,
    /// The task that repeats this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<String>,
    pub attempts: Vec<AttemptView>,
    /// Older ones that are not among them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts_cut: u32,
    /// By which it is found again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Labels that its worker must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// What its worker must have come to at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_tier: Option<Tier>,
    /// Of one task that waits for a worker, or did so when it ended: who was looked at, and why nobody
    /// has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub considered: Vec<ConsideredView>,
    /// How many more were looked at.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub others: u32,
    /// Several workers do it: how far they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<AgreementView>,
    /// The entity ids of those that told another result than the one agreed on, one that does not fit
    /// their commitment, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dissent: Option<Vec<String>>,
    /// It is a part of this task's work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<String>,
    /// Of one task: whether who asked for it has been told that it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookView>,
}

/// How far telling of a task's end is. Neither address nor secret is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookView {
    /// `waiting` (for the end), `calling` (or about to, again), `heard`, `given_up`.
    pub state: String,
    /// Tries since the node's start, and in all where it is over.
    pub tries: u32,
    /// RFC 3339: when it was heard or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What the last try came to that was not heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde calls"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A worker that was looked at for a task, and what spoke for or against it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsideredView {
    /// The worker's entity id.
    pub worker: String,
    /// `chosen`; `lighter`: drawn as well, and weighed less; `not_drawn`; `tried`: it tried the task
    /// more often than others; `standing`: others are in better reach; `queue`: it would wait there;
    /// `full`; `handed_over`: it gave it back to be begun elsewhere a moment ago; `passed_over`: it
    /// refused or was silent a moment ago; `not_named`: the task names another; `label`: it lacks one
    /// that the task needs; `tier`: it has not come to what the task needs; `price`: it asks for
    /// more than the reward; `apart`: it does
    /// another part of the work; `draining`; `unattended`: it has no agent
    /// that fetches tasks; `unreachable`; `circuit_open`; `banned`; `free`: it may
    /// have it at any moment.
    pub why: String,
    /// Slots that were free for tasks of ours.
    pub room: u32,
    /// Round trip, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u32>,
    /// 0 to 1000, from what became of earlier tasks of ours; absent if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u16>,
    /// What it asked for.
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub price: Amount,
    /// What it was worth against others: the more, the rather it is chosen.
    pub weight: u64,
}

/// A task that this node runs for somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParentView {
    /// Its requester's entity id.
    pub requester: String,
    pub task: String,
}

/// What a task may hand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BudgetView {
    /// How many levels of tasks may be below it.
    pub depth: u8,
    /// What it is worth, and its parts together at the most, over all attempts.
    pub reward: Amount,
    /// What of that its parts have, as far as their workers told.
    #[serde(default)]
    pub spent: Amount,
}

/// How far a run is, as it said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProgressView {
    /// RFC 3339: when that was.
    pub at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A large input or result on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MovingView {
    /// `input` or `result`.
    pub what: String,
    pub done_bytes: u64,
    pub size: u64,
}

/// An input or result that is kept as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PayloadView {
    /// The BLAKE3 hash of its content in hexadecimal: its name.
    pub hash: String,
    pub size: u64,
}

/// One attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// The worker's entity id.
    pub worker: String,
    pub token: u64,
    /// RFC 3339.
    pub started: String,
    pub ended: Option<String>,
    /// `offered`, `working`, `completed`, `failed: …`, `refused: …`, `lost: …`, `canceled`.
    pub outcome: String,
    /// Who was looked at for it; known of a task's newest attempts only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub considered: Vec<ConsideredView>,
    /// How many more were looked at.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub others: u32,
}

/// What happened to a task, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskEventsView {
    /// The task as it is now.
    pub task: TaskView,
    /// What came after the number asked for is not known any more: these are all that are kept.
    pub reset: bool,
    pub events: Vec<TaskEventView>,
    /// The newest event's number: what to ask for next.
    pub last: u64,
    /// Whether nothing will follow.
    pub over: bool,
}

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskEventView {
    /// Rises from event to event of a task, by one but where `times` is over 1.
    pub number: u64,
    /// `submitted`, `offered`, `refused` (the worker did), `not_sent` (it could not be reached),
    /// `waiting` (accepted, but no slot is free), `working`,
    /// `released`, `handed_over` (released because others have slots free), `lost`, `attempt_failed`,
    /// `progress`, `output`, `completed`, `failed` or `canceled`; where several workers do it
    /// `committed`, `closed` (results are asked for), `revealed`.
    pub kind: String,
    /// RFC 3339.
    pub at: String,
    /// The entity id of the worker it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Of the attempt it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// Why, in words; with `progress` what the run says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// With `refused` and `not_sent`: how many of these, one behind the other, it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// With `progress`: how far the run is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// With `output`: where in what the run writes this begins. What lies between two was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// With `output`: what it wrote, in base64, and as text if it is one. It is kept until the task
    /// has ended, and as long as there is room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}
