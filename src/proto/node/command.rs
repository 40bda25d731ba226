//! What the API can ask of a node, and the plain views it gets back.
//!
//! The views are the JSON of the HTTP API and of `--json`; their names are fixed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::stats::{
    GuardView, HealthCounts, LoadView, NodeStats, PeerStatusView, PeerTraffic, PoolView,
};
use crate::crypto::Identity;
pub use crate::proto::inbox::MessageState;
use crate::types::{
    Capability, EntityId, MessageId, NodeName, PeerId, TaskId, TextError, TransferId, WakeId,
};
pub use crate::types::{MessageKind, Priority, TaskState};
pub use crate::wire::WakeRequest;
use crate::wire::{Evidence, WakeStatus, WireError};

/// A peer as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerRef {
    Peer(PeerId),
    Entity(EntityId),
    Name(NodeName),
}

impl FromStr for PeerRef {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        if let Ok(entity) = text.parse() {
            return Ok(PeerRef::Entity(entity));
        }
        if let Ok(peer) = text.parse() {
            return Ok(PeerRef::Peer(peer));
        }
        Ok(PeerRef::Name(text.parse()?))
    }
}

impl fmt::Display for PeerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerRef::Peer(peer) => peer.fmt(f),
            PeerRef::Entity(entity) => entity.fmt(f),
            PeerRef::Name(name) => name.fmt(f),
        }
    }
}

/// A task to be submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Chosen by the caller, so that a submission whose answer was lost can be repeated.
    pub id: TaskId,
    pub capability: Capability,
    pub input: Vec<u8>,
    pub to: Option<PeerRef>,
    pub priority: Priority,
    /// From now until the task must have ended.
    pub deadline_ms: u64,
}

/// Which messages of the inbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InboxFilter {
    pub state: Option<MessageState>,
    pub kind: Option<MessageKind>,
    pub from: Option<PeerRef>,
    /// Only those that arrived after this number.
    pub after: u64,
    /// At most so many.
    pub limit: usize,
}

/// A file to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTransfer {
    /// Chosen by the caller, so that a request whose answer was lost can be repeated.
    pub id: TransferId,
    pub peer: PeerRef,
    /// Absolute, on this node's machine.
    pub path: String,
    /// What the receiver is told it is called; the path's last part otherwise.
    pub name: Option<String>,
}

/// What the API asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Status,
    Peers,
    /// One of them.
    Peer(PeerRef),
    /// Every registry entry, this node's own included; only those offering a capability if named.
    Registry {
        offering: Option<Capability>,
    },
    Submit(Submission),
    Tasks,
    Task(TaskId),
    /// Answered once the task is terminal.
    AwaitTask(TaskId),
    TaskResult(TaskId),
    CancelTask(TaskId),
    Ping(PeerRef),
    /// How a peer is, from its own mouth.
    PeerStatus(PeerRef),
    /// What went to and fro.
    Stats,
    /// Answered once there is a connection to the peer and a live session with it.
    Reach(PeerRef),
    Wake {
        peer: PeerRef,
        reason: String,
        priority: Priority,
        request: WakeRequest,
    },
    /// Answered once the wake-up's phase is another than `seen`.
    AwaitWake {
        id: WakeId,
        seen: Option<WakeStatus>,
    },
    /// The local agent says that it resumed; names a wake-up received, or the newest.
    Resumed {
        id: Option<WakeId>,
    },
    /// An envelope that came over HTTP; answered with one.
    Envelope(Vec<u8>),
    /// Who this node is, and how to prove it.
    Identity,
    /// Wake-ups that others sent to this node, newest first.
    WakesReceived,
    /// Messages for our agent, in the order of arrival.
    Inbox(InboxFilter),
    /// Answered once a message has arrived after number `seen`.
    AwaitInbox {
        seen: u64,
    },
    /// One message with its body; from then on it is read.
    Message(MessageId),
    /// Answers a talk, and acknowledges it.
    ReplyTo {
        id: MessageId,
        body: Vec<u8>,
    },
    /// Our agent is done with a message.
    Acknowledge(MessageId),
    /// What shows a message to a third party.
    MessageProof(MessageId),
    SendFile(NewTransfer),
    /// Files sent and received, the oldest first.
    Transfers,
    /// Answered once the transfer's revision is another than `seen`, or it is over.
    AwaitTransfer {
        id: TransferId,
        seen: Option<u64>,
    },
    CancelTransfer(TransferId),
    /// The node's key was rotated in its key file: these are the keys from now on.
    KeyRotated(Box<Identity>),
    /// Whose key is whose, for people to compare: a peer's, or this node's own.
    Fingerprint {
        peer: Option<PeerRef>,
    },
}

