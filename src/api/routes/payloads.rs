//! Inputs and results that are too large for a message: streamed in and out, held in memory nowhere.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use futures::StreamExt;
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;
use uuid::Uuid;

use super::ApiState;
use super::named::PathTask;
use crate::api::extract::Params;
use crate::api::problem::{PROBLEM_JSON, Problem, Refusal, Refused};
use crate::proto::node::{Command, CommandError, CommandErrorCode, PayloadView, Reply};
use crate::runtime::executor::ClaimError;
use crate::runtime::payloads::PayloadError;
use crate::types::PayloadFile;

/// Payloads that are handed over at once.
pub(super) const UPLOADS_MAX: usize = 16;
/// A caller that sends nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Hand over an input or result that is too large for a task's own document
///
/// The body is its bytes as they are. Answered once they are durable; then name it by its `hash`, as
/// `input_file` of a task or `result_file` of what a fetched one came to, within an hour. The same
/// bytes again are no second one.
#[utoipa::path(put, path = "/v1/payloads", tag = "tasks",
    request_body(content = [u8], content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "It is kept", body = PayloadView),
        (status = 408, description = "No byte came for 30 s (`timeout`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 413, description = "It is larger than `task.max_payload` (`too_large`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 503, description = "Try again after `Retry-After`: so many are kept \
            (`queue_full`), or come at once (`busy`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 507, description = "The disk has no room, or refuses writes (`storage`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn upload(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<PayloadView>), Refused> {
    let _slot = Arc::clone(&state.uploads)
        .try_acquire_owned()
        .map_err(|_| {
            let why = format!("{UPLOADS_MAX} payloads are handed over already: try again");
            Refused::from(CommandError::new(CommandErrorCode::Busy, why))
        })?;
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|text| text.to_str().ok()?.parse().ok());
    let new = state.handle.payloads().create(length).await;
    let mut new = new.map_err(refused)?;
    let mut pieces = body.into_data_stream();
    loop {
        let piece = tokio::select! {
            piece = timeout(SILENCE_MAX, pieces.next()) => piece,
            () = state.stop.cancelled() => {
                let why = "the node is stopping";
                return Err(CommandError::new(CommandErrorCode::Stopping, why).into());
            }
        };
        let silent = |_| Refusal::Timeout.because("no byte came for 30 s: begin again");
        match piece.map_err(silent)? {
            None => break,
            Some(Ok(piece)) => new.write(&piece).await.map_err(refused)?,
            Some(Err(_)) => {
                let why = "the body ended before it was whole: send it again";
                return Err(Refused::invalid("the body", why));
            }
        }
    }
    match state.handle.keep_payload(new).await? {
        Reply::Payload(view) => Ok((StatusCode::CREATED, Json(view))),
        _ => Err(Refused::unexpected_reply("payload")),
    }
}

/// Whose input it is.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct InputParams {
    /// What shows that you work on the task, as `POST /v1/tasks/claim` gave it. Without it the task
    /// is one that was handed over here.
    claim: Option<Uuid>,
}

/// The input of a task, as raw bytes
///
/// With `claim` that of a claimed one, whose input is too large for the answer of `POST
/// /v1/tasks/claim`. Without it that of a task of ours, as long as it is kept: until it has completed
/// or was canceled, and of one that failed until its input is dropped.
#[utoipa::path(get, path = "/v1/tasks/{id}/input", tag = "tasks",
    params(("id" = String, Path, description = "The task's id; without `claim` a part of it will do"),
        InputParams),
    responses(
        (status = 200, description = "The input", body = [u8],
            content_type = "application/octet-stream"),
        (status = 404, description = "No such task, or the claim brought the input itself \
            (`not_found`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "The claim has lapsed, or the input is kept no more \
            (`conflict`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 410, description = "The task was canceled, taken away or is out of time \
            (`gone`)", body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn input(
    State(state): State<ApiState>,
    PathTask(id): PathTask,
    Params(InputParams { claim }): Params<InputParams>,
) -> Result<impl IntoResponse, Refused> {
    let raw = [(CONTENT_TYPE, "application/octet-stream")];
    let Some(claim) = claim else {
        let body = match state.call(Command::TaskInput(id)).await? {
            Reply::TaskInput(bytes) => Body::from(bytes),
            Reply::TaskInputFile(file) => body_of(&state, file).await?,
            _ => return Err(Refused::unexpected_reply("task input")),
        };
        return Ok((raw, body));
    };
    let found: Result<Option<PayloadFile>, ClaimError> = state.handle.desk().input(id, claim);
    let file = found.map_err(super::work::refused)?.ok_or_else(|| {
        let why = "the input came with the claim";
        Refused::from(CommandError::new(CommandErrorCode::NotFound, why))
    })?;
    Ok((raw, body_of(&state, file).await?))
}

/// A payload as the body of an answer: it has the length of the file.
pub(super) async fn body_of(state: &ApiState, file: PayloadFile) -> Result<Body, Refused> {
    let body = state.handle.payloads().open(file).await;
    body.map(Body::new).map_err(|error| {
        let why = format!("the payload cannot be read: {error}");
        CommandError::new(CommandErrorCode::Storage, why).into()
    })
}

/// The hash that `field` of a body names a payload by.
pub(super) fn hash_of(field: &str, text: &str) -> Result<[u8; 32], Refused> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes());
    bytes
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| Refused::invalid(field, "it is not a BLAKE3 hash in hexadecimal"))
}

fn refused(error: PayloadError) -> Refused {
    let code = match error {
        PayloadError::TooLarge(_) => CommandErrorCode::TooLarge,
        PayloadError::NoRoom { .. } | PayloadError::Disk(_) => CommandErrorCode::Storage,
    };
    CommandError::new(code, error.to_string()).into()
}
