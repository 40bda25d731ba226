//! The parts themselves: where they stand in the queue, who may have them, what they are worth.

use super::*;

#[test]
fn parts_count_as_tasks_of_a_full_queue() {
    let mut ours = ours();
    for n in 2..QUEUE_MAX_TASKS as u64 {
        let _ = ours.step(|core, step| core.submit(new_task(n), step));
    }
    let outcome = ours.kept(|core, step| core.submit(replicated(3, 2), step));
    assert_eq!(outcome, SubmitOutcome::Full(Full::Tasks));
}

#[test]
fn nobodys_submission_is_taken_for_a_part() {
    let mut ours = ours();
    let parts = ours.shared_out(2, 2);
    let id = parts[0].of.1;
    let outcome = ours.kept(|core, step| core.submit(NewTask { id, ..new_task(1) }, step));
    assert_eq!(outcome, SubmitOutcome::Conflict(id));
}

#[test]
fn a_task_with_a_start_opens_its_round_then() {
    let mut ours = ours();
    ours.submit(NewTask {
        start: Start::In(5_000),
        ..replicated(2, 2)
    });
    ours.kept(Requester::tick);
    assert_eq!(ours.core.tasks().count(), 1);
    ours.restart();
    ours.wait(5_001);
    assert_eq!(ours.core.tasks().count(), 3);
}

#[test]
fn rows_of_an_agreement_keep_reading() {
    let mut ours = ours();
    let parts = ours.shared_out(3, 2);
    for part in &parts {
        ours.commits(*part, b"2");
    }
    ours.reveals(parts[0], b"2");
    let record = ours.record(task_id(1));
    assert_eq!(TaskRecord::from_row(&record.to_row()), Ok(record.clone()));
    let agreement = record.agreement.expect("a whole");
    let promise = agreement
        .vote(parts[1].of.1)
        .and_then(|of| of.promise.clone());
    let commitment = commitment(parts[1], b"2");
    assert_eq!(
        promise.map(|of| of.commitment),
        Some(ByteArray::new(commitment))
    );
}

#[test]
fn no_two_parts_are_with_neighbours_in_a_public_network() {
    let mut ours = ours();
    let id = ours.submit(replicated(2, 2));
    ours.kept(Requester::tick);
    let net = Prefix::V4([198, 51, 100]);
    let in_net = |n| Candidate {
        prefixes: [net].into(),
        ..Candidate::new(entity(n), 4)
    };
    let offers = ours.assign_to(&[in_net(1), in_net(2)]);
    assert_eq!(offers.len(), 1, "A2");
    ours.answer(offers[0], boot(1), AcceptAnswer::Accepted);
    let votes = ours.record(id).agreement.expect("a whole").votes;
    let other = votes.iter().find(|vote| vote.part != offers[0].1);
    let other = other.expect("the other part").part;
    ours.restart();
    ours.renew(offers[0].0, boot(1), &offers[..1]);
    let candidates = [in_net(1), in_net(2)];
    let (against, _) = ours.core.considered(other, &candidates, ours.now.mono);
    assert!(against.iter().all(|of| of.why == Why::Apart), "{against:?}");
    assert!(ours.assign_to(&candidates).is_empty());
    let elsewhere = ours.assign_to(&[in_net(1), in_net(2), Candidate::new(entity(3), 4)]);
    assert_eq!(elsewhere, [(entity(3), other, token(1))]);
    ours.core.check().expect("A2");
}

#[test]
fn watchers_are_told_who_committed_and_who_told_what() {
    use EventKind::{Closed, Committed, Completed, Lost, Revealed, Submitted};
    let mut ours = ours();
    let parts = ours.shared_out(3, 2);
    for part in &parts {
        ours.commits(*part, b"2");
    }
    ours.reveals(parts[0], b"2");
    ours.reveals(parts[1], b"2");
    ours.wait(6_000);
    let told = ours.core.events(task_id(1), None).expect("a known task");
    let kinds: Vec<EventKind> = told.events.iter().map(|event| event.kind).collect();
    let way = [
        Submitted, Committed, Committed, Committed, Closed, Revealed, Revealed, Lost, Completed,
    ];
    assert_eq!(kinds, way);
    let note = told.events[4].note.as_deref();
    assert_eq!(note, Some("round 1 with 3 commitments"));
    assert_eq!(told.events[7].attempt, Some((entity(3), parts[2].of.2)));
}

#[test]
fn parts_that_nobody_free_may_have_keep_no_others_waiting() {
    let mut ours = ours();
    ours.submit(replicated(3, 2));
    ours.kept(Requester::tick);
    assert_eq!(ours.taken_by(&[entity(1), entity(2)]).len(), 2);
    let plain = ours.submit(new_task(2));
    let mut other = replicated(2, 2);
    other.id = task_id(3);
    ours.submit(other);
    ours.kept(Requester::tick);
    let offers = ours.assign(&[entity(1), entity(2)]);
    assert_eq!(offers.len(), 3, "{offers:?}");
    assert!(offers.iter().any(|offer| offer.1 == plain));
}

#[test]
fn each_part_has_an_equal_share_of_the_reward_and_later_ones_of_what_is_left() {
    use crate::wire::Budget;
    let mut ours = ours();
    let granted = Some(Budget {
        depth: 0,
        reward: 11,
    });
    ours.submit(NewTask {
        delegation: Delegation {
            granted,
            ..Delegation::default()
        },
        ..replicated(3, 2)
    });
    ours.kept(Requester::tick);
    let asks = |n, price| Candidate {
        price,
        ..Candidate::new(entity(n), 4)
    };
    let dear: Vec<_> = (1..=3).map(|n| asks(n, 4)).collect();
    assert!(ours.assign_to(&dear).is_empty(), "each has 3 of 11");
    let cheap: Vec<_> = (1..=3).map(|n| asks(n, 3)).collect();
    let offers = ours.assign_to(&cheap);
    let share = |ours: &Side<Requester>, of: Offered| {
        let (budget, _) = ours.core.budget_for(of.1, of.0).expect("its share");
        (budget.depth, budget.reward)
    };
    let mut parts: Vec<Part> = Vec::new();
    for of in offers {
        assert_eq!(share(&ours, of), (0, 3));
        ours.answer(of, boot(1), AcceptAnswer::Accepted);
        parts.push(Part { of, round: 1 });
    }
    // All tell another result: a second round with what those have not earned.
    for (at, part) in parts.iter().enumerate() {
        ours.commits(*part, &[b'0' + at as u8]);
    }
    for (at, part) in parts.iter().enumerate() {
        ours.reveals(*part, &[b'0' + at as u8]);
    }
    assert!(!ours.state_of_whole().is_terminal());
    assert!(ours.assign_to(&[asks(4, 3)]).is_empty());
    let offers = ours.assign_to(&[asks(4, 2)]);
    assert_eq!(share(&ours, offers[0]), (0, 2));
}
