//! The requester's side: queue, assignment, leases, results. See the module's header for the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

mod agree;
mod assign;
mod batch;
mod children;
mod choice;
mod counts;
mod dead;
mod events;
mod feed;
mod files;
mod handed;
mod indices;
mod keep;
mod last;
mod pace;
mod reports;
mod said;
mod sizes;
mod spending;
mod submit;
mod witness;

use self::handed::Handed;
use self::pace::Pace;
pub use choice::{Apart, Bar, Candidate};
pub use counts::Counts;
pub use dead::{Change, ResubmitOutcome};
pub use keep::Keep;
pub use last::nobody_fits;
pub use submit::{Full, NewTask, Start, SubmitOutcome};

use super::bounds::Bounds;
use super::events::Log;
use super::feed::Feed;
use super::queue::{Class, Queue, Ready};
use super::record::{HeldKey, TaskRecord};
use crate::proto::Step;
use crate::types::limits::{FEED_MAX_BYTES, FEED_MAX_EVENTS};
use crate::types::{
    BatchId, BootId, Capability, EntityId, FencingToken, Keyspace, Mono, TaskId, TaskKey,
    TaskState, Wall,
};
use crate::wire::{CancelItem, RevealItem};

/// The requester's settings, in milliseconds and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequesterConfig {
    /// Who we are.
    pub entity: EntityId,
    pub lease_ms: u64,
    pub offer_lapse_ms: u64,
    pub failures_max: u32,
    pub losses_max: u32,
    pub backoff_ms: u64,
    pub backoff_max_ms: u64,
    /// Of the files that are inputs of dead letters.
    pub dead_files_max_bytes: u64,
    pub keep: Keep,
    pub bounds: Bounds,
}

/// What the requester asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequesterEffect {
    /// Offer these to the worker, once `after` is durable.
    Delegate {
        worker: EntityId,
        tasks: Vec<TaskId>,
        after: BatchId,
    },
    /// Tell the worker to stop.
    Cancel {
        worker: EntityId,
        items: Vec<CancelItem>,
        after: BatchId,
    },
    /// Ask the worker for the results that it committed to, once `after` is durable.
    Reveal {
        worker: EntityId,
        items: Vec<RevealItem>,
        after: BatchId,
    },
    /// The task is terminal; whoever waits may be told once `after` is durable.
    Finished { task: TaskId, after: BatchId },
    /// A failed task's input was dropped: there are too many of them.
    Forgot { task: TaskId },
    /// A part of a held task came to nothing: what it would have earned is there again.
    Refund { parent: HeldKey, reward: u64 },
    /// A worker lost a task.
    Lost {
        task: TaskId,
        worker: EntityId,
        why: &'static str,
    },
}

/// What an attempt came to, as far as that speaks for or against its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    Completed,
    Failed,
    /// The worker was lost, or did not answer an offer.
    Lost,
    /// The worker told another result than the others, or than it had committed to.
    Lied,
}

/// Where a task is at the moment. Not stored: a restart derives it from the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// In the queue.
    Waiting,
    /// Backing off, or to begin then.
    Resting {
        until: Mono,
    },
    /// `lapses` is none until the offer has left.
    Offered {
        worker: EntityId,
        lapses: Option<Mono>,
    },
    /// `boot` is the worker's as it last told; none after our own restart. `waits`: it has no slot
    /// there yet, as far as the worker told.
    Leased {
        worker: EntityId,
        boot: Option<BootId>,
        until: Mono,
        waits: bool,
    },
    /// A part whose worker has committed.
    Promised {
        worker: EntityId,
    },
    /// It waits for its parts. `turn` is when its round is to be closed, or was closed; `ask` when
    /// results are next asked for.
    Gathering {
        until: Mono,
        turn: Mono,
        ask: Mono,
    },
    Over,
}

impl Phase {
    /// A whole that is to be looked at now.
    fn gathering(now: Mono) -> Phase {
        Phase::Gathering {
            until: now,
            turn: now,
            ask: now,
        }
    }

    fn due(self) -> Option<Mono> {
        match self {
            Phase::Resting { until }
            | Phase::Leased { until, .. }
            | Phase::Gathering { until, .. } => Some(until),
            Phase::Offered { lapses, .. } => lapses,
            Phase::Waiting | Phase::Promised { .. } | Phase::Over => None,
        }
    }

    /// Who runs it, or is to.
    fn slot(self) -> Option<EntityId> {
        match self {
            Phase::Offered { worker, .. } | Phase::Leased { worker, .. } => Some(worker),
            _ => None,
        }
    }

