//! A task goes to another node and its result comes back; nothing is promised before the disk.

use super::*;
use crate::types::limits::SUBMIT_MAX_TASKS;
use crate::types::{Marks, RunId};

fn view(result: CommandResult) -> TaskView {
    match result {
        Ok(Reply::Task(view)) => *view,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_task_is_run_elsewhere_and_its_result_returned() {
    let mut wires = pair();
    assert_eq!(view(wires.ask(0, submit(1))).id, task(1).to_string());
    wires.run(SECOND_MS);
    let done = view(wires.ask(0, Command::AwaitTask(task(1))));
    assert_eq!((done.state, done.attempts.len()), (TaskState::Completed, 1));
    let worker = wires.hosts[1].identity.entity_id;
    let result = Reply::TaskResult {
        worker: Some(worker),
        attempts: 1,
        result: b"SOME WORDS".to_vec(),
    };
    assert_eq!(wires.ask(0, Command::TaskResult(task(1))), Ok(result));
    assert!(wires.node(1).worker().is_empty(), "acknowledged");
}

#[test]
fn who_awaits_a_task_is_answered_when_it_is_over() {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.granted(0, submit(1));
    let awaited = [0, 1].map(|_| wires.command(0, Command::AwaitTask(task(1))));
    wires.run(60 * SECOND_MS);
    assert!(
        awaited.iter().all(|id| wires.reply(0, *id).is_none()),
        "renewals keep it at work"
    );
    let pending = wires
        .ask(0, Command::TaskResult(task(1)))
        .expect_err("not yet");
    assert_eq!(pending.code, CommandErrorCode::Conflict);
    wires.end_run(
        1,
        RunOutcome::Completed {
            result: b"done".to_vec(),
        },
    );
    for id in awaited {
        let over = view(wires.reply(0, id).expect("answered"));
        assert_eq!((over.state, over.attempts.len()), (TaskState::Completed, 1));
    }
}

#[test]
fn the_reply_to_a_submission_waits_for_the_disk() {
    let mut wires = pair();
    wires.hosts[0].disk_waits = true;
    let first = wires.command(0, submit(1));
    let again = wires.command(0, submit(1));
    let looked = wires.command(0, Command::Task(task(1)));
    let listed = wires.command(0, all_tasks());
    let (id, after) = (task(1), None);
    let told = wires.command(0, Command::TaskEvents { id, after });
    let watched = wires.command(0, Command::AwaitTaskEvents { id, after });
    wires.run(5 * SECOND_MS);
    for id in [first, again, looked, listed, told, watched] {
        assert!(
            wires.reply(0, id).is_none(),
            "nor is a duplicate or a reader told"
        );
    }
    assert!(
        wires.node(1).worker().is_empty(),
        "T3: nor does the offer leave"
    );
    wires.flush(0);
    for id in [told, watched] {
        assert!(wires.reply(0, id).is_some_and(|reply| reply.is_ok()));
    }
    for id in [first, again, looked, listed] {
        assert!(wires.reply(0, id).expect("answered").is_ok());
    }
}

#[test]
fn an_offer_is_accepted_only_once_the_disk_has_it() {
    let mut wires = pair();
    (wires.hosts[1].disk_waits, wires.hosts[1].runs_hang) = (true, true);
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    assert_eq!(wires.node(1).worker().len(), 1);
    let waiting = view(wires.ask(0, Command::Task(task(1))));
    assert_eq!(waiting.attempts[0].outcome, "offered", "T5");
    let taken = |note: &&Note| matches!(note, Note::TaskTaken { .. });
    let logged = |wires: &Wires| wires.hosts[1].notes.iter().filter(taken).count();
    assert_eq!(logged(&wires), 0, "nor does the log say so");
    // Had it died now, nobody would have been promised anything.
    wires.flush(1);
    assert_eq!(logged(&wires), 1);
    let accepted = view(wires.ask(0, Command::Task(task(1))));
    assert_eq!(accepted.attempts[0].outcome, "working");
}

#[test]
fn a_result_is_handed_over_and_acknowledged_only_once_the_disks_have_it() {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    wires.hosts[1].disk_waits = true;
    wires.end_run(
        1,
        RunOutcome::Completed {
            result: b"done".to_vec(),
        },
    );
    wires.run(SECOND_MS);
    assert_eq!(
        view(wires.ask(0, Command::Task(task(1)))).state,
        TaskState::Working
    );
    wires.hosts[0].disk_waits = true;
    wires.flush(1);
    wires.hosts[1].disk_waits = false;
    let asked = wires.command(0, Command::TaskResult(task(1)));
    assert_eq!(wires.node(1).worker().len(), 1, "T5: not acknowledged");
    assert!(wires.reply(0, asked).is_none(), "T2: nor told to anybody");
    wires.flush(0);
    assert!(wires.node(1).worker().is_empty());
    assert!(wires.reply(0, asked).expect("answered").is_ok());
}

#[test]
fn a_task_waits_until_its_worker_is_there() {
    let mut wires = Wires::new(vec![config(0, None, 0), config(1, Some(0), 2)]);
    wires.stop(1);
    let waiting = view(wires.ask(0, submit(1)));
    let reason = "waits for a free slot at a worker that can be reached";
    assert_eq!(waiting.reason.as_deref(), Some(reason));
    wires.run(30 * SECOND_MS);
    wires.start(1);
    wires.run(15 * SECOND_MS);
    assert_eq!(
        view(wires.ask(0, Command::Task(task(1)))).state,
        TaskState::Completed
    );
}

#[test]
fn an_id_or_a_key_of_another_task_is_a_conflict() {
    let mut wires = pair();
    let Command::Submit(first) = submit(1) else {
        unreachable!("a submission")
    };
    let first = Submission {
        key: Some("report".parse().expect("a key")),
        ..first
    };
    wires.granted(0, Command::Submit(first.clone()));
    for other in [
        Submission {
            input: b"others".to_vec(),
            ..first.clone()
        },
        Submission {
            id: task(2),
            priority: Priority::High,
            ..first.clone()
        },
    ] {
        let refused = wires.ask(0, Command::Submit(other));
        let refused = refused.expect_err("a conflict");
        assert_eq!(refused.code, CommandErrorCode::Conflict);
    }
    let again = Submission {
        id: task(3),
        ..first
    };
    let known = view(wires.ask(0, Command::Submit(again)));
    assert_eq!(
        (known.id, known.key),
        (task(1).to_string(), Some("report".into()))
    );
}

#[test]
fn a_task_says_that_it_waits_for_its_start() {
    let mut wires = pair();
    let Command::Submit(submission) = submit(1) else {
        unreachable!("a submission")
    };
    let later = Submission {
        start: Start::In(5 * SECOND_MS),
        ..submission
    };
    let waiting = view(wires.ask(0, Command::Submit(later)));
    let start_at = waiting.start_at.expect("it has one");
    assert_eq!(
        waiting.reason,
        Some(format!("waits for its start at {start_at}"))
    );
    wires.run(4 * SECOND_MS);
    let still = view(wires.ask(0, Command::Task(task(1))));
    assert!(still.attempts.is_empty());
    wires.run(2 * SECOND_MS);
    let begun = view(wires.ask(0, Command::Task(task(1))));
    assert_eq!((begun.attempts.len(), begun.reason), (1, None));
}

#[test]
fn a_deadline_without_a_worker_is_told_as_such() {
    let mut wires = Wires::new(vec![config(0, None, 0)]);
    let Command::Submit(submission) = submit(1) else {
        unreachable!("a submission")
    };
    let short = Submission {
        deadline_ms: 2_000,
        ..submission
    };
    let waiting = view(wires.ask(0, Command::Submit(short)));
    assert_eq!(waiting.reason.as_deref(), Some("no known peer offers wc"));
    let awaited = wires.command(0, Command::AwaitTask(task(1)));
    wires.run(2 * SECOND_MS);
    let over = view(wires.reply(0, awaited).expect("answered"));
    assert_eq!((over.state, over.no_worker), (TaskState::Failed, true));
}

#[test]
fn a_task_that_found_nobody_who_fits_shows_who_was_looked_at_when_it_has_failed() {
    let mut wires = pair();
    let Command::Submit(submission) = submit(1) else {
        unreachable!("a submission")
    };
    let label = "zone=mars".parse().expect("a label");
    let demanding = Submission {
        deadline_ms: 2_000,
        marks: Marks {
            needs: [label].into(),
            ..Marks::default()
        },
        ..submission
    };
    wires.granted(0, Command::Submit(demanding));
    wires.run(3 * SECOND_MS);
    let over = view(wires.ask(0, Command::Task(task(1))));
    assert_eq!((over.state, over.no_worker), (TaskState::Failed, true));
    let why = "no worker was found before the deadline; last: of 1 that offer wc 1 without a label that \
               it needs";
    assert_eq!(over.reason.as_deref(), Some(why));
    let considered: Vec<&str> = over.considered.iter().map(|of| of.why.as_str()).collect();
    assert_eq!(considered, ["label"]);
}

#[test]
fn a_failed_task_is_listed_handed_over_again_and_dropped() {
    let mut wires = Wires::new(vec![config(0, None, 0)]);
    for n in [1, 2] {
        let Command::Submit(submission) = submit(n) else {
            unreachable!("a submission")
        };
        let short = Submission {
            deadline_ms: 1_000,
            ..submission
        };
        wires.granted(0, Command::Submit(short));
    }
    wires.granted(0, submit(3));
    wires.run(2 * SECOND_MS);
    let dead = |wires: &mut Wires| {
        let filter = TaskFilter {
            dead: true,
            limit: 10,
            ..TaskFilter::default()
        };
        let Ok(Reply::Tasks { tasks, .. }) = wires.ask(0, Command::Tasks(filter)) else {
            panic!("the tasks")
        };
        tasks.into_iter().map(|task| task.id).collect::<Vec<_>>()
    };
    let ids = |n: &[u64]| n.iter().map(|n| task(*n).to_string()).collect::<Vec<_>>();
    assert_eq!(dead(&mut wires), ids(&[1, 2]));
    let resubmit = |n| Command::Resubmit {
        id: task(n),
        as_id: task(9),
        changed: Changed::default(),
    };
    let again = view(wires.ask(0, resubmit(1)));
    assert_eq!(
        (again.id, again.prior),
        (ids(&[9])[0].clone(), Some(ids(&[1])[0].clone()))
    );
    let dropped = view(wires.ask(0, Command::DropTask(task(2))));
    assert!(!dropped.dead);
    assert!(dead(&mut wires).is_empty());
    for (command, code) in [
        (resubmit(2), CommandErrorCode::Conflict),
        (resubmit(3), CommandErrorCode::Conflict),
        (resubmit(8), CommandErrorCode::NotFound),
        (Command::DropTask(task(2)), CommandErrorCode::Conflict),
        (Command::DropTask(task(8)), CommandErrorCode::NotFound),
    ] {
        let refused = wires.ask(0, command).expect_err("refused");
        assert_eq!(refused.code, code);
    }
}

#[test]
fn a_list_of_tasks_is_written_at_once_and_refused_as_a_whole() {
    let mut wires = Wires::new(vec![config(0, None, 0)]);
    let list = |ids: &[u64]| {
        let submission = |n: &u64| match submit(*n) {
            Command::Submit(submission) => submission,
            _ => unreachable!("a submission"),
        };
        Command::SubmitMany(ids.iter().map(submission).collect())
    };
    let Ok(Reply::Tasks { tasks, next: None }) = wires.ask(0, list(&[1, 2, 3])) else {
        panic!("three tasks")
    };
    let ids: Vec<String> = tasks.into_iter().map(|task| task.id).collect();
    assert_eq!(ids, [1, 2, 3].map(|n| task(n).to_string()));
    let refused = wires.ask(0, list(&[4, 5, 4])).expect_err("one is twice");
    assert_eq!(refused.code, CommandErrorCode::Conflict);
    assert!(refused.message.starts_with("tasks[2]: "), "{refused}");
    let many: Vec<u64> = (10..10 + 1 + SUBMIT_MAX_TASKS as u64).collect();
    let wrong = [
        (&[][..], CommandErrorCode::Invalid),
        (&many, CommandErrorCode::TooLarge),
    ];
    for (wrong, code) in wrong {
        let refused = wires.ask(0, list(wrong)).expect_err("1 to 256");
        assert_eq!(refused.code, code);
    }
    let unknown = wires.ask(0, Command::Task(task(5)));
    assert_eq!(unknown.expect_err("none").code, CommandErrorCode::NotFound);
}

#[test]
fn a_canceled_task_is_stopped_where_it_runs() {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    let run: RunId = wires.hosts[1].runs[0].0;
    assert_eq!(
        view(wires.ask(0, Command::CancelTask(task(1)))).state,
        TaskState::Canceled
    );
    assert_eq!(wires.hosts[1].killed, [run]);
    assert!(wires.node(1).worker().is_empty());
}

#[test]
fn what_has_ended_is_not_canceled_and_a_cancel_may_be_said_again() {
    let mut wires = pair();
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    let refused = wires.ask(0, Command::CancelTask(task(1)));
    let refused = refused.expect_err("it is completed");
    assert_eq!(refused.code, CommandErrorCode::Conflict);
    assert!(
        refused.message.contains("is completed already"),
        "{refused:?}"
    );
    wires.hosts[1].runs_hang = true;
    wires.granted(0, submit(2));
    for _ in 0..2 {
        let again = view(wires.ask(0, Command::CancelTask(task(2))));
        assert_eq!(again.state, TaskState::Canceled);
    }
}

#[test]
fn a_command_that_fails_five_times_fails_its_task() {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.granted(0, submit(1));
    let awaited = wires.command(0, Command::AwaitTask(task(1)));
    for attempt in 1..=5 {
        for _ in 0..60 {
            wires.run(SECOND_MS);
            if !wires.hosts[1].runs.is_empty() {
                break;
            }
        }
        assert!(
            wires.reply(0, awaited).is_none(),
            "before attempt {attempt}"
        );
        wires.end_run(
            1,
            RunOutcome::Failed {
                reason: "exit status 1".into(),
            },
        );
    }
    let over = view(wires.reply(0, awaited).expect("answered"));
    assert_eq!(
        (over.state, over.attempts.len(), over.no_worker),
        (TaskState::Failed, 5, false)
    );
    assert_eq!(
        over.reason.as_deref(),
        Some("failed 5 times, at last: exit status 1")
    );
}

#[test]
fn many_tasks_are_all_done_and_no_worker_is_given_more_than_it_takes() {
    let configs = vec![
        config(0, None, 0),
        config(1, Some(0), 2),
        config(2, Some(0), 3),
    ];
    let mut wires = Wires::new(configs);
    wires.run(5 * SECOND_MS);
    for n in 1..=100 {
        wires.granted(0, submit(n));
    }
    wires.run(60 * SECOND_MS);
    let Ok(Reply::Tasks { tasks, .. }) = wires.ask(0, all_tasks()) else {
        panic!("a list")
    };
    assert_eq!(tasks.len(), 100);
    for task in &tasks {
        assert_eq!(
            (task.state, task.attempts.len()),
            (TaskState::Completed, 1),
            "{task:?}"
        );
    }
    let workers: BTreeSet<&str> = tasks
        .iter()
        .map(|t| t.attempts[0].worker.as_str())
        .collect();
    assert_eq!(workers.len(), 2, "both had a share");
}

#[test]
fn who_watches_a_task_is_told_each_event_as_it_happens() {
    let mut wires = pair();
    wires.granted(0, submit(1));
    let (id, mut after, mut kinds) = (task(1), None, Vec::new());
    loop {
        let Ok(Reply::TaskEvents(told)) = wires.ask(0, Command::AwaitTaskEvents { id, after })
        else {
            panic!("events")
        };
        assert!(!told.reset);
        kinds.extend(told.events.iter().map(|event| event.kind.clone()));
        after = Some(told.last);
        if told.over {
            break;
        }
    }
    assert_eq!(kinds, ["submitted", "offered", "working", "completed"]);
    let unknown = Command::AwaitTaskEvents { id: task(9), after };
    let refused = wires.ask(0, unknown).expect_err("no such task");
    assert_eq!(refused.code, CommandErrorCode::NotFound);
}
