//! How the peers are: who is sent a heartbeat when, what came back, and what that means.
//!
//! ```text
//!              2 intervals without a sign of life      3 more
//!   healthy ─────────────────────────────▶ suspect ─────────────▶ unreachable
//!      ▲                                      │                        │
//!      └────────── any sign of life ──────────┴────────────────────────┘
//! ```
//! A sign of life is whatever the peer sent that only it can have made: an answer, a request. So a
//! peer that is busy answering others of our requests is not taken for dead because the heartbeat,
//! which leaves last, came late. An interval without a connection has none.
//!
//! # Invariants
//! - **H1** Whoever showed a sign of life within two intervals is healthy.
//! - **H2** Heartbeats of one session are numbered upwards from 0, and an older one of the peer's
//!   never replaces what a newer one said.
//! - **H3** At most `PEERS_MAX` peers are kept.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::proto::Violation;
use crate::types::limits::{HEARTBEAT_MS, PEERS_MAX, SUSPECT_AFTER, UNREACHABLE_AFTER};
use crate::types::{Capability, Mono, PeerId};
use crate::wire::{FreeSlots, NodeStatus};

/// Of so many heartbeats it is known which were lost.
const WINDOW: u32 = 32;
/// The weight of a new round trip against all before: one part in so many.
const SMOOTHING: u64 = 8;

/// What is thought of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthState {
    Healthy,
    Suspect,
    Unreachable,
}

impl HealthState {
    /// The state's name.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthState::Healthy => "healthy",
            HealthState::Suspect => "suspect",
            HealthState::Unreachable => "unreachable",
        }
    }
}

/// How often heartbeats are sent, and what their absence leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthRules {
    pub heartbeat_ms: u64,
    /// Intervals without a sign of life.
    pub suspect_after: u32,
    pub unreachable_after: u32,
    /// Whether a peer that becomes suspect is sent a wake-up.
    pub wake_on_suspect: bool,
}

impl Default for HealthRules {
    fn default() -> HealthRules {
        HealthRules {
            heartbeat_ms: HEARTBEAT_MS,
            suspect_after: SUSPECT_AFTER,
            unreachable_after: UNREACHABLE_AFTER,
            wake_on_suspect: false,
        }
    }
}

/// What health asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthEffect {
    /// Send a heartbeat of this number.
    Beat { peer: PeerId, seq: u64 },
    /// A peer is in another state than before.
    Changed { peer: PeerId, state: HealthState },
    /// Try to wake the peer's agent.
    Wake { peer: PeerId },
}

/// What is known of a peer.
#[derive(Debug, Clone)]
pub struct PeerHealth {
    pub state: HealthState,
    /// Smoothed; none until a heartbeat was answered.
    pub rtt_us: Option<u64>,
    /// Intervals in a row without a sign of life.
    pub missed: u32,
    /// When the last sign of life came.
    pub last_seen: Mono,
    /// What it last said of itself, and when.
    pub status: Option<(NodeStatus, Mono)>,
    /// All wake-ups of one call were in vain: somebody has to look.
    pub manual_check: bool,
    up: bool,
    slots: BTreeMap<Capability, FreeSlots>,
    /// When it last said what it can take on.
    pub slots_at: Mono,
    /// When it was last asked for that.
    slots_asked: Option<Mono>,
    next_seq: u64,
    /// The beat sent at the start of the interval, until it is answered.
    unanswered: Option<u64>,
    interval_began: Mono,
    /// None while there is nothing to wait for: it is unreachable and there is no connection.
    interval_ends: Option<Mono>,
    /// The newest number of the peer's own beats in this session.
    their_seq: Option<u64>,
    /// One bit for each of the last beats, the newest lowest: whether it was lost.
    lost: u32,
    /// How many of the bits count.
    sent: u32,
}

impl PeerHealth {
    fn new(now: Mono) -> PeerHealth {
        PeerHealth {
            state: HealthState::Healthy,
            rtt_us: None,
            missed: 0,
            last_seen: now,
            status: None,
            manual_check: false,
            up: true,
            slots: BTreeMap::new(),
            slots_at: now,
            slots_asked: None,
            next_seq: 0,
            unanswered: None,
            interval_began: now,
            interval_ends: None,
            their_seq: None,
            lost: 0,
            sent: 0,
        }
    }

