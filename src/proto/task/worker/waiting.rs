//! What is accepted and waits for a slot, and what of it is handed to others who have one free.
//!
//! A task that finds its capability's slots taken gets a place behind those that wait already. The
//! place is in its row, so a restart begins where it was, and nothing that waits counts as run.
//! Places are given in the order of acceptance. Which task begins next is another matter: requesters
//! take turns, and each one's tasks go by their ranks (`turns`).
//!
//! # Invariants
//! - **B1** What waits has no run and no outcome, and is in `waiting` at its place.
//! - **B2** A task that was given back does not begin under the token that it was given back under.
//! - **B3** Nothing waits while a slot of its capability is free, from the end of a step on.
//! - **B4** What must stay is not handed over.
//! - **B5** Of one requester's tasks the one of the lowest rank begins first, and while another's wait,
//!   no two in a row are of one requester.

use std::collections::{BTreeMap, BTreeSet};

use super::turns::{Line, Rank};
use super::{Held, HeldKey, Phase, Worker, WorkerEffect};
use crate::proto::{Step, Violation};
use crate::types::limits::SUGGESTED_MAX;
use crate::types::{Capability, EntityId, Keyspace, Mono};
use crate::wire::TaskOutcome;

/// A task that waits longer may be handed over.
const PATIENCE_MS: u64 = 2_000;
/// Between two looks for others who could take it, and for those who could take what no agent
/// has fetched.
const LOOK_MS: u64 = 1_000;
const LOOK_UNFETCHED_MS: u64 = 10_000;

/// What one capability's slots cannot tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Serving {
    /// How many tasks may wait for a slot.
    pub queue: u32,
    /// Agents fetch its tasks.
    pub pull: bool,
    /// After how long without one it takes none; none: it takes them in any case.
    pub unattended_ms: Option<u64>,
}

/// Somebody else who could take tasks of a capability now, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    pub worker: EntityId,
    pub free: u32,
    /// What it asks for one task.
    pub price: u64,
}

/// The tasks that wait.
#[derive(Default)]
pub(super) struct Waiting {
    /// By capability, in the order of their places.
    places: BTreeMap<Capability, BTreeSet<(u64, HeldKey)>>,
    /// The same in the order in which they begin.
    lines: BTreeMap<Capability, Line>,
    /// Above all places and turns.
    next_place: u64,
    /// A slot may have come free for one of them.
    pub(super) stirs: bool,
    /// When others were last looked for.
    looked: Option<Mono>,
    /// When one was last handed over: what was known of others before that is no longer true.
    handed: Option<Mono>,
}

impl Waiting {
    pub(super) fn count(&self, capability: &Capability) -> usize {
        self.places.get(capability).map_or(0, BTreeSet::len)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = HeldKey> {
        self.places.values().flatten().map(|(_, key)| *key)
    }

    fn insert(&mut self, place: u64, key: HeldKey, held: &Held) {
        self.next_place = self.next_place.max(place + 1);
        let capability = &held.record.capability;
        let places = self.places.entry(capability.clone()).or_default();
        places.insert((place, key));
        if let Some(spot) = held.spot(key.task) {
            let line = self.lines.entry(capability.clone()).or_default();
            line.insert(key.requester, spot);
        }
    }

    fn remove(&mut self, key: HeldKey, held: &Held) {
        let capability = &held.record.capability;
        let (Some(spot), Some(places), Some(line)) = (
            held.spot(key.task),
            self.places.get_mut(capability),
            self.lines.get_mut(capability),
        ) else {
            return;
        };
        places.remove(&(spot.place, key));
        line.remove(key.requester, &spot);
        if places.is_empty() {
            self.places.remove(capability);
            self.lines.remove(capability);
        }
    }
}

impl Worker {
    /// How many tasks of a capability may wait for a slot.
    pub(super) fn queue(&self, capability: &Capability) -> u32 {
        let serving = self.config.serving.get(capability);
        serving.map_or(0, |serving| serving.queue)
    }

    /// The place behind all others.
    pub(super) fn last_place(&self) -> u64 {
        self.waiting.next_place
    }

    /// It waits at the place that its record says.
    pub(super) fn wait(&mut self, key: HeldKey, rank: Rank, now: Mono) {
        let held = self.held.get_mut(&key).expect("the caller holds it");
        let place = held.record.place.expect("who waits has a place");
        held.phase = Phase::Waiting { since: now, rank };
        self.waiting.insert(place, key, held);
        self.waiting.stirs = true;
        self.watch_lease(key, now);
    }

    /// Takes it from those that wait, if it does.
    pub(super) fn unwait(&mut self, key: HeldKey) {
        let held = &self.held[&key];
        self.waiting.remove(key, held);
    }

