//! Rotated keys: who may speak for an entity, whatever order the news come in.

use proptest::prelude::*;

use super::*;
use crate::crypto::{Keys, Rng};

const LAST: usize = 4;

/// The keys of one entity, from its first on.
fn life(seed: u64) -> Vec<Keys> {
    let mut rng = Rng::seed_from_u64(seed);
    let mut life = vec![Keys::found(Seeds::generate(&mut rng))];
    for at in 0..LAST {
        let next = life[at].rotate(&mut rng).expect("room for more");
        life.push(next);
    }
    life
}

fn by(keys: &Keys, seq: u64) -> Vec<u8> {
    entry(&keys.identity(), seq)
}

/// Another rotation in the place of `keys`' next: somebody has a copy of all its secrets.
fn fork(keys: &Keys) -> Keys {
    keys.rotate(&mut Rng::seed_from_u64(77)).expect("room")
}

fn reload(of: &Registry, writes: &[WriteBatch], now: Now) -> Registry {
    let mut registry = Registry::new(of.announcement.clone());
    let mut rows = BTreeMap::new();
    for op in writes.iter().flat_map(|batch| &batch.ops) {
        match op {
            WriteOp::Put { space, key, value } => {
                rows.insert((*space, key.clone()), value.clone());
            }
            WriteOp::Delete { space, key } => {
                rows.remove(&(*space, key.clone()));
            }
        }
    }
    for ((space, key), value) in rows {
        registry.load(&Row { space, key, value }, now);
    }
    registry
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_longest_chain_then_the_highest_number_wins_in_any_order(
        order in Just((0..=LAST).flat_map(|at| [(at, 1), (at, 9 - at as u64)]).collect::<Vec<_>>())
            .prop_shuffle(),
        shown in 1usize..10,
    ) {
        let life = life(1);
        let shown = &order[..shown.min(order.len())];
        let entries: Vec<Vec<u8>> = shown.iter().map(|(at, seq)| by(&life[*at], *seq)).collect();
        let merged = all_merged(&entries.iter().collect::<Vec<_>>());
        let (at, seq) = shown.iter().max().expect("one at least");
        let kept = merged.entries().next().expect("one entity");
        prop_assert_eq!((kept.body.rotations.len(), kept.body.seq), (*at, *seq));
        prop_assert_eq!(kept.body.entity_id, life[0].chain().entity_id());
        // R4: whatever an older key says from now on is not even looked at.
        for older in &life[..*at] {
            let late = by(older, u64::MAX - 1);
            prop_assert_eq!(merged.arrived(&late, at_start()), Arrival::Ignored);
            prop_assert!(!merged.admits(&late));
        }
    }

    #[test]
    fn a_bent_chain_is_refused_or_its_signatures_do_not_hold(
        at in 0usize..=LAST, byte in 0usize..10_000, bit in 0u8..8,
    ) {
        let keys = &life(2)[at];
        let id = keys.identity();
        let mut bent = body(&id, 1, "bent");
        let mut documents = bent.inception.len();
        documents += bent.rotations.iter().map(|rotation| rotation.len()).sum::<usize>();
        let byte = byte % documents;
        let (rotation, offset) = match byte.checked_sub(136) {
            None => (None, byte),
            Some(rest) => (Some(rest / 192), rest % 192),
        };
        match rotation {
            None => bent.inception[offset] ^= 1 << bit,
            Some(nth) => bent.rotations[nth][offset] ^= 1 << bit,
        }
        match registry(0).arrived(&sign(&bent, &id), at_start()) {
            Arrival::Bad(_) => {}
            Arrival::Check(checks) => prop_assert!(!checks.iter().all(SigCheck::verify)),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn a_chain_without_one_of_its_links_is_refused(at in 1usize..=LAST, gone in 0usize..LAST) {
        let id = life(3)[at].identity();
        let mut bent = body(&id, 1, "bent");
        bent.rotations.remove(gone % at);
        let arrival = registry(0).arrived(&sign(&bent, &id), at_start());
        prop_assert!(matches!(arrival, Arrival::Bad(EntryError::Rule(_))), "{arrival:?}");
    }

    #[test]
    fn two_registries_agree_on_keys_by_their_digests(
        mine in proptest::collection::vec((1u64..6, 0usize..=LAST, 1u64..5), 0..12),
        theirs in proptest::collection::vec((1u64..6, 0usize..=LAST, 1u64..5), 0..12),
    ) {
        let lives: Vec<Vec<Keys>> = (1..6).map(life).collect();
        let fill = |of: &[(u64, usize, u64)]| {
            let one = |(who, at, seq): &(u64, usize, u64)| by(&lives[*who as usize - 1][*at], *seq);
            all_merged(&of.iter().map(one).collect::<Vec<_>>().iter().collect::<Vec<_>>())
        };
        let (mut mine, mut theirs) = (fill(&mine), fill(&theirs));
        prop_assert!(!merge::exchange(&mut mine, &mut theirs));
        prop_assert_eq!(content(&mine), content(&theirs));
    }
}

fn at_start() -> Now {
    at(START)
}

#[test]
fn an_honest_chain_passes_and_is_told_once() {
    let life = life(1);
    let mut registry = registry(0);
    for (keys, at) in life.iter().zip(0..) {
        let bytes = by(keys, 1);
        let Arrival::Check(checks) = registry.arrived(&bytes, at_start()) else {
            panic!("rotation {at} is news")
        };
        assert_eq!(checks.len(), 3 + 2 * at);
        assert!(checks.iter().all(SigCheck::verify));
        assert!(merge(&mut registry, &bytes));
    }
    let entity = life[0].chain().entity_id();
    let told: Vec<KeyNews> = (1..=4)
        .map(|rotations| KeyNews::Rotated { entity, rotations })
        .collect();
    assert_eq!(registry.take_key_news(), told);
    registry.check().expect("R4");
}

#[test]
fn an_old_key_is_not_heard_again_after_the_entry_expired_and_after_a_restart() {
    let life = life(1);
    let mut registry = registry(0);
    let (_, first) = step(at_start(), |step| registry.merge(&by(&life[2], 1), step));
    let late = at(START + HOUR_MS);
    let (_, second) = step(late, |step| registry.tick(step));
    assert!(registry.is_empty(), "it expired");
    let restarted = reload(&registry, &[first, second], late);
    let thief = life[1].identity();
    let mut stale = body(&thief, 9, "thief");
    (stale.issued, stale.expires) = (late.wall, late.wall + HOUR_MS);
    let stale = sign(&stale, &thief);
    for registry in [&registry, &restarted] {
        assert_eq!(registry.arrived(&stale, late), Arrival::Ignored, "R4");
        assert!(!registry.admits(&stale));
    }
    let owner = life[3].identity();
    let mut fresh = body(&owner, 1, "owner");
    (fresh.issued, fresh.expires) = (late.wall, late.wall + HOUR_MS);
    assert!(restarted.admits(&sign(&fresh, &owner)));
}

#[test]
fn of_two_rotations_of_one_key_the_first_seen_stays_and_the_fork_is_told_once() {
    let life = life(1);
    let (ours, other) = (by(&life[2], 1), by(&fork(&life[1]), 5));
    let mut registry = registry(0);
    assert!(merge(&mut registry, &ours));
    // Whether it is a fork, or a lie about one, its signatures say.
    assert!(matches!(
        registry.arrived(&other, at_start()),
        Arrival::Check(_)
    ));
    assert!(!registry.admits(&other));
    assert!(!merge(&mut registry, &other));
    assert!(!merge(&mut registry, &other));
    let entity = life[0].chain().entity_id();
    assert_eq!(registry.take_key_news(), [KeyNews::Forked { entity }]);
    assert_eq!(registry.arrived(&other, at_start()), Arrival::Ignored);
    // A longer chain over the other branch is a fork as well; one over ours is news.
    let longer = fork(&fork(&life[1]));
    assert!(!merge(&mut registry, &by(&longer, 9)));
    assert!(merge(&mut registry, &by(&life[3], 1)));
    registry.check().expect("R4");
}

#[test]
fn the_numbers_begin_anew_with_a_key_and_a_thief_cannot_use_them_up() {
    let life = life(1);
    let mut registry = Registry::new(announcement(life[0].identity()));
    step(at_start(), |step| registry.issue(step));
    // The thief of our first key has gone as far as numbers go; ours follows, and is stuck.
    merge(&mut registry, &by(&life[0], u64::MAX - 1));
    for _ in 0..3 {
        step(at_start(), |step| registry.issue(step));
    }
    let stuck = registry.own().expect("issued").0.bytes.clone();
    assert!(SignedEntry::parse(&stuck).is_err(), "no number is left");
    let (_, writes) = step(at_start(), |step| {
        registry.rekey(life[1].identity(), step);
    });
    let own = registry.own().expect("issued").0;
    assert_eq!((own.body.seq, own.body.rotations.len()), (1, 1));
    let restarted = reload(&registry, &[writes], at_start());
    assert_eq!(restarted.announcement.seq, 1);
    let mut peer = all_merged(&[&by(&life[0], u64::MAX - 1)]);
    let bytes = registry.own().expect("issued").0.bytes.clone();
    assert!(merge(&mut peer, &bytes));
}

#[test]
fn an_old_copy_of_our_keys_is_told_once_and_follows_nobody() {
    let life = life(1);
    let mut registry = Registry::new(announcement(life[1].identity()));
    step(at_start(), |step| registry.issue(step));
    merge(&mut registry, &by(&life[2], 40));
    merge(&mut registry, &by(&life[3], 41));
    merge(&mut registry, &by(&life[0], 42));
    assert_eq!(registry.take_key_news(), [KeyNews::Outdated]);
    assert_eq!(registry.own().expect("ours").0.body.seq, 1);
    registry.check().expect("R1");
}