/// What it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Status(Box<StatusView>),
    Peers(Vec<PeerView>),
    Peer(Box<PeerView>),
    Registry(Vec<EntryView>),
    Task(Box<TaskView>),
    Tasks(Vec<TaskView>),
    TaskResult {
        worker: Option<EntityId>,
        attempts: usize,
        result: Vec<u8>,
    },
    Pong(PongView),
    PeerStatus(PeerStatusView),
    Stats(Box<NodeStats>),
    Reached {
        peer_id: PeerId,
        entity_id: EntityId,
    },
    Wake(WakeView),
    Wakes(Vec<WakeView>),
    Inbox {
        messages: Vec<MessageView>,
        /// The number of the newest arrival, whether it is among them or not.
        last: u64,
    },
    Message {
        view: Box<MessageView>,
        body: Vec<u8>,
    },
    Proof(Box<Evidence>),
    Envelope(Vec<u8>),
    Identity(Box<IdentityView>),
    Transfer(Box<TransferView>),
    Transfers(Vec<TransferView>),
    Fingerprint(FingerprintView),
    Done,
}

/// The answer to a command.
pub type CommandResult = Result<Reply, CommandError>;

/// Why a command was refused: a stable code, and a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    pub code: CommandErrorCode,
    pub message: String,
    /// What the peer said, with [`CommandErrorCode::PeerRefused`].
    pub peer_code: Option<WireError>,
}

impl CommandError {
    /// An error with its sentence.
    pub fn new(code: CommandErrorCode, message: impl Into<String>) -> CommandError {
        CommandError {
            code,
            message: message.into(),
            peer_code: None,
        }
    }

    /// `peer` refused, and said why.
    pub fn refused_by(peer: &PeerId, code: WireError) -> CommandError {
        CommandError {
            peer_code: Some(code),
            ..CommandError::new(
                CommandErrorCode::PeerRefused,
                format!("{peer} refused it with {code}"),
            )
        }
    }
}

/// Stable codes of refused commands. The API gives each its HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandErrorCode {
    /// No such task, wake-up or peer.
    NotFound,
    /// Several peers go by that name.
    Ambiguous,
    /// A size, count or time is over its limit.
    TooLarge,
    /// A value makes no sense.
    Invalid,
    /// The task is not in the state this needs.
    Conflict,
    /// The queue is full.
    QueueFull,
    /// The node is busy; try again.
    Busy,
    /// The peer could not be reached or did not answer in time.
    Unreachable,
    /// The peer failed too often lately: it was not even tried.
    CircuitOpen,
    /// The peer answered that it will not do it, and why.
    PeerRefused,
    /// The disk refuses writes.
    Storage,
    /// The node is stopping.
    Stopping,
}

