//! Work that waits here for a slot, offered to others who have slots free.
//!
//! Who offers a capability stands in the registry, how free they are they say when they are asked.
//! A worker with a task that has waited too long asks some of them, and gives back as much as those
//! have slots for that said so since it last did that. The requester moves the task, or does not.

use rand::seq::IteratorRandom as _;

use super::Node;
use crate::proto::Step;
use crate::proto::health::HealthState;
use crate::proto::task::Idle;
use crate::types::{Capability, EntityId, Mono, PeerId};

/// Nobody is asked more often than that what it can take on.
const ASK_EVERY_MS: u64 = 2_000;
const ASK_SELDOM_MS: u64 = 10_000;
/// How many are asked in one look.
const ASKED_MAX: usize = 8;
/// What somebody said of its slots counts for so long.
const FRESH_MS: u64 = 5_000;

impl Node {
    /// Hands over what has waited here too long, if others could begin it at once.
    pub(super) fn offer_to_idle(&mut self, step: &mut Step<'_>) {
        for capability in self.worker.overdue(step.now.mono) {
            let idle = self.idle(&capability, step.now.mono);
            self.worker.hand_over(&capability, idle, step);
            if self.worker.has_overdue(&capability, step.now.mono) {
                // What waits for an agent may do so for long.
                let every_ms = match self.worker.waiting() {
                    0 => ASK_SELDOM_MS,
                    _ => ASK_EVERY_MS,
                };
                self.ask_around(&capability, every_ms, step);
            }
        }
    }

    /// Who else said lately that it has slots free for `capability`.
    fn idle(&self, capability: &Capability, now: Mono) -> Vec<Idle> {
        let handed = self.worker.handed_at();
        let idle = self.registry.offering(capability).filter_map(|(entry, _)| {
            let known = self.health.of(&entry.body.peer_id())?;
            let said = known.slots(capability)?;
            let fresh = now.since(known.slots_at) < FRESH_MS
                && handed.is_none_or(|handed| known.slots_at > handed);
            let draining = known.status.is_some_and(|(status, _)| status.load.draining);
            let able = known.state == HealthState::Healthy && !draining && fresh;
            let one = Idle {
                worker: entry.body.entity_id,
                free: said.free,
                price: entry.body.price(capability),
            };
            (able && one.free > 0).then_some(one)
        });
        idle.collect()
    }

    /// Asks those who had no agent for `capability` whether they have one by now.
    pub(super) fn ask_unattended(&mut self, capability: &Capability, step: &mut Step<'_>) {
        let offering = self.registry.offering(capability);
        let peers = offering.map(|(entry, _)| entry.body.peer_id());
        let unattended = peers.filter(|peer| {
            let said = self
                .health
                .of(peer)
                .and_then(|known| known.slots(capability));
            said.is_some_and(|said| said.unattended) && self.sessions.with(peer).is_some()
        });
        let asked: Vec<PeerId> = unattended.sample(step.rng, ASKED_MAX);
        self.ask_each(asked, ASK_EVERY_MS, step);
    }

    /// Somebody looks at the peers. What they said of their capabilities may be old: they are asked,
    /// for the next look.
    pub(super) fn ask_for_a_look(&mut self, step: &mut Step<'_>) {
        let offering = { self.registry.entries() }
            .filter(|entry| !entry.body.capabilities.is_empty())
            .map(|entry| entry.body.peer_id());
        let near =
            offering.filter(|peer| self.peers.is_up(peer) && self.sessions.with(peer).is_some());
        let asked: Vec<PeerId> = near.sample(step.rng, ASKED_MAX);
        self.ask_each(asked, ASK_SELDOM_MS, step);
    }

    /// A worker had no room where we thought that it had.
    pub(super) fn ask_refuser(&mut self, worker: EntityId, step: &mut Step<'_>) {
        let peer = self.peer_of_entity(&worker);
        self.ask_each(peer.into_iter().collect(), ASK_EVERY_MS, step);
    }

    fn ask_around(&mut self, capability: &Capability, every_ms: u64, step: &mut Step<'_>) {
        let offering = self.registry.offering(capability);
        let peers = offering.map(|(entry, _)| entry.body.peer_id());
        let near =
            peers.filter(|peer| self.peers.is_up(peer) && self.sessions.with(peer).is_some());
        let asked: Vec<PeerId> = near.sample(step.rng, ASKED_MAX);
        self.ask_each(asked, every_ms, step);
    }

    fn ask_each(&mut self, asked: Vec<PeerId>, every_ms: u64, step: &mut Step<'_>) {
        for peer in asked {
            if self.health.may_ask(&peer, every_ms, step.now.mono) {
                self.ask_capabilities(peer, step);
            }
        }
    }
}
