//! Attempts: what ends one, what it costs, and whose word is taken.

use super::*;
use crate::wire::AgreePart;

#[test]
fn an_offer_leaves_only_after_its_token_is_stored() {
    let (mut ours, a) = (ours(), entity(1));
    let id = ours.submit(new_task(1));
    ours.step(|core, step| core.assign(step, |_| [Candidate::new(a, 1)].into()));
    let effects = ours.core.effects();
    let [RequesterEffect::Delegate { after, .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert!(!ours.disk.is_durable(*after));
    ours.disk.flush(1);
    assert!(ours.disk.is_durable(*after));
    let row = ours.disk.row(Keyspace::Task, id.0.as_bytes()).expect("T1");
    assert_eq!(TaskRecord::from_row(row).expect("reads").token, token(1));
}

#[test]
fn a_result_under_an_old_token_is_fenced() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let old = ours.working(new_task(1), a);
    ours.wait(20_000);
    let current = ours.assign(&[b])[0];
    assert_eq!(ours.result(old, completed()), AckAnswer::Fenced);
    assert_eq!(ours.renew(a, boot(1), &[old]), [RenewAnswer::Fenced]);
    // Nor does the current token help one it was not given to.
    assert_eq!(
        ours.result((a, current.1, current.2), completed()),
        AckAnswer::Fenced
    );
    assert_eq!(ours.result(current, completed()), AckAnswer::Kept);
    assert_eq!(ours.record(old.1).result_token, Some(token(2)));
}

#[test]
fn late_result_before_reassignment_is_taken() {
    let (mut ours, a) = (ours(), entity(1));
    let held = ours.working(new_task(1), a);
    ours.wait(25_000);
    assert_eq!(ours.record(held.1).state, TaskState::Submitted);
    assert_eq!(ours.result(held, completed()), AckAnswer::Kept);
    assert_eq!(ours.record(held.1).state, TaskState::Completed);
    assert_eq!(ours.core.result(held.1), Some(&b"2"[..]));
    let attempt = ours.record(held.1).attempts.pop().expect("one");
    assert_eq!(attempt.outcome, "completed", "not lost any more");
    assert!(attempt.ended.is_some());
    assert!(ours.assign(&[a]).is_empty());
}

#[test]
fn a_result_sent_twice_is_kept_twice_and_changes_nothing() {
    let (mut ours, a) = (ours(), entity(1));
    let held = ours.working(new_task(1), a);
    assert_eq!(ours.result(held, completed()), AckAnswer::Kept);
    let first = ours.record(held.1);
    let other = TaskOutcome::Completed {
        result: b"3".to_vec(),
    };
    assert_eq!(ours.result(held, other), AckAnswer::Kept);
    assert_eq!(
        (ours.record(held.1), ours.core.result(held.1)),
        (first, Some(&b"2"[..])),
        "T2"
    );
    ours.restart();
    assert_eq!(ours.result(held, completed()), AckAnswer::Kept);
}

#[test]
fn refused_offer_costs_no_attempt() {
    let (mut ours, a) = (ours(), entity(1));
    let id = ours.submit(new_task(1));
    let offer = ours.assign(&[a])[0];
    ours.answer(offer, boot(1), AcceptAnswer::Refused(RefuseReason::Busy));
    let record = ours.record(id);
    assert_eq!(
        (record.failures, record.losses, record.attempts.len()),
        (0, 0, 0)
    );
    assert!(
        ours.assign(&[a]).is_empty(),
        "a busy worker is passed over for a moment"
    );
    ours.wait(1_000);
    assert_eq!(ours.assign(&[a]), [(a, id, token(2))], "T3");
}

#[test]
fn whoever_refused_an_offer_has_no_say_in_the_attempt_of_another() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let held = ours.working(new_task(1), a);
    let reason = "no such file".into();
    let poison = false;
    let failed = TaskOutcome::Failed { reason, poison };
    assert_eq!(ours.result(held, failed), AckAnswer::Kept);
    ours.wait(60_000);
    let offer = ours.assign(&[b])[0];
    ours.answer(offer, boot(1), AcceptAnswer::Refused(RefuseReason::Busy));
    let before = ours.record(held.1);
    assert_eq!(before.attempts.len(), 1);
    assert_eq!(ours.result(offer, completed()), AckAnswer::Fenced);
    assert_eq!(ours.renew(b, boot(1), &[offer]), [RenewAnswer::Fenced]);
    assert_eq!(ours.record(held.1), before);
}

