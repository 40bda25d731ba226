//! Whom and what a request names: the one place where its texts become peers and tasks.

use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::ApiState;
use crate::api::extract::PathId;
use crate::api::problem::Refused;
use crate::proto::node::{Command, PeerRef, Reply};
use crate::types::{IdPart, TaskId};

/// Reads whom `field` of the body means.
pub(super) fn peer_named(field: &str, text: &str) -> Result<PeerRef, Refused> {
    text.parse().map_err(|error| Refused::invalid(field, error))
}

/// The task that the path names: its id, or a part of it that only one of our tasks has.
pub(super) struct PathTask(pub(super) TaskId);

impl FromRequestParts<ApiState> for PathTask {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Refused> {
        let PathId(TaskText(text)) = PathId::from_request_parts(parts, state).await?;
        if let Ok(id) = text.parse() {
            return Ok(PathTask(id));
        }
        let part: IdPart = text.parse().map_err(|_| {
            let why = "a task id is a UUID; a part of one has 4 characters or more, such as 0198c2a4 \
                       or 0198…7c31";
            Refused::invalid("the path", why)
        })?;
        match state.call(Command::FindTask(part)).await? {
            Reply::Found(id) => Ok(PathTask(id)),
            _ => Err(Refused::unexpected_reply("find task")),
        }
    }
}

/// Any text.
struct TaskText(String);

impl FromStr for TaskText {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<TaskText, Infallible> {
        Ok(TaskText(text.to_owned()))
    }
}
