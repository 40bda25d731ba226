//! Rotating the node's key while it runs. The keeper has the key file; what it gives back is
//! durable there, and only then the core and the network hear of it. A process that dies in
//! between starts with the new key.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Handle;
use crate::crypto::Identity;
use crate::proto::node::{Command, CommandError, CommandErrorCode, CommandResult};

/// Where the node's keys are kept.
pub trait KeyKeeper: Send + Sync + fmt::Debug {
    /// Puts the next key into use, durably. Takes as long as the passphrase's key does: not for
    /// an async thread.
    ///
    /// # Errors
    /// [`KeyKeeperError`]; the keys are what they were.
    fn rotate(&self, passphrase: Option<&str>) -> Result<Identity, KeyKeeperError>;
}

/// Why the key was not rotated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyKeeperError {
    /// The passphrase is missing or wrong.
    #[error("{0}")]
    Passphrase(String),
    /// It cannot be rotated as things are.
    #[error("{0}")]
    Refused(String),
    /// Another rotation is under way.
    #[error("the key is being rotated already")]
    Busy,
    /// The key file cannot be read or written.
    #[error("{0}")]
    Storage(String),
}

impl From<KeyKeeperError> for CommandError {
    fn from(error: KeyKeeperError) -> CommandError {
        let code = match &error {
            KeyKeeperError::Passphrase(_) => CommandErrorCode::Invalid,
            KeyKeeperError::Refused(_) => CommandErrorCode::Conflict,
            KeyKeeperError::Busy => CommandErrorCode::Busy,
            KeyKeeperError::Storage(_) => CommandErrorCode::Storage,
        };
        CommandError::new(code, error.to_string())
    }
}

impl Handle {
    /// Puts the next key into use: in the key file, then in the node.
    ///
    /// # Errors
    /// The keeper's, or the node's. After the node's the key file has the new key already, and
    /// the node takes it up when it is started again.
    pub async fn rotate_key(&self, passphrase: Option<Zeroizing<String>>) -> CommandResult {
        let Some(keeper) = self.keeper() else {
            let why = "this node keeps no key file: its keys cannot be rotated";
            return Err(CommandError::new(CommandErrorCode::Conflict, why));
        };
        let keeper = Arc::clone(keeper);
        let rotating = tokio::task::spawn_blocking(move || {
            keeper.rotate(passphrase.as_ref().map(|text| text.as_str()))
        });
        let identity = match rotating.await {
            Ok(rotated) => rotated?,
            Err(_) => {
                let why = "the key was not rotated: the work on it broke off";
                return Err(CommandError::new(CommandErrorCode::Storage, why));
            }
        };
        let told = self.call(Command::KeyRotated(Box::new(identity))).await;
        told.map_err(|error| {
            let message = format!(
                "the key file has the new key, but the node does not use it yet ({}): start the \
                 node again",
                error.message
            );
            CommandError::new(error.code, message)
        })
    }
}
