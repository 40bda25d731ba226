//! Who answers for the node: the agent behind it.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::outside::OutsideAgent;
use crate::types::{EntityId, PeerId, Priority, Wall};
use crate::wire::WireError;

/// A message that came for the agent.
#[derive(Debug, Clone)]
pub struct AgentMessage {
    /// A UUID: the same message never comes twice.
    pub id: [u8; 16],
    pub peer: PeerId,
    /// Who signed it.
    pub from: EntityId,
    pub priority: Priority,
    pub sent: Wall,
    pub body: Bytes,
}

/// An agent in the node's own process. Its methods are called on many tasks at once.
pub trait Agent: Send + Sync + 'static {
    /// Answers a talk; an error is what its sender hears.
    fn talk(&self, message: AgentMessage) -> BoxFuture<'_, Result<Vec<u8>, WireError>>;

    /// Takes a report. Returning is what confirms it to a sender who wants to know.
    fn report(&self, message: AgentMessage) -> BoxFuture<'_, Result<(), WireError>>;
}

/// Where talks and reports go.
#[derive(Clone, Default)]
pub enum AgentConfig {
    /// Into the inbox, from which the agent takes them when it comes.
    #[default]
    Inbox,
    /// A talk is answered with its own text, a report is taken and dropped.
    Echo,
    /// To an agent in this process.
    Custom(Arc<dyn Agent>),
    /// To a command or an address: talks at once, reports by way of the inbox.
    Outside(OutsideAgent),
}

impl std::fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AgentConfig::Inbox => "Inbox",
            AgentConfig::Echo => "Echo",
            AgentConfig::Custom(_) => "Custom",
            AgentConfig::Outside(_) => "Outside",
        })
    }
}
