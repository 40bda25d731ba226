//! Rotated keys among whole nodes: who goes on talking, and who no longer gets a word in.

use rand::SeedableRng;

use super::*;
use crate::crypto::{Keys, Seeds};
use crate::proto::registry::KeyNews;

/// The keys of node `n`, as the wires draw them.
fn keys_of(n: u64) -> Keys {
    Keys::found(Seeds::generate(&mut Rng::seed_from_u64(n)))
}

fn rotated(keys: &Keys) -> Keys {
    keys.rotate(&mut Rng::seed_from_u64(50)).expect("room")
}

fn rotate(wires: &mut Wires, n: usize, keys: &Keys) -> CommandResult {
    wires.hosts[n].identity = keys.identity();
    wires.ask(n, Command::KeyRotated(Box::new(keys.identity())))
}

/// What node `n` knows of the keys of `of`.
fn known(wires: &Wires, n: usize, of: &Keys) -> usize {
    let entity = of.chain().entity_id();
    let entry = wires
        .node(n)
        .registry()
        .entry(&entity)
        .expect("it is known");
    entry.body.rotations.len()
}

fn session_keys_are_new(wires: &Wires, n: usize, other: usize) {
    let peer = wires.hosts[other].identity.peer_id;
    assert!(wires.have_session(n, other));
    assert!(
        !wires.node(n).sessions.has_old_key(&peer),
        "{n} with {other}"
    );
}

#[test]
fn a_rotation_makes_sessions_anew_and_loses_nothing_under_way() {
    for rotating in [0, 1] {
        let mut wires = pair();
        wires.hosts[1].runs_hang = true;
        for n in 0..3 {
            wires.granted(0, submit(n));
        }
        wires.run(2 * SECOND_MS);
        let keys = rotated(&keys_of(rotating as u64));
        assert!(rotate(&mut wires, rotating, &keys).is_ok());
        for n in 3..6 {
            wires.granted(0, submit(n));
        }
        let ping = wires.command(0, Command::Ping(name_of(1)));
        wires.run(SECOND_MS);
        assert!(wires.reply(0, ping).expect("answered").is_ok());
        assert_eq!(known(&wires, 1 - rotating, &keys), 1);
        session_keys_are_new(&wires, 0, 1);
        session_keys_are_new(&wires, 1, 0);
        // The same leases, by the same entities: nothing was given out again.
        wires.hosts[1].runs_hang = false;
        for _ in 0..2 {
            let result = b"2".to_vec();
            wires.end_run(1, RunOutcome::Completed { result });
        }
        wires.run(10 * SECOND_MS);
        for n in 0..6 {
            let Ok(Reply::Task(view)) = wires.ask(0, Command::Task(task(n))) else {
                panic!("task {n}")
            };
            assert_eq!(view.state, crate::types::TaskState::Completed, "{view:?}");
            assert_eq!(view.attempts.len(), 1);
        }
    }
}

#[test]
fn the_network_hears_of_a_key_only_when_its_entry_is_durable() {
    let mut wires = pair();
    wires.hosts[0].disk_waits = true;
    let keys = rotated(&keys_of(0));
    let identity = Box::new(keys.identity());
    let asked = wires.command(0, Command::KeyRotated(identity));
    wires.run(5 * SECOND_MS);
    assert!(wires.reply(0, asked).is_none());
    assert_eq!(known(&wires, 1, &keys), 0);
    wires.hosts[0].disk_waits = false;
    wires.flush(0);
    wires.run(SECOND_MS);
    assert!(wires.reply(0, asked).expect("answered").is_ok());
    assert_eq!(known(&wires, 1, &keys), 1);
}

#[test]
fn keys_that_do_not_follow_are_refused() {
    let mut wires = pair();
    let other = rotated(&keys_of(9));
    for keys in [keys_of(0), other] {
        let refused = wires.ask(0, Command::KeyRotated(Box::new(keys.identity())));
        assert_eq!(
            refused.expect_err("refused").code,
            CommandErrorCode::Conflict
        );
    }
}

#[test]
fn a_rotation_while_the_peer_is_away_is_followed_when_it_is_back() {
    let mut wires = pair();
    wires.stop(1);
    wires.run(SECOND_MS);
    let first = rotated(&keys_of(0));
    rotate(&mut wires, 0, &first).expect("granted");
    let second = rotated(&first);
    rotate(&mut wires, 0, &second).expect("granted");
    wires.start(1);
    wires.run(30 * SECOND_MS);
    assert_eq!(known(&wires, 1, &second), 2);
    session_keys_are_new(&wires, 1, 0);
    assert!(wires.ask(1, Command::Reach(name_of(0))).is_ok());
}

/// Node 2 becomes somebody who has the entity key of node 0 from before its rotation, and a
/// transport key of its own.
fn make_thief(wires: &mut Wires) {
    let mut stolen = keys_of(0).seeds().clone();
    stolen.transport = [7; 32];
    wires.stop(2);
    wires.hosts[2].rows.clear();
    wires.hosts[2].identity = Keys::found(stolen).identity();
    wires.start(2);
}

fn three() -> Wires {
    let mut wires = Wires::new(vec![
        config(0, None, 0),
        config(1, Some(0), 0),
        config(2, Some(1), 0),
    ]);
    wires.run(3 * SECOND_MS);
    wires
}

#[test]
fn a_thief_of_the_old_key_gets_no_session_once_the_rotation_was_seen() {
    let mut wires = three();
    let keys = rotated(&keys_of(0));
    rotate(&mut wires, 0, &keys).expect("granted");
    wires.run(SECOND_MS);
    assert_eq!(known(&wires, 1, &keys), 1);
    make_thief(&mut wires);
    wires.run(60 * SECOND_MS);
    assert!(!wires.have_session(1, 2) && !wires.have_session(2, 1));
    assert_eq!(known(&wires, 1, &keys), 1);
    session_keys_are_new(&wires, 1, 0);
    assert!(wires.ask(1, Command::Reach(name_of(0))).is_ok());
    // The same after a restart of who is to be fooled.
    wires.stop(1);
    wires.start(1);
    wires.run(60 * SECOND_MS);
    assert!(!wires.have_session(1, 2), "R4 outlives a restart");
    wires.node(1).check().expect("every invariant");
    // An honest node that happens to have an old copy is told.
    let told = |note: &Note| matches!(note, Note::Keys(KeyNews::Outdated));
    let outdated = wires.hosts[2]
        .notes
        .iter()
        .filter(|note| told(note))
        .count();
    assert!(outdated <= 1);
}

#[test]
fn a_session_the_thief_had_before_ends_within_half_a_minute() {
    let mut wires = three();
    // Its entity's real node is away while the thief speaks for it.
    wires.stop(0);
    wires.run(SECOND_MS);
    make_thief(&mut wires);
    wires.run(30 * SECOND_MS);
    assert!(wires.have_session(1, 2), "nobody knows better yet");
    let keys = rotated(&keys_of(0));
    wires.hosts[0].identity = keys.identity();
    wires.start(0);
    wires.run(45 * SECOND_MS);
    assert_eq!(known(&wires, 1, &keys), 1);
    assert!(!wires.have_session(1, 2), "the thief is out");
    session_keys_are_new(&wires, 1, 0);
}
