//! When a session is replaced by another, and when its epochs change: by their age, and because a
//! key was rotated.

use super::{EpochLimits, Sessions};
use crate::crypto::KeyPair;
use crate::types::limits::SESSION_LIFE_MS;
use crate::types::{EntityId, Mono, PeerId};

/// How often the other side is asked to acknowledge an epoch that is due.
const ASK_AGAIN_MS: u64 = 10_000;

/// How long sessions and their epochs last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionConfig {
    pub life_ms: u64,
    pub epochs: EpochLimits,
}

impl Default for SessionConfig {
    fn default() -> SessionConfig {
        SessionConfig {
            life_ms: SESSION_LIFE_MS,
            epochs: EpochLimits::default(),
        }
    }
}

impl SessionConfig {
    /// When a session is replaced: its initiator goes first, after five sixths of its life; where
    /// that did not come about (the other side may count a longer life), the responder follows
    /// after eleven twelfths.
    fn renew_after_ms(&self, initiator: bool) -> u64 {
        match initiator {
            true => self.life_ms / 6 * 5,
            false => self.life_ms / 12 * 11,
        }
    }
}

impl Sessions {
    /// The same with other times.
    #[must_use]
    pub fn configured(self, config: SessionConfig) -> Sessions {
        Sessions { config, ..self }
    }

    /// Our key was rotated. What is live or under way goes on with the key it began with, and is
    /// due for replacement.
    pub fn rekey(&mut self, key: &KeyPair) {
        self.key = key.clone();
    }

    /// Sessions made under an older key of theirs than is known by now are due for replacement,
    /// and over in 30 s. `rotations` says how often an entity's key was rotated.
    pub fn outdate(&mut self, rotations: impl Fn(&EntityId) -> u32, now: Mono) {
        for live in self.live.values_mut() {
            if live.outdated.is_none() && rotations(&live.info.entity) > live.their_rotations {
                live.outdated = Some(now);
            }
        }
    }

    /// Whether the session with `peer` was made under a key, ours or theirs, that was rotated
    /// since: either side replaces it.
    pub fn has_old_key(&self, peer: &PeerId) -> bool {
        let live = self.newest(peer);
        let key = self.key.public();
        live.is_some_and(|live| live.our_key.public() != key || live.outdated.is_some())
    }

    /// Whether it is our turn to replace the session with `peer`.
    pub fn wants_renewal(&self, peer: &PeerId, now: Mono) -> bool {
        let live = self.newest(peer);
        live.is_some_and(|live| now.since(live.since) >= self.config.renew_after_ms(live.initiator))
    }

    /// The peers that are to be asked something, because our next epoch waits for an answer.
    pub fn wanting_acknowledgement(&mut self, now: Mono) -> Vec<PeerId> {
        let mut peers = Vec::new();
        for (peer, id) in &self.newest {
            if let Some(live) = self.live.get_mut(id)
                && live.wants_acknowledgement(now)
                && live.asked_at.is_none_or(|at| now.since(at) >= ASK_AGAIN_MS)
            {
                live.asked_at = Some(now);
                peers.push(*peer);
            }
        }
        peers
    }
}
