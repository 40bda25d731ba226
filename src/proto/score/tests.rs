//! Facts about scores, and what holds of them whatever happens.

use proptest::prelude::*;
use rand::SeedableRng;

use super::*;
use crate::crypto::Rng;
use crate::types::{BatchId, Mono, Now, WriteBatch, WriteOp};

const START: Wall = Wall(1_700_000_000_000);

fn worker(n: u8) -> EntityId {
    EntityId([n; 32])
}

fn after(judged: &[Judged]) -> Scores {
    let mut scores = Scores::default();
    for one in judged {
        judge(&mut scores, worker(1), *one, START);
    }
    scores
}

/// In a step of its own.
fn judge(scores: &mut Scores, of: EntityId, judged: Judged, now: Wall) -> Vec<WriteOp> {
    scores.judge(of, judged, now);
    store(scores)
}

fn store(scores: &mut Scores) -> Vec<WriteOp> {
    let (mut rng, mut writes) = (Rng::seed_from_u64(1), WriteBatch::default());
    scores.store(&mut Step {
        now: Now {
            mono: Mono::from_micros(1),
            wall: START,
        },
        rng: &mut rng,
        batch: BatchId(1),
        writes: &mut writes,
    });
    writes.ops
}

fn score(scores: &Scores, now: Wall) -> u16 {
    scores.of(&worker(1), now).expect("known").0
}

#[test]
fn fifty_tasks_make_half_of_a_score_and_nobody_passes_800() {
    let mut scores = after(&[Judged::Completed; 50]);
    assert_eq!(score(&scores, START), 500);
    assert_eq!(
        scores.of(&worker(1), START).map(Score::tier),
        Some(Tier::Trusted)
    );
    for _ in 0..10_000 {
        judge(&mut scores, worker(1), Judged::Completed, START);
    }
    assert_eq!(score(&scores, START), 800);
    assert_eq!(scores.of(&worker(2), START), None);
    scores.check().expect("S1");
}

#[test]
fn an_idle_elite_falls_as_the_protocol_says() {
    // 30 of good evidence: 750. After 60 days 7.5: 428.
    let scores = after(&[Judged::Completed; 150]);
    assert_eq!(score(&scores, START), 750);
    assert!((428..=429).contains(&score(&scores, START + 60 * DAY_MS)));
}

#[test]
fn who_fails_has_less_credit_than_who_is_not_known_and_a_loss_costs_more() {
    let unknown = Scores::default().credit(&worker(1), START);
    assert_eq!(unknown, 100);
    let mut before = unknown;
    for n in 1..200 {
        let credit = after(&vec![Judged::Failed; n]).credit(&worker(1), START);
        assert!(
            credit <= before && credit < unknown,
            "{n} failures: {credit}"
        );
        before = credit;
    }
    let of = |judged| after(&[judged]).credit(&worker(1), START);
    assert!(of(Judged::Lied) < of(Judged::Lost) && of(Judged::Lost) < of(Judged::Failed));
    assert!(of(Judged::Completed) > unknown);
}

#[test]
fn what_is_judged_in_one_step_is_one_row_and_a_crash_counts_once() {
    let mut scores = Scores::default();
    for judged in [Judged::Lost, Judged::Completed, Judged::Lost, Judged::Lost] {
        scores.judge(worker(1), judged, START);
    }
    scores.judge(worker(2), Judged::Completed, START);
    assert_eq!(store(&mut scores).len(), 2);
    assert!(store(&mut scores).is_empty());
    let once = after(&[Judged::Lost, Judged::Completed]);
    assert_eq!(scores.known[&worker(1)], once.known[&worker(1)]);
}

#[test]
fn a_restart_finds_the_scores_and_refuses_what_does_not_read() {
    let mut scores = Scores::default();
    let mut rows = Vec::new();
    for op in judge(&mut scores, worker(1), Judged::Completed, START) {
        if let WriteOp::Put { space, key, value } = op {
            rows.push(Row { space, key, value });
        }
    }
    let mut again = Scores::default();
    again.load(&rows[0]).expect("our own");
    assert_eq!(again.known, scores.known);
    again.check().expect("S3");
    let with = |evidence: Evidence| Row {
        value: cbor::encode(&evidence),
        ..rows[0].clone()
    };
    let whole = scores.known[&worker(1)];
    let cut = Row {
        key: vec![1],
        ..rows[0].clone()
    };
    let newer = with(Evidence { v: 2, ..whole });
    let more = with(Evidence {
        a: EVIDENCE_MAX + 1,
        ..whole
    });
    for row in [cut, newer, more] {
        assert!(Scores::default().load(&row).is_err());
    }
}

