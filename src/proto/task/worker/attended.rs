//! Capabilities whose tasks agents fetch, and whether any agent does.
//!
//! An agent that claims tasks, or waits for one, is there; an hour later it may be gone, and tasks
//! that were accepted for it would wait until their time is up. So a capability that nobody has
//! asked for tasks of for a while takes none and says so, until somebody does again; and what waits
//! there unclaimed is handed to somebody else, if there is somebody idle. Whether a run is claimed
//! the executor knows: it is asked to give it back, and does so only if nobody has it.

use std::collections::BTreeSet;

use super::{HeldKey, Phase, Worker, WorkerEffect};
use crate::proto::Step;
use crate::types::{Capability, EntityId, Mono, RunId};
use crate::wire::{FreeSlots, Offer, TaskOutcome};

impl Worker {
    /// From a start on there is as much time as after a claim.
    pub(super) fn expect_agents(&mut self, now: Mono) {
        let names = self.config.serving.keys().cloned().collect();
        self.attend(&names, 0, now);
    }

    /// An agent asks for tasks of these, and waits so long for one.
    pub fn attend(&mut self, capabilities: &BTreeSet<Capability>, wait_ms: u64, now: Mono) {
        for name in capabilities {
            let serving = self.config.serving.get(name);
            let Some(after_ms) = serving.and_then(|serving| serving.unattended_ms) else {
                continue;
            };
            let until = now + wait_ms.saturating_add(after_ms);
            let attended = self.attended.entry(name.clone()).or_default();
            *attended = until.max(*attended);
        }
    }

    /// The capabilities whose tasks agents fetch.
    pub fn fetched(&self) -> BTreeSet<Capability> {
        let fetched = self.config.serving.iter().filter(|(_, of)| of.pull);
        fetched.map(|(name, _)| name.clone()).collect()
    }

    /// Whether no agent has asked for tasks of it for long.
    pub(super) fn is_unattended(&self, capability: &Capability, now: Mono) -> bool {
        let until = self.attended.get(capability);
        until.is_some_and(|until| *until <= now)
    }

    /// Every capability with its slots, and how many of them are free.
    pub fn free_slots(&self, now: Mono) -> Vec<FreeSlots> {
        let running = self.running_by_capability();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let free_slots = |offer: &Offer| {
            let waiting = number(self.waiting.count(&offer.name));
            let running = number(running.get(&offer.name).copied().unwrap_or(0));
            let unattended = self.is_unattended(&offer.name, now);
            FreeSlots {
                name: offer.name.clone(),
                slots: offer.slots,
                waiting,
                queue: self.queue(&offer.name),
                unattended,
                free: match self.is_draining() || unattended || !self.disk_takes(0) {
                    true => 0,
                    false => offer.slots.saturating_sub(running.saturating_add(waiting)),
                },
            }
        };
        self.config.capabilities.iter().map(free_slots).collect()
    }

    /// When a run whose agent has not come is to be given back, if that is ever so.
    pub(super) fn unfetched_at(&self, key: &HeldKey) -> Option<Mono> {
        let record = &self.held[key].record;
        let until = self.attended.get(&record.capability).copied();
        until.filter(|_| !record.stay)
    }

    /// Asks for a run back that nobody may have begun.
    pub(super) fn recall(&mut self, run: RunId, suggest: Vec<EntityId>) {
        self.recalls.insert(run, suggest);
        self.effects.push(WorkerEffect::Recall { run });
    }

    /// A draining worker wants back what no agent has fetched.
    pub(super) fn recall_all(&mut self) {
        let pulled = |key: &HeldKey| {
            let serving = self.config.serving.get(&self.held[key].record.capability);
            serving.is_some_and(|serving| serving.pull)
        };
        let runs = self.runs.iter().filter(|(_, key)| pulled(key));
        let new = runs.filter(|(run, _)| !self.recalls.contains_key(run));
        let new: Vec<RunId> = new.map(|(run, _)| *run).collect();
        for run in new {
            self.recall(run, Vec::new());
        }
    }

    /// Nobody had begun it: it is given back as it was asked for.
    pub fn run_returned(&mut self, run: RunId, step: &mut Step<'_>) {
        let suggest = self.recalls.remove(&run).unwrap_or_default();
        let outcome = match suggest.is_empty() || self.is_draining() {
            true => TaskOutcome::Released,
            false => TaskOutcome::HandedOver { suggest },
        };
        self.run_ended(run, outcome, step);
    }

    /// Drops what was asked for of runs that have ended.
    pub(super) fn forget_recalls(&mut self) {
        let Worker { recalls, runs, .. } = self;
        recalls.retain(|run, _| runs.contains_key(run));
    }

    /// The run of a held task.
    pub(super) fn run_of(&self, key: &HeldKey) -> Option<RunId> {
        match self.held[key].phase {
            Phase::Running { run } => Some(run),
            _ => None,
        }
    }
}