    /// Begins what there are slots for. What is out of time is given back.
    pub(super) fn begin_waiting(&mut self, step: &mut Step<'_>) {
        if !std::mem::take(&mut self.waiting.stirs) {
            return;
        }
        self.forget_recalls();
        let running = self.running_by_capability();
        let capabilities: Vec<Capability> = self.waiting.places.keys().cloned().collect();
        for capability in capabilities {
            let taken = running.get(&capability).copied().unwrap_or(0);
            let slots = self.slots(&capability).unwrap_or(0) as usize;
            let mut free = slots.saturating_sub(taken);
            while free > 0
                && let Some(key) = self.next_of(&capability)
            {
                self.unwait(key);
                if self.held[&key].deadline <= step.now.mono {
                    self.end(key, TaskOutcome::Released, step);
                    continue;
                }
                free -= 1;
                self.had_turn(&capability, key.requester);
                let held = self.held.get_mut(&key).expect("it waited");
                (held.record.place, held.record.queued) = (None, None);
                held.written = step.put(Keyspace::Held, key.to_bytes(), held.record.to_row());
                // Or an input that takes the node down would do so before it is counted.
                self.resumed = self.resumed.max(held.written);
                self.run(key, step.now.mono);
            }
        }
    }

    /// A draining worker begins nothing more.
    pub(super) fn give_back_waiting(&mut self, step: &mut Step<'_>) {
        if !self.is_draining() {
            return;
        }
        let waiting: Vec<HeldKey> = self.waiting.keys().collect();
        for key in waiting {
            self.end(key, TaskOutcome::Released, step);
        }
        self.recall_all();
    }

    /// The capabilities with tasks that have waited so long that others are to be looked for.
    pub fn overdue(&self, now: Mono) -> Vec<Capability> {
        if self.overdue_at().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let capabilities = self.waiting.places.keys().chain(self.attended.keys());
        let overdue = capabilities.filter(|capability| self.has_overdue(capability, now));
        let overdue: BTreeSet<Capability> = overdue.cloned().collect();
        overdue.into_iter().collect()
    }

    /// Whether a task of `capability` has waited so long.
    pub fn has_overdue(&self, capability: &Capability, now: Mono) -> bool {
        self.overdue_of(capability, now).next().is_some()
    }

    /// What would begin last first.
    fn overdue_of(&self, capability: &Capability, now: Mono) -> impl Iterator<Item = HeldKey> {
        let line = self.waiting.lines.get(capability).map(Line::in_order);
        let waiting = line.into_iter().flatten().rev();
        let waiting =
            waiting.filter(move |key| may_go(&self.held[key]).is_some_and(|at| at <= now));
        let unattended = self.is_unattended(capability, now);
        let runs = self.runs.values().filter(move |_| unattended);
        let runs = runs.filter(|key| self.held[key].record.capability == *capability);
        let unfetched = runs.filter(|key| self.unfetched_at(key).is_some());
        waiting.chain(unfetched.copied())
    }

    /// When the first run that no agent has fetched may be handed over.
    fn unfetched_first(&self) -> Option<Mono> {
        let runs = Some(self.runs.values()).filter(|_| !self.attended.is_empty());
        let unfetched = runs.into_iter().flatten();
        unfetched.filter_map(|key| self.unfetched_at(key)).min()
    }

    /// When [`Worker::overdue`] is next to be asked.
    pub(super) fn overdue_at(&self) -> Option<Mono> {
        // Who came later has not waited longer.
        let first = |places: &BTreeSet<(u64, HeldKey)>| {
            let mut places = places.iter();
            places.find_map(|(_, key)| may_go(&self.held[key]))
        };
        let waiting = self.waiting.places.values().filter_map(first).min();
        let looked = |first: Mono, every_ms| {
            let next = self.waiting.looked.map(|at| at + every_ms);
            next.map_or(first, |next| next.max(first))
        };
        let waiting = waiting.map(|first| looked(first, LOOK_MS));
        let unfetched = self.unfetched_first();
        let unfetched = unfetched.map(|first| looked(first, LOOK_UNFETCHED_MS));
        waiting.into_iter().chain(unfetched).min()
    }

    /// There is news of others: they may be looked for at once.
    pub fn look_again(&mut self) {
        self.waiting.looked = None;
    }

    /// What was known of others before that says nothing now.
    pub fn handed_at(&self) -> Option<Mono> {
        self.waiting.handed
    }

