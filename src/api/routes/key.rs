//! The node's key, and whose key is whose.

use axum::Json;
use axum::extract::State;
use zeroize::Zeroizing;

use super::ApiState;
use super::named::peer_named;
use crate::api::body::{FingerprintParams, RotateBody};
use crate::api::extract::{JsonBody, Params};
use crate::api::openapi::NoSuchPeer;
use crate::api::problem::{PROBLEM_JSON, Problem, Refusal, Refused};
use crate::proto::node::{Command, CommandErrorCode, FingerprintView, Reply};

/// Put the next key into use
///
/// The entity and the peer id stay. The key file has the new key, durably, before the network
/// hears of it. Its passphrase is needed, because the running node does not hold the next key.
#[utoipa::path(post, path = "/v1/key/rotate", tag = "key", request_body = RotateBody,
    responses(
        (status = 200, description = "The new key is in use", body = FingerprintView),
        (status = 400, description = "The passphrase does not open the key file (`invalid`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "The key cannot be rotated as things are (`conflict`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 507, description = "The key file cannot be written (`storage`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn rotate(
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<RotateBody>,
) -> Result<Json<FingerprintView>, Refused> {
    let passphrase = body.passphrase.map(Zeroizing::new);
    if passphrase.is_some() && !state.private {
        return Err(Refusal::Command(CommandErrorCode::Conflict).because(
            "other machines can reach this API, and what they send can be read on the way: stop \
             the node and run `junto key rotate` on its machine",
        ));
    }
    match state.handle.rotate_key(passphrase).await? {
        Reply::Fingerprint(view) => Ok(Json(view)),
        _ => Err(Refused::unexpected_reply("key/rotate")),
    }
}

/// Whose key is whose, for people to compare
///
/// A peer's, or this node's own.
#[utoipa::path(get, path = "/v1/key/fingerprint", tag = "key", params(FingerprintParams),
    responses(
        (status = 200, description = "The fingerprint", body = FingerprintView),
        NoSuchPeer,
    ))]
pub(super) async fn fingerprint(
    State(state): State<ApiState>,
    Params(params): Params<FingerprintParams>,
) -> Result<Json<FingerprintView>, Refused> {
    let peer = params
        .peer
        .map(|text| peer_named("peer", &text))
        .transpose()?;
    match state.call(Command::Fingerprint { peer }).await? {
        Reply::Fingerprint(view) => Ok(Json(view)),
        _ => Err(Refused::unexpected_reply("key/fingerprint")),
    }
}
