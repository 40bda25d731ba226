//! What happens to a task, told as it happens.
//!
//! One route, two forms: a JSON document that may be waited for, and a stream of server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>). A reader of either goes on
//! after a break by the number it saw last. At most [`STREAMS_MAX`] streams are open.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;

use super::ApiState;
use super::named::PathTask;
use crate::api::body::EventParams;
use crate::api::extract::Params;
use crate::api::problem::{PROBLEM_JSON, Problem, Refused};
use crate::api::waits::News;
use crate::api::{EVENT_STREAM, LAST_EVENT_HEADER};
use crate::proto::node::{
    Command, CommandError, CommandErrorCode, CommandResult, Reply, TaskEventsView,
};
use crate::types::TaskId;

pub(super) const STREAMS_MAX: usize = 256;
/// A comment after so much silence keeps a stream open.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What happened to a task
///
/// With `Accept: text/event-stream` a stream of server-sent events that ends after the task's end:
/// `id` is the event's number, `event` its kind, `data` the event as JSON. A number that is not
/// known any more, of before the node's restart for instance, gives `reset` first, whose `data` is
/// the task as it is; what is kept follows. A stream taken up again after the last event is 204.
#[utoipa::path(get, path = "/v1/tasks/{id}/events", tag = "tasks",
    params(
        ("id" = String, Path, description = "The task's id, or a part of it that no other has"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same as `after`; goes first"),
        EventParams,
    ),
    responses(
        (status = 200, description = "The events", content(
            (TaskEventsView = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "A stream that has ended"),
        (status = 404, description = "No such task (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn events(
    State(state): State<ApiState>,
    PathTask(id): PathTask,
    Params(params): Params<EventParams>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let after = last_event(&headers)?.or(params.after);
    if !wants_stream(&headers) {
        if params.wait_ms.is_some_and(|wait_ms| wait_ms > 0) {
            let news = state.waits.answer(News::Events(id, after));
            if let Some(told) = state.wait(params.wait_ms, news).await {
                return Ok(Json(view_of(told.map_err(Refused::from)?)?).into_response());
            }
        }
        let told = state.call(Command::TaskEvents { id, after }).await?;
        return Ok(Json(view_of(told)?).into_response());
    }
    let slot = slot_for_stream(&state)?;
    let first = view_of(state.call(Command::TaskEvents { id, after }).await?)?;
    if first.over && first.events.is_empty() && !first.reset {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let follower = Follower {
        state,
        id,
        first: Some(first),
        after,
        over: false,
        _slot: slot,
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(follower.into_stream())
        .keep_alive(keep_alive)
        .into_response())
}

/// Room for one stream more.
pub(super) fn slot_for_stream(state: &ApiState) -> Result<OwnedSemaphorePermit, Refused> {
    let slot = Arc::clone(&state.streams).try_acquire_owned();
    slot.map_err(|_| {
        let message = format!("{STREAMS_MAX} streams are open already: try again later");
        Refused::from(CommandError::new(CommandErrorCode::Busy, message))
    })
}

pub(super) fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT);
    accept
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| text.to_ascii_lowercase().contains(EVENT_STREAM))
}

pub(super) fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Refused> {
    let Some(value) = headers.get(LAST_EVENT_HEADER) else {
        return Ok(None);
    };
    let number = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    number
        .map(Some)
        .ok_or_else(|| Refused::invalid("Last-Event-ID", "it is an event's number"))
}

fn view_of(reply: Reply) -> Result<TaskEventsView, Refused> {
    match reply {
        Reply::TaskEvents(view) => Ok(*view),
        _ => Err(Refused::unexpected_reply("task events")),
    }
}

/// One reader of one task's events.
struct Follower {
    state: ApiState,
    id: TaskId,
    first: Option<TaskEventsView>,
    after: Option<u64>,
    over: bool,
    _slot: OwnedSemaphorePermit,
}

impl Follower {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        let parts = stream::unfold(self, |mut follower| async move {
            let part = follower.next().await?;
            Some((stream::iter(part), follower))
        });
        parts.flatten().map(Ok)
    }

    /// What happened since the last part; none once the task or the node has ended.
    async fn next(&mut self) -> Option<Vec<Event>> {
        if self.over {
            return None;
        }
        let view = match self.first.take() {
            Some(first) => first,
            None => match self.news().await? {
                Ok(Reply::TaskEvents(view)) => *view,
                // The reader comes back with its number, and is told why if that does not help.
                _ => return None,
            },
        };
        self.after = Some(view.last);
        self.over = view.over;
        Some(parts(&view))
    }

    async fn news(&self) -> Option<CommandResult> {
        tokio::select! {
            biased;
            told = self.state.waits.answer(News::Events(self.id, self.after)) => Some(told),
            () = self.state.stop.cancelled() => None,
        }
    }
}

/// A document's events, each as the stream has it.
fn parts(view: &TaskEventsView) -> Vec<Event> {
    let reset = view.reset.then(|| {
        let before = view.events.first().map_or(view.last, |e| e.number - 1);
        part(before, "reset", &view.task)
    });
    let events = view.events.iter();
    reset
        .into_iter()
        .chain(events.map(|event| part(event.number, &event.kind, event)))
        .collect()
}

pub(super) fn part(number: u64, kind: &str, data: &impl serde::Serialize) -> Event {
    // A view of strings and numbers always has a JSON form, and that has no line end.
    let data = serde_json::to_string(data).unwrap_or_default();
    Event::default()
        .id(number.to_string())
        .event(kind)
        .data(data)
}
