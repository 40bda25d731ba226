//! Waking others: attempts, and the phases told back.

use proptest::prelude::*;

use super::*;

#[test]
fn three_attempts_at_0_5_and_15_seconds_then_it_is_undelivered() {
    let mut ours = side(RULES);
    let id = ours.send(1);
    let first = ours.sent_now();
    assert_eq!(first.len(), 1);
    for wait_ms in [5_000, 10_000] {
        ours.wakes.send_failed(id, None, ours.now);
        assert_eq!(ours.wakes.next_deadline(), Some(ours.now + wait_ms));
        ours.pass(wait_ms - 1);
        assert!(ours.sent_now().is_empty());
        ours.pass(1);
        assert_eq!(
            ours.sent_now(),
            first,
            "K1: a resend carries the same nonce"
        );
    }
    assert_eq!(ours.now.since(Mono::from_micros(1)), 15_000);
    ours.wakes.send_failed(id, None, ours.now);
    assert_eq!(ours.wakes.effects(), [WakeEffect::Changed { id }]);
    let sent = ours.wakes.sent(&id).expect("remembered");
    assert!(sent.undelivered && sent.status.is_none() && ours.wakes.next_deadline().is_none());
    ours.pass(HOUR_MS);
    assert!(ours.sent_now().is_empty());
}

#[test]
fn a_wake_up_that_was_answered_is_not_sent_again() {
    let mut ours = side(RULES);
    let id = ours.send(1);
    let nonce = ours.sent_now()[0].nonce;
    ours.told(nonce, WakeStatus::Delivered);
    assert_eq!(ours.wakes.effects(), [WakeEffect::Changed { id }]);
    ours.wakes.send_failed(id, None, ours.now);
    ours.pass(MINUTE_MS);
    assert!(ours.sent_now().is_empty());
    assert!(!ours.wakes.sent(&id).expect("remembered").undelivered);
}

#[test]
fn a_late_answer_still_counts_after_all_attempts_seemed_in_vain() {
    let mut ours = side(RULES);
    let id = ours.send(1);
    let nonce = ours.sent_now()[0].nonce;
    for _ in 0..3 {
        ours.wakes.send_failed(id, None, ours.now);
        ours.pass(10_000);
        ours.sent_now();
    }
    ours.told(nonce, WakeStatus::Delivered);
    let sent = ours.wakes.sent(&id).expect("remembered");
    assert_eq!(
        (sent.undelivered, sent.status),
        (false, Some(WakeStatus::Delivered))
    );
}

#[test]
fn an_update_before_the_answer_is_not_taken_back_by_it() {
    let mut ours = side(RULES);
    let id = ours.send(1);
    let nonce = ours.sent_now()[0].nonce;
    ours.told(nonce, WakeStatus::HookStarted);
    ours.told(nonce, WakeStatus::Delivered);
    assert_eq!(
        ours.wakes.sent(&id).expect("remembered").status,
        Some(WakeStatus::HookStarted)
    );
    ours.told(nonce, WakeStatus::Resumed);
    ours.told(nonce, WakeStatus::Failed);
    assert_eq!(
        ours.wakes.sent(&id).expect("remembered").status,
        Some(WakeStatus::Resumed)
    );
}

#[test]
fn nobody_else_can_answer_for_the_woken() {
    let mut ours = side(RULES);
    let id = ours.send(1);
    let body = ours.sent_now().remove(0);
    ours.wakes
        .told(entity(8), body.nonce, WakeStatus::Resumed, ours.now);
    ours.told(nonce(77), WakeStatus::Resumed);
    assert_eq!(ours.wakes.sent(&id).expect("remembered").status, None);
}

fn status() -> impl Strategy<Value = WakeStatus> {
    prop_oneof![
        Just(WakeStatus::Delivered),
        Just(WakeStatus::HookStarted),
        Just(WakeStatus::Resumed),
        Just(WakeStatus::AlreadyAwake),
        Just(WakeStatus::RateLimited),
        Just(WakeStatus::NotAllowed),
        Just(WakeStatus::Failed),
    ]
}

proptest! {
    #[test]
    fn phases_only_go_forward_whatever_order_they_are_told_in(
        told in proptest::collection::vec(status(), 1..12)
    ) {
        let mut ours = side(RULES);
        let id = ours.send(1);
        let nonce = ours.sent_now()[0].nonce;
        let mut before = None;
        for status in told {
            ours.told(nonce, status);
            let now = ours.wakes.sent(&id).expect("remembered").status;
            prop_assert!(now >= before, "{now:?} after {before:?}");
            let was_final = before.is_some_and(WakeStatus::is_final);
            prop_assert!(!was_final || now == before, "{before:?} was final");
            before = now;
        }
        prop_assert!(before.is_some());
    }
}
