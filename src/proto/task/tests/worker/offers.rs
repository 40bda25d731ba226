//! Offers and leases: what is taken, refused, known already or adopted.

use super::*;
use crate::types::FileRef;
use crate::wire::Budget;

#[test]
fn an_accepted_offer_is_on_disk_before_the_answer_leaves() {
    let mut theirs = theirs(1);
    let (answers, after) = theirs.step(|core, step| core.offered(US, vec![offer(1, 1)], step));
    assert_eq!(answers, [AcceptAnswer::Accepted]);
    assert!(!theirs.disk.is_durable(after), "T5");
    // A repetition rests on the same batch.
    let again = theirs.step(|core, step| core.offered(US, vec![offer(1, 1)], step));
    assert_eq!(again, (vec![AcceptAnswer::Accepted], after));
    theirs.disk.flush(1);
    assert!(theirs.disk.is_durable(after) && theirs.state(1).is_some());
}

#[test]
fn a_duplicate_offer_does_not_run_twice() {
    let mut theirs = theirs(4);
    theirs.running(1, 1);
    assert_eq!(theirs.offered(offer(1, 1)), AcceptAnswer::Accepted);
    assert!(theirs.core.effects().is_empty());
    assert_eq!(theirs.core.len(), 1);
}

#[test]
fn an_adopted_token_keeps_the_run() {
    let mut theirs = theirs(1);
    let run = theirs.running(1, 1);
    theirs.renewed(
        1,
        1,
        RenewAnswer::Renewed { lease_ms: 20_000 },
        theirs.now.mono,
    );
    assert_eq!(theirs.offered(offer(1, 3)), AcceptAnswer::Accepted);
    assert!(theirs.core.effects().is_empty(), "the run goes on");
    assert_eq!(theirs.state(1).map(|held| held.token), Some(token(3)));
    assert_eq!(
        theirs.core.live_leases(theirs.now.mono).count(),
        0,
        "the lease was of token 1"
    );
    assert_eq!(
        theirs.offered(offer(1, 2)),
        AcceptAnswer::Refused(RefuseReason::Stale)
    );
    theirs.ended(run, completed());
    assert_eq!(theirs.handed_over(0), [(task_id(1), token(3))]);
    theirs.told(1, 1, Some(AckAnswer::Fenced));
    assert_eq!(theirs.core.len(), 1, "that answer was about the old token");
}

/// The requester has counted that failure: an attempt of its own runs by itself.
#[test]
fn a_failure_is_not_adopted_by_the_next_attempt() {
    let mut theirs = theirs(1);
    let first = theirs.running(1, 1);
    theirs.ended(first, failed());
    theirs.core.effects();
    let second = theirs.running(1, 2);
    assert_ne!(first, second);
    assert_eq!(theirs.core.outcome(key(1)), None);
    theirs.core.check().expect("T7");
    assert!(
        theirs
            .restart(worker_config(1, 900))
            .iter()
            .any(|e| matches!(e, WorkerEffect::Run { .. }))
    );
}

#[test]
fn an_offer_that_was_not_flushed_is_not_remembered_after_a_crash() {
    let mut theirs = theirs(1);
    let _ = theirs.step(|core, step| core.offered(US, vec![offer(1, 1)], step));
    assert!(theirs.restart(worker_config(1, 900)).is_empty());
    assert!(theirs.core.is_empty());
}

#[test]
fn a_tombstone_refuses_a_late_duplicate_and_a_new_attempt_runs() {
    let mut theirs = theirs(1);
    let run = theirs.running(1, 2);
    theirs.ended(run, completed());
    theirs.told(1, 2, Some(AckAnswer::Kept));
    for late in [1, 2] {
        assert_eq!(
            theirs.offered(offer(1, late)),
            AcceptAnswer::Refused(RefuseReason::Stale)
        );
    }
    theirs.restart(worker_config(1, 900));
    assert_eq!(
        theirs.offered(offer(1, 2)),
        AcceptAnswer::Refused(RefuseReason::Stale)
    );
    assert_eq!(theirs.running(1, 3), RunId(900));
    theirs.core.check().expect("T7");
}

