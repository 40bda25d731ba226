//! The next key of a home, put into use by its node or without one.

use std::path::Path;
use std::sync::{Mutex, TryLockError};

use rand::SeedableRng;

use super::{IdentityError, PassphraseOptions, Prompt, key_error, open, read_key_file, shown};
use crate::config::{Home, write_atomically};
use crate::crypto::{Identity, KeyFile, KeyFileError, Keys, Rng};
use crate::runtime::{KeyKeeper, KeyKeeperError};
use crate::types::EntityId;

/// Puts the next key of a home into use, durably. The caller holds the home's lock, or is its
/// node.
///
/// # Errors
/// [`IdentityError`]; the key file is what it was.
fn rotate(
    path: &Path,
    file: &KeyFile,
    keys: &Keys,
    passphrase: Option<&str>,
) -> Result<Keys, IdentityError> {
    let mut rng = Rng::from_rng(&mut rand::rng());
    let rotated = keys.rotate(&mut rng).map_err(IdentityError::Chain)?;
    let file = file.reseal(&rotated, passphrase, &mut rng);
    write_atomically(path, file.to_json().as_bytes(), true)
        .map_err(IdentityError::io(path, "written"))?;
    Ok(rotated)
}

/// Puts the next key of a home without a running node into use.
///
/// # Errors
/// [`IdentityError`]; the key file is what it was.
pub fn rotate_stopped(
    home: &Home,
    options: &PassphraseOptions,
    prompt: &mut dyn Prompt,
) -> Result<Identity, IdentityError> {
    let path = home.key_file();
    let file = read_key_file(home)?.ok_or_else(|| IdentityError::None(shown(home.path())))?;
    let (keys, passphrase) = open(&path, &file, options, prompt)?;
    let passphrase = passphrase.as_ref().map(|text| text.as_str());
    Ok(rotate(&path, &file, &keys, passphrase)?.identity())
}

/// The key file of a running node.
#[derive(Debug)]
pub struct HomeKeys {
    home: Home,
    entity: EntityId,
    /// One rotation at a time, for its memory's sake, too.
    busy: Mutex<()>,
}

impl HomeKeys {
    /// Keeps the keys of `identity`, which were read from `home`.
    pub fn new(home: &Home, identity: &Identity) -> HomeKeys {
        HomeKeys {
            home: home.clone(),
            entity: identity.entity_id,
            busy: Mutex::new(()),
        }
    }
}

impl KeyKeeper for HomeKeys {
    fn rotate(&self, passphrase: Option<&str>) -> Result<Identity, KeyKeeperError> {
        let _one = match self.busy.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(KeyKeeperError::Busy),
        };
        let path = self.home.key_file();
        let gone = || KeyKeeperError::Storage(format!("{} is gone", path.display()));
        let file = read_key_file(&self.home)?.ok_or_else(gone)?;
        if file.entity_id != self.entity.to_string() {
            let why = format!("{} holds another node's keys", path.display());
            return Err(KeyKeeperError::Refused(why));
        }
        if file.passphrase && passphrase.is_none() {
            let why = "the key file has a passphrase: send it along";
            return Err(KeyKeeperError::Passphrase(why.to_owned()));
        }
        let keys = file
            .open(passphrase.filter(|_| file.passphrase))
            .map_err(|source| key_error(&path, source))?;
        Ok(rotate(&path, &file, &keys, passphrase)?.identity())
    }
}

impl From<IdentityError> for KeyKeeperError {
    fn from(error: IdentityError) -> KeyKeeperError {
        let text = error.to_string();
        match error {
            IdentityError::KeyFile {
                source: KeyFileError::WrongPassphrase,
                ..
            } => KeyKeeperError::Passphrase(text),
            IdentityError::Chain(_) => KeyKeeperError::Refused(text),
            _ => KeyKeeperError::Storage(text),
        }
    }
}
