//! The queue: order, bounds, and how a task leaves it.

use super::*;
use crate::wire::Budget;

#[test]
fn restart_finds_every_acknowledged_task_with_its_input_and_result() {
    let (mut ours, a) = (ours(), entity(1));
    let done = ours.working(new_task(1), a);
    ours.result(done, completed());
    let waiting = ours.submit(new_task(2));
    let unacknowledged = ours.step(|core, step| core.submit(new_task(3), step));
    assert!(matches!(unacknowledged, SubmitOutcome::Queued(batch) if !ours.disk.is_durable(batch)));
    ours.restart();
    assert_eq!(
        ours.core.tasks().count(),
        2,
        "T1, and what was not flushed was not promised"
    );
    assert_eq!(ours.core.result(done.1), Some(&b"2"[..]));
    assert_eq!(ours.core.input(waiting), Some(&b"some words"[..]));
    assert_eq!(ours.assign(&[a]), [(a, waiting, token(1))]);
}

#[test]
fn a_canceled_task_tells_its_worker_and_stays_canceled() {
    let (mut ours, a) = (ours(), entity(1));
    let held = ours.working(new_task(1), a);
    let (after, open) = ours
        .step(|core, step| core.cancel(held.1, step))
        .expect("known");
    assert!(open && !ours.disk.is_durable(after));
    let items = vec![CancelItem {
        task_id: held.1,
        token: held.2,
    }];
    let cancel = RequesterEffect::Cancel {
        worker: a,
        items,
        after,
    };
    let finished = RequesterEffect::Finished {
        task: held.1,
        after,
    };
    assert_eq!(ours.core.effects(), [cancel, finished]);
    ours.disk.flush(1);
    assert_eq!(ours.result(held, completed()), AckAnswer::Fenced);
    assert_eq!(ours.record(held.1).state, TaskState::Canceled, "T2");
    let again = ours.kept(|core, step| core.cancel(held.1, step));
    assert_eq!(again.map(|(_, open)| open), Some(false));
    assert_eq!(ours.kept(|core, step| core.cancel(task_id(9), step)), None);
}

#[test]
fn deadline_without_worker_is_no_worker() {
    let mut ours = ours();
    let id = ours.submit(NewTask {
        deadline_ms: 5_000,
        ..new_task(1)
    });
    assert!(
        ours.core
            .next_deadline()
            .is_some_and(|at| at == ours.now.mono + 5_000)
    );
    ours.wait(5_000);
    let record = ours.record(id);
    assert_eq!(
        (record.state, record.attempts.len()),
        (TaskState::Failed, 0)
    );
    assert_eq!(
        record.reason.as_deref(),
        Some("no worker was found before the deadline")
    );
}

fn due_in_five_seconds() -> NewTask {
    NewTask {
        deadline_ms: 5_000,
        ..new_task(1)
    }
}

#[test]
fn what_was_done_in_time_counts_though_the_requester_was_away_past_the_deadline() {
    let (mut ours, a) = (ours(), entity(1));
    let held = ours.working(due_in_five_seconds(), a);
    ours.pass(3_600_000);
    ours.restart();
    ours.kept(Requester::tick);
    assert_eq!(ours.record(held.1).state, TaskState::Working);
    assert_eq!(
        ours.renew(a, boot(1), &[held]),
        [RenewAnswer::Renewed { lease_ms: 20_000 }]
    );
    ours.kept(Requester::tick);
    assert_eq!(ours.result(held, completed()), AckAnswer::Kept);
    assert_eq!(ours.record(held.1).state, TaskState::Completed);
}

#[test]
fn a_deadline_that_passed_during_a_restart_ends_the_task_with_its_fresh_lease() {
    let (mut ours, a) = (ours(), entity(1));
    let held = ours.working(due_in_five_seconds(), a);
    ours.pass(6_000);
    ours.restart();
    ours.wait(19_999);
    assert_eq!(ours.record(held.1).state, TaskState::Working);
    ours.wait(1);
    assert_eq!(ours.record(held.1).state, TaskState::Failed);
    assert_eq!(
        ours.record(held.1).reason.as_deref(),
        Some("the deadline passed")
    );
    assert!(
        matches!(ours.core.effects()[0], RequesterEffect::Cancel { worker, .. } if worker == a)
    );
}