    /// Where it waits for a slot.
    fn behind(self) -> Option<EntityId> {
        match self {
            Phase::Leased { worker, waits, .. } => Some(worker).filter(|_| waits),
            _ => None,
        }
    }

    /// Who has something of it.
    fn worker(self) -> Option<EntityId> {
        match self {
            Phase::Promised { worker } => Some(worker),
            _ => self.slot(),
        }
    }
}

struct Task {
    record: TaskRecord,
    input: Vec<u8>,
    result: Option<Vec<u8>>,
    deadline: Mono,
    phase: Phase,
    /// The newest batch that wrote one of its rows.
    written: BatchId,
    /// Where it stands in `Requester::due`.
    due: Option<Mono>,
    /// As what it is counted.
    counted: Option<TaskState>,
    events: Log,
    /// When its newest attempt was accepted, if that was in this life.
    begun: Option<Mono>,
    /// What workers said that handed it over.
    handed: Handed,
}

impl Task {
    fn class(&self) -> Class {
        let reward = self.record.budget.map_or(0, |budget| budget.reward);
        let left = reward.saturating_sub(self.record.spent());
        let part = self.record.part.is_some();
        Class {
            to: self.record.to,
            needs: self.record.marks.needs.clone(),
            tier_min: self.record.marks.tier_min.unwrap_or_default(),
            // Of nothing that is left a part of such work has its share, too.
            reward: Some(left).filter(|_| reward > 0 || (part && self.record.budget.is_some())),
            apart: Apart::default(),
            part,
        }
    }

    fn ready(&self) -> Ready {
        Ready::new(
            self.record.queued_at(),
            self.record.priority,
            self.record.id,
        )
    }
}

/// The requester's core.
pub struct Requester {
    config: RequesterConfig,
    tasks: BTreeMap<TaskId, Task>,
    queue: Queue,
    /// The tasks each worker has of us, offered or leased.
    at_worker: BTreeMap<EntityId, BTreeMap<Capability, BTreeSet<TaskId>>>,
    /// Those of them that wait for a slot there: it has none free.
    behind: BTreeMap<(EntityId, Capability), BTreeSet<TaskId>>,
    /// The parts that each worker has committed to.
    promised: BTreeMap<EntityId, BTreeSet<TaskId>>,
    /// Tasks by what their submitter calls them.
    by_key: BTreeMap<TaskKey, TaskId>,
    /// Tasks by their state.
    counts: Counts,
    /// When the newest task counts as queued.
    newest: Wall,
    /// Whether a task or a slot came free since workers were last looked for.
    stirs: bool,
    /// When workers were last looked for.
    looked: Option<Mono>,
    /// They are to be looked for again then.
    look_at: Option<Mono>,
    due: BTreeSet<(Mono, TaskId)>,
    /// Terminal tasks by when they are forgotten: the first to end is the first to go.
    over: BTreeSet<(Mono, TaskId)>,
    /// Failed tasks that kept their input, by when they ended.
    dead: BTreeMap<(Wall, TaskId), Option<Mono>>,
    /// The open parts of each held task.
    children: BTreeMap<HeldKey, BTreeSet<TaskId>>,
    /// The boot ids each worker told, the newest last: a late word of an older life is known.
    lives: BTreeMap<EntityId, Vec<BootId>>,
    /// Workers passed over until then.
    avoid: BTreeMap<EntityId, Mono>,
    /// Of the inputs of open tasks.
    input_bytes: usize,
    /// Of the inputs of `dead`, and those that are files.
    dead_bytes: usize,
    dead_files: dead::DeadFiles,
    /// Of the results kept.
    result_bytes: usize,
    files: files::Files,
    witnesses: witness::Witnesses,
    /// Of what runs said, kept for who watches.
    said_bytes: usize,
    /// Why those wait that end in this step for want of a worker.
    unmet: BTreeMap<TaskId, String>,
    effects: Vec<RequesterEffect>,
    ends: Vec<(EntityId, AttemptEnd)>,
    pace: Pace,
    /// The number of a task's first event in this life.
    first_event: u64,
    feed: Feed,
    /// Tasks whose next event somebody waits for.
    watched: BTreeSet<TaskId>,
    /// Those of them that had one.
    stirred: Vec<TaskId>,
    #[cfg(test)]
    pub(crate) planted: Option<super::Planted>,
}

