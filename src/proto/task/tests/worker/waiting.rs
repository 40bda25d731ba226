//! Tasks that wait for a slot, and tasks that are handed to others.

use super::*;
use crate::types::limits::LIST_MAX_ITEMS;

fn serving(queue: u32) -> Serving {
    Serving {
        queue,
        ..Serving::default()
    }
}

fn config(slots: u32, queue: u32, first_run: u64) -> WorkerConfig {
    WorkerConfig {
        serving: BTreeMap::from([(wc(), serving(queue))]),
        ..worker_config(slots, first_run)
    }
}

/// One that has one slot, which task 1 takes, and a queue.
fn busy(queue: u32) -> (Side<Worker>, RunId) {
    let mut theirs = Side::new(Worker::new(config(1, queue, FIRST_RUN)), 2);
    let run = theirs.running(1, 1);
    (theirs, run)
}

fn idle(n: u8, free: u32, price: u64) -> Idle {
    Idle {
        worker: entity(n),
        free,
        price,
    }
}

impl Side<Worker> {
    fn queued(&mut self, n: u64, under: u64) {
        assert_eq!(self.offered(offer(n, under)), AcceptAnswer::Queued);
        assert!(self.core.effects().is_empty(), "nothing begins");
    }

    /// The tasks that begin within `ms`.
    fn begun(&mut self, ms: u64) -> Vec<(TaskId, RunId)> {
        let begins = |effect| match effect {
            WorkerEffect::Run { key, run, .. } => Some((key.task, run)),
            _ => None,
        };
        self.tick(ms).into_iter().filter_map(begins).collect()
    }

    fn hand_over(&mut self, idle: &[Idle]) {
        let now = self.now.mono;
        for capability in self.core.overdue(now) {
            let idle = idle.to_vec();
            self.kept(|core, step| core.hand_over(&capability, idle, step));
        }
        self.core.check().expect("whole");
    }

    fn suggested(&self, n: u64) -> Option<Vec<EntityId>> {
        match self.core.outcome(key(n)) {
            Some(TaskOutcome::HandedOver { suggest }) => Some(suggest),
            _ => None,
        }
    }
}

#[test]
fn what_finds_no_slot_waits_and_begins_when_one_is_free() {
    let (mut theirs, first) = busy(2);
    theirs.queued(3, 1);
    theirs.queued(2, 1);
    let refused = AcceptAnswer::Refused(RefuseReason::Busy);
    assert_eq!(theirs.offered(offer(4, 1)), refused);
    // The same once more is known.
    theirs.queued(3, 1);
    let slots = theirs.core.free_slots(theirs.now.mono).remove(0);
    let told = (slots.slots, slots.free, slots.waiting, slots.queue);
    assert_eq!(told, (1, 0, 2, 2));
    assert!(theirs.begun(1_000).is_empty());
    theirs.ended(first, completed());
    assert_eq!(
        theirs.core.next_deadline(),
        Some(Mono::default()),
        "at once"
    );
    let [(task, second)] = theirs.begun(1)[..] else {
        panic!("one slot came free")
    };
    assert_eq!(task, task_id(3));
    theirs.ended(second, completed());
    assert_eq!(theirs.begun(1)[0].0, task_id(2));
    theirs.core.check().expect("whole");
}

#[test]
fn without_a_queue_nothing_waits() {
    let (mut theirs, _) = busy(0);
    let refused = AcceptAnswer::Refused(RefuseReason::Busy);
    assert_eq!(theirs.offered(offer(2, 1)), refused);
}

#[test]
fn what_waits_is_renewed_and_begins_after_a_restart_where_it_was() {
    let (mut theirs, _) = busy(3);
    for n in [4, 2, 3] {
        theirs.queued(n, 1);
    }
    let effects = theirs.restart(config(1, 3, 900));
    let runs = |effect: &WorkerEffect| match effect {
        WorkerEffect::Run { key, run, .. } => Some((key.task, *run)),
        _ => None,
    };
    let running: Vec<_> = effects.iter().filter_map(runs).collect();
    let [(task, run)] = running[..] else {
        panic!("what ran runs again, and nothing else: {effects:?}")
    };
    assert_eq!(task, task_id(1));
    let told = theirs.tick(1);
    let [WorkerEffect::Renew { items, .. }] = &told[..] else {
        panic!("{told:?}")
    };
    let waiting: Vec<bool> = items.iter().map(|item| item.waiting).collect();
    assert_eq!(waiting, [false, true, true, true]);
    assert_eq!(theirs.state(4).map(|held| held.crashes), Some(0));
    let mut run = run;
    for n in [4, 2, 3] {
        theirs.ended(run, completed());
        let begun = theirs.begun(1);
        assert_eq!(begun[0].0, task_id(n));
        run = begun[0].1;
        // From here on a crash counts, and what was counted is on disk before the run begins.
        assert_eq!(theirs.state(n).map(|held| held.place), Some(None));
        assert!(theirs.disk.is_durable(theirs.core.resumed_in()));
    }
}

