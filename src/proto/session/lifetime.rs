//! A session's place in the tables: taken, given to a newer one, given up, and run out (S4, S5).

use super::live::Live;
use super::{SessionInfo, Sessions};
use crate::types::limits::{HANDSHAKE_TIMEOUT_MS, SESSIONS_MAX};
use crate::types::{Mono, Now, PeerId, SessionId};

/// How long a replaced session still opens what was under way.
const REPLACED_KEEP_MS: u64 = 30_000;

impl Sessions {
    /// Makes a session the one for sending; the one before stays open for what is under way.
    pub(super) fn install(&mut self, id: SessionId, live: Live, now: Mono) -> SessionInfo {
        let info = live.info;
        if let Some(old) = self.newest.insert(info.peer, id)
            && let Some(old) = self.live.get_mut(&old)
        {
            old.replaced = Some(now);
        }
        self.live.insert(id, live);
        if self.live.len() > SESSIONS_MAX {
            let oldest = self
                .live
                .iter()
                .min_by_key(|(_, live)| (live.replaced.is_none(), live.since))
                .map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.live.remove(&oldest);
                let ended = self.newest.extract_if(.., |_, id| *id == oldest);
                self.ended.extend(ended);
            }
        }
        info
    }

    /// A session with `peer` is of no use (it said that it does not know it). Another that took
    /// its place meanwhile, and a handshake under way, stay.
    pub fn forget(&mut self, peer: &PeerId, session: SessionId) {
        self.live.remove(&session);
        if self.newest.get(peer) == Some(&session) {
            self.newest.remove(peer);
            self.ended.push((*peer, session));
        }
    }

    /// The session in use with `peer` is over.
    pub fn forget_newest(&mut self, peer: &PeerId) {
        if let Some(id) = self.newest.remove(peer) {
            self.live.remove(&id);
            self.ended.push((*peer, id));
        }
    }

    /// Nothing more is to be had of `peer`.
    pub fn forget_all(&mut self, peer: &PeerId) {
        self.outgoing.remove(peer);
        self.forget_newest(peer);
        self.live.retain(|_, live| live.info.peer != *peer);
    }

    /// The sessions that ended without a successor since this was last asked.
    pub fn ended(&mut self) -> Vec<(PeerId, SessionId)> {
        std::mem::take(&mut self.ended)
    }

    /// Drops what has run out of time.
    pub fn tick(&mut self, now: Now) {
        let mono = now.mono;
        let fresh = |since: Mono| mono.since(since) < HANDSHAKE_TIMEOUT_MS;
        // Ours end with their exchange; this is the backstop.
        self.outgoing
            .retain(|_, out| mono.since(out.since) < 3 * HANDSHAKE_TIMEOUT_MS);
        self.half_open.expire(mono);
        self.verifying
            .retain(|_, verifying| fresh(verifying.since()));
        self.replay.expire(mono);
        self.begun.clear();
        let (newest, life_ms) = (&self.newest, self.config.life_ms);
        self.live.retain(|id, live| {
            live.tick(mono);
            let kept_ms = match newest.get(&live.info.peer) == Some(id) {
                true => life_ms,
                false => live
                    .replaced
                    .map_or(0, |at| at.since(live.since) + REPLACED_KEEP_MS),
            };
            let cut = live
                .outdated
                .is_some_and(|at| mono.since(at) >= REPLACED_KEEP_MS);
            mono.since(live.since) < kept_ms && !cut
        });
        let live = &self.live;
        let ended = self.newest.extract_if(.., |_, id| !live.contains_key(id));
        self.ended.extend(ended);
    }

    /// When [`Sessions::tick`] is next worth calling.
    pub fn next_deadline(&self) -> Option<Mono> {
        let half = self.half_open.next_deadline();
        let live = self
            .live
            .values()
            .map(|live| live.since + self.config.life_ms)
            .min();
        [half, live].into_iter().flatten().min()
    }
}
