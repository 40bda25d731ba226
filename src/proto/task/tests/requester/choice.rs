//! Who gets a task, and what is told of it.

use std::collections::BTreeSet;

use super::*;
use crate::types::{Label, Marks, Tier};
use crate::wire::Budget;

/// Who was looked at for the newest attempt, and why.
fn told(ours: &Side<Requester>, id: TaskId) -> Vec<(EntityId, Why)> {
    let record = ours.record(id);
    let attempt = record.attempts.last().expect("an attempt");
    attempt
        .considered
        .iter()
        .map(|of| (of.worker, of.why))
        .collect()
}

/// What keeps candidates from a task that waits.
fn against(ours: &Side<Requester>, id: TaskId, candidates: &[Candidate]) -> Vec<(EntityId, Why)> {
    let (considered, _) = ours.core.considered(id, candidates, ours.now.mono);
    considered.iter().map(|of| (of.worker, of.why)).collect()
}

#[test]
fn who_was_considered_is_told_and_survives_a_restart() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let id = ours.submit(new_task(1));
    let far = Candidate {
        standing: 1,
        ..Candidate::new(b, 4)
    };
    let barred = |n, bar| Candidate {
        bar: Some(bar),
        ..Candidate::new(entity(n), 4)
    };
    let candidates = [
        barred(3, Bar::Banned),
        barred(4, Bar::Draining),
        far,
        Candidate::new(a, 4),
        Candidate::new(entity(5), 0),
        barred(6, Bar::CircuitOpen),
    ];
    assert_eq!(ours.assign_to(&candidates), [(a, id, token(1))]);
    let expected = [
        (a, Why::Chosen),
        (b, Why::Standing),
        (entity(5), Why::Full),
        (entity(4), Why::Draining),
        (entity(6), Why::CircuitOpen),
    ];
    assert_eq!(told(&ours, id), expected);
    assert_eq!(ours.record(id).attempts[0].others, 1, "the banned one");
    ours.restart();
    assert_eq!(told(&ours, id), expected);
}

#[test]
fn of_two_that_were_drawn_the_nearer_and_the_freer_is_chosen() {
    let (near, far) = (entity(1), entity(2));
    let at = |worker, rtt_us| Candidate {
        rtt_us: Some(rtt_us),
        ..Candidate::new(worker, 40)
    };
    let mut ours = ours();
    for n in 1..=20 {
        ours.submit(new_task(n));
    }
    let offers = ours.assign_to(&[at(far, 50_000), at(near, 500)]);
    let to_near = offers.iter().filter(|offer| offer.0 == near).count();
    assert!(
        (11..20).contains(&to_near),
        "{to_near} of 20: both are drawn, three in four go near"
    );
    for (worker, id, _) in offers {
        let [first, second] = told(&ours, id)[..] else {
            panic!("two were looked at")
        };
        assert_eq!(first, (worker, Why::Chosen));
        let why = if worker == far {
            Why::NotDrawn
        } else {
            second.1
        };
        assert_eq!(second.1, why, "the nearer never loses a draw");
    }
}

#[test]
fn who_tried_a_task_before_says_so_and_is_asked_last() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let held = ours.working(new_task(1), a);
    ours.result(held, failed());
    ours.wait(60_000);
    assert_eq!(ours.assign(&[a, b]), [(b, held.1, token(2))]);
    assert_eq!(told(&ours, held.1), [(b, Why::Chosen), (a, Why::Tried)]);
}

#[test]
fn a_waiting_task_says_what_keeps_each_worker_from_it() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let mine = ours.submit(NewTask {
        to: Some(b),
        ..new_task(1)
    });
    let full = Candidate::new(b, 0);
    let candidates = [Candidate::new(a, 4), full];
    assert!(ours.assign_to(&candidates).is_empty());
    let said = [(b, Why::Full), (a, Why::NotNamed)];
    assert_eq!(against(&ours, mine, &candidates), said);
    let free = [Candidate::new(b, 1)];
    assert_eq!(against(&ours, mine, &free), [(b, Why::Free)]);
    let offer = ours.assign_to(&free)[0];
    assert!(against(&ours, mine, &free).is_empty(), "it waits no more");
    ours.answer(offer, boot(1), AcceptAnswer::Refused(RefuseReason::Busy));
    assert_eq!(against(&ours, mine, &free), [(b, Why::PassedOver)]);
}