#[test]
fn a_commitment_that_nobody_asked_for_is_fenced_and_the_run_goes_on() {
    let (mut ours, a) = (ours(), entity(1));
    let id = ours.submit(new_task(1));
    let offer = ours.assign(&[a])[0];
    ours.answer(offer, boot(1), AcceptAnswer::Accepted);
    let commitment = [7; 32];
    for unasked in [
        TaskOutcome::Committed {
            commitment,
            agree: AgreePart {
                parent: id,
                round: 1,
            },
        },
        TaskOutcome::Revealed {
            salt: [8; 32],
            result: b"2".to_vec(),
        },
    ] {
        assert_eq!(ours.result(offer, unasked), AckAnswer::Fenced);
    }
    assert_eq!(ours.record(id).state, TaskState::Working);
    assert_eq!(ours.core.result(id), None);
    assert_eq!(ours.result(offer, completed()), AckAnswer::Kept);
}

#[test]
fn a_worker_that_drains_is_passed_over() {
    let (mut ours, a) = (ours(), entity(1));
    let id = ours.submit(new_task(1));
    let offer = ours.assign(&[a])[0];
    ours.answer(
        offer,
        boot(1),
        AcceptAnswer::Refused(RefuseReason::Draining),
    );
    assert_eq!(ours.record(id).attempts.len(), 0);
    ours.wait(1_000);
    assert!(ours.assign(&[a]).is_empty(), "longer than a busy one");
    let b = entity(2);
    assert_eq!(ours.assign(&[a, b]), [(b, id, token(2))]);
}

#[test]
fn an_offer_that_never_left_costs_no_attempt_and_one_that_may_have_stands() {
    let (mut ours, a) = (ours(), entity(1));
    let id = ours.submit(new_task(1));
    let offer = ours.assign(&[a])[0];
    let offers = [(id, offer.2)];
    ours.kept(|core, step| core.offer_failed(a, &offers, step, true));
    assert_eq!(ours.record(id).state, TaskState::Working);
    ours.kept(|core, step| core.offer_failed(a, &offers, step, false));
    assert_eq!(
        (ours.record(id).state, ours.record(id).attempts.len()),
        (TaskState::Submitted, 0)
    );
}

#[test]
fn five_failures_end_a_task() {
    let (mut ours, a) = (ours(), entity(1));
    let id = ours.submit(new_task(1));
    for nth in 1..=5 {
        let offer = ours.assign(&[a])[0];
        ours.answer(offer, boot(1), AcceptAnswer::Accepted);
        assert_eq!(ours.result(offer, failed()), AckAnswer::Kept);
        assert_eq!(ours.record(id).failures, nth);
        ours.wait(30_000);
    }
    let record = ours.record(id);
    assert_eq!(record.state, TaskState::Failed);
    assert_eq!(
        record.reason.as_deref(),
        Some("failed 5 times, at last: no such file")
    );
    assert_eq!(
        record.attempts.len(),
        5,
        "every attempt is kept for a person to read"
    );
}

#[test]
fn a_failure_told_twice_counts_once() {
    let (mut ours, a) = (ours(), entity(1));
    let held = ours.working(new_task(1), a);
    for _ in 0..5 {
        // Whatever it hears: the acknowledgement of the first was lost, and it tells again.
        ours.result(held, failed());
    }
    assert_eq!(ours.record(held.1).failures, 1);
}

#[test]
fn lost_workers_spend_no_failures() {
    let (mut ours, a) = (ours(), entity(1));
    let id = ours.submit(new_task(1));
    for nth in 1..=20 {
        assert_eq!(ours.record(id).state, TaskState::Submitted);
        let offer = ours.assign(&[a])[0];
        ours.answer(offer, boot(1), AcceptAnswer::Accepted);
        ours.wait(20_000);
        assert_eq!((ours.record(id).losses, ours.record(id).failures), (nth, 0));
    }
    assert_eq!(
        ours.record(id).state,
        TaskState::Failed,
        "losses have a bound of their own"
    );
}

#[test]
fn a_released_task_goes_elsewhere_and_costs_nothing() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let held = ours.working(new_task(1), a);
    assert_eq!(ours.result(held, TaskOutcome::Released), AckAnswer::Kept);
    let record = ours.record(held.1);
    assert_eq!((record.failures, record.losses), (0, 0));
    assert_eq!(ours.assign(&[a, b]), [(b, held.1, token(2))]);
}

#[test]
fn a_result_over_the_limit_is_a_failure() {
    let (mut ours, a) = (ours(), entity(1));
    let held = ours.working(new_task(1), a);
    let result = vec![0; RESULT_MAX_BYTES + 1];
    assert_eq!(
        ours.result(held, TaskOutcome::Completed { result }),
        AckAnswer::Kept
    );
    assert_eq!(
        (ours.record(held.1).failures, ours.core.result(held.1)),
        (1, None)
    );
}
