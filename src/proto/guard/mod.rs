//! The guard: how often a peer may ask, and whether it is worth asking.
//!
//! Two things for each peer. *Rates*: its requests of each class pass a limiter, and what it
//! refused of ours for the same reason is not sent again for a while. *The breaker*: after
//! failures in a row nothing is sent to a peer, until one request has tried whether it is back.
//!
//! # Invariants
//! - **G1** In any stretch of time no more requests of one class pass than its burst and its rate
//!   allow.
//! - **G2** A peer that heeds `RATE_LIMITED` is never punished: what it may have had under way is
//!   refused without points.
//! - **G3** While a breaker is open nothing passes it; half-open, one request at a time.
//! - **G4** At most `GUARDED_MAX` peers are kept; those go first that were idle longest.
//!
//! The limiters are governor's, on a clock that is put forward by the time of each step: so the
//! same inputs have the same outcome.

mod breaker;
mod rate;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use breaker::BreakerState;
use breaker::{Breaker, BreakerRules};
use rate::{Limiter, StepClock};

use crate::proto::{Step, Violation};
use crate::types::limits::{
    BREAKER_FAILURES, BREAKER_OPEN_MAX_MS, BREAKER_OPEN_MS, GUARDED_MAX, HANDSHAKES_PER_S,
    OTHERS_PER_S, OUTBOUND_PER_PEER_MAX, PROBES_PER_S, RATE_BURST_S, REGISTRY_PER_S, TASKS_PER_S,
    WAKES_PER_S,
};
use crate::types::{ExchangeId, Mono, PeerId};
use crate::wire::MsgClass;

/// Peers that were idle for so long are forgotten: their limiters have long filled up again.
const IDLE_MS: u64 = 120_000;
/// How long a class is held back after a peer refused it; doubles with each refusal in a row.
const HOLD_MS: u64 = 1_000;
const HOLD_MAX_MS: u64 = 30_000;

/// What the guard allows. Rates are requests a second, by class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardRules {
    pub rates: BTreeMap<MsgClass, u32>,
    /// Failures in a row after which a breaker opens.
    pub breaker_failures: u32,
    /// How long it stays open at first; doubles up to a minute.
    pub breaker_open_ms: u64,
}

impl Default for GuardRules {
    fn default() -> GuardRules {
        let rate = |class| match class {
            MsgClass::Handshake => HANDSHAKES_PER_S,
            MsgClass::Probe => PROBES_PER_S,
            MsgClass::Registry => REGISTRY_PER_S,
            MsgClass::Wake => WAKES_PER_S,
            MsgClass::Task => TASKS_PER_S,
            MsgClass::Other => OTHERS_PER_S,
        };
        GuardRules {
            rates: MsgClass::ALL.map(|class| (class, rate(class))).into(),
            breaker_failures: BREAKER_FAILURES,
            breaker_open_ms: BREAKER_OPEN_MS,
        }
    }
}

/// Whether a peer's request is looked at.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Pass,
    /// Over its rate. It may not have heard of that yet.
    Refused,
    /// Over its rate, though it must have heard.
    Unheeded,
}

/// Whether a request of ours may go to a peer.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    Pass,
    /// The peer failed too often and is left alone for a while.
    CircuitOpen,
    /// The peer said that this class is too much, and is sent none of it for a while.
    Held,
}

/// How many peers are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GuardCounts {
    pub open: usize,
    pub half_open: usize,
    /// Peers with a class that they asked us to send less of.
    pub held: usize,
    /// Requests of others that were over their rate, since the start.
    pub refused: u64,
    /// How often a breaker opened, since the start.
    pub opened: u64,
}

/// One class that a peer had too much of.
#[derive(Debug, Clone, Copy, Default)]
struct Hold {
    until: Mono,
    times: u32,
}

/// What is kept of a peer.
#[derive(Default)]
struct Guarded {
    limiters: BTreeMap<MsgClass, Limiter>,
    /// Refusals that cost nothing.
    grace: Option<Limiter>,
    breaker: Breaker,
    /// What was asked before the last answer came has a lower number: the peer was well after it.
    answered_before: ExchangeId,
    holds: BTreeMap<MsgClass, Hold>,
    refused: u64,
    used: Mono,
}

/// The guard of one node.
pub struct Guard {
    rules: GuardRules,
    clock: StepClock,
    peers: BTreeMap<PeerId, Guarded>,
    refused: u64,
    opened: u64,
}

impl Guard {
    /// Nobody is known yet.
    pub fn new(rules: GuardRules) -> Guard {
        Guard {
            rules,
            clock: StepClock::default(),
            peers: BTreeMap::new(),
            refused: 0,
            opened: 0,
        }
    }

    fn guarded(&mut self, peer: PeerId, now: Mono) -> &mut Guarded {
        if !self.peers.contains_key(&peer) && self.peers.len() >= GUARDED_MAX {
            let idlest = self.peers.iter().min_by_key(|(_, known)| known.used);
            if let Some(idlest) = idlest.map(|(peer, _)| *peer) {
                self.peers.remove(&idlest);
            }
        }
        let known = self.peers.entry(peer).or_default();
        known.used = now;
        known
    }

