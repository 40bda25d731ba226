//! What a run may ask for with its pass: to hand parts of its task on, and to see what became of
//! them.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::Method;
use axum::http::request::Parts;

use super::problem::{Refusal, Refused};
use crate::proto::node::{Command, CommandErrorCode, HeldKey, ParentView, Reply};
use crate::runtime::Handle;
use crate::types::TaskId;

/// The task whose run sent the request; none for whoever has the node's token.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OfRun(pub(super) Option<HeldKey>);

impl<S: Sync> FromRequestParts<S> for OfRun {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<OfRun>().copied().unwrap_or_default())
    }
}

/// Whether the run of `key` may ask this.
pub(super) async fn admit_run(
    handle: &Handle,
    key: HeldKey,
    method: &Method,
    path: &str,
) -> Result<(), Refused> {
    let rest = path.strip_prefix("/v1/tasks");
    let segments: Option<Vec<&str>> = rest.map(|rest| rest.split('/').skip(1).collect());
    let id = match (method.as_str(), segments.as_deref()) {
        ("POST", Some([] | ["batch"])) => return Ok(()),
        ("GET", Some([id] | [id, "result" | "events"])) | ("POST", Some([id, "cancel"])) => id,
        _ => {
            let why = "a run's token is good for handing on parts of its task, and nothing else";
            return Err(Refusal::Command(CommandErrorCode::NotAllowed).because(why));
        }
    };
    let none = || {
        let why = format!("the task has no part {id}");
        Refusal::Command(CommandErrorCode::NotFound).because(why)
    };
    let id: TaskId = id.parse().map_err(|_| none())?;
    let of = ParentView {
        requester: key.requester.to_string(),
        task: key.task.to_string(),
    };
    match handle.call(Command::Task(id)).await? {
        Reply::Task(view) if view.parent.as_ref() == Some(&of) => Ok(()),
        _ => Err(none()),
    }
}
