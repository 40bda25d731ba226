//! The worker's side: what we hold for others, from the acceptance to the acknowledged result.

use std::collections::{BTreeMap, BTreeSet};

mod attended;
mod budget;
mod check;
mod commit;
mod drain;
mod files;
mod handover;
mod offers;
mod orphan;
mod places;
mod poison;
mod sizes;
mod space;
mod turns;
mod waiting;

pub use waiting::{Idle, Serving};

use super::bounds::Bounds;
use super::record::{HeldKey, HeldRecord, HeldState, held_key, read};
use super::{RowError, forget_at};
use crate::proto::Step;
use crate::types::limits::{LIST_MAX_ITEMS, TERMINAL_KEEP_MS};
use crate::types::{
    BatchId, Capability, EntityId, FencingToken, Keyspace, Mono, Now, Row, RunId, TaskId,
};
use crate::wire::{CancelItem, Offer, RenewAnswer, RenewItem, TaskOutcome, cbor};

/// The worker's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerConfig {
    /// Who we are.
    pub entity: EntityId,
    pub capabilities: Vec<Offer>,
    /// What else is to be known of them; what is not named has the default.
    pub serving: BTreeMap<Capability, Serving>,
    pub renew_ms: u64,
    /// The largest input that comes as a file.
    pub payload_max_bytes: u64,
    /// The first run's number: another at each start, so that a late word of an earlier life's
    /// run finds nobody.
    pub first_run: u64,
    /// The process did not end, so none of its runs took it down.
    pub goes_on: bool,
    pub bounds: Bounds,
}

/// What the worker asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerEffect {
    Run {
        run: RunId,
        key: HeldKey,
        capability: Capability,
        token: FencingToken,
        timeout_ms: u64,
    },
    Kill {
        run: RunId,
    },
    /// Give back a run that waits for an agent and that none has fetched.
    Recall {
        run: RunId,
    },
    /// Tell the requester all we hold of it.
    Renew {
        requester: EntityId,
        items: Vec<RenewItem>,
        after: BatchId,
    },
    /// A task that may have handed parts of itself on runs no more.
    Over {
        key: HeldKey,
    },
    /// Hand over what ended, once `after` is durable.
    Results {
        requester: EntityId,
        tasks: Vec<(TaskId, FencingToken)>,
        after: BatchId,
    },
}

/// Where a held task is. Not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// For a slot.
    Waiting {
        since: Mono,
        rank: turns::Rank,
    },
    Running {
        run: RunId,
    },
    /// To be sent at `resend`, again and again until it is acknowledged.
    Ended {
        resend: Mono,
        tries: u32,
    },
    Tombstone,
}

struct Held {
    record: HeldRecord,
    input: Vec<u8>,
    outcome: Option<TaskOutcome>,
    phase: Phase,
    deadline: Mono,
    /// Until when the lease is surely ours: counted from the sending of a renewal that was
    /// answered. Nothing that needs the lease may begin after it.
    lease_until: Option<Mono>,
    /// When its run is ended for want of a lease, if it is one that stops.
    stops_at: Option<Mono>,
    /// When an outcome that nobody takes, or a tombstone, is forgotten.
    keep_until: Mono,
    written: BatchId,
    promise: commit::Promise,
    word: budget::Word,
}

/// The worker's core.
pub struct Worker {
    config: WorkerConfig,
    held: BTreeMap<HeldKey, Held>,
    /// Those that are no tombstones, which may be many more.
    live: BTreeMap<EntityId, BTreeSet<TaskId>>,
    runs: BTreeMap<RunId, HeldKey>,
    waiting: waiting::Waiting,
    /// Until when there is an agent for these, as far as we know.
    attended: BTreeMap<Capability, Mono>,
    /// The runs that were asked back, and whom to name then.
    recalls: BTreeMap<RunId, Vec<EntityId>>,
    next_run: u64,
    /// When each requester is next told what we hold.
    renew_at: BTreeMap<EntityId, Mono>,
    resend: BTreeSet<(Mono, HeldKey)>,
    /// Runs that end with their lease, by when that is.
    orphans: BTreeSet<(Mono, HeldKey)>,
    /// By when they are forgotten.
    tombstones: BTreeSet<(Mono, HeldKey)>,
    /// Those whose requester asked for the result's file.
    asked: BTreeSet<HeldKey>,
    /// Of inputs and outcomes.
    bytes: usize,
    space: space::Space,
    draining: Option<drain::Drain>,
    /// When all that runs again after the start was counted.
    resumed: BatchId,
    effects: Vec<WorkerEffect>,
    #[cfg(test)]
    pub(crate) planted: Option<super::Planted>,
}

