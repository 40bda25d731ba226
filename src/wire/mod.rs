//! L1: what travels. The envelope, the bodies of its messages, the error codes, and the one
//! encoding: deterministic CBOR (RFC 8949 §4.2), checked on the way in.

mod armor;
mod batch;
mod bulk;
pub mod cbor;
mod commitment;
mod entry;
mod envelope;
mod error;
mod evidence;
mod handshake;
mod json;
mod left_out;
mod proof;
mod registry;
mod result_proof;
mod status;
mod task;
mod task_evidence;
mod transfer;
mod wake;

pub use batch::{
    Batch, BatchContext, BatchHead, ChannelMessage, ChannelType, batch_bytes, decode_batch,
    encode_batch,
};
pub use bulk::{BULK_WORD_MAX_BYTES, BulkContent, BulkWord};
pub use commitment::Promised;
pub use entry::{EntryBody, EntryError, Offer, PeerBinding, SignedEntry, entry_digest};
pub use envelope::{Envelope, Header, MsgClass, MsgType, Seal, SealedPlain};
pub use error::{ErrorBody, WireError};
pub use evidence::{EVIDENCE_MAX_CHARS, Evidence, EvidenceError, Proven};
pub use handshake::{
    Confirm, Handshake, HandshakeAck, PROTOCOL_VERSION, Ready, VERSION_1_0, VERSIONS, best_common,
};
pub use json::{JsonError, JsonMessage, JsonPayload};
pub use proof::{MessageProof, ProofError, ProofParties};
pub use registry::{Ping, Pong, RegistryEntries, RegistryHave, RegistrySync};
pub use result_proof::{ListProof, ResultParties, ResultProof, SignedItem, Stated};
pub use status::{
    AgentPresence, CapabilityQuery, CapabilityResponse, Discovery, FreeSlots, Heartbeat,
    HeartbeatAck, Load, NodeStatus, StatusReport,
};
pub use task::{
    AcceptAnswer, AckAnswer, AgreePart, Budget, CancelItem, DelegateItem, Orphan, OutputPart,
    ProgressAnswer, ProgressItem, RefuseReason, RenewAnswer, RenewItem, ResultItem, RevealAnswer,
    RevealItem, TaskAccept, TaskCancel, TaskCancelAck, TaskDelegate, TaskOutcome, TaskProgress,
    TaskProgressAck, TaskRenew, TaskRenewAck, TaskResult, TaskResultAck, TaskReveal, TaskRevealAck,
};
pub use task_evidence::{ProvenOutcome, TASK_EVIDENCE_MAX_CHARS, TaskEvidence};
pub use transfer::{
    ChunkAnswer, ChunkCancel, ChunkCancelAck, ChunkOffer, OfferAnswer, Purpose, RefusedFile,
};
pub use wake::{WakeRequest, WakeStatus, WakeUp, WakeUpAck, WakeUpdate};
