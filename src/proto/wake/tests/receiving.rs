//! Being woken: once, in bounds, one hook at a time.

use super::*;

#[test]
fn a_wake_up_is_acted_on_once_however_often_it_arrives() {
    let mut theirs = side(RULES);
    let hook = theirs.hooked(1, 1);
    for _ in 0..20 {
        assert_eq!(
            theirs.receive(1, 1),
            WakeStatus::HookStarted,
            "it hears how far it is"
        );
        assert_eq!(theirs.done(), (Vec::new(), Vec::new()), "K1");
    }
    theirs.wakes.hook_ended(hook, true);
    assert_eq!(theirs.receive(1, 1), WakeStatus::Resumed);
    assert_eq!(
        theirs.receive(2, 1),
        WakeStatus::NotAllowed,
        "a stranger with its nonce"
    );
    assert_eq!(theirs.wakes.received().len(), 1);
}

#[test]
fn the_hooks_end_is_the_wake_ups_end() {
    let mut theirs = side(RULES);
    for (n, ok, end) in [
        (1, true, WakeStatus::Resumed),
        (2, false, WakeStatus::Failed),
    ] {
        let hook = theirs.hooked(1, n);
        theirs.wakes.hook_ended(hook, ok);
        let update = WakeEffect::Update {
            to: entity(1),
            nonce: nonce(n),
            status: end,
        };
        assert_eq!(theirs.wakes.effects(), [update]);
        theirs.wakes.hook_ended(hook, !ok);
        assert!(theirs.wakes.effects().is_empty(), "a second end is none");
    }
}

#[test]
fn one_hook_runs_at_a_time() {
    let mut theirs = side(RULES);
    let hook = theirs.hooked(1, 1);
    assert_eq!(theirs.receive(2, 2), WakeStatus::AlreadyAwake);
    assert_eq!(theirs.done(), (Vec::new(), Vec::new()), "K2");
    theirs.wakes.hook_ended(hook, true);
    theirs.wakes.effects();
    assert_ne!(theirs.hooked(2, 3), hook);
}

#[test]
fn without_a_hook_the_agent_says_itself_that_it_resumed() {
    let mut theirs = side(WakeRules {
        hook: false,
        ..RULES
    });
    assert_eq!(theirs.receive(1, 1), WakeStatus::Delivered);
    theirs.pass(1);
    assert_eq!(theirs.receive(1, 2), WakeStatus::Delivered);
    assert_eq!(theirs.done(), (Vec::new(), Vec::new()));
    assert!(
        !theirs.wakes.resumed(Some(wake_id(9))),
        "there is no such wake-up"
    );
    assert!(theirs.wakes.resumed(None), "the newest");
    let update = |n| WakeEffect::Update {
        to: entity(1),
        nonce: nonce(n),
        status: WakeStatus::Resumed,
    };
    assert_eq!(theirs.wakes.effects(), [update(2)]);
    assert!(theirs.wakes.resumed(Some(wake_id(1))));
    assert_eq!(theirs.wakes.effects(), [update(1)]);
    assert!(!theirs.wakes.resumed(None), "none is open any more");
}

#[test]
fn an_agent_that_resumed_is_not_failed_by_its_hook() {
    let mut theirs = side(RULES);
    let hook = theirs.hooked(1, 1);
    assert!(theirs.wakes.resumed(None));
    assert_eq!(theirs.done().1, [WakeStatus::Resumed]);
    theirs.wakes.hook_ended(hook, false);
    assert!(theirs.wakes.effects().is_empty());
    assert_eq!(theirs.wakes.received()[0].status, WakeStatus::Resumed);
}

#[test]
fn one_peer_wakes_ten_times_a_minute_at_most() {
    let mut theirs = side(WakeRules {
        hook: false,
        max_per_hour: 1_000,
        ..RULES
    });
    for n in 0..10 {
        assert_eq!(theirs.receive(1, n), WakeStatus::Delivered);
    }
    assert_eq!(theirs.receive(1, 10), WakeStatus::RateLimited, "K2");
    assert_eq!(
        theirs.receive(2, 11),
        WakeStatus::Delivered,
        "another peer has its own count"
    );
    theirs.pass(MINUTE_MS);
    assert_eq!(theirs.receive(1, 12), WakeStatus::Delivered);
}

