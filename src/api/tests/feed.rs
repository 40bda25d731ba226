//! The events of all tasks, as a document and as a stream.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::body::FeedParams;
use super::*;
use crate::proto::node::{EventFilter, EventKind, EventView, EventsView};

/// What was told before number 10 is not known any more.
const FIRST: u64 = 10;

/// The events up to `last` that `filter` asks for; every second is of capability `odd`.
pub(super) fn fed(filter: &EventFilter, last: u64) -> CommandResult {
    let known = |after: u64| after + 1 >= FIRST && after <= last;
    let from = filter.after.filter(|after| known(*after));
    let event = |number: u64| EventView {
        number,
        topic: "task".into(),
        id: Uuid::nil().to_string(),
        capability: ["even", "odd"][number as usize % 2].into(),
        part_of: None,
        task_number: 3,
        kind: "completed".into(),
        at: "2030-01-01T00:00:00Z".into(),
        worker: None,
        token: None,
        note: None,
        times: None,
        percent: None,
        offset: None,
        length: None,
    };
    let all = (from.map_or(FIRST, |after| after + 1)..=last).map(event);
    let capability = filter.capability.as_ref();
    let wanted = all.filter(|event| capability.is_none_or(|cap| cap.as_str() == event.capability));
    let events: Vec<EventView> = wanted.take(filter.limit).collect();
    let full = events.last().filter(|_| events.len() >= filter.limit);
    Ok(Reply::Events(Box::new(EventsView {
        reset: filter.after.is_some_and(|after| !known(after)),
        first: FIRST,
        next: full.map_or(last, |event| event.number),
        events,
        last,
    })))
}

/// A node with the events 10 to 12, and one more each time somebody waits.
fn growing() -> Handle {
    let last = Arc::new(AtomicU64::new(12));
    Handle::stub(move |command| match command {
        Command::Events(filter) => fed(&filter, last.load(Ordering::SeqCst)),
        Command::AwaitEvents { after } => {
            let _ = last.compare_exchange(after, after + 1, Ordering::SeqCst, Ordering::SeqCst);
            Ok(Reply::Done)
        }
        other => answer(other),
    })
}

/// A node with the events 10 to 12, to which nothing happens any more.
fn quiet() -> Handle {
    Handle::stub_async(|command| async {
        match command {
            Command::Events(filter) => fed(&filter, 12),
            Command::AwaitEvents { .. } => std::future::pending().await,
            other => answer(other),
        }
    })
}

/// The first lines of a stream, up to the event with `until`.
async fn stream(served: &Served, query: &str, last: Option<&str>, until: u64) -> Vec<String> {
    let request = served
        .request(Method::GET, &format!("/v1/events{query}"))
        .header("accept", "text/event-stream");
    let request = match last {
        Some(last) => request.header("last-event-id", last),
        None => request,
    };
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut text = String::new();
    while !text.contains(&format!("id: {until}\n")) {
        let chunk = tokio::time::timeout(SOON, response.chunk()).await.unwrap();
        text += std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap();
    }
    text.lines().map(str::to_owned).collect()
}

fn fields<'a>(lines: &'a [String], field: &str) -> Vec<&'a str> {
    let values = lines.iter().filter_map(|line| line.strip_prefix(field));
    values.map(str::trim).collect()
}

#[tokio::test]
async fn one_stream_tells_of_all_tasks_and_goes_on() {
    let served = Served::start(growing());
    let lines = stream(&served, "", None, 14).await;
    assert_eq!(fields(&lines, "id:")[..5], ["10", "11", "12", "13", "14"]);
    assert_eq!(fields(&lines, "event:")[0], "completed");
    let first: EventView = serde_json::from_str(fields(&lines, "data:")[0]).unwrap();
    assert_eq!((first.number, first.topic.as_str()), (10, "task"));
    let lines = stream(&served, "?after=3", Some("11"), 13).await;
    assert_eq!(fields(&lines, "id:")[..2], ["12", "13"]);
    served.stop().await;
}

#[tokio::test]
async fn a_number_that_is_cut_off_gives_a_reset_and_what_is_kept() {
    let served = Served::start(growing());
    let lines = stream(&served, "", Some("4"), 11).await;
    assert_eq!(fields(&lines, "event:")[..2], ["reset", "completed"]);
    assert_eq!(fields(&lines, "id:")[..3], ["9", "10", "11"]);
    let reset: Value = serde_json::from_str(fields(&lines, "data:")[0]).unwrap();
    assert_eq!((&reset["first"], &reset["last"]), (&10.into(), &12.into()));
    served.stop().await;
}

#[tokio::test]
async fn a_document_has_a_page_and_may_be_waited_for() {
    let served = Served::start(growing());
    let (status, page) = served.get("/v1/events?limit=2").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(page["events"].as_array().unwrap().len(), 2);
    assert_eq!((&page["next"], &page["last"]), (&11.into(), &12.into()));
    let (_, now) = served.get("/v1/events?after=12").await;
    assert_eq!(now["events"].as_array().unwrap().len(), 0);
    let params = FeedParams {
        after: Some(12),
        capability: Some("even".into()),
        kind: Some("completed,failed".into()),
        wait_ms: Some(10_000),
        ..FeedParams::default()
    };
    let news = served.client().events(&params).await.unwrap();
    let numbers: Vec<u64> = news.events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, [14], "13 is of another capability");
    served.stop().await;
}

#[tokio::test]
async fn a_wait_that_ends_without_news_says_how_far_it_is() {
    let served = Served::start(quiet());
    let path = "/v1/events?after=11&capability=odd&wait_ms=50";
    let (_, none) = served.get(path).await;
    assert_eq!(none["events"].as_array().unwrap().len(), 0);
    assert_eq!(none["next"], 12);
    let open = served
        .request(Method::GET, "/v1/events")
        .header("accept", "text/event-stream");
    let mut open = open.send().await.unwrap();
    assert!(open.chunk().await.unwrap().is_some());
    // An open stream does not hold up the end of the node.
    served.stop().await;
}

#[tokio::test]
async fn the_filters_are_handed_on_and_what_is_none_is_refused() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let all =
        "topic=task&kind=completed,lost&capability=wc&label=run=7&parts=true&after=11&limit=5";
    served.get(&format!("/v1/events?{all}")).await;
    let wanted = EventFilter {
        after: Some(11),
        capability: Some("wc".parse().unwrap()),
        label: Some("run=7".parse().unwrap()),
        kinds: [EventKind::Completed, EventKind::Lost].into(),
        parts: true,
        limit: 5,
    };
    assert_eq!(asked.last(), Command::Events(wanted));
    for wrong in [
        "topic=peer",
        "kind=done",
        "kind=",
        "capability=a%20b",
        "label=a%20b",
        "limit=0",
        "limit=1001",
        "after=first",
        "unknown=1",
    ] {
        let (_, refused) = served.get(&format!("/v1/events?{wrong}")).await;
        assert_eq!(refused["code"], "invalid", "{wrong}");
    }
    served.stop().await;
}

#[tokio::test]
async fn streams_of_all_tasks_count_with_those_of_one() {
    let served = Served::start(quiet());
    let mut open = Vec::new();
    for n in 0..=256 {
        let request = served
            .request(Method::GET, "/v1/events")
            .header("accept", "text/event-stream");
        if n == 256 {
            assert_eq!(problem(request).await.code, "busy");
        } else {
            open.push(request.send().await.unwrap());
        }
    }
    drop(open);
    served.stop().await;
}
