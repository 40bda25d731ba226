//! A worker that is to be stopped.

use super::*;

#[test]
fn a_draining_worker_takes_nothing_and_gives_back_in_the_end_what_runs() {
    let mut theirs = theirs(4);
    let done = theirs.running(1, 1);
    let late = theirs.running(2, 1);
    let until = theirs.now.mono + 5_000;
    theirs.core.drain(until);
    assert_eq!(
        theirs.offered(offer(3, 1)),
        AcceptAnswer::Refused(RefuseReason::Draining)
    );
    // What was accepted before is known, also under a newer token.
    assert_eq!(theirs.offered(offer(2, 2)), AcceptAnswer::Accepted);
    assert_eq!(theirs.core.free_slots(theirs.now.mono)[0].free, 0);
    assert_eq!((theirs.core.running(), theirs.core.undelivered()), (2, 0));
    theirs.ended(done, completed());
    theirs.told(1, 1, Some(AckAnswer::Kept));
    assert!(theirs.core.next_deadline().is_some_and(|at| at <= until));
    let kills = |effects: &[WorkerEffect]| {
        let kill = WorkerEffect::Kill { run: late };
        effects.contains(&kill)
    };
    assert!(!kills(&theirs.tick(4_999)));
    assert!(kills(&theirs.tick(1)));
    assert_eq!(theirs.core.outcome(key(2)), Some(TaskOutcome::Released));
    assert_eq!((theirs.core.running(), theirs.core.undelivered()), (0, 1));
    // It is a word that a crash does not take back.
    theirs.restart(worker_config(4, 900));
    assert_eq!(theirs.core.outcome(key(2)), Some(TaskOutcome::Released));
    assert!(!theirs.core.is_draining(), "a restart ends the draining");
    theirs.told(2, 2, Some(AckAnswer::Kept));
    assert_eq!(theirs.offered(offer(3, 1)), AcceptAnswer::Accepted);
    theirs.core.check().expect("whole");
}

#[test]
fn a_worker_that_drains_no_more_takes_tasks_and_ends_none() {
    let mut theirs = theirs(4);
    theirs.running(1, 1);
    let until = theirs.now.mono + 1_000;
    theirs.core.drain(until);
    theirs.core.undrain();
    assert_eq!(theirs.offered(offer(2, 1)), AcceptAnswer::Accepted);
    theirs.core.effects();
    let effects = theirs.tick(10_000);
    let killed = |effect: &WorkerEffect| matches!(effect, WorkerEffect::Kill { .. });
    assert!(!effects.iter().any(killed), "{effects:?}");
    assert_eq!(theirs.core.running(), 2);
}
