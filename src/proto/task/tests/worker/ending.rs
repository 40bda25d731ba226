//! From the run to the acknowledged result, over restarts and cancellations.

use super::*;

#[test]
fn a_result_is_resent_until_it_is_acknowledged() {
    let mut theirs = theirs(1);
    let run = theirs.running(1, 1);
    theirs.ended(run, completed());
    assert_eq!(theirs.handed_over(0), [(task_id(1), token(1))]);
    for _ in 0..10 {
        theirs.told(1, 1, None);
        assert!(theirs.handed_over(499).is_empty(), "not at once");
        let soon = theirs.core.next_deadline().expect("it tries again");
        assert!(theirs.now.mono.until(soon) <= 11_000, "and not in an hour");
        let resent: Vec<_> = (0..12).flat_map(|_| theirs.handed_over(1_000)).collect();
        assert_eq!(resent[..1], [(task_id(1), token(1))]);
    }
    theirs.told(1, 1, Some(AckAnswer::Kept));
    assert!(theirs.core.is_empty() && theirs.handed_over(60_000).is_empty());
    assert_eq!(
        theirs.state(1).map(|held| held.state),
        Some(HeldState::Tombstone)
    );
}

#[test]
fn a_result_leaves_only_after_it_is_on_disk() {
    let mut theirs = theirs(1);
    let run = theirs.running(1, 1);
    theirs.step(|core, step| {
        core.run_ended(run, completed(), step);
        core.tick(step);
    });
    let effects = theirs.core.effects();
    let [WorkerEffect::Results { after, .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert!(!theirs.disk.is_durable(*after));
}

#[test]
fn a_requester_that_is_back_hears_at_once_what_is_held_and_what_ended() {
    let mut theirs = theirs(2);
    let run = theirs.running(1, 1);
    theirs.running(2, 1);
    theirs.ended(run, completed());
    assert_eq!(theirs.handed_over(0).len(), 1);
    theirs.told(1, 1, None);
    theirs.core.requester_is_back(US, theirs.now.mono);
    let effects = theirs.tick(0);
    let [
        WorkerEffect::Renew { items, .. },
        WorkerEffect::Results { tasks, .. },
    ] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((items.len(), tasks.len()), (2, 1));
}

#[test]
fn a_requester_that_is_back_hears_once_that_nothing_is_held() {
    let mut theirs = theirs(1);
    theirs.core.requester_is_back(US, theirs.now.mono);
    let effects = theirs.tick(0);
    assert!(
        matches!(&effects[..], [WorkerEffect::Renew { items, .. }] if items.is_empty()),
        "{effects:?}"
    );
    assert_eq!(theirs.core.next_deadline(), None);
    assert!(theirs.tick(60_000).is_empty());
}

#[test]
fn worker_restart_reclaims_its_tasks() {
    let mut theirs = theirs(4);
    let ended = theirs.running(1, 7);
    theirs.running(2, 3);
    theirs.ended(ended, completed());
    let effects = theirs.restart(worker_config(4, 900));
    let [
        WorkerEffect::Run {
            run, key: again, ..
        },
    ] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (*run, *again),
        (RunId(900), key(2)),
        "what had not ended runs again"
    );
    assert_eq!(theirs.core.input(key(2)), Some(&b"some words"[..]));
    let effects = theirs.tick(0);
    let [
        WorkerEffect::Renew { items, .. },
        WorkerEffect::Results { tasks, .. },
    ] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    let claimed = [(1, 7), (2, 3)].map(|(n, t)| RenewItem {
        task_id: task_id(n),
        token: token(t),
        spent: 0,
        waiting: false,
    });
    assert_eq!(items[..], claimed);
    assert_eq!(
        tasks[..],
        [(task_id(1), token(7))],
        "what had ended is handed over"
    );
    // A word about a run of the life before concerns nobody.
    theirs.ended(ended, failed());
    assert_eq!(theirs.core.outcome(key(1)), Some(completed()));
}

#[test]
fn a_task_is_released_when_its_capability_is_no_longer_served() {
    let mut theirs = theirs(1);
    theirs.running(1, 1);
    let config = WorkerConfig {
        capabilities: Vec::new(),
        ..worker_config(1, 900)
    };
    assert!(theirs.restart(config).is_empty(), "nothing runs");
    assert_eq!(theirs.core.outcome(key(1)), Some(TaskOutcome::Released));
    assert_eq!(theirs.handed_over(0), [(task_id(1), token(1))]);
    assert_eq!(
        theirs.offered(offer(2, 1)),
        AcceptAnswer::Refused(RefuseReason::UnknownCapability)
    );
}

#[test]
fn a_canceled_task_kills_its_run() {
    let mut theirs = theirs(1);
    let run = theirs.running(1, 2);
    let mut cancel = |under| {
        let items = [CancelItem {
            task_id: task_id(1),
            token: token(under),
        }];
        theirs.kept(|core, step| core.canceled(US, &items, step));
        theirs.core.effects()
    };
    assert!(cancel(1).is_empty(), "that was about an older attempt");
    assert_eq!(cancel(2), [WorkerEffect::Kill { run }]);
    assert!(cancel(2).is_empty());
    assert!(theirs.core.is_empty());
    theirs.ended(run, completed());
    assert!(theirs.handed_over(60_000).is_empty());
    assert_eq!(theirs.disk.count(Keyspace::HeldInput), 0);
}

#[test]
fn a_fenced_renewal_kills_its_run() {
    let mut theirs = theirs(1);
    let run = theirs.running(1, 2);
    theirs.renewed(1, 1, RenewAnswer::Fenced, theirs.now.mono);
    assert!(
        theirs.core.effects().is_empty(),
        "that was about an older attempt"
    );
    theirs.renewed(1, 2, RenewAnswer::Fenced, theirs.now.mono);
    assert_eq!(theirs.core.effects(), [WorkerEffect::Kill { run }]);
}

#[test]
fn a_run_has_what_is_left_until_the_deadline() {
    let mut theirs = theirs(1);
    theirs.offered(DelegateItem {
        remaining_ms: 7_000,
        ..offer(1, 1)
    });
    assert!(matches!(
        theirs.core.effects()[..],
        [WorkerEffect::Run {
            timeout_ms: 7_000,
            ..
        }]
    ));
    theirs.pass(3_000);
    let effects = theirs.restart(worker_config(1, 900));
    assert!(matches!(
        effects[..],
        [WorkerEffect::Run {
            timeout_ms: 4_000,
            ..
        }]
    ));
}

#[test]
fn what_nobody_collects_is_let_go_after_eight_days() {
    let mut theirs = theirs(1);
    let run = theirs.running(1, 1);
    theirs.ended(run, completed());
    assert_eq!(theirs.handed_over(TERMINAL_KEEP_MS - 1).len(), 1);
    theirs.told(1, 1, None);
    assert!(theirs.handed_over(60_000).is_empty());
    assert_eq!(
        theirs.state(1).map(|held| held.state),
        Some(HeldState::Tombstone)
    );
    theirs.tick(TERMINAL_KEEP_MS + 1);
    assert!(theirs.disk.rows().is_empty());
}

#[test]
fn tombstones_are_bounded_and_the_oldest_goes_first() {
    let mut theirs = theirs(1);
    for n in 0..=TOMBSTONES_MAX as u64 {
        let _ = theirs.step(|core, step| core.offered(US, vec![offer(n, 1)], step));
        let items = [CancelItem {
            task_id: task_id(n),
            token: token(1),
        }];
        theirs.step(|core, step| core.canceled(US, &items, step));
        theirs.pass(1);
    }
    theirs.tick(0);
    assert_eq!(theirs.disk.count(Keyspace::Held), TOMBSTONES_MAX);
    assert!(theirs.state(0).is_none() && theirs.state(1).is_some());
}
