//! The merge: its laws, what it takes, and its bounds.

use proptest::prelude::*;

use super::*;

/// Three entities at four numbers, the last in two versions.
fn population() -> Vec<Vec<u8>> {
    let versions = [(1, "a"), (2, "a"), (3, "a"), (4, "a"), (4, "b")];
    let of = |by: Identity| versions.map(|(seq, name)| sign(&body(&by, seq, name), &by));
    (1..=3).map(identity).flat_map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_and_repetition_of_merges_do_not_matter(
        (some, again) in proptest::sample::subsequence(population(), 0..=15).prop_flat_map(|some| {
            let repeated: Vec<Vec<u8>> = some.iter().chain(&some).cloned().collect();
            (Just(some), Just(repeated).prop_shuffle())
        })
    ) {
        let (once, again) = (
            all_merged(&some.iter().collect::<Vec<_>>()),
            all_merged(&again.iter().collect::<Vec<_>>()),
        );
        prop_assert_eq!(content(&once), content(&again));
    }

    #[test]
    fn the_grouping_of_merges_does_not_matter(
        groups in proptest::collection::vec(proptest::sample::subsequence(population(), 0..=15), 3)
    ) {
        let [a, b, c] = &groups[..] else { unreachable!("three groups") };
        let joined = |left: &Registry, right: &Registry| {
            all_merged(&left.entries().chain(right.entries()).map(|e| &e.bytes).collect::<Vec<_>>())
        };
        let of = |group: &[Vec<u8>]| all_merged(&group.iter().collect::<Vec<_>>());
        let left = joined(&joined(&of(a), &of(b)), &of(c));
        let right = joined(&of(a), &joined(&of(b), &of(c)));
        prop_assert_eq!(content(&left), content(&right));
    }

    #[test]
    fn two_registries_become_one_by_their_digests(
        mine in proptest::collection::vec((1u64..20, 1u64..5), 0..24),
        theirs in proptest::collection::vec((1u64..20, 1u64..5), 0..24),
    ) {
        let fill = |of: &[(u64, u64)]| {
            let entries: Vec<Vec<u8>> = of.iter().map(|(by, seq)| entry(&identity(*by), *seq)).collect();
            all_merged(&entries.iter().collect::<Vec<_>>())
        };
        let (mut mine, mut theirs) = (fill(&mine), fill(&theirs));
        prop_assert!(!exchange(&mut mine, &mut theirs));
        prop_assert_eq!(content(&mine), content(&theirs));
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let mut registry = registry(0);
        let refused = matches!(registry.arrived(&bytes, at(START)), Arrival::Bad(_));
        prop_assert!(refused);
        prop_assert!(!merge(&mut registry, &bytes));
    }
}

/// One round: a digest, its answer, and what the answer asked for. Returns whether more is to come.
pub(super) fn exchange(mine: &mut Registry, theirs: &mut Registry) -> bool {
    let now = at(START);
    let asked = RegistrySync {
        have: Some(mine.digest(now)),
        entries: Vec::new(),
    };
    let answer = theirs.compare(&asked, now);
    for bytes in &answer.entries {
        assert!(merge(mine, bytes), "only what was lacking is sent");
    }
    for bytes in mine.wanted(&answer.want, now) {
        assert!(merge(theirs, &bytes), "only what was lacking is sent");
    }
    answer.more
}

#[test]
fn the_newer_number_wins_and_of_equal_ones_the_greater_bytes() {
    let by = identity(1);
    let (old, new) = (entry(&by, 1), entry(&by, 2));
    let (a, b) = (sign(&body(&by, 2, "a"), &by), sign(&body(&by, 2, "b"), &by));
    let mut registry = registry(0);
    assert!(merge(&mut registry, &new));
    assert!(!merge(&mut registry, &old), "R1");
    assert_eq!(registry.arrived(&old, at(START)), Arrival::Ignored);
    assert_eq!(registry.arrived(&new, at(START)), Arrival::Known);
    merge(&mut registry, &a);
    merge(&mut registry, &b);
    let greatest = [&new, &a, &b].into_iter().max().expect("three");
    assert_eq!(content(&registry), [&greatest[..]]);
}

#[test]
fn a_merge_is_stored_and_names_the_batch() {
    let (by, mut registry) = (identity(1), registry(0));
    let bytes = entry(&by, 1);
    let (_, writes) = step(at(START), |step| registry.merge(&bytes, step));
    let key = by.entity_id.0.to_vec();
    assert_eq!(
        writes.ops,
        [WriteOp::Put {
            space: Keyspace::Entry,
            key,
            value: bytes
        }]
    );
    let (_, writes) = step(at(START), |step| registry.merge(&entry(&by, 1), step));
    assert!(writes.is_empty(), "what is known writes nothing");
}

