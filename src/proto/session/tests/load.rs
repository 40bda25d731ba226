//! Under load: cookies, quotas, and that an honest peer gets in all the same.

use super::*;
use crate::types::limits::{COOKIE_FROM_CHECKS, HALF_OPEN_PER_PREFIX_MAX};

fn at(prefix: usize) -> Multiaddr {
    let (high, low) = (prefix / 256 % 256, prefix % 256);
    format!("/ip4/10.{high}.{low}.1/tcp/4001")
        .parse()
        .expect("an address")
}

/// Begins a handshake from each of `peers` and leaves its signatures unchecked.
fn load(b: &mut Side, peers: u64) {
    for seed in 0..peers {
        let mut a = side(1_000 + seed);
        a.now = b.now;
        let (_, m1) = a.m1(b);
        let (envelope, header) = parse(&m1).expect("well formed");
        let outcome = b.sessions.on_handshake(a.peer, envelope, header, b.now);
        assert!(matches!(outcome, HandshakeOutcome::Verify { .. }));
    }
}

#[test]
fn under_load_the_first_message_is_repeated_with_a_cookie() {
    let (mut a, mut b) = pair();
    load(&mut b, COOKIE_FROM_CHECKS as u64);
    let (id, m1) = a.m1(&b);
    assert_eq!(b.on_m1(a.peer, &m1), Err(WireError::Busy));
    let challenge = b.challenge.take().expect("a cookie");
    let outcome = a.sessions.on_ack(b.peer, id, &challenge, a.now);
    let AckOutcome::Again(again) = outcome else {
        panic!("{outcome:?}")
    };
    let m2 = b.on_m1(a.peer, &again).expect("the cookie is good");
    let m3 = a.on_m2(b.peer, id, &m2).expect("an honest M2");
    let ready = b.on_m3(a.peer, &m3).expect("the transcript has the cookie");
    assert!(a.sessions.on_ready(b.peer, id, &ready, a.now).is_ok());
    b.sessions.check().expect("invariants");
}

#[test]
fn a_second_challenge_ends_the_handshake() {
    let (mut a, mut b) = pair();
    load(&mut b, COOKIE_FROM_CHECKS as u64);
    let (id, m1) = a.m1(&b);
    assert_eq!(b.on_m1(a.peer, &m1), Err(WireError::Busy));
    let challenge = b.challenge.take().expect("a cookie");
    let again = a.sessions.on_ack(b.peer, id, &challenge, a.now);
    assert!(matches!(again, AckOutcome::Again(_)));
    let outcome = a.sessions.on_ack(b.peer, id, &challenge, a.now);
    assert_eq!(outcome, AckOutcome::Failed(WireError::Busy));
    assert!(!a.sessions.is_opening(&b.peer));
}

#[test]
fn a_stolen_or_invented_cookie_is_of_no_use() {
    let (mut a, mut b) = pair();
    let mut thief = side(3);
    load(&mut b, COOKIE_FROM_CHECKS as u64);
    let (_, m1) = a.m1(&b);
    assert_eq!(b.on_m1(a.peer, &m1), Err(WireError::Busy));
    let challenge = b.challenge.take().expect("a cookie");
    // The thief puts the cookie into a handshake of its own.
    let (id, _) = thief.m1(&b);
    let outcome = thief.sessions.on_ack(b.peer, id, &challenge, thief.now);
    let AckOutcome::Again(again) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(b.on_m1(thief.peer, &again), Err(WireError::Busy));
    assert!(b.challenge.is_some(), "it is asked for one of its own");
}

#[test]
fn without_load_no_cookie_is_asked_for() {
    let (mut a, mut b) = pair();
    load(&mut b, COOKIE_FROM_CHECKS as u64 - 1);
    let (_, m1) = a.m1(&b);
    assert!(b.on_m1(a.peer, &m1).is_ok());
}