/// A worker that takes one task.
fn one_slot(n: u8) -> Candidate {
    Candidate::new(entity(n), 1)
}

fn of(priority: Priority, n: u64) -> NewTask {
    NewTask {
        priority,
        ..new_task(n)
    }
}

#[test]
fn an_unimportant_task_is_passed_for_half_an_hour_and_no_longer() {
    const MINUTE_MS: u64 = 60_000;
    let mut ours = ours();
    let patient = |n| NewTask {
        deadline_ms: 10 * HOUR_MS,
        ..of(Priority::Low, n)
    };
    let low = ours.submit(patient(1));
    ours.wait(29 * MINUTE_MS);
    let within = ours.submit(of(Priority::Critical, 2));
    ours.wait(2 * MINUTE_MS);
    let after = ours.submit(of(Priority::Critical, 3));
    let mut order = Vec::new();
    for n in 1..=3 {
        order.extend(ours.assign_to(&[one_slot(n)]).iter().map(|offer| offer.1));
    }
    assert_eq!(order, [within, low, after], "T8");
}

#[test]
fn a_clock_that_is_set_back_lets_nobody_in_front() {
    let mut ours = ours();
    let first = ours.submit(new_task(2));
    ours.now.wall = Wall(ours.now.wall.0 - HOUR_MS);
    let second = ours.submit(new_task(3));
    assert!(ours.record(second).queued.is_some(), "and it is stored");
    ours.restart();
    let third = ours.submit(new_task(4));
    let mut order = Vec::new();
    for n in 1..=3 {
        order.extend(ours.assign_to(&[one_slot(n)]).iter().map(|offer| offer.1));
    }
    assert_eq!(order, [first, second, third]);
}

#[test]
fn thousands_of_tasks_that_nobody_can_take_hold_up_nobody() {
    let (mut ours, a, absent) = (ours(), entity(1), entity(2));
    for n in 1..=3_000 {
        let bound = NewTask {
            to: Some(absent),
            ..of(Priority::Critical, n)
        };
        let _ = ours.step(|core, step| core.submit(bound, step));
    }
    ours.disk.flush(usize::MAX);
    let free = ours.submit(of(Priority::Low, 9_999));
    assert_eq!(ours.assign(&[a]), [(a, free, token(1))]);
}

fn reward(reward: u64) -> Option<Budget> {
    Some(Budget { depth: 0, reward })
}

/// What one look costs: tasks that were looked at, and how often candidates were asked for.
fn cost(ours: &mut Side<Requester>, candidates: &[Candidate]) -> (usize, usize) {
    let (before, mut asked) = (ours.core.looks(), 0);
    ours.core.look_again();
    ours.kept(|core, step| {
        core.assign(step, |_| {
            asked += 1;
            candidates.into()
        });
    });
    (ours.core.looks() - before, asked)
}

#[test]
fn a_look_that_finds_no_room_costs_what_there_are_demands_and_not_tasks() {
    let (mut ours, full) = (ours(), entity(1));
    ours.working(new_task(1), full);
    for n in 2..=2_001 {
        let mut new = new_task(n);
        match n % 3 {
            0 => new.to = Some(entity(9)),
            1 => new.marks.needs = ["gpu=none".parse().expect("a label")].into(),
            _ => new.delegation.granted = reward(1),
        }
        let _ = ours.step(|core, step| core.submit(new, step));
    }
    ours.disk.flush(usize::MAX);
    let draining = Candidate {
        bar: Some(Bar::Draining),
        ..Candidate::new(entity(2), 1_000)
    };
    let nobody = [Candidate::new(full, 1), draining];
    let dear = Candidate {
        price: 2,
        ..Candidate::new(entity(3), 1_000)
    };
    let none_that_fits = [&nobody[..], &[dear]].concat();
    for _ in 0..3 {
        assert_eq!(cost(&mut ours, &nobody), (0, 1), "nobody takes anything");
        let costs = cost(&mut ours, &none_that_fits);
        assert_eq!(costs, (4, 1), "the first of each demand, and the end");
    }
    let waiting = ours.submit(new_task(9_999));
    assert_eq!(ours.assign_to(&none_that_fits)[0].1, waiting);
}

