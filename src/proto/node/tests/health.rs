//! Signs of life between nodes, the guard, and what the API shows of both.

use super::*;
use crate::proto::guard::GuardRules;
use crate::proto::health::PeerHealth;
use crate::wire::{MsgClass, MsgType, Ping, WireError, cbor};

fn peer_view(wires: &mut Wires, n: usize) -> PeerView {
    let Ok(Reply::Peers(mut peers)) = wires.ask(n, Command::Peers) else {
        panic!("peers")
    };
    assert_eq!(peers.len(), 1);
    peers.remove(0)
}

fn stats(wires: &mut Wires, n: usize) -> NodeStats {
    match wires.ask(n, Command::Stats) {
        Ok(Reply::Stats(stats)) => *stats,
        other => panic!("stats: {other:?}"),
    }
}

fn guard(wires: &mut Wires, n: usize) -> GuardView {
    match wires.ask(n, Command::Status) {
        Ok(Reply::Status(status)) => status.guard,
        other => panic!("a status: {other:?}"),
    }
}

#[test]
fn heartbeats_go_both_ways_and_carry_the_load() {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.granted(0, submit(1));
    wires.run(65 * SECOND_MS);
    let view = peer_view(&mut wires, 0);
    assert_eq!(view.health.as_deref(), Some("healthy"));
    assert_eq!((view.loss_percent, view.missed), (Some(0), Some(0)));
    assert_eq!(view.rtt_us, Some(0), "these wires take no time");
    assert!(view.last_seen_ms.expect("seen") <= 10 * SECOND_MS);
    assert_eq!(view.version.as_deref(), Some("1.1"));
    let load = view.load.expect("it said");
    assert_eq!((load.held, load.slots, load.free), (1, 2, 1));
    assert_eq!(view.agent.as_deref(), Some("absent"));
    assert_eq!(peer_view(&mut wires, 1).agent.as_deref(), Some("awake"));
    let shaken = stats(&mut wires, 1).messages;
    let both = [
        ("handshake", "handshake_ack"),
        ("handshake_confirm", "ready"),
    ];
    for (ours, theirs) in both {
        assert_eq!(shaken[ours].messages_sent, 1, "{ours}");
        assert_eq!(shaken[theirs].messages_received, 1, "{theirs}");
    }
    let answered = stats(&mut wires, 0).messages;
    assert_eq!(answered["handshake_ack"].messages_sent, 1);
    assert!(answered["ready"].bytes_sent > 0);
    for n in [0, 1] {
        let beats = stats(&mut wires, n).messages["heartbeat"];
        assert_eq!((beats.messages_sent, beats.messages_received), (6, 6));
    }
    let traffic = peer_view(&mut wires, 0).traffic;
    assert!(traffic.sessions == 1 && traffic.bytes_sent > 0);
    assert!(traffic.classes["task"].messages_sent >= 1);
}

#[test]
fn peers_hear_at_once_that_a_node_takes_nothing_more_and_that_it_does_again() {
    let mut wires = pair();
    let peer = wires.hosts[1].identity.peer_id;
    let drain = Command::Drain {
        timeout_ms: 60 * SECOND_MS,
    };
    let beats = |wires: &mut Wires| {
        let messages = stats(wires, 1).messages;
        messages
            .get("heartbeat")
            .map_or(0, |beat| beat.messages_sent)
    };
    let before = beats(&mut wires);
    for (command, draining, more) in [
        (drain.clone(), true, 1),
        (drain, true, 1),
        (Command::Undrain, false, 2),
        (Command::Undrain, false, 2),
    ] {
        wires.ask(1, command).expect("it is done");
        wires.run(100);
        let health = wires.node(0).health.of(&peer).expect("known");
        let (status, _) = health.status.expect("it said");
        assert_eq!(status.load.draining, draining);
        assert_eq!(beats(&mut wires), before + more, "only a change is told");
    }
    let health = wires.node(1).health.of(&wires.hosts[0].identity.peer_id);
    assert_eq!(health.map(PeerHealth::loss), Some(0.0));
}

#[test]
fn capabilities_are_asked_once_when_a_session_is_up() {
    let mut wires = pair();
    let queries = |stats: &NodeStats| stats.messages["capability_query"].messages_sent;
    assert_eq!(queries(&stats(&mut wires, 0)), 1);
    let peer = wires.hosts[1].identity.peer_id;
    let health = wires.node(0).health.of(&peer).expect("known");
    assert_eq!(health.slots(&wc()).map(|said| said.slots), Some(2));
}

#[test]
fn a_peer_says_how_it_is_when_it_is_asked() {
    let mut wires = pair();
    let Ok(Reply::PeerStatus(view)) = wires.ask(0, Command::PeerStatus(name_of(1))) else {
        panic!("a status")
    };
    assert_eq!(view.uptime_ms, 3 * SECOND_MS);
    assert_eq!((view.load.slots, view.load.free), (2, 2));
}

#[test]
fn whoever_is_gone_becomes_unreachable_and_is_left_alone_until_it_is_back() {
    let mut wires = pair();
    wires.stop(1);
    wires.run(30 * SECOND_MS);
    assert_eq!(peer_view(&mut wires, 0).health.as_deref(), Some("suspect"));
    wires.run(40 * SECOND_MS);
    let view = peer_view(&mut wires, 0);
    assert_eq!(view.health.as_deref(), Some("unreachable"));
    for _ in 0..5 {
        wires.command(0, Command::Ping(name_of(1)));
    }
    assert_eq!(guard(&mut wires, 0).breakers_open, 1);
    let error = wires.ask(0, Command::Ping(name_of(1))).expect_err("open");
    assert_eq!(error.code, CommandErrorCode::CircuitOpen, "at once");
    assert_eq!(peer_view(&mut wires, 0).breaker, "open");
    wires.start(1);
    wires.run(90 * SECOND_MS);
    let view = peer_view(&mut wires, 0);
    assert_eq!(view.health.as_deref(), Some("healthy"));
    assert_eq!(view.breaker, "closed");
    assert!(wires.ask(0, Command::Ping(name_of(1))).is_ok());
    let changes: Vec<&str> = wires.hosts[0]
        .notes
        .iter()
        .filter_map(|note| match note {
            Note::HealthChanged { state, .. } => Some(*state),
            _ => None,
        })
        .collect();
    assert_eq!(changes, ["suspect", "unreachable", "healthy"]);
}

