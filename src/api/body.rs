//! The JSON that goes in and out of the API beside the node's own views; server and client
//! share it. Unknown fields are refused, so that a misspelt option is never silently ignored.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::proto::node::{
    GuardView, HealthCounts, NodeStats, PoolView, Priority, StatusView, TaskCounts,
};
use crate::runtime::bench::Traffic;

/// How long a task may take where nothing else is said: 10 minutes.
pub const DEADLINE_DEFAULT_MS: u64 = 600_000;
/// The longest deadline: 7 days, one less than tasks are remembered.
pub const DEADLINE_MAX_MS: u64 = 7 * 24 * 3600 * 1000;
/// The longest a request is held open for news.
pub const WAIT_MAX_MS: u64 = 60_000;
/// Pings in one request, at most.
pub const PING_COUNT_MAX: u8 = 10;
/// Pings in one request where nothing else is said.
pub const PING_COUNT_DEFAULT: u8 = 4;

/// Work to hand over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"capability": "wc", "input_text": "one two three", "priority": "high"}))]
pub struct SubmitBody {
    /// What the worker must offer.
    pub capability: String,
    /// The input in base64; in place of `input_text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The input as text; in place of `input`. Neither: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_text: Option<String>,
    /// The task's id; a repeated one gives the task that is already there. Default: a new UUID v7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// The one worker to take: a peer id, an entity id or a unique name. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(default)]
    pub priority: Priority,
    /// From now until it must have ended: 1 to 604800000 (7 days), 10 minutes by default.
    #[serde(default = "deadline_default")]
    #[schema(minimum = 1, maximum = 604_800_000, default = 600_000)]
    pub deadline_ms: u64,
}

impl SubmitBody {
    /// Work for anybody who offers `capability`, with a fresh id and the defaults.
    pub fn new(capability: impl Into<String>, input: &[u8]) -> SubmitBody {
        SubmitBody {
            capability: capability.into(),
            input: Some(BASE64.encode(input)),
            input_text: None,
            id: Some(Uuid::now_v7()),
            to: None,
            priority: Priority::default(),
            deadline_ms: DEADLINE_DEFAULT_MS,
        }
    }
}

fn deadline_default() -> u64 {
    DEADLINE_DEFAULT_MS
}

/// Whom to ping, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"peer": "alice", "count": 4}))]
pub struct PingBody {
    /// A peer id, an entity id or a unique name.
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
    /// A peer id, an entity id or a unique name.
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
    /// A peer id, an entity id or a unique name.
    pub peer: String,
    /// What its agent gets to read, up to 1024 bytes.
    #[serde(default)]
    pub reason: String,
}

/// Which registry entries.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RegistryParams {
    /// Only those that offer this capability.
    pub capability: Option<String>,
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

/// Who this node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublicKeyView {
    /// Holds the transport's public key.
    pub peer_id: String,
    /// The durable identity.
    pub entity_id: String,
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