    /// Of the last heartbeats, up to 32, the part that was not answered within its interval.
    pub fn loss(&self) -> f64 {
        if self.sent == 0 {
            return 0.0;
        }
        f64::from(self.lost.count_ones()) / f64::from(self.sent)
    }

    /// What it said of a capability in this session.
    pub fn slots(&self, capability: &Capability) -> Option<&FreeSlots> {
        self.slots.get(capability)
    }

    /// The capabilities that it said nobody fetches tasks of.
    pub fn unattended(&self) -> impl Iterator<Item = &Capability> {
        let unattended = self.slots.iter().filter(|(_, said)| said.unattended);
        unattended.map(|(name, _)| name)
    }

    fn settle_beat(&mut self, lost: bool) {
        self.lost = self.lost << 1 | u32::from(lost);
        self.sent = (self.sent + 1).min(WINDOW);
    }
}

/// The health of every peer that ever had a session, as long as it is known.
pub struct Health {
    rules: HealthRules,
    peers: BTreeMap<PeerId, PeerHealth>,
    effects: Vec<HealthEffect>,
}

impl Health {
    /// Nobody is known yet.
    pub fn new(rules: HealthRules) -> Health {
        Health {
            rules,
            peers: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// A session with `peer` came up: its numbers begin anew, and so do the heartbeats.
    pub fn session_up(&mut self, peer: PeerId, now: Mono) {
        if !self.peers.contains_key(&peer) && self.peers.len() >= PEERS_MAX {
            // The address book has as many, and its peers are kept: see `retain`.
            return;
        }
        let known = self
            .peers
            .entry(peer)
            .or_insert_with(|| PeerHealth::new(now));
        known.next_seq = 0;
        known.unanswered = None;
        known.their_seq = None;
        known.slots.clear();
        if let Some((status, _)) = &mut known.status {
            // What stopped for good has no sessions: it is back.
            status.load.draining = false;
        }
        known.up = true;
        self.seen(&peer, now);
    }

    /// A connection to `peer` stands.
    pub fn connected(&mut self, peer: &PeerId, now: Mono) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.up = true;
            // It is asked at once how it is.
            known.interval_began = now;
            known.interval_ends = Some(now);
        }
    }