#[test]
fn what_waits_is_canceled_and_given_back_like_what_runs() {
    let (mut theirs, _) = busy(4);
    theirs.queued(2, 1);
    theirs.queued(3, 1);
    let cancel = CancelItem {
        task_id: task_id(2),
        token: token(1),
    };
    theirs.kept(|core, step| core.canceled(US, &[cancel], step));
    assert!(theirs.core.effects().is_empty(), "there is no run to kill");
    assert_eq!(theirs.core.waiting(), 1);
    let until = theirs.now.mono + 60_000;
    theirs.core.drain(until);
    theirs.tick(0);
    assert_eq!(theirs.core.outcome(key(3)), Some(TaskOutcome::Released));
    assert_eq!(theirs.core.running(), 1, "what runs goes on");
    theirs.core.check().expect("whole");
}

#[test]
fn what_is_out_of_time_when_its_turn_comes_is_given_back() {
    let (mut theirs, run) = busy(2);
    let short = DelegateItem {
        remaining_ms: 3_000,
        ..offer(2, 1)
    };
    assert_eq!(theirs.offered(short), AcceptAnswer::Queued);
    theirs.queued(3, 1);
    theirs.tick(4_000);
    theirs.ended(run, completed());
    assert_eq!(theirs.begun(1)[0].0, task_id(3));
    assert_eq!(theirs.core.outcome(key(2)), Some(TaskOutcome::Released));
}

#[test]
fn a_task_that_stops_with_its_lease_stops_waiting_with_it() {
    let (mut theirs, _) = busy(2);
    let stopping = DelegateItem {
        orphan: Some(Orphan::Stop),
        ..offer(2, 1)
    };
    assert_eq!(theirs.offered(stopping), AcceptAnswer::Queued);
    theirs.tick(18_000);
    assert_eq!(theirs.core.outcome(key(2)), Some(TaskOutcome::Released));
    theirs.core.check().expect("whole");
}

#[test]
fn what_has_waited_for_two_seconds_is_handed_to_as_many_as_have_slots_free() {
    let (mut theirs, run) = busy(4);
    for n in 2..=4 {
        theirs.queued(n, 1);
    }
    let both = [idle(8, 1, 0), idle(9, 1, 0)];
    theirs.tick(1_999);
    theirs.hand_over(&both);
    assert_eq!(theirs.core.waiting(), 3);
    theirs.tick(1);
    assert_eq!(theirs.core.overdue(theirs.now.mono), [wc()]);
    theirs.hand_over(&both);
    // Those that would begin last, one for each free slot.
    assert_eq!(theirs.suggested(4), Some(vec![entity(8), entity(9)]));
    assert_eq!(theirs.suggested(3), Some(vec![entity(9)]));
    assert_eq!((theirs.suggested(2), theirs.core.waiting()), (None, 1));
    // The next look comes later, and on news at once.
    assert!(theirs.core.overdue(theirs.now.mono).is_empty());
    theirs.core.look_again();
    assert_eq!(theirs.core.overdue(theirs.now.mono), [wc()]);
    // It does not begin here any more.
    theirs.ended(run, completed());
    assert_eq!(theirs.begun(1)[0].0, task_id(2));
    theirs.restart(config(1, 4, 900));
    assert_eq!(theirs.suggested(3), Some(vec![entity(9)]));
    // But under another token it may be offered again.
    theirs.queued(3, 2);
}

#[test]
fn what_must_stay_and_what_nobody_idle_fits_is_not_handed_over() {
    let (mut theirs, _) = busy(4);
    let stays = DelegateItem {
        stay: true,
        ..offer(2, 1)
    };
    assert_eq!(theirs.offered(stays), AcceptAnswer::Queued);
    let budget = crate::wire::Budget {
        depth: 0,
        reward: 5,
    };
    let poor = DelegateItem {
        budget: Some(budget),
        ..offer(3, 1)
    };
    assert_eq!(theirs.offered(poor), AcceptAnswer::Queued);
    theirs.tick(3_000);
    theirs.hand_over(&[idle(8, 4, 6)]);
    assert_eq!((theirs.suggested(2), theirs.suggested(3)), (None, None));
    // Neither is it handed to its own requester.
    let requester = Idle {
        worker: US,
        free: 4,
        price: 0,
    };
    theirs.tick(1_000);
    theirs.hand_over(&[requester]);
    assert_eq!(theirs.core.waiting(), 2);
    theirs.tick(1_000);
    theirs.hand_over(&[idle(8, 4, 5)]);
    assert_eq!(theirs.suggested(3), Some(vec![entity(8)]));
    assert_eq!(theirs.core.waiting(), 1);
}

#[test]
fn a_renewal_names_all_that_is_held_of_a_requester() {
    let config = WorkerConfig {
        serving: BTreeMap::from([(wc(), serving(256))]),
        ..worker_config(256, FIRST_RUN)
    };
    let mut theirs = Side::new(Worker::new(config), 2);
    let offers = (1..=300).map(|n| offer(n, 1)).collect();
    let (answers, _) = theirs.kept(|core, step| core.offered(US, offers, step));
    let taken = |answer: &&AcceptAnswer| !matches!(answer, AcceptAnswer::Refused(_));
    assert_eq!(answers.iter().filter(taken).count(), LIST_MAX_ITEMS);
    let told = theirs.tick(5_000);
    let named = told.iter().find_map(|effect| match effect {
        WorkerEffect::Renew { items, .. } => Some(items.len()),
        _ => None,
    });
    assert_eq!(named, Some(LIST_MAX_ITEMS));
}