#[test]
fn only_the_newest_attempts_keep_who_was_considered() {
    let mut ours = ours();
    let id = ours.submit(NewTask {
        deadline_ms: 100 * HOUR_MS,
        ..new_task(1)
    });
    for n in 1..=6 {
        let offers = ours.assign(&[entity(n)]);
        assert_eq!(offers.len(), 1);
        ours.answer(offers[0], boot(1), AcceptAnswer::Accepted);
        ours.wait(20_000);
    }
    let told = ours.record(id).attempts;
    let told: Vec<bool> = told.iter().map(|of| !of.considered.is_empty()).collect();
    assert_eq!(told, [false, false, true, true, true, true]);
}

#[test]
fn who_failed_before_is_given_less() {
    let (good, bad) = (entity(1), entity(2));
    let with = |worker, score, credit| Candidate {
        score: Some(score),
        credit,
        ..Candidate::new(worker, 40)
    };
    let mut ours = ours();
    for n in 1..=40 {
        ours.submit(new_task(n));
    }
    let offers = ours.assign_to(&[with(bad, 20, 60), with(good, 500, 550)]);
    let to_bad = offers.iter().filter(|offer| offer.0 == bad).count();
    assert!(
        (1..20).contains(&to_bad),
        "{to_bad} of 40: one draw in four"
    );
    let seen = ours.record(offers[0].1).attempts[0].considered.clone();
    let scores: BTreeSet<Option<u16>> = seen.iter().map(|of| of.score).collect();
    assert_eq!(scores, [Some(20), Some(500)].into());
}

#[test]
fn what_became_of_attempts_is_told_of_their_workers_and_nothing_else() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let told = |ours: &mut Side<Requester>| ours.core.take_ends();
    let done = ours.working(new_task(1), a);
    assert!(told(&mut ours).is_empty());
    ours.result(done, completed());
    ours.result(done, completed());
    assert_eq!(told(&mut ours), [(a, AttemptEnd::Completed)], "once");
    let failing = ours.working(new_task(2), a);
    ours.result(failing, failed());
    assert_eq!(told(&mut ours), [(a, AttemptEnd::Failed)]);
    ours.kept(|core, step| core.cancel(failing.1, step));
    ours.working(new_task(3), b);
    ours.wait(20_000);
    assert_eq!(told(&mut ours), [(b, AttemptEnd::Lost)]);
    let offer = ours.assign(&[a])[0];
    ours.answer(offer, boot(1), AcceptAnswer::Refused(RefuseReason::Busy));
    ours.wait(60_000);
    let offer = ours.assign(&[a])[0];
    ours.wait(10_000);
    assert_eq!(
        told(&mut ours),
        [(a, AttemptEnd::Lost)],
        "it did not answer"
    );
    ours.kept(|core, step| core.cancel(offer.1, step));
    let held = ours.working(new_task(4), b);
    ours.result(held, TaskOutcome::Released);
    let held = ours.working(new_task(5), b);
    ours.kept(|core, step| core.cancel(held.1, step));
    assert!(told(&mut ours).is_empty(), "refused, released and canceled");
}

fn label(text: &str) -> Label {
    text.parse().expect("a label")
}

/// A task that needs these.
fn needing(n: u64, needs: &[&str]) -> NewTask {
    NewTask {
        marks: Marks {
            needs: needs.iter().map(|text| label(text)).collect(),
            ..Marks::default()
        },
        ..new_task(n)
    }
}

fn labelled(n: u8, labels: &[&str]) -> Candidate {
    Candidate {
        labels: labels.iter().map(|text| label(text)).collect(),
        ..Candidate::new(entity(n), 4)
    }
}

#[test]
fn a_task_goes_only_to_who_has_every_label_that_it_needs() {
    let mut ours = ours();
    let id = ours.submit(needing(1, &["gpu=a100", "zone=eu"]));
    let others = [
        labelled(1, &[]),
        labelled(2, &["gpu=a100"]),
        labelled(3, &["gpu=h100", "zone=eu"]),
    ];
    assert!(ours.assign_to(&others).is_empty());
    let all_lack = [1, 2, 3].map(|n| (entity(n), Why::Label));
    assert_eq!(against(&ours, id, &others), all_lack);
    ours.restart();
    let fits = labelled(4, &["gpu=a100", "size=l", "zone=eu"]);
    let all = [&others[..], &[fits]].concat();
    assert_eq!(ours.assign_to(&all), [(entity(4), id, token(1))], "T10");
    assert_eq!(told(&ours, id)[0], (entity(4), Why::Chosen));
}

