//! What runs say before they have ended, from node to node.

use super::*;
use crate::wire::OutputPart;

fn submit_talking(n: u64) -> Command {
    Command::Submit(Submission {
        stream: true,
        ..Submission::new(task(n), wc(), b"some words".to_vec())
    })
}

fn say(wires: &mut Wires, percent: Option<u8>, output: Option<(u64, &[u8])>) {
    let (run, _) = wires.hosts[1].runs[0];
    let part = |(offset, data): (u64, &[u8])| OutputPart {
        offset,
        data: data.to_vec(),
    };
    let note = percent.map(|percent| format!("at {percent}"));
    let said = RunSaid {
        note,
        percent,
        output: output.map(part),
    };
    wires.input(1, Input::RunSaid { run, said });
}

fn heard(wires: &mut Wires, n: u64) -> Vec<TaskEventView> {
    let asked = Command::TaskEvents {
        id: task(n),
        after: None,
    };
    let Ok(Reply::TaskEvents(told)) = wires.ask(0, asked) else {
        panic!("it is known");
    };
    let said = |event: &TaskEventView| matches!(&event.kind[..], "progress" | "output");
    told.events.into_iter().filter(said).collect()
}

#[test]
fn what_a_run_says_is_told_in_lists_and_what_is_between_two_pieces_is_a_gap() {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.granted(0, submit_talking(1));
    wires.run(SECOND_MS);
    assert!(wires.hosts[1].runs[0].1.stream);
    let watched = wires.command(
        0,
        Command::AwaitTaskEvents {
            id: task(1),
            after: Some(u64::MAX),
        },
    );
    assert!(
        wires.reply(0, watched).is_some(),
        "that number is not known"
    );
    say(&mut wires, Some(10), Some((0, b"one ")));
    say(&mut wires, Some(20), Some((4, b"two ")));
    say(&mut wires, None, Some((100, b"lost")));
    assert!(heard(&mut wires, 1).is_empty(), "not at once");
    wires.run(SECOND_MS);
    let events = heard(&mut wires, 1);
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0].percent, Some(20), "the newest");
    assert_eq!(events[0].note.as_deref(), Some("at 20"));
    let Ok(Reply::Task(shown)) = wires.ask(0, Command::Task(task(1))) else {
        panic!("it is known");
    };
    let progress = shown.progress.expect("it runs");
    assert_eq!(
        (progress.percent, progress.note.as_deref()),
        (Some(20), Some("at 20"))
    );
    assert_eq!(
        (events[1].offset, events[1].text.as_deref()),
        (Some(0), Some("one two "))
    );
    say(&mut wires, None, Some((104, b"more")));
    wires.run(SECOND_MS);
    assert_eq!(heard(&mut wires, 1)[2].offset, Some(104));
}

#[test]
fn a_run_that_nobody_listens_to_is_silent() {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    say(&mut wires, Some(10), None);
    assert!(!wires.hosts[1].runs[0].1.stream);
    assert_eq!(wires.node(1).saying.next_deadline(), None);
    wires.run(SECOND_MS);
    assert!(heard(&mut wires, 1).is_empty());
}
