//! Webhooks that are asked for with their task: both are kept or neither, and how far it is is told.

use super::*;
use crate::types::{EntityId, Keyspace, WriteOp};

const HERE: &str = "http://127.0.0.1:9/done?key=hidden";

fn told(n: u64, url: &str) -> Submission {
    let target = Target::new(url.into(), Some("hidden".into()));
    Submission {
        webhook: Some(Box::new(target.expect("an address"))),
        ..Submission::new(task(n), wc(), b"some words".to_vec())
    }
}

fn shown(wires: &mut Wires) -> WebhookView {
    match wires.ask(0, Command::Task(task(1))) {
        Ok(Reply::Task(view)) => view.webhook.expect("it has one"),
        other => panic!("{other:?}"),
    }
}

fn refused(wires: &mut Wires, command: Command) -> CommandErrorCode {
    wires.ask(0, command).expect_err("refused").code
}

#[test]
fn a_webhook_that_is_asked_for_with_a_task_is_on_disk_with_it() {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.hosts[0].disk_waits = true;
    let asked = wires.command(0, Command::Submit(told(1, HERE)));
    assert!(wires.reply(0, asked).is_none(), "nothing is on disk yet");
    let spaces = |(_, writes): &(BatchId, WriteBatch)| {
        let put = |op: &WriteOp| match op {
            WriteOp::Put { space, .. } => Some(*space),
            WriteOp::Delete { .. } => None,
        };
        writes.ops.iter().filter_map(put).collect::<Vec<_>>()
    };
    let batches: Vec<Vec<Keyspace>> = wires.hosts[0].pending.iter().map(spaces).collect();
    let with = |space: Keyspace| batches.iter().position(|batch| batch.contains(&space));
    assert!(with(Keyspace::Task).is_some());
    assert_eq!(with(Keyspace::Task), with(Keyspace::Webhook), "one batch");
    wires.hosts[0].disk_waits = false;
    wires.flush(0);
    assert!(matches!(wires.reply(0, asked), Some(Ok(Reply::Task(_)))));
    wires.run(SECOND_MS);

    wires.stop(0);
    wires.start(0);
    wires.run(5 * SECOND_MS);
    assert_eq!(shown(&mut wires).state, "waiting");
    let again = wires.ask(0, Command::Submit(told(1, HERE)));
    assert!(matches!(again, Ok(Reply::Task(_))), "a repetition");
    let elsewhere = Command::Submit(told(1, "http://127.0.0.1:9/other"));
    assert_eq!(refused(&mut wires, elsewhere), CommandErrorCode::Conflict);
    assert_eq!(refused(&mut wires, submit(1)), CommandErrorCode::Conflict);

    let result = b"done".to_vec();
    wires.end_run(1, RunOutcome::Completed { result });
    wires.run(15 * SECOND_MS);
    let call = wires.hosts[0].calls.remove(0);
    assert_eq!(
        (call.target.url(), call.task.state),
        (HERE, TaskState::Completed)
    );
    let why = String::from("the answer was 500 Internal Server Error");
    let (number, answer) = (call.number, Err(why.clone()));
    wires.input(0, Input::WebhookCalled { number, answer });
    let view = shown(&mut wires);
    assert_eq!(
        (&*view.state, view.tries, view.answer),
        ("calling", 1, Some(why))
    );
    wires.run(5 * SECOND_MS);
    let (number, answer) = (wires.hosts[0].calls.remove(0).number, Ok(()));
    wires.input(0, Input::WebhookCalled { number, answer });
    for _ in 0..2 {
        let view = shown(&mut wires);
        assert_eq!((&*view.state, view.tries, view.answer), ("heard", 2, None));
        assert!(view.at.is_some());
        wires.stop(0);
        wires.start(0);
    }
    let again = wires.ask(0, Command::Submit(told(1, HERE)));
    assert!(matches!(again, Ok(Reply::Task(_))));
    wires.run(5 * SECOND_MS);
    assert!(wires.hosts[0].calls.is_empty(), "it was heard");
    let rows = wires.hosts[0].rows.iter();
    for ((space, _), row) in rows.filter(|((space, _), _)| *space == Keyspace::Webhook) {
        assert!(
            !String::from_utf8_lossy(row).contains("hidden"),
            "{space:?}"
        );
    }
}

#[test]
fn a_task_with_a_webhook_that_is_not_allowed_is_not_taken() {
    let mut wires = pair();
    let strange = told(1, "http://192.0.2.1/done");
    let refusal = refused(&mut wires, Command::Submit(strange.clone()));
    assert_eq!(refusal, CommandErrorCode::Invalid);
    let Command::Submit(plain) = submit(2) else {
        unreachable!("a submission")
    };
    let list = Command::SubmitMany(vec![plain.clone(), strange]);
    assert_eq!(refused(&mut wires, list), CommandErrorCode::Invalid);
    let part = Submission {
        parent: Some(HeldKey {
            requester: EntityId([9; 32]),
            task: task(9),
        }),
        ..told(1, HERE)
    };
    let refusal = refused(&mut wires, Command::Submit(part));
    assert_eq!(refusal, CommandErrorCode::NotAllowed, "whatever runs here");
    let Ok(Reply::Tasks { tasks, .. }) = wires.ask(0, all_tasks()) else {
        panic!("a list")
    };
    assert!(tasks.is_empty(), "nothing was taken: {tasks:?}");
    let list = Command::SubmitMany(vec![told(1, HERE), plain]);
    wires.granted(0, list);
    wires.run(15 * SECOND_MS);
    assert_eq!(shown(&mut wires).state, "calling");
    assert_eq!(wires.hosts[0].calls.len(), 1, "of who named somebody");
}
