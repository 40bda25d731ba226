//! Offering: which waiting task goes to which worker, and what the worker answers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Candidate, Class, Phase, Requester, RequesterEffect};
use crate::proto::Step;
use crate::proto::task::record::{AttemptRecord, TaskRecord};
use crate::types::limits::LAPSES_MAX;
use crate::types::{BootId, Capability, EntityId, FencingToken, Mono, TaskId, TaskState};
use crate::wire::{AcceptAnswer, RefuseReason};

/// How long a worker that was busy or unreachable is passed over, at most.
const AVOID_BUSY_MS: u64 = 1_000;
const AVOID_UNREACHABLE_MS: u64 = 3_000;
const AVOID_SILENT_MS: u64 = 10_000;
const AVOID_UNFIT_MS: u64 = 30_000;
/// How long what may have changed elsewhere waits to be looked at.
const LOOK_MS: u64 = 50;

impl Requester {
    /// Gives waiting tasks to workers with room. `candidates` lists who offers a capability now.
    ///
    /// Where nothing of ours changed workers are looked for a few times a second and no more: who
    /// offers what is asked of the whole registry.
    pub fn assign(
        &mut self,
        step: &mut Step<'_>,
        mut candidates: impl FnMut(&Capability) -> Vec<Candidate>,
    ) {
        if self.queue.is_empty() || !self.is_time_to_look(step.now.mono) {
            return;
        }
        let mut offers: BTreeMap<EntityId, Vec<TaskId>> = BTreeMap::new();
        for capability in self.queue.capabilities() {
            let mut free = self.free(&capability, candidates(&capability), step.now.mono);
            let mut pass = self
                .queue
                .pass(&capability, |class| free.iter().any(|one| one.fits(class)));
            while let Some((id, ready, class)) = pass.next() {
                let task = &self.tasks[&id];
                let Some(at) = choose(&task.record, &task.class(), &free, step) else {
                    // Whoever could take this class is full.
                    continue;
                };
                free[at].room -= 1;
                let worker = free[at].worker;
                offers.entry(worker).or_default().push(id);
                self.open_attempt(id, worker, step);
                pass.go_on(&self.queue, ready, class);
            }
        }
        for (worker, tasks) in offers {
            self.effects.push(RequesterEffect::Delegate {
                worker,
                tasks,
                after: step.batch,
            });
        }
    }

    /// As if nobody had been looked for in a long time.
    #[cfg(test)]
    pub(crate) fn look_again(&mut self) {
        self.looked = None;
    }

    fn is_time_to_look(&mut self, now: Mono) -> bool {
        let next = self.looked.map(|at| at + LOOK_MS);
        if !self.stirs && next.is_some_and(|next| now < next) {
            self.look_at = next;
            return false;
        }
        self.looked = Some(now);
        self.look_at = None;
        self.stirs = false;
        true
    }

    /// The candidates that have room, and how much.
    fn free(&self, capability: &Capability, candidates: Vec<Candidate>, now: Mono) -> Vec<Free> {
        let passed_over =
            |worker: &EntityId| self.avoid.get(worker).is_some_and(|until| *until > now);
        let candidates = candidates.into_iter().filter(|c| !passed_over(&c.worker));
        candidates
            .map(|candidate| Free {
                worker: candidate.worker,
                standing: candidate.standing,
                room: (candidate.slots as usize)
                    .saturating_sub(self.taken(&candidate.worker, capability)),
            })
            .filter(|free| free.room > 0)
            .collect()
    }

    /// How many of the worker's slots for `capability` our tasks take.
    fn taken(&self, worker: &EntityId, capability: &Capability) -> usize {
        let held = self.at_worker.get(worker);
        held.and_then(|held| held.get(capability))
            .map_or(0, BTreeSet::len)
    }

    /// Stores the assignment and its token; the offer may leave once that is durable.
    pub(super) fn open_attempt(&mut self, id: TaskId, worker: EntityId, step: &mut Step<'_>) {
        self.offered_event(id, worker, step);
        let task = self
            .tasks
            .get_mut(&id)
            .expect("the queue names known tasks");
        let record = &mut task.record;
        record.token = FencingToken(record.token.0 + 1);
        record.worker = Some(worker);
        record.state = TaskState::Working;
        record.push_attempt(AttemptRecord {
            worker,
            token: record.token,
            started: step.now.wall,
            ended: None,
            outcome: "offered".into(),
        });
        self.store(id, step);
        let lapses = None;
        self.enter(id, Phase::Offered { worker, lapses });
    }

    /// These offers leave now, as far as they still stand: the time for an answer begins.
    pub fn offers_left(&mut self, offers: &[(TaskId, FencingToken)], now: Mono) {
        let lapses = Some(now + self.config.offer_lapse_ms);
        for (id, token) in offers {
            if self.is_offered(*id, *token)
                && let Some(worker) = self.tasks[id].phase.worker()
            {
                self.enter(*id, Phase::Offered { worker, lapses });
            }
        }
    }

