//! Emptying a node before it is stopped.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::ApiState;
use crate::api::body::DEADLINE_MAX_MS;
use crate::api::extract::JsonBody;
use crate::api::problem::Refused;
use crate::proto::node::{Command, DrainView, Reply};

const TIMEOUT_DEFAULT_MS: u64 = 600_000;

/// Whether to take tasks of others.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"timeout_ms": 60_000}))]
pub(super) struct DrainBody {
    /// `false`: take them again.
    #[serde(default = "yes")]
    #[schema(default = true)]
    on: bool,
    /// After so long what still runs is ended and given back: 0 to 604800000 (7 days), 10 minutes
    /// by default.
    #[schema(maximum = 604_800_000, default = 600_000)]
    timeout_ms: Option<u64>,
}

fn yes() -> bool {
    true
}

/// Take no more work
///
/// New tasks go elsewhere, those that run may end. Ask again until `running` is 0; then the node
/// may be stopped, and no task runs twice for it. A restart ends the draining.
#[utoipa::path(post, path = "/v1/drain", tag = "node", request_body = DrainBody,
    responses((status = 200, description = "How far it is", body = DrainView)))]
pub(super) async fn drain(
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<DrainBody>,
) -> Result<Json<DrainView>, Refused> {
    let timeout_ms = body.timeout_ms.unwrap_or(TIMEOUT_DEFAULT_MS);
    if timeout_ms > DEADLINE_MAX_MS {
        let why = format!("{timeout_ms} is over {DEADLINE_MAX_MS}");
        return Err(Refused::invalid("timeout_ms", why));
    }
    if !body.on && body.timeout_ms.is_some() {
        return Err(Refused::invalid(
            "timeout_ms",
            "it goes with on = true only",
        ));
    }
    let command = match body.on {
        true => Command::Drain { timeout_ms },
        false => Command::Undrain,
    };
    asked(&state, command).await
}

/// Whether a node takes work, and what it still holds
#[utoipa::path(get, path = "/v1/drain", tag = "node",
    responses((status = 200, description = "How far it is", body = DrainView)))]
pub(super) async fn drained(State(state): State<ApiState>) -> Result<Json<DrainView>, Refused> {
    asked(&state, Command::Drained).await
}

async fn asked(state: &ApiState, command: Command) -> Result<Json<DrainView>, Refused> {
    match state.call(command).await? {
        Reply::Drain(view) => Ok(Json(view)),
        _ => Err(Refused::unexpected_reply("drain")),
    }
}
