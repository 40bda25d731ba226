//! Leases: granted, renewed, run out, and kept over a restart.

use super::*;

#[test]
fn expired_lease_requeues_task() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let (_, id, _) = ours.working(new_task(1), a);
    ours.wait(19_999);
    assert_eq!(ours.record(id).state, TaskState::Working);
    ours.wait(1);
    let lost = RequesterEffect::Lost {
        task: id,
        worker: a,
        why: "its lease ran out",
    };
    assert_eq!(ours.core.effects(), [lost]);
    assert_eq!(ours.record(id).state, TaskState::Submitted);
    assert_eq!(
        ours.assign(&[a, b]),
        [(b, id, token(2))],
        "the less tried first"
    );
}

#[test]
fn a_renewal_moves_the_lease_on() {
    let (mut ours, a) = (ours(), entity(1));
    let held = ours.working(new_task(1), a);
    for _ in 0..5 {
        ours.wait(19_000);
        assert_eq!(
            ours.renew(a, boot(1), &[held]),
            [RenewAnswer::Renewed { lease_ms: 20_000 }]
        );
    }
    assert_eq!(ours.record(held.1).losses, 0);
}

#[test]
fn an_offer_without_an_answer_lapses_and_is_no_loss() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let id = ours.submit(new_task(1));
    assert_eq!(ours.assign(&[a]), [(a, id, token(1))]);
    ours.wait(9_999);
    assert_eq!(ours.record(id).state, TaskState::Working);
    ours.wait(1);
    let record = ours.record(id);
    assert_eq!((record.losses, record.failures), (0, 0));
    assert_eq!(record.attempts.len(), 1, "it may have begun all the same");
    assert_eq!(ours.assign(&[a, b]), [(b, id, token(2))]);
}

#[test]
fn an_offer_that_has_not_left_does_not_lapse() {
    let (mut ours, a) = (ours(), entity(1));
    let id = ours.submit(new_task(1));
    let only = Candidate::new(a, 4);
    let offers = ours.assign_unsent(&[only]);
    ours.wait(30_000);
    assert_eq!(ours.record(id).state, TaskState::Working);
    let now = ours.now.mono;
    ours.core.offers_left(&[(id, token(1))], now);
    ours.answer(offers[0], boot(1), AcceptAnswer::Accepted);
    ours.wait(19_999);
    assert_eq!(
        (ours.record(id).state, ours.record(id).token),
        (TaskState::Working, token(1))
    );
}

#[test]
fn restart_keeps_token_and_gives_a_fresh_lease() {
    let (mut ours, a) = (ours(), entity(1));
    let held = ours.working(new_task(1), a);
    ours.wait(19_000);
    ours.restart();
    ours.wait(19_999);
    assert_eq!(
        (ours.record(held.1).state, ours.record(held.1).token),
        (TaskState::Working, token(1))
    );
    assert_eq!(
        ours.renew(a, boot(1), &[held]),
        [RenewAnswer::Renewed { lease_ms: 20_000 }]
    );
    ours.restart();
    ours.wait(20_000);
    assert_eq!(ours.record(held.1).state, TaskState::Submitted);
    assert_eq!(ours.assign(&[a]), [(a, held.1, token(2))]);
}

/// T6: had the revived lease been forgotten, two workers could hold one.
#[test]
fn a_revived_lease_survives_a_restart() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let held = ours.working(new_task(1), a);
    ours.wait(20_000);
    assert_eq!(
        ours.renew(a, boot(1), &[held]),
        [RenewAnswer::Renewed { lease_ms: 20_000 }]
    );
    assert_eq!(ours.record(held.1).state, TaskState::Working);
    ours.restart();
    assert_eq!(
        ours.assign(&[b]),
        [],
        "the first worker was promised 20 s a moment ago"
    );
}

#[test]
fn a_restarted_worker_loses_what_it_does_not_claim() {
    let (mut ours, a) = (ours(), entity(1));
    let first = ours.working(new_task(1), a);
    let second = ours.working(new_task(2), a);
    // The same life does not mention a task it accepted after the renewal left.
    ours.renew(a, boot(1), &[first]);
    assert_eq!(ours.record(second.1).state, TaskState::Working);
    assert_eq!(ours.renew(a, boot(2), &[first]).len(), 1);
    assert_eq!(ours.record(first.1).state, TaskState::Working);
    assert_eq!(ours.record(second.1).state, TaskState::Submitted);
    assert_eq!(
        (ours.record(second.1).losses, ours.record(second.1).failures),
        (1, 0)
    );
}

#[test]
fn an_offer_that_a_restart_kept_from_leaving_is_given_again_when_its_worker_holds_nothing() {
    let (mut ours, a) = (ours(), entity(1));
    let id = ours.submit(new_task(1));
    assert_eq!(ours.assign(&[a]), [(a, id, token(1))]);
    ours.restart();
    assert_eq!(ours.assign(&[a]), [], "it may have left");
    assert_eq!(ours.renew(a, boot(1), &[]), []);
    assert_eq!(ours.assign(&[a]), [(a, id, token(2))]);
}

/// T6: the new life may hold a live lease on what the old one never heard of.
#[test]
fn a_late_renewal_of_a_workers_older_life_takes_nothing_away() {
    let (mut ours, a) = (ours(), entity(1));
    let first = ours.working(new_task(1), a);
    ours.renew(a, boot(2), &[first]);
    ours.submit(new_task(2));
    let second = ours.assign(&[a])[0];
    ours.answer(second, boot(2), AcceptAnswer::Accepted);
    ours.renew(a, boot(2), &[first, second]);
    ours.renew(a, boot(1), &[first]);
    assert_eq!(ours.record(second.1).state, TaskState::Working);
}

#[test]
fn a_late_acceptance_of_a_lapsed_offer_grants_nothing() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let id = ours.submit(new_task(1));
    let lapsed = ours.assign(&[a])[0];
    ours.wait(10_000);
    ours.answer(lapsed, boot(1), AcceptAnswer::Accepted);
    assert_eq!(ours.assign(&[b]), [(b, id, token(2))]);
}

#[test]
fn a_renewal_that_was_overtaken_by_its_failure_revives_nothing() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let held = ours.working(new_task(1), a);
    ours.result(held, failed());
    ours.renew(a, boot(1), &[held]);
    ours.wait(1_000);
    assert_eq!(ours.assign(&[b]), [(b, held.1, token(2))], "nobody runs it");
}