    /// The offer could not be sent, or its answer did not come. An offer that may have arrived
    /// stands until it lapses.
    pub fn offer_failed(
        &mut self,
        worker: EntityId,
        offers: &[(TaskId, FencingToken)],
        step: &mut Step<'_>,
        sent: bool,
    ) {
        if sent {
            return;
        }
        self.pass_over(worker, AVOID_UNREACHABLE_MS, step);
        for (id, token) in offers {
            if self.is_offered(*id, *token) {
                self.withdraw(*id, 0, step);
            }
        }
    }

    /// The worker answered an offer.
    pub fn answered(
        &mut self,
        worker: EntityId,
        boot: BootId,
        offers: &[(TaskId, FencingToken)],
        answers: &[AcceptAnswer],
        step: &mut Step<'_>,
    ) {
        self.note_life(worker, boot);
        for ((id, token), answer) in offers.iter().zip(answers) {
            if !self.is_offered(*id, *token) {
                continue;
            }
            match answer {
                AcceptAnswer::Accepted => {
                    let until = step.now.mono + self.config.lease_ms;
                    self.set_outcome(*id, "working", false, step);
                    self.enter(
                        *id,
                        Phase::Leased {
                            worker,
                            boot: Some(boot),
                            until,
                        },
                    );
                }
                AcceptAnswer::Refused(reason) => {
                    let avoid_ms = match reason {
                        RefuseReason::Busy | RefuseReason::Stale => AVOID_BUSY_MS,
                        RefuseReason::Draining => AVOID_SILENT_MS,
                        RefuseReason::UnknownCapability
                        | RefuseReason::TooLarge
                        | RefuseReason::NotAllowed
                        | RefuseReason::Price => AVOID_UNFIT_MS,
                    };
                    self.pass_over(worker, avoid_ms, step);
                    self.withdraw(*id, 0, step);
                }
            }
        }
    }

    /// An offer went unanswered: nobody is known to have begun, so it is no loss. The attempt
    /// stays on record, for it may have begun all the same.
    pub(super) fn lapse(&mut self, id: TaskId, step: &mut Step<'_>) {
        let worker = self.tasks[&id]
            .record
            .worker
            .expect("an offer names its worker");
        self.pass_over(worker, AVOID_SILENT_MS, step);
        self.set_outcome(id, "lost: it did not answer the offer", true, step);
        let record = &mut self.tasks.get_mut(&id).expect("the caller found it").record;
        record.lapses += 1;
        let lapses = record.lapses;
        self.come_back(id, lapses, LAPSES_MAX, "offers of it went unanswered", step);
    }

    /// Nobody ran it: the attempt is taken back as if it had not been.
    pub(super) fn withdraw(&mut self, id: TaskId, wait_ms: u64, step: &mut Step<'_>) {
        self.withdrawn_event(id, step);
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        task.record.attempts.pop();
        self.rest(id, wait_ms, step);
    }

    pub(super) fn pass_over(&mut self, worker: EntityId, up_to_ms: u64, step: &mut Step<'_>) {
        let wait = up_to_ms / 4 + step.backoff_ms(0, up_to_ms - up_to_ms / 4, up_to_ms);
        self.avoid.insert(worker, step.now.mono + wait);
    }

    /// Whether this offer stands: under the task's token, and not answered yet.
    pub fn is_offered(&self, id: TaskId, token: FencingToken) -> bool {
        self.tasks.get(&id).is_some_and(|task| {
            task.record.token == token && matches!(task.phase, Phase::Offered { .. })
        })
    }
}

/// A worker with room.
struct Free {
    worker: EntityId,
    standing: u8,
    room: usize,
}

impl Free {
    fn fits(&self, class: &Class) -> bool {
        self.room > 0 && class.to.is_none_or(|to| to == self.worker)
    }
}

/// Among the workers that fit and have room: those that stand best, of these the least tried for
/// this task, then the freer of two at random.
fn choose(record: &TaskRecord, class: &Class, free: &[Free], step: &mut Step<'_>) -> Option<usize> {
    use rand::RngExt as _;
    let tries = |worker: &EntityId| {
        let attempts = record.attempts.iter();
        attempts.filter(|of| of.worker == *worker).count()
    };
    let rank = |one: &Free| (one.standing, tries(&one.worker));
    let fit = |at: &usize| free[*at].fits(class);
    let best = (0..free.len())
        .filter(fit)
        .map(|at| rank(&free[at]))
        .min()?;
    let pool: Vec<usize> = (0..free.len())
        .filter(|at| fit(at) && rank(&free[*at]) == best)
        .collect();
    let mut pick = || pool[step.rng.random_range(0..pool.len())];
    let (a, b) = (pick(), pick());
    Some(if free[a].room >= free[b].room { a } else { b })
}
