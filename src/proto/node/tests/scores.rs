//! What a node thinks of its workers, and what it makes of that.

use super::*;
use crate::proto::score::Score;
use crate::types::{Keyspace, Label, Marks};

fn score(wires: &mut Wires, of: usize) -> Option<Score> {
    let (entity, wall) = (wires.hosts[of].identity.entity_id, wires.now().wall);
    wires.node(0).scores().of(&entity, wall)
}

fn run_one(wires: &mut Wires, n: u64) {
    wires.granted(0, submit(n));
    wires.run(SECOND_MS);
}

fn score_rows(wires: &Wires) -> usize {
    let keys = wires.hosts[0].rows.keys();
    keys.filter(|(space, _)| *space == Keyspace::Score).count()
}

#[test]
fn a_worker_is_scored_by_what_became_of_its_tasks_and_a_restart_knows() {
    let mut wires = pair();
    assert_eq!((score(&mut wires, 1), score_rows(&wires)), (None, 0));
    for n in 1..=10 {
        run_one(&mut wires, n);
    }
    let good = score(&mut wires, 1);
    assert_eq!(good, Some(Score(166)), "ten tasks: 2 of 12");
    wires.stop(0);
    wires.start(0);
    assert_eq!((score(&mut wires, 1), score_rows(&wires)), (good, 1));
    wires.run(5 * SECOND_MS);
    let worker = wires.hosts[1].identity.peer_id;
    let Ok(Reply::Peer(peer)) = wires.ask(0, Command::Peer(PeerRef::Peer(worker))) else {
        panic!("it is known")
    };
    assert_eq!((peer.score, peer.tier), (Some(166), Some(Tier::Newcomer)));
    // What it was seen to be is told with the next attempt.
    run_one(&mut wires, 11);
    let Ok(Reply::Task(view)) = wires.ask(0, Command::Task(task(11))) else {
        panic!("it is there")
    };
    assert_eq!(view.attempts[0].considered[0].score, Some(166));
}

#[test]
fn a_failure_counts_against_a_worker() {
    let mut wires = pair();
    for n in 1..=10 {
        run_one(&mut wires, n);
    }
    let before = score(&mut wires, 1);
    wires.hosts[1].runs_hang = true;
    run_one(&mut wires, 11);
    let reason = String::from("status 1");
    wires.end_run(1, RunOutcome::Failed { reason });
    wires.run(SECOND_MS);
    assert!(score(&mut wires, 1) < before);
}

#[test]
fn labels_travel_and_decide_and_lists_find_tasks_by_theirs() {
    let label = |text: &str| text.parse::<Label>().expect("a label");
    let with = |n, labels: &[&str]| NodeConfig {
        labels: labels.iter().map(|text| label(text)).collect(),
        ..config(n, Some(0), 2)
    };
    let (eu, us) = (with(1, &["zone=eu"]), with(2, &["zone=us"]));
    let mut wires = Wires::new(vec![config(0, None, 0), eu, us]);
    wires.run(3 * SECOND_MS);
    let eu = wires.hosts[1].identity.entity_id.to_string();
    for n in 1..=8 {
        let marks = Marks {
            needs: [label("zone=eu")].into(),
            labels: [label(if n < 4 { "batch=1" } else { "batch=2" })].into(),
            ..Marks::default()
        };
        let submission = Submission::new(task(n), wc(), b"some words".to_vec());
        wires.granted(
            0,
            Command::Submit(Submission {
                marks,
                ..submission
            }),
        );
    }
    wires.run(2 * SECOND_MS);
    let found = |wires: &mut Wires, text: &str| {
        let filter = TaskFilter {
            label: Some(label(text)),
            limit: 100,
            ..TaskFilter::default()
        };
        match wires.ask(0, Command::Tasks(filter)) {
            Ok(Reply::Tasks { tasks, .. }) => tasks,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(found(&mut wires, "batch=3").len(), 0);
    let (one, two) = (found(&mut wires, "batch=1"), found(&mut wires, "batch=2"));
    assert_eq!((one.len(), two.len()), (3, 5));
    for view in one.iter().chain(&two) {
        assert_eq!((view.state, view.attempts.len()), (TaskState::Completed, 1));
        assert_eq!(view.attempts[0].worker, eu);
        assert_eq!(view.needs, ["zone=eu"]);
    }
    // One that nobody fits says so.
    let marks = Marks {
        needs: [label("zone=mars")].into(),
        ..Marks::default()
    };
    let submission = Submission::new(task(9), wc(), Vec::new());
    wires.granted(
        0,
        Command::Submit(Submission {
            marks,
            ..submission
        }),
    );
    let Ok(Reply::Task(waiting)) = wires.ask(0, Command::Task(task(9))) else {
        panic!("it is there")
    };
    let why = "waits for a worker: of 2 that offer wc 2 without a label that it needs";
    assert_eq!(waiting.reason.as_deref(), Some(why));
    // Nor does anybody get more than a task may have.
    let many = (0..17).map(|n| label(&format!("n={n}"))).collect();
    let marks = Marks {
        labels: many,
        ..Marks::default()
    };
    let submission = Submission::new(task(10), wc(), Vec::new());
    let refused = wires.ask(
        0,
        Command::Submit(Submission {
            marks,
            ..submission
        }),
    );
    assert_eq!(
        refused.expect_err("too many").code,
        CommandErrorCode::Invalid
    );
}
