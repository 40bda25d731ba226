//! What happens to all tasks, told as it happens: one stream in place of one for each task.
//!
//! The two forms of `events`. A node keeps nothing for a reader: who is slower than what happens
//! loses the oldest events, and is told so. A reader is told what happened in pages, with a pause of
//! [`PAUSE`] between two that are not full, so that a busy node is asked a few times a second and
//! not for each event.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use super::ApiState;
use super::events::{KEEP_ALIVE, last_event, part, slot_for_stream, wants_stream};
use crate::api::body::FeedParams;
use crate::api::extract::Params;
use crate::api::problem::Refused;
use crate::api::waits::News;
use crate::proto::node::{Command, EventFilter, EventKind, EventsView, Reply, TOPIC_TASK};
use crate::types::limits::FEED_PAGE_MAX;

/// What a stream holds of one reader.
const STREAM_PAGE: usize = 256;
const PAUSE: Duration = Duration::from_millis(20);

/// The data of `reset` in a stream.
#[derive(Debug, Serialize, ToSchema)]
struct Reset {
    first: u64,
    last: u64,
}

/// What happened to all tasks of this node
///
/// With `Accept: text/event-stream` a stream of server-sent events without an end: `id` is the
/// event's number, `event` its kind, `data` the event as JSON. A number that is not known any more,
/// of before the node's restart or cut off, gives `reset` first, whose `data` has the numbers of the
/// oldest event that is kept (`first`) and of the newest (`last`); what is kept follows, and
/// `GET /v1/tasks` says what became of the rest. Where a filter leaves much out, an `id` without an
/// event tells from time to time how far the stream is.
#[utoipa::path(get, path = "/v1/events", tag = "tasks",
    params(
        ("Last-Event-ID" = Option<u64>, Header, description = "The same as `after`; goes first"),
        FeedParams,
    ),
    responses(
        (status = 200, description = "The events", content(
            (EventsView = "application/json"), (String = "text/event-stream"))),
    ))]
pub(super) async fn feed(
    State(state): State<ApiState>,
    Params(params): Params<FeedParams>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let mut filter = filter_of(&params)?;
    filter.after = last_event(&headers)?.or(params.after);
    if !wants_stream(&headers) {
        if params.wait_ms.is_some_and(|wait_ms| wait_ms > 0) {
            let news = news(&state, &mut filter);
            if let Some(view) = state.wait(params.wait_ms, news).await {
                return Ok(Json(view?).into_response());
            }
        }
        return Ok(Json(ask(&state, &filter).await?).into_response());
    }
    let slot = slot_for_stream(&state)?;
    filter.limit = STREAM_PAGE;
    let first = ask(&state, &filter).await?;
    let follower = Follower {
        state,
        filter,
        first: Some(first),
        full: false,
        told: Instant::now(),
        _slot: slot,
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(follower.into_stream())
        .keep_alive(keep_alive)
        .into_response())
}

fn filter_of(params: &FeedParams) -> Result<EventFilter, Refused> {
    if let Some(topic) = params.topic.as_deref().filter(|topic| *topic != TOPIC_TASK) {
        let why = format!("nothing is told of {topic:?}: {TOPIC_TASK} is what there is");
        return Err(Refused::invalid("topic", why));
    }
    let kind = |name: &str| {
        EventKind::named(name).ok_or_else(|| {
            let all = EventKind::ALL.map(EventKind::as_str).join(", ");
            Refused::invalid("kind", format!("{name:?} is none of {all}"))
        })
    };
    let kinds = params.kind.iter().flat_map(|kinds| kinds.split(','));
    let kinds: BTreeSet<EventKind> = kinds.map(kind).collect::<Result<_, _>>()?;
    let limit = params.limit.unwrap_or(FEED_PAGE_MAX);
    if !(1..=FEED_PAGE_MAX).contains(&limit) {
        let why = format!("{limit} is not within 1 and {FEED_PAGE_MAX}");
        return Err(Refused::invalid("limit", why));
    }
    let capability = params.capability.as_deref().map(str::parse).transpose();
    let label = params.label.as_deref().map(str::parse).transpose();
    Ok(EventFilter {
        after: None,
        capability: capability.map_err(|error| Refused::invalid("capability", error))?,
        label: label.map_err(|error| Refused::invalid("label", error))?,
        kinds,
        parts: params.parts.unwrap_or(false),
        limit,
    })
}

async fn ask(state: &ApiState, filter: &EventFilter) -> Result<EventsView, Refused> {
    match state.call(Command::Events(filter.clone())).await? {
        Reply::Events(view) => Ok(*view),
        _ => Err(Refused::unexpected_reply("events")),
    }
}

/// The next events that are wanted, however long that takes.
async fn news(state: &ApiState, filter: &mut EventFilter) -> Result<EventsView, Refused> {
    loop {
        let view = ask(state, filter).await?;
        if view.reset || !view.events.is_empty() {
            return Ok(view);
        }
        filter.after = Some(view.next);
        state.waits.answer(News::Feed(view.last)).await?;
        tokio::time::sleep(PAUSE).await;
    }
}

/// One reader.
struct Follower {
    state: ApiState,
    filter: EventFilter,
    first: Option<EventsView>,
    /// There may be more behind the last page.
    full: bool,
    /// When the reader last heard a number.
    told: Instant,
    _slot: OwnedSemaphorePermit,
}

impl Follower {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        let parts = stream::unfold(self, |mut follower| async move {
            let stop = follower.state.stop.clone();
            let part = tokio::select! {
                biased;
                part = follower.next() => part?,
                () = stop.cancelled() => return None,
            };
            Some((stream::iter(part), follower))
        });
        parts.flatten().map(Ok)
    }

    /// What happened since the last part; none once the node has ended.
    async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            let view = match self.first.take() {
                Some(first) => first,
                None => self.page().await?,
            };
            let before = self.filter.after.replace(view.next);
            self.full = view.events.len() >= STREAM_PAGE;
            let mut parts = parts(&view);
            let silent = self.told.elapsed() >= KEEP_ALIVE && before != Some(view.next);
            if parts.is_empty() && silent {
                // Where it is in what the filter leaves out, so that a break loses nothing.
                parts.push(Event::default().id(view.next.to_string()));
            }
            if !parts.is_empty() {
                self.told = Instant::now();
                return Some(parts);
            }
        }
    }

    /// The next page, once there is news. The reader of one that fails comes back with his number,
    /// and is told why if that does not help.
    async fn page(&mut self) -> Option<EventsView> {
        if !self.full {
            tokio::time::sleep(PAUSE).await;
            let after = self.filter.after.unwrap_or(0);
            self.state.waits.answer(News::Feed(after)).await.ok()?;
        }
        ask(&self.state, &self.filter).await.ok()
    }
}

/// A document's events, each as the stream has it.
fn parts(view: &EventsView) -> Vec<Event> {
    let reset = view.reset.then(|| {
        let reset = Reset {
            first: view.first,
            last: view.last,
        };
        part(view.first.saturating_sub(1), "reset", &reset)
    });
    let events = view.events.iter();
    reset
        .into_iter()
        .chain(events.map(|event| part(event.number, &event.kind, event)))
        .collect()
}
