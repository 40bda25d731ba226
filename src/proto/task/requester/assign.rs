//! Offering: which waiting task goes to which worker, and what the worker answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::choice::{Candidate, Stand, Usual, choose, considered};
use super::{AttemptEnd, Phase, Requester, RequesterEffect, Task};
use crate::proto::Step;
use crate::proto::task::queue::Pass;
use crate::proto::task::record::{AttemptRecord, Considered, TaskRecord};
use crate::types::limits::{CONSIDERED_MAX, CONSIDERED_WAITING_MAX, LAPSES_MAX};
use crate::types::{BootId, Capability, EntityId, FencingToken, Mono, TaskId, TaskState};
use crate::wire::{AcceptAnswer, RefuseReason};

/// How long a worker that was busy or unreachable is passed over, at most.
const AVOID_BUSY_MS: u64 = 1_000;
const AVOID_UNREACHABLE_MS: u64 = 3_000;
const AVOID_SILENT_MS: u64 = 10_000;
pub(super) const AVOID_UNFIT_MS: u64 = 30_000;
/// Parts that nobody free may have, in one look; what stands behind them waits until some leave.
const KEPT_APART_MAX: usize = 1_024;
/// How long what may have changed elsewhere waits to be looked at.
const LOOK_MS: u64 = 50;

/// How an attempt stands that a worker has accepted.
pub(super) fn state_at(waits: bool) -> &'static str {
    match waits {
        true => "waiting",
        false => "working",
    }
}

impl Requester {
    /// Gives waiting tasks to workers with room. `candidates` lists who offers a capability now.
    ///
    /// Where nothing of ours changed workers are looked for a few times a second and no more: who
    /// offers what is asked of the whole registry.
    pub fn assign(
        &mut self,
        step: &mut Step<'_>,
        mut candidates: impl FnMut(&Capability) -> Arc<[Candidate]>,
    ) {
        if self.queue.is_empty() || !self.is_time_to_look(step.now.mono) {
            return;
        }
        let mut offers: BTreeMap<EntityId, Vec<TaskId>> = BTreeMap::new();
        for capability in self.queue.capabilities() {
            let candidates = candidates(&capability);
            let mut stands = self.stands(&capability, &candidates, step.now.mono);
            let mut pass = Pass::new(&capability);
            let mut kept_apart = 0;
            while stands.iter().any(Stand::takes) {
                let Some(look) = pass.next(&self.queue) else {
                    break;
                };
                let id = look.id;
                let fits = |one: &Stand<'_>| one.fits(&look.class);
                if !stands.iter().any(fits) {
                    continue;
                }
                let class = self.demands(id);
                let asked = self.asked(id, &class, step.now.mono);
                let Some(choice) = choose(&asked, &stands, step) else {
                    // A part may be kept from who has room, and what was handed over from who did
                    // that.
                    let kept = class.part || !asked.from.is_empty();
                    if kept && kept_apart < KEPT_APART_MAX {
                        kept_apart += 1;
                        pass.go_on(&self.queue, &look);
                    }
                    continue;
                };
                let seen = considered(&asked, &stands, Some(&choice), CONSIDERED_MAX);
                let Candidate {
                    worker, prefixes, ..
                } = stands[choice.at].of;
                let worker = *worker;
                self.note_networks(id, prefixes);
                stands[choice.at].give();
                offers.entry(worker).or_default().push(id);
                self.open_attempt(id, worker, seen, step);
                pass.given(&self.queue, &look);
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

    /// How many waiting tasks were ever looked at.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> usize {
        self.queue.looks.get()
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

    /// The candidates as they stand for the next task.
    fn stands<'a>(
        &self,
        capability: &Capability,
        candidates: &'a [Candidate],
        now: Mono,
    ) -> Vec<Stand<'a>> {
        let passed_over =
            |worker: &EntityId| self.avoid.get(worker).is_some_and(|until| *until > now);
        let usual = Usual::of(candidates);
        let stand = |of: &'a Candidate| {
            let taken = u32::try_from(self.taken(&of.worker, capability)).unwrap_or(u32::MAX);
            let behind = self.behind.contains_key(&(of.worker, capability.clone()));
            let free = of.slots.saturating_sub(taken);
            Stand {
                of,
                free: if behind { 0 } else { free },
                room: of.slots.saturating_add(of.queue).saturating_sub(taken),
                run_ms: self.pace.of(&of.worker, capability),
                passed_over: passed_over(&of.worker),
                usual,
            }
        };
        candidates.iter().map(stand).collect()
    }

