//! Handshakes of theirs that passed their signatures and await M3: the table, and whose turn it is
//! to go when there is no room.
//!
//! Bounds: `HALF_OPEN_MAX` in all, `HALF_OPEN_PER_PEER_MAX` of one PeerId, and
//! `HALF_OPEN_PER_PREFIX_MAX` of one address prefix. A holder is a prefix, or a PeerId whose
//! address has none (loopback). The oldest of whoever holds most goes.

use std::collections::{BTreeMap, BTreeSet};

use super::HalfOpen;
use crate::types::limits::{
    HALF_OPEN_MAX, HALF_OPEN_PER_PEER_MAX, HALF_OPEN_PER_PREFIX_MAX, HANDSHAKE_TIMEOUT_MS,
};
use crate::types::{Mono, PeerId, Prefix, SessionId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Prefix(Prefix),
    Peer(PeerId),
}

impl Holder {
    fn of(peer: PeerId, prefix: Option<Prefix>) -> Holder {
        prefix.map_or(Holder::Peer(peer), Holder::Prefix)
    }
}

/// See the module's header.
#[derive(Default)]
pub(in crate::proto::session) struct HalfOpenTable {
    by_id: BTreeMap<SessionId, HalfOpen>,
    by_holder: BTreeMap<Holder, BTreeSet<(Mono, SessionId)>>,
}

impl HalfOpenTable {
    pub(in crate::proto::session) fn get(&self, id: &SessionId) -> Option<&HalfOpen> {
        self.by_id.get(id)
    }

    pub(in crate::proto::session) fn contains(&self, id: &SessionId) -> bool {
        self.by_id.contains_key(id)
    }

    pub(in crate::proto::session) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// When the newest handshake of `peer` came, whose address is in `prefix`.
    pub(in crate::proto::session) fn newest_of(
        &self,
        peer: PeerId,
        prefix: Option<Prefix>,
    ) -> Option<Mono> {
        let held = self.by_holder.get(&Holder::of(peer, prefix))?;
        let of_peer = |(_, id): &&(Mono, SessionId)| self.by_id[id].peer == peer;
        held.iter().rev().find(of_peer).map(|(since, _)| *since)
    }

    /// Adds a handshake, in the place of another if there is no room.
    pub(super) fn insert(&mut self, id: SessionId, half: HalfOpen) {
        if let Some(victim) = self.victim(&half) {
            self.remove(&victim);
        }
        let holder = Holder::of(half.peer, half.prefix);
        let of_holder = self.by_holder.entry(holder).or_default();
        of_holder.insert((half.since, id));
        self.by_id.insert(id, half);
    }

    pub(super) fn remove(&mut self, id: &SessionId) -> Option<HalfOpen> {
        let half = self.by_id.remove(id)?;
        let holder = Holder::of(half.peer, half.prefix);
        if let Some(of_holder) = self.by_holder.get_mut(&holder) {
            of_holder.remove(&(half.since, *id));
            if of_holder.is_empty() {
                self.by_holder.remove(&holder);
            }
        }
        Some(half)
    }

    /// Drops what has waited too long.
    pub(in crate::proto::session) fn expire(&mut self, now: Mono) {
        let old = |half: &HalfOpen| now.since(half.since) >= HANDSHAKE_TIMEOUT_MS;
        let gone = self.by_id.iter().filter(|(_, half)| old(half));
        let gone: Vec<SessionId> = gone.map(|(id, _)| *id).collect();
        for id in gone {
            self.remove(&id);
        }
    }

    /// When the oldest has waited too long.
    pub(in crate::proto::session) fn next_deadline(&self) -> Option<Mono> {
        let oldest = self.by_holder.values().filter_map(BTreeSet::first);
        oldest.map(|(since, _)| *since + HANDSHAKE_TIMEOUT_MS).min()
    }

    /// Who makes room for `new`: of its PeerId's, then of its prefix's, then of all.
    fn victim(&self, new: &HalfOpen) -> Option<SessionId> {
        let own = self.by_holder.get(&Holder::of(new.peer, new.prefix));
        if let Some(own) = own {
            let of_peer = |(_, id): &&(Mono, SessionId)| self.by_id[id].peer == new.peer;
            if own.iter().filter(of_peer).count() >= HALF_OPEN_PER_PEER_MAX {
                return own.iter().find(of_peer).map(|(_, id)| *id);
            }
            if own.len() >= HALF_OPEN_PER_PREFIX_MAX {
                return self.oldest_of_most(own);
            }
        }
        if self.by_id.len() < HALF_OPEN_MAX {
            return None;
        }
        let most = self
            .by_holder
            .values()
            .max_by_key(|held| (held.len(), std::cmp::Reverse(held.first().copied())))?;
        self.oldest_of_most(most)
    }

    /// Of one holder's: the oldest of the PeerId that has most.
    fn oldest_of_most(&self, held: &BTreeSet<(Mono, SessionId)>) -> Option<SessionId> {
        let mut of_peer: BTreeMap<PeerId, usize> = BTreeMap::new();
        for (_, id) in held {
            *of_peer.entry(self.by_id[id].peer).or_default() += 1;
        }
        let most = of_peer.values().copied().max()?;
        held.iter()
            .find(|(_, id)| of_peer[&self.by_id[id].peer] == most)
            .map(|(_, id)| *id)
    }

    /// Whether every bound holds.
    pub(in crate::proto::session) fn is_bounded(&self) -> bool {
        let held: usize = self.by_holder.values().map(BTreeSet::len).sum();
        held == self.by_id.len()
            && held <= HALF_OPEN_MAX
            && self
                .by_holder
                .values()
                .all(|held| held.len() <= HALF_OPEN_PER_PREFIX_MAX)
    }
}