#[test]
fn thousands_of_tasks_whose_labels_nobody_has_hold_up_nobody() {
    let mut ours = ours();
    for n in 1..=3_000 {
        let urgent = NewTask {
            priority: Priority::Critical,
            ..needing(n, &["gpu=none"])
        };
        let _ = ours.step(|core, step| core.submit(urgent, step));
    }
    ours.disk.flush(usize::MAX);
    let free = ours.submit(needing(9_999, &["zone=eu"]));
    let offers = ours.assign_to(&[labelled(1, &["zone=eu"])]);
    assert_eq!(offers, [(entity(1), free, token(1))]);
}

#[test]
fn a_task_that_needs_a_tier_waits_for_a_worker_that_has_come_to_it() {
    let mut ours = ours();
    let id = ours.submit(NewTask {
        marks: Marks {
            tier_min: Some(Tier::Trusted),
            ..Marks::default()
        },
        ..new_task(1)
    });
    let with = |n, score| Candidate {
        score,
        ..Candidate::new(entity(n), 4)
    };
    let below = [with(1, None), with(2, Some(499))];
    assert!(ours.assign_to(&below).is_empty());
    let why = [1, 2].map(|n| (entity(n), Why::Tier));
    assert_eq!(against(&ours, id, &below), why);
    let trusted = with(3, Some(500));
    let all = [&below[..], &[trusted]].concat();
    assert_eq!(ours.assign_to(&all), [(entity(3), id, token(1))]);
}

#[test]
fn the_same_task_with_other_demands_or_labels_is_another_one() {
    let mut ours = ours();
    let id = ours.submit(needing(1, &["zone=eu"]));
    let again = ours.step(|core, step| core.submit(needing(1, &["zone=eu"]), step));
    assert!(matches!(again, SubmitOutcome::Known(known, _) if known == id));
    let mut labelled = needing(1, &["zone=eu"]);
    labelled.marks.labels.insert(label("batch=7"));
    for other in [needing(1, &[]), needing(1, &["zone=us"]), labelled] {
        let outcome = ours.step(|core, step| core.submit(other, step));
        assert_eq!(outcome, SubmitOutcome::Conflict(id));
    }
}

/// How many of forty tasks go to the one that asks for `price`, where the other asks for 10.
fn share_of(price: u64) -> usize {
    let asks = |n, price| Candidate {
        price,
        ..Candidate::new(entity(n), 100)
    };
    let mut ours = ours();
    for n in 1..=40 {
        ours.submit(new_task(n));
    }
    let offers = ours.assign_to(&[asks(1, price), asks(2, 10)]);
    offers.iter().filter(|offer| offer.0 == entity(1)).count()
}

#[test]
fn who_asks_for_less_gets_more() {
    assert!(share_of(0) > 20 && share_of(100) < 20 && share_of(u64::MAX) < 20);
}

#[test]
fn a_task_with_a_reward_goes_to_nobody_who_asks_for_more() {
    let asks = |n, price| Candidate {
        price,
        ..Candidate::new(entity(n), 4)
    };
    let mut ours = ours();
    let budget = Budget {
        depth: 0,
        reward: 10,
    };
    let id = ours.submit(NewTask {
        delegation: Delegation {
            granted: Some(budget),
            ..Delegation::default()
        },
        ..new_task(1)
    });
    assert!(ours.assign_to(&[asks(1, 11)]).is_empty());
    assert_eq!(
        against(&ours, id, &[asks(1, 11)]),
        [(entity(1), Why::Price)]
    );
    let offers = ours.assign_to(&[asks(1, 11), asks(2, 10)]);
    assert_eq!(offers, [(entity(2), id, token(1))]);
}

#[test]
fn who_is_new_is_taken_to_be_as_near_as_others() {
    let (near, new) = (entity(1), entity(2));
    let known = Candidate {
        rtt_us: Some(500),
        ..Candidate::new(near, 100)
    };
    let mut ours = ours();
    for n in 1..=40 {
        ours.submit(new_task(n));
    }
    let offers = ours.assign_to(&[known, Candidate::new(new, 100)]);
    let to_new = offers.iter().filter(|offer| offer.0 == new).count();
    assert!((12..=28).contains(&to_new), "{to_new} of 40");
}