#[test]
fn tasks_of_thousands_of_demands_are_given_out_in_their_order() {
    let (mut ours, a) = (ours(), entity(1));
    for n in 1..=3_000 {
        let mut new = of(Priority::Normal, n);
        new.delegation.granted = reward(n);
        let _ = ours.step(|core, step| core.submit(new, step));
    }
    ours.disk.flush(usize::MAX);
    let one_slot = [Candidate::new(a, 1)];
    for n in 1..=200 {
        let offers = ours.assign_to(&one_slot);
        assert_eq!(offers, [(a, task_id(n), token(1))]);
        ours.answer(offers[0], boot(1), AcceptAnswer::Accepted);
        assert!(ours.assign_to(&one_slot).is_empty());
        assert_eq!(ours.result(offers[0], completed()), AckAnswer::Kept);
    }
}

#[test]
fn who_stands_worse_gets_what_the_best_have_no_room_for() {
    let (mut ours, best, worse) = (ours(), entity(1), entity(2));
    for n in 1..=3 {
        ours.submit(new_task(n));
    }
    let candidates = [(best, 0), (worse, 1)].map(|(worker, standing)| Candidate {
        standing,
        ..Candidate::new(worker, 2)
    });
    let offers = ours.assign_to(&candidates);
    let workers: Vec<EntityId> = offers.iter().map(|offer| offer.0).collect();
    assert_eq!(workers, [best, best, worse]);
}

#[test]
fn workers_are_looked_for_at_once_when_something_came_free_and_else_now_and_then() {
    let (mut ours, a) = (ours(), entity(1));
    let mut looks = 0;
    let mut look = |ours: &mut Side<Requester>, room: bool| {
        ours.kept(|core, step| {
            core.assign(step, |_| {
                looks += 1;
                room.then(|| one_slot(1)).into_iter().collect()
            });
        });
        looks
    };
    assert_eq!(look(&mut ours, true), 0, "nothing waits");
    ours.submit(new_task(1));
    assert_eq!(look(&mut ours, false), 1);
    assert_eq!(look(&mut ours, false), 1, "nothing changed here");
    let at = ours.core.next_deadline().expect("it is looked again");
    assert_eq!(at, ours.now.mono + 50);
    ours.pass(50);
    assert_eq!(look(&mut ours, true), 2);
    ours.submit(new_task(2));
    assert_eq!(look(&mut ours, true), 3);
    let held = (a, task_id(1), token(1));
    ours.core.effects();
    ours.answer(held, boot(1), AcceptAnswer::Accepted);
    ours.result(held, completed());
    assert_eq!(look(&mut ours, true), 4, "a slot came free");
}

#[test]
fn a_task_does_not_begin_before_its_start_and_its_deadline_counts_from_there() {
    let (mut ours, a) = (ours(), entity(1));
    let id = ours.submit(NewTask {
        start: Start::In(10_000),
        ..due_in_five_seconds()
    });
    let submitted = ours.record(id).submitted;
    assert_eq!(ours.core.begins(id), Some(submitted + 10_000));
    assert!(ours.assign(&[a]).is_empty());
    ours.wait(9_999);
    assert!(ours.assign(&[a]).is_empty());
    ours.wait(1);
    assert_eq!(ours.core.begins(id), None);
    assert_eq!(ours.record(id).deadline, submitted + 15_000);
    assert_eq!(ours.assign(&[a]), [(a, id, token(1))]);
    ours.wait(5_000);
    assert_eq!(ours.record(id).state, TaskState::Failed);
}

