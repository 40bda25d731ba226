//! What all tasks' watchers are told.

use super::*;
use crate::types::Compare;
use crate::types::limits::FEED_PAGE_MAX;
use crate::wire::{OutputPart, ProgressItem};

/// A batch above all.
const WRITTEN: BatchId = BatchId(u64::MAX);

fn all() -> EventFilter {
    EventFilter {
        limit: FEED_PAGE_MAX,
        ..EventFilter::default()
    }
}

impl Side<Requester> {
    /// Each event's task and kind.
    fn fed(&self, filter: &EventFilter) -> Vec<(TaskId, EventKind)> {
        let page = self.core.feed(filter, WRITTEN);
        let fed = page.events.iter();
        fed.map(|fed| (fed.about.id, fed.event.kind)).collect()
    }

    fn fed_of(&self, id: TaskId) -> Vec<(u64, EventKind)> {
        let filter = EventFilter {
            parts: true,
            ..all()
        };
        let page = self.core.feed(&filter, WRITTEN);
        let of_it = page.events.iter().filter(|fed| fed.about.id == id);
        let told = of_it.map(|fed| (self.core.task_number(fed), fed.event.kind));
        told.collect()
    }

    fn own(&self, id: TaskId) -> Vec<(u64, EventKind)> {
        let told = self.core.events(id, None).expect("a known task");
        let own = told.events.iter();
        own.map(|event| (event.number, event.kind)).collect()
    }
}

#[test]
fn all_are_told_what_each_task_tells() {
    let mut ours = ours();
    let first = ours.working(new_task(1), entity(1));
    let second = ours.working(new_task(2), entity(2));
    let _ = ours.result(second, completed());
    let _ = ours.result(first, failed());
    ours.wait(60_000);
    let again = ours.assign(&[entity(3)])[0];
    ours.answer(again, boot(1), AcceptAnswer::Accepted);
    let _ = ours.result(again, completed());
    for id in [first.1, second.1] {
        assert_eq!(ours.fed_of(id), ours.own(id));
        assert!(ours.fed_of(id).len() >= 4);
    }
    let fed = ours.fed(&all());
    assert_eq!(fed[0], (first.1, EventKind::Submitted));
    assert_eq!(fed.last(), Some(&(first.1, EventKind::Completed)));
    ours.core.check().expect("E6");
}

#[test]
fn what_is_told_of_all_begins_anew_with_a_restart_and_goes_on() {
    let mut ours = ours();
    let offer = ours.working(new_task(1), entity(1));
    let seen = ours.core.feed_last();
    ours.pass(1_000);
    ours.restart();
    let filter = EventFilter {
        after: Some(seen),
        ..all()
    };
    let page = ours.core.feed(&filter, WRITTEN);
    assert!(page.reset && page.events.is_empty());
    assert!(page.next > seen);
    let next = EventFilter {
        after: Some(page.next),
        ..all()
    };
    let _ = ours.result(offer, completed());
    assert_eq!(ours.fed(&next), [(offer.1, EventKind::Completed)]);
    let number = ours.fed_of(offer.1)[0].0;
    let own = ours.core.events(offer.1, None).expect("a known task");
    assert_eq!(number, own.last, "the number that its own log has for it");
}

#[test]
fn parts_are_told_to_who_asks_and_with_their_whole() {
    let mut ours = ours();
    ours.submit(NewTask {
        agreement: Some(Agreement {
            replicas: 2,
            agree: 2,
            compare: Compare::Bytes,
        }),
        ..new_task(1)
    });
    ours.wait(1);
    let parts = EventFilter {
        parts: true,
        ..all()
    };
    assert_eq!(ours.fed(&all()), [(task_id(1), EventKind::Submitted)]);
    let page = ours.core.feed(&parts, WRITTEN);
    let of: Vec<_> = page.events.iter().map(|fed| fed.about.part_of).collect();
    assert_eq!(of, [None, Some(task_id(1)), Some(task_id(1))]);
    ours.kept(|core, step| core.cancel(task_id(1), step));
    let ended: Vec<_> = { ours.fed(&parts).into_iter() }
        .filter(|(_, kind)| *kind == EventKind::Canceled)
        .collect();
    assert_eq!(ended.len(), 3);
    ours.core.check().expect("E6");
}

#[test]
fn a_talkative_run_takes_two_places() {
    let mut ours = ours();
    let offer = ours.working(
        NewTask {
            stream: true,
            ..new_task(1)
        },
        entity(1),
    );
    for n in 0..50_u8 {
        let items = vec![ProgressItem {
            task_id: offer.1,
            token: offer.2,
            percent: Some(n),
            note: None,
            output: Some(OutputPart {
                offset: u64::from(n),
                data: vec![n],
            }),
        }];
        ours.kept(|core, step| core.said(entity(1), items, step));
    }
    let kinds: Vec<_> = { ours.fed(&all()).into_iter() }
        .map(|(_, kind)| kind)
        .collect();
    use EventKind::{Offered, Output, Progress, Submitted, Working};
    assert_eq!(kinds, [Submitted, Offered, Working, Progress, Output]);
    ours.core.check().expect("E6");
}

#[test]
fn every_kind_has_a_name_of_its_own() {
    for kind in EventKind::ALL {
        assert_eq!(EventKind::named(kind.as_str()), Some(kind));
    }
    assert!(EventKind::ALL.is_sorted_by(|a, b| a < b));
    assert_eq!(EventKind::ALL.len(), EventKind::Canceled as usize + 1);
    assert_eq!(EventKind::named("ended"), None);
}
