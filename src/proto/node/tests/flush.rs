//! What leaves with a flush: one list for each peer, sealed as it leaves.

use super::*;
use crate::types::limits::{LIST_MAX_ITEMS, REPLAY_WINDOW};
use crate::wire::MsgClass;

const TASKS: u64 = 64;

/// A requester, and a worker with so many slots.
fn roomy(slots: u32) -> Wires {
    let mut wires = Wires::new(vec![config(0, None, 0), config(1, Some(0), slots)]);
    wires.run(3 * SECOND_MS);
    assert!(wires.have_session(0, 1));
    wires
}

/// How many requests of node `n` were sent while `act` was done.
fn requests(wires: &mut Wires, n: usize, act: impl FnOnce(&mut Wires)) -> usize {
    let before = wires.transcript.len();
    act(wires);
    let begins = format!("{n}: Request");
    let sent = wires.transcript[before..].iter();
    sent.filter(|line| line.starts_with(&begins)).count()
}

fn at(wires: &Wires, n: u64) -> (TaskState, usize) {
    let (record, _) = wires
        .node(0)
        .requester()
        .task(task(n))
        .expect("it is known");
    (record.state, record.attempts.len())
}

#[test]
fn sixty_four_submissions_in_one_flush_make_one_request() {
    let mut wires = roomy(64);
    wires.hosts[0].disk_waits = true;
    wires.hosts[1].disk_waits = true;
    for n in 1..=TASKS {
        wires.command(0, submit(n));
    }
    assert!(wires.node(1).worker().is_empty(), "T3: no offer has left");
    assert_eq!(requests(&mut wires, 0, |wires| wires.flush(0)), 1);
    assert_eq!(wires.node(1).worker().len(), 64);
    // The runs are over by now: beside the acceptances all results leave in one list.
    assert_eq!(requests(&mut wires, 1, |wires| wires.flush(1)), 1);
    wires.flush(0);
    assert!((1..=TASKS).all(|n| at(&wires, n) == (TaskState::Completed, 1)));
    assert!(wires.node(1).worker().is_empty(), "all were acknowledged");
}

#[test]
fn lists_are_cut_at_their_limits() {
    let mut wires = roomy(256);
    wires.hosts[0].disk_waits = true;
    for n in 1..=8 {
        let new = Submission::new(task(n), wc(), vec![b'x'; 200 * 1024]);
        wires.command(0, Command::Submit(new));
    }
    let lists = requests(&mut wires, 0, |wires| wires.flush(0));
    assert_eq!(lists, 3, "of three inputs at most");
    wires.flush(0);
    wires.hosts[1].runs_hang = true;
    let many = 100..100 + LIST_MAX_ITEMS as u64;
    for n in many.clone() {
        wires.command(0, submit(n));
    }
    let lists = requests(&mut wires, 0, |wires| wires.flush(0));
    assert_eq!(lists, 1, "of small ones as many as a list may have");
    for n in many {
        wires.command(0, Command::CancelTask(task(n)));
    }
    let lists = requests(&mut wires, 0, |wires| wires.flush(0));
    assert_eq!(lists, 1, "and one of cancels");
    assert_eq!(wires.hosts[1].killed.len(), LIST_MAX_ITEMS);
}

#[test]
fn what_is_no_longer_wanted_when_the_disk_has_it_is_not_offered() {
    let mut wires = roomy(4);
    wires.hosts[0].disk_waits = true;
    for n in 1..=2 {
        wires.command(0, submit(n));
    }
    wires.command(0, Command::CancelTask(task(1)));
    wires.flush(0);
    let held = |n| {
        let mut rows = wires.hosts[1].rows.keys();
        rows.any(|(_, key)| key.ends_with(task(n).0.as_bytes()))
    };
    assert!(!held(1) && held(2), "P2");
}

/// An offer is unanswered from its leaving on, not from its assignment.
#[test]
fn an_offer_behind_a_disk_that_stands_still_does_not_lapse() {
    let mut wires = roomy(4);
    wires.hosts[0].disk_waits = true;
    wires.command(0, submit(1));
    wires.run(15 * SECOND_MS);
    wires.hosts[0].disk_waits = false;
    wires.flush(0);
    wires.run(SECOND_MS);
    assert_eq!(at(&wires, 1), (TaskState::Completed, 1));
}

/// What is sealed before it leaves is in the end older than what the receiver takes.
#[test]
fn behind_a_disk_that_stands_still_no_message_grows_old() {
    let mut configs = vec![config(0, None, 0), config(1, Some(0), 4)];
    configs[1].limits.rates.insert(MsgClass::Probe, 1_000);
    let mut wires = Wires::new(configs);
    wires.run(3 * SECOND_MS);
    wires.hosts[0].disk_waits = true;
    wires.command(0, submit(1));
    for _ in 0..=REPLAY_WINDOW {
        wires.granted(0, Command::Ping(name_of(1)));
    }
    wires.hosts[0].disk_waits = false;
    wires.flush(0);
    wires.run(SECOND_MS);
    assert_eq!(at(&wires, 1), (TaskState::Completed, 1));
}
