//! Channels: what agents say to each other, beside the driver.
//!
//! Each peer with a session has a task (`peer`) that keeps one stream open, and while it lasts a
//! loop that reads and a loop that writes (`link`): sealing, signing and verifying happen there,
//! on all processors, and the driver sees neither ciphertext nor every message. What is to be sent
//! waits in four queues by priority (`outbox`). What comes in goes to the agent, or through the
//! driver to the inbox (`deliver`).
//!
//! # Who waits for whom
//! - Who sends waits for room in the queue of its priority.
//! - The writer waits for the stream, and for acknowledgements once half a MiB is under way.
//! - The reader waits for the agent (at most 256 messages at once) and for the driver. It never
//!   waits for the writer: answers are queued without waiting, and a peer that lets more of them
//!   pile up than it may is cut off.

mod agent;
mod deliver;
mod frames;
mod handle;
mod hub;
mod link;
mod outbox;
mod outside;
mod peer;
mod shared;

#[cfg(test)]
mod tests;

pub use agent::{Agent, AgentConfig, AgentMessage};
pub use handle::{Channel, ChannelError};
pub(crate) use outside::Outside;
pub use outside::{OutsideAction, OutsideAgent};
pub use shared::ChannelCounts;

pub(crate) use deliver::ChannelEvent;
pub(crate) use hub::{BulkStream, Channels};
