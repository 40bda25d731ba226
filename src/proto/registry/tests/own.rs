//! Our own entry, and finding others.

use super::*;

#[test]
fn our_number_is_on_disk_before_the_entry_is_shown() {
    let mut registry = registry(0);
    assert!(registry.own().is_none());
    let (_, writes) = step(at(START), |step| registry.issue(step));
    let (own, written) = registry.own().expect("issued");
    assert_eq!((own.body.seq, written), (1, BatchId(7)), "R2");
    let WriteOp::Put { value, .. } = &writes.ops[0] else {
        panic!("{writes:?}")
    };
    assert_eq!(*value, own.bytes);
}

#[test]
fn our_numbers_go_on_after_a_restart_even_when_the_entry_expired() {
    let mut before = registry(0);
    for _ in 0..3 {
        step(at(START), |step| before.issue(step));
    }
    let value = before.own().expect("issued").0.bytes.clone();
    let mut after = registry(0);
    let key = after.me.0.to_vec();
    let late = at(START + 10 * ENTRY_MAX_LIFE_MS);
    after.load(
        &Row {
            space: Keyspace::Entry,
            key,
            value,
        },
        late,
    );
    step(late, |step| after.issue(step));
    assert_eq!(after.own().expect("issued").0.body.seq, 4, "R1");
}

#[test]
fn our_number_goes_past_a_higher_one_of_an_older_life() {
    let me = identity(0);
    let mut registry = registry(0);
    step(at(START), |step| registry.issue(step));
    assert!(
        !merge(&mut registry, &entry(&me, 40)),
        "it is not taken over"
    );
    assert_eq!(registry.own().expect("ours").0.body.seq, 1);
    let (issued, _) = step(at(START), |step| registry.tick(step));
    assert!(issued);
    assert_eq!(registry.own().expect("ours").0.body.seq, 41);
    registry.check().expect("R1");
}

#[test]
fn our_entry_is_renewed_long_before_it_expires_and_when_addresses_change() {
    let mut registry = registry(0);
    step(at(START), |step| registry.issue(step));
    let expires = registry.own().expect("issued").0.body.expires;
    let soon = at(START + HOUR_MS);
    assert!(!step(soon, |step| registry.tick(step)).0);
    let half_way = at(START + (expires.0 - START.0) / 2);
    assert!(step(half_way, |step| registry.tick(step)).0);
    let addr: Multiaddr = "/ip4/127.0.0.1/tcp/4001".parse().expect("an address");
    let changed = |registry: &mut Registry| {
        step(half_way, |step| {
            registry.addresses_changed(vec![addr.clone()], step)
        })
        .0
    };
    assert!(changed(&mut registry));
    assert!(!changed(&mut registry), "the same addresses are no news");
    assert_eq!(registry.own().expect("issued").0.body.addresses, [addr]);
}

#[test]
fn entries_are_found_by_name_by_peer_and_by_what_they_offer() {
    let (a, b) = (identity(1), identity(2));
    let mut registry = registry(0);
    merge(&mut registry, &sign(&body(&a, 1, "twin"), &a));
    merge(&mut registry, &sign(&body(&b, 1, "twin"), &b));
    step(at(START), |step| registry.issue(step));
    assert_eq!(registry.named(&"twin".parse().expect("a name")).count(), 2);
    assert_eq!(registry.entity_of(&b.peer_id), Some(b.entity_id));
    let wc = wc();
    assert!(
        registry
            .offering(&wc)
            .all(|(entry, slots)| slots == 2 && entry.body.entity_id != registry.me)
    );
    assert_eq!(registry.offering(&wc).count(), 2);
    // The newer entry of one takes its offer back.
    let mut without = body(&a, 2, "twin");
    without.capabilities.clear();
    merge(&mut registry, &sign(&without, &a));
    assert_eq!(registry.offering(&wc).count(), 1);
}
