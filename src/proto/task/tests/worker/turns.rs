//! Which of the tasks that wait begins next, and which is handed over first.

use super::*;
use crate::proto::task::{Idle, Serving};

const OTHER: EntityId = EntityId([77; 32]);

fn config(first_run: u64) -> WorkerConfig {
    let serving = Serving {
        queue: 64,
        ..Serving::default()
    };
    WorkerConfig {
        serving: BTreeMap::from([(wc(), serving)]),
        ..worker_config(1, first_run)
    }
}

/// One whose only slot is taken by task 1.
fn busy() -> (Side<Worker>, RunId) {
    let mut theirs = Side::new(Worker::new(config(FIRST_RUN)), 2);
    let run = theirs.running(1, 1);
    (theirs, run)
}

fn urgent(n: u64, priority: Priority, waited_ms: u64) -> DelegateItem {
    DelegateItem {
        priority,
        waited_ms,
        ..offer(n, 1)
    }
}

impl Side<Worker> {
    fn queued_by(&mut self, requester: EntityId, item: DelegateItem) {
        let answers = self
            .kept(|core, step| core.offered(requester, vec![item], step))
            .0;
        assert_eq!(answers, [AcceptAnswer::Queued]);
        assert!(self.core.effects().is_empty(), "nothing begins");
    }

    /// Ends one run after another, and tells what begins after each.
    fn in_turn(&mut self, mut run: RunId) -> Vec<(EntityId, TaskId)> {
        let mut begun = Vec::new();
        loop {
            self.ended(run, completed());
            let next = self.tick(1).into_iter().find_map(|effect| match effect {
                WorkerEffect::Run { key, run, .. } => Some((key, run)),
                _ => None,
            });
            self.core.check().expect("whole");
            let Some((key, next)) = next else {
                return begun;
            };
            begun.push((key.requester, key.task));
            run = next;
        }
    }
}

fn of_us(tasks: &[u64]) -> Vec<(EntityId, TaskId)> {
    tasks.iter().map(|n| (US, task_id(*n))).collect()
}

#[test]
fn what_is_more_urgent_begins_first_and_nothing_waits_for_ever() {
    let (mut theirs, run) = busy();
    theirs.queued_by(US, urgent(2, Priority::Normal, 0));
    theirs.queued_by(US, urgent(3, Priority::Low, 0));
    theirs.queued_by(US, urgent(4, Priority::Critical, 0));
    theirs.queued_by(US, urgent(5, Priority::High, 0));
    // It has waited at its requester for longer than the head start of any other.
    theirs.queued_by(US, urgent(6, Priority::Low, 31 * 60_000));
    theirs.queued_by(US, urgent(7, Priority::Normal, 0));
    assert_eq!(theirs.in_turn(run), of_us(&[6, 4, 5, 2, 7, 3]));
}

#[test]
fn time_spent_waiting_at_the_worker_counts_like_time_at_the_requester() {
    let (mut theirs, run) = busy();
    theirs.queued_by(US, urgent(2, Priority::Low, 0));
    theirs.tick(61_000);
    theirs.queued_by(US, urgent(3, Priority::Normal, 0));
    theirs.queued_by(US, urgent(4, Priority::High, 0));
    assert_eq!(theirs.in_turn(run), of_us(&[4, 2, 3]));
}

#[test]
fn requesters_take_turns_however_urgent_one_says_its_tasks_are() {
    let (mut theirs, run) = busy();
    for n in 2..6 {
        theirs.queued_by(US, urgent(n, Priority::Critical, HOUR_MS));
    }
    theirs.queued_by(OTHER, urgent(11, Priority::Low, 0));
    theirs.queued_by(OTHER, urgent(12, Priority::Normal, 0));
    let begun = theirs.in_turn(run);
    let expected = [(US, 2), (OTHER, 12), (US, 3), (OTHER, 11), (US, 4), (US, 5)];
    let expected: Vec<_> = { expected.iter() }
        .map(|(requester, n)| (*requester, task_id(*n)))
        .collect();
    assert_eq!(begun, expected);
}

#[test]
fn a_restart_keeps_the_order_and_what_was_waited() {
    let (mut theirs, _) = busy();
    theirs.queued_by(US, urgent(2, Priority::Low, 31 * 60_000));
    theirs.queued_by(US, urgent(3, Priority::Normal, 0));
    theirs.queued_by(US, urgent(4, Priority::Critical, 0));
    theirs.queued_by(US, urgent(5, Priority::Low, 0));
    theirs.tick(1_000);
    let effects = theirs.restart(config(900));
    let run = effects.iter().find_map(|effect| match effect {
        WorkerEffect::Run { run, .. } => Some(*run),
        _ => None,
    });
    theirs.queued_by(US, urgent(6, Priority::Normal, 0));
    let begun = theirs.in_turn(run.expect("task 1 runs again"));
    assert_eq!(begun, of_us(&[2, 4, 3, 6, 5]));
}

#[test]
fn the_least_urgent_is_handed_over_first() {
    let (mut theirs, run) = busy();
    theirs.queued_by(US, urgent(2, Priority::Low, 0));
    theirs.queued_by(US, urgent(3, Priority::Critical, 0));
    theirs.queued_by(US, urgent(4, Priority::Normal, 0));
    theirs.tick(2_000);
    let idle = Idle {
        worker: entity(9),
        free: 1,
        price: 0,
    };
    theirs.kept(|core, step| core.hand_over(&wc(), vec![idle], step));
    let handed = theirs.core.outcome(key(2));
    assert!(matches!(handed, Some(TaskOutcome::HandedOver { .. })));
    assert_eq!(theirs.in_turn(run), of_us(&[3, 4]));
}
