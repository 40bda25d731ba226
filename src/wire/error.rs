//! The error codes a peer can be told, and the message that carries one.

use serde::{Deserialize, Serialize};

/// Why a message was refused. The names are the protocol's and never change.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WireError {
    #[error("INVALID_VERSION: no protocol version or suite in common")]
    InvalidVersion,
    #[error("INVALID_SIGNATURE: a signature does not hold")]
    InvalidSignature,
    #[error("REPLAY_DETECTED: this message was seen before")]
    ReplayDetected,
    #[error("UNKNOWN_SENDER: the sender is not who the connection says")]
    UnknownSender,
    #[error("SESSION_EXPIRED: the session's time is over")]
    SessionExpired,
    #[error("SEQUENCE_ERROR: the sequence number is out of the window")]
    SequenceError,
    #[error("DECRYPTION_FAILED: the message does not open")]
    DecryptionFailed,
    #[error("HANDSHAKE_TIMEOUT: the handshake took too long or the clocks differ too much")]
    HandshakeTimeout,
    #[error("SESSION_NOT_FOUND: there is no such session")]
    SessionNotFound,
    #[error("INVALID_STATE: the message does not fit the state of the session")]
    InvalidState,
    #[error("ENCRYPTION_REQUIRED: this message must travel sealed in a session")]
    EncryptionRequired,
    #[error("RATE_LIMITED: too many of these")]
    RateLimited,
    #[error("MALFORMED: the bytes are not a message of this protocol")]
    Malformed,
    #[error("WRONG_RECIPIENT: the message is addressed to somebody else")]
    WrongRecipient,
    #[error("BUSY: no room at the moment")]
    Busy,
    #[error("PAYLOAD_TOO_LARGE: over the limit")]
    PayloadTooLarge,
    #[error("NOT_ALLOWED: refused by policy")]
    NotAllowed,
    #[error("AGENT_FAILED: the agent behind the node did not take the message")]
    AgentFailed,
    #[error("CHUNK_ERROR: a chunk of a file is not what its hash says")]
    ChunkError,
}

impl WireError {
    /// The code as it travels.
    pub fn name(self) -> String {
        let text = self.to_string();
        text.split(':').next().unwrap_or_default().to_owned()
    }

    /// How much a peer's standing suffers for causing this; at 100 it is banned for a while.
    ///
    /// What an honest peer causes by bad luck (a restart, a lost packet, load) costs nothing.
    pub fn penalty(self) -> u32 {
        match self {
            WireError::Malformed | WireError::PayloadTooLarge => 15,
            WireError::InvalidSignature | WireError::UnknownSender => 34,
            WireError::WrongRecipient | WireError::EncryptionRequired => 20,
            WireError::DecryptionFailed | WireError::ReplayDetected | WireError::ChunkError => 10,
            WireError::SequenceError => 5,
            // Two handshakes that cross are nobody's fault; a stream of these still is.
            WireError::InvalidState => 1,
            WireError::RateLimited | WireError::NotAllowed => 2,
            WireError::InvalidVersion
            | WireError::SessionExpired
            | WireError::SessionNotFound
            | WireError::HandshakeTimeout
            | WireError::Busy
            | WireError::AgentFailed => 0,
        }
    }
}

/// The body of an `error` message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorBody {
    pub code: WireError,
    /// With `BUSY`, in answer to M1: what to put into it when it is sent again, at once.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    pub cookie: Option<[u8; 32]>,
}

impl From<WireError> for ErrorBody {
    fn from(code: WireError) -> ErrorBody {
        ErrorBody { code, cookie: None }
    }
}