impl Requester {
    /// An empty log.
    pub fn new(config: RequesterConfig) -> Requester {
        Requester {
            config,
            tasks: BTreeMap::new(),
            queue: Queue::default(),
            at_worker: BTreeMap::new(),
            behind: BTreeMap::new(),
            promised: BTreeMap::new(),
            by_key: BTreeMap::new(),
            counts: Counts::default(),
            newest: Wall(0),
            stirs: false,
            looked: None,
            look_at: None,
            due: BTreeSet::new(),
            over: BTreeSet::new(),
            dead: BTreeMap::new(),
            dead_bytes: 0,
            dead_files: dead::DeadFiles::default(),
            children: BTreeMap::new(),
            lives: BTreeMap::new(),
            avoid: BTreeMap::new(),
            input_bytes: 0,
            result_bytes: 0,
            files: files::Files::default(),
            witnesses: witness::Witnesses::default(),
            said_bytes: 0,
            unmet: BTreeMap::new(),
            effects: Vec::new(),
            ends: Vec::new(),
            pace: Pace::default(),
            first_event: 1,
            feed: Feed::new(FEED_MAX_EVENTS, FEED_MAX_BYTES),
            watched: BTreeSet::new(),
            stirred: Vec::new(),
            #[cfg(test)]
            planted: None,
        }
    }

    /// Stops a task. Nothing happens to one that is terminal, nor to a part, which ends with the
    /// task that it is of: its vote would be missing.
    ///
    /// Returns what an acknowledgement rests on, and whether the task was stopped; none for an
    /// unknown task.
    pub fn cancel(&mut self, id: TaskId, step: &mut Step<'_>) -> Option<(BatchId, bool)> {
        let record = &self.tasks.get(&id)?.record;
        let open = !record.state.is_terminal() && record.part.is_none();
        if open {
            self.set_outcome(id, "canceled", true, step);
            self.finish(
                id,
                TaskState::Canceled,
                Some("canceled by its requester".into()),
                step,
            );
        }
        Some((self.tasks[&id].written, open))
    }

    /// Does what the time demands.
    pub fn tick(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        while let Some((at, id)) = self.due.first().copied() {
            if at > now {
                break;
            }
            let task = &self.tasks[&id];
            if task.deadline <= now && task.record.part.is_none() {
                self.out_of_time(id, step);
                continue;
            }
            match task.phase {
                Phase::Resting { .. } if task.record.agreement.is_some() => {
                    self.enter(id, Phase::gathering(now));
                }
                Phase::Resting { .. } => self.enter(id, Phase::Waiting),
                Phase::Gathering { .. } => self.gather(id, step),
                Phase::Offered { .. } => self.lapse(id, step),
                Phase::Leased { .. } => self.lose(id, "its lease ran out", step),
                Phase::Waiting | Phase::Promised { .. } | Phase::Over => {
                    unreachable!("these are due at the deadline only")
                }
            }
        }
        let avoided = self.avoid.len();
        self.avoid.retain(|_, until| *until > now);
        self.stirs |= self.avoid.len() < avoided;
        self.prune(step);
    }

    fn finish(
        &mut self,
        id: TaskId,
        state: TaskState,
        reason: Option<String>,
        step: &mut Step<'_>,
    ) {
        self.end_event(id, state, reason.as_deref(), step);
        self.forget_said(id);
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        let told = task
            .phase
            .worker()
            .filter(|_| state != TaskState::Completed);
        task.record.state = state;
        task.record.ended = Some(step.now.wall);
        task.record.reason = reason;
        let token = task.record.token;
        // Of a task that several do the whole is kept, with what its parts came to.
        task.record.dead = state == TaskState::Failed && task.record.part.is_none();
        let dead = task.record.dead;
        self.store(id, step);
        self.enter(id, Phase::Over);
        self.child_ended(id);
        match dead {
            true => self.keep_dead(id, step),
            false => {
                if self.open_whole(id).is_none() {
                    let forget_at = step.now.mono + self.config.keep.ended_ms;
                    self.over.insert((forget_at, id));
                }
                self.drop_input(id, step);
            }
        }
        if let Some(worker) = told {
            let items = vec![CancelItem { task_id: id, token }];
            self.effects.push(RequesterEffect::Cancel {
                worker,
                items,
                after: step.batch,
            });
        }
        self.effects.push(RequesterEffect::Finished {
            task: id,
            after: step.batch,
        });
        self.agreement_ends(id, step);
    }

    fn rest(&mut self, id: TaskId, wait_ms: u64, step: &mut Step<'_>) {
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        task.record.state = TaskState::Submitted;
        self.store(id, step);
        let phase = match wait_ms {
            0 => Phase::Waiting,
            _ => Phase::Resting {
                until: step.now.mono + wait_ms,
            },
        };
        self.enter(id, phase);
    }

