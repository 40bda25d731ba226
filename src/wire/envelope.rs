//! The envelope (SecureMessage): a header in clear, a payload, a signature.
//!
//! *Sign, then seal*: a message in a session carries its signature inside the ciphertext, over
//! the header, the clear body and the session's transcript. The header is the AEAD's associated
//! data. Outside a session the payload is in clear and the signature stands beside it.

use serde::{Deserialize, Serialize};

use super::cbor::{self, CborError};
use crate::crypto::{Digest, Signature, hash};
use crate::types::limits::FRAME_MAX_BYTES;
use crate::types::{EntityId, Nonce, Priority, SessionId, Wall};

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MsgType {
    Handshake,
    HandshakeAck,
    HandshakeConfirm,
    /// The responder's first sealed message: M3 arrived, the session is live on both sides.
    Ready,
    Error,
    Ping,
    Pong,
    RegistrySync,
    RegistryEntries,
    WakeUp,
    WakeUpAck,
    /// A later phase of a wake-up, sent by the woken side.
    WakeUpdate,
    TaskDelegate,
    TaskAccept,
    TaskRenew,
    TaskRenewAck,
    TaskResult,
    TaskResultAck,
    TaskCancel,
    TaskCancelAck,
    /// What was committed to may be told.
    TaskReveal,
    TaskRevealAck,
    /// How far runs are.
    TaskProgress,
    TaskProgressAck,
    /// A numbered sign of life.
    Heartbeat,
    HeartbeatAck,
    /// How the sender is; answered with how the receiver is.
    StatusReport,
    CapabilityQuery,
    CapabilityResponse,
    /// Asks for the entries of those who offer a capability.
    Discovery,
    ChunkOffer,
    ChunkAnswer,
    ChunkCancel,
    ChunkCancelAck,
}

/// Types that are limited and counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MsgClass {
    Handshake,
    /// Signs of life and status.
    Probe,
    Registry,
    Wake,
    Task,
    Other,
}

impl MsgClass {
    pub const ALL: [MsgClass; 6] = [
        MsgClass::Handshake,
        MsgClass::Probe,
        MsgClass::Registry,
        MsgClass::Wake,
        MsgClass::Task,
        MsgClass::Other,
    ];

    /// The class's name.
    pub fn as_str(self) -> &'static str {
        match self {
            MsgClass::Handshake => "handshake",
            MsgClass::Probe => "probe",
            MsgClass::Registry => "registry",
            MsgClass::Wake => "wake",
            MsgClass::Task => "task",
            MsgClass::Other => "other",
        }
    }
}

