//! Whether the system's keychain opens the key, where the settings count on it.

use super::Check;
use crate::cli::exit::keychain_hint;
use crate::config::{
    Config, Home, Keychain, KeychainError, PassphraseMode, SystemKeychain, read_key_file,
};
use crate::crypto::KeyFile;

const NAME: &str = "keychain";

/// None where the settings do not count on it, or there is no key that needs it.
pub(super) async fn keychain(home: &Home, config: Option<&Config>) -> Option<Check> {
    let mode = config?.identity.passphrase;
    let file = read_key_file(home).ok()??;
    if mode != PassphraseMode::Keychain || !file.passphrase {
        return None;
    }
    // It blocks, and so does the opening.
    let looking = tokio::task::spawn_blocking(move || look(&SystemKeychain::impatient(), &file));
    let found = looking.await.unwrap_or_else(|error| {
        let reason = format!("looking for it failed: {error}");
        Err(KeychainError::Refused(reason))
    });
    Some(match found {
        Ok(()) => Check::ok(NAME, "keeps the passphrase, which opens the key"),
        Err(error) => Check::warn(NAME, error.to_string(), keychain_hint(&error)),
    })
}

fn look(keychain: &dyn Keychain, file: &KeyFile) -> Result<(), KeychainError> {
    let kept = keychain.read(&file.entity_id)?;
    let passphrase = kept.ok_or(KeychainError::Empty)?;
    match file.open(Some(&passphrase)) {
        Ok(_) => Ok(()),
        Err(_) => Err(KeychainError::Wrong),
    }
}
