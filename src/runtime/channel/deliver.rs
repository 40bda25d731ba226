//! Where messages go that came in: to the agent, or through the driver to the inbox.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::agent::{Agent, AgentConfig, AgentMessage};
use super::shared::{Answered, Shared};
use crate::proto::node::Settled;
use crate::types::limits::DELIVERIES_MAX;
use crate::types::{
    DeliveryId, EntityId, MessageId, MessageKind, PeerId, Priority, Received, SessionId,
};
use crate::wire::{Batch, ChannelMessage, ChannelType, MessageProof, ProofParties, WireError};

/// What a channel tells the driver.
#[derive(Debug)]
pub(crate) enum ChannelEvent {
    /// A message for the inbox, which settles it.
    Received {
        delivery: DeliveryId,
        peer: PeerId,
        from: EntityId,
        message: Received,
    },
    /// Who sent a talk waits for its reply no more.
    Withdrawn { from: EntityId, talk: MessageId },
    /// The peer does not know the session that a stream was to be opened in.
    Refused { peer: PeerId, session: SessionId },
    /// The peer broke a rule.
    Abused { peer: PeerId, code: WireError },
}

/// A message in the inbox's hands.
struct Pending {
    shared: Weak<Shared>,
    id: [u8; 16],
    kind: MessageKind,
    priority: Priority,
    confirm: bool,
}

#[derive(Default)]
struct Deliveries {
    next: u64,
    pending: BTreeMap<DeliveryId, Pending>,
}

/// See the module's header.
pub(super) struct Deliverer {
    agent: AgentConfig,
    /// Who answers talks where the agent is outside.
    outside: Option<Arc<dyn Agent>>,
    events: mpsc::Sender<ChannelEvent>,
    deliveries: Mutex<Deliveries>,
}

impl Deliverer {
    pub(super) fn new(
        agent: AgentConfig,
        outside: Option<Arc<dyn Agent>>,
        events: mpsc::Sender<ChannelEvent>,
    ) -> Deliverer {
        Deliverer {
            agent,
            outside,
            events,
            deliveries: Mutex::default(),
        }
    }

    /// Tells the driver what a peer did wrong. When the driver has no room for it, it has enough
    /// to do with others'.
    pub(super) fn abused(&self, peer: PeerId, code: WireError) {
        if self
            .events
            .try_send(ChannelEvent::Abused { peer, code })
            .is_err()
        {
            tracing::debug!(%peer, %code, "a fault is not counted: the driver is busy");
        }
    }

    pub(super) fn refused(&self, peer: PeerId, session: SessionId) {
        // When this is lost the next attempt says it again.
        let _ = self
            .events
            .try_send(ChannelEvent::Refused { peer, session });
    }

    /// Nobody waits for the reply to a talk. When this is lost, time tells.
    pub(super) fn withdrawn(&self, from: EntityId, talk: [u8; 16]) {
        let talk = MessageId(uuid::Uuid::from_bytes(talk));
        let _ = self.events.try_send(ChannelEvent::Withdrawn { from, talk });
    }

    /// Hands one message of a batch on. Waits for room where it goes, which stops the reading.
    ///
    /// # Errors
    /// `RATE_LIMITED` for a peer that has more open than it may.
    pub(super) async fn deliver(
        &self,
        shared: &Arc<Shared>,
        batch: &Batch,
        place: usize,
        parties: &ProofParties,
    ) -> Result<(), WireError> {
        let message = &batch.messages[place];
        let answered = |answer| {
            let taken = shared.answer(message.id, message.priority, answer);
            taken.then_some(()).ok_or(WireError::RateLimited)
        };
        let outside = self.outside.as_ref();
        match (message.kind, &self.agent) {
            (ChannelType::Ping, _) => answered(Answered::Pong(message.body.clone())),
            (ChannelType::Talk, AgentConfig::Echo) => {
                answered(Answered::Reply(message.body.clone()))
            }
            (_, AgentConfig::Echo) if message.confirm => answered(Answered::Kept),
            (_, AgentConfig::Echo) => Ok(()),
            (kind, AgentConfig::Custom(agent)) => {
                let talk = kind == ChannelType::Talk;
                let confirm = message.confirm;
                let message = for_agent(shared, message, batch, parties);
                self.to_agent(shared, agent, message, talk, confirm).await;
                Ok(())
            }
            (ChannelType::Talk, AgentConfig::Outside(_)) if let Some(agent) = outside => {
                let message = for_agent(shared, message, batch, parties);
                self.to_agent(shared, agent, message, true, false).await;
                Ok(())
            }
            (_, AgentConfig::Inbox | AgentConfig::Outside(_)) => {
                self.to_inbox(shared, message, batch, place, parties).await;
                Ok(())
            }
        }
    }

