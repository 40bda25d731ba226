//! Waking other agents, and being woken.

use std::pin::pin;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::named::peer_named;
use crate::api::body::{WakeBody, WakeParams, WakeRequestBody};
use crate::api::extract::{JsonBody, Params, PathId};
use crate::api::openapi::NoSuchPeer;
use crate::api::problem::{PROBLEM_JSON, Problem, Refused};
use crate::api::waits::News;
use crate::proto::node::{Command, CommandResult, Reply, WakeView};
use crate::types::WakeId;
use crate::wire::{WakeRequest, WakeStatus};

/// Wake a peer's agent
///
/// Answered at once; follow the phases with `GET /v1/wake/{id}`.
#[utoipa::path(post, path = "/v1/wake", tag = "wake", request_body = WakeBody,
    responses(
        (status = 202, description = "It is on its way", body = WakeView),
        NoSuchPeer,
        (status = 413, description = "The reason is over its limit (`too_large`), or the whole \
            body (`body_too_large`)", body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn wake(
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<WakeBody>,
) -> Result<(StatusCode, Json<WakeView>), Refused> {
    let peer = peer_named("peer", &body.peer)?;
    let reply = state
        .call(Command::Wake {
            peer,
            reason: body.reason,
            priority: body.priority,
            request: match body.request {
                WakeRequestBody::Resume => WakeRequest::Resume,
                WakeRequestBody::Restart => WakeRequest::Restart,
            },
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(wake_of(reply)?)))
}

/// The wake-ups that others sent us, newest first
#[utoipa::path(get, path = "/v1/wake", tag = "wake",
    responses((status = 200, description = "The wake-ups", body = [WakeView])))]
pub(super) async fn received(
    State(state): State<ApiState>,
) -> Result<Json<Vec<WakeView>>, Refused> {
    match state.call(Command::WakesReceived).await? {
        Reply::Wakes(wakes) => Ok(Json(wakes)),
        _ => Err(Refused::unexpected_reply("wakes received")),
    }
}

/// A wake-up that we sent, now or at its next phase
#[utoipa::path(get, path = "/v1/wake/{id}", tag = "wake",
    params(("id" = Uuid, Path, description = "The wake-up's id"), WakeParams),
    responses(
        (status = 200, description = "The wake-up", body = WakeView),
        (status = 404, description = "No such wake-up (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn phase(
    State(state): State<ApiState>,
    PathId(id): PathId<WakeId>,
    Params(params): Params<WakeParams>,
) -> Result<Json<WakeView>, Refused> {
    let seen = Seen::parse(params.seen.as_deref())?;
    let result = next_phase(&state, id, seen, params.wait_ms).await;
    wake_of(result?).map(Json)
}

/// Say that our agent resumed after one wake-up
#[utoipa::path(post, path = "/v1/wake/{id}/resumed", tag = "wake",
    params(("id" = Uuid, Path, description = "The id of a wake-up that we received")),
    responses(
        (status = 204, description = "Its sender is told"),
        (status = 404, description = "No such wake-up (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn resumed(
    State(state): State<ApiState>,
    PathId(id): PathId<WakeId>,
) -> Result<StatusCode, Refused> {
    say_resumed(&state, Some(id)).await
}

/// Say that our agent resumed after the newest wake-up
#[utoipa::path(post, path = "/v1/wake/resumed", tag = "wake",
    responses(
        (status = 204, description = "Its sender is told"),
        (status = 404, description = "Nobody woke us (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn resumed_newest(State(state): State<ApiState>) -> Result<StatusCode, Refused> {
    say_resumed(&state, None).await
}

async fn say_resumed(state: &ApiState, id: Option<WakeId>) -> Result<StatusCode, Refused> {
    match state.call(Command::Resumed { id }).await? {
        Reply::Done | Reply::Wake(_) => Ok(StatusCode::NO_CONTENT),
        _ => Err(Refused::unexpected_reply("resumed")),
    }
}

fn wake_of(reply: Reply) -> Result<WakeView, Refused> {
    match reply {
        Reply::Wake(view) => Ok(view),
        _ => Err(Refused::unexpected_reply("wake")),
    }
}

/// The phase that the caller knows already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// `sending`, the first.
    Sending,
    /// Another follows it.
    Passing(WakeStatus),
    /// The last: there is nothing to wait for.
    Last,
}

impl Seen {
    fn parse(text: Option<&str>) -> Result<Seen, Refused> {
        Ok(match text.unwrap_or("sending") {
            "sending" => Seen::Sending,
            "delivered" => Seen::Passing(WakeStatus::Delivered),
            "hook_started" => Seen::Passing(WakeStatus::HookStarted),
            "resumed" | "already_awake" | "rate_limited" | "not_allowed" | "failed"
            | "undelivered" => Seen::Last,
            other => {
                let why = format!("{other:?} is no phase: use the one a wake-up came with");
                return Err(Refused::invalid("seen", why));
            }
        })
    }
}

/// The node answers for a wake-up only when its phase is another than the one named. So to learn
/// the phase as it is, a second question names one that it is not.
async fn next_phase(
    state: &ApiState,
    id: WakeId,
    seen: Seen,
    wait_ms: Option<u64>,
) -> CommandResult {
    let seen = match seen {
        Seen::Sending => None,
        Seen::Passing(status) => Some(status),
        Seen::Last => {
            return state
                .handle
                .call(Command::AwaitWake { id, seen: None })
                .await;
        }
    };
    let mut news = pin!(state.waits.answer(News::Wake(id, seen)));
    if let Some(result) = state.wait(wait_ms, news.as_mut()).await {
        return result;
    }
    // The phase only moves on. Should it become the other one right now, `news` has the answer.
    let other = if seen.is_none() {
        Some(WakeStatus::AlreadyAwake)
    } else {
        None
    };
    tokio::select! {
        biased;
        result = news => result,
        result = state.waits.answer(News::Wake(id, other)) => result,
    }
}
