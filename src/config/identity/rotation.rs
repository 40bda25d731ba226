//! The next key of a home, put into use by its node or without one.

use std::io;
use std::path::Path;
use std::sync::{Mutex, TryLockError};

use rand::SeedableRng;

use super::{IdentityError, PassphraseOptions, Prompt, key_error, open, read_key_file, shown};
use crate::config::Home;
use crate::config::atomic::{Moment, write_watched};
use crate::crypto::{Identity, KeyFile, KeyFileError, Keys, Rng};
use crate::runtime::{KeyKeeper, KeyKeeperError};
use crate::types::EntityId;

/// Puts the next key of a home into use, durably. The caller holds the home's lock, or is its
/// node.
///
/// # Errors
/// [`IdentityError`]; the key file is what it was (or, where only the folder could not be flushed,
/// the new one).
fn rotate(
    path: &Path,
    file: &KeyFile,
    keys: &Keys,
    passphrase: Option<&str>,
) -> Result<Keys, IdentityError> {
    rotate_watched(path, file, keys, passphrase, &mut |_| Ok(()))
}

fn rotate_watched(
    path: &Path,
    file: &KeyFile,
    keys: &Keys,
    passphrase: Option<&str>,
    watch: &mut dyn FnMut(Moment) -> io::Result<()>,
) -> Result<Keys, IdentityError> {
    let mut rng = Rng::from_rng(&mut rand::rng());
    let rotated = keys.rotate(&mut rng).map_err(IdentityError::Chain)?;
    let file = file.reseal(&rotated, passphrase, &mut rng);
    write_watched(path, file.to_json().as_bytes(), true, watch)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::{home, none, person};
    use super::super::{create_identity, load_or_create};
    use super::*;

    /// The home as a process would leave it that dies now.
    fn copy_of(home: &Home) -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a folder");
        for entry in fs::read_dir(home.path()).expect("a folder").flatten() {
            fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copied");
        }
        let copy = Home::locate(Some(dir.path())).expect("a path");
        (dir, copy)
    }

    fn unfinished(home: &Home) -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(home.path()).expect("a folder").flatten();
        let paths = entries.map(|entry| entry.path());
        paths
            .filter(|path| path.to_string_lossy().ends_with(".tmp"))
            .collect()
    }

    #[test]
    fn a_death_between_any_two_operations_of_a_rotation_leaves_one_of_the_two_keys_whole() {
        let (_dir, home) = home();
        let before = create_identity(&home, &none(), &mut person(&[])).expect("made");
        let file = read_key_file(&home).expect("readable").expect("there");
        let keys = file.open(None).expect("no passphrase");
        let mut deaths = Vec::new();
        let mut watch = |moment| {
            let whole = copy_of(&home);
            if moment == Moment::Written {
                // Not all of it needs to have arrived.
                let (cut, left) = (copy_of(&home), unfinished(&home));
                let name = left[0].file_name().expect("a name");
                let half = fs::read(&left[0]).expect("readable").len() / 2;
                let open = fs::File::options()
                    .write(true)
                    .open(cut.1.path().join(name));
                open.and_then(|file| file.set_len(half as u64))
                    .expect("cut");
                deaths.push((moment, cut));
            }
            deaths.push((moment, whole));
            Ok(())
        };
        let path = home.key_file();
        let after = rotate_watched(&path, &file, &keys, None, &mut watch).expect("rotated");
        use Moment::{Flushed, Made, Named, Written};
        let moments: Vec<Moment> = deaths.iter().map(|(moment, _)| *moment).collect();
        // Flushed before it is named: the name never leads to half a file, even in a power cut.
        assert_eq!(moments, [Made, Written, Written, Flushed, Named]);
        for (moment, (_dir, home)) in &deaths {
            assert_eq!(unfinished(home).len(), usize::from(*moment != Named));
            let lock = home.lock().expect("free");
            assert!(unfinished(home).is_empty(), "the next start cleans up");
            let found = load_or_create(home, &none(), &mut person(&[])).expect("it opens");
            assert!(!found.created);
            let expected = match moment {
                Named => after.identity(),
                _ => before.clone(),
            };
            assert_eq!(found.identity.chain(), expected.chain(), "{moment:?}");
            assert_eq!(found.identity.key().public(), expected.key().public());
            // And it goes on from there.
            let next = rotate_stopped(home, &none(), &mut person(&[])).expect("rotated");
            assert!(next.follows(&expected), "{moment:?}");
            drop(lock);
        }
    }

    #[test]
    fn a_disk_that_refuses_a_rotation_leaves_one_of_the_two_keys_whole() {
        for at in [
            Moment::Made,
            Moment::Written,
            Moment::Flushed,
            Moment::Named,
        ] {
            let (_dir, home) = home();
            let before = create_identity(&home, &none(), &mut person(&[])).expect("made");
            let file = read_key_file(&home).expect("readable").expect("there");
            let keys = file.open(None).expect("no passphrase");
            let mut watch = |moment| match moment == at {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            };
            let refused = rotate_watched(&home.key_file(), &file, &keys, None, &mut watch);
            assert!(matches!(refused, Err(IdentityError::Io { .. })));
            let found = load_or_create(&home, &none(), &mut person(&[])).expect("it opens");
            let rotations = usize::from(at == Moment::Named);
            assert_eq!(found.identity.chain().rotations().len(), rotations);
            assert_eq!(found.identity.entity_id, before.entity_id);
        }
    }
}