#[test]
fn a_start_survives_a_restart_and_one_that_has_passed_is_now() {
    let (mut ours, a) = (ours(), entity(1));
    let at = |ms| Start::At(ours.now.wall + ms);
    let (later, past) = (at(10_000), Start::At(Wall(1)));
    let waits = ours.submit(NewTask {
        start: later,
        ..new_task(1)
    });
    let ready = ours.submit(NewTask {
        start: past,
        ..new_task(2)
    });
    assert_eq!(ours.record(ready).start_at, None);
    ours.pass(4_000);
    ours.restart();
    assert_eq!(ours.assign(&[a]), [(a, ready, token(1))]);
    ours.wait(6_000);
    assert_eq!(ours.assign(&[a]), [(a, waits, token(1))]);
}

fn keyed(key: &str, n: u64) -> NewTask {
    NewTask {
        key: Some(key.parse().expect("a key")),
        ..new_task(n)
    }
}

#[test]
fn another_task_under_the_same_id_is_a_conflict_and_changes_nothing() {
    let mut ours = ours();
    let id = ours.submit(new_task(1));
    let others = [
        NewTask {
            input: b"other words".to_vec(),
            ..new_task(1)
        },
        of(Priority::High, 1),
        due_in_five_seconds(),
        keyed("k", 1),
        NewTask {
            start: Start::In(1),
            ..new_task(1)
        },
    ];
    let before = ours.record(id);
    for restarted in [false, true] {
        for other in others.clone() {
            let outcome = ours.step(|core, step| core.submit(other, step));
            assert_eq!(outcome, SubmitOutcome::Conflict(id), "{restarted}");
        }
        assert_eq!(ours.record(id), before);
        ours.restart();
    }
}

#[test]
fn a_task_handed_over_again_under_its_key_is_the_task_that_is_there() {
    let (mut ours, a) = (ours(), entity(1));
    let held = ours.working(keyed("invoice-7", 1), a);
    for restarted in [false, true] {
        let again = ours.kept(|core, step| core.submit(keyed("invoice-7", 2), step));
        assert!(
            matches!(again, SubmitOutcome::Known(id, _) if id == held.1),
            "{restarted}"
        );
        let other = NewTask {
            input: Vec::new(),
            ..keyed("invoice-7", 3)
        };
        let other = ours.kept(|core, step| core.submit(other, step));
        assert_eq!(other, SubmitOutcome::Conflict(held.1));
        ours.restart();
    }
    let second = ours.submit(keyed("invoice-8", 4));
    let torn = ours.kept(|core, step| core.submit(keyed("invoice-7", 4), step));
    assert_eq!(torn, SubmitOutcome::Conflict(second), "two tasks are meant");
    ours.result(held, completed());
    let ended = ours.kept(|core, step| core.submit(keyed("invoice-7", 5), step));
    assert!(matches!(ended, SubmitOutcome::Known(id, _) if id == held.1));
    ours.wait(TERMINAL_KEEP_MS + 1);
    assert_eq!(
        ours.submit(keyed("invoice-7", 6)),
        task_id(6),
        "and is free once the task is forgotten"
    );
}

#[test]
fn urgent_tasks_go_first_then_the_older() {
    let mut ours = ours();
    for (n, priority) in [
        (1, Priority::Low),
        (2, Priority::Normal),
        (3, Priority::Critical),
        (4, Priority::Normal),
        (5, Priority::High),
    ] {
        ours.submit(NewTask {
            priority,
            ..new_task(n)
        });
    }
    let mut order = Vec::new();
    for n in 1..=5 {
        order.extend(ours.assign_to(&[one_slot(n)]).iter().map(|offer| offer.1));
    }
    assert_eq!(order, [3, 5, 2, 4, 1].map(task_id));
}

#[test]
fn a_task_that_names_its_worker_waits_for_that_one_and_delays_nobody() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let bound = ours.submit(NewTask {
        to: Some(b),
        ..new_task(1)
    });
    let free = ours.submit(new_task(2));
    assert_eq!(ours.assign(&[a]), [(a, free, token(1))]);
    assert_eq!(ours.assign(&[a, b]), [(b, bound, token(1))]);
}