impl MsgType {
    /// What it is limited and counted with.
    pub fn class(self) -> MsgClass {
        match self {
            MsgType::Handshake
            | MsgType::HandshakeAck
            | MsgType::HandshakeConfirm
            | MsgType::Ready => MsgClass::Handshake,
            MsgType::Ping
            | MsgType::Pong
            | MsgType::Heartbeat
            | MsgType::HeartbeatAck
            | MsgType::StatusReport
            | MsgType::CapabilityQuery
            | MsgType::CapabilityResponse => MsgClass::Probe,
            MsgType::RegistrySync | MsgType::RegistryEntries | MsgType::Discovery => {
                MsgClass::Registry
            }
            MsgType::WakeUp | MsgType::WakeUpAck | MsgType::WakeUpdate => MsgClass::Wake,
            MsgType::TaskDelegate
            | MsgType::TaskAccept
            | MsgType::TaskRenew
            | MsgType::TaskRenewAck
            | MsgType::TaskResult
            | MsgType::TaskResultAck
            | MsgType::TaskCancel
            | MsgType::TaskCancelAck
            | MsgType::TaskReveal
            | MsgType::TaskRevealAck
            | MsgType::TaskProgress
            | MsgType::TaskProgressAck => MsgClass::Task,
            _ => MsgClass::Other,
        }
    }

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            MsgType::Handshake => "handshake",
            MsgType::HandshakeAck => "handshake_ack",
            MsgType::HandshakeConfirm => "handshake_confirm",
            MsgType::Ready => "ready",
            MsgType::Error => "error",
            MsgType::Ping => "ping",
            MsgType::Pong => "pong",
            MsgType::RegistrySync => "registry_sync",
            MsgType::RegistryEntries => "registry_entries",
            MsgType::WakeUp => "wake_up",
            MsgType::WakeUpAck => "wake_up_ack",
            MsgType::WakeUpdate => "wake_update",
            MsgType::TaskDelegate => "task_delegate",
            MsgType::TaskAccept => "task_accept",
            MsgType::TaskRenew => "task_renew",
            MsgType::TaskRenewAck => "task_renew_ack",
            MsgType::TaskResult => "task_result",
            MsgType::TaskResultAck => "task_result_ack",
            MsgType::TaskCancel => "task_cancel",
            MsgType::TaskCancelAck => "task_cancel_ack",
            MsgType::TaskReveal => "task_reveal",
            MsgType::TaskRevealAck => "task_reveal_ack",
            MsgType::TaskProgress => "task_progress",
            MsgType::TaskProgressAck => "task_progress_ack",
            MsgType::Heartbeat => "heartbeat",
            MsgType::HeartbeatAck => "heartbeat_ack",
            MsgType::StatusReport => "status_report",
            MsgType::CapabilityQuery => "capability_query",
            MsgType::CapabilityResponse => "capability_response",
            MsgType::Discovery => "discovery",
            MsgType::ChunkOffer => "chunk_offer",
            MsgType::ChunkAnswer => "chunk_answer",
            MsgType::ChunkCancel => "chunk_cancel",
            MsgType::ChunkCancelAck => "chunk_cancel_ack",
        }
    }

    /// Decides which of the messages that wait for a peer leaves first.
    pub fn priority(self) -> Priority {
        match self {
            // What sessions, wake-ups and leases hang on.
            MsgType::Handshake
            | MsgType::HandshakeAck
            | MsgType::HandshakeConfirm
            | MsgType::Ready
            | MsgType::Error
            | MsgType::WakeUp
            | MsgType::WakeUpAck
            | MsgType::WakeUpdate
            | MsgType::TaskDelegate
            | MsgType::TaskAccept
            | MsgType::TaskRenew
            | MsgType::TaskRenewAck
            | MsgType::TaskResult
            | MsgType::TaskResultAck
            | MsgType::TaskCancel
            | MsgType::TaskCancelAck
            | MsgType::TaskReveal
            | MsgType::TaskRevealAck => Priority::High,
            MsgType::Ping
            | MsgType::Pong
            | MsgType::RegistrySync
            | MsgType::RegistryEntries
            | MsgType::StatusReport
            | MsgType::CapabilityQuery
            | MsgType::CapabilityResponse
            | MsgType::Discovery
            | MsgType::ChunkOffer
            | MsgType::ChunkAnswer
            | MsgType::ChunkCancel
            | MsgType::ChunkCancelAck
            | MsgType::TaskProgress
            | MsgType::TaskProgressAck => Priority::Normal,
            MsgType::Heartbeat | MsgType::HeartbeatAck => Priority::Low,
        }
    }
}

/// How the payload is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seal {
    /// In clear and signed: handshakes and errors only.
    None,
    /// Under the session's key of the sender's direction.
    Session,
}

/// The part of a message that is in clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub version: String,
    pub msg_type: MsgType,
    pub sender_id: EntityId,
    /// Absent only where the sender does not know it yet (a first handshake, an error).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_id: Option<EntityId>,
    /// Present exactly where `seal` is `session`, as are `epoch` and `sequence_num`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Counts the sender's messages in this session, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_num: Option<u64>,
    /// In a response: the sequence number of the request it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub re: Option<u64>,
    pub timestamp: Wall,
    pub nonce: Nonce,
    pub seal: Seal,
}

/// One message as it travels: the exact bytes that signatures and tags cover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    #[serde(with = "serde_bytes")]
    pub header: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
    /// Present exactly where `seal` is `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// Key confirmation, in `handshake_ack` and `handshake_confirm`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    pub tag: Option<[u8; 32]>,
}

/// What a sealed payload opens to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedPlain {
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    pub signature: Signature,
}

impl Header {
    /// Whether the fields that go with the seal are there, and no others.
    pub fn is_consistent(&self) -> bool {
        let sealed = self.seal == Seal::Session;
        [
            self.session_id.is_some(),
            self.epoch.is_some(),
            self.sequence_num.is_some(),
        ] == [sealed; 3]
            && (sealed || self.re.is_none())
            && (!sealed || self.recipient_id.is_some())
    }
}

impl Envelope {
    /// The bytes of this envelope.
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads an envelope and its header; a header whose fields contradict its seal is refused.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<(Envelope, Header), CborError> {
        let envelope: Envelope = cbor::decode(bytes, FRAME_MAX_BYTES)?;
        let header: Header = cbor::decode(&envelope.header, 1024)?;
        if !header.is_consistent() || (header.seal == Seal::None) != envelope.signature.is_some() {
            return Err(CborError::Unexpected(
                "the header contradicts its seal".into(),
            ));
        }
        Ok((envelope, header))
    }

    /// The hash of header and payload: what a signature outside a session covers.
    pub fn digest(&self) -> Digest {
        hash("message", &[&self.header, &self.data])
    }
}
