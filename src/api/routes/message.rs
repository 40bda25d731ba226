//! The door for those who have HTTP and no libp2p: one message in, its answer out.

use std::time::Instant;

use axum::Json;
use axum::extract::{ConnectInfo, State};

use super::ApiState;
use crate::api::extract::JsonBody;
use crate::api::listener::Remote;
use crate::api::problem::{PROBLEM_JSON, Problem, Refusal, Refused};
use crate::proto::node::{Command, Reply};
use crate::wire::{Envelope, ErrorBody, JsonMessage, MsgType, WireError, cbor};

/// Send a message of the peer protocol
///
/// Needs no token: the message carries its sender's signature. The answer is a message, too. A
/// refusal is a problem whose `peer_code` is the protocol's error code, and whose `message`, if
/// the message could be read, is the node's signed `error`.
#[utoipa::path(post, path = "/message", tag = "peers", security(()), request_body = JsonMessage,
    responses(
        (status = 200, description = "The answer", body = JsonMessage),
        (status = 400, description = "It cannot be taken (`message_refused` with a `peer_code` \
            such as `MALFORMED` or `INVALID_VERSION`; `invalid_json`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 403, description = "The sender is not believed, or not allowed this \
            (`message_refused`: `INVALID_SIGNATURE`, `UNKNOWN_SENDER`, `ENCRYPTION_REQUIRED`, \
            `NOT_ALLOWED`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 404, description = "`message_refused`: `SESSION_NOT_FOUND`, `SESSION_EXPIRED`",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "`message_refused`: `REPLAY_DETECTED`, `SEQUENCE_ERROR`, \
            `INVALID_STATE`", body = Problem, content_type = PROBLEM_JSON),
        (status = 429, description = "`message_refused`: `RATE_LIMITED`",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn message(
    State(state): State<ApiState>,
    ConnectInfo(Remote(from)): ConnectInfo<Remote>,
    body: Result<JsonBody<JsonMessage>, Refused>,
) -> Result<Json<JsonMessage>, Refused> {
    if !state.callers.admit(from, Instant::now()) {
        return Err(Refusal::Message(WireError::RateLimited)
            .because("too many messages come from your address: wait a little"));
    }
    let answer = answer(&state, body).await;
    if answer.is_err() {
        state.callers.refused(from, Instant::now());
    }
    answer.map(Json)
}

async fn answer(
    state: &ApiState,
    body: Result<JsonBody<JsonMessage>, Refused>,
) -> Result<JsonMessage, Refused> {
    let JsonBody(message) = body.map_err(Refused::malformed)?;
    let envelope = message.to_envelope().map_err(|error| {
        Refusal::Message(WireError::Malformed).because(format!("the message: {error}"))
    })?;
    let bytes = match state.call(Command::Envelope(envelope.to_bytes())).await? {
        Reply::Envelope(bytes) => bytes,
        _ => return Err(Refused::unexpected_reply("message")),
    };
    let Ok((envelope, header)) = Envelope::from_bytes(&bytes) else {
        return Err(Refused::unexpected_reply("message"));
    };
    let message = JsonMessage::from_envelope(&envelope, &header);
    if header.msg_type != MsgType::Error {
        return Ok(message);
    }
    let Ok(ErrorBody { code, .. }) = cbor::decode(&envelope.data, 256) else {
        return Err(Refused::unexpected_reply("message"));
    };
    Err(Refusal::Message(code)
        .because(code.to_string())
        .with(message))
}
