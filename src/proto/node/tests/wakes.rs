//! Waking another node's agent.

use super::*;

fn sleeper(wake: WakePolicy) -> Wires {
    let second = NodeConfig {
        wake,
        ..config(1, Some(0), 0)
    };
    let mut wires = Wires::new(vec![config(0, None, 0), second]);
    wires.run(3 * SECOND_MS);
    wires
}

fn wake(wires: &mut Wires) -> WakeId {
    call(wires, WakeRequest::Resume)
}

fn call(wires: &mut Wires, request: WakeRequest) -> WakeId {
    let command = Command::Wake {
        peer: name_of(1),
        reason: "work is waiting".into(),
        priority: Priority::Low,
        request,
    };
    match wires.ask(0, command) {
        Ok(Reply::Wake(view)) => view.id.parse().expect("a wake id"),
        other => panic!("{other:?}"),
    }
}

fn phase(wires: &mut Wires, id: WakeId) -> String {
    // Another phase than any there is: answered at once.
    let seen = Some(WakeStatus::RateLimited);
    match wires.ask(0, Command::AwaitWake { id, seen }) {
        Ok(Reply::Wake(view)) => view.phase,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wake_up_runs_the_hook_and_its_end_is_told() {
    for (ok, end) in [(true, "resumed"), (false, "failed")] {
        let mut wires = sleeper(WakePolicy {
            hook: true,
            ..WakePolicy::default()
        });
        let id = wake(&mut wires);
        assert_eq!(phase(&mut wires, id), "hook_started");
        let seen = Some(WakeStatus::HookStarted);
        let awaited = wires.command(0, Command::AwaitWake { id, seen });
        let (hook, spec) = wires.hosts[1].hooks.remove(0);
        assert_eq!(
            (spec.from, spec.reason.as_str()),
            (wires.hosts[0].identity.entity_id, "work is waiting")
        );
        assert!(wires.reply(0, awaited).is_none());
        wires.input(1, Input::HookEnded { hook, ok });
        let told = wires.reply(0, awaited).expect("told");
        assert!(matches!(told, Ok(Reply::Wake(view)) if view.phase == end));
    }
}

#[test]
fn without_a_hook_it_is_delivered_and_the_agent_says_that_it_resumed() {
    let mut wires = sleeper(WakePolicy::default());
    let id = wake(&mut wires);
    assert_eq!(phase(&mut wires, id), "delivered");
    let Ok(Reply::Wakes(received)) = wires.ask(1, Command::WakesReceived) else {
        panic!("a list")
    };
    assert_eq!(
        (received.len(), received[0].reason.as_str()),
        (1, "work is waiting")
    );
    assert_eq!(wires.ask(1, Command::Resumed { id: None }), Ok(Reply::Done));
    assert_eq!(phase(&mut wires, id), "resumed");
}

#[test]
fn only_who_is_allowed_may_wake_us() {
    let mut wires = sleeper(WakePolicy {
        allow: Some(vec!["node-0".into()]),
        ..WakePolicy::default()
    });
    let id = wake(&mut wires);
    assert_eq!(
        phase(&mut wires, id),
        "not_allowed",
        "anybody can take a name"
    );
    let entity = wires.hosts[0].identity.entity_id.to_string();
    let mut wires = sleeper(WakePolicy {
        allow: Some(vec![entity]),
        ..WakePolicy::default()
    });
    let id = wake(&mut wires);
    assert_eq!(phase(&mut wires, id), "delivered");
}

#[test]
fn a_node_that_is_away_is_tried_three_times() {
    let mut wires = sleeper(WakePolicy::default());
    wires.stop(1);
    let id = wake(&mut wires);
    assert_eq!(phase(&mut wires, id), "sending");
    wires.run(14 * SECOND_MS);
    assert_eq!(phase(&mut wires, id), "sending");
    wires.run(6 * SECOND_MS);
    assert_eq!(phase(&mut wires, id), "undelivered");
}

#[test]
fn a_node_that_comes_back_in_time_is_woken() {
    let mut wires = sleeper(WakePolicy {
        hook: true,
        ..WakePolicy::default()
    });
    wires.stop(1);
    let id = wake(&mut wires);
    wires.run(4 * SECOND_MS);
    wires.start(1);
    wires.run(20 * SECOND_MS);
    assert_eq!(phase(&mut wires, id), "hook_started");
    assert_eq!(wires.hosts[1].hooks.len(), 1, "K1");
}

#[test]
fn only_a_node_with_a_hook_for_it_restarts_its_agent() {
    let mut wires = sleeper(WakePolicy {
        hook: true,
        ..WakePolicy::default()
    });
    let id = call(&mut wires, WakeRequest::Restart);
    assert_eq!(phase(&mut wires, id), "not_allowed");
    let mut wires = sleeper(WakePolicy {
        hook: true,
        restart_hook: true,
        ..WakePolicy::default()
    });
    let id = call(&mut wires, WakeRequest::Restart);
    assert_eq!(phase(&mut wires, id), "hook_started");
    let (hook, spec) = wires.hosts[1].hooks.remove(0);
    assert_eq!(spec.request, WakeRequest::Restart);
    assert_eq!(spec.priority, Priority::Low);
    wires.input(1, Input::HookEnded { hook, ok: true });
    assert_eq!(phase(&mut wires, id), "resumed");
}
