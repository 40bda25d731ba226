//! What the API can ask of a node, and the answers it gets.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::io::{RunOutcome, RunSaid};
use super::stats::{NodeStats, PeerStatusView};
use super::views::{
    DrainView, EntryView, EventsView, FingerprintView, IdentityView, MessageView, PayloadView,
    PeerView, PongView, StatusView, TaskEventsView, TaskView, TransferView, WakeView,
};
use crate::crypto::Identity;
pub use crate::proto::inbox::MessageState;
pub use crate::proto::task::{Agreement, EventFilter, EventKind, HeldKey, Start, Wish};
pub use crate::proto::webhook::{Target, TargetError};
use crate::types::{
    Capability, EntityId, FileRef, IdPart, Label, Marks, MessageId, NodeName, PayloadFile, PeerId,
    RunId, TaskId, TaskKey, TextError, TransferId, WakeId,
};
pub use crate::types::{MessageKind, Priority, TaskState};
use crate::wire::{Evidence, TaskEvidence, WakeStatus, WireError};
pub use crate::wire::{Orphan, WakeRequest};

/// A peer as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerRef {
    Peer(PeerId),
    Entity(EntityId),
    /// Its name, or a part of one of its ids: the node knows which.
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

/// What is to be another than it was when a failed task is handed over again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    pub deadline_ms: Option<u64>,
    pub to: Option<PeerRef>,
    pub priority: Option<Priority>,
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
    pub start: Start,
    /// From its start until the task must have ended.
    pub deadline_ms: u64,
    /// What its submitter calls it: another way to tell a repetition.
    pub key: Option<TaskKey>,
    /// What becomes of a run whose lease is lost; it goes on if nothing is said.
    pub orphan: Option<Orphan>,
    /// Several workers do it, and so many results must be equal.
    pub agreement: Option<Agreement>,
    /// How deep it may be handed on, and what it is worth.
    pub wish: Wish,
    /// The task that runs here and hands this on: the other is a part of it.
    pub parent: Option<HeldKey>,
    /// What it demands of its worker, and its labels.
    pub marks: Marks,
    /// The input, where it is a payload that this node keeps: its hash; then `input` is empty.
    pub input_file: Option<[u8; 32]>,
    /// What its runs say is told to who watches, before they have ended.
    pub stream: bool,
    /// Whom to tell that it has ended; kept with the task, or neither is.
    pub webhook: Option<Box<Target>>,
}

impl Submission {
    /// A task for anybody who offers `capability`, to begin at once and end within ten minutes.
    pub fn new(id: TaskId, capability: Capability, input: Vec<u8>) -> Submission {
        Submission {
            id,
            capability,
            input,
            to: None,
            priority: Priority::Normal,
            start: Start::Now,
            deadline_ms: 600_000,
            key: None,
            orphan: None,
            agreement: None,
            wish: Wish::default(),
            parent: None,
            marks: Marks::default(),
            input_file: None,
            stream: false,
            webhook: None,
        }
    }
}

/// Which of our tasks, in the order of their ids: that of submission, unless the submitter chose
/// them otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
    pub state: Option<TaskState>,
    pub capability: Option<Capability>,
    /// Only those with this label.
    pub label: Option<Label>,
    /// Only those that failed and kept their input.
    pub dead: bool,
    /// The parts of tasks that several workers do, too.
    pub parts: bool,
    /// Only those behind this one.
    pub after: Option<TaskId>,
    /// From the newest back.
    pub newest: bool,
    /// At most so many.
    pub limit: usize,
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
#[allow(
    clippy::large_enum_variant,
    reason = "a command is moved a few times and kept nowhere"
)]
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
    /// All of these, or none; answered with the task of each.
    SubmitMany(Vec<Submission>),
    Tasks(TaskFilter),
    Task(TaskId),
    /// The one task whose id has this part.
    FindTask(IdPart),
    /// Answered once the task is terminal.
    AwaitTask(TaskId),
    /// What happened to a task after event number `after`; all that is kept without it.
    TaskEvents {
        id: TaskId,
        after: Option<u64>,
    },
    /// The same, answered once there is something to tell or nothing will follow.
    AwaitTaskEvents {
        id: TaskId,
        after: Option<u64>,
    },
    /// What happened to all tasks.
    Events(EventFilter),
    /// Answered once the newest number of these is another than `after`.
    AwaitEvents {
        after: u64,
    },
    /// Have an address told when the task has ended; it is kept until it was heard or given up.
    Notify {
        id: TaskId,
        target: Target,
    },
    TaskResult(TaskId),
    /// The input that a task of ours was handed over with, as long as it is kept.
    TaskInput(TaskId),
    /// What shows a task's outcome to a third party.
    TaskProof(TaskId),
    /// A payload that the runtime has written to a file of ours and flushed.
    KeepPayload {
        content: FileRef,
        file: uuid::Uuid,
    },
    /// Whether a payload is kept.
    Payload([u8; 32]),
    CancelTask(TaskId),
    /// Hand a failed task over again, as the new task `as_id`.
    Resubmit {
        id: TaskId,
        as_id: TaskId,
        changed: Changed,
    },
    /// Let a failed task's input go.
    DropTask(TaskId),
    /// Take no more tasks of others, and give back after `timeout_ms` what still runs then.
    Drain {
        timeout_ms: u64,
    },
    /// Take tasks of others again.
    Undrain,
    /// How far that is.
    Drained,
    /// An agent asks for tasks of these, or of all that agents fetch, and waits so long for one.
    Attend {
        capabilities: Option<BTreeSet<Capability>>,
        wait_ms: u64,
    },
    /// An agent that fetched a task says how far it is. Told to whoever watches, if that was asked
    /// for.
    SayOfRun {
        run: RunId,
        said: RunSaid,
    },
    /// An agent that fetched a task says how it ended; answered once that is durable.
    EndRun {
        run: RunId,
        outcome: RunOutcome,
    },
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
    Found(TaskId),
    Tasks {
        tasks: Vec<TaskView>,
        /// The last of them, if there may be more behind it.
        next: Option<TaskId>,
    },
    TaskEvents(Box<TaskEventsView>),
    Events(Box<EventsView>),
    TaskInput(Vec<u8>),
    /// An input that is a file of ours; a result likewise.
    TaskInputFile(PayloadFile),
    TaskResultFile {
        worker: Option<EntityId>,
        attempts: usize,
        file: PayloadFile,
    },
    Payload(PayloadView),
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
    TaskProof(Box<TaskEvidence>),
    Envelope(Vec<u8>),
    Identity(Box<IdentityView>),
    Transfer(Box<TransferView>),
    Transfers(Vec<TransferView>),
    Fingerprint(FingerprintView),
    Drain(DrainView),
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
    /// Whoever asked waits for the reply no more.
    NobodyWaits,
    /// This node does not serve it, or not so that agents fetch its tasks.
    NotServed,
    /// It is more than the task that it is a part of was given.
    NotAllowed,
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
            CommandErrorCode::NobodyWaits => "nobody_waits",
            CommandErrorCode::NotServed => "not_served",
            CommandErrorCode::NotAllowed => "not_allowed",
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
