//! Having an address told that a task has ended.

use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::named::PathTask;
use crate::api::body::WebhookBody;
use crate::api::extract::JsonBody;
use crate::api::problem::{PROBLEM_JSON, Problem, Refused};
use crate::proto::node::{Command, Target, TargetError};

/// Have an address told when a task has ended
///
/// Answered once that is durable. When the task has ended (or has already), the task as
/// `GET /v1/tasks/{id}` shows it is posted there as JSON, at least once: again after pauses of one
/// second to an hour until the answer is 2xx, twelve times at most. Redirects are not followed. A
/// task has one webhook; asking for the same again changes nothing while it waits, and has it told
/// once more when it was heard.
#[utoipa::path(post, path = "/v1/tasks/{id}/webhook", tag = "tasks", request_body = WebhookBody,
    params(("id" = String, Path, description = "The task's id, or a part of it that no other has")),
    responses(
        (status = 204, description = "It is kept"),
        (status = 404, description = "No such task (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "It has another one (`conflict`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 503, description = "Too many webhooks wait (`queue_full`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn webhook(
    State(state): State<ApiState>,
    PathTask(id): PathTask,
    JsonBody(body): JsonBody<WebhookBody>,
) -> Result<StatusCode, Refused> {
    let target = target(body, "")?;
    state.call(Command::Notify { id, target }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a body names, which stands at `at` of the whole.
pub(super) fn target(body: WebhookBody, at: &str) -> Result<Target, Refused> {
    Target::new(body.url, body.secret).map_err(|error| {
        let field = match error {
            TargetError::Secret => "secret",
            TargetError::Url | TargetError::TooLong => "url",
        };
        Refused::invalid(&format!("{at}{field}"), error)
    })
}
