//! The operating system's keychain, which may keep the passphrase of a key file.
//!
//! One item for each entity: service `junto`, user name the entity id. The real one is compiled in
//! with the cargo feature `keychain` (ADR 0021); without it every request says so. A request may
//! wait for a person who is asked to unlock the keychain, so each has a thread of its own, and is
//! waited for a bounded time.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

/// A person may have to find the password of the keychain.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where nobody should be kept waiting.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);

/// Why the keychain is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeychainError {
    /// The feature is off.
    #[error("this program was built without the system's keychain")]
    NotBuilt,
    /// Nothing answers.
    #[error("no keychain is running here ({0})")]
    Absent(String),
    #[error("the system's keychain refuses: {0}")]
    Refused(String),
    /// Perhaps somebody was asked to unlock it and is not there.
    #[error("the system's keychain did not answer within {0} s: is it locked?")]
    Silent(u64),
    #[error("the system's keychain keeps no passphrase for this node")]
    Empty,
    #[error("the passphrase that the system's keychain keeps does not open the key")]
    Wrong,
    /// It is not replaced: it may be the only copy.
    #[error("the system's keychain keeps another passphrase for this node already")]
    Another,
}

/// Keeps passphrases by the ids of the entities whose keys they protect.
pub trait Keychain {
    /// The passphrase; none when it keeps none.
    ///
    /// # Errors
    /// [`KeychainError`].
    fn read(&self, entity: &str) -> Result<Option<Zeroizing<String>>, KeychainError>;

    /// Keeps a passphrase in place of any before.
    ///
    /// # Errors
    /// [`KeychainError`].
    fn write(&self, entity: &str, passphrase: &str) -> Result<(), KeychainError>;

    /// Forgets it. That there is none is no error.
    ///
    /// # Errors
    /// [`KeychainError`].
    fn remove(&self, entity: &str) -> Result<(), KeychainError>;
}

/// The one of this system and user.
#[derive(Debug)]
pub struct SystemKeychain {
    patience: Duration,
}

impl SystemKeychain {
    /// Waits two minutes for a person to unlock it.
    pub fn new() -> SystemKeychain {
        SystemKeychain { patience: PATIENCE }
    }

    /// Waits five seconds.
    pub fn impatient() -> SystemKeychain {
        SystemKeychain {
            patience: SHORT_PATIENCE,
        }
    }
}

impl Default for SystemKeychain {
    fn default() -> SystemKeychain {
        SystemKeychain::new()
    }
}

impl Keychain for SystemKeychain {
    fn read(&self, entity: &str) -> Result<Option<Zeroizing<String>>, KeychainError> {
        let entity = entity.to_owned();
        within(self.patience, move || system::read(&entity))
    }

    fn write(&self, entity: &str, passphrase: &str) -> Result<(), KeychainError> {
        let entity = entity.to_owned();
        let passphrase = Zeroizing::new(passphrase.to_owned());
        within(self.patience, move || system::write(&entity, &passphrase))
    }

    fn remove(&self, entity: &str) -> Result<(), KeychainError> {
        let entity = entity.to_owned();
        within(self.patience, move || system::remove(&entity))
    }
}

/// The answer of `ask`, unless it takes too long: then it is left alone.
fn within<T: Send + 'static>(
    patience: Duration,
    ask: impl FnOnce() -> Result<T, KeychainError> + Send + 'static,
) -> Result<T, KeychainError> {
    let (answer, answered) = mpsc::sync_channel(1);
    let asking = move || {
        // Nobody may be waiting any more.
        let _ = answer.send(ask());
    };
    thread::Builder::new()
        .name(String::from("keychain"))
        .spawn(asking)
        .map_err(|error| KeychainError::Refused(error.to_string()))?;
    match answered.recv_timeout(patience) {
        Ok(outcome) => outcome,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(KeychainError::Silent(patience.as_secs())),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(KeychainError::Refused(String::from("its client failed")))
        }
    }
}

#[cfg(feature = "keychain")]
mod system {
    use keyring::{Entry, Error};
    use zeroize::Zeroizing;

    use super::KeychainError;

    const SERVICE: &str = "junto";

    fn entry(entity: &str) -> Result<Entry, KeychainError> {
        if let Err(error) = Entry::store_status() {
            return Err(KeychainError::Absent(error.to_string()));
        }
        Entry::new(SERVICE, entity).map_err(refused)
    }

    /// Not the error's own text where that may hold what the keychain keeps.
    fn refused(error: Error) -> KeychainError {
        KeychainError::Refused(match error {
            Error::BadEncoding(_) | Error::BadDataFormat(..) => {
                String::from("what it keeps for this node is not text")
            }
            Error::Ambiguous(items) => {
                format!("it keeps {} items for this node", items.len())
            }
            error => error.to_string(),
        })
    }

    pub(super) fn read(entity: &str) -> Result<Option<Zeroizing<String>>, KeychainError> {
        match entry(entity)?.get_password() {
            Ok(passphrase) => Ok(Some(Zeroizing::new(passphrase))),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(refused(error)),
        }
    }

    pub(super) fn write(entity: &str, passphrase: &str) -> Result<(), KeychainError> {
        entry(entity)?.set_password(passphrase).map_err(refused)
    }

    pub(super) fn remove(entity: &str) -> Result<(), KeychainError> {
        match entry(entity)?.delete_credential() {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }
}

#[cfg(not(feature = "keychain"))]
mod system {
    use zeroize::Zeroizing;

    use super::KeychainError;

    pub(super) fn read(_: &str) -> Result<Option<Zeroizing<String>>, KeychainError> {
        Err(KeychainError::NotBuilt)
    }

    pub(super) fn write(_: &str, _: &str) -> Result<(), KeychainError> {
        Err(KeychainError::NotBuilt)
    }

    pub(super) fn remove(_: &str) -> Result<(), KeychainError> {
        Err(KeychainError::NotBuilt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keychain_that_does_not_answer_is_not_waited_for_for_ever() {
        let (release, held) = mpsc::channel::<()>();
        let ask = move || {
            let _ = held.recv();
            Ok(())
        };
        let silent = within(Duration::from_millis(10), ask);
        assert_eq!(silent, Err(KeychainError::Silent(0)));
        drop(release);
        assert_eq!(within(PATIENCE, || Ok(7)), Ok(7));
        let failed = within(PATIENCE, || -> Result<(), KeychainError> {
            std::panic::resume_unwind(Box::new(()))
        });
        assert!(matches!(failed, Err(KeychainError::Refused(_))));
    }

    #[cfg(not(feature = "keychain"))]
    #[test]
    fn a_build_without_it_says_so() {
        let keychain = SystemKeychain::new();
        assert_eq!(keychain.read("ent1").err(), Some(KeychainError::NotBuilt));
        assert_eq!(keychain.write("ent1", "p"), Err(KeychainError::NotBuilt));
        assert_eq!(keychain.remove("ent1"), Err(KeychainError::NotBuilt));
    }
}
