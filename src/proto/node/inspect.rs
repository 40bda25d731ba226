//! What is looked at from outside: by checkers, and by tests.

use super::Node;
use crate::proto::Violation;
use crate::proto::inbox::Inbox;
use crate::proto::registry::Registry;
use crate::proto::task::{Requester, Worker};
use crate::types::EntityId;

impl Node {
    /// Checks the invariants of every core.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<(), Violation> {
        self.sessions.check()?;
        self.http.check()?;
        self.clear.check()?;
        self.registry.check()?;
        self.peers.check()?;
        self.guard.check()?;
        self.health.check()?;
        self.requester.check()?;
        self.scores.check()?;
        self.worker.check()?;
        self.check_budgets()?;
        self.inbox.check()?;
        self.webhooks.check()?;
        self.receives.check()
    }

    /// The requester's log, for checkers.
    pub fn requester(&self) -> &Requester {
        &self.requester
    }

    /// What is held for others, for checkers.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// What came for our agent, for checkers.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// The registry, for checkers.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Who this node is.
    pub fn entity_id(&self) -> EntityId {
        self.identity.entity_id
    }

    /// Plants a defect.
    #[cfg(test)]
    pub fn plant(&mut self, bug: crate::proto::task::Planted) {
        self.requester.planted = Some(bug);
        self.worker.planted = Some(bug);
    }
}
