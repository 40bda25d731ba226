//! Who could take our tasks: what every other core knows of a worker, put together; and what their
//! ends say of who took them.
//!
//! It is asked for with every task that comes or goes and changes seldom, so it is kept by
//! capability, and dropped when the registry, a connection, a session or somebody's health changes;
//! in any case after [`KEEP_MS`], so that nothing that goes unnoticed here is wrong for long.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Node;
use super::health::Standing;
use crate::proto::Step;
use crate::proto::guard::Guard;
use crate::proto::health::Health;
use crate::proto::peers::Peers;
use crate::proto::registry::{Entry, Registry};
use crate::proto::score::{Judged, Scores};
use crate::proto::session::Sessions;
use crate::proto::task::{AttemptEnd, Bar, Candidate, Requester};
use crate::types::{Capability, Mono, Now, Prefix};

/// As often as the requester looks for workers when nothing of its own changed.
const KEEP_MS: u64 = 50;

/// Candidates by capability, as they were a moment ago.
#[derive(Default)]
pub(super) struct Candidates {
    known: BTreeMap<Capability, Arc<[Candidate]>>,
    since: Mono,
    /// Of the registry they come from.
    revision: u64,
}

impl Candidates {
    /// Something they were made of has changed.
    pub(super) fn drop_all(&mut self) {
        self.known.clear();
    }

    fn of(&mut self, capability: &Capability, sources: &Sources<'_>) -> Arc<[Candidate]> {
        let revision = sources.registry.revision();
        let old = sources.now.mono.since(self.since) >= KEEP_MS || self.revision != revision;
        if self.known.is_empty() || old {
            self.known.clear();
            (self.since, self.revision) = (sources.now.mono, revision);
        }
        if let Some(known) = self.known.get(capability) {
            return Arc::clone(known);
        }
        let made = sources.candidates(capability);
        self.known.insert(capability.clone(), Arc::clone(&made));
        made
    }
}

/// What candidates are made of.
struct Sources<'a> {
    registry: &'a Registry,
    peers: &'a Peers,
    sessions: &'a Sessions,
    health: &'a Health,
    guard: &'a Guard,
    scores: &'a Scores,
    now: Now,
}

impl Sources<'_> {
    fn candidates(&self, capability: &Capability) -> Arc<[Candidate]> {
        let offering = self.registry.offering(capability);
        let mut known: Vec<Candidate> = offering
            .map(|(entry, slots)| self.candidate(capability, entry, slots))
            .collect();
        // Who cannot be reached gets work only where nobody else is known.
        let lost = Standing::Unreachable as u8;
        let somebody = |one: &Candidate| one.bar.is_none() && one.standing != lost;
        if known.iter().any(somebody) {
            for one in known.iter_mut().filter(|one| one.standing == lost) {
                one.bar = one.bar.or(Some(Bar::Unreachable));
            }
        }
        known.into()
    }

    fn candidate(&self, capability: &Capability, entry: &Entry, slots: u32) -> Candidate {
        let peer = entry.body.peer_id();
        let health = self.health.of(&peer);
        let said = health.and_then(|known| known.slots(capability));
        let status = health.and_then(|known| known.status);
        let bar = if self.peers.is_shunned(&peer, self.now.mono) {
            Some(Bar::Banned)
        } else if self.guard.wait_ms(&peer, self.now.mono).is_some() {
            // An offer that is not even sent would only cost a token.
            Some(Bar::CircuitOpen)
        } else {
            // It said that it would refuse.
            let draining = status.is_some_and(|(status, _)| status.load.draining);
            let unattended = said.is_some_and(|said| said.unattended);
            (draining.then_some(Bar::Draining)).or(unattended.then_some(Bar::Unattended))
        };
        let worker = &entry.body.entity_id;
        let addrs = self.peers.addrs(&peer);
        Candidate {
            slots: said.map_or(slots, |said| said.slots),
            queue: said.map_or(0, |said| said.queue),
            standing: Standing::of(&peer, self.peers, self.sessions, self.health) as u8,
            rtt_us: health.and_then(|known| known.rtt_us),
            score: self.scores.of(worker, self.now.wall).map(|score| score.0),
            labels: entry.body.labels.as_slice().into(),
            price: entry.body.price(capability),
            credit: self.scores.credit(worker, self.now.wall),
            prefixes: addrs.iter().filter_map(Prefix::of_public).collect(),
            bar,
            ..Candidate::new(*worker, slots)
        }
    }
}

impl Node {
    /// Gives waiting tasks to the workers that stand best and have room: healthy ones first, then
    /// suspect ones, then whoever is known to offer the capability.
    pub(super) fn assign(&mut self, step: &mut Step<'_>) {
        let (requester, kept, sources) = self.sources(step.now);
        requester.assign(step, |capability| kept.of(capability, &sources));
    }

    /// Keeps with tasks that are about to end for want of a worker what kept everybody from them.
    pub(super) fn note_waits(&mut self, now: Now) {
        let (requester, kept, sources) = self.sources(now);
        requester.note_waits(now.mono, |capability| kept.of(capability, &sources));
    }

    /// The candidates for one capability.
    pub(super) fn candidates(&mut self, capability: &Capability, now: Now) -> Arc<[Candidate]> {
        let (_, kept, sources) = self.sources(now);
        kept.of(capability, &sources)
    }

    /// Weighs what became of our tasks at their workers. It goes with the rows that say so.
    pub(super) fn judge(&mut self, step: &mut Step<'_>) {
        for (worker, end) in self.requester.take_ends() {
            let judged = match end {
                AttemptEnd::Completed => Judged::Completed,
                AttemptEnd::Failed => Judged::Failed,
                AttemptEnd::Lost => Judged::Lost,
                AttemptEnd::Lied => Judged::Lied,
            };
            self.scores.judge(worker, judged, step.now.wall);
        }
        self.scores.store(step);
    }

    /// What is thought of workers, for checkers.
    pub fn scores(&self) -> &Scores {
        &self.scores
    }

    fn sources(&mut self, now: Now) -> (&mut Requester, &mut Candidates, Sources<'_>) {
        let sources = Sources {
            registry: &self.registry,
            peers: &self.peers,
            sessions: &self.sessions,
            health: &self.health,
            guard: &self.guard,
            scores: &self.scores,
            now,
        };
        (&mut self.requester, &mut self.candidates, sources)
    }
}
