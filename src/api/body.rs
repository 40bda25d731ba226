//! The JSON that goes in and out of the API beside the node's own views; server and client
//! share it. Unknown fields are refused, so that a misspelt option is never silently ignored.

mod tasks;

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::proto::node::{
    GuardView, HealthCounts, MessageKind, MessageView, NodeStats, PoolView, Priority, StatusView,
    TaskCounts,
};
use crate::runtime::bench::Traffic;

pub use tasks::*;

/// The longest a request is held open for news.
pub const WAIT_MAX_MS: u64 = 60_000;

/// Pings in one request, at most.
pub const PING_COUNT_MAX: u8 = 10;

/// Pings in one request where nothing else is said.
pub const PING_COUNT_DEFAULT: u8 = 4;

/// Whom to ping, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"peer": "alice", "count": 4}))]
pub struct PingBody {
    /// A unique name, a peer id or an entity id, or a part of either.
    #[schema(min_length = 1, max_length = 64)]
    pub peer: String,
    /// 1 to 10, 4 by default.
    #[serde(default = "ping_count_default")]
    #[schema(minimum = 1, maximum = 10, default = 4)]
    pub count: u8,
}

/// What `POST /v1/bench` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"peer": "alice", "traffic": "talk", "span_ms": 1000}))]
pub struct BenchBody {
    /// A unique name, a peer id or an entity id, or a part of either.
    #[schema(min_length = 1, max_length = 64)]
    pub peer: String,
    pub traffic: Traffic,
    /// How long messages are sent.
    #[schema(minimum = 1, maximum = 20_000)]
    pub span_ms: u64,
}

fn ping_count_default() -> u8 {
    PING_COUNT_DEFAULT
}

/// Whom to wake, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"peer": "alice", "reason": "the build is ready"}))]
pub struct WakeBody {
    /// A unique name, a peer id or an entity id, or a part of either.
    #[schema(min_length = 1, max_length = 64)]
    pub peer: String,
    /// What its agent gets to read, up to 1024 bytes.
    #[serde(default)]
    pub reason: String,
    /// `high` by default; the other side's hook gets to know it.
    #[serde(default = "wake_priority")]
    pub priority: Priority,
    /// `resume` (the default), or `restart`: have the agent ended and started anew.
    #[serde(default)]
    pub request: WakeRequestBody,
}

impl WakeBody {
    /// Wakes `peer` with the defaults.
    pub fn new(peer: impl Into<String>, reason: impl Into<String>) -> WakeBody {
        WakeBody {
            peer: peer.into(),
            reason: reason.into(),
            priority: wake_priority(),
            request: WakeRequestBody::default(),
        }
    }
}

fn wake_priority() -> Priority {
    Priority::High
}

/// What a woken node is asked to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WakeRequestBody {
    #[default]
    Resume,
    Restart,
}

/// The longest a talk waits for its reply.
pub const TALK_TIMEOUT_MAX_MS: u64 = crate::types::limits::TALK_TIMEOUT_MS;

/// What to say to whose agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"peer": "alice", "text": "is the build ready?"}))]
pub struct TalkBody {
    /// A unique name, a peer id or an entity id, or a part of either.
    #[schema(min_length = 1, max_length = 64)]
    pub peer: String,
    /// What to say, as text; in place of `data`. Neither: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The same in base64; in place of `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// How long to wait for the reply: 1 to 60000, which is the default.
    #[serde(default = "talk_timeout")]
    #[schema(minimum = 1, maximum = 60_000, default = 60_000)]
    pub timeout_ms: u64,
    /// What leaves first when much waits.
    #[serde(default)]
    pub priority: Priority,
}

/// What to tell whose agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"peer": "alice", "text": "half of it is done", "durable": true}))]
pub struct ReportBody {
    /// A unique name, a peer id or an entity id, or a part of either.
    #[schema(min_length = 1, max_length = 64)]
    pub peer: String,
    /// What to tell, as text; in place of `data`. Neither: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The same in base64; in place of `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// How long to try: 1 to 60000, which is the default.
    #[serde(default = "talk_timeout")]
    #[schema(minimum = 1, maximum = 60_000, default = 60_000)]
    pub timeout_ms: u64,
    /// What leaves first when much waits.
    #[serde(default)]
    pub priority: Priority,
    /// Whether it counts as received only once it is on the other side's disk.
    #[serde(default)]
    pub durable: bool,
    /// Whether to wait until it was received; true by default.
    #[serde(default = "confirm_default")]
    pub confirm: bool,
}

fn talk_timeout() -> u64 {
    TALK_TIMEOUT_MAX_MS
}

fn confirm_default() -> bool {
    true
}

/// What an agent said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SpokenBody {
    /// In base64.
    pub data: String,
    /// As text, if it is text.
    pub text: Option<String>,
}