#[test]
fn an_expired_entry_is_not_taken_and_not_kept() {
    let (by, mut registry) = (identity(1), registry(0));
    let bytes = entry(&by, 1);
    let late = at(START + HOUR_MS);
    assert_eq!(registry.arrived(&bytes, late), Arrival::Ignored);
    assert!(!step(late, |step| registry.merge(&bytes, step)).0);
    assert!(merge(&mut registry, &bytes));
    assert_eq!(registry.entity_of(&by.peer_id), Some(by.entity_id));
    assert!(registry.digest(late).is_empty() && registry.wanted(&[by.entity_id], late).is_empty());
    let (_, writes) = step(late, |step| registry.tick(step));
    assert!(
        registry.is_empty() && registry.entity_of(&by.peer_id).is_none(),
        "R3"
    );
    let key = by.entity_id.0.to_vec();
    assert_eq!(
        writes.ops,
        [WriteOp::Delete {
            space: Keyspace::Entry,
            key
        }]
    );
    // What was stored and has expired meanwhile is not taken back.
    let row = Row {
        space: Keyspace::Entry,
        key: by.entity_id.0.to_vec(),
        value: bytes,
    };
    registry.load(&row, late);
    assert!(registry.is_empty());
    registry.load(&row, at(START));
    assert_eq!(registry.len(), 1);
}

#[test]
fn an_entry_from_far_ahead_is_ignored() {
    let (by, registry) = (identity(1), registry(0));
    let bytes = entry(&by, 1);
    let behind = |ms: u64| at(Wall(START.0 - ms));
    assert!(matches!(
        registry.arrived(&bytes, behind(AHEAD_MAX_MS)),
        Arrival::Check(_)
    ));
    assert_eq!(
        registry.arrived(&bytes, behind(AHEAD_MAX_MS + 1)),
        Arrival::Ignored
    );
}

#[test]
fn a_registry_too_large_for_one_message_is_handed_over_in_parts() {
    let addr: Multiaddr = "/ip6/2001:db8:1:2:3:4:5:6/udp/65535/quic-v1"
        .parse()
        .expect("an address");
    let wide = |seed: u64| {
        let by = identity(seed);
        let mut body = body(&by, 1, "wide");
        body.addresses = vec![addr.clone(); ADDRESSES_MAX];
        sign(&body, &by)
    };
    let entries: Vec<Vec<u8>> = (1..=900).map(wide).collect();
    let total: usize = entries.iter().map(Vec::len).sum();
    assert!(total > SYNC_MAX_BYTES, "{total} bytes");
    let full = all_merged(&entries.iter().collect::<Vec<_>>());
    // Asked for, and offered: both ways are bounded, and both end.
    for asks in [true, false] {
        let (mut a, mut b) = match asks {
            true => (
                all_merged(&[]),
                all_merged(&entries.iter().collect::<Vec<_>>()),
            ),
            false => (
                all_merged(&entries.iter().collect::<Vec<_>>()),
                all_merged(&[]),
            ),
        };
        let mut rounds = 0;
        while a.len() != b.len() {
            exchange(&mut a, &mut b);
            rounds += 1;
            assert!((1..10).contains(&rounds), "{} and {}", a.len(), b.len());
        }
        assert!(rounds > 1);
        assert_eq!((content(&a), content(&b)), (content(&full), content(&full)));
    }
}

#[test]
fn a_full_registry_ignores_strangers_and_hears_of_those_it_knows() {
    let mut registry = registry(0);
    // Judged while there was room, merged when there was none any more.
    let late = entry(&identity(999_999), 1);
    assert!(matches!(
        registry.arrived(&late, at(START)),
        Arrival::Check(_)
    ));
    for seed in 1..=REGISTRY_MAX_ENTRIES as u64 {
        assert!(merge(&mut registry, &entry(&identity(seed), 1)));
    }
    assert_eq!(registry.arrived(&late, at(START)), Arrival::Ignored);
    let newer = entry(&identity(1), 2);
    assert!(matches!(
        registry.arrived(&newer, at(START)),
        Arrival::Check(_)
    ));
    assert!(merge(&mut registry, &newer));
    step(at(START), |step| registry.issue(step));
    registry
        .check()
        .expect("R3: our own has a place of its own");
    merge(&mut registry, &late);
    registry.check().expect("R3");
}