impl CommandErrorCode {
    /// The code as programs see it.
    pub fn as_str(self) -> &'static str {
        match self {
            CommandErrorCode::NotFound => "not_found",
            CommandErrorCode::Ambiguous => "ambiguous",
            CommandErrorCode::TooLarge => "too_large",
            CommandErrorCode::Invalid => "invalid",
            CommandErrorCode::Conflict => "conflict",
            CommandErrorCode::QueueFull => "queue_full",
            CommandErrorCode::Busy => "busy",
            CommandErrorCode::Unreachable => "unreachable",
            CommandErrorCode::CircuitOpen => "circuit_open",
            CommandErrorCode::PeerRefused => "peer_refused",
            CommandErrorCode::Storage => "storage",
            CommandErrorCode::Stopping => "stopping",
        }
    }
}

/// The node as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    pub name: String,
    pub peer_id: String,
    pub entity_id: String,
    pub fingerprint: String,
    pub network: String,
    pub version: String,
    pub listen: Vec<String>,
    pub capabilities: Vec<String>,
    pub uptime_ms: u64,
    /// Peers with a connection.
    pub connected: usize,
    /// Peers with a live session.
    pub sessions: usize,
    /// Registry entries, our own included.
    pub registry: usize,
    /// Our tasks by state.
    pub tasks: TaskCounts,
    /// Tasks of others that we hold: running, or done and not yet acknowledged.
    pub held: usize,
    /// `ok`, or why nothing new is accepted: what the disk said when it refused a write.
    pub storage: String,
    #[serde(default)]
    pub guard: GuardView,
    /// Peers by health.
    #[serde(default)]
    pub health: HealthCounts,
    #[serde(default)]
    pub pool: PoolView,
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdentityView {
    /// The durable identity.
    pub entity_id: String,
    /// The transport's identity; holds its public key.
    pub peer_id: String,
    /// The entity's Ed25519 key, in hex.
    pub public_key: String,
    /// The entity id in eight groups of four digits, for people to compare.
    pub fingerprint: String,
    /// The node's signed registry entry, in base64.
    pub entry: String,
}

/// How many of our tasks are in each state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskCounts {
    pub submitted: usize,
    pub working: usize,
    pub completed: usize,
    pub failed: usize,
    pub canceled: usize,
}

/// A peer we know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerView {
    pub peer_id: String,
    /// Absent until a session or the registry told.
    pub entity_id: Option<String>,
    pub name: Option<String>,
    /// `connected` (session live), `connecting`, `disconnected` or `banned`.
    pub state: String,
    pub capabilities: Vec<String>,
    pub addresses: Vec<String>,
    /// `healthy`, `suspect` or `unreachable`; absent until there was a session.
    pub health: Option<String>,
    /// Smoothed over heartbeats.
    pub rtt_us: Option<u64>,
    /// Of the last heartbeats, up to 32, those not answered in time.
    pub loss_percent: Option<u32>,
    /// Intervals in a row without a sign of life.
    pub missed: Option<u32>,
    /// Since the last sign of life.
    pub last_seen_ms: Option<u64>,
    /// The newest protocol version it speaks.
    pub version: Option<String>,
    /// As it last said itself.
    pub load: Option<LoadView>,
    /// `awake`, `wakeable` or `absent`, as it last said itself.
    pub agent: Option<String>,
    /// It cannot be reached and no wake-up got through: somebody has to look.
    pub manual_check: bool,
    /// `closed`, `open` (nothing is sent to it) or `half_open`.
    pub breaker: String,
    /// Requests of it that were over their rate.
    pub rate_limited: u64,
    pub traffic: PeerTraffic,
}

/// A registry entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntryView {
    pub peer_id: String,
    pub entity_id: String,
    pub name: String,
    /// `self`, or the peer's state.
    pub state: String,
    pub capabilities: Vec<String>,
    pub addresses: Vec<String>,
    /// The public key in use, in hexadecimal.
    pub key: String,
    /// How often the key was rotated.
    pub rotations: usize,
    pub seq: u64,
    /// RFC 3339.
    pub expires: String,
}

