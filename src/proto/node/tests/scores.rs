//! What a node thinks of its workers, and what it makes of that.

use super::*;
use crate::proto::score::Score;
use crate::types::Keyspace;

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