#[test]
fn of_too_many_workers_those_judged_longest_ago_go_with_their_rows() {
    let mut scores = Scores::default();
    let nth = |n: usize| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        EntityId(id)
    };
    for n in 0..SCORED_MAX {
        judge(
            &mut scores,
            nth(n),
            Judged::Completed,
            START + n as u64 * FADE_MS,
        );
    }
    let later = START + SCORED_MAX as u64 * FADE_MS;
    judge(&mut scores, nth(0), Judged::Failed, later);
    let written = judge(&mut scores, nth(SCORED_MAX), Judged::Completed, later);
    let deleted = |op: &&WriteOp| matches!(op, WriteOp::Delete { key, .. } if *key == nth(1).0);
    assert_eq!(written.iter().filter(deleted).count(), 1);
    assert!(scores.of(&nth(1), later).is_none() && scores.of(&nth(0), later).is_some());
    scores.check().expect("S3");
}

#[test]
fn powers_of_two_are_right_to_a_millionth() {
    for (passed, half_life) in [(1, 3), (7, 10), (29, 30), (2, 2), (95, 30), (1, 1_000_000)] {
        let exact = 1e9 * (-(passed as f64) / half_life as f64).exp2();
        let told = decayed(1_000_000_000, passed, half_life) as f64;
        assert!(
            (exact - told).abs() / exact < 1e-6,
            "2^-{passed}/{half_life}: {told}"
        );
    }
    assert_eq!(decayed(1_000, 0, 5), 1_000);
    assert_eq!(decayed(u64::from(u32::MAX), u64::MAX, 1), 0);
}

fn any_judged() -> impl Strategy<Value = Judged> {
    prop_oneof![
        4 => Just(Judged::Completed),
        2 => Just(Judged::Failed),
        1 => Just(Judged::Lost),
        1 => Just(Judged::Lied),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_scores_are_bounded_and_move_the_right_way(
        story in prop::collection::vec((any_judged(), 0_u64..40 * DAY_MS, any::<bool>()), 1..200),
    ) {
        let (mut scores, mut now, mut set_back) = (Scores::default(), START, false);
        for (judged, passed, back) in story {
            // Now and then the clock is set back by an hour.
            now = match back && !set_back {
                true => Wall(now.0 - 3_600_000),
                false => now + passed,
            };
            set_back = back;
            let before = scores.known.get(&worker(1)).copied();
            let before = before.unwrap_or_else(|| Evidence::new(now));
            let faded = before.at(now);
            prop_assert!(faded.a <= before.a && faded.b <= before.b, "S2");
            judge(&mut scores, worker(1), judged, now);
            let after = scores.known[&worker(1)];
            let (was, is) = (faded.per_mille(0), after.per_mille(0));
            match judged {
                Judged::Completed => prop_assert!(is >= was, "S2"),
                // A tenth of a failure is good: it never counts for more than the rest.
                Judged::Failed => prop_assert!(is <= was.max(28), "S2"),
                Judged::Lost | Judged::Lied => prop_assert!(is <= was, "S2"),
            }
            prop_assert!(is <= 800, "S1");
            prop_assert!(after.per_mille(UNIT) <= 1_000);
            scores.check().map_err(|broken| TestCaseError::fail(format!("{broken:?}")))?;
        }
    }

    #[test]
    fn fading_in_many_steps_is_fading_in_one(
        steps in prop::collection::vec(1_u64..5 * DAY_MS, 1..50),
    ) {
        let begun = after(&[Judged::Completed, Judged::Lost]).known[&worker(1)];
        let (mut now, mut walked) = (START, begun);
        for step in steps {
            now = now + step;
            walked = walked.at(now);
        }
        let leapt = begun.at(now);
        prop_assert!(walked.a.abs_diff(leapt.a) <= 60 && walked.b.abs_diff(leapt.b) <= 60);
    }
}