/// A task of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    pub id: String,
    pub capability: String,
    pub state: TaskState,
    pub priority: Priority,
    /// RFC 3339.
    pub submitted: String,
    /// RFC 3339.
    pub deadline: String,
    pub input_bytes: usize,
    pub result_bytes: Option<usize>,
    /// Why it failed, or what it waits for.
    pub reason: Option<String>,
    /// Whether a failure came for want of a worker before the deadline.
    pub no_worker: bool,
    pub attempts: Vec<AttemptView>,
}

/// One attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// The worker's entity id.
    pub worker: String,
    pub token: u64,
    /// RFC 3339.
    pub started: String,
    pub ended: Option<String>,
    /// `offered`, `working`, `completed`, `failed: …`, `refused: …`, `lost: …`, `canceled`.
    pub outcome: String,
}

/// A peer answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PongView {
    pub peer_id: String,
    pub rtt_us: Vec<u64>,
}

/// Whose key is whose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FingerprintView {
    pub name: String,
    pub peer_id: String,
    pub entity_id: String,
    /// Eight groups of four digits, of the entity's id: it outlives every rotation.
    pub fingerprint: String,
    /// The public key in use, in hexadecimal. Absent only where a key file of the first version
    /// is asked without its passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How often the key was rotated.
    pub rotations: usize,
}

/// A wake-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WakeView {
    pub id: String,
    /// The other side's entity id.
    pub peer: String,
    pub reason: String,
    /// How urgent its sender says it is.
    pub priority: Priority,
    /// `resume` or `restart`.
    pub request: String,
    /// `sending`, `delivered`, `hook_started`, `resumed`, `already_awake`, `rate_limited`,
    /// `not_allowed`, `failed` or `undelivered`.
    pub phase: String,
    pub elapsed_ms: u64,
    /// Every phase so far, in order. Empty for a wake-up that we received.
    pub phases: Vec<WakePhaseView>,
    /// The newest wake-up of this peer came to nothing: somebody has to look there.
    pub manual_check_needed: bool,
    /// With what error the peer refused the newest attempt, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_code: Option<String>,
}

/// A phase a wake-up went through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WakePhaseView {
    pub phase: String,
    /// From the wake-up's sending until the phase was known.
    pub elapsed_ms: u64,
}

/// A message for our agent, its body apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageView {
    pub id: String,
    /// Ascends in the order of arrival.
    pub number: u64,
    /// The sender's entity id.
    pub from: String,
    /// What the sender calls itself, if that is known.
    pub name: Option<String>,
    pub kind: MessageKind,
    /// `new` or `read`.
    pub state: String,
    pub priority: Priority,
    pub durable: bool,
    /// RFC 3339, as the sender says.
    pub sent: String,
    /// RFC 3339.
    pub received: String,
    pub bytes: usize,
    /// Whether its sender still waits for a reply.
    pub awaits_reply: bool,
    /// Whether it can be shown to a third party.
    pub provable: bool,
}

/// Which way a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// We send it.
    Out,
    /// We receive it.
    In,
}

/// A file sent or received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransferView {
    pub id: String,
    pub direction: Direction,
    /// The other side's entity id.
    pub peer: String,
    pub name: String,
    /// Where it is: the path of a file we send; of one we received, its name in the folder of
    /// received files.
    pub path: Option<String>,
    /// `hashing`, `waiting`, `sending`, `receiving`, `storing`, `completed`, `failed` or
    /// `canceled`.
    pub state: String,
    pub size: u64,
    /// What is on the receiver's disk, as far as this side knows.
    pub done_bytes: u64,
    /// What went over the network since this node started.
    pub moved_bytes: u64,
    /// BLAKE3, in hex; absent until it is known.
    pub hash: Option<String>,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339; when the state last changed.
    pub changed: String,
    /// Why it failed or was canceled.
    pub reason: Option<String>,
    /// Another whenever something above changed: what to wait for.
    pub revision: u64,
}

impl TransferView {
    /// Whether nothing follows.
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "completed" | "failed" | "canceled")
    }
}
