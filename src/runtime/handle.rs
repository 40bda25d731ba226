//! The cloneable door to a running node.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::channel::{Channel, ChannelCounts, Channels};
use super::executor::{Desk, Passes, Settled};
use super::keys::KeyKeeper;
use super::payloads::{NewPayload, PayloadFolder};
use crate::metrics::Metrics;
use crate::proto::node::{
    Command, CommandError, CommandErrorCode, CommandResult, PeerRef, Reply, RunOutcome,
};
use crate::types::RunId;

/// A command on its way to the driver, and where its answer goes.
pub(super) struct Call {
    pub(super) command: Command,
    pub(super) reply: oneshot::Sender<CommandResult>,
}

/// Sends commands to the node. Cheap to clone; calls from many tasks are fine.
#[derive(Clone)]
pub struct Handle {
    calls: mpsc::Sender<Call>,
    metrics: Metrics,
    pub(super) channels: Arc<Channels>,
    desk: Arc<Desk>,
    passes: Arc<Passes>,
    payloads: PayloadFolder,
    keeper: Option<Arc<dyn KeyKeeper>>,
}

impl Handle {
    pub(super) fn new(
        calls: mpsc::Sender<Call>,
        metrics: Metrics,
        channels: Arc<Channels>,
        desk: Arc<Desk>,
        passes: Arc<Passes>,
        payloads: PayloadFolder,
    ) -> Handle {
        Handle {
            calls,
            metrics,
            channels,
            desk,
            passes,
            payloads,
            keeper: None,
        }
    }

    /// The same door, through which the node's key can be rotated, too.
    #[must_use]
    pub fn with_keeper(self, keeper: Arc<dyn KeyKeeper>) -> Handle {
        Handle {
            keeper: Some(keeper),
            ..self
        }
    }

    pub(super) fn keeper(&self) -> Option<&Arc<dyn KeyKeeper>> {
        self.keeper.as_ref()
    }

    /// Asks the node and awaits its answer. Dropping the future abandons the answer, not the
    /// command.
    ///
    /// # Errors
    /// The node's own, `busy` when its queue of commands is full, `stopping` when it is gone.
    pub async fn call(&self, command: Command) -> CommandResult {
        let (reply, answer) = oneshot::channel();
        self.calls
            .try_send(Call { command, reply })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    CommandError::new(CommandErrorCode::Busy, "the node is busy: try again")
                }
                mpsc::error::TrySendError::Closed(_) => stopping(),
            })?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// The channel to a peer, once there is a session with it.
    ///
    /// # Errors
    /// As [`Handle::call`]; `unreachable` when no session comes about.
    pub async fn channel(&self, peer: PeerRef) -> Result<Channel, CommandError> {
        let named = peer.to_string();
        let Reply::Reached { peer_id, entity_id } = self.call(Command::Reach(peer)).await? else {
            unreachable!("a reach is answered by where it led");
        };
        self.channels.channel(&peer_id, entity_id).ok_or_else(|| {
            let message = format!("the session with {named} ended this moment: try again");
            CommandError::new(CommandErrorCode::Unreachable, message)
        })
    }

    /// Where tasks wait for the agents that fetch them.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// What runs show that may hand on parts of their tasks.
    pub fn passes(&self) -> &Passes {
        &self.passes
    }

    /// Where inputs and results lie that are too large for a message.
    pub fn payloads(&self) -> &PayloadFolder {
        &self.payloads
    }

    /// Hands over a payload that was written; also when nobody awaits this any more.
    ///
    /// # Errors
    /// As [`Handle::call`]; `storage` when it cannot be flushed.
    pub async fn keep_payload(&self, mut new: NewPayload) -> CommandResult {
        let handle = self.clone();
        let keeping = tokio::spawn(async move {
            let content = new
                .finish()
                .await
                .map_err(|error| CommandError::new(CommandErrorCode::Storage, error.to_string()))?;
            let file = new.id();
            let kept = handle.call(Command::KeepPayload { content, file }).await;
            // Of other errors nobody knows whether it is kept; the next start does.
            let refused = [
                CommandErrorCode::TooLarge,
                CommandErrorCode::QueueFull,
                CommandErrorCode::Busy,
            ];
            if !matches!(&kept, Err(error) if refused.contains(&error.code)) {
                new.hand_over();
            }
            kept
        });
        keeping.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Ends a run with what its agent came to, and tells the desk what became of that; also when
    /// nobody awaits this any more.
    ///
    /// # Errors
    /// As [`Handle::call`]; `not_found` when the run was taken away meanwhile.
    pub async fn end_run(&self, run: RunId, outcome: RunOutcome) -> CommandResult {
        let handle = self.clone();
        let ending = tokio::spawn(async move {
            let result = handle.call(Command::EndRun { run, outcome }).await;
            let settled = match &result {
                Ok(_) => Settled::Kept,
                Err(error) if error.code == CommandErrorCode::NotFound => Settled::Gone,
                Err(_) => Settled::Again,
            };
            handle.desk.settle(run, settled);
            result
        });
        ending.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// What went over all channels.
    pub fn channel_totals(&self) -> ChannelCounts {
        self.channels.totals()
    }

    /// What the node's shell counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

fn stopping() -> CommandError {
    CommandError::new(CommandErrorCode::Stopping, "the node is stopping")
}

#[cfg(test)]
impl Handle {
    /// A door to no node: `answer` takes each command in turn, on a task of its own, until the
    /// last handle is gone.
    pub(crate) fn stub(
        mut answer: impl FnMut(Command) -> CommandResult + Send + 'static,
    ) -> Handle {
        Handle::stub_async(move |command| std::future::ready(answer(command)))
    }

    /// As [`Handle::stub`], for answers that take their time: each is awaited beside the others.
    pub(crate) fn stub_async<F>(mut answer: impl FnMut(Command) -> F + Send + 'static) -> Handle
    where
        F: Future<Output = CommandResult> + Send + 'static,
    {
        let (calls, mut queue) = mpsc::channel::<Call>(64);
        tokio::spawn(async move {
            while let Some(call) = queue.recv().await {
                let answered = answer(call.command);
                tokio::spawn(async move {
                    // Whoever asked may have gone: nothing to tell then.
                    let _ = call.reply.send(answered.await);
                });
            }
        });
        Handle::new(
            calls,
            Metrics::default(),
            Channels::detached(),
            Arc::default(),
            Arc::default(),
            PayloadFolder::default(),
        )
    }
}
