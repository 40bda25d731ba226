//! Whom the book leaves alone, and how much it holds.

use super::*;

#[test]
fn a_peer_of_another_network_is_left_alone_for_ten_minutes() {
    let mut book = book(Vec::new());
    book.learned(1);
    book.peers.wrong_network(peer(1), book.now);
    assert!(book.peers.is_shunned(&peer(1), book.now));
    assert!(
        book.connected(1),
        "and not talked to when it comes by itself"
    );
    book.disconnected(1);
    book.peers.need(|_| true, book.now);
    book.now = book.now + (WRONG_NETWORK_MS - 1);
    assert!(book.dials().is_empty(), "P1");
    book.now = book.now + 1;
    assert_eq!(book.dials(), [to(1)]);
}

#[test]
fn a_banned_peer_is_not_dialled_before_its_time_is_over() {
    for bootstrap in [Vec::new(), vec![addr(1).with(Protocol::P2p(peer(1)))]] {
        let mut book = book(bootstrap);
        book.learned(1);
        assert_eq!(book.peers.penalize(peer(1), 99, book.now), Sentence::None);
        let ban = Sentence::Ban { for_ms: BAN_MS };
        assert_eq!(book.peers.penalize(peer(1), 1, book.now), ban);
        book.now = book.now + (BAN_MS - 1);
        assert!(book.dials().is_empty(), "P1");
        let due = book
            .peers
            .next_deadline(book.now)
            .expect("it is tried again");
        assert_eq!(book.now.until(due), 1);
        book.now = due;
        assert!(!book.dials().is_empty());
    }
}

#[test]
fn penalty_wears_off() {
    let mut book = book(Vec::new());
    for _ in 0..20 {
        assert_eq!(book.peers.penalize(peer(1), 50, book.now), Sentence::None);
        book.now = book.now + 50 * PENALTY_POINT_MS;
    }
    assert_eq!(book.peers.penalize(peer(1), 0, book.now), Sentence::None);
    assert_eq!(book.peers.penalize(peer(1), 50, book.now), Sentence::None);
    assert!(matches!(
        book.peers.penalize(peer(1), 50, book.now),
        Sentence::Ban { .. }
    ));
    assert!(
        !book.peers.is_shunned(&peer(2), book.now),
        "others are not held liable"
    );
}

#[test]
fn addresses_are_bounded_and_the_newest_goes_first() {
    let mut book = book(Vec::new());
    for n in 0..40 {
        book.peers
            .learned(peer(1), &[addr(n).with(Protocol::P2p(peer(1)))], book.now);
    }
    let addrs = book.peers.addrs(&peer(1));
    assert_eq!((addrs.len(), &addrs[0]), (ADDRESSES_MAX, &addr(39)), "P3");
    book.peers.learned(peer(1), &[addr(30)], book.now);
    let again = book.peers.addrs(&peer(1));
    assert_eq!(
        (again.len(), &again[0]),
        (ADDRESSES_MAX, &addr(30)),
        "known, and newest now"
    );
}

/// As many peers as the book holds.
fn full_book() -> Book {
    let mut book = book(Vec::new());
    for n in 1..=PEERS_MAX as u64 {
        book.learned(n);
    }
    assert_eq!(book.peers.all().count(), PEERS_MAX);
    book
}

#[test]
fn the_book_is_bounded_and_what_is_useful_stays() {
    let mut book = full_book();
    let (up, partner) = (peer(1), peer(2));
    book.connected(1);
    book.peers.need(|id| *id == partner, book.now);
    for n in 0..500 {
        book.learned(100_000 + n);
    }
    assert_eq!(book.peers.all().count(), PEERS_MAX, "P3");
    assert!(book.peers.is_up(&up) && book.peers.peer(&partner).is_some());
    assert!(
        book.peers.peer(&peer(100_499)).is_some(),
        "the newest has room"
    );
}

#[test]
fn peers_that_come_by_themselves_do_not_overfill_the_book() {
    let mut book = full_book();
    for n in 0..200 {
        book.peers
            .connected(peer(100_000 + n), &addr(n), false, book.now);
        book.disconnected(100_000 + n);
        book.peers.wrong_network(peer(200_000 + n), book.now);
    }
    assert!(
        book.peers.all().count() <= PEERS_MAX,
        "P3: {} peers",
        book.peers.all().count()
    );
}

#[test]
fn a_ban_is_not_forgotten_for_want_of_room() {
    let mut book = full_book();
    let last = *book.peers.all().last().expect("a full book").0;
    let first = *book.peers.all().next().expect("a full book").0;
    for banned in [first, last] {
        assert!(matches!(
            book.peers.penalize(banned, 100, book.now),
            Sentence::Ban { .. }
        ));
    }
    for n in 0..100 {
        book.learned(100_000 + n);
    }
    for banned in [first, last] {
        assert!(book.peers.is_shunned(&banned, book.now), "P1");
    }
}

#[test]
fn a_penalty_that_wore_off_keeps_no_place() {
    let mut book = full_book();
    for n in 1..=PEERS_MAX as u64 {
        assert_eq!(book.peers.penalize(peer(n), 5, book.now), Sentence::None);
    }
    book.now = book.now + 60 * MINUTE_MS;
    book.learned(100_000);
    assert!(
        book.peers.peer(&peer(100_000)).is_some(),
        "or the book would be closed for ever"
    );
}
