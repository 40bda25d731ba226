//! Tasks that wait at a worker, and tasks that one handed over.

use super::*;
use crate::proto::task::{EventKind, Why};
use crate::types::limits::HANDOVERS_MAX;

fn queueing(n: u8, slots: u32, queue: u32) -> Candidate {
    Candidate {
        queue,
        ..Candidate::new(entity(n), slots)
    }
}

fn over_to(n: &[u8]) -> TaskOutcome {
    let suggest = n.iter().map(|n| entity(*n)).collect();
    TaskOutcome::HandedOver { suggest }
}

#[test]
fn a_free_slot_is_preferred_to_every_queue() {
    let mut ours = ours();
    for n in 1..=6 {
        ours.submit(new_task(n));
    }
    // The one with the slots stands worse and is far away.
    let far = Candidate {
        standing: 2,
        rtt_us: Some(900_000),
        ..Candidate::new(entity(2), 3)
    };
    let offers = ours.assign_to(&[queueing(1, 1, 8), far]);
    let at = |n: u8| {
        offers
            .iter()
            .filter(|(worker, ..)| *worker == entity(n))
            .count()
    };
    assert_eq!(
        (at(1), at(2)),
        (3, 3),
        "one slot, three slots, then the queue"
    );
    let (seen, _) = (ours.record(task_id(2)).attempts[0].considered.clone(), ());
    assert!(seen.iter().any(|one| one.why == Why::Chosen), "{seen:?}");
}

#[test]
fn slots_and_places_together_are_the_limit() {
    let mut ours = ours();
    for n in 1..=6 {
        ours.submit(new_task(n));
    }
    assert_eq!(ours.assign_to(&[queueing(1, 1, 2)]).len(), 3);
    assert_eq!(ours.assign_to(&[queueing(1, 1, 2)]).len(), 0);
}

#[test]
fn a_worker_where_a_task_of_ours_waits_has_no_slot_free() {
    let mut ours = ours();
    ours.submit(new_task(1));
    let both = [queueing(1, 4, 4), queueing(2, 4, 4)];
    let offer = ours.assign_to(&both)[0];
    ours.answer(offer, boot(1), AcceptAnswer::Queued);
    assert_eq!(ours.record(offer.1).attempts[0].outcome, "waiting");
    let other = if offer.0 == entity(1) {
        entity(2)
    } else {
        entity(1)
    };
    for n in 2..=5 {
        ours.submit(new_task(n));
    }
    let offers = ours.assign_to(&both);
    assert!(
        offers.iter().all(|(worker, ..)| *worker == other),
        "{offers:?}"
    );
    // A renewal says that it has begun.
    ours.renew(offer.0, boot(1), &[offer]);
    assert_eq!(ours.record(offer.1).attempts[0].outcome, "working");
    ours.submit(new_task(6));
    assert_eq!(ours.assign_to(&both)[0].0, offer.0);
    ours.core.check().expect("whole");
}

#[test]
fn what_was_handed_over_goes_to_whom_its_worker_named_and_nothing_is_counted() {
    let mut ours = ours();
    ours.submit(new_task(1));
    let offer = ours.assign_to(&[queueing(1, 1, 2)])[0];
    ours.answer(offer, boot(1), AcceptAnswer::Queued);
    assert_eq!(ours.result(offer, over_to(&[3, 7])), AckAnswer::Kept);
    let record = ours.record(task_id(1));
    let counted = (
        record.failures,
        record.losses,
        record.releases,
        record.handovers,
    );
    assert_eq!(counted, (0, 0, 0, 1));
    assert!(ours.core.take_ends().is_empty(), "nobody is judged");
    let outcome = &record.attempts[0].outcome;
    let said = format!(
        "it waited there for a slot while {}, {} are idle",
        entity(3),
        entity(7)
    );
    assert_eq!(*outcome, format!("handed over: {said}"));
    let told = ours.core.events(task_id(1), None).expect("a known task");
    let event = told
        .events
        .iter()
        .find(|event| event.kind == EventKind::HandedOver);
    assert_eq!(
        event.and_then(|event| event.note.as_deref()),
        Some(&said[..])
    );
    // At once, and to one that stands worse than the others.
    let named = Candidate {
        standing: 2,
        ..Candidate::new(entity(3), 1)
    };
    let others = [4, 5, 6].map(|n| Candidate::new(entity(n), 4));
    let candidates = [&others[..], &[named]].concat();
    assert_eq!(ours.assign_to(&candidates)[0].0, entity(3));
}

#[test]
fn whom_a_worker_names_gets_nothing_that_its_own_rules_keep_from_it() {
    let mut ours = ours();
    let needs = Marks {
        needs: ["gpu=a100".parse().expect("a label")].into(),
        ..Marks::default()
    };
    let able = |n: u8| Candidate {
        labels: ["gpu=a100".parse().expect("a label")].into(),
        ..queueing(n, 1, 1)
    };
    ours.submit(NewTask {
        marks: needs,
        ..new_task(1)
    });
    let offer = ours.assign_to(&[able(1)])[0];
    ours.answer(offer, boot(1), AcceptAnswer::Queued);
    ours.result(offer, over_to(&[3]));
    // It lacks the label.
    let offers = ours.assign_to(&[Candidate::new(entity(3), 4), able(4)]);
    assert_eq!(offers[0].0, entity(4));
}

#[test]
fn it_does_not_go_back_to_wait_where_it_came_from_and_holds_up_nobody() {
    let mut ours = ours();
    ours.submit(new_task(1));
    let offer = ours.assign_to(&[queueing(1, 1, 4)])[0];
    ours.working(new_task(2), entity(1));
    ours.answer(offer, boot(1), AcceptAnswer::Queued);
    ours.result(offer, over_to(&[3]));
    ours.submit(new_task(3));
    // The slot is taken: the other task waits there, this one does not.
    let offers = ours.assign_to(&[queueing(1, 1, 4)]);
    assert_eq!(
        offers.iter().map(|(_, id, _)| *id).collect::<Vec<_>>(),
        [task_id(3)]
    );
    ours.answer(offers[0], boot(1), AcceptAnswer::Queued);
    let (seen, _) = ours
        .core
        .considered(task_id(1), &[queueing(1, 1, 4)], ours.now.mono);
    assert_eq!(seen[0].why, Why::HandedOver);
    ours.wait(10_000);
    let offers = ours.assign_to(&[queueing(1, 1, 4)]);
    assert_eq!(offers[0].1, task_id(1));
}

#[test]
fn a_task_is_handed_over_three_times_at_most_and_one_that_names_its_worker_never() {
    let mut ours = ours();
    ours.submit(NewTask {
        to: Some(entity(1)),
        ..new_task(1)
    });
    assert!(ours.core.stays(task_id(1)));
    ours.submit(new_task(2));
    for times in 1..=HANDOVERS_MAX {
        assert!(!ours.core.stays(task_id(2)));
        let offers = ours.assign_to(&[queueing(8 + times as u8, 1, 4)]);
        let offer = offers[0];
        ours.result(offer, over_to(&[3]));
        assert_eq!(ours.record(task_id(2)).handovers, times);
    }
    assert!(ours.core.stays(task_id(2)));
    // Who does it all the same has given it back like any other.
    let offer = ours.assign_to(&[queueing(7, 1, 4)])[0];
    ours.result(offer, over_to(&[3]));
    let record = ours.record(task_id(2));
    assert_eq!((record.handovers, record.releases), (HANDOVERS_MAX, 1));
}