    /// What keeps `candidates` from a task that waits, and how many more there are.
    pub fn considered(
        &self,
        id: TaskId,
        candidates: &[Candidate],
        now: Mono,
    ) -> (Vec<Considered>, u32) {
        let Some(task) = self.tasks.get(&id).filter(|of| of.phase == Phase::Waiting) else {
            return (Vec::new(), 0);
        };
        let stands = self.stands(&task.record.capability, candidates, now);
        let class = self.demands(id);
        let asked = self.asked(id, &class, now);
        considered(&asked, &stands, None, CONSIDERED_WAITING_MAX)
    }

    /// How many of the worker's slots for `capability` our tasks take.
    fn taken(&self, worker: &EntityId, capability: &Capability) -> usize {
        let held = self.at_worker.get(worker);
        held.and_then(|held| held.get(capability))
            .map_or(0, BTreeSet::len)
    }

    /// Stores the assignment and its token; the offer may leave once that is durable.
    fn open_attempt(
        &mut self,
        id: TaskId,
        worker: EntityId,
        (considered, others): (Vec<Considered>, u32),
        step: &mut Step<'_>,
    ) {
        self.offered_event(id, worker, step);
        let task = self
            .tasks
            .get_mut(&id)
            .expect("the queue names known tasks");
        task.handed.answered();
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
            considered,
            others,
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
                self.withdraw(*id, None, step);
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
                AcceptAnswer::Accepted | AcceptAnswer::Queued => {
                    let until = step.now.mono + self.config.lease_ms;
                    let waits = *answer == AcceptAnswer::Queued;
                    self.set_outcome(*id, state_at(waits), false, step);
                    if let Some(task) = self.tasks.get_mut(id) {
                        // How long it waits says nothing of how long it takes.
                        task.begun = Some(step.now.mono).filter(|_| !waits);
                    }
                    self.enter(
                        *id,
                        Phase::Leased {
                            worker,
                            boot: Some(boot),
                            until,
                            waits,
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
                    self.withdraw(*id, Some(*reason), step);
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
        self.judge(id, AttemptEnd::Lost, step);
        self.set_outcome(id, "lost: it did not answer the offer", true, step);
        let record = &mut self.tasks.get_mut(&id).expect("the caller found it").record;
        record.lapses += 1;
        let lapses = record.lapses;
        self.come_back(id, lapses, LAPSES_MAX, "offers of it went unanswered", step);
    }

    /// Nobody ran it: the attempt is taken back as if it had not been, and whoever was offered it
    /// has no say any more.
    fn withdraw(&mut self, id: TaskId, refused: Option<RefuseReason>, step: &mut Step<'_>) {
        self.in_vain_event(id, refused, step);
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        task.record.attempts.pop();
        self.dismiss(id);
        self.rest(id, 0, step);
    }

    pub(super) fn pass_over(&mut self, worker: EntityId, up_to_ms: u64, step: &mut Step<'_>) {
        let up_to_ms = self.avoid_ms(up_to_ms);
        let wait = up_to_ms / 4 + step.backoff_ms(0, up_to_ms - up_to_ms / 4, up_to_ms);
        self.avoid.insert(worker, step.now.mono + wait);
    }

    /// The tasks that no worker has, for checkers.
    pub fn unplaced(&self) -> impl Iterator<Item = &TaskRecord> {
        let unplaced = |task: &&Task| {
            let phase = &task.phase;
            matches!(
                phase,
                Phase::Waiting | Phase::Resting { .. } | Phase::Offered { .. }
            )
        };
        self.tasks
            .values()
            .filter(unplaced)
            .map(|task| &task.record)
    }

    /// Whether this offer stands: under the task's token, and not answered yet.
    pub fn is_offered(&self, id: TaskId, token: FencingToken) -> bool {
        self.tasks.get(&id).is_some_and(|task| {
            task.record.token == token && matches!(task.phase, Phase::Offered { .. })
        })
    }

    #[cfg(test)]
    fn avoid_ms(&self, up_to_ms: u64) -> u64 {
        match self.planted {
            Some(crate::proto::task::Planted::AvoidForGood) => 1 << 40,
            _ => up_to_ms,
        }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "a planted defect of the tests")]
    fn avoid_ms(&self, up_to_ms: u64) -> u64 {
        up_to_ms
    }
}
