//! What goes in and out about tasks.

use std::fmt;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::proto::node::{Agreement, Priority, TaskState};
use crate::types::{Amount, Compare, Tier};

/// How long a task may take where nothing else is said: 10 minutes.
pub const DEADLINE_DEFAULT_MS: u64 = 600_000;

/// The longest deadline: 7 days, one less than tasks are remembered.
pub const DEADLINE_MAX_MS: u64 = 7 * 24 * 3600 * 1000;

/// Work to hand over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"capability": "wc", "input_text": "one two three", "priority": "high"}))]
pub struct SubmitBody {
    /// What the worker must offer.
    #[schema(pattern = r"^[A-Za-z0-9._-]{1,64}$")]
    pub capability: String,
    /// The input in base64; in place of `input_text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The input as text; in place of `input`. Neither: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_text: Option<String>,
    /// In place of both: the hash of a payload that `PUT /v1/payloads` took, for what is over 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9a-fA-F]{64}$")]
    pub input_file: Option<String>,
    /// Tell what its runs say before they have ended, as events: how far they are, and where a worker
    /// allows it what they write.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// The task's id; a repeated one gives the task that is already there. Default: a new UUID v7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// The one worker to take: a unique name, an id or a part of one. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64)]
    pub to: Option<String>,
    #[serde(default)]
    pub priority: Priority,
    /// RFC 3339: it does not begin before, 30 days from now at most. Default: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<String>,
    /// The same as milliseconds from now; in place of `start_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 2_592_000_000_u64)]
    pub delay_ms: Option<u64>,
    /// What you call it, 1 to 128 visible ASCII characters: the same task handed over again under
    /// the same key is the one that is there. `Idempotency-Key` is another way to say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[!-~]{1,128}$")]
    pub key: Option<String>,
    /// What becomes of a run whose worker loses its lease: `continue` (default), for its result may
    /// still be taken, or `stop`: then the task is given back, and never runs twice at once.
    #[serde(default, skip_serializing_if = "OrphanRule::is_default")]
    pub orphan: OrphanRule,
    /// How many times it may be handed on, in parts, by who works on it: 0 by default; within a task,
    /// one less than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<u8>,
    /// What it is worth; its parts may not cost more together.
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub reward: Amount,
    /// Labels that the worker must have, up to 16, as it says of itself: `gpu=a100`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub needs: Vec<String>,
    /// What the worker must have come to by earlier tasks of this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_tier: Option<Tier>,
    /// Labels of the task itself, up to 16: `GET /v1/tasks?label=` finds it by each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub labels: Vec<String>,
    /// From its start until it must have ended: 1 to 604800000 (7 days), 10 minutes by default.
    #[serde(default = "deadline_default")]
    #[schema(minimum = 1, maximum = 604_800_000, default = 600_000)]
    pub deadline_ms: u64,
    /// Have several workers do it, apart from each other, and take the result that enough of them
    /// come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<AgreementBody>,
    /// Whom to tell that it has ended, as with `POST /v1/tasks/{id}/webhook`; kept with the task, so
    /// that no crash comes between the two. A part of a task has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookBody>,
}

/// How many workers are to do a task, and how many of them must come to the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"replicas": 3, "agree": 2, "compare": "json"}))]
pub struct AgreementBody {
    /// Each a worker of its own.
    #[schema(minimum = 2, maximum = 16)]
    pub replicas: u8,
    /// More than half of them. Default: as few as that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 2, maximum = 16)]
    pub agree: Option<u8>,
    /// What of a result counts; `bytes` by default.
    #[serde(default)]
    pub compare: Compare,
}

impl From<AgreementBody> for Agreement {
    fn from(body: AgreementBody) -> Agreement {
        Agreement {
            replicas: body.replicas,
            agree: body.agree.unwrap_or(body.replicas / 2 + 1),
            compare: body.compare,
        }
    }
}

impl SubmitBody {
    /// Work for anybody who offers `capability`, with a fresh id and the defaults.
    pub fn new(capability: impl Into<String>, input: &[u8]) -> SubmitBody {
        SubmitBody {
            capability: capability.into(),
            input: Some(BASE64.encode(input)),
            input_text: None,
            input_file: None,
            stream: false,
            id: Some(Uuid::now_v7()),
            to: None,
            priority: Priority::default(),
            start_at: None,
            delay_ms: None,
            key: None,
            orphan: OrphanRule::Continue,
            depth: None,
            reward: Amount::default(),
            needs: Vec::new(),
            min_tier: None,
            labels: Vec::new(),
            deadline_ms: DEADLINE_DEFAULT_MS,
            agreement: None,
            webhook: None,
        }
    }
}

fn deadline_default() -> u64 {
    DEADLINE_DEFAULT_MS
}

