//! Who is known already: the signatures of an entry are checked once.

use super::*;

/// How many signatures `at` has checked for an M1 of `from`, and whether they held.
fn judged(from: &mut Side, at: &mut Side) -> (usize, bool) {
    let (id, m1) = from.m1(at);
    let (envelope, header) = parse(&m1).expect("ours");
    let outcome = at
        .sessions
        .on_handshake(from.peer, envelope, header, at.now);
    let HandshakeOutcome::Verify { ticket, checks } = outcome else {
        panic!("an honest M1");
    };
    let good = all_good(&checks);
    let entry = at.entry.clone();
    let answered = at
        .sessions
        .handshake_verified(ticket, good, &entry, at.now, &mut at.rng);
    from.sessions.abandon(&at.peer, id);
    assert_eq!(answered.is_ok(), good);
    (checks.len(), good)
}

#[test]
fn an_entry_is_verified_once_and_the_handshake_each_time() {
    let (mut a, mut b) = pair();
    let first = judged(&mut a, &mut b);
    assert_eq!(first, (4, true), "inception, entry, binding, M1");
    assert_eq!(judged(&mut a, &mut b), (1, true));
    shake(&mut a, &mut b);
    // Both sides know each other now.
    assert_eq!(judged(&mut b, &mut a), (1, true));
    // Another entry of the same entity is a stranger's.
    a.now.wall.0 += 1_000;
    b.now.wall.0 += 1_000;
    a.entry = entry(a.now, &a.identity.clone(), &mut a.rng);
    assert_eq!(judged(&mut a, &mut b), (4, true));
}

#[test]
fn an_entry_whose_signatures_do_not_hold_stays_unknown() {
    let (mut a, mut b) = pair();
    let last = a.entry.len() - 1;
    a.entry[last] ^= 1;
    assert_eq!(judged(&mut a, &mut b), (4, false));
    assert_eq!(judged(&mut a, &mut b), (4, false));
}
