//! The queue: order, bounds, and how a task leaves it.

use super::*;

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

#[test]
fn a_deadline_passes_during_a_restart_and_stops_the_worker() {
    let (mut ours, a) = (ours(), entity(1));
    let held = ours.working(
        NewTask {
            deadline_ms: 5_000,
            ..new_task(1)
        },
        a,
    );
    ours.pass(6_000);
    ours.restart();
    ours.kept(Requester::tick);
    assert_eq!(ours.record(held.1).state, TaskState::Failed);
    assert_eq!(
        ours.record(held.1).reason.as_deref(),
        Some("the deadline passed")
    );
    assert!(
        matches!(ours.core.effects()[0], RequesterEffect::Cancel { worker, .. } if worker == a)
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
        let one = vec![Candidate {
            worker: entity(n),
            slots: 1,
        }];
        ours.kept(|core, step| core.assign(step, |_| one.clone()));
        for effect in ours.core.effects() {
            if let RequesterEffect::Delegate { tasks, .. } = effect {
                order.extend(tasks);
            }
        }
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
            SubmitOutcome::Known(BatchId(1))
        )
    );
    ours.disk.flush(1);
    ours.restart();
    let known = ours.step(|core, step| core.submit(new_task(1), step));
    assert_eq!(known, SubmitOutcome::Known(BatchId::NONE));
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
        SubmitOutcome::Full
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
    assert_eq!(outcome, SubmitOutcome::Full);
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
