//! Messages that came for our agent.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use data_encoding::BASE64;

use super::ApiState;
use super::named::peer_named;
use crate::api::body::{InboxParams, InboxState, MessageBody, ReplyBody};
use crate::api::extract::{JsonBody, Params, PathId};
use crate::api::openapi::NoSuchPeer;
use crate::api::problem::{PROBLEM_JSON, Problem, Refused};
use crate::api::waits::News;
use crate::proto::node::{Command, InboxFilter, MessageState, MessageView, Reply};
use crate::types::MessageId;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// The messages for our agent, in the order of arrival
///
/// With `wait_ms` it answers at once if there is one that fits, and else when one arrives. An
/// agent that takes messages asks for `state=new`, looks at each, and acknowledges or answers it.
#[utoipa::path(get, path = "/v1/inbox", tag = "messages", params(InboxParams),
    responses(
        (status = 200, description = "The messages, without their bodies", body = [MessageView]),
        NoSuchPeer,
    ))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Params(params): Params<InboxParams>,
) -> Result<Json<Vec<MessageView>>, Refused> {
    let filter = filter(&params)?;
    let (mut messages, mut last) = listed(&state, &filter).await?;
    let wait_ms = params.wait_ms.filter(|wait_ms| *wait_ms > 0);
    if messages.is_empty() && wait_ms.is_some() {
        let fits = async {
            loop {
                state.waits.answer(News::Inbox(last)).await?;
                (messages, last) = listed(&state, &filter).await?;
                if !messages.is_empty() {
                    return Ok::<_, Refused>(());
                }
            }
        };
        if let Some(result) = state.wait(wait_ms, fits).await {
            result?;
        }
    }
    Ok(Json(messages))
}

fn filter(params: &InboxParams) -> Result<InboxFilter, Refused> {
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let why = format!("{limit} is not within 1 and {LIMIT_MAX}");
        return Err(Refused::invalid("limit", why));
    }
    let from = params.from.as_deref();
    Ok(InboxFilter {
        state: params.state.map(|state| match state {
            InboxState::New => MessageState::New,
            InboxState::Read => MessageState::Read,
        }),
        kind: params.kind,
        from: from.map(|text| peer_named("from", text)).transpose()?,
        after: params.after.unwrap_or(0),
        limit,
    })
}

async fn listed(
    state: &ApiState,
    filter: &InboxFilter,
) -> Result<(Vec<MessageView>, u64), Refused> {
    match state.call(Command::Inbox(filter.clone())).await? {
        Reply::Inbox { messages, last } => Ok((messages, last)),
        _ => Err(Refused::unexpected_reply("inbox")),
    }
}

/// One message with its body
///
/// From then on it is `read`. It stays until it is acknowledged or answered, or 7 days old.
#[utoipa::path(get, path = "/v1/inbox/{id}", tag = "messages",
    params(("id" = Uuid, Path, description = "The message's id")),
    responses(
        (status = 200, description = "The message", body = MessageBody),
        (status = 404, description = "No such message (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn show(
    State(state): State<ApiState>,
    PathId(id): PathId<MessageId>,
) -> Result<Json<MessageBody>, Refused> {
    let Reply::Message { view, body } = state.call(Command::Message(id)).await? else {
        return Err(Refused::unexpected_reply("message"));
    };
    Ok(Json(MessageBody {
        message: *view,
        data: BASE64.encode(&body),
        text: String::from_utf8(body).ok(),
    }))
}

/// Answer a talk
///
/// Its sender gets the reply, and the message is acknowledged. Only while the sender waits: at most a
/// minute, and not after it has given up.
#[utoipa::path(post, path = "/v1/inbox/{id}/reply", tag = "messages", request_body = ReplyBody,
    params(("id" = Uuid, Path, description = "The message's id")),
    responses(
        (status = 204, description = "The reply is on its way"),
        (status = 404, description = "No such message (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "It is a report: its sender awaits no reply (`conflict`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 410, description = "Its sender has given up (`nobody_waits`): nothing was sent, and \
            the message is kept", body = Problem, content_type = PROBLEM_JSON),
        (status = 413, description = "The reply is over its limit (`too_large`), or the whole \
            body (`body_too_large`)", body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn reply(
    State(state): State<ApiState>,
    PathId(id): PathId<MessageId>,
    JsonBody(body): JsonBody<ReplyBody>,
) -> Result<StatusCode, Refused> {
    let body = payload(body.text, body.data)?;
    done(state.call(Command::ReplyTo { id, body }).await?)
}

/// Be done with a message
///
/// It is removed. To say it again is no error.
#[utoipa::path(post, path = "/v1/inbox/{id}/ack", tag = "messages",
    params(("id" = Uuid, Path, description = "The message's id")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such message (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn acknowledge(
    State(state): State<ApiState>,
    PathId(id): PathId<MessageId>,
) -> Result<StatusCode, Refused> {
    done(state.call(Command::Acknowledge(id)).await?)
}

/// What shows a message to a third party
///
/// A text with the message, its sender's signature and the sender's identity. `junto inbox verify`
/// checks it with nothing else.
#[utoipa::path(get, path = "/v1/inbox/{id}/proof", tag = "messages",
    params(("id" = Uuid, Path, description = "The message's id")),
    responses(
        (status = 200, description = "The proof", body = String, content_type = "text/plain"),
        (status = 404, description = "No such message (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "Nothing shows it (`conflict`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn proof(
    State(state): State<ApiState>,
    PathId(id): PathId<MessageId>,
) -> Result<String, Refused> {
    match state.call(Command::MessageProof(id)).await? {
        Reply::Proof(evidence) => Ok(evidence.to_text()),
        _ => Err(Refused::unexpected_reply("proof")),
    }
}

fn done(reply: Reply) -> Result<StatusCode, Refused> {
    match reply {
        Reply::Done => Ok(StatusCode::NO_CONTENT),
        _ => Err(Refused::unexpected_reply("inbox")),
    }
}

/// What is said, given as text or in base64.
pub(super) fn payload(text: Option<String>, data: Option<String>) -> Result<Vec<u8>, Refused> {
    match (text, data) {
        (Some(_), Some(_)) => Err(Refused::invalid("text", "give text or data, not both")),
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(data)) => BASE64
            .decode(data.as_bytes())
            .map_err(|error| Refused::no_base64("data", "text", &error)),
        (None, None) => Ok(Vec::new()),
    }
}
