//! The whole boundary of a node: what can happen to it, and what it can ask for.
//!
//! Each enum fits on a page. A new variant is a decision.

use super::command::{Command, CommandResult};
use super::transfers::{FileJob, FileNews};
use super::views::TaskView;
use crate::crypto::{Work, WorkOutput};
pub use crate::proto::inbox::Settled;
use crate::proto::registry::KeyNews;
use crate::proto::session::StreamSecrets;
use crate::proto::webhook::Target;
pub use crate::types::Received;
use crate::types::{
    BatchId, Capability, CommandId, DeliveryId, EntityId, ExchangeId, FencingToken, FileRef,
    GossipId, HookId, InboundId, JobId, MessageId, Multiaddr, PayloadFile, PeerId, Priority, RunId,
    SessionId, TaskId, WakeId, WriteBatch,
};
use crate::wire::{OutputPart, WakeRequest, WireError};

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The first connection to `peer` stands; `addr` is its far end.
    Connected {
        peer: PeerId,
        addr: Multiaddr,
        dialer: bool,
    },
    /// The last connection to `peer` is gone.
    Disconnected { peer: PeerId },
    /// An [`Output::Dial`] came to nothing.
    DialFailed {
        peer: Option<PeerId>,
        addrs: Vec<Multiaddr>,
        reason: String,
    },
    /// `peer` speaks another network's protocols.
    WrongNetwork { peer: PeerId },
    /// mDNS or the DHT says that `peer` may be found there: a hint, not a fact.
    Discovered { peer: PeerId, addrs: Vec<Multiaddr> },
    /// The addresses at which others may reach us changed.
    ListenAddrs { addrs: Vec<Multiaddr> },
    /// `peer` (authenticated by the transport) asks; answer with [`Output::Respond`].
    Request {
        id: InboundId,
        peer: PeerId,
        bytes: Vec<u8>,
    },
    /// The answer to our [`Output::Request`].
    Response { id: ExchangeId, bytes: Vec<u8> },
    /// No answer will come to our [`Output::Request`].
    ExchangeFailed {
        id: ExchangeId,
        failure: ExchangeFailure,
    },
    /// A gossiped registry entry; settle it with [`Output::GossipVerdict`].
    Gossip {
        id: GossipId,
        source: PeerId,
        bytes: Vec<u8>,
    },
    /// Somebody wants to store an entry with us as a DHT record.
    DhtRecord {
        source: PeerId,
        key: Vec<u8>,
        value: Vec<u8>,
    },
    /// A command from the API; answer with [`Output::Reply`].
    Command { id: CommandId, command: Command },
    /// Every batch up to this one is durable.
    Persisted { upto: BatchId },
    /// An [`Output::Compute`] is done.
    Computed { job: JobId, output: WorkOutput },
    /// An [`Output::Run`] ended.
    RunEnded { run: RunId, outcome: RunOutcome },
    /// An [`Output::Run`] says something before it has ended. Some of it may be lost.
    RunSaid { run: RunId, said: RunSaid },
    /// An [`Output::Hook`] ended.
    HookEnded { hook: HookId, ok: bool },
    /// `peer` does not know a session that a stream was to be opened in.
    StreamRefused { peer: PeerId, session: SessionId },
    /// `peer` broke a rule on a stream.
    StreamAbused { peer: PeerId, code: WireError },
    /// A message for our agent came in and is to be kept; settle it with [`Output::Settle`]. A talk
    /// may be answered later with [`Output::Answer`].
    Received {
        delivery: DeliveryId,
        peer: PeerId,
        from: EntityId,
        message: Received,
    },
    /// Who sent a talk waits for its reply no more.
    Withdrawn { from: EntityId, talk: MessageId },
    /// An [`Output::Webhook`] was answered with 2xx, or why it was not.
    WebhookCalled {
        number: u64,
        answer: Result<(), String>,
    },
    /// The runtime's word on a file.
    File(FileNews),
    /// The runtime looked at what the store's disk has room for.
    Disk(DiskRoom),
    /// The node is about to be stopped: whatever runs ends because of that.
    Stopping,
    /// [`Node::next_deadline`](super::Node::next_deadline) has come.
    Deadline,
}

/// A look at a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskRoom {
    pub free_bytes: u64,
    /// What of it is to stay free.
    pub keep_bytes: u64,
}

/// Why a request got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeFailure {
    /// It never left: no connection could be made. The other side knows nothing of it.
    NotSent,
    /// It may have arrived and may have been acted on.
    Unknown,
    /// The other side does not speak our protocol.
    Unsupported,
    /// The node's own word: it failed too often lately, nothing is sent there for a while.
    CircuitOpen,
}

/// How a command run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    Completed {
        result: Vec<u8>,
    },
    /// The result is a payload: in this file, which is flushed, or one that is kept already.
    CompletedFile {
        content: FileRef,
        file: Option<uuid::Uuid>,
    },
    Failed {
        reason: String,
    },
    /// Nobody had begun it when it was asked back.
    Returned,
}

/// What a run says before it has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSaid {
    /// How far it is.
    pub percent: Option<u8>,
    /// The same in words.
    pub note: Option<String>,
    /// What it has written since.
    pub output: Option<OutputPart>,
}

