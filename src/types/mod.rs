//! L0: plain values that every layer shares. No I/O, no cryptography, nothing above is imported.

mod amount;
mod batch;
mod compare;
mod id;
mod id_part;
pub mod limits;
mod marks;
mod message;
mod payload;
mod prefix;
mod stream;
mod task;
mod text;
mod tier;
mod time;

pub use amount::Amount;
pub use batch::{BatchId, Keyspace, Row, WriteBatch, WriteOp};
pub use compare::Compare;
pub use id::{
    BootId, BulkId, CommandId, DeliveryId, EntityId, ExchangeId, FencingToken, GossipId, HookId,
    IdError, InboundId, JobId, MessageId, Nonce, RunId, SessionId, TaskId, TransferId, WakeId,
};
pub use id_part::IdPart;
pub use libp2p::{Multiaddr, PeerId};
pub use marks::Marks;
pub use message::{MessageKind, Received};
pub use payload::{FileRef, PayloadFile};
pub use prefix::Prefix;
pub use stream::StreamKind;
pub use task::{Priority, TaskState};
pub use text::{Capability, Label, NetworkName, NodeName, TaskKey, TextError};
pub use tier::Tier;
pub use time::{Mono, Now, Wall};