    async fn to_agent(
        &self,
        shared: &Arc<Shared>,
        agent: &Arc<dyn Agent>,
        message: AgentMessage,
        talk: bool,
        confirm: bool,
    ) {
        let Ok(permit) = Arc::clone(&shared.talks).acquire_owned().await else {
            return;
        };
        let (shared, agent) = (Arc::clone(shared), Arc::clone(agent));
        tokio::spawn(async move {
            let (id, priority) = (message.id, message.priority);
            let answer = match talk {
                true => match agent.talk(message).await {
                    Ok(body) => Some(Answered::Reply(Bytes::from(body))),
                    Err(code) => Some(Answered::Refused(code)),
                },
                false => match agent.report(message).await {
                    Ok(()) => confirm.then_some(Answered::Kept),
                    Err(code) => Some(Answered::Refused(code)),
                },
            };
            if let Some(answer) = answer {
                // The permit bounds what waits, so there is room.
                let _ = shared.answer(id, priority, answer);
            }
            drop(permit);
        });
    }

    async fn to_inbox(
        &self,
        shared: &Arc<Shared>,
        message: &ChannelMessage,
        batch: &Batch,
        place: usize,
        parties: &ProofParties,
    ) {
        let kind = match message.kind {
            ChannelType::Talk => MessageKind::Talk,
            _ => MessageKind::Report,
        };
        let delivery = self.register(Pending {
            shared: Arc::downgrade(shared),
            id: message.id,
            kind,
            priority: message.priority,
            confirm: message.confirm,
        });
        let proof = MessageProof::cut(batch, place as u32, parties).map(|proof| proof.to_bytes());
        let received = Received {
            id: MessageId(uuid::Uuid::from_bytes(message.id)),
            kind,
            priority: message.priority,
            durable: message.durable,
            sent: batch.head.sent,
            body: message.body.to_vec(),
            proof: proof.unwrap_or_default(),
        };
        let event = ChannelEvent::Received {
            delivery,
            peer: shared.peer,
            from: parties.sender,
            message: received,
        };
        // The driver has gone: the node stops.
        let _ = self.events.send(event).await;
    }

    fn register(&self, pending: Pending) -> DeliveryId {
        let mut deliveries = self.deliveries();
        deliveries.next += 1;
        let id = DeliveryId(deliveries.next);
        deliveries.pending.insert(id, pending);
        if deliveries.pending.len() > DELIVERIES_MAX {
            deliveries.pending.pop_first();
        }
        id
    }

    fn deliveries(&self) -> std::sync::MutexGuard<'_, Deliveries> {
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The inbox decided on a message.
    pub(super) fn settle(&self, delivery: DeliveryId, outcome: Settled) {
        let mut deliveries = self.deliveries();
        let Some(pending) = deliveries.pending.get(&delivery) else {
            return;
        };
        let answer = match outcome {
            Settled::Kept if pending.kind == MessageKind::Talk => return,
            Settled::Kept => pending.confirm.then_some(Answered::Kept),
            Settled::Refused(code) => Some(Answered::Refused(code)),
        };
        let pending = deliveries.pending.remove(&delivery).expect("it was found");
        drop(deliveries);
        pending.answer(answer);
    }

    /// The agent answered a talk that lies in the inbox.
    pub(super) fn answer(&self, delivery: DeliveryId, body: Vec<u8>) {
        let pending = self.deliveries().pending.remove(&delivery);
        if let Some(pending) = pending {
            pending.answer(Some(Answered::Reply(Bytes::from(body))));
        }
    }
}

fn for_agent(
    shared: &Shared,
    message: &ChannelMessage,
    batch: &Batch,
    parties: &ProofParties,
) -> AgentMessage {
    AgentMessage {
        id: message.id,
        peer: shared.peer,
        from: parties.sender,
        priority: message.priority,
        sent: batch.head.sent,
        body: message.body.clone(),
    }
}

impl Pending {
    fn answer(self, answer: Option<Answered>) {
        if let (Some(shared), Some(answer)) = (self.shared.upgrade(), answer)
            && !shared.answer(self.id, self.priority, answer)
        {
            tracing::debug!(peer = %shared.peer, "an answer finds no room and is dropped");
        }
    }
}