    /// The last connection to `peer` is gone.
    pub fn disconnected(&mut self, peer: &PeerId) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.up = false;
        }
    }

    /// `peer` sent something that only it can have made.
    pub fn seen(&mut self, peer: &PeerId, now: Mono) {
        let Some(known) = self.peers.get_mut(peer) else {
            return;
        };
        known.last_seen = now;
        known.missed = 0;
        known.manual_check = false;
        if known.interval_ends.is_none() {
            known.interval_began = now;
            known.interval_ends = Some(now + self.rules.heartbeat_ms);
        }
        if known.state != HealthState::Healthy {
            known.state = HealthState::Healthy;
            let (peer, state) = (*peer, known.state);
            self.effects.push(HealthEffect::Changed { peer, state });
        }
    }

    /// The beat of that number, sent at `sent`, was answered.
    pub fn answered(&mut self, peer: &PeerId, seq: u64, sent: Mono, now: Mono) {
        let Some(known) = self.peers.get_mut(peer) else {
            return;
        };
        let sample = now.as_micros().saturating_sub(sent.as_micros());
        known.rtt_us = Some(match known.rtt_us {
            None => sample,
            Some(before) => (before * (SMOOTHING - 1) + sample) / SMOOTHING,
        });
        if known.unanswered == Some(seq) {
            known.unanswered = None;
            known.settle_beat(false);
        }
    }

    /// A beat of `peer` came.
    pub fn heard(&mut self, peer: &PeerId, seq: u64, status: NodeStatus, now: Mono) {
        if let Some(known) = self.peers.get_mut(peer)
            && known.their_seq.is_none_or(|newest| newest < seq)
        {
            known.their_seq = Some(seq);
            known.status = Some((status, now));
        }
    }

    /// `peer` said how it is.
    pub fn reported(&mut self, peer: &PeerId, status: NodeStatus, now: Mono) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.status = Some((status, now));
        }
    }

    /// `peer` said what it can take on.
    pub fn capable(&mut self, peer: &PeerId, capabilities: Vec<FreeSlots>, now: Mono) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.slots_at = now;
            let by_name = |slots: FreeSlots| (slots.name.clone(), slots);
            known.slots = capabilities.into_iter().map(by_name).collect();
        }
    }

    /// Whether `peer` may be asked what it can take on, which it is not more often than once in
    /// `every_ms`. If so it counts as asked.
    pub fn may_ask(&mut self, peer: &PeerId, every_ms: u64, now: Mono) -> bool {
        let Some(known) = self.peers.get_mut(peer) else {
            return false;
        };
        let asked = known.slots_asked;
        let may = known.up && asked.is_none_or(|at| now.since(at) >= every_ms);
        if may {
            known.slots_asked = Some(now);
        }
        may
    }

    /// No wake-up reached `peer`.
    pub fn not_woken(&mut self, peer: &PeerId) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.manual_check = known.state != HealthState::Healthy;
        }
    }

    /// Ends the intervals that are over and begins the next ones.
    pub fn tick(&mut self, now: Mono) {
        for (peer, known) in &mut self.peers {
            if known.interval_ends.is_none_or(|ends| ends > now) {
                continue;
            }
            if known.unanswered.take().is_some() {
                known.settle_beat(true);
            }
            let silent = known.last_seen < known.interval_began
                && now.since(known.interval_began) >= self.rules.heartbeat_ms;
            if silent {
                known.missed = known.missed.saturating_add(1);
            }
            let state = match known.missed {
                missed if missed >= self.rules.unreachable_after => HealthState::Unreachable,
                missed if missed >= self.rules.suspect_after => HealthState::Suspect,
                _ => HealthState::Healthy,
            };
            if state > known.state {
                known.state = state;
                let peer = *peer;
                self.effects.push(HealthEffect::Changed { peer, state });
                if state == HealthState::Suspect && self.rules.wake_on_suspect {
                    self.effects.push(HealthEffect::Wake { peer });
                }
            }
            known.interval_began = now;
            known.interval_ends = Some(now + self.rules.heartbeat_ms);
            if known.up {
                let seq = known.next_seq;
                known.next_seq += 1;
                known.unanswered = Some(seq);
                self.effects.push(HealthEffect::Beat { peer: *peer, seq });
            } else if known.state == HealthState::Unreachable {
                known.interval_ends = None;
            }
        }
    }

    /// Tells every peer at once how this node is, beside the heartbeats that are due anyway. Such a
    /// beat is not waited for: whether it is answered says nothing of the peer.
    pub fn announce(&mut self) {
        for (peer, known) in self.peers.iter_mut().filter(|(_, known)| known.up) {
            let seq = known.next_seq;
            known.next_seq += 1;
            self.effects.push(HealthEffect::Beat { peer: *peer, seq });
        }
    }

    /// Forgets whoever is known no longer.
    pub fn retain(&mut self, known: impl Fn(&PeerId) -> bool) {
        self.peers.retain(|peer, _| known(peer));
    }

    /// When [`Health::tick`] is next needed.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.peers
            .values()
            .filter_map(|known| known.interval_ends)
            .min()
    }

    /// Takes what is asked for since the last call.
    pub fn effects(&mut self) -> Vec<HealthEffect> {
        std::mem::take(&mut self.effects)
    }

    /// What is known of `peer`.
    pub fn of(&self, peer: &PeerId) -> Option<&PeerHealth> {
        self.peers.get(peer)
    }

    /// How many peers are in each state: healthy, suspect, unreachable.
    pub fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for known in self.peers.values() {
            counts[known.state as usize] += 1;
        }
        counts
    }

    /// Checks H3.
    ///
    /// # Errors
    /// The violation.
    pub fn check(&self) -> Result<(), Violation> {
        Violation::unless(self.peers.len() <= PEERS_MAX, "H3", || {
            format!("{} peers", self.peers.len())
        })
    }
}