#[test]
fn a_peer_that_no_wake_up_reaches_needs_a_look() {
    let mut wires = pair();
    wires.hosts[0].node = None;
    wires.hosts[0].config.health.wake_on_suspect = true;
    wires.stop(0);
    wires.start(0);
    wires.run(15 * SECOND_MS);
    assert!(wires.have_session(0, 1));
    wires.stop(1);
    wires.run(25 * SECOND_MS);
    assert!(!peer_view(&mut wires, 0).manual_check, "it is being tried");
    wires.run(60 * SECOND_MS);
    assert!(peer_view(&mut wires, 0).manual_check);
    wires.start(1);
    wires.run(90 * SECOND_MS);
    assert!(!peer_view(&mut wires, 0).manual_check);
}

/// A pair of which the second takes one probe a second, ten at once.
fn limited() -> Wires {
    let mut strict = config(1, Some(0), 2);
    strict.limits = GuardRules::default();
    strict.limits.rates.insert(MsgClass::Probe, 1);
    let mut wires = Wires::new(vec![config(0, None, 0), strict]);
    wires.run(3 * SECOND_MS);
    wires
}

#[test]
fn who_asks_too_much_is_refused_holds_back_and_is_not_banned() {
    let mut wires = limited();
    let ping = |wires: &mut Wires| wires.ask(0, Command::Ping(name_of(1)));
    let asked: Vec<CommandResult> = (0..50).map(|_| ping(&mut wires)).collect();
    let answered = asked.iter().filter(|result| result.is_ok()).count();
    assert!((5..=10).contains(&answered), "{answered}");
    for error in asked.into_iter().filter_map(Result::err) {
        assert_eq!(error.code, CommandErrorCode::PeerRefused);
        assert_eq!(error.peer_code, Some(WireError::RateLimited));
    }
    let ours = stats(&mut wires, 0);
    assert_eq!(
        ours.errors_received["RATE_LIMITED"], 1,
        "the others never left"
    );
    assert_eq!(guard(&mut wires, 0).held_back, 1);
    assert_eq!(guard(&mut wires, 1).rate_limited, 1);
    assert_eq!(peer_view(&mut wires, 1).rate_limited, 1);
    wires.run(10 * SECOND_MS);
    assert!(ping(&mut wires).is_ok(), "later it is answered again");
    assert_eq!(guard(&mut wires, 0).held_back, 0);
}

#[test]
fn who_does_not_heed_is_banned() {
    let mut wires = limited();
    let peer = wires.hosts[1].identity.peer_id;
    let banned = |note: &Note| matches!(note, Note::PeerBanned { .. });
    for asked in 1..1_000 {
        let now = wires.now();
        let nonce = crate::types::Nonce([7; 32]);
        let node = wires.hosts[0].node.as_mut().expect("up");
        let body = cbor::encode(&Ping {});
        let sealed = node
            .sessions
            .seal_request(&peer, MsgType::Ping, &body, now, nonce);
        let (bytes, _) = sealed.expect("a session");
        wires.request(0, 1, bytes);
        if wires.hosts[1].notes.iter().any(banned) {
            // Ten pass, 64 may have been under way, and 50 cost two points each.
            assert!((110..=124).contains(&asked), "after {asked}");
            return;
        }
    }
    panic!("a flood ends in a ban");
}

#[test]
fn who_offers_a_capability_is_asked_of_peers() {
    let mut wires = pair();
    let rare = "rare".parse().expect("a capability");
    let wanted = Command::Submit(Submission::new(task(9), rare, Vec::new()));
    wires.granted(0, wanted);
    wires.run(SECOND_MS);
    let asked = stats(&mut wires, 0).messages["discovery"];
    assert_eq!((asked.messages_sent, asked.messages_received), (1, 0));
    let found = crate::wire::Discovery {
        capability: wc(),
        limit: 9,
    };
    let (now, mut body) = (wires.now(), Vec::new());
    let node = wires.hosts[1].node.as_mut().expect("up");
    node.step(now, |node, step| {
        body = node.answer_discovery(&found, step).0
    });
    let answer: crate::wire::RegistryEntries = cbor::decode(&body, 1 << 20).expect("entries");
    assert_eq!(answer.entries.len(), 1, "its own: it offers that");
}

#[test]
fn no_task_is_offered_to_whom_nothing_is_sent() {
    let mut wires = pair();
    wires.stop(1);
    wires.run(SECOND_MS);
    while guard(&mut wires, 0).breakers_open == 0 {
        wires.command(0, Command::Ping(name_of(1)));
        wires.run(SECOND_MS / 10);
    }
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    let attempts = |wires: &mut Wires| match wires.ask(0, Command::Task(task(1))) {
        Ok(Reply::Task(view)) => view.attempts.len(),
        other => panic!("a task: {other:?}"),
    };
    assert_eq!(attempts(&mut wires), 0, "it waits");
    wires.start(1);
    wires.run(60 * SECOND_MS);
    let Ok(Reply::Task(view)) = wires.ask(0, Command::Task(task(1))) else {
        panic!("a task")
    };
    assert_eq!(view.state, TaskState::Completed);
}
