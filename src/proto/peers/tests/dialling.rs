//! Whom the book dials, and when.

use super::*;

#[test]
fn the_wait_between_dials_grows_and_has_a_bound() {
    let mut book = book(Vec::new());
    book.learned(1);
    assert_eq!(book.wait_and_fail(), 0, "the first is at once");
    let waits: Vec<u64> = (0..60).map(|_| book.wait_and_fail()).collect();
    for (tries, wait) in waits.iter().enumerate() {
        let ceiling = 500 + (500u64 << tries.min(10)).min(MINUTE_MS);
        assert!(
            (500..=ceiling).contains(wait),
            "P2: wait {tries} was {wait} ms"
        );
    }
    let late: u64 = waits[20..].iter().sum::<u64>() / 40;
    assert!(late > 10_000, "P2: {late} ms in the mean");
    assert!(waits.windows(2).any(|w| w[1] < w[0]), "with jitter");
}

#[test]
fn a_connection_that_lasts_resets_the_wait() {
    let mut book = book(Vec::new());
    book.learned(1);
    for _ in 0..20 {
        book.wait_and_fail();
    }
    book.connected(1);
    assert!(book.dials().is_empty() && book.peers.next_deadline(book.now).is_none());
    book.now = book.now + STABLE_MS;
    book.disconnected(1);
    assert!(book.wait_and_fail() <= 1_000);
}

#[test]
fn at_most_one_dial_per_peer_is_under_way() {
    let mut book = book(Vec::new());
    book.learned(1);
    assert_eq!(book.dials(), [to(1)]);
    assert!(book.dials().is_empty(), "P2");
    book.now = book.now + (DIAL_LIMIT_MS - 1);
    assert!(book.dials().is_empty(), "P2");
    book.now = book.now + 1;
    assert_eq!(book.dials(), [to(1)], "its end was never heard of");
}

#[test]
fn a_bootstrap_peer_that_is_in_the_book_is_dialled_once() {
    let start = addr(1).with(Protocol::P2p(peer(1)));
    let mut book = book(vec![start]);
    book.learned(1);
    let dials = book.dials();
    assert_eq!(dials.len(), 1, "P2: {dials:?}");
}

#[test]
fn a_bootstrap_address_is_retried_until_it_answers() {
    let mut book = book(vec![addr(1)]);
    let start = Dial {
        peer: None,
        addrs: vec![addr(1)],
    };
    assert_eq!(book.dials(), std::slice::from_ref(&start));
    assert!(book.dials().is_empty());
    assert_eq!(book.failed(&start), Some(addr(1)), "a person is told");
    for _ in 0..40 {
        let due = book
            .peers
            .next_deadline(book.now)
            .expect("it is tried again");
        assert!((500..=10_500).contains(&book.now.until(due)));
        book.now = due;
        assert_eq!(book.dials(), std::slice::from_ref(&start));
        assert_eq!(book.failed(&start), None, "but only once");
    }
    book.now = book
        .peers
        .next_deadline(book.now)
        .expect("it is tried again");
    book.dials();
    book.connected(1);
    assert!(book.dials().is_empty() && book.peers.next_deadline(book.now).is_none());
    book.now = book.now + STABLE_MS;
    book.disconnected(1);
    book.now = book.now + 1_000;
    assert!(!book.dials().is_empty(), "and again when it is lost");
}

#[test]
fn a_bootstrap_peer_that_hangs_up_is_not_redialled_in_the_same_breath() {
    let mut book = book(vec![addr(1)]);
    for _ in 0..20 {
        let due = book
            .peers
            .next_deadline(book.now)
            .expect("it is tried again");
        book.now = due;
        assert_eq!(book.dials().len(), 1);
        book.connected(1);
        book.disconnected(1);
        assert!(
            book.dials().is_empty(),
            "P2: or two nodes would do nothing else"
        );
        book.now = book.now + 1;
    }
}

#[test]
fn who_hangs_up_at_once_is_dialled_ever_less_often() {
    for bootstrap in [Vec::new(), vec![addr(1).with(Protocol::P2p(peer(1)))]] {
        let max_ms = if bootstrap.is_empty() { 60_000 } else { 10_000 };
        let mut book = book(bootstrap);
        book.learned(1);
        let mut waits = Vec::new();
        for _ in 0..40 {
            let due = book.peers.next_deadline(book.now).expect("again");
            waits.push(book.now.until(due));
            book.now = due;
            assert_eq!(book.dials().len(), 1);
            book.connected(1);
            book.now = book.now + 100;
            book.disconnected(1);
        }
        let late = waits[20..].iter().sum::<u64>() / 20;
        assert!(late > max_ms / 4, "P4: {late} ms in the mean");
        assert!(waits.iter().all(|wait| *wait <= max_ms + 500), "{waits:?}");
    }
}

#[test]
fn idle_connections_are_closed_for_want_of_room_the_longest_idle_first() {
    let mut book = book(vec![addr(1).with(Protocol::P2p(peer(1)))]);
    for n in 1..=CONNECTIONS_KEPT as u64 + 5 {
        book.connected(n);
        book.now = book.now + 1;
    }
    assert!(book.peers.idle(book.now).is_empty(), "none is idle yet");
    book.now = book.now + IDLE_MS;
    let partner = peer(2);
    book.peers.need(|id| *id == partner, book.now);
    book.peers.used(&peer(4), book.now);
    let expected = [3, 5, 6, 7, 8].map(peer);
    assert_eq!(book.peers.idle(book.now), expected);
    for n in [3, 5, 6, 7, 8] {
        book.disconnected(n);
    }
    assert!(book.peers.idle(book.now).is_empty(), "there is room now");
}

#[test]
fn our_own_address_is_never_dialled() {
    let mut book = book(vec![addr(9).with(Protocol::P2p(peer(0)))]);
    book.learned(0);
    assert!(book.dials().is_empty() && book.peers.all().count() == 0);
}

#[test]
fn no_more_than_the_target_is_dialled_for_company() {
    let mut book = book(Vec::new());
    for n in 1..=3 * TARGET_PEERS as u64 {
        book.learned(n);
    }
    let dials = book.dials();
    assert_eq!(dials.len(), TARGET_PEERS);
    assert!(book.dials().is_empty());
    book.failed(&dials[0]);
    assert_eq!(book.dials().len(), 1, "another takes its place");
}

#[test]
fn a_needed_peer_is_dialled_although_the_target_is_met() {
    let mut book = book(Vec::new());
    for n in 1..=TARGET_PEERS as u64 {
        book.connected(n);
    }
    book.learned(100);
    book.learned(101);
    assert!(book.dials().is_empty());
    let partner = peer(100);
    book.peers.need(|id| *id == partner, book.now);
    assert_eq!(book.dials(), [to(100)]);
    book.peers.need(|_| false, book.now);
    book.failed(&to(100));
    book.now = book.now + 2 * MINUTE_MS;
    assert!(book.dials().is_empty(), "needed no longer");
}

#[test]
fn a_peer_that_is_needed_is_tried_every_ten_seconds_from_then_on() {
    let mut book = book(Vec::new());
    book.learned(1);
    for _ in 0..20 {
        book.wait_and_fail();
    }
    // The longest wait of a peer that nobody needs.
    while book
        .peers
        .next_deadline(book.now)
        .is_some_and(|due| book.now.until(due) < 30_000)
    {
        book.wait_and_fail();
    }
    book.peers.need(|_| true, book.now);
    for _ in 0..20 {
        assert!(book.wait_and_fail() <= 10_500);
    }
}
