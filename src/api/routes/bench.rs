//! Measuring the way to a peer.

use std::time::Duration;

use axum::Json;
use axum::extract::State;

use super::ApiState;
use super::named::peer_named;
use crate::api::body::BenchBody;
use crate::api::extract::JsonBody;
use crate::api::openapi::NoSuchPeer;
use crate::api::problem::{PROBLEM_JSON, Problem, Refusal, Refused};
use crate::proto::node::CommandErrorCode;
use crate::runtime::bench::{self, BenchError, Measured, SPAN_MAX, Taker};
use crate::runtime::channel::ChannelError;

/// Measure the way to a peer
///
/// Sends it messages of 256 bytes on the channel for a while. They are pings, which its node sends
/// back by itself: its agent hears nothing of them.
#[utoipa::path(post, path = "/v1/bench", tag = "node", request_body = BenchBody,
    responses(
        (status = 200, description = "What was measured", body = Measured),
        NoSuchPeer,
        (status = 504, description = "No answer (`unreachable`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn bench(
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<BenchBody>,
) -> Result<Json<Measured>, Refused> {
    let peer = peer_named("peer", &body.peer)?;
    let span = Duration::from_millis(body.span_ms);
    if span.is_zero() || span > SPAN_MAX {
        let why = format!(
            "{} is not within 1 and {}",
            body.span_ms,
            SPAN_MAX.as_millis()
        );
        return Err(Refused::invalid("span_ms", why));
    }
    let measuring = bench::measure(&state.handle, peer, body.traffic, Taker::Node, span);
    let measured = tokio::select! {
        measured = measuring => measured.map_err(refused)?,
        () = state.stop.cancelled() => {
            return Err(Refusal::Command(CommandErrorCode::Stopping).because("the node is stopping"));
        }
    };
    Ok(Json(measured))
}

fn refused(error: BenchError) -> Refused {
    match error {
        BenchError::Reach(error) => error.into(),
        BenchError::Channel(ChannelError::TimedOut | ChannelError::Closed) => {
            Refusal::Command(CommandErrorCode::Unreachable).because(error.to_string())
        }
        BenchError::Channel(ChannelError::Refused(_) | ChannelError::TooLarge)
        | BenchError::File(_)
        | BenchError::Task(_) => {
            Refusal::Command(CommandErrorCode::Conflict).because(error.to_string())
        }
    }
}
