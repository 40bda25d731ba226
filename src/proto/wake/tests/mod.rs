//! Wake-ups: each acted on once, in bounds, and told forwards only.

mod receiving;
mod sending;

use rand::SeedableRng;

use super::*;
use crate::crypto::Rng;
use crate::types::{BatchId, Now, Wall, WriteBatch};

const RULES: WakeRules = WakeRules {
    hook: true,
    restart_hook: true,
    max_per_hour: 60,
    first_hook: 1,
};

fn entity(n: u8) -> EntityId {
    EntityId([n; 32])
}

fn peer_id(n: u8) -> PeerId {
    crate::crypto::Identity::from_seeds(&crate::crypto::Seeds {
        entity: [n; 32],
        next: [n; 32],
        transport: [n; 32],
    })
    .peer_id
}

fn wake_id(n: u64) -> WakeId {
    WakeId(uuid::Uuid::from_u128(u128::from(n)))
}

fn nonce(n: u64) -> Nonce {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    Nonce(bytes)
}

fn wake_up(n: u64) -> WakeUp {
    let reason = "work is waiting".into();
    WakeUp {
        nonce: nonce(n),
        reason,
        priority: None,
        request: None,
    }
}

/// One side, with its clock.
struct Side {
    wakes: Wakes,
    now: Mono,
    rng: Rng,
}

fn side(rules: WakeRules) -> Side {
    Side {
        wakes: Wakes::new(rules),
        now: Mono::from_micros(1),
        rng: Rng::seed_from_u64(1),
    }
}

impl Side {
    fn send(&mut self, n: u64) -> WakeId {
        self.send_to(n, entity(9))
    }

    fn send_to(&mut self, n: u64, to: EntityId) -> WakeId {
        let mut writes = WriteBatch::default();
        let now = Now {
            mono: self.now,
            wall: Wall(0),
        };
        let (rng, batch) = (&mut self.rng, BatchId(1));
        let mut step = Step {
            now,
            rng,
            batch,
            writes: &mut writes,
        };
        let call = Call {
            reason: "work is waiting".into(),
            priority: Priority::High,
            request: WakeRequest::Resume,
        };
        self.wakes.send(wake_id(n), to, call, &mut step);
        wake_id(n)
    }

    /// What is sent at this moment.
    fn sent_now(&mut self) -> Vec<WakeUp> {
        self.wakes.tick(self.now);
        let body = |effect| match effect {
            WakeEffect::Send { body, .. } => Some(body),
            _ => None,
        };
        self.wakes.effects().into_iter().filter_map(body).collect()
    }

    fn told(&mut self, nonce: Nonce, status: WakeStatus) {
        self.wakes.told(entity(9), nonce, status, self.now);
    }

    fn receive(&mut self, from: u8, n: u64) -> WakeStatus {
        self.receive_by(from, from, wake_up(n), n)
    }

    /// `entity` speaks through `peer`.
    fn receive_by(&mut self, peer: u8, from: u8, wake: WakeUp, n: u64) -> WakeStatus {
        self.wakes.receive(
            wake_id(n),
            peer_id(peer),
            entity(from),
            wake,
            true,
            self.now,
        )
    }

    /// The hooks that were started, and the phases that were told, since the last look.
    fn done(&mut self) -> (Vec<HookId>, Vec<WakeStatus>) {
        let (mut hooks, mut told) = (Vec::new(), Vec::new());
        for effect in self.wakes.effects() {
            match effect {
                WakeEffect::Hook { hook, .. } => hooks.push(hook),
                WakeEffect::Update { status, .. } => told.push(status),
                WakeEffect::Send { .. } | WakeEffect::Changed { .. } => {}
            }
        }
        (hooks, told)
    }

    /// Receives a wake-up whose hook starts.
    fn hooked(&mut self, from: u8, n: u64) -> HookId {
        assert_eq!(self.receive(from, n), WakeStatus::Delivered);
        let (hooks, told) = self.done();
        assert_eq!(told, [WakeStatus::HookStarted]);
        hooks[0]
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now + ms;
    }
}
