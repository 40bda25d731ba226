//! The events of all tasks: the row by itself.

use proptest::prelude::*;

use super::super::events::{Event, EventKind};
use super::super::feed::{EventFilter, Feed, Page};
use super::super::record::{Fresh, TaskRecord};
use super::*;
use crate::types::{BatchId, Wall};

const START: Wall = Wall(1_700_000_000_000);
const WRITTEN: BatchId = BatchId(1 << 40);

fn record(n: u64, labels: &[&str]) -> TaskRecord {
    let labels = labels.iter().map(|label| label.parse().expect("a label"));
    TaskRecord::new(Fresh {
        id: task_id(n),
        capability: wc(),
        to: None,
        priority: Priority::Normal,
        submitted: START,
        start_at: None,
        queued: None,
        deadline: START + HOUR_MS,
        key: None,
        spec: [0; 32],
        prior: None,
        orphan: None,
        parent: None,
        budget: None,
        marks: Marks {
            labels: labels.collect(),
            ..Marks::default()
        },
        input_bytes: 0,
        input_file: None,
        stream: true,
    })
}

fn event(number: u64, kind: EventKind) -> Event {
    Event {
        number,
        ..Event::new(kind, START, Some((entity(1), token(1))), None)
    }
}

fn feed(max_events: usize) -> Feed {
    let mut feed = Feed::new(max_events, usize::MAX);
    feed.begin(START);
    feed
}

fn behind(after: Option<u64>, limit: usize) -> EventFilter {
    EventFilter {
        after,
        limit,
        ..EventFilter::default()
    }
}

fn numbers(page: &Page<'_>) -> Vec<u64> {
    page.events.iter().map(|fed| fed.number).collect()
}

#[test]
fn of_what_a_run_says_the_newest_is_told_and_not_what_it_wrote() {
    let (mut feed, one, two) = (feed(100), record(1, &[]), record(2, &[]));
    let wrote = |number, offset, bytes| Event {
        number,
        ..Event::output(START, Some((entity(1), token(1))), offset, vec![7; bytes])
    };
    feed.tell(&one, &event(0, EventKind::Working), BatchId(1));
    for number in 1..=50 {
        feed.tell(&one, &wrote(number, number * 10, 10), BatchId(1));
        feed.tell(&two, &event(number, EventKind::Progress), BatchId(1));
    }
    let page = feed.page(&behind(None, 100), WRITTEN);
    let base = START.0 * 1_000;
    assert_eq!(numbers(&page), [base, base + 99, base + 100]);
    let newest = page.events[1];
    assert_eq!(newest.length, Some(10));
    let said = newest.event.said.as_deref();
    let (offset, data) = (500, None);
    assert_eq!(said, Some(&Said::Output { offset, data }));
    // Of another run it is another matter.
    let other = Event {
        attempt: Some((entity(2), token(2))),
        ..wrote(51, 0, 1)
    };
    feed.tell(&one, &other, BatchId(1));
    assert_eq!(feed.page(&behind(None, 100), WRITTEN).events.len(), 4);
    // Who saw one that was replaced goes on behind it and misses nothing.
    let page = feed.page(&behind(Some(base + 50), 100), WRITTEN);
    assert!(!page.reset);
    assert_eq!(numbers(&page), [base + 99, base + 100, base + 101]);
}

#[test]
fn a_page_has_what_is_asked_for_and_says_where_to_go_on() {
    let mut feed = feed(100);
    for n in 0..20 {
        let labels: &[&str] = if n % 2 == 0 { &["run=7", "b"] } else { &[] };
        feed.tell(
            &record(n, labels),
            &event(0, EventKind::Submitted),
            BatchId(n),
        );
        feed.tell(
            &record(n, labels),
            &event(1, EventKind::Completed),
            BatchId(n),
        );
    }
    let wanted = EventFilter {
        label: Some("run=7".parse().expect("a label")),
        kinds: [EventKind::Completed, EventKind::Failed].into(),
        ..behind(None, 6)
    };
    let page = feed.page(&wanted, WRITTEN);
    assert_eq!(page.events.len(), 6);
    assert_eq!(page.rests, BatchId(10), "on what the last of them rests");
    let rest = EventFilter {
        after: Some(page.next),
        ..wanted.clone()
    };
    let rest = feed.page(&rest, WRITTEN);
    assert_eq!(rest.events.len(), 4);
    assert_eq!(rest.next, feed.last(), "nothing else was wanted");
    let nothing = EventFilter {
        capability: Some("sum".parse().expect("a capability")),
        ..behind(None, 6)
    };
    let page = feed.page(&nothing, WRITTEN);
    assert_eq!((page.events.len(), page.next), (0, feed.last()));
    assert_eq!(page.rests, BatchId::NONE);
}

