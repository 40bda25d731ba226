//! Who has how many of a worker's places, and who makes room.

use super::*;
use crate::types::EntityId;
use crate::types::limits::{LIST_MAX_ITEMS, WORKER_MAX_TASKS};

const DAY_MS: u64 = 24 * HOUR_MS;
const BUSY: AcceptAnswer = AcceptAnswer::Refused(RefuseReason::Busy);

impl Side<Worker> {
    fn offered_by(&mut self, requester: EntityId, n: u64) -> AcceptAnswer {
        let items = vec![offer(n, 1)];
        let answers = self.kept(|core, step| core.offered(requester, items, step));
        answers.0[0]
    }

    /// Hands over tasks `from` to `to`, each of which ends at once; how many were taken.
    fn ending(&mut self, requester: EntityId, tasks: std::ops::Range<u64>) -> usize {
        let mut taken = 0;
        for n in tasks {
            self.pass(1);
            if self.offered_by(requester, n) == BUSY {
                continue;
            }
            taken += 1;
            let effects = self.core.effects();
            let [WorkerEffect::Run { run, .. }] = &effects[..] else {
                panic!("{effects:?}")
            };
            self.kept(|core, step| core.run_ended(*run, completed(), step));
        }
        taken
    }

    fn holds(&self, requester: EntityId, n: u64) -> bool {
        let task = task_id(n);
        self.core.outcome(HeldKey { requester, task }).is_some()
    }

    fn held_of(&self, requester: EntityId) -> usize {
        let all = 0..LIST_MAX_ITEMS as u64;
        all.filter(|n| self.holds(requester, *n)).count()
    }
}

/// A worker whose places are all taken: by sixteen that acknowledge nothing, and one that came late.
/// The first task of the first of them still runs.
fn crowded() -> Side<Worker> {
    let mut theirs = theirs(2);
    let all = LIST_MAX_ITEMS as u64;
    assert_eq!(theirs.offered_by(entity(1), 1_000), AcceptAnswer::Accepted);
    theirs.core.effects();
    assert_eq!(theirs.ending(entity(1), 0..all), LIST_MAX_ITEMS - 1);
    for n in 2..=15 {
        assert_eq!(theirs.ending(entity(n), 0..all), LIST_MAX_ITEMS);
    }
    // As if there were one more than seventeen.
    let share = WORKER_MAX_TASKS / 17;
    assert_eq!(theirs.ending(entity(16), 0..all), share);
    let left = WORKER_MAX_TASKS - 15 * LIST_MAX_ITEMS - share;
    assert_eq!(theirs.ending(entity(17), 0..all), left);
    assert_eq!(theirs.core.len(), WORKER_MAX_TASKS);
    theirs
}

#[test]
fn what_nobody_acknowledged_for_an_hour_makes_room_for_who_holds_less() {
    let (mut theirs, late) = (crowded(), entity(17));
    assert_eq!(theirs.offered_by(late, 500), BUSY);
    assert!(theirs.core.let_go().is_empty());
    theirs.pass(HOUR_MS);
    assert_eq!(theirs.ending(late, 500..510), 10);
    let gone = theirs.core.let_go();
    // Of those that hold most the oldest: the first requester has ended 255, and one runs.
    assert_eq!((gone.len(), theirs.core.len()), (10, WORKER_MAX_TASKS));
    let first = HeldKey {
        requester: entity(1),
        task: task_id(0),
    };
    assert_eq!(gone[0], first);
    assert!(!theirs.holds(entity(1), 0) && theirs.holds(entity(1), 100));
    let each = gone.iter().map(|key| key.requester);
    assert_eq!(each.collect::<std::collections::BTreeSet<_>>().len(), 10);
    // What runs stays, however old, and who has his share gets no more by it.
    assert_eq!(theirs.core.running(), 1);
    let share = WORKER_MAX_TASKS / 18;
    let held = theirs.held_of(late) + 10;
    assert_eq!(theirs.ending(late, 600..1_000), share - held);
    theirs.core.check().expect("B6");
    // The offer of one that was let go is a late one; under a new token it is taken.
    let again = theirs.offered_by(entity(1), 0);
    assert_eq!(again, AcceptAnswer::Refused(RefuseReason::Stale));
    let late = theirs.restart(worker_config(2, 9_000));
    assert!(matches!(&late[..], [WorkerEffect::Run { .. }, ..]));
    assert_eq!(theirs.core.len(), WORKER_MAX_TASKS);
    assert!(!theirs.holds(entity(1), 0));
}

#[test]
fn who_holds_little_keeps_it_when_others_come_for_more() {
    let mut theirs = crowded();
    let (late, poor) = (entity(17), theirs.held_of(entity(17)));
    theirs.pass(HOUR_MS);
    // Somebody new may have as much as his share, but nothing of who has less than he.
    let new = entity(18);
    let taken = theirs.ending(new, 0..LIST_MAX_ITEMS as u64);
    assert_eq!(taken, WORKER_MAX_TASKS / 19);
    assert_eq!(theirs.held_of(late), poor);
}

#[test]
fn what_its_requester_has_heard_of_is_safe_for_a_day() {
    let mut theirs = crowded();
    let one = entity(1);
    for n in 0..LIST_MAX_ITEMS as u64 {
        let tasks = [(task_id(n), token(1))];
        let pending = [AckAnswer::Pending];
        theirs.step(|core, step| core.acknowledged(one, &tasks, Some(&pending), step));
    }
    let before = theirs.held_of(one);
    theirs.pass(HOUR_MS);
    assert_eq!(theirs.ending(entity(17), 500..516), 16);
    assert_eq!(theirs.held_of(one), before, "its file may be on its way");
    theirs.pass(DAY_MS);
    assert_eq!(theirs.ending(entity(17), 600..632), 32);
    assert!(theirs.held_of(one) < before);
}
