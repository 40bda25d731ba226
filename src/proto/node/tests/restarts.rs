//! A restart ends every session and loses no promise.

use super::*;

fn state(wires: &mut Wires, n: u64) -> (TaskState, usize) {
    match wires.ask(0, Command::Task(task(n))) {
        Ok(Reply::Task(view)) => (view.state, view.attempts.len()),
        other => panic!("{other:?}"),
    }
}

/// The second node restarts within a moment. Nobody dials, so that it is left to the first
/// message to find out that the session is gone.
fn forget_the_session(wires: &mut Wires) {
    for host in &mut wires.hosts {
        host.dials_fail = true;
    }
    wires.stop(1);
    wires.start(1);
}

#[test]
fn a_session_lost_on_one_side_is_restored_by_the_first_message() {
    let mut wires = pair();
    forget_the_session(&mut wires);
    assert!(wires.have_session(0, 1) && !wires.have_session(1, 0));
    let ping = wires.command(0, Command::Ping(name_of(1)));
    wires.run(SECOND_MS);
    assert!(matches!(wires.reply(0, ping), Some(Ok(Reply::Pong(_)))));
    assert!(wires.have_session(0, 1) && wires.have_session(1, 0));
}

#[test]
fn who_is_reached_by_a_new_session_is_not_asked_whether_it_is_there() {
    let mut wires = pair();
    forget_the_session(&mut wires);
    let reached = wires.ask(1, Command::Reach(name_of(0)));
    assert!(matches!(reached, Ok(Reply::Reached { .. })));
    let Ok(Reply::Stats(stats)) = wires.ask(1, Command::Stats) else {
        panic!("numbers")
    };
    assert_eq!(stats.sessions_made, 1);
    assert!(!stats.messages.contains_key("ping"));
}

#[test]
fn a_task_for_a_worker_that_forgot_the_session_is_delivered_at_once() {
    let mut wires = pair();
    forget_the_session(&mut wires);
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    assert_eq!(state(&mut wires, 1), (TaskState::Completed, 1));
}

#[test]
fn a_node_that_restarts_has_one_new_session_with_a_peer_that_remembers_it() {
    // Handshakes it began, and sessions it made, since its start.
    let made = |wires: &mut Wires, n: usize| match wires.ask(n, Command::Stats) {
        Ok(Reply::Stats(stats)) => [
            stats
                .messages
                .get("handshake")
                .map_or(0, |m| m.messages_sent),
            stats.sessions_made,
        ],
        other => panic!("{other:?}"),
    };
    for (restarted, other) in [(0, 1), (1, 0)] {
        let mut wires = pair();
        let [began, sessions] = made(&mut wires, other);
        wires.stop(restarted);
        wires.start(restarted);
        wires.run(10 * SECOND_MS);
        assert!(wires.have_session(0, 1) && wires.have_session(1, 0));
        assert_eq!(made(&mut wires, restarted), [1, 1]);
        assert_eq!(made(&mut wires, other), [began, sessions + 1]);
    }
}

#[test]
fn a_worker_that_restarts_reclaims_its_task_and_ends_it() {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    wires.stop(1);
    wires.run(SECOND_MS);
    wires.hosts[1].runs_hang = false;
    wires.start(1);
    wires.run(15 * SECOND_MS);
    assert_eq!(
        state(&mut wires, 1),
        (TaskState::Completed, 1),
        "the same attempt"
    );
}

#[test]
fn a_requester_that_restarts_gets_the_result_of_before() {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    wires.stop(0);
    wires.run(SECOND_MS);
    wires.end_run(
        1,
        RunOutcome::Completed {
            result: b"done".to_vec(),
        },
    );
    wires.run(60 * SECOND_MS);
    assert_eq!(
        wires.node(1).worker().len(),
        1,
        "kept until it is acknowledged"
    );
    wires.start(0);
    wires.run(15 * SECOND_MS);
    assert_eq!(
        state(&mut wires, 1),
        (TaskState::Completed, 1),
        "the same attempt"
    );
    assert!(wires.node(1).worker().is_empty());
}

#[test]
fn a_task_whose_worker_stays_away_goes_to_another() {
    let configs = vec![
        config(0, None, 0),
        config(1, Some(0), 2),
        config(2, Some(0), 2),
    ];
    let mut wires = Wires::new(configs);
    wires.run(5 * SECOND_MS);
    wires.hosts[1].runs_hang = true;
    wires.hosts[2].runs_hang = true;
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    let (lost, other) = if wires.hosts[1].runs.is_empty() {
        (2, 1)
    } else {
        (1, 2)
    };
    wires.stop(lost);
    wires.hosts[other].runs_hang = false;
    wires.run(17 * SECOND_MS);
    assert_eq!(
        state(&mut wires, 1).0,
        TaskState::Working,
        "a lost connection proves nothing"
    );
    wires.run(13 * SECOND_MS);
    assert_eq!(state(&mut wires, 1), (TaskState::Completed, 2));
    let told = |note: &&Note| matches!(note, Note::LeaseLost { .. });
    assert_eq!(wires.hosts[0].notes.iter().filter(told).count(), 1);
}

#[test]
fn what_was_not_flushed_was_never_promised() {
    let mut wires = pair();
    wires.hosts[0].disk_waits = true;
    let unanswered = wires.command(0, submit(1));
    wires.stop(0);
    wires.hosts[0].disk_waits = false;
    wires.start(0);
    wires.run(10 * SECOND_MS);
    assert!(wires.reply(0, unanswered).is_none());
    let gone = wires
        .ask(0, Command::Task(task(1)))
        .expect_err("never promised");
    assert_eq!(gone.code, CommandErrorCode::NotFound);
    wires.granted(0, submit(1));
    wires.run(10 * SECOND_MS);
    assert_eq!(
        state(&mut wires, 1),
        (TaskState::Completed, 1),
        "and may be asked again"
    );
}

#[test]
fn our_entry_has_a_higher_number_after_each_start() {
    let mut wires = pair();
    let number = |wires: &Wires| wires.node(1).registry().own().expect("issued").0.body.seq;
    let before = number(&wires);
    wires.stop(1);
    wires.start(1);
    let after = number(&wires);
    assert!(after > before, "{after} after {before}");
    wires.run(15 * SECOND_MS);
    let entity = wires.hosts[1].identity.entity_id;
    let known = wires
        .node(0)
        .registry()
        .entry(&entity)
        .expect("known")
        .body
        .seq;
    assert_eq!(known, after, "R1, and the others have heard of it");
}