/// Whom to look for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"peer": "alice"}))]
pub struct AliveBody {
    /// A unique name, a peer id or an entity id, or a part of either.
    #[schema(min_length = 1, max_length = 64)]
    pub peer: String,
}

/// Which messages of the inbox, and how long to wait for one.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InboxParams {
    /// Only `new` ones, or only those that were `read`.
    #[param(inline)]
    pub state: Option<InboxState>,
    /// Only each `talk`, each `report`, or each note of a `file` that arrived.
    pub kind: Option<MessageKind>,
    /// Only what this peer sent: a unique name, an id or a part of one.
    #[param(min_length = 1, max_length = 64)]
    pub from: Option<String>,
    /// Only what arrived after the message with this number.
    pub after: Option<u64>,
    /// 1 to 1000 messages; 100 by default.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// If there is none, answer when one arrives, or after so long; 0 by default, more than 60000
    /// counts as 60000.
    pub wait_ms: Option<u64>,
}

impl InboxParams {
    /// The query that asks for this.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let state = self.state.map(|state| match state {
            InboxState::New => String::from("new"),
            InboxState::Read => String::from("read"),
        });
        let pairs = [
            ("state", state),
            ("kind", self.kind.map(|kind| kind.as_str().to_owned())),
            ("from", self.from.clone()),
            ("after", self.after.map(|number| number.to_string())),
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("wait_ms", self.wait_ms.map(|wait_ms| wait_ms.to_string())),
        ];
        let given = |(name, value): (&'static str, Option<String>)| Some((name, value?));
        pairs.into_iter().filter_map(given).collect()
    }
}

/// Whether a message was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InboxState {
    New,
    Read,
}

/// A message with its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageBody {
    #[serde(flatten)]
    pub message: MessageView,
    /// The body in base64.
    pub data: String,
    /// The body as text, if it is text.
    pub text: Option<String>,
}

/// What to reply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "it is done"}))]
pub struct ReplyBody {
    /// The reply as text; in place of `data`. Neither: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The reply in base64; in place of `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// A file to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"peer": "bob", "path": "/home/alice/holiday.mp4"}))]
pub struct TransferBody {
    /// A unique name, a peer id or an entity id, or a part of either.
    #[schema(min_length = 1, max_length = 64)]
    pub peer: String,
    /// Where the file is on the node's machine: an absolute path.
    pub path: String,
    /// What it is called at the receiver. Default: the path's last part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The transfer's id; a repeated one gives the transfer that is already there. Default: a new
    /// UUID v7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
}

/// How long to hold a request open for a transfer's next change.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TransferParams {
    /// The `revision` already known. Without it the answer comes at once.
    pub seen: Option<u64>,
    /// Answer at the next change, or after so long; 0 by default, more than 60000 counts as 60000.
    pub wait_ms: Option<u64>,
}

/// What it takes to rotate the key.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateBody {
    /// The key file's passphrase, if it has one. Taken only where no other machine can reach the
    /// API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Password)]
    pub passphrase: Option<String>,
}

impl fmt::Debug for RotateBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RotateBody(…)")
    }
}

/// Whose fingerprint.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FingerprintParams {
    /// A unique name, a peer id or an entity id, or a part of either; this node's own where nobody is named.
    #[param(min_length = 1, max_length = 64)]
    pub peer: Option<String>,
}

/// Which registry entries.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RegistryParams {
    /// Only those that offer this capability.
    #[param(pattern = r"^[A-Za-z0-9._-]{1,64}$")]
    pub capability: Option<String>,
}

/// How long to hold a request open for a wake-up's next phase.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WakeParams {
    /// The phase already known; `sending` by default. An answer comes at once when it is another.
    pub seen: Option<String>,
    /// Answer at the next phase, or after so long; 0 by default, more than 60000 counts as 60000.
    pub wait_ms: Option<u64>,
}

/// The API answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthView {
    /// `ok`.
    pub status: String,
}

/// The node in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatsView {
    pub uptime_ms: u64,
    /// Peers with a connection.
    pub connected: usize,
    /// Peers with a live session.
    pub sessions: usize,
    /// Registry entries, our own included.
    pub registry: usize,
    /// Our tasks by state.
    pub tasks: TaskCounts,
    /// Tasks of others that we hold.
    pub held: usize,
    pub guard: GuardView,
    /// Peers by health.
    pub health: HealthCounts,
    pub pool: PoolView,
    #[serde(flatten)]
    pub traffic: NodeStats,
}

impl StatsView {
    pub(super) fn new(status: StatusView, traffic: NodeStats) -> StatsView {
        StatsView {
            uptime_ms: status.uptime_ms,
            connected: status.connected,
            sessions: status.sessions,
            registry: status.registry,
            tasks: status.tasks,
            held: status.held,
            guard: status.guard,
            health: status.health,
            pool: status.pool,
            traffic,
        }
    }
}
