//! A disk that has too little room: nothing new is taken, and it is said why.

use super::*;

const MIB: u64 = 1 << 20;

fn disk(free_mib: u64) -> Input {
    Input::Disk(DiskRoom {
        free_bytes: free_mib * MIB,
        keep_bytes: 100 * MIB,
    })
}

fn storage(wires: &mut Wires, n: usize) -> String {
    match wires.ask(n, Command::Status) {
        Ok(Reply::Status(status)) => status.storage,
        other => panic!("{other:?}"),
    }
}

fn state(wires: &mut Wires, n: u64) -> TaskState {
    match wires.ask(0, Command::Task(task(n))) {
        Ok(Reply::Task(view)) => view.state,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_room_on_its_disk_a_requester_queues_nothing_new_and_says_why() {
    let mut wires = pair();
    wires.granted(0, submit(1));
    wires.input(0, disk(100));
    let refused = wires.ask(0, submit(2)).expect_err("there is no room");
    assert_eq!(refused.code, CommandErrorCode::Storage);
    let says = |text: &str| refused.message.contains(text);
    assert!(says("100 MiB free") && says("free space"), "{refused:?}");
    let known = wires.ask(0, submit(1));
    assert!(known.is_ok(), "what is there is found: {known:?}");
    assert!(storage(&mut wires, 0).contains("no new task is taken"));
    wires.input(0, disk(200));
    assert_eq!(storage(&mut wires, 0), "ok");
    wires.granted(0, submit(2));
}

#[test]
fn without_room_on_its_disk_a_worker_takes_nothing_until_there_is_some() {
    let mut wires = pair();
    wires.input(1, disk(100));
    wires.granted(0, submit(1));
    wires.run(5 * SECOND_MS);
    assert!(wires.node(1).worker().is_empty());
    assert_eq!(state(&mut wires, 1), TaskState::Submitted);
    assert!(storage(&mut wires, 1).contains("no new task is taken"));
    let told = |note: &&Note| matches!(note, Note::DiskShort { .. } | Note::DiskRoomAgain);
    let notes = |wires: &Wires| wires.hosts[1].notes.iter().filter(told).count();
    assert_eq!(notes(&wires), 1);
    wires.input(1, disk(200));
    wires.run(60 * SECOND_MS);
    assert_eq!(state(&mut wires, 1), TaskState::Completed);
    assert_eq!(notes(&wires), 2);
}

#[test]
fn what_was_written_since_the_disk_was_looked_at_counts() {
    let mut wires = pair();
    let large = |n| {
        let Command::Submit(one) = submit(n) else {
            panic!("a submission")
        };
        let input = vec![7; MIB as usize];
        let capability = "nobody".parse().expect("a capability");
        Command::Submit(Submission {
            input,
            capability,
            ..one
        })
    };
    let taken = |wires: &mut Wires, from: u64| {
        let all = (from..from + 9).map(|n| wires.ask(0, large(n)));
        all.filter(Result::is_ok).count()
    };
    wires.input(0, disk(105));
    assert_eq!(taken(&mut wires, 10), 4, "and the rows take some");
    // The next look may have come before those were flushed, the one after that saw them.
    wires.input(0, disk(105));
    assert_eq!(taken(&mut wires, 20), 0);
    wires.input(0, disk(105));
    assert_eq!(taken(&mut wires, 30), 4);
}
