//! Work that agents fetch: claimed, extended, completed, failed.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::ApiState;
use super::payloads::hash_of;
use crate::api::body::WAIT_MAX_MS;
use crate::api::extract::{JsonBody, PathId};
use crate::api::problem::{PROBLEM_JSON, Problem, Refusal, Refused};
use crate::crypto::{Digest, hash};
use crate::proto::node::{Command, CommandErrorCode, PayloadView, Reply, RunOutcome, RunSaid};
use crate::runtime::executor::{Ask, ClaimError, Claimed};
use crate::types::limits::{PROGRESS_NOTE_MAX_BYTES, RESULT_MAX_BYTES};
use crate::types::{Capability, FileRef, TaskId};

const MAX_DEFAULT: usize = 1;
const MAX_MAX: usize = 16;
const LEASE_DEFAULT_MS: u64 = 30_000;
const LEASE_MIN_MS: u64 = 1_000;
const LEASE_MAX_MS: u64 = 600_000;
const CAPABILITIES_ASKED_MAX: usize = 64;

/// What an agent can do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"capabilities": ["summarise"], "wait_ms": 30_000}))]
pub(super) struct ClaimBody {
    /// Only tasks of these. Default: of all that are served by `pull`.
    #[schema(max_items = 64)]
    capabilities: Option<Vec<String>>,
    /// How many at most: 1 to 16, 1 by default.
    #[schema(minimum = 1, maximum = 16, default = 1)]
    max: Option<usize>,
    /// How long to wait while there is none, up to 60000. Default: not at all.
    #[schema(maximum = 60_000)]
    wait_ms: Option<u64>,
    /// How long a claim holds unless it is extended: 1000 to 600000, 30000 by default.
    #[schema(minimum = 1_000, maximum = 600_000, default = 30_000)]
    lease_ms: Option<u64>,
}

/// A task to do. It is not to be logged: there is a token in it.
#[derive(Serialize, ToSchema)]
pub(super) struct ClaimedTask {
    /// The task's id; stands in the path of what is said of it.
    id: Uuid,
    /// What shows that it is yours; stands in the body of what is said of it.
    claim: Uuid,
    /// Whose task it is: an entity id.
    requester: String,
    capability: String,
    /// Grows with each attempt at the task.
    token: u64,
    /// The input in base64.
    input: String,
    /// The input as text, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    input_text: Option<String>,
    /// How large the input is, where it is too large to stand here: fetch it with
    /// `GET /v1/tasks/{id}/input`.
    #[serde(skip_serializing_if = "Option::is_none")]
    input_bytes: Option<u64>,
    /// How long the claim holds.
    lease_ms: u64,
    /// When the task is out of time, however often the claim is extended.
    timeout_ms: u64,
    /// The W3C trace context to go on with: the task is the trace, this claim a span of it.
    #[schema(example = "00-01980000000070008000000000000000-00f067aa0ba902b7-01")]
    traceparent: String,
    /// Where the capability allows it (`delegate = true`): the address at which parts of this task
    /// may be handed on,
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<String>,
    /// and the token for that, good for nothing else and as long as the claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_token: Option<String>,
}

/// An agent is still at it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtendBody {
    claim: Uuid,
    /// How long the claim holds from now on: 1000 to 600000, 30000 by default.
    #[schema(minimum = 1_000, maximum = 600_000, default = 30_000)]
    lease_ms: Option<u64>,
    /// How far the work is, for who watches the task, if its requester asked for that (`stream`).
    #[schema(maximum = 100)]
    percent: Option<u8>,
    /// The same in words, up to 256 bytes.
    #[schema(max_length = 256)]
    note: Option<String>,
}

/// What a task came to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CompleteBody {
    claim: Uuid,
    /// The result in base64; in place of `result_text`.
    result: Option<String>,
    /// The result as text; in place of `result`. Neither: empty.
    result_text: Option<String>,
    /// In place of both: the hash of a payload that `PUT /v1/payloads` took, for what is over 1 MiB.
    #[schema(pattern = "^[0-9a-fA-F]{64}$")]
    result_file: Option<String>,
}

