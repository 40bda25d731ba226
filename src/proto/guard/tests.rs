//! Rates hold, breakers open, and nobody is punished who heeds what it is told.

use proptest::prelude::*;
use rand::SeedableRng;

use super::*;
use crate::crypto::Rng;
use crate::types::limits::EXCHANGE_TIMEOUT_MS;
use crate::types::{BatchId, ExchangeId, Now, Wall, WriteBatch};

fn peer(n: u64) -> PeerId {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    let key = libp2p::identity::Keypair::ed25519_from_bytes(seed).expect("32 bytes");
    key.public().to_peer_id()
}

fn at(ms: u64) -> Mono {
    Mono::from_micros(1 + ms * 1_000)
}

fn rules(per_s: u32) -> GuardRules {
    GuardRules {
        rates: MsgClass::ALL.map(|class| (class, per_s)).into(),
        breaker_failures: 3,
        breaker_open_ms: 5_000,
    }
}

/// A request to `peer` that was sent after every answer fails at `ms`.
fn fail(guard: &mut Guard, peer: PeerId, ms: u64) -> bool {
    fail_of(guard, peer, ExchangeId(u64::MAX), ms)
}

/// Request `id` to `peer` fails at `ms`.
fn fail_of(guard: &mut Guard, peer: PeerId, id: ExchangeId, ms: u64) -> bool {
    let mut rng = Rng::seed_from_u64(ms);
    let mut writes = WriteBatch::default();
    let now = Now {
        mono: at(ms),
        wall: Wall(0),
    };
    let opened = guard.failed(
        peer,
        id,
        &mut Step {
            now,
            rng: &mut rng,
            batch: BatchId(1),
            writes: &mut writes,
        },
    );
    guard.check().expect("G4");
    opened
}

fn permit(guard: &mut Guard, ms: u64) -> Permit {
    guard.permit(peer(1), MsgClass::Task, at(ms))
}

#[test]
fn the_burst_passes_and_then_the_rate() {
    let mut guard = Guard::new(rules(5));
    let burst = u64::from(5 * RATE_BURST_S);
    let mut passed = 0;
    for ms in 0..10_000 {
        let admission = guard.admit(peer(1), MsgClass::Wake, at(ms));
        passed += u64::from(admission == Admission::Pass);
    }
    assert!((burst + 48..=burst + 50).contains(&passed), "G1: {passed}");
    let other = guard.admit(peer(2), MsgClass::Wake, at(10_000));
    assert_eq!(other, Admission::Pass, "each peer for itself");
    let class = guard.admit(peer(1), MsgClass::Task, at(10_000));
    assert_eq!(class, Admission::Pass, "each class for itself");
}

#[test]
fn what_was_under_way_is_refused_without_blame_and_a_flood_is_not() {
    let mut guard = Guard::new(rules(1));
    let mut seen = Vec::new();
    for _ in 0..u64::from(RATE_BURST_S) + OUTBOUND_PER_PEER_MAX as u64 + 3 {
        seen.push(guard.admit(peer(1), MsgClass::Task, at(0)));
    }
    let count = |what| seen.iter().filter(|seen| **seen == what).count();
    assert_eq!(count(Admission::Pass), RATE_BURST_S as usize);
    assert_eq!(count(Admission::Refused), OUTBOUND_PER_PEER_MAX, "G2");
    assert_eq!(count(Admission::Unheeded), 3);
    let refused = OUTBOUND_PER_PEER_MAX as u64 + 3;
    assert_eq!(guard.refused_of(&peer(1)), refused);
    assert_eq!(guard.counts(at(0)).refused, refused);
}

#[test]
fn a_class_that_was_too_much_is_held_back_longer_each_time() {
    let mut guard = Guard::new(rules(1));
    let (mut now, mut holds) = (0, Vec::new());
    for _ in 0..8 {
        guard.refused(peer(1), MsgClass::Task, at(now));
        // What was under way then says nothing new.
        guard.refused(peer(1), MsgClass::Task, at(now));
        assert_eq!(permit(&mut guard, now), Permit::Held);
        let mut retry_ms = 0;
        while permit(&mut guard, now + retry_ms) == Permit::Held {
            retry_ms += 500;
        }
        let other = guard.permit(peer(1), MsgClass::Wake, at(now));
        assert_eq!(other, Permit::Pass, "only that class");
        holds.push(retry_ms);
        now += retry_ms;
        assert_eq!(permit(&mut guard, now), Permit::Pass);
    }
    assert_eq!(holds[..4], [1_000, 2_000, 4_000, 8_000]);
    assert_eq!(holds[7], HOLD_MAX_MS);
    now += 2 * HOLD_MAX_MS;
    guard.refused(peer(1), MsgClass::Task, at(now));
    assert_eq!(permit(&mut guard, now + HOLD_MS - 1), Permit::Held);
    assert_eq!(permit(&mut guard, now + HOLD_MS), Permit::Pass, "forgotten");
}