#[test]
fn an_event_of_a_step_that_wrote_nothing_waits_for_what_was_written_before() {
    let mut feed = feed(100);
    feed.tell(&record(1, &[]), &event(0, EventKind::Working), BatchId(8));
    let page = feed.page(&behind(None, 1), BatchId(7));
    assert_eq!(page.rests, BatchId(7));
}

#[test]
fn the_feed_is_bounded_in_events_and_in_bytes() {
    let mut feed = feed(100);
    let labels: Vec<String> = (0..16).map(|n| format!("{n:060}")).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    for n in 0..1_000 {
        feed.tell(&record(n, &[]), &event(0, EventKind::Failed), BatchId(1));
    }
    assert_eq!(feed.page(&behind(None, 1_000), WRITTEN).events.len(), 100);
    let mut small = Feed::new(1_000, 64 * 1024);
    for n in 0..1_000 {
        small.tell(
            &record(n, &labels),
            &event(0, EventKind::Failed),
            BatchId(1),
        );
        small.check_places(|_| true).expect("within its bounds");
    }
    let kept = small.page(&behind(None, 1_000), WRITTEN).events.len();
    assert!((10..60).contains(&kept), "{kept}");
}

#[test]
fn numbers_rise_from_life_to_life_however_much_happened() {
    let mut feed = feed(10);
    // A second with 20,000 events: 5,000 tasks.
    for n in 0..20_000 {
        feed.tell(&record(n, &[]), &event(0, EventKind::Completed), BatchId(1));
    }
    let before = feed.last();
    let mut next = Feed::new(10, usize::MAX);
    next.begin(START + 1_000);
    assert!(next.last() > before);
    assert!(next.page(&behind(Some(before), 1), WRITTEN).reset, "E4");
    let begun = next.last();
    assert!(!next.page(&behind(Some(begun), 1), WRITTEN).reset);
    assert!(next.page(&behind(Some(begun + 1), 1), WRITTEN).reset);
    assert!(begun < 1 << 53, "readers of JSON have so many");
}

/// What happens to the feed or its reader.
#[derive(Debug, Clone)]
enum Move {
    /// So many tasks are submitted and completed.
    Tasks(u8),
    /// A task's run says something.
    Says(u8),
    Reads(u8),
    /// The connection breaks: what was read last is not seen.
    Breaks,
    Restarts,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (1..12_u8).prop_map(Move::Tasks),
        2 => (0..4_u8).prop_map(Move::Says),
        5 => (1..20_u8).prop_map(Move::Reads),
        1 => Just(Move::Breaks),
        1 => Just(Move::Restarts),
    ];
    prop::collection::vec(one, 1..80)
}

proptest! {
    /// E4: between two resets a reader sees all that was kept when he came by, once, in order.
    #[test]
    fn a_reader_in_pieces_sees_each_event_once_or_is_told(moves in moves()) {
        const KEPT: usize = 24;
        let (mut feed, mut wall, mut tasks) = (feed(KEPT), START, 0_u64);
        // All that was ever told, and by which it was replaced.
        let mut told: BTreeMap<u64, Option<u64>> = BTreeMap::new();
        let mut runs: BTreeMap<u8, u64> = BTreeMap::new();
        let (mut seen, mut before) = (None::<u64>, None);
        for one in moves {
            match one {
                Move::Tasks(count) => for _ in 0..count {
                    tasks += 1;
                    let task = record(1_000 + tasks, &[]);
                    for kind in [EventKind::Submitted, EventKind::Completed] {
                        feed.tell(&task, &event(0, kind), BatchId(1));
                        told.insert(feed.last(), None);
                    }
                },
                Move::Says(run) => {
                    let task = record(u64::from(run), &[]);
                    feed.tell(&task, &event(0, EventKind::Progress), BatchId(1));
                    told.insert(feed.last(), None);
                    if let Some(old) = runs.insert(run, feed.last()) {
                        told.insert(old, Some(feed.last()));
                    }
                }
                Move::Reads(limit) => {
                    let page = feed.page(&behind(seen, limit.into()), WRITTEN);
                    let numbers = numbers(&page);
                    prop_assert!(numbers.is_sorted_by(|a, b| a < b));
                    let missed = match seen {
                        Some(after) if !page.reset => told.range(after + 1..),
                        _ => told.range(page.first..),
                    };
                    let current = missed.filter(|(_, by)| by.is_none()).map(|(number, _)| *number);
                    let due: Vec<u64> = current.take(limit.into()).collect();
                    prop_assert_eq!(&numbers, &due);
                    prop_assert!(page.next <= page.last);
                    before = seen.replace(page.next);
                }
                Move::Breaks => seen = before,
                Move::Restarts => {
                    wall = wall + 1;
                    feed = Feed::new(KEPT, usize::MAX);
                    feed.begin(wall);
                    told.clear();
                    runs.clear();
                }
            }
            feed.check_places(|_| true).expect("within its bounds");
        }
    }
}