#[test]
fn a_lease_is_nine_tenths_counted_from_the_sending() {
    let mut theirs = theirs(1);
    theirs.running(1, 1);
    assert_eq!(
        theirs.core.live_leases(theirs.now.mono).count(),
        0,
        "T6: an acceptance grants none"
    );
    let sent = theirs.now.mono;
    theirs.pass(3_000);
    theirs.renewed(1, 1, RenewAnswer::Renewed { lease_ms: 20_000 }, sent);
    theirs.pass(14_999);
    assert!(theirs.core.live_leases(theirs.now.mono).eq([key(1)]));
    theirs.pass(1);
    assert_eq!(theirs.core.live_leases(theirs.now.mono).count(), 0);
}

#[test]
fn a_task_that_ended_holds_no_lease() {
    let mut theirs = theirs(1);
    let run = theirs.running(1, 1);
    theirs.renewed(
        1,
        1,
        RenewAnswer::Renewed { lease_ms: 20_000 },
        theirs.now.mono,
    );
    theirs.ended(run, failed());
    assert_eq!(
        theirs.core.live_leases(theirs.now.mono).count(),
        0,
        "T6: it may run elsewhere now"
    );
    theirs.renewed(
        1,
        1,
        RenewAnswer::Renewed { lease_ms: 20_000 },
        theirs.now.mono,
    );
    assert_eq!(theirs.core.live_leases(theirs.now.mono).count(), 0);
}

#[test]
fn what_is_held_is_renewed_every_five_seconds_and_nothing_else_is() {
    let mut theirs = theirs(1);
    assert_eq!(theirs.core.next_deadline(), None);
    let run = theirs.running(1, 1);
    assert!(theirs.tick(4_999).is_empty());
    for _ in 0..3 {
        let items = vec![RenewItem {
            task_id: task_id(1),
            token: token(1),
            spent: 0,
            waiting: false,
        }];
        let renew = WorkerEffect::Renew {
            requester: US,
            items,
            after: BatchId(1),
        };
        assert_eq!(theirs.tick(1), [renew]);
        assert!(theirs.tick(4_999).is_empty());
    }
    theirs.ended(run, completed());
    theirs.told(1, 1, Some(AckAnswer::Kept));
    theirs.core.effects();
    assert!(theirs.tick(60_000).is_empty());
    assert_eq!(theirs.core.next_deadline(), None);
}

#[test]
fn offers_over_the_slots_or_the_limits_are_refused() {
    let mut theirs = theirs(2);
    theirs.running(1, 1);
    theirs.running(2, 1);
    assert_eq!(
        theirs.offered(offer(3, 1)),
        AcceptAnswer::Refused(RefuseReason::Busy)
    );
    let other = DelegateItem {
        capability: "upper".parse().expect("a capability"),
        ..offer(3, 1)
    };
    assert_eq!(
        theirs.offered(other),
        AcceptAnswer::Refused(RefuseReason::UnknownCapability)
    );
    let large = DelegateItem {
        input: vec![0; INPUT_MAX_BYTES + 1],
        ..offer(3, 1)
    };
    assert_eq!(
        theirs.offered(large),
        AcceptAnswer::Refused(RefuseReason::TooLarge)
    );
    assert_eq!(
        theirs.disk.count(Keyspace::Held),
        2,
        "a refusal writes nothing"
    );
}

#[test]
fn an_offer_that_asks_for_what_this_worker_cannot_do_is_refused() {
    let mut theirs = theirs(8);
    let plain = || offer(1, 1);
    let item = DelegateItem {
        input_file: Some(FileRef {
            root: [1; 32],
            size: 1,
        }),
        ..plain()
    };
    assert_eq!(
        theirs.offered(item),
        AcceptAnswer::Refused(RefuseReason::NotAllowed)
    );
    assert_eq!(theirs.disk.count(Keyspace::Held), 0);
    assert_eq!(theirs.offered(plain()), AcceptAnswer::Accepted);
}

#[test]
fn an_offer_that_pays_less_than_is_asked_for_is_refused() {
    let mut config = worker_config(4, 1);
    config.capabilities[0].price = 10;
    let mut theirs = Side::new(Worker::new(config), 2);
    let paying = |n, reward| DelegateItem {
        budget: Some(Budget { depth: 0, reward }),
        ..offer(n, 1)
    };
    let refused = AcceptAnswer::Refused(RefuseReason::Price);
    assert_eq!(theirs.offered(paying(1, 9)), refused);
    assert_eq!(theirs.offered(paying(1, 10)), AcceptAnswer::Accepted);
    // Where nothing is offered nothing can be too little.
    assert_eq!(theirs.offered(offer(2, 1)), AcceptAnswer::Accepted);
}