    /// A request of `class` came from `peer`.
    pub fn admit(&mut self, peer: PeerId, class: MsgClass, now: Mono) -> Admission {
        self.clock.set(now);
        let clock = self.clock.clone();
        let rate = self.rules.rates.get(&class).copied().unwrap_or(1);
        let known = self.guarded(peer, now);
        let limiter = known
            .limiters
            .entry(class)
            .or_insert_with(|| Limiter::new(rate, rate.saturating_mul(RATE_BURST_S), &clock));
        if limiter.admits() {
            return Admission::Pass;
        }
        known.refused += 1;
        // As many as may have been under way when the peer first heard of it are nobody's fault.
        let under_way = u32::try_from(OUTBOUND_PER_PEER_MAX).unwrap_or(u32::MAX);
        let grace = known
            .grace
            .get_or_insert_with(|| Limiter::new(1, under_way, &clock));
        let heeded = grace.admits();
        self.refused += 1;
        if heeded {
            Admission::Refused
        } else {
            Admission::Unheeded
        }
    }

    /// Whether a request of `class` may be sent to `peer`. [`Permit::Pass`] of a half-open
    /// breaker is the one that tries.
    pub fn permit(&mut self, peer: PeerId, class: MsgClass, now: Mono) -> Permit {
        let known = self.guarded(peer, now);
        if let Some(hold) = known.holds.get(&class)
            && hold.until > now
        {
            return Permit::Held;
        }
        if known.breaker.permit(now) {
            Permit::Pass
        } else {
            Permit::CircuitOpen
        }
    }

    /// How long it is until `peer` may be tried; none when it may be now.
    pub fn wait_ms(&self, peer: &PeerId, now: Mono) -> Option<u64> {
        self.peers.get(peer)?.breaker.wait_ms(now)
    }

    /// `peer` answered, whatever it said; the next request of ours will be number `next`.
    pub fn answered(&mut self, peer: &PeerId, next: ExchangeId) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.answered_before = next;
            known.breaker.succeeded();
        }
    }

    /// Request `id` to `peer` got no answer. Returns whether its breaker opened by that: not if the
    /// peer answered something since, as one does that stood still and lost what came meanwhile.
    pub fn failed(&mut self, peer: PeerId, id: ExchangeId, step: &mut Step<'_>) -> bool {
        let known = self.peers.get(&peer);
        if known.is_some_and(|known| id < known.answered_before) {
            return false;
        }
        let rules = BreakerRules {
            failures: self.rules.breaker_failures,
            open_ms: self.rules.breaker_open_ms,
            open_max_ms: BREAKER_OPEN_MAX_MS,
        };
        let now = step.now.mono;
        let jitter_ms = step.backoff_ms(0, self.rules.breaker_open_ms / 4, u64::MAX);
        let opened = self
            .guarded(peer, now)
            .breaker
            .failed(rules, jitter_ms, now);
        self.opened += u64::from(opened);
        opened
    }

    /// `peer` came by itself: whatever kept it from answering may be over.
    pub fn heard(&mut self, peer: &PeerId, now: Mono) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.breaker.try_again(now);
        }
    }

    /// `peer` refused a request of `class` as too much.
    pub fn refused(&mut self, peer: PeerId, class: MsgClass, now: Mono) {
        let hold = self.guarded(peer, now).holds.entry(class).or_default();
        if hold.until > now {
            // It was under way while the class was held back already.
            return;
        }
        let first = hold.until == Mono::default() || now.since(hold.until) > HOLD_MAX_MS;
        hold.times = if first {
            0
        } else {
            hold.times.saturating_add(1)
        };
        let ms = HOLD_MS.saturating_mul(1 << hold.times.min(10));
        hold.until = now + ms.min(HOLD_MAX_MS);
    }

    /// Forgets who was idle.
    pub fn tick(&mut self, now: Mono) {
        self.peers.retain(|_, known| {
            now.since(known.used) < IDLE_MS || known.breaker.wait_ms(now).is_some()
        });
    }

    /// The state of the breaker of `peer`.
    pub fn breaker(&self, peer: &PeerId, now: Mono) -> BreakerState {
        self.peers
            .get(peer)
            .map_or(BreakerState::Closed, |known| known.breaker.state(now))
    }

    /// How many requests of `peer` were over their rate lately.
    pub fn refused_of(&self, peer: &PeerId) -> u64 {
        self.peers.get(peer).map_or(0, |known| known.refused)
    }

    /// The guard in numbers.
    pub fn counts(&self, now: Mono) -> GuardCounts {
        let mut counts = GuardCounts {
            refused: self.refused,
            opened: self.opened,
            ..GuardCounts::default()
        };
        for known in self.peers.values() {
            match known.breaker.state(now) {
                BreakerState::Closed => {}
                BreakerState::Open => counts.open += 1,
                BreakerState::HalfOpen => counts.half_open += 1,
            }
            counts.held += usize::from(known.holds.values().any(|hold| hold.until > now));
        }
        counts
    }

    /// Checks G4.
    ///
    /// # Errors
    /// The violation.
    pub fn check(&self) -> Result<(), Violation> {
        Violation::unless(self.peers.len() <= GUARDED_MAX, "G4", || {
            format!("{} peers are guarded", self.peers.len())
        })
    }
}
