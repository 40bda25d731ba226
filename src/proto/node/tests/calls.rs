//! Commands from the API.

use super::*;
use crate::types::Nonce;
use crate::types::limits::INPUT_MAX_BYTES;
use crate::wire::WireError;

fn code(result: CommandResult) -> CommandErrorCode {
    result.expect_err("refused").code
}

#[test]
fn a_ping_is_answered_by_whom_it_names() {
    let mut wires = pair();
    let (peer, entity) = (
        wires.hosts[1].identity.peer_id,
        wires.hosts[1].identity.entity_id,
    );
    for named in [name_of(1), PeerRef::Peer(peer), PeerRef::Entity(entity)] {
        let Ok(Reply::Pong(pong)) = wires.ask(0, Command::Ping(named)) else {
            panic!("a pong")
        };
        assert_eq!((pong.peer_id, pong.rtt_us.len()), (peer.to_string(), 1));
    }
}

#[test]
fn a_peer_is_named_by_a_part_of_its_ids_and_several_are_told_apart() {
    let mut wires = pair();
    let identity = &wires.hosts[1].identity;
    let (entity, peer) = (identity.entity_id.to_string(), identity.peer_id.to_string());
    for named in [
        entity[..12].to_owned(),
        format!("…{}", &entity[entity.len() - 12..]),
        format!("{}...{}", &entity[..8], &entity[entity.len() - 4..]),
        peer[..14].to_owned(),
        format!("…{}", &peer[peer.len() - 12..]),
    ] {
        let asked: PeerRef = named.parse().expect("a peer");
        let Ok(Reply::Pong(pong)) = wires.ask(0, Command::Ping(asked)) else {
            panic!("a pong from {named}")
        };
        assert_eq!(pong.peer_id, peer, "{named}");
    }
    let unknown: PeerRef = "…00000000".parse().expect("a peer");
    assert_eq!(
        code(wires.ask(0, Command::Ping(unknown))),
        CommandErrorCode::NotFound
    );
}

#[test]
fn a_name_like_a_part_of_an_id_takes_nobodys_place() {
    let entity = pair().hosts[1].identity.entity_id.to_string();
    let part = &entity[..12];
    let mut posing = config(2, Some(0), 0);
    posing.name = part.parse().expect("a name");
    let mut wires = Wires::new(vec![config(0, None, 0), config(1, Some(0), 2), posing]);
    wires.run(3 * SECOND_MS);
    let error = wires
        .ask(0, Command::Ping(part.parse().expect("a peer")))
        .expect_err("two may be meant");
    assert_eq!(error.code, CommandErrorCode::Ambiguous);
    let other = wires.hosts[2].identity.entity_id.to_string();
    for said in [&entity, &other, part] {
        assert!(error.message.contains(said), "{error}");
    }
}

#[test]
fn a_task_is_found_by_a_part_of_its_id() {
    let mut wires = pair();
    let mut hand_over = |last: u8| {
        let mut bytes = [7; 16];
        bytes[15] = last;
        let id = TaskId(uuid::Uuid::from_bytes(bytes));
        let submission = Submission::new(id, "wc".parse().expect("valid"), Vec::new());
        wires.ask(0, Command::Submit(submission)).expect("taken");
        id
    };
    let (one, two) = (hand_over(1), hand_over(2));
    let mut find = |text: &str| wires.ask(0, Command::FindTask(text.parse().expect("a part")));
    assert_eq!(find("…0701"), Ok(Reply::Found(one)));
    assert_eq!(find("0707…0702"), Ok(Reply::Found(two)));
    let error = find("0707").expect_err("two have it");
    assert_eq!(error.code, CommandErrorCode::Ambiguous);
    assert!(
        error.message.contains(&one.to_string()) && error.message.contains(&two.to_string()),
        "{error}"
    );
    assert_eq!(code(find("…0703")), CommandErrorCode::NotFound);
}

#[test]
fn a_ping_to_an_unknown_name_is_not_found() {
    let mut wires = pair();
    let error = wires
        .ask(0, Command::Ping(name_of(7)))
        .expect_err("unknown");
    assert_eq!(error.code, CommandErrorCode::NotFound);
    assert!(error.message.contains("node-7"), "{error}");
    let stranger = PeerRef::Entity(EntityId([9; 32]));
    assert_eq!(
        code(wires.ask(0, Command::Ping(stranger))),
        CommandErrorCode::NotFound
    );
    assert_eq!(
        code(wires.ask(0, Command::Ping(name_of(0)))),
        CommandErrorCode::Invalid
    );
}