/// What becomes of a run whose lease is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrphanRule {
    /// It goes on to the deadline.
    #[default]
    Continue,
    /// It is ended, and the task goes elsewhere.
    Stop,
}

impl OrphanRule {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the form that serde calls"
    )]
    fn is_default(&self) -> bool {
        *self == OrphanRule::Continue
    }
}

/// Tasks to be handed over together: all or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"tasks": [{"capability": "wc", "input_text": "one"},
    {"capability": "wc", "input_text": "one two"}]}))]
pub struct SubmitManyBody {
    #[schema(min_items = 1, max_items = 256)]
    pub tasks: Vec<SubmitBody>,
}

/// The most tasks of one answer, and how many it has where nothing else is said.
pub const TASKS_PAGE_MAX: usize = 1_000;

/// Which tasks.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TaskListParams {
    /// Only those in this state.
    pub state: Option<TaskState>,
    /// Only those that want this capability.
    #[param(pattern = r"^[A-Za-z0-9._-]{1,64}$")]
    pub capability: Option<String>,
    /// Only those with this label.
    pub label: Option<String>,
    /// Only those that failed and kept their input; all by default.
    pub dead: Option<bool>,
    /// The parts of tasks that several workers do, too; false by default.
    pub parts: Option<bool>,
    /// Only those behind the task of this id: what `X-Junto-Next` said.
    pub after: Option<Uuid>,
    /// From the newest back; false by default.
    pub newest: Option<bool>,
    /// 1 to 1000 tasks; 1000 by default.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
}

impl TaskListParams {
    /// The query that asks for this.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let pairs = [
            ("state", self.state.map(|state| state.as_str().to_owned())),
            ("capability", self.capability.clone()),
            ("label", self.label.clone()),
            ("dead", self.dead.map(|dead| dead.to_string())),
            ("parts", self.parts.map(|parts| parts.to_string())),
            ("after", self.after.map(|id| id.to_string())),
            ("newest", self.newest.map(|newest| newest.to_string())),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ];
        let given = |(name, value): (&'static str, Option<String>)| Some((name, value?));
        pairs.into_iter().filter_map(given).collect()
    }
}

/// How long to hold a request open for a task's end.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TaskParams {
    /// Answer when the task has ended, or after so long; 0 by default, more than 60000 counts as
    /// 60000.
    pub wait_ms: Option<u64>,
}

/// Which of a task's events, and how long to wait for one.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventParams {
    /// Only what happened after the event with this number.
    pub after: Option<u64>,
    /// If there is none, answer when there is one, or after so long; 0 by default, more than 60000
    /// counts as 60000. A stream needs none.
    pub wait_ms: Option<u64>,
}

/// Which events of all tasks, and how long to wait for one.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FeedParams {
    /// Only what happened after the event with this number: what `next` said.
    pub after: Option<u64>,
    /// Only of this; `task` is what there is so far.
    pub topic: Option<String>,
    /// Only these kinds, with commas between them: `completed,failed,canceled`.
    pub kind: Option<String>,
    /// Only of tasks that want this capability.
    #[param(pattern = r"^[A-Za-z0-9._-]{1,64}$")]
    pub capability: Option<String>,
    /// Only of tasks with this label.
    pub label: Option<String>,
    /// Of the parts of tasks that several workers do, too; false by default.
    pub parts: Option<bool>,
    /// 1 to 1000 events; 1000 by default. A stream needs none.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// If there is none, answer when there is one, or after so long; 0 by default, more than 60000
    /// counts as 60000. A stream needs none.
    pub wait_ms: Option<u64>,
}

impl FeedParams {
    /// The query that asks for this.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let pairs = [
            ("after", self.after.map(|number| number.to_string())),
            ("topic", self.topic.clone()),
            ("kind", self.kind.clone()),
            ("capability", self.capability.clone()),
            ("label", self.label.clone()),
            ("parts", self.parts.map(|parts| parts.to_string())),
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("wait_ms", self.wait_ms.map(|wait_ms| wait_ms.to_string())),
        ];
        let given = |(name, value): (&'static str, Option<String>)| Some((name, value?));
        pairs.into_iter().filter_map(given).collect()
    }
}

/// What is to be another than it was; what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"deadline_ms": 7_200_000}))]
pub struct ResubmitBody {
    /// From now until it must have ended: 1 to 604800000 (7 days).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 604_800_000)]
    pub deadline_ms: Option<u64>,
    /// The one worker to take: a unique name, an id or a part of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64)]
    pub to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

/// Whom to tell that a task has ended.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"url": "http://127.0.0.1:9000/done"}))]
pub struct WebhookBody {
    /// `http://`, on this machine unless the settings allow others.
    pub url: String,
    /// What is posted is signed with it: `X-Junto-Signature: sha256=` and the HMAC in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Password)]
    pub secret: Option<String>,
}

impl fmt::Debug for WebhookBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookBody(…)")
    }
}