#[test]
fn failures_in_a_row_open_the_breaker_and_an_answer_closes_it() {
    let mut guard = Guard::new(rules(1));
    assert!(!fail(&mut guard, peer(1), 0) && !fail(&mut guard, peer(1), 0));
    guard.answered(&peer(1), ExchangeId(1));
    assert!(!fail(&mut guard, peer(1), 1) && !fail(&mut guard, peer(1), 1));
    assert_eq!(permit(&mut guard, 1), Permit::Pass, "not in a row");
    assert!(fail(&mut guard, peer(1), 1), "it opens");
    assert!(!fail(&mut guard, peer(1), 2), "once");
    assert_eq!(permit(&mut guard, 2), Permit::CircuitOpen, "G3");
    let retry_ms = guard.wait_ms(&peer(1), at(2)).expect("open");
    assert!((4_999..=6_250).contains(&retry_ms), "{retry_ms}");
    assert_eq!(guard.breaker(&peer(1), at(2)), BreakerState::Open);
    let due = 2 + retry_ms;
    assert_eq!(permit(&mut guard, due), Permit::Pass, "one tries");
    assert_eq!(guard.breaker(&peer(1), at(due)), BreakerState::HalfOpen);
    let second = permit(&mut guard, due);
    assert_eq!(second, Permit::CircuitOpen, "G3: only one");
    guard.answered(&peer(1), ExchangeId(1));
    assert_eq!(permit(&mut guard, due), Permit::Pass);
    assert_eq!(guard.breaker(&peer(1), at(due)), BreakerState::Closed);
    let counts = guard.counts(at(due));
    assert_eq!((counts.open, counts.half_open, counts.opened), (0, 0, 1));
}

#[test]
fn what_was_asked_before_an_answer_came_says_nothing_of_a_peer_that_is_well_again() {
    let mut guard = Guard::new(rules(1));
    assert!(!fail_of(&mut guard, peer(1), ExchangeId(1), 0));
    guard.answered(&peer(1), ExchangeId(9));
    for id in 2..9 {
        assert!(!fail_of(&mut guard, peer(1), ExchangeId(id), 1));
    }
    assert_eq!(guard.breaker(&peer(1), at(1)), BreakerState::Closed);
    assert!(!fail_of(&mut guard, peer(1), ExchangeId(9), 2));
    assert!(!fail_of(&mut guard, peer(1), ExchangeId(10), 2));
    assert!(
        fail_of(&mut guard, peer(1), ExchangeId(11), 2),
        "it is gone again"
    );
}

#[test]
fn a_try_that_fails_opens_it_for_longer_up_to_a_minute() {
    let mut guard = Guard::new(rules(1));
    (0..3).for_each(|_| {
        fail(&mut guard, peer(1), 0);
    });
    let (mut now, mut waits) = (0, Vec::new());
    for _ in 0..8 {
        let wait = guard.wait_ms(&peer(1), at(now)).expect("open");
        waits.push(wait);
        now += wait;
        assert_eq!(permit(&mut guard, now), Permit::Pass);
        assert!(fail(&mut guard, peer(1), now));
    }
    assert!(waits[1] >= 10_000 && waits[2] >= 20_000, "{waits:?}");
    assert!(waits[7] <= BREAKER_OPEN_MAX_MS + 1_250, "{waits:?}");
}

#[test]
fn a_peer_that_comes_by_itself_is_tried_at_once() {
    let mut guard = Guard::new(rules(1));
    (0..3).for_each(|_| {
        fail(&mut guard, peer(1), 0);
    });
    guard.heard(&peer(1), at(10));
    assert_eq!(permit(&mut guard, 10), Permit::Pass);
    let second = permit(&mut guard, 10);
    assert_eq!(second, Permit::CircuitOpen, "G3");
}

#[test]
fn a_try_that_never_ends_does_not_keep_the_breaker_half_open_for_ever() {
    let mut guard = Guard::new(rules(1));
    (0..3).for_each(|_| {
        fail(&mut guard, peer(1), 0);
    });
    let wait = guard.wait_ms(&peer(1), at(0)).expect("open");
    assert_eq!(permit(&mut guard, wait), Permit::Pass);
    let later = wait + 3 * EXCHANGE_TIMEOUT_MS;
    assert_eq!(permit(&mut guard, later), Permit::Pass);
}

#[test]
fn idle_peers_are_forgotten_and_the_table_is_bounded() {
    let mut guard = Guard::new(rules(1));
    for n in 0..GUARDED_MAX as u64 + 50 {
        let admission = guard.admit(peer(n), MsgClass::Probe, at(n));
        assert_eq!(admission, Admission::Pass);
        if n % 500 == 0 {
            guard.check().expect("G4");
        }
    }
    guard.check().expect("G4");
    assert_eq!(guard.peers.len(), GUARDED_MAX);
    assert!(!guard.peers.contains_key(&peer(0)), "the idlest goes");
    guard.tick(at(GUARDED_MAX as u64 + 50 + IDLE_MS));
    assert!(guard.peers.is_empty());
}

proptest! {
    /// G1 over any pattern of requests.
    #[test]
    fn no_pattern_gets_more_through_than_burst_and_rate(
        gaps in prop::collection::vec(0_u64..400, 1..400),
        per_s in 1_u32..20,
    ) {
        let mut guard = Guard::new(rules(per_s));
        let mut now = 0;
        let mut passed: Vec<u64> = Vec::new();
        for gap in gaps {
            now += gap;
            if guard.admit(peer(1), MsgClass::Task, at(now)) == Admission::Pass {
                passed.push(now);
            }
        }
        for (first, from) in passed.iter().enumerate() {
            for (last, to) in passed.iter().enumerate().skip(first) {
                let most = u64::from(per_s * RATE_BURST_S) + (to - from) * u64::from(per_s) / 1_000 + 1;
                prop_assert!((last - first) as u64 <= most);
            }
        }
    }
}
