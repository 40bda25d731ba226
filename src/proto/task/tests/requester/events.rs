//! What a task's watchers are told.

use super::*;
use crate::types::limits::{EVENT_NOTE_MAX_BYTES, EVENTS_KEPT};

impl Side<Requester> {
    fn told(&self, id: TaskId, after: Option<u64>) -> Told {
        self.core.events(id, after).expect("a known task")
    }

    fn kinds(&self, id: TaskId) -> Vec<EventKind> {
        let told = self.told(id, None);
        told.events.iter().map(|event| event.kind).collect()
    }
}

#[test]
fn a_task_tells_its_way_in_order() {
    use EventKind::{AttemptFailed, Completed, Offered, Submitted, Working};
    let mut ours = ours();
    let offer = ours.working(new_task(1), entity(1));
    let id = offer.1;
    assert_eq!(ours.result(offer, failed()), AckAnswer::Kept);
    ours.wait(60_000);
    let again = ours.assign(&[entity(2)])[0];
    ours.answer(again, boot(1), AcceptAnswer::Accepted);
    assert_eq!(ours.result(again, completed()), AckAnswer::Kept);
    let way = [
        Submitted,
        Offered,
        Working,
        AttemptFailed,
        Offered,
        Working,
        Completed,
    ];
    assert_eq!(ours.kinds(id), way);
    let told = ours.told(id, None);
    assert_eq!(told.events[3].note.as_deref(), Some("no such file"));
    assert_eq!(told.events[6].attempt, Some((entity(2), again.2)));
    assert_eq!(told.last - told.first, 6, "numbers rise by one (E1)");
    let rest = ours.told(id, Some(told.first + 4));
    assert_eq!(rest.events, told.events[5..]);
    assert!(!rest.reset);
    assert!(ours.told(id, Some(told.last)).events.is_empty());
}

#[test]
fn an_unknown_number_gets_all_that_is_kept() {
    let mut ours = ours();
    let id = ours.submit(new_task(1));
    ours.restart();
    let before = ours.told(id, None);
    ours.pass(1_000);
    ours.restart();
    let told = ours.told(id, Some(before.last));
    assert!(told.reset, "another life (E2)");
    assert_eq!(told.events.len(), 1);
    assert!(told.first > before.last, "numbers rise over lives (E1)");
    assert!(ours.told(id, Some(told.last + 1)).reset, "not told yet");
}

#[test]
fn what_the_record_says_survives_a_restart() {
    let mut ours = ours();
    let offer = ours.working(new_task(1), entity(1));
    let _ = ours.result(offer, completed());
    ours.pass(1_000);
    ours.restart();
    let kinds = ours.kinds(offer.1);
    assert_eq!(kinds.first(), Some(&EventKind::Submitted));
    assert_eq!(kinds.last(), Some(&EventKind::Completed));
}

#[test]
fn new_events_follow_what_a_restart_found() {
    let mut ours = ours();
    let id = ours.submit(new_task(1));
    ours.pass(1_000);
    ours.restart();
    let seen = ours.told(id, None).last;
    ours.assign(&[entity(1)]);
    let told = ours.told(id, Some(seen));
    assert!(!told.reset);
    assert_eq!(told.events[0].kind, EventKind::Offered);
    assert_eq!(told.first, seen + 1);
}

#[test]
fn what_a_renewal_repeats_is_no_event() {
    let mut ours = ours();
    let offer = ours.working(new_task(1), entity(1));
    ours.renew(entity(1), boot(1), &[offer]);
    let kinds = ours.kinds(offer.1);
    for _ in 0..2 * EVENTS_KEPT {
        ours.wait(1_000);
        ours.renew(entity(1), boot(1), &[offer, offer]);
    }
    assert_eq!(ours.kinds(offer.1), kinds);
    assert_eq!(kinds.first(), Some(&EventKind::Submitted));
}

#[test]
fn old_events_and_long_notes_are_cut() {
    let mut ours = ours();
    let offer = ours.working(new_task(1), entity(1));
    let reason = "x".repeat(4 * EVENT_NOTE_MAX_BYTES);
    let _ = ours.result(
        offer,
        TaskOutcome::Failed {
            reason,
            poison: false,
        },
    );
    let note = ours.told(offer.1, None).events[3].note.clone();
    assert_eq!(note.map(|note| note.len()), Some(EVENT_NOTE_MAX_BYTES));

    ours.submit(new_task(2));
    let first = ours.told(task_id(2), None).first;
    for n in 1..=EVENTS_KEPT as u8 {
        ours.pass(30_000);
        let offers = ours.assign(&[entity(n)]);
        for offer in offers {
            let busy = AcceptAnswer::Refused(RefuseReason::Busy);
            ours.answer(offer, boot(1), busy);
        }
    }
    let told = ours.told(task_id(2), Some(first));
    assert_eq!(told.events.len(), EVENTS_KEPT);
    assert!(told.reset, "the reader is told that some are gone (E2)");
    assert_eq!(told.last + 1 - told.first, EVENTS_KEPT as u64);
}

#[test]
fn offers_in_vain_say_why_and_repeated_ones_are_counted() {
    let mut ours = ours();
    let id = ours.submit(new_task(1));
    let (a, b) = (entity(1), entity(2));
    let first = ours.told(id, None).first;
    let mut told = Vec::new();
    for n in 0..2 * EVENTS_KEPT {
        ours.wait(20_000);
        let to = if n % 2 == 0 { a } else { b };
        let offer = ours.assign(&[to])[0];
        match to == a {
            true => ours.answer(offer, boot(1), AcceptAnswer::Refused(RefuseReason::Price)),
            false => {
                let offers = [(id, offer.2)];
                ours.kept(|core, step| core.offer_failed(b, &offers, step, false));
            }
        }
        let now = ours.told(id, told.last().copied());
        assert!(!now.reset, "who reads on is told all (E2)");
        told.extend(now.events.iter().map(|event| event.number));
    }
    assert_eq!(
        told.len(),
        4 * EVENTS_KEPT + 1,
        "each offer, and what became of it"
    );
    assert!(told.is_sorted_by(|a, b| a < b), "numbers rise (E1)");
    let events = ours.told(id, Some(first - 1)).events;
    let kept: Vec<_> = events
        .iter()
        .map(|event| (event.kind, event.note.as_deref(), event.times))
        .collect();
    let times = EVENTS_KEPT as u32;
    assert_eq!(
        kept,
        [
            (EventKind::Submitted, None, 1),
            (EventKind::Offered, None, 1),
            (EventKind::Refused, Some("it asks for more"), times),
            (EventKind::Offered, None, 1),
            (EventKind::NotSent, Some("unreachable"), times),
        ]
    );
    let held = ours.assign(&[entity(3)])[0];
    ours.answer(held, boot(1), AcceptAnswer::Accepted);
    assert_eq!(ours.told(id, None).events.len(), 7);
}

#[test]
fn who_watches_is_told_once() {
    let mut ours = ours();
    let id = ours.submit(new_task(1));
    ours.core.watch(id);
    assert!(ours.core.stirred().is_empty());
    ours.assign(&[entity(1)]);
    assert_eq!(ours.core.stirred(), [id]);
    ours.kept(|core, step| core.cancel(id, step));
    assert!(ours.core.stirred().is_empty());
}