    /// A task that was completed or canceled runs no more: its input is of no use.
    fn drop_input(&mut self, id: TaskId, step: &mut Step<'_>) {
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        self.input_bytes -= task.input.len();
        task.input = Vec::new();
        self.files.inputs.remove(&id);
        step.delete(Keyspace::TaskInput, id.0.as_bytes().to_vec());
    }

    /// Notes what became of the newest attempt. Stored with the next change of state.
    fn set_outcome(&mut self, id: TaskId, outcome: &str, over: bool, step: &Step<'_>) {
        self.attempt_event(id, outcome, step);
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        if let Some(attempt) = task.record.attempts.last_mut()
            && attempt.ended.is_none()
        {
            attempt.outcome = outcome.to_owned();
            attempt.ended = over.then_some(step.now.wall);
        }
    }

    /// Takes what the requester asks for since the last call.
    pub fn effects(&mut self) -> Vec<RequesterEffect> {
        std::mem::take(&mut self.effects)
    }

    /// Takes what became of attempts since the last call. Call it in the same step.
    pub fn take_ends(&mut self) -> Vec<(EntityId, AttemptEnd)> {
        std::mem::take(&mut self.ends)
    }

    /// When [`Requester::tick`] is next needed.
    pub fn next_deadline(&self) -> Option<Mono> {
        let due = self.due.first().map(|(at, _)| *at);
        // A waiting task may be assigned once a worker is no longer passed over.
        let avoid = self
            .avoid
            .values()
            .min()
            .copied()
            .filter(|_| !self.queue.is_empty());
        let look = self.look_at.filter(|_| !self.queue.is_empty());
        [due, avoid, look].into_iter().flatten().min()
    }

    /// One task's record, and the batch it rests on.
    pub fn task(&self, id: TaskId) -> Option<(&TaskRecord, BatchId)> {
        self.tasks.get(&id).map(|task| (&task.record, task.written))
    }

    /// Every task's record, in order of submission.
    pub fn tasks(&self) -> impl Iterator<Item = (&TaskRecord, BatchId)> {
        self.tasks.values().map(|task| (&task.record, task.written))
    }

    /// The tasks behind `after` by their ids, the newest first if `newest`.
    pub fn tasks_from(
        &self,
        after: Option<TaskId>,
        newest: bool,
    ) -> impl Iterator<Item = (&TaskRecord, BatchId)> {
        let behind = |id| (Bound::Excluded(id), Bound::Unbounded);
        let before = |id| (Bound::Unbounded, Bound::Excluded(id));
        let all = (Bound::Unbounded, Bound::Unbounded);
        let (up, down) = match newest {
            false => (Some(after.map_or(all, behind)), None),
            true => (None, Some(after.map_or(all, before))),
        };
        let up = up.into_iter().flat_map(|range| self.tasks.range(range));
        let down = down.into_iter();
        let down = down.flat_map(|range| self.tasks.range(range).rev());
        up.chain(down).map(|(_, task)| (&task.record, task.written))
    }

    /// A task's input.
    pub fn input(&self, id: TaskId) -> Option<&[u8]> {
        let task = self.tasks.get(&id)?;
        let part = task.record.part.as_ref();
        // Parts have the input of their whole.
        let from = part.map_or(Some(task), |part| self.tasks.get(&part.parent))?;
        Some(&from.input)
    }

    /// A completed task's result.
    pub fn result(&self, id: TaskId) -> Option<&[u8]> {
        self.tasks.get(&id).and_then(|task| task.result.as_deref())
    }

    /// What is left until a task's deadline.
    pub fn remaining_ms(&self, id: TaskId, now: Mono) -> Option<u64> {
        self.tasks.get(&id).map(|task| now.until(task.deadline))
    }

    /// When a task begins that waits for its start and nothing else.
    pub fn begins(&self, id: TaskId) -> Option<Wall> {
        let task = self.tasks.get(&id)?;
        let resting = matches!(task.phase, Phase::Resting { .. });
        (task.record.start_at).filter(|_| resting && task.record.token == FencingToken(0))
    }

    /// How long a lease runs.
    pub fn lease_ms(&self) -> u64 {
        self.config.lease_ms
    }

    /// The capabilities that tasks wait for.
    pub fn wanted(&self) -> Vec<Capability> {
        self.queue.capabilities()
    }

    /// The workers that have tasks of ours.
    pub fn workers(&self) -> impl Iterator<Item = EntityId> {
        self.at_worker.keys().copied().chain(self.promisers())
    }
}