#[test]
fn whoever_has_a_session_and_a_connection_is_reached_without_a_message() {
    let mut wires = pair();
    let before = wires.transcript.len();
    let host = &wires.hosts[1];
    let expected = Reply::Reached {
        peer_id: host.identity.peer_id,
        entity_id: host.identity.entity_id,
    };
    assert_eq!(wires.ask(0, Command::Reach(name_of(1))), Ok(expected));
    let said = &wires.transcript[before..];
    assert!(!said.iter().any(|out| out.contains("Request")), "{said:?}");
}

#[test]
fn a_peer_whose_connection_broke_is_reached_by_dialling_it() {
    let mut wires = pair();
    wires.hosts[0].dials_fail = true;
    wires.hosts[1].dials_fail = true;
    wires.disconnect(0, 1);
    wires.run(1);
    assert!(!wires.are_connected(0, 1));
    assert!(wires.ask(0, Command::Reach(name_of(1))).is_ok());
    assert!(wires.are_connected(0, 1) && wires.have_session(0, 1));
}

#[test]
fn a_peer_that_forgot_the_session_is_reached_in_a_new_one() {
    let mut wires = pair();
    wires.stop(1);
    wires.run(1);
    wires.start(1);
    assert!(wires.have_session(0, 1));
    assert!(wires.ask(0, Command::Reach(name_of(1))).is_ok());
    assert!(wires.have_session(0, 1) && wires.have_session(1, 0));
}

#[test]
fn a_peer_that_is_gone_is_not_reached() {
    let mut wires = pair();
    wires.stop(1);
    wires.run(1);
    let reach = wires.command(0, Command::Reach(name_of(1)));
    wires.run(30 * SECOND_MS);
    assert_eq!(
        code(wires.reply(0, reach).expect("answered")),
        CommandErrorCode::Unreachable
    );
    assert_eq!(
        code(wires.ask(0, Command::Reach(name_of(7)))),
        CommandErrorCode::NotFound
    );
}

#[test]
fn a_name_that_two_have_is_ambiguous() {
    let twin = NodeConfig {
        name: "node-1".parse().expect("a name"),
        ..config(2, Some(0), 0)
    };
    let mut wires = Wires::new(vec![config(0, None, 0), config(1, Some(0), 0), twin]);
    wires.run(10 * SECOND_MS);
    assert_eq!(
        code(wires.ask(0, Command::Ping(name_of(1)))),
        CommandErrorCode::Ambiguous
    );
}

#[test]
fn a_ping_to_a_node_that_is_gone_is_unreachable() {
    let mut wires = pair();
    wires.stop(1);
    let ping = wires.command(0, Command::Ping(name_of(1)));
    wires.run(30 * SECOND_MS);
    assert_eq!(
        code(wires.reply(0, ping).expect("answered")),
        CommandErrorCode::Unreachable
    );
}