    /// Gives tasks of `capability` that have waited long back, as many as `idle` have slots free
    /// for; those first that would begin last, so the least urgent ones. What is next keeps its place.
    pub fn hand_over(&mut self, capability: &Capability, mut idle: Vec<Idle>, step: &mut Step<'_>) {
        let now = step.now.mono;
        self.waiting.looked = Some(now);
        let overdue: Vec<HeldKey> = self.overdue_of(capability, now).collect();
        for key in overdue {
            idle.retain(|one| one.free > 0);
            idle.sort_by_key(|one| (std::cmp::Reverse(one.free), one.worker));
            let budget = self.held[&key].record.budget;
            let reward = budget.map_or(0, |budget| budget.reward);
            let fits = |one: &&mut Idle| {
                one.worker != key.requester && (reward == 0 || one.price <= reward)
            };
            let mut fit = idle.iter_mut().filter(fits).take(SUGGESTED_MAX).peekable();
            let Some(first) = fit.peek_mut() else {
                continue;
            };
            first.free -= 1;
            let suggest = fit.map(|one| one.worker).collect();
            self.waiting.handed = Some(now);
            match self.run_of(&key) {
                Some(run) => self.recall(run, suggest),
                None => self.hand_back(key, suggest, step),
            }
        }
    }

    fn hand_back(&mut self, key: HeldKey, suggest: Vec<EntityId>, step: &mut Step<'_>) {
        self.end(key, TaskOutcome::HandedOver { suggest }, step);
        if self.begins_what_it_gave_back() {
            if let Phase::Ended { resend, .. } = self.held[&key].phase {
                self.resend.remove(&(resend, key));
            }
            self.run(key, step.now.mono);
        }
    }

    /// What is to begin next.
    fn next_of(&self, capability: &Capability) -> Option<HeldKey> {
        #[cfg(test)]
        if self.planted == Some(crate::proto::task::Planted::FirstCome) {
            let places = self.waiting.places.get(capability)?;
            return places.first().map(|(_, key)| *key);
        }
        self.waiting.lines.get(capability)?.first()
    }

    /// A task of `requester` begins: it is the others' turn.
    fn had_turn(&mut self, capability: &Capability, requester: EntityId) {
        #[cfg(test)]
        if self.planted == Some(crate::proto::task::Planted::NoTurns) {
            return;
        }
        let waiting = &mut self.waiting;
        if let Some(line) = waiting.lines.get_mut(capability) {
            line.had_turn(requester, waiting.next_place);
            waiting.next_place += 1;
        }
    }

    #[cfg(test)]
    fn begins_what_it_gave_back(&self) -> bool {
        self.planted == Some(crate::proto::task::Planted::BeginHandedOver)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the defect is planted by the tests")]
    fn begins_what_it_gave_back(&self) -> bool {
        false
    }

    /// Ends what goes on of a held task: its run, or its waiting.
    pub(super) fn halt(&mut self, key: HeldKey) {
        match self.held[&key].phase {
            Phase::Running { run } => {
                self.runs.remove(&run);
                self.waiting.stirs = true;
                self.effects.push(WorkerEffect::Kill { run });
            }
            Phase::Waiting { .. } => self.unwait(key),
            Phase::Ended { .. } | Phase::Tombstone => {}
        }
    }

    pub(super) fn running_by_capability(&self) -> BTreeMap<Capability, usize> {
        let mut running: BTreeMap<Capability, usize> = BTreeMap::new();
        for key in self.runs.values() {
            let capability = self.held[key].record.capability.clone();
            *running.entry(capability).or_default() += 1;
        }
        running
    }

    /// How many tasks wait for a slot.
    pub fn waiting(&self) -> usize {
        self.waiting.places.values().map(BTreeSet::len).sum()
    }

    /// B1 and B3.
    pub(super) fn check_waiting(&self) -> Result<(), Violation> {
        let mut waiting = 0;
        for (key, held) in &self.held {
            let Phase::Waiting { .. } = held.phase else {
                continue;
            };
            waiting += 1;
            let places = self.waiting.places.get(&held.record.capability);
            let line = self.waiting.lines.get(&held.record.capability);
            let placed = held.spot(key.task).is_some_and(|spot| {
                held.outcome.is_none()
                    && places.is_some_and(|places| places.contains(&(spot.place, *key)))
                    && line.is_some_and(|line| line.contains(key.requester, &spot))
            });
            Violation::unless(placed, "B1", || format!("{} waits nowhere", key.task))?;
        }
        Violation::unless(waiting == self.waiting(), "B1", || {
            format!("{waiting} tasks wait, {} have a place", self.waiting())
        })?;
        let running = self.running_by_capability();
        for (capability, places) in &self.waiting.places {
            let taken = running.get(capability).copied().unwrap_or(0);
            let slots = self.slots(capability).unwrap_or(0) as usize;
            Violation::unless(self.waiting.stirs || taken >= slots, "B3", || {
                format!(
                    "{} tasks wait, {taken} of {slots} slots are taken",
                    places.len()
                )
            })?;
        }
        Ok(())
    }
}

/// From when on it may be handed over; none if it must stay.
fn may_go(held: &Held) -> Option<Mono> {
    match held.phase {
        Phase::Waiting { since, .. } if !held.record.stay => Some(since + PATIENCE_MS),
        _ => None,
    }
}
