//! Handing over work so that none is lost: the requester's log and the worker's.
//!
//! The requester's log is the single writer of a task. A task is *submitted* until a worker is
//! chosen, *working* while an assignment is open, and then *completed*, *failed* or *canceled*
//! for good. Each assignment has a fencing token, stored before the offer leaves; only a result
//! under the current token is taken. An offer grants nothing until it is accepted and lapses
//! without an answer. A lease is a duration: the requester counts it from receiving an acceptance
//! or a renewal, the worker counts 90 % of it from sending the renewal that was answered (an
//! acceptance whose arrival it cannot know grants it nothing). A lease governs reassignment, not
//! computation: a worker whose requester is away computes on and keeps its result until it is
//! acknowledged.
//!
//! # Invariants
//! Checked after every step of the simulator.
//! - **T1** An acknowledged submission is on the requester's disk until its record is pruned, long
//!   after the task is terminal.
//! - **T2** A terminal state and its result never change.
//! - **T3** A task's token never falls, and an offer carries a token that is on the requester's disk.
//! - **T4** A completed task's result came under the task's token, from the worker it was given.
//! - **T5** An accepted offer is on the worker's disk (or its tombstone); an acknowledged result is
//!   on the requester's disk.
//! - **T6** At most one worker holds a live lease on a task.
//! - **T7** A requester's open assignments to a worker and the tasks that wait are exactly the tasks
//!   that are not terminal.
//! - **A1**–**A4** Work that several workers do: see `requester::agree`.
//! - **T8** Of two tasks that make the same demands of a worker, the one whose rank is lower is given
//!   out first. A rank is when a task was queued, less its priority's head start (`queue`).
//! - **T9** A task that failed has its input and its attempts until it is handed over again or dropped
//!   (`requester::dead`).
//! - **B1**–**B5** What waits at a worker for a slot: see `worker::waiting`; **B6**, **B7** whose
//!   outcomes make room for others: see `worker::places`.
//! - **G1** What a held task hands on stays within its budget (`budget`).
//! - **T10** Every attempt is at a worker that fits what the task demands: the one it names, the labels
//!   it needs, the tier it had come to when it was offered.
//! - **E1**–**E6** What is told of events: see `events` and `feed`.
//!
//! # Bounds
//! `QUEUE_MAX_TASKS`, `QUEUE_MAX_BYTES`, `DEAD_MAX_TASKS`, `DEAD_MAX_BYTES`, `TERMINAL_MAX_TASKS`,
//! `WORKER_MAX_TASKS`, `TOMBSTONES_MAX`, `REPLICAS_MAX`, `AGREE_ROUNDS_MAX`, `LIST_MAX_ITEMS`,
//! `ATTEMPTS_MAX`, `LAPSES_MAX`, `RELEASES_MAX`, `EVENTS_KEPT`, `FEED_MAX_EVENTS` of [`crate::types::limits`].

mod bounds;
mod budget;
mod events;
mod feed;
mod queue;
mod record;
mod requester;
mod worker;

#[cfg(test)]
mod tests;

pub use bounds::Bounds;
pub use budget::{Allowance, Beyond, CHILDREN_MAX, Delegation, Wish};
pub use events::{Event, EventKind, Said, Told};
pub use feed::{About, EventFilter, Fed, Page};
pub use record::{
    Agreement, AgreementRecord, AttemptRecord, Considered, HeldKey, HeldRecord, HeldState,
    TaskRecord, Verdict, VoteRecord, Why, held_key,
};
pub use requester::{
    Apart, AttemptEnd, Bar, Candidate, Change, Full, Keep, NewTask, Requester, RequesterConfig,
    RequesterEffect, ResubmitOutcome, Start, SubmitOutcome, nobody_fits,
};
pub use worker::{Idle, Serving, Worker, WorkerConfig, WorkerEffect};

use crate::proto::RowError;
use crate::types::{Mono, Now, Wall};

/// When a row that ended at `ended` by the wall clock has been kept for so long. Only a start reads the wall
/// clock for this, and a clock that is ahead makes nothing younger than the full time.
fn forget_at(ended: Wall, keep_ms: u64, now: Now) -> Mono {
    let age_ms = now.wall.0.saturating_sub(ended.0).min(keep_ms);
    now.mono + (keep_ms - age_ms)
}

/// A defect that a test plants to see the checkers catch it.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// The requester takes results under any token.
    SkipFencing,
    /// The worker answers an offer before its flush.
    AckBeforeFlush,
    /// The requester lets the input of a failed task go.
    ForgetInput,
    /// The requester keeps nothing that shows a result.
    ForgetProof,
    /// The worker does not count what its tasks hand on.
    ForgetSpending,
    /// The worker begins parts that its requester has not heard of.
    TellNobody,
    /// The requester offers every attempt the whole reward.
    ForgetAttempts,
    /// A worker begins what it has handed over.
    BeginHandedOver,
    /// The worker begins runs with any payload that is there.
    AnyInput,
    /// The worker begins runs with inputs that another requester has sent.
    OthersInput,
    /// The requester passes a worker over for good.
    AvoidForGood,
    /// The requester takes a result whose file it has not.
    KeptWithoutFile,
    /// Tasks are taken whatever the disk has room for.
    AskNoRoom,
    /// A disk that was short of room once has none for good.
    ShortForGood,
    /// A requester queues however many tasks there are.
    QueueAll,
    /// A worker forgets no task that it had.
    ForgetNothing,
    /// Payloads are swept that tasks name.
    SweepNamed,
    /// Payloads are never swept.
    NeverSweep,
    /// A worker begins what it accepted first, however urgent the others are.
    FirstCome,
    /// A worker begins tasks of one requester as long as that has any.
    NoTurns,
    /// The requester tells of all tasks what is not on its disk.
    TellAllAtOnce,
    /// The requester does not keep what a task demands of its worker.
    ForgetDemands,
    /// The requester asks for results before it has closed the round on its disk.
    RevealBeforeClose,
    /// The requester says of workers that differ that the deadline passed.
    BlameDeadline,
    /// A worker tells another result than it committed to.
    FalseReveal,
    /// A worker never tells the result that it committed to.
    NoReveal,
}

#[cfg(test)]
impl Planted {
    /// Whether it is no defect of ours, but what somebody else may do.
    pub(crate) fn is_of_a_cheat(self) -> bool {
        matches!(self, Planted::FalseReveal | Planted::NoReveal)
    }
}