/// What to do. The order matters, except across different resources.
#[derive(Debug)]
pub enum Output {
    /// Connect; without a peer id, to whoever answers there.
    Dial {
        peer: Option<PeerId>,
        addrs: Vec<Multiaddr>,
    },
    /// Close every connection to `peer`.
    Disconnect { peer: PeerId },
    /// Send a request, dialling `addrs` if there is no connection.
    Request {
        id: ExchangeId,
        peer: PeerId,
        addrs: Vec<Multiaddr>,
        bytes: Vec<u8>,
    },
    /// Answer a request.
    Respond { id: InboundId, bytes: Vec<u8> },
    /// Gossip our registry entry, or one we learned that is news.
    Publish { bytes: Vec<u8> },
    /// Whether a gossip message is forwarded, dropped, or held against its source.
    GossipVerdict {
        id: GossipId,
        source: PeerId,
        verdict: Verdict,
    },
    /// Put a record into the DHT, or keep one that another put here.
    DhtPut {
        key: Vec<u8>,
        value: Vec<u8>,
        life_ms: u64,
        local_only: bool,
    },
    /// Announce in the DHT that we offer a capability.
    DhtProvide { capability: Capability },
    /// Look in the DHT for who offers it; whoever is found comes as [`Input::Discovered`].
    DhtFind { capability: Capability },
    /// Make durable. Batches are numbered and applied in order.
    Persist { id: BatchId, writes: WriteBatch },
    /// Work that is too slow for the driver.
    Compute { job: JobId, work: Work },
    /// Run a capability's command.
    Run { run: RunId, spec: RunSpec },
    /// End a run, its children too; no `RunEnded` is awaited any more.
    Kill { run: RunId },
    /// Give back a run that no agent has fetched: it ends as [`RunOutcome::Returned`]. Of any other
    /// nothing comes.
    Recall { run: RunId },
    /// Run the wake hook.
    Hook { hook: HookId, spec: HookSpec },
    /// Tell an address that a task has ended; the answer is [`Input::WebhookCalled`].
    Webhook(Box<WebhookCall>),
    /// What becomes of a message that was handed in.
    Settle {
        delivery: DeliveryId,
        outcome: Settled,
    },
    /// Our agent's answer to a talk that was handed in. Nobody may await it any more.
    Answer { delivery: DeliveryId, body: Vec<u8> },
    /// Read, write or move a file's bytes; the answer is [`Input::File`].
    File(FileJob),
    /// Answer a command.
    Reply {
        id: CommandId,
        result: CommandResult,
    },
    /// A session is live: its channel may be opened, by its initiator. Takes the place of an older
    /// session's with the same peer.
    ChannelUp(Box<StreamSecrets>),
    /// The session in use with `peer` is over.
    ChannelDown { peer: PeerId, session: SessionId },
    /// Something a person may want to read in the log.
    Note(Note),
}

/// What becomes of a gossip message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Ignore,
    Reject,
}

/// One run of a capability's command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSpec {
    pub task_id: TaskId,
    pub requester: EntityId,
    pub capability: Capability,
    /// Under which the task is held as the run begins.
    pub token: FencingToken,
    pub input: Vec<u8>,
    /// The input, where it is a payload; then `input` is empty.
    pub input_file: Option<PayloadFile>,
    /// Whether anybody wants to hear what it says before it has ended.
    pub stream: bool,
    /// What is left until the task's deadline.
    pub timeout_ms: u64,
}

/// One run of a hook: that for being woken, or that for being restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSpec {
    /// Which wake-up it is for.
    pub id: WakeId,
    pub request: WakeRequest,
    pub from: EntityId,
    pub reason: String,
    pub priority: Priority,
    pub timeout_ms: u64,
}

/// One try to tell an address that a task has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookCall {
    pub number: u64,
    pub task: TaskView,
    pub target: Target,
}

/// News for the log: what happened, without secrets or payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    SessionUp {
        peer: PeerId,
        entity: EntityId,
        name: String,
    },
    HealthChanged {
        peer: PeerId,
        state: &'static str,
    },
    /// Nothing is sent to it for a while.
    BreakerOpened {
        peer: PeerId,
    },
    SessionRefused {
        peer: PeerId,
        why: String,
    },
    PeerBanned {
        peer: PeerId,
        for_ms: u64,
    },
    WrongNetwork {
        peer: PeerId,
    },
    BootstrapFailed {
        addr: String,
        why: String,
    },
    TaskAssigned {
        task: TaskId,
        worker: EntityId,
        token: u64,
    },
    /// The oldest of too many failed tasks lost its input.
    DeadLetterForgotten {
        task: TaskId,
    },
    /// Nobody acknowledged what it came to, and its place was needed.
    ResultLetGo {
        task: TaskId,
        requester: EntityId,
    },
    /// The disk has too little room for new tasks, or has enough again.
    DiskShort {
        why: String,
    },
    DiskRoomAgain,
    TaskTaken {
        task: TaskId,
        requester: EntityId,
    },
    TaskEnded {
        task: TaskId,
        state: &'static str,
    },
    /// Nobody heard that it has ended.
    WebhookGivenUp {
        task: TaskId,
    },
    LeaseLost {
        task: TaskId,
        worker: EntityId,
        why: &'static str,
    },
    Woken {
        from: EntityId,
        reason: String,
    },
    MessageExpired {
        message: MessageId,
        from: EntityId,
    },
    FileArrived {
        from: EntityId,
        name: String,
        size: u64,
        /// Whether the inbox had room for a note of it.
        noted: bool,
    },
    Keys(KeyNews),
}
