//! Nodes find each other, and say the same twice.

use super::*;

#[test]
fn two_nodes_find_each_other_by_the_bootstrap_address() {
    let mut wires = Wires::new(vec![config(0, None, 0), config(1, Some(0), 2)]);
    wires.run(3 * SECOND_MS);
    for (n, other) in [(0, 1), (1, 0)] {
        assert!(wires.have_session(n, other));
        let Ok(Reply::Registry(entries)) = wires.ask(n, Command::Registry { offering: None })
        else {
            panic!("a list")
        };
        let mut listed: Vec<_> = entries
            .iter()
            .map(|e| (e.name.as_str(), e.state.as_str()))
            .collect();
        listed.sort_unstable();
        let expected = match n {
            0 => [("node-0", "self"), ("node-1", "connected")],
            _ => [("node-0", "connected"), ("node-1", "self")],
        };
        assert_eq!(listed, expected);
        let up = |note: &&Note| matches!(note, Note::SessionUp { .. });
        assert_eq!(wires.hosts[n].notes.iter().filter(up).count(), 1);
    }
    let Ok(Reply::Registry(offering)) = wires.ask(
        0,
        Command::Registry {
            offering: Some(wc()),
        },
    ) else {
        panic!("a list")
    };
    assert_eq!(offering.len(), 1);
}

#[test]
fn a_third_node_learns_of_the_second_through_the_first() {
    let configs = vec![
        config(0, None, 0),
        config(1, Some(0), 0),
        config(2, Some(0), 0),
    ];
    let mut wires = Wires::new(configs);
    wires.run(10 * SECOND_MS);
    for (n, other) in [(1, 2), (2, 1)] {
        assert_eq!(wires.node(n).registry().len(), 3);
        assert!(wires.have_session(n, other), "and they met");
    }
}

#[test]
fn two_nodes_that_dial_each_other_at_once_have_one_session() {
    let mut wires = Wires::new(vec![config(0, Some(1), 0), config(1, Some(0), 0)]);
    wires.run(10 * SECOND_MS);
    for (n, other) in [(0, 1), (1, 0)] {
        assert!(wires.have_session(n, other));
        assert_eq!(wires.node(n).sessions.len(), 1);
    }
}

#[test]
fn a_bootstrap_peer_that_comes_up_later_is_found() {
    let mut wires = Wires::new(vec![config(0, None, 0), config(1, Some(0), 0)]);
    wires.stop(0);
    wires.run(60 * SECOND_MS);
    let failed = |note: &&Note| matches!(note, Note::BootstrapFailed { .. });
    assert!(
        wires.hosts[1].notes.iter().filter(failed).count() <= 1,
        "said once"
    );
    wires.start(0);
    wires.run(15 * SECOND_MS);
    assert!(wires.have_session(1, 0));
}

#[test]
fn a_session_is_renewed_without_a_gap_before_it_expires() {
    let mut wires = pair();
    for minute in 0..70 {
        wires.run(60 * SECOND_MS);
        assert!(
            wires.have_session(0, 1) && wires.have_session(1, 0),
            "after {minute} minutes"
        );
    }
    assert!(matches!(
        wires.ask(0, Command::Ping(name_of(1))),
        Ok(Reply::Pong(_))
    ));
}

#[test]
fn sessions_of_different_lives_are_replaced_without_a_gap_and_their_epochs_follow() {
    let with = |n, from, life_ms| NodeConfig {
        session: SessionConfig {
            life_ms,
            epochs: EpochLimits {
                records: 4,
                age_ms: 20 * SECOND_MS,
                ..EpochLimits::default()
            },
        },
        ..config(n, from, 0)
    };
    // Whoever dials begins, so once the initiator counts the longer life, once the shorter.
    for lives in [(60, 600), (600, 60)] {
        let configs = vec![
            with(0, None, lives.0 * SECOND_MS),
            with(1, Some(0), lives.1 * SECOND_MS),
        ];
        let mut wires = Wires::new(configs);
        wires.run(3 * SECOND_MS);
        for second in 0..300 {
            wires.run(SECOND_MS);
            assert!(
                wires.have_session(0, 1) && wires.have_session(1, 0),
                "after {second} seconds"
            );
        }
        let refused = |note: &&Note| matches!(note, Note::SessionRefused { .. });
        for host in &wires.hosts {
            assert_eq!(host.notes.iter().filter(refused).count(), 0);
        }
        assert!(matches!(
            wires.ask(0, Command::Ping(name_of(1))),
            Ok(Reply::Pong(_))
        ));
    }
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let mut wires = pair();
        wires.command(0, submit(1));
        wires.run(10 * SECOND_MS);
        wires.stop(1);
        wires.start(1);
        wires.command(0, submit(2));
        wires.run(60 * SECOND_MS);
        wires.transcript
    };
    let (first, again) = (run(), run());
    assert!(first.len() > 50);
    assert_eq!(first, again);
}