impl Worker {
    /// Holds nothing yet.
    pub fn new(config: WorkerConfig) -> Worker {
        Worker {
            next_run: config.first_run,
            config,
            held: BTreeMap::new(),
            live: BTreeMap::new(),
            runs: BTreeMap::new(),
            waiting: waiting::Waiting::default(),
            attended: BTreeMap::new(),
            recalls: BTreeMap::new(),
            renew_at: BTreeMap::new(),
            resend: BTreeSet::new(),
            orphans: BTreeSet::new(),
            tombstones: BTreeSet::new(),
            asked: BTreeSet::new(),
            bytes: 0,
            space: space::Space::default(),
            draining: None,
            resumed: BatchId::NONE,
            effects: Vec::new(),
            #[cfg(test)]
            planted: None,
        }
    }

    /// Takes one stored row back; call [`Worker::resume`] after the last.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn load(&mut self, row: &Row, now: Now) -> Result<(), RowError> {
        match row.space {
            Keyspace::Held => {
                let record = HeldRecord::from_row(&row.value)?;
                let left_ms = record.deadline.0.saturating_sub(now.wall.0);
                let held = Held {
                    record,
                    input: Vec::new(),
                    outcome: None,
                    phase: Phase::Tombstone,
                    deadline: now.mono + left_ms,
                    lease_until: None,
                    stops_at: None,
                    keep_until: now.mono + TERMINAL_KEEP_MS,
                    written: BatchId::NONE,
                    promise: commit::Promise::default(),
                    word: budget::Word::default(),
                };
                self.held.insert(held_key(&row.key)?, held);
            }
            Keyspace::HeldInput => {
                if let Some(held) = self.held.get_mut(&held_key(&row.key)?) {
                    self.bytes += row.value.len();
                    held.input = row.value.clone();
                }
            }
            Keyspace::HeldResult => {
                let outcome = read("held result", &row.value)?;
                if let Some(held) = self.held.get_mut(&held_key(&row.key)?) {
                    self.bytes += outcome_bytes(&outcome);
                    held.outcome = Some(outcome);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// After a start: what was accepted runs again, what ended is sent again.
    pub fn resume(&mut self, step: &mut Step<'_>) {
        self.expect_agents(step.now.mono);
        let keys: Vec<HeldKey> = self.held.keys().copied().collect();
        for key in keys {
            let held = &self.held[&key];
            match (held.record.state, held.outcome.is_some()) {
                (HeldState::Tombstone, _) => {
                    let forget_at = forget_at(held.record.since, TERMINAL_KEEP_MS, step.now);
                    self.entomb(key, forget_at);
                }
                (_, true) => self.await_ack(key, step.now.mono, 0),
                (_, false) if self.slots(&held.record.capability).is_none() => {
                    self.end(key, TaskOutcome::Released, step);
                }
                (_, false) if held.record.place.is_some() => {
                    let rank = turns::Rank::of(&held.record, step.now);
                    self.wait(key, rank, step.now.mono);
                }
                (_, false) => self.run_again(key, step),
            }
            if self.held[&key].phase != Phase::Tombstone {
                self.live.entry(key.requester).or_default().insert(key.task);
                self.renew_at.entry(key.requester).or_insert(step.now.mono);
            }
        }
    }

    fn run(&mut self, key: HeldKey, now: Mono) {
        let run = RunId(self.next_run);
        self.next_run += 1;
        let held = self.held.get_mut(&key).expect("the caller holds it");
        held.phase = Phase::Running { run };
        self.runs.insert(run, key);
        self.watch_lease(key, now);
        let held = &self.held[&key];
        let timeout_ms = now.until(held.deadline);
        let capability = held.record.capability.clone();
        let token = held.record.token;
        self.effects.push(WorkerEffect::Run {
            run,
            key,
            capability,
            token,
            timeout_ms,
        });
    }

    /// The task that a run is for.
    pub fn held_by(&self, run: RunId) -> Option<HeldKey> {
        self.runs.get(&run).copied()
    }

    /// The same, and the token it is held under.
    pub fn token_of(&self, run: RunId) -> Option<(HeldKey, FencingToken)> {
        let key = self.held_by(run)?;
        Some((key, self.held.get(&key)?.record.token))
    }

    /// Whether a task's requester wants to hear what its run says.
    pub fn streams(&self, key: HeldKey) -> bool {
        self.held.get(&key).is_some_and(|held| held.record.stream)
    }

    /// The batch that last wrote a held task.
    pub fn written(&self, key: HeldKey) -> BatchId {
        let held = self.held.get(&key);
        held.map_or(BatchId::NONE, |held| held.written)
    }

    /// A run ended by itself.
    pub fn run_ended(&mut self, run: RunId, outcome: TaskOutcome, step: &mut Step<'_>) {
        if let Some(key) = self.runs.remove(&run) {
            self.waiting.stirs = true;
            self.end(key, outcome, step);
        }
    }

    fn end(&mut self, key: HeldKey, outcome: TaskOutcome, step: &mut Step<'_>) {
        self.unwatch_lease(key);
        self.unwait(key);
        let outcome = self.promised(key, outcome, step);
        let held = self.held.get_mut(&key).expect("the caller holds it");
        held.record.state = HeldState::Ended;
        held.record.since = step.now.wall;
        self.bytes = self.bytes - held.input.len() + outcome_bytes(&outcome);
        held.input = Vec::new();
        held.record.input_file = None;
        step.delete(Keyspace::HeldInput, key.to_bytes());
        let _ = step.put(Keyspace::HeldResult, key.to_bytes(), cbor::encode(&outcome));
        held.written = step.put(Keyspace::Held, key.to_bytes(), held.record.to_row());
        held.outcome = Some(outcome);
        if held.record.budget.is_some() {
            self.effects.push(WorkerEffect::Over { key });
        }
        // Nothing more will be done under it; and it may go elsewhere once the requester knows.
        held.lease_until = None;
        self.await_ack(key, step.now.mono, 0);
    }

    /// The requester answered a renewal that left at `sent`.
    pub fn renewed(
        &mut self,
        requester: EntityId,
        items: &[RenewItem],
        answers: &[RenewAnswer],
        sent: Mono,
        step: &mut Step<'_>,
    ) {
        for (item, answer) in items.iter().zip(answers) {
            let key = HeldKey {
                requester,
                task: item.task_id,
            };
            let Some(held) = self.held.get_mut(&key) else {
                continue;
            };
            if held.record.token != item.token || held.phase == Phase::Tombstone {
                continue;
            }
            match answer {
                RenewAnswer::Renewed { .. } if held.outcome.is_some() => {}
                RenewAnswer::Renewed { lease_ms } => {
                    held.lease_until = Some(sent + orphan::sure(*lease_ms));
                    held.word.heard(item.spent);
                    if matches!(held.phase, Phase::Running { .. } | Phase::Waiting { .. }) {
                        self.watch_lease(key, sent);
                    }
                }
                RenewAnswer::Fenced => self.bury(key, step),
            }
        }
    }

    /// The requester wants these stopped.
    pub fn canceled(&mut self, requester: EntityId, items: &[CancelItem], step: &mut Step<'_>) {
        for item in items {
            let key = HeldKey {
                requester,
                task: item.task_id,
            };
            let current = self.held.get(&key).is_some_and(|held| {
                held.phase != Phase::Tombstone && held.record.token <= item.token
            });
            if current {
                self.bury(key, step);
            }
        }
    }

    /// Nothing more is to be done with it; what remains knows late duplicates.
    fn bury(&mut self, key: HeldKey, step: &mut Step<'_>) {
        self.unwatch_lease(key);
        self.halt(key);
        let held = self.held.get_mut(&key).expect("the caller holds it");
        match held.phase {
            Phase::Running { .. } | Phase::Waiting { .. } => {}
            Phase::Ended { resend, .. } => {
                self.resend.remove(&(resend, key));
            }
            Phase::Tombstone => return,
        }
        held.phase = Phase::Tombstone;
        held.record.state = HeldState::Tombstone;
        held.record.since = step.now.wall;
        self.bytes -= held.input.len() + held.outcome.as_ref().map_or(0, outcome_bytes);
        held.input = Vec::new();
        held.outcome = None;
        held.record.input_file = None;
        self.asked.remove(&key);
        self.space.ended.remove(&key);
        held.lease_until = None;
        if held.record.budget.is_some() {
            self.effects.push(WorkerEffect::Over { key });
        }
        step.delete(Keyspace::HeldInput, key.to_bytes());
        step.delete(Keyspace::HeldResult, key.to_bytes());
        held.written = step.put(Keyspace::Held, key.to_bytes(), held.record.to_row());
        self.entomb(key, step.now.mono + TERMINAL_KEEP_MS);
        if let Some(live) = self.live.get_mut(&key.requester) {
            live.remove(&key.task);
            if live.is_empty() {
                self.live.remove(&key.requester);
                self.renew_at.remove(&key.requester);
            }
        }
    }

    fn entomb(&mut self, key: HeldKey, forget_at: Mono) {
        let held = self.held.get_mut(&key).expect("the caller holds it");
        held.keep_until = forget_at;
        self.tombstones.insert((forget_at, key));
    }

    /// Does what the time demands.
    pub fn tick(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        let due: Vec<EntityId> = self
            .renew_at
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(requester, _)| *requester)
            .collect();
        for requester in due {
            let mut after = BatchId::NONE;
            let items: Vec<RenewItem> = self
                .live_of(requester)
                .take(LIST_MAX_ITEMS)
                .map(|(key, held)| {
                    after = after.max(held.written);
                    RenewItem {
                        task_id: key.task,
                        token: held.record.token,
                        spent: held.spent_or_asked(),
                        waiting: matches!(held.phase, Phase::Waiting { .. }),
                    }
                })
                .collect();
            if items.is_empty() {
                self.renew_at.remove(&requester);
            } else {
                self.renew_at.insert(requester, now + self.config.renew_ms);
            }
            self.effects.push(WorkerEffect::Renew {
                requester,
                items,
                after,
            });
        }
        self.give_back(step);
        self.give_back_waiting(step);
        self.stop_orphans(step);
        self.begin_waiting(step);
        self.send_results(step);
        self.prune(step);
    }

    fn prune(&mut self, step: &mut Step<'_>) {
        while let Some((forget_at, key)) = self.tombstones.first().copied() {
            let fits = self.tombstones.len() <= self.config.bounds.tombstones;
            if forget_at > step.now.mono && (fits || self.forgets_nothing()) {
                break;
            }
            self.tombstones.pop_first();
            self.held.remove(&key);
            step.delete(Keyspace::Held, key.to_bytes());
        }
    }

    fn live_of(&self, requester: EntityId) -> impl Iterator<Item = (HeldKey, &Held)> {
        let live = self.live.get(&requester).into_iter().flatten();
        live.map(move |task| {
            let key = HeldKey {
                requester,
                task: *task,
            };
            (key, &self.held[&key])
        })
    }

    /// Takes what the worker asks for since the last call.
    pub fn effects(&mut self) -> Vec<WorkerEffect> {
        std::mem::take(&mut self.effects)
    }

    /// When [`Worker::tick`] is next needed.
    pub fn next_deadline(&self) -> Option<Mono> {
        let renew = self.renew_at.values().min().copied();
        let resend = self.resend.first().map(|(at, _)| *at);
        let give_back = self.give_back_at();
        let orphans = self.stop_orphans_at();
        // Something of this step is still to be seen to.
        let begin = self.waiting.stirs && self.waiting() > 0;
        let begin = begin.then(Mono::default);
        [renew, resend, give_back, orphans, begin, self.overdue_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// A held task's input.
    pub fn input(&self, key: HeldKey) -> Option<&[u8]> {
        self.held.get(&key).map(|held| &held.input[..])
    }

    /// What is to be handed over of a held task, the token for it, and the batch that last wrote
    /// either.
    pub fn to_hand_over(&self, key: HeldKey) -> Option<(FencingToken, TaskOutcome, BatchId)> {
        let outcome = self.outcome(key)?;
        let held = self.held.get(&key)?;
        Some((held.record.token, outcome, held.written))
    }

    /// How many tasks are held: running, or ended and not acknowledged.
    pub fn len(&self) -> usize {
        self.held.len() - self.tombstones.len()
    }

    /// The same, and those that were.
    pub fn known(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The requesters we hold tasks of.
    pub fn requesters(&self) -> impl Iterator<Item = EntityId> {
        self.renew_at.keys().copied()
    }

    /// The tasks whose lease is surely ours at `now`.
    pub fn live_leases(&self, now: Mono) -> impl Iterator<Item = HeldKey> {
        self.held
            .iter()
            .filter(move |(_, held)| held.lease_until.is_some_and(|until| now < until))
            .map(|(key, _)| *key)
    }
}

/// What an outcome takes in memory, nearly.
fn outcome_bytes(outcome: &TaskOutcome) -> usize {
    match outcome {
        TaskOutcome::Completed { result } => result.len(),
        TaskOutcome::Revealed { result, .. } => result.len(),
        TaskOutcome::Failed { reason, .. } => reason.len(),
        TaskOutcome::Released
        | TaskOutcome::HandedOver { .. }
        | TaskOutcome::Committed { .. }
        | TaskOutcome::CompletedFile { .. } => 0,
    }
}
