//! Work handed to others.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::IntoResponse;
use data_encoding::BASE64;
use uuid::Uuid;

use super::named::{PathTask, peer_named};
use super::payloads::{body_of, hash_of};
use super::{ApiState, webhook};
use crate::api::body::{
    DEADLINE_MAX_MS, OrphanRule, ResubmitBody, SubmitBody, SubmitManyBody, TASKS_PAGE_MAX,
    TaskListParams, TaskParams,
};
use crate::api::extract::{JsonBody, MaybeBody, Params};
use crate::api::parts::OfRun;
use crate::api::problem::{PROBLEM_JSON, Problem, Refused};
use crate::api::waits::News;
use crate::api::{ATTEMPTS_HEADER, IDEMPOTENCY_HEADER, NEXT_HEADER, WORKER_HEADER};
use crate::proto::node::{
    Changed, Command, Orphan, Reply, Start, Submission, TaskFilter, TaskView, Wish,
};
use crate::types::limits::LABELS_MAX;
use crate::types::{Label, Marks, TaskId, TaskKey, TextError, Wall};

/// Hand over work
///
/// Answered once the task is durable. To repeat a submission whose answer was lost, send the same
/// `id` or `key` again, in the body or as `Idempotency-Key`: it gives the task that is already
/// there, unless anything else of it differs.
#[utoipa::path(post, path = "/v1/tasks", tag = "tasks", request_body = SubmitBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same as `id` in the body \
        if it is a UUID, and as `key` otherwise")),
    responses(
        (status = 201, description = "The task", body = TaskView,
            headers(("Location" = String, description = "Where to look at it"))),
        (status = 403, description = "It is more than the task that the run works on may hand on \
            (`not_allowed`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 404, description = "No such peer, or no payload of that hash (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "Several peers go by that name (`ambiguous`), or the id \
            or the key belongs to another task (`conflict`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 413, description = "The input is over its limit (`too_large`), or the whole \
            body (`body_too_large`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 503, description = "Try again after `Retry-After` (`queue_full`, `busy`), or \
            the node is stopping (`stopping`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 507, description = "The disk refuses writes (`storage`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn submit(
    State(state): State<ApiState>,
    OfRun(parent): OfRun,
    headers: HeaderMap,
    JsonBody(body): JsonBody<SubmitBody>,
) -> Result<impl IntoResponse, Refused> {
    let mut submission = submission(body, named_in(&headers)?)?;
    submission.parent = parent;
    let view = task_of(state.call(Command::Submit(submission)).await?)?;
    // Another task than the one of the body's id, if the key was known.
    Ok((
        StatusCode::CREATED,
        [(LOCATION, location(&view))],
        Json(view),
    ))
}

/// Hand over many tasks at once
///
/// All of them, or none: the refusal says which one was in the way. They share one flush, and are
/// answered together, each with its task, in the order of the list. What was handed over before
/// under the same id or key is that task, as with one alone.
#[utoipa::path(post, path = "/v1/tasks/batch", tag = "tasks", request_body = SubmitManyBody,
    responses(
        (status = 201, description = "The tasks", body = Vec<TaskView>),
        (status = 403, description = "It is more than the task that the run works on may hand on \
            (`not_allowed`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 404, description = "No such peer (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "Several peers go by that name (`ambiguous`), or an id or a \
            key belongs to another task or stands in the list twice (`conflict`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 413, description = "An input is over its limit or the list has more than 256 \
            tasks (`too_large`), or the whole body (`body_too_large`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 503, description = "Try again after `Retry-After` (`queue_full`, `busy`), or \
            the node is stopping (`stopping`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 507, description = "The disk refuses writes (`storage`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn submit_many(
    State(state): State<ApiState>,
    OfRun(parent): OfRun,
    JsonBody(body): JsonBody<SubmitManyBody>,
) -> Result<impl IntoResponse, Refused> {
    let mut all = Vec::with_capacity(body.tasks.len());
    for (place, task) in body.tasks.into_iter().enumerate() {
        let one = submission(task, Names::default());
        let mut one = one.map_err(|refused| refused.at(&format!("tasks[{place}]")))?;
        one.parent = parent;
        all.push(one);
    }
    match state.call(Command::SubmitMany(all)).await? {
        Reply::Tasks { tasks, .. } => Ok((StatusCode::CREATED, Json(tasks))),
        _ => Err(Refused::unexpected_reply("tasks")),
    }
}

/// Our tasks, a page at a time
///
/// In the order of their ids, which is that of submission unless you chose them otherwise. A page
/// that may have a successor says so in `X-Junto-Next`: ask again with that as `after`.
#[utoipa::path(get, path = "/v1/tasks", tag = "tasks", params(TaskListParams),
    responses((status = 200, description = "The tasks", body = [TaskView],
        headers(("X-Junto-Next" = String, description = "The last one's id, if more may follow")))))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Params(params): Params<TaskListParams>,
) -> Result<impl IntoResponse, Refused> {
    let limit = params.limit.unwrap_or(TASKS_PAGE_MAX);
    if !(1..=TASKS_PAGE_MAX).contains(&limit) {
        let why = format!("{limit} is not within 1 and {TASKS_PAGE_MAX}");
        return Err(Refused::invalid("limit", why));
    }
    let capability = params.capability.as_deref().map(str::parse).transpose();
    let label = params.label.as_deref().map(str::parse).transpose();
    let filter = TaskFilter {
        state: params.state,
        capability: capability.map_err(|error| Refused::invalid("capability", error))?,
        label: label.map_err(|error| Refused::invalid("label", error))?,
        dead: params.dead.unwrap_or(false),
        parts: params.parts.unwrap_or(false),
        after: params.after.map(TaskId),
        newest: params.newest.unwrap_or(false),
        limit,
    };
    let Reply::Tasks { tasks, next } = state.call(Command::Tasks(filter)).await? else {
        return Err(Refused::unexpected_reply("tasks"));
    };
    let mut headers = HeaderMap::new();
    if let Some(next) = next {
        let next = HeaderValue::try_from(next.to_string()).expect("a UUID is ASCII");
        headers.insert(HeaderName::from_static(NEXT_HEADER), next);
    }
    Ok((headers, Json(tasks)))
}

/// One task, now or at its end
#[utoipa::path(get, path = "/v1/tasks/{id}", tag = "tasks",
    params(("id" = String, Path, description = "The task's id, or a part of it that no other has"), TaskParams),
    responses(
        (status = 200, description = "The task", body = TaskView),
        (status = 404, description = "No such task (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn show(
    State(state): State<ApiState>,
    PathTask(id): PathTask,
    Params(params): Params<TaskParams>,
) -> Result<Json<TaskView>, Refused> {
    if params.wait_ms.is_some_and(|wait_ms| wait_ms > 0) {
        let end = state.waits.answer(News::Task(id));
        if let Some(ended) = state.wait(params.wait_ms, end).await {
            return task_of(ended?).map(Json);
        }
    }
    task_of(state.call(Command::Task(id)).await?).map(Json)
}

/// What a completed task came to, as raw bytes
#[utoipa::path(get, path = "/v1/tasks/{id}/result", tag = "tasks",
    params(("id" = String, Path, description = "The task's id, or a part of it that no other has")),
    responses(
        (status = 200, description = "The result", body = [u8],
            content_type = "application/octet-stream",
            headers(
                ("X-Junto-Worker" = String, description = "The worker's entity id"),
                ("X-Junto-Attempts" = usize, description = "How many attempts it took"),
            )),
        (status = 404, description = "No such task (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "It is not completed (`conflict`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn result(
    State(state): State<ApiState>,
    PathTask(id): PathTask,
) -> Result<impl IntoResponse, Refused> {
    let (worker, attempts, result) = match state.call(Command::TaskResult(id)).await? {
        Reply::TaskResult {
            worker,
            attempts,
            result,
        } => (worker, attempts, Body::from(result)),
        Reply::TaskResultFile {
            worker,
            attempts,
            file,
        } => (worker, attempts, body_of(&state, file).await?),
        _ => return Err(Refused::unexpected_reply("task result")),
    };
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(HeaderName::from_static(ATTEMPTS_HEADER), attempts.into());
    if let Some(worker) = worker {
        let worker = HeaderValue::try_from(worker.to_string()).expect("an entity id is ASCII");
        headers.insert(HeaderName::from_static(WORKER_HEADER), worker);
    }
    Ok((headers, result))
}

/// What shows a completed task's result to a third party
///
/// A text with who ran it for whom under which token, the hash of the result, the worker's
/// signature and its identity; of work that several did with what each committed to and told.
/// `junto inbox verify` checks it with nothing else.
#[utoipa::path(get, path = "/v1/tasks/{id}/proof", tag = "tasks",
    params(("id" = String, Path, description = "The task's id, or a part of it that no other has")),
    responses(
        (status = 200, description = "The proof", body = String, content_type = "text/plain"),
        (status = 404, description = "No such task (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "Nothing shows it: it is not completed (`conflict`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn proof(
    State(state): State<ApiState>,
    PathTask(id): PathTask,
) -> Result<String, Refused> {
    match state.call(Command::TaskProof(id)).await? {
        Reply::TaskProof(evidence) => Ok(evidence.to_text()),
        _ => Err(Refused::unexpected_reply("task proof")),
    }
}

/// Give a task up
#[utoipa::path(post, path = "/v1/tasks/{id}/cancel", tag = "tasks",
    params(("id" = String, Path, description = "The task's id, or a part of it that no other has")),
    responses(
        (status = 200, description = "The task", body = TaskView),
        (status = 404, description = "No such task (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "It completed or failed before, or is a part of another (`conflict`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn cancel(
    State(state): State<ApiState>,
    PathTask(id): PathTask,
) -> Result<Json<TaskView>, Refused> {
    let reply = match state.call(Command::CancelTask(id)).await? {
        Reply::Done => state.call(Command::Task(id)).await?,
        reply => reply,
    };
    task_of(reply).map(Json)
}

/// Hand a failed task over again
///
/// As a new task with the same input, and what the body does not change; `prior` of the one and
/// `again` of the other say so. A second time it gives the same task, unchanged.
#[utoipa::path(post, path = "/v1/tasks/{id}/resubmit", tag = "tasks",
    request_body = Option<ResubmitBody>,
    params(("id" = String, Path, description = "The failed task's id, or a part of it that no other has")),
    responses(
        (status = 201, description = "The new task", body = TaskView,
            headers(("Location" = String, description = "Where to look at it"))),
        (status = 404, description = "No such task, or no such peer (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "It did not fail, or its input was dropped (`conflict`), or \
            several peers go by that name (`ambiguous`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 503, description = "Try again after `Retry-After` (`queue_full`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn resubmit(
    State(state): State<ApiState>,
    PathTask(id): PathTask,
    MaybeBody(body): MaybeBody<ResubmitBody>,
) -> Result<impl IntoResponse, Refused> {
    let as_id = TaskId(Uuid::now_v7());
    let to = body.to.map(|text| peer_named("to", &text)).transpose()?;
    let changed = Changed {
        deadline_ms: body.deadline_ms.map(deadline).transpose()?,
        to,
        priority: body.priority,
    };
    let command = Command::Resubmit { id, as_id, changed };
    let view = task_of(state.call(command).await?)?;
    Ok((
        StatusCode::CREATED,
        [(LOCATION, location(&view))],
        Json(view),
    ))
}

/// Let a failed task's input go
///
/// It cannot be handed over again then, and is remembered like any other that has ended.
#[utoipa::path(post, path = "/v1/tasks/{id}/drop", tag = "tasks",
    params(("id" = String, Path, description = "The failed task's id, or a part of it that no other has")),
    responses(
        (status = 200, description = "The task", body = TaskView),
        (status = 404, description = "No such task (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "It did not fail, or its input was dropped (`conflict`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn drop_input(
    State(state): State<ApiState>,
    PathTask(id): PathTask,
) -> Result<Json<TaskView>, Refused> {
    task_of(state.call(Command::DropTask(id)).await?).map(Json)
}

fn location(view: &TaskView) -> HeaderValue {
    let path = format!("/v1/tasks/{}", view.id);
    HeaderValue::try_from(path).expect("a UUID is ASCII")
}

fn task_of(reply: Reply) -> Result<TaskView, Refused> {
    match reply {
        Reply::Task(view) => Ok(*view),
        _ => Err(Refused::unexpected_reply("task")),
    }
}

/// What a caller says to have a repetition known as one.
#[derive(Default)]
struct Names {
    id: Option<Uuid>,
    key: Option<TaskKey>,
}

/// The header names the task, bare or in quotes: a UUID is its id, anything else its key.
fn named_in(headers: &HeaderMap) -> Result<Names, Refused> {
    let Some(value) = headers.get(IDEMPOTENCY_HEADER) else {
        return Ok(Names::default());
    };
    let text = value.to_str().unwrap_or_default().trim();
    let bare = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text);
    if let Ok(id) = bare.parse() {
        let id = Some(id);
        return Ok(Names { id, key: None });
    }
    let key = bare.parse();
    let key = key.map_err(|error| Refused::invalid("Idempotency-Key", error))?;
    Ok(Names {
        id: None,
        key: Some(key),
    })
}

/// The one of two that is there, if they do not contradict each other.
fn one_of<T: PartialEq>(
    body: Option<T>,
    header: Option<T>,
    what: &str,
) -> Result<Option<T>, Refused> {
    if let (Some(body), Some(header)) = (&body, &header)
        && body != header
    {
        let why = format!("the body's {what} is another: send one of the two");
        return Err(Refused::invalid("Idempotency-Key", why));
    }
    Ok(body.or(header))
}

fn start(body: &SubmitBody) -> Result<Start, Refused> {
    match (&body.start_at, body.delay_ms) {
        (Some(_), Some(_)) => {
            let why = "start_at stands beside it: send one";
            Err(Refused::invalid("delay_ms", why))
        }
        (Some(text), None) => {
            let at = Wall::from_rfc3339(text);
            let wrong = || Refused::invalid("start_at", "write it as 2030-01-31T12:00:00Z");
            Ok(Start::At(at.ok_or_else(wrong)?))
        }
        (None, Some(ms)) if ms > 0 => Ok(Start::In(ms)),
        (None, _) => Ok(Start::Now),
    }
}

fn submission(body: SubmitBody, names: Names) -> Result<Submission, Refused> {
    let start = start(&body)?;
    let marks = marks(&body)?;
    let id = one_of(body.id, names.id, "id")?;
    let key = body.key.as_deref().map(str::parse).transpose();
    let key = key.map_err(|error| Refused::invalid("key", error))?;
    let key = one_of(key, names.key, "key")?;
    let deadline_ms = deadline(body.deadline_ms)?;
    let input_file = body.input_file.as_deref();
    let input_file = input_file
        .map(|text| hash_of("input_file", text))
        .transpose()?;
    if input_file.is_some() && (body.input.is_some() || body.input_text.is_some()) {
        let why = "input or input_text stands beside it: send one";
        return Err(Refused::invalid("input_file", why));
    }
    let input = match (body.input, body.input_text) {
        (Some(_), Some(_)) => {
            return Err(Refused::invalid(
                "input",
                "input_text stands beside it: send one",
            ));
        }
        (Some(base64), None) => BASE64
            .decode(base64.as_bytes())
            .map_err(|error| Refused::no_base64("input", "input_text", &error))?,
        (None, text) => text.unwrap_or_default().into_bytes(),
    };
    Ok(Submission {
        id: TaskId(id.unwrap_or_else(Uuid::now_v7)),
        capability: body
            .capability
            .parse()
            .map_err(|error| Refused::invalid("capability", error))?,
        input,
        to: body.to.map(|text| peer_named("to", &text)).transpose()?,
        priority: body.priority,
        start,
        deadline_ms,
        key,
        orphan: (body.orphan == OrphanRule::Stop).then_some(Orphan::Stop),
        agreement: body.agreement.map(Into::into),
        wish: Wish {
            depth: body.depth,
            reward: body.reward.0,
        },
        parent: None,
        marks,
        input_file,
        stream: body.stream,
        webhook: body
            .webhook
            .map(|body| webhook::target(body, "webhook.").map(Box::new))
            .transpose()?,
    })
}

fn deadline(ms: u64) -> Result<u64, Refused> {
    let wrong = || format!("{ms} is not within 1 and {DEADLINE_MAX_MS}");
    match (1..=DEADLINE_MAX_MS).contains(&ms) {
        true => Ok(ms),
        false => Err(Refused::invalid("deadline_ms", wrong())),
    }
}

fn marks(body: &SubmitBody) -> Result<Marks, Refused> {
    Ok(Marks {
        needs: labels("needs", &body.needs)?,
        tier_min: body.min_tier,
        labels: labels("labels", &body.labels)?,
    })
}

fn labels(field: &str, texts: &[String]) -> Result<BTreeSet<Label>, Refused> {
    if texts.len() > LABELS_MAX {
        let why = format!("at most {LABELS_MAX} are allowed");
        return Err(Refused::invalid(field, why));
    }
    let parsed: Result<_, TextError> = texts.iter().map(|text| text.parse()).collect();
    parsed.map_err(|error| Refused::invalid(field, error))
}
