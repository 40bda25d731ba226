//! The door to one peer's agent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;

use super::shared::Shared;
use crate::types::limits::{TALK_MAX_BYTES, TALK_TIMEOUT_MS};
use crate::types::{EntityId, PeerId, Priority};
use crate::wire::{ChannelMessage, ChannelType, WireError};

/// Why a message came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// More than 256 KiB.
    #[error("a message has at most {TALK_MAX_BYTES} bytes: send what is larger as a file")]
    TooLarge,
    /// No answer in time. The message may have arrived, and may still.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// The other side, or its agent, refused.
    #[error("the peer refused: {0}")]
    Refused(WireError),
    /// The peer or this node is gone.
    #[error("the channel is closed")]
    Closed,
}

/// Sends messages to one peer, many at once. Cheap to clone.
///
/// A message that was taken is sent again over broken streams and renewed sessions until the other
/// side has it, and handed on there once; it is lost when either process ends before.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
    entity: EntityId,
}

impl Channel {
    pub(super) fn new(shared: Arc<Shared>, entity: EntityId) -> Channel {
        Channel { shared, entity }
    }

    /// Where the messages go.
    pub fn peer(&self) -> PeerId {
        self.shared.peer
    }

    /// Who answers.
    pub fn entity(&self) -> EntityId {
        self.entity
    }

    /// Says something and awaits the reply of the peer's agent, for a minute at most. Whoever gives
    /// up before has the other side told.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn talk(
        &self,
        body: impl Into<Bytes>,
        priority: Priority,
        within: Duration,
    ) -> Result<Bytes, ChannelError> {
        let message = self.message(ChannelType::Talk, body.into(), priority)?;
        let longest = Duration::from_millis(TALK_TIMEOUT_MS);
        self.ask(message, within.min(longest)).await
    }

    /// Says something and awaits that it has arrived: in the hands of the peer's agent or in its
    /// inbox; with `durable`, on its disk.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn report(
        &self,
        body: impl Into<Bytes>,
        priority: Priority,
        durable: bool,
        within: Duration,
    ) -> Result<(), ChannelError> {
        let mut message = self.message(ChannelType::Report, body.into(), priority)?;
        message.confirm = true;
        message.durable = durable;
        self.ask(message, within).await.map(drop)
    }

    /// Says something and awaits only room in the queue.
    ///
    /// # Errors
    /// [`ChannelError::TooLarge`], [`ChannelError::Closed`].
    pub async fn post(
        &self,
        body: impl Into<Bytes>,
        priority: Priority,
    ) -> Result<(), ChannelError> {
        let message = self.message(ChannelType::Report, body.into(), priority)?;
        self.push(message).await
    }

    /// Has the peer's node send `payload` back, and returns how long that took.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn ping(
        &self,
        payload: impl Into<Bytes>,
        within: Duration,
    ) -> Result<Duration, ChannelError> {
        let message = self.message(ChannelType::Ping, payload.into(), Priority::Normal)?;
        let sent = Instant::now();
        self.ask(message, within).await?;
        Ok(sent.elapsed())
    }

    /// Awaits until all that was posted has been acknowledged.
    ///
    /// # Errors
    /// [`ChannelError::TimedOut`].
    pub async fn drained(&self, within: Duration) -> Result<(), ChannelError> {
        let all = async {
            while !(self.shared.outbox.is_empty() && self.shared.sending().is_idle()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(within, all)
            .await
            .map_err(|_| ChannelError::TimedOut)
    }

    fn message(
        &self,
        kind: ChannelType,
        body: Bytes,
        priority: Priority,
    ) -> Result<ChannelMessage, ChannelError> {
        if body.len() > TALK_MAX_BYTES {
            return Err(ChannelError::TooLarge);
        }
        Ok(ChannelMessage {
            kind,
            priority,
            durable: false,
            again: false,
            confirm: false,
            id: self.shared.next_id(),
            re: [0; 16],
            body,
        })
    }

    async fn push(&self, message: ChannelMessage) -> Result<(), ChannelError> {
        self.shared
            .outbox
            .push(message)
            .await
            .map_err(|_| ChannelError::Closed)
    }

    async fn ask(&self, message: ChannelMessage, within: Duration) -> Result<Bytes, ChannelError> {
        let id = message.id;
        let answer = self.shared.await_answer(id);
        let _waits = Waits {
            shared: &self.shared,
            id,
            talk: (message.kind == ChannelType::Talk).then_some(message.priority),
        };
        let answered = async {
            self.push(message).await?;
            match answer.await {
                Ok(Ok(body)) => Ok(body),
                Ok(Err(code)) => Err(ChannelError::Refused(code)),
                Err(_) => Err(ChannelError::Closed),
            }
        };
        timeout(within, answered)
            .await
            .unwrap_or(Err(ChannelError::TimedOut))
    }
}

/// Whoever stops waiting, however, leaves nothing behind.
struct Waits<'a> {
    shared: &'a Shared,
    id: [u8; 16],
    /// The priority, of a talk.
    talk: Option<Priority>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let unanswered = self.shared.forget_answer(&self.id);
        if let Some(priority) = self.talk.filter(|_| unanswered) {
            self.shared.withdraw(self.id, priority);
        }
    }
}
