//! Offering: which waiting task goes to which worker, and what the worker answers.

use std::collections::BTreeMap;

use super::{Candidate, Phase, Requester, RequesterEffect};
use crate::proto::Step;
use crate::proto::task::record::{AttemptRecord, TaskRecord};
use crate::types::limits::ATTEMPTS_MAX;
use crate::types::{BootId, Capability, EntityId, FencingToken, TaskId, TaskState};
use crate::wire::{AcceptAnswer, RefuseReason};

/// How long a worker that was busy or unreachable is passed over, at most.
const AVOID_BUSY_MS: u64 = 1_000;
const AVOID_UNREACHABLE_MS: u64 = 3_000;
const AVOID_SILENT_MS: u64 = 10_000;
const AVOID_UNFIT_MS: u64 = 30_000;

impl Requester {
    /// Gives waiting tasks to workers with room. `candidates` lists who offers a capability now.
    pub fn assign(
        &mut self,
        step: &mut Step<'_>,
        mut candidates: impl FnMut(&Capability) -> Vec<Candidate>,
    ) {
        let mut offers: BTreeMap<EntityId, Vec<TaskId>> = BTreeMap::new();
        for capability in self.queue.capabilities() {
            let mut free: Vec<(EntityId, usize)> = candidates(&capability)
                .into_iter()
                .filter(|c| {
                    self.avoid
                        .get(&c.worker)
                        .is_none_or(|until| *until <= step.now.mono)
                })
                .map(|c| {
                    let taken = self.taken(&c.worker, &capability);
                    (c.worker, (c.slots as usize).saturating_sub(taken))
                })
                .collect();
            let mut ready = self.queue.ready(&capability);
            while free.iter().any(|(_, room)| *room > 0) {
                let Some(id) = ready.next(&self.queue) else {
                    break;
                };
                let task = &self.tasks[&id];
                if let Some(at) = choose(&task.record, &free, step) {
                    free[at].1 -= 1;
                    offers.entry(free[at].0).or_default().push(id);
                    self.open_attempt(id, free[at].0, step);
                }
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

    /// How many of the worker's slots for `capability` our tasks take.
    fn taken(&self, worker: &EntityId, capability: &Capability) -> usize {
        let held = self.at_worker.get(worker).into_iter().flatten();
        held.filter(|id| self.tasks[id].record.capability == *capability)
            .count()
    }

    /// Stores the assignment and its token; the offer may leave once that is durable.
    pub(super) fn open_attempt(&mut self, id: TaskId, worker: EntityId, step: &mut Step<'_>) {
        let lapses = step.now.mono + self.config.offer_lapse_ms;
        self.offered_event(id, worker, step);
        let task = self
            .tasks
            .get_mut(&id)
            .expect("the queue names known tasks");
        let record = &mut task.record;
        record.token = FencingToken(record.token.0 + 1);
        record.worker = Some(worker);
        record.state = TaskState::Working;
        if record.attempts.len() >= ATTEMPTS_MAX {
            record.attempts.remove(0);
        }
        record.attempts.push(AttemptRecord {
            worker,
            token: record.token,
            started: step.now.wall,
            ended: None,
            outcome: "offered".into(),
        });
        self.store(id, step);
        self.enter(id, Phase::Offered { worker, lapses });
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
        self.rest(id, 0, step);
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

    pub(super) fn is_offered(&self, id: TaskId, token: FencingToken) -> bool {
        self.tasks.get(&id).is_some_and(|task| {
            task.record.token == token && matches!(task.phase, Phase::Offered { .. })
        })
    }
}

/// Among the workers with room: the least tried for this task, then the freer of two at random.
fn choose(record: &TaskRecord, free: &[(EntityId, usize)], step: &mut Step<'_>) -> Option<usize> {
    use rand::RngExt as _;
    let tries = |worker: &EntityId| {
        record
            .attempts
            .iter()
            .filter(|attempt| attempt.worker == *worker)
            .count()
    };
    let fit =
        |(worker, room): &(EntityId, usize)| *room > 0 && record.to.is_none_or(|to| to == *worker);
    let least = free
        .iter()
        .filter(|f| fit(f))
        .map(|(worker, _)| tries(worker))
        .min()?;
    let pool: Vec<usize> = (0..free.len())
        .filter(|at| fit(&free[*at]) && tries(&free[*at].0) == least)
        .collect();
    let mut pick = || pool[step.rng.random_range(0..pool.len())];
    let (a, b) = (pick(), pick());
    Some(if free[a].1 >= free[b].1 { a } else { b })
}
