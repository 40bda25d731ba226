//! Handing over files: what is agreed on in exchanges. The chunks themselves travel on bulk
//! streams.
//!
//! The offer is the manifest: sealed and signed like every message, it names the hash of the whole
//! file and of each chunk. It may be repeated, and its answer is always what is durable at the
//! receiver; so it is also the question whether all has arrived.

use serde::{Deserialize, Serialize};

use super::cbor;
use crate::crypto::hash;
use crate::types::{EntityId, FencingToken, TaskId, TransferId};

/// Sender to receiver: take this file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkOffer {
    pub transfer_id: TransferId,
    /// What the file is called; the receiver makes it safe.
    pub name: String,
    pub size: u64,
    /// A power of two. The last chunk may be shorter.
    pub chunk_bytes: u64,
    /// The BLAKE3 hash of the whole file.
    #[serde(with = "serde_bytes")]
    pub root: [u8; 32],
    /// The chaining values of the chunks in order, 32 bytes each; empty where there is at most
    /// one chunk, because the root is its hash.
    #[serde(with = "serde_bytes")]
    pub chunks: Vec<u8>,
    /// What a task gets or gave. Left out: a file for the receiver's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
}

/// Which part of which task a file is. It is taken only of a task that is held under this token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Purpose {
    /// Requester to worker.
    TaskInput {
        task_id: TaskId,
        token: FencingToken,
    },
    /// Worker to requester.
    TaskResult {
        task_id: TaskId,
        token: FencingToken,
    },
}

impl Purpose {
    /// Whose it is.
    pub fn task_id(self) -> TaskId {
        match self {
            Purpose::TaskInput { task_id, .. } | Purpose::TaskResult { task_id, .. } => task_id,
        }
    }

    /// The id of the transfer that brings it: the same each time, so that nothing is sent twice at
    /// once. No other transfer has an id of this version, 8.
    pub fn transfer_id(self, from: &EntityId, to: &EntityId) -> TransferId {
        let parts: [&[u8]; 3] = [&from.0, &to.0, &cbor::encode(&self)];
        let digest = hash("part of a task", &parts);
        let bytes = digest.first_chunk().expect("a digest is longer");
        TransferId(uuid::Builder::from_custom_bytes(*bytes).into_uuid())
    }
}

/// The response to an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkAnswer {
    pub transfer_id: TransferId,
    pub answer: OfferAnswer,
}

/// The receiver's word on a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OfferAnswer {
    /// Wanted: open a bulk stream. So many bytes of it are on disk.
    Accepted {
        have_bytes: u64,
    },
    /// All of it is on disk under its name, and was checked.
    Complete,
    Refused(RefusedFile),
}

/// Why a file is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedFile {
    /// Too many are under way; ask again later.
    Busy,
    /// The receiver does not take files from this peer.
    NotAllowed,
    /// Over the receiver's limit for one file.
    TooLarge,
    /// The disk has no room for it.
    NoSpace,
    /// The receiver's disk refuses writes.
    Storage,
    /// The receiver's owner does not want it.
    Canceled,
    /// Too many chunks were not what their hashes say.
    ChunkErrors,
    /// The manifest contradicts itself, or what was said before under this id.
    BadManifest,
    /// It is no part of a task that the receiver has under this token.
    Unexpected,
}

impl RefusedFile {
    /// Whether asking again later may help.
    pub fn is_passing(self) -> bool {
        self == RefusedFile::Busy
    }

    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusedFile::Busy => "the receiver has too many transfers under way",
            RefusedFile::NotAllowed => "the receiver does not take files from this node",
            RefusedFile::TooLarge => "the file is over the receiver's size limit",
            RefusedFile::NoSpace => "the receiver's disk has no room for the file",
            RefusedFile::Storage => "the receiver's disk refuses writes",
            RefusedFile::Canceled => "the receiver canceled it",
            RefusedFile::ChunkErrors => "too many chunks did not match their hashes",
            RefusedFile::BadManifest => "the receiver found the offer contradictory",
            RefusedFile::Unexpected => "the receiver does not wait for this part of the task",
        }
    }
}

/// Either side: this transfer is not to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkCancel {
    pub transfer_id: TransferId,
}

/// The response to a cancellation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkCancelAck {}
