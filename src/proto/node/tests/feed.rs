//! Watching all tasks of a node.

use super::*;

fn filter(after: Option<u64>) -> EventFilter {
    EventFilter {
        after,
        limit: 3,
        ..EventFilter::default()
    }
}

fn events(reply: CommandResult) -> EventsView {
    match reply {
        Ok(Reply::Events(view)) => *view,
        other => panic!("no events: {other:?}"),
    }
}

#[test]
fn who_watches_all_tasks_is_told_each_event_of_each() {
    let mut wires = pair();
    let (mut after, mut told) = (None, Vec::new());
    for n in 1..=3 {
        wires.granted(0, submit(n));
    }
    while { told.iter() }
        .filter(|event: &&EventView| event.kind == "completed")
        .count()
        < 3
    {
        let page = events(wires.ask(0, Command::Events(filter(after))));
        assert!(!page.reset);
        if page.events.is_empty() {
            let news = Command::AwaitEvents { after: page.last };
            assert_eq!(wires.ask(0, news), Ok(Reply::Done));
        }
        after = Some(page.next);
        told.extend(page.events);
    }
    assert!(
        told.is_sorted_by(|a, b| a.number + 1 == b.number),
        "{told:?}"
    );
    for n in 1..=3 {
        let id = task(n);
        let of_it = told.iter().filter(|event| event.id == id.to_string());
        let of_it: Vec<_> = of_it
            .map(|event| (event.task_number, event.kind.clone()))
            .collect();
        let Ok(Reply::TaskEvents(own)) = wires.ask(0, Command::TaskEvents { id, after: None })
        else {
            panic!("events")
        };
        let own: Vec<_> = { own.events.into_iter() }
            .map(|event| (event.number, event.kind))
            .collect();
        assert_eq!(of_it, own);
    }
    assert_eq!(
        (told[0].topic.as_str(), told[0].capability.as_str()),
        ("task", "wc")
    );
}

#[test]
fn an_event_of_all_tasks_is_told_only_once_the_disk_has_its_row() {
    let mut wires = pair();
    wires.hosts[0].disk_waits = true;
    wires.command(0, submit(1));
    let told = wires.command(0, Command::Events(filter(None)));
    wires.run(5 * SECOND_MS);
    assert!(wires.reply(0, told).is_none(), "nobody may know of it yet");
    let nothing = EventFilter {
        kinds: [EventKind::Failed].into(),
        ..filter(None)
    };
    let page = events(wires.ask(0, Command::Events(nothing)));
    assert!(page.events.is_empty());
    wires.flush(0);
    let page = events(wires.reply(0, told).expect("answered"));
    assert_eq!(page.events[0].kind, "submitted");
}

#[test]
fn a_worker_that_accepts_is_told_of_at_once_though_nothing_is_written() {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    let working = EventFilter {
        kinds: [EventKind::Working].into(),
        ..filter(None)
    };
    let told = wires.command(0, Command::Events(working));
    let page = events(wires.reply(0, told).expect("nothing is to be waited for"));
    assert_eq!(page.events.len(), 1);
    assert_eq!(page.next, page.last);
}

#[test]
fn who_asks_with_a_number_of_before_a_restart_is_told_so() {
    let mut wires = pair();
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    let before = events(wires.ask(0, Command::Events(filter(None))));
    assert!(!before.events.is_empty());
    wires.stop(0);
    wires.start(0);
    assert_eq!(
        wires.ask(0, Command::AwaitEvents { after: before.last }),
        Ok(Reply::Done)
    );
    let page = events(wires.ask(0, Command::Events(filter(Some(before.last)))));
    assert!(page.reset);
    assert!(page.next > before.last);
    let page = events(wires.ask(0, Command::Events(filter(Some(page.next)))));
    assert!(!page.reset);
}