/// Why a task came to nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FailBody {
    claim: Uuid,
    /// What its requester gets to read.
    reason: String,
}

/// Take tasks to do
///
/// For capabilities that are served by `pull`. The oldest go first; each is yours until the claim
/// lapses. Extend it before that, and hand over what the task came to.
#[utoipa::path(post, path = "/v1/tasks/claim", tag = "tasks", request_body = ClaimBody,
    responses(
        (status = 200, description = "The tasks; none if none came in time", body = [ClaimedTask]),
        (status = 404, description = "This node does not serve one of the capabilities, or not by \
            `pull` (`not_served`)", body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn claim(
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<ClaimBody>,
) -> Result<Json<Vec<ClaimedTask>>, Refused> {
    let max = body.max.unwrap_or(MAX_DEFAULT);
    if !(1..=MAX_MAX).contains(&max) {
        let why = format!("{max} is not within 1 and {MAX_MAX}");
        return Err(Refused::invalid("max", why));
    }
    let lease = lease(body.lease_ms)?;
    let ask = Ask {
        capabilities: body.capabilities.map(capabilities).transpose()?,
        max,
        lease,
    };
    // Before the look: what comes in now comes for this agent. A busy node hears it next time.
    let attend = Command::Attend {
        capabilities: ask.capabilities.clone(),
        wait_ms: body.wait_ms.unwrap_or(0).min(WAIT_MAX_MS),
    };
    if let Err(error) = state.handle.call(attend).await
        && error.code == CommandErrorCode::NotServed
    {
        return Err(error.into());
    }
    let desk = state.handle.desk();
    let claimed = match body.wait_ms.filter(|wait_ms| *wait_ms > 0) {
        None => desk.claim_now(&ask),
        Some(wait_ms) => match state.wait(Some(wait_ms), desk.claim(&ask)).await {
            Some(claimed) => claimed.map_err(refused)?,
            None => Vec::new(),
        },
    };
    let shown = claimed.into_iter().map(|task| shown(task, lease));
    Ok(Json(shown.collect()))
}

/// Keep a task
///
/// Say it before the claim lapses; the lease counts from now.
#[utoipa::path(post, path = "/v1/tasks/{id}/extend", tag = "tasks", request_body = ExtendBody,
    params(("id" = Uuid, Path, description = "The task's id")),
    responses(
        (status = 204, description = "It is still yours"),
        (status = 409, description = "The claim has lapsed (`conflict`): somebody else may have \
            the task", body = Problem, content_type = PROBLEM_JSON),
        (status = 410, description = "The task was canceled, taken away or is out of time \
            (`gone`): stop", body = Problem, content_type = PROBLEM_JSON),
        (status = 503, description = "It has just ended (`busy`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn extend(
    State(state): State<ApiState>,
    PathId(id): PathId<TaskId>,
    JsonBody(body): JsonBody<ExtendBody>,
) -> Result<StatusCode, Refused> {
    let lease = lease(body.lease_ms)?;
    let ExtendBody { percent, note, .. } = body;
    if percent.is_some_and(|percent| percent > 100) {
        return Err(Refused::invalid("percent", "it is over 100"));
    }
    if let Some(note) = &note
        && note.len() > PROGRESS_NOTE_MAX_BYTES
    {
        let why = format!("it is over {PROGRESS_NOTE_MAX_BYTES} bytes");
        return Err(Refused::invalid("note", why));
    }
    let extended = state.handle.desk().extend(id, body.claim, lease);
    let run = extended.map_err(refused)?;
    if percent.is_some() || note.is_some() {
        let said = RunSaid {
            percent,
            note,
            output: None,
        };
        // What a busy node does not hear is lost, as progress may be.
        let _ = state.handle.call(Command::SayOfRun { run, said }).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Hand over a result
///
/// Answered once it is durable: from then on the node brings it to the requester, whatever
/// happens. If the answer was lost, say it again.
#[utoipa::path(post, path = "/v1/tasks/{id}/complete", tag = "tasks", request_body = CompleteBody,
    params(("id" = Uuid, Path, description = "The task's id")),
    responses(
        (status = 204, description = "It is durable"),
        (status = 404, description = "No payload has the hash that `result_file` says \
            (`not_found`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "The claim has lapsed, or another outcome of it is kept (`conflict`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 410, description = "The task was canceled, taken away or is out of time \
            (`gone`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 413, description = "The result is over its limit (`too_large`), or the whole \
            body (`body_too_large`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 503, description = "It was said before and is not durable yet: say it again after \
            `Retry-After` (`busy`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 507, description = "The disk refuses writes (`storage`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn complete(
    State(state): State<ApiState>,
    PathId(id): PathId<TaskId>,
    JsonBody(body): JsonBody<CompleteBody>,
) -> Result<StatusCode, Refused> {
    if let Some(hash) = &body.result_file {
        if body.result.is_some() || body.result_text.is_some() {
            let why = "result or result_text stands beside it: send one";
            return Err(Refused::invalid("result_file", why));
        }
        let outcome = payload_named(&state, hash).await?;
        return end(&state, id, body.claim, outcome).await;
    }
    let result = match (body.result, body.result_text) {
        (Some(_), Some(_)) => {
            let why = "result_text stands beside it: send one";
            return Err(Refused::invalid("result", why));
        }
        (Some(base64), None) => BASE64
            .decode(base64.as_bytes())
            .map_err(|error| Refused::no_base64("result", "result_text", &error))?,
        (None, text) => text.unwrap_or_default().into_bytes(),
    };
    end(&state, id, body.claim, RunOutcome::Completed { result }).await
}

/// Say that a task failed
///
/// It counts as a failed attempt; the requester decides whether there is another one.
#[utoipa::path(post, path = "/v1/tasks/{id}/fail", tag = "tasks", request_body = FailBody,
    params(("id" = Uuid, Path, description = "The task's id")),
    responses(
        (status = 204, description = "It is durable"),
        (status = 409, description = "The claim has lapsed, or another outcome of it is kept (`conflict`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 410, description = "The task was canceled, taken away or is out of time \
            (`gone`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 503, description = "It was said before and is not durable yet: say it again after \
            `Retry-After` (`busy`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 507, description = "The disk refuses writes (`storage`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn fail(
    State(state): State<ApiState>,
    PathId(id): PathId<TaskId>,
    JsonBody(body): JsonBody<FailBody>,
) -> Result<StatusCode, Refused> {
    let reason = body.reason;
    end(&state, id, body.claim, RunOutcome::Failed { reason }).await
}

async fn payload_named(state: &ApiState, hash: &str) -> Result<RunOutcome, Refused> {
    let root = hash_of("result_file", hash)?;
    let Reply::Payload(PayloadView { size, .. }) = state.call(Command::Payload(root)).await? else {
        return Err(Refused::unexpected_reply("payload"));
    };
    let content = FileRef { root, size };
    Ok(RunOutcome::CompletedFile {
        content,
        file: None,
    })
}

async fn end(
    state: &ApiState,
    id: TaskId,
    claim: Uuid,
    outcome: RunOutcome,
) -> Result<StatusCode, Refused> {
    let bytes = match &outcome {
        RunOutcome::Completed { result } if result.len() > RESULT_MAX_BYTES => {
            let why = format!(
                "the result is over {RESULT_MAX_BYTES} bytes: put it to /v1/payloads and name its \
                 hash in result_file"
            );
            return Err(Refusal::Command(CommandErrorCode::TooLarge).because(why));
        }
        RunOutcome::Completed { result } => result.len(),
        RunOutcome::CompletedFile { content, .. } => {
            usize::try_from(content.size).unwrap_or(usize::MAX)
        }
        RunOutcome::Failed { .. } | RunOutcome::Returned => 0,
    };
    let said = digest_of(&outcome);
    let run = match state.handle.desk().begin_end(id, claim, bytes, said) {
        Ok(run) => run,
        // The answer to the first time was lost.
        Err(ClaimError::Kept) => return Ok(StatusCode::NO_CONTENT),
        Err(error) => return Err(refused(error)),
    };
    let ended = state.handle.end_run(run, outcome).await;
    match ended {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(error) if error.code == CommandErrorCode::NotFound => Err(refused(ClaimError::Gone)),
        Err(error) => Err(error.into()),
    }
}

/// What tells one outcome from another.
fn digest_of(outcome: &RunOutcome) -> Digest {
    match outcome {
        RunOutcome::Completed { result } => hash("run outcome", &[b"completed", result]),
        RunOutcome::CompletedFile { content, .. } => {
            hash("run outcome", &[b"completed file", &content.root])
        }
        RunOutcome::Failed { reason } => hash("run outcome", &[b"failed", reason.as_bytes()]),
        RunOutcome::Returned => hash("run outcome", &[b"returned"]),
    }
}

fn capabilities(names: Vec<String>) -> Result<BTreeSet<Capability>, Refused> {
    if names.is_empty() || names.len() > CAPABILITIES_ASKED_MAX {
        let why = format!("name 1 to {CAPABILITIES_ASKED_MAX}, or leave it out");
        return Err(Refused::invalid("capabilities", why));
    }
    let read = |name: String| {
        let read = name.parse();
        read.map_err(|error| Refused::invalid("capabilities", error))
    };
    names.into_iter().map(read).collect()
}

fn lease(lease_ms: Option<u64>) -> Result<Duration, Refused> {
    let lease_ms = lease_ms.unwrap_or(LEASE_DEFAULT_MS);
    if !(LEASE_MIN_MS..=LEASE_MAX_MS).contains(&lease_ms) {
        let why = format!("{lease_ms} is not within {LEASE_MIN_MS} and {LEASE_MAX_MS}");
        return Err(Refused::invalid("lease_ms", why));
    }
    Ok(Duration::from_millis(lease_ms))
}

fn shown(task: Claimed, lease: Duration) -> ClaimedTask {
    let (api, api_token) = match task.api {
        Some(access) => (Some(access.url), Some(access.token.to_string())),
        None => (None, None),
    };
    ClaimedTask {
        id: task.task_id.0,
        claim: task.claim,
        requester: task.requester.to_string(),
        capability: task.capability.to_string(),
        token: task.token.0,
        input: BASE64.encode(&task.input),
        input_text: String::from_utf8(task.input)
            .ok()
            .filter(|_| task.input_file.is_none()),
        input_bytes: task.input_file.map(|file| file.size),
        lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
        timeout_ms: task.timeout_ms,
        traceparent: task.traceparent,
        api,
        api_token,
    }
}

pub(super) fn refused(error: ClaimError) -> Refused {
    let because = |code: CommandErrorCode, why: &str| Refusal::Command(code).because(why);
    match error {
        ClaimError::Lapsed => because(
            CommandErrorCode::Conflict,
            "this claim has lapsed, or is not this task's: claim tasks anew",
        ),
        ClaimError::Kept => because(
            CommandErrorCode::Conflict,
            "what this task came to is kept already: claim tasks anew",
        ),
        ClaimError::Otherwise => because(
            CommandErrorCode::Conflict,
            "this task came to something else, which is kept already: claim tasks anew",
        ),
        ClaimError::Gone => Refusal::Gone
            .because("the task was canceled, taken away or is out of time: stop working on it"),
        ClaimError::Ending => because(
            CommandErrorCode::Busy,
            "what this task came to is on its way to the disk: say it again to hear that it is kept",
        ),
        ClaimError::Busy => because(
            CommandErrorCode::Busy,
            "many agents wait for tasks already: try again",
        ),
        ClaimError::TooLarge(max) => because(
            CommandErrorCode::TooLarge,
            &format!("the result is over {max} bytes: hand over less, or fail the task"),
        ),
    }
}