#[test]
fn a_worker_gets_no_more_than_its_slots() {
    let (mut ours, a) = (ours(), entity(1));
    for n in 1..=10 {
        ours.submit(new_task(n));
    }
    let offers = ours.assign(&[a]);
    assert_eq!(offers.len(), 4);
    assert!(ours.assign(&[a]).is_empty());
    ours.result(offers[0], completed());
    assert_eq!(ours.assign(&[a]).len(), 1);
}

#[test]
fn a_submission_told_twice_is_one_task() {
    let mut ours = ours();
    let first = ours.step(|core, step| core.submit(new_task(1), step));
    let again = ours.step(|core, step| core.submit(new_task(1), step));
    assert_eq!(
        (first, again),
        (
            SubmitOutcome::Queued(BatchId(1)),
            SubmitOutcome::Known(task_id(1), BatchId(1))
        )
    );
    ours.disk.flush(1);
    ours.restart();
    let known = ours.step(|core, step| core.submit(new_task(1), step));
    assert_eq!(known, SubmitOutcome::Known(task_id(1), BatchId::NONE));
}

#[test]
fn full_queue_refuses_until_a_task_is_over() {
    let mut ours = ours();
    for n in 0..QUEUE_MAX_TASKS as u64 {
        let outcome = ours.step(|core, step| core.submit(new_task(n), step));
        assert!(matches!(outcome, SubmitOutcome::Queued(_)));
    }
    let more = new_task(QUEUE_MAX_TASKS as u64);
    assert_eq!(
        ours.step(|core, step| core.submit(more.clone(), step)),
        SubmitOutcome::Full(Full::Tasks)
    );
    ours.step(|core, step| core.cancel(task_id(0), step))
        .expect("known");
    let outcome = ours.step(|core, step| core.submit(more, step));
    assert!(matches!(outcome, SubmitOutcome::Queued(_)));
    ours.core.check().expect("T7");
}

#[test]
fn more_bytes_than_the_queue_takes_are_refused() {
    let mut ours = ours();
    let input = vec![0; QUEUE_MAX_BYTES + 1];
    let outcome = ours.step(|core, step| {
        core.submit(
            NewTask {
                input,
                ..new_task(1)
            },
            step,
        )
    });
    assert_eq!(outcome, SubmitOutcome::Full(Full::Bytes));
}

#[test]
fn without_room_on_the_disk_no_new_task_is_queued_and_a_repetition_is_found() {
    let mut ours = ours();
    let input = new_task(1).input.len() as u64;
    let mut submit = |n, left| {
        ours.core.disk_has(left);
        ours.step(|core, step| core.submit(new_task(n), step))
    };
    assert!(matches!(submit(1, u64::MAX), SubmitOutcome::Queued(_)));
    assert_eq!(submit(2, input), SubmitOutcome::Full(Full::Disk));
    assert!(matches!(submit(1, 0), SubmitOutcome::Known(..)));
    let queued = submit(2, input + 4096);
    assert!(matches!(queued, SubmitOutcome::Queued(_)));
}

#[test]
fn tasks_queued_in_one_step_share_what_the_disk_has_left() {
    let mut ours = ours();
    let each = 4096 + new_task(1).input.len() as u64;
    ours.core.disk_has(2 * each);
    let outcomes = ours.step(|core, step| [1, 2, 3].map(|n| core.submit(new_task(n), step)));
    let queued = |outcome: &&SubmitOutcome| matches!(outcome, SubmitOutcome::Queued(_));
    assert_eq!(outcomes.iter().filter(queued).count(), 2);
    assert_eq!(outcomes[2], SubmitOutcome::Full(Full::Disk));
}

#[test]
fn a_terminal_task_is_forgotten_after_eight_days_with_all_its_rows() {
    let (mut ours, a) = (ours(), entity(1));
    let held = ours.working(new_task(1), a);
    ours.result(held, completed());
    ours.wait(TERMINAL_KEEP_MS - 1);
    assert_eq!(ours.disk.count(Keyspace::TaskResult), 1);
    ours.wait(2);
    assert!(ours.core.task(held.1).is_none());
    assert!(ours.disk.rows().is_empty());
    assert_eq!(ours.result(held, completed()), AckAnswer::Fenced);
}