#[test]
fn one_prefix_holds_its_share_of_half_open_handshakes_and_no_more() {
    let mut b = side(2);
    let count = HALF_OPEN_PER_PREFIX_MAX as u64 + 10;
    for seed in 0..count {
        let mut a = side(100 + seed);
        b.sessions.connected(a.peer, &at(1));
        let (_, m1) = a.m1(&b);
        assert!(b.on_m1(a.peer, &m1).is_ok());
        b.sessions.check().expect("bounded");
    }
    assert_eq!(b.sessions.half_open.len(), HALF_OPEN_PER_PREFIX_MAX);
    // Another prefix is not touched by that, and loopback has no such bound.
    for seed in 0..count {
        let mut a = side(1_000 + seed);
        let loopback = "/ip4/127.0.0.1/tcp/1".parse().expect("an address");
        b.sessions.connected(a.peer, &loopback);
        let (_, m1) = a.m1(&b);
        assert!(b.on_m1(a.peer, &m1).is_ok());
    }
    let expected = HALF_OPEN_PER_PREFIX_MAX + count as usize;
    assert_eq!(b.sessions.half_open.len(), expected);
}

/// `a` begins a handshake and comes back with a cookie if it is asked to. Its session id and M2.
fn begin(a: &mut Side, b: &mut Side) -> (SessionId, Vec<u8>) {
    let (id, m1) = a.m1(b);
    if let Ok(m2) = b.on_m1(a.peer, &m1) {
        return (id, m2);
    }
    let cookie = b.challenge.take().expect("under load");
    let outcome = a.sessions.on_ack(b.peer, id, &cookie, a.now);
    let AckOutcome::Again(again) = outcome else {
        panic!("{outcome:?}")
    };
    (id, b.on_m1(a.peer, &again).expect("the cookie is good"))
}

#[test]
fn when_all_is_taken_the_oldest_of_whoever_holds_most_goes() {
    let mut b = side(2);
    b.trusts = true;
    let from = |b: &mut Side, seed: u64, prefix: usize| {
        let mut a = side(seed);
        a.now = b.now;
        b.sessions.connected(a.peer, &at(prefix));
        begin(&mut a, b).0
    };
    let quiet = from(&mut b, 1, 0);
    b.now.mono = b.now.mono + 1;
    // Sixteen prefixes share the other places.
    let greedy: Vec<SessionId> = (0..HALF_OPEN_MAX - 1)
        .map(|n| from(&mut b, 10 + n as u64, 1 + n % 16))
        .collect();
    assert_eq!(b.sessions.half_open.len(), HALF_OPEN_MAX);
    from(&mut b, 5_000, 99);
    let held = |id: &SessionId| b.sessions.half_open.contains(id);
    assert_eq!(b.sessions.half_open.len(), HALF_OPEN_MAX);
    assert!(held(&quiet), "it is the oldest, but holds only one");
    assert_eq!(greedy.iter().filter(|id| !held(id)).count(), 1);
    b.sessions.check().expect("bounded");
}

/// 5,000 PeerIds at 1,000 address prefixes leave 20,000 handshakes half-open within ten seconds of
/// virtual time, and an honest peer comes after each thousandth. (What is shown is that it gets in
/// whatever the tables hold. The liars' signatures are taken for good; over the wire there is a
/// test of its own.)
#[test]
fn an_honest_peer_gets_in_among_twenty_thousand_half_open_handshakes() {
    let mut b = side(2);
    let mut honest = 0;
    for n in 0..5_000 {
        let mut liar = side(100 + n);
        b.sessions.connected(liar.peer, &at(n as usize % 1_000));
        b.trusts = true;
        for _ in 0..4 {
            liar.now = b.now;
            let (id, _) = begin(&mut liar, &mut b);
            liar.sessions.abandon(&b.peer, id);
        }
        b.trusts = false;
        b.now.mono = b.now.mono + 2;
        if n % 250 == 249 {
            b.sessions.tick(b.now);
            b.sessions.check().expect("bounded");
            let mut a = side(10_000 + n);
            b.sessions.connected(a.peer, &at(3_000));
            a.now = b.now;
            let (id, m2) = begin(&mut a, &mut b);
            let m3 = a.on_m2(b.peer, id, &m2).expect("an honest M2");
            b.on_m3(a.peer, &m3).expect("it still has its place");
            honest += 1;
        }
    }
    assert_eq!((b.sessions.len(), honest), (20, 20));
    assert!(
        b.sessions.half_open.len() > HALF_OPEN_MAX / 2,
        "it was under load"
    );
}
