//! What our agent says to others.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use data_encoding::BASE64;

use super::ApiState;
use super::inbox::payload;
use super::named::peer_named;
use crate::api::body::{ReportBody, SpokenBody, TALK_TIMEOUT_MAX_MS, TalkBody};
use crate::api::extract::JsonBody;
use crate::api::openapi::NoSuchPeer;
use crate::api::problem::{PROBLEM_JSON, Problem, Refused};
use crate::runtime::ReportOptions;

/// Talk to a peer's agent
///
/// Answered with its reply. Up to 256 KiB either way.
#[utoipa::path(post, path = "/v1/talk", tag = "messages", request_body = TalkBody,
    responses(
        (status = 200, description = "The reply", body = SpokenBody),
        NoSuchPeer,
        (status = 413, description = "The message is over its limit (`too_large`), or the whole \
            body (`body_too_large`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 502, description = "The peer or its agent refused (`peer_refused`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 504, description = "No reply in time (`unreachable`, `timeout`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn talk(
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<TalkBody>,
) -> Result<Json<SpokenBody>, Refused> {
    let within = within(body.timeout_ms)?;
    let peer = peer_named("peer", &body.peer)?;
    let said = payload(body.text, body.data)?;
    let reply = state
        .handle
        .talk_to_peer(peer, said, body.priority, within)
        .await?;
    Ok(Json(SpokenBody {
        data: BASE64.encode(&reply),
        text: String::from_utf8(reply.to_vec()).ok(),
    }))
}

/// Tell a peer's agent something
///
/// Answered when it was received: by the agent or in its inbox, and with `durable` on its disk.
/// With `confirm` false, once it is queued here.
#[utoipa::path(post, path = "/v1/report", tag = "messages", request_body = ReportBody,
    responses(
        (status = 204, description = "It was received, or queued"),
        NoSuchPeer,
        (status = 413, description = "The message is over its limit (`too_large`), or the whole \
            body (`body_too_large`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 502, description = "The peer or its agent refused (`peer_refused`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 504, description = "No word in time (`unreachable`, `timeout`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn report(
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<ReportBody>,
) -> Result<StatusCode, Refused> {
    let options = ReportOptions {
        priority: body.priority,
        durable: body.durable,
        confirm: body.confirm,
        within: within(body.timeout_ms)?,
    };
    let peer = peer_named("peer", &body.peer)?;
    let said = payload(body.text, body.data)?;
    state.handle.report_to_peer(peer, said, options).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn within(timeout_ms: u64) -> Result<Duration, Refused> {
    if (1..=TALK_TIMEOUT_MAX_MS).contains(&timeout_ms) {
        return Ok(Duration::from_millis(timeout_ms));
    }
    let why = format!("{timeout_ms} is not within 1 and {TALK_TIMEOUT_MAX_MS}");
    Err(Refused::invalid("timeout_ms", why))
}