#[test]
fn all_together_wake_no_more_often_than_the_policy_says() {
    let mut theirs = side(WakeRules {
        hook: true,
        max_per_hour: 3,
        ..RULES
    });
    for n in 0..3 {
        let hook = theirs.hooked(n as u8, n);
        theirs.wakes.hook_ended(hook, true);
        theirs.wakes.effects();
        theirs.pass(MINUTE_MS);
    }
    assert_eq!(theirs.receive(9, 3), WakeStatus::RateLimited, "K2");
    assert_eq!(theirs.done(), (Vec::new(), Vec::new()));
    theirs.pass(HOUR_MS);
    theirs.wakes.tick(theirs.now);
    theirs.hooked(9, 4);
}

#[test]
fn who_may_not_wake_us_and_long_reasons_are_refused_without_a_trace() {
    let mut theirs = side(RULES);
    let status = theirs.wakes.receive(
        wake_id(1),
        peer_id(1),
        entity(1),
        wake_up(1),
        false,
        theirs.now,
    );
    assert_eq!(status, WakeStatus::NotAllowed);
    let long = WakeUp {
        reason: "x".repeat(WAKE_REASON_MAX_BYTES + 1),
        ..wake_up(2)
    };
    let status = theirs
        .wakes
        .receive(wake_id(2), peer_id(1), entity(1), long, true, theirs.now);
    assert_eq!(status, WakeStatus::NotAllowed);
    assert!(theirs.wakes.received().is_empty() && theirs.wakes.effects().is_empty());
}

#[test]
fn what_is_remembered_is_bounded_and_the_running_hook_stays() {
    let rules = WakeRules {
        hook: true,
        max_per_hour: u32::MAX,
        ..RULES
    };
    let mut theirs = side(rules);
    let hook = theirs.hooked(0, 0);
    for n in 1..3 * WAKES_MAX as u64 {
        theirs.pass(1);
        let from = EntityId([0; 32].map(|_: u8| (n % 250) as u8));
        theirs.wakes.receive(
            wake_id(n),
            peer_id((n % 250) as u8),
            from,
            wake_up(n),
            true,
            theirs.now,
        );
    }
    assert!(theirs.wakes.received().len() <= WAKES_MAX, "K3");
    theirs.wakes.hook_ended(hook, true);
    assert!(theirs.done().1.contains(&WakeStatus::Resumed));
    let mut ours = side(rules);
    for n in 0..2 * WAKES_MAX as u64 {
        ours.pass(1);
        ours.send_to(n, entity((n % 250) as u8));
    }
    assert!(
        ours.wakes.sent(&wake_id(0)).is_none(),
        "K3: the oldest goes first"
    );
    assert!(
        ours.wakes
            .sent(&wake_id(2 * WAKES_MAX as u64 - 1))
            .is_some()
    );
    assert_eq!(ours.sent_now().len(), WAKES_MAX);
}

#[test]
fn many_entities_of_one_peer_have_the_quota_of_one() {
    let mut theirs = side(RULES);
    for n in 0..10 {
        let status = theirs.receive_by(1, n, wake_up(u64::from(n)), u64::from(n));
        assert_ne!(status, WakeStatus::RateLimited);
    }
    let eleventh = theirs.receive_by(1, 99, wake_up(99), 99);
    assert_eq!(eleventh, WakeStatus::RateLimited, "K2: ten a minute");
    for n in 100..200 {
        theirs.pass(7_000);
        theirs.receive_by(1, n, wake_up(u64::from(n)), u64::from(n));
    }
    let from_one = theirs.wakes.received().len();
    assert_eq!(from_one, 30, "K2: half of the hour is left to others");
    assert_ne!(
        theirs.receive_by(2, 2, wake_up(999), 999),
        WakeStatus::RateLimited
    );
}

#[test]
fn an_agent_that_hangs_in_its_wake_hook_can_be_restarted() {
    let restart = |n| WakeUp {
        request: Some(WakeRequest::Restart),
        ..wake_up(n)
    };
    let mut theirs = side(RULES);
    theirs.hooked(1, 1);
    assert_eq!(
        theirs.receive_by(1, 1, restart(2), 2),
        WakeStatus::Delivered
    );
    let (hooks, _) = theirs.done();
    assert_eq!(
        theirs.receive_by(2, 2, restart(3), 3),
        WakeStatus::AlreadyAwake
    );
    assert_eq!(theirs.receive(2, 4), WakeStatus::AlreadyAwake);
    theirs.wakes.hook_ended(hooks[0], true);
    assert_eq!(theirs.done().1, [WakeStatus::Resumed]);
    let mut theirs = side(WakeRules {
        restart_hook: false,
        ..RULES
    });
    assert_eq!(
        theirs.receive_by(1, 1, restart(2), 2),
        WakeStatus::NotAllowed
    );
}