/// The peer's own handshake wins, and then its connection breaks: nobody waits for ever.
#[test]
fn a_message_that_waits_for_the_others_handshake_is_answered_when_the_peer_goes() {
    let mut wires = Wires::new(vec![config(0, None, 0), config(1, None, 0)]);
    wires.hosts[0].dials_fail = true;
    let peer = wires.hosts[1].identity.peer_id;
    let entry = wires
        .node(1)
        .registry()
        .own()
        .expect("issued")
        .0
        .bytes
        .clone();
    wires.input(
        0,
        Input::Gossip {
            id: crate::types::GossipId(1),
            source: peer,
            bytes: entry,
        },
    );
    // From here on the other side is played by hand.
    let now = wires.now();
    let mut ours = wires.hosts[0].node.take().expect("up");
    let ping = Input::Command {
        id: CommandId(1),
        command: Command::Ping(name_of(1)),
    };
    let asked = |outputs: &[Output]| {
        outputs.iter().find_map(|output| match output {
            Output::Request { id, .. } => Some(*id),
            _ => None,
        })
    };
    let m1 = asked(&ours.handle(ping, now)).expect("it opens a session");
    let bytes = wires
        .node(1)
        .sessions
        .error(WireError::InvalidState, now, Nonce([1; 32]));
    ours.handle(
        Input::Connected {
            peer,
            addr: addr(1),
            dialer: true,
        },
        now,
    );
    ours.handle(Input::Response { id: m1, bytes }, now);
    let mut outputs = ours.handle(Input::Disconnected { peer }, now);
    let mut at = now;
    for _ in 0..60 {
        at.mono = at.mono + SECOND_MS;
        // Whatever it tries, nobody is there.
        for output in std::mem::take(&mut outputs) {
            let failed = match output {
                Output::Request { id, .. } => Input::ExchangeFailed {
                    id,
                    failure: ExchangeFailure::NotSent,
                },
                Output::Dial { peer, addrs } => Input::DialFailed {
                    peer,
                    addrs,
                    reason: "nobody".into(),
                },
                Output::Reply {
                    id: CommandId(1),
                    result,
                } => {
                    return assert_eq!(code(result), CommandErrorCode::Unreachable);
                }
                _ => continue,
            };
            outputs.extend(ours.handle(failed, at));
        }
        outputs.extend(ours.handle(Input::Deadline, at));
    }
    panic!("the ping was never answered");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let mut wires = pair();
    let Command::Submit(good) = submit(1) else {
        unreachable!("a submission")
    };
    let bad = |change: fn(&mut Submission)| {
        let mut submission = good.clone();
        change(&mut submission);
        Command::Submit(submission)
    };
    let too_large = bad(|s| s.input = vec![0; INPUT_MAX_BYTES + 1]);
    assert_eq!(code(wires.ask(0, too_large)), CommandErrorCode::TooLarge);
    assert_eq!(
        code(wires.ask(0, bad(|s| s.deadline_ms = 0))),
        CommandErrorCode::Invalid
    );
    assert_eq!(
        code(wires.ask(0, bad(|s| s.deadline_ms = u64::MAX))),
        CommandErrorCode::Invalid
    );
    let far = bad(|s| s.start = Start::In(31 * 24 * 3600 * SECOND_MS));
    assert_eq!(code(wires.ask(0, far)), CommandErrorCode::Invalid);
    assert_eq!(
        code(wires.ask(0, bad(|s| s.to = Some(name_of(9))))),
        CommandErrorCode::NotFound
    );
    for command in [
        Command::Task(task(9)),
        Command::AwaitTask(task(9)),
        Command::TaskResult(task(9)),
        Command::CancelTask(task(9)),
        Command::Resumed { id: None },
    ] {
        assert_eq!(code(wires.ask(0, command)), CommandErrorCode::NotFound);
    }
    let Ok(Reply::Tasks { tasks, next }) = wires.ask(0, all_tasks()) else {
        panic!("a list")
    };
    assert!(tasks.is_empty() && next.is_none());
}

#[test]
fn a_list_of_tasks_comes_in_pages() {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    for n in 1..=5 {
        wires.granted(0, submit(n));
    }
    wires.granted(0, Command::CancelTask(task(3)));
    let mut pages = |filter: TaskFilter| {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let filter = TaskFilter {
                after,
                limit: 2,
                ..filter.clone()
            };
            let Ok(Reply::Tasks { tasks, next }) = wires.ask(0, Command::Tasks(filter)) else {
                panic!("a list")
            };
            pages.push(tasks.into_iter().map(|t| t.id).collect::<Vec<String>>());
            after = next;
            if after.is_none() {
                return pages;
            }
        }
    };
    let ids = |numbers: &[u64]| {
        numbers
            .iter()
            .map(|n| task(*n).to_string())
            .collect::<Vec<_>>()
    };
    let all = pages(TaskFilter::default());
    assert_eq!(all, [ids(&[1, 2]), ids(&[3, 4]), ids(&[5])]);
    let newest = pages(TaskFilter {
        newest: true,
        ..TaskFilter::default()
    });
    assert_eq!(newest, [ids(&[5, 4]), ids(&[3, 2]), ids(&[1])]);
    let canceled = pages(TaskFilter {
        state: Some(TaskState::Canceled),
        ..TaskFilter::default()
    });
    assert_eq!(canceled, [ids(&[3])]);
    let other = pages(TaskFilter {
        capability: Some("other".parse().expect("a capability")),
        ..TaskFilter::default()
    });
    assert_eq!(other, [ids(&[])]);
}

#[test]
fn the_status_counts_what_there_is() {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.command(0, submit(1));
    wires.run(SECOND_MS);
    let Ok(Reply::Status(ours)) = wires.ask(0, Command::Status) else {
        panic!("a status")
    };
    assert_eq!(
        (ours.name.as_str(), ours.network.as_str()),
        ("node-0", "test")
    );
    assert_eq!((ours.connected, ours.sessions, ours.registry), (1, 1, 2));
    assert_eq!((ours.tasks.working, ours.held), (1, 0));
    assert_eq!(ours.uptime_ms, 4_000);
    let Ok(Reply::Status(theirs)) = wires.ask(1, Command::Status) else {
        panic!("a status")
    };
    assert_eq!(
        (theirs.held, theirs.capabilities),
        (1, vec!["wc".to_owned()])
    );
}
