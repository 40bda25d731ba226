//! The cloneable door to a running node.

use tokio::sync::{mpsc, oneshot};

use crate::proto::node::{Command, CommandError, CommandErrorCode, CommandResult};

/// A command on its way to the driver, and where its answer goes.
pub(super) struct Call {
    pub(super) command: Command,
    pub(super) reply: oneshot::Sender<CommandResult>,
}

/// Sends commands to the node. Cheap to clone; calls from many tasks are fine.
#[derive(Clone)]
pub struct Handle {
    calls: mpsc::Sender<Call>,
}

impl Handle {
    pub(super) fn new(calls: mpsc::Sender<Call>) -> Handle {
        Handle { calls }
    }

    /// Asks the node and awaits its answer. Dropping the future abandons the answer, not the
    /// command.
    ///
    /// # Errors
    /// The node's own, `busy` when its queue of commands is full, `stopping` when it is gone.
    pub async fn call(&self, command: Command) -> CommandResult {
        let (reply, answer) = oneshot::channel();
        self.calls.try_send(Call { command, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                CommandError::new(CommandErrorCode::Busy, "the node is busy: try again")
            }
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }
}

fn stopping() -> CommandError {
    CommandError::new(CommandErrorCode::Stopping, "the node is stopping")
}
