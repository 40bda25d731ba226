//! Backups on disk: written whole or not at all, and restored into a home without losing what was
//! there.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rand::SeedableRng;

use super::identity::{IdentityError, PassphraseOptions, Prompt, new_key_passphrase, shown};
use super::{Home, write_atomically};
use crate::crypto::{Backup, BackupContent, BackupError, KdfCost, KeyFile, Rng};

const BACKUP_MAX_BYTES: u64 = 64 * 1024;
/// Homes that were set aside in one home.
const ASIDE_MAX: u32 = 1_000;

/// Why a backup was not made or restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("{path}: {source}")]
    Backup { path: String, source: BackupError },
    #[error("{path} cannot be {what}: {source}")]
    Io {
        path: String,
        what: &'static str,
        source: io::Error,
    },
    /// There is a file of that name.
    #[error("{0} is there already: name another file")]
    Exists(String),
    /// A node lives there.
    #[error("{0} holds a node already; nothing was changed")]
    Occupied(String),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl RestoreError {
    fn io(path: &Path, what: &'static str) -> impl Fn(io::Error) -> RestoreError {
        move |source| RestoreError::Io {
            path: shown(path),
            what,
            source,
        }
    }
}

/// Writes a new file, for this user only.
///
/// # Errors
/// [`RestoreError`]; one that is there is kept.
pub fn write_backup(path: &Path, backup: &Backup) -> Result<(), RestoreError> {
    write_atomically(path, backup.to_json().as_bytes(), false).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => RestoreError::Exists(shown(path)),
        _ => RestoreError::io(path, "written")(error),
    })
}

/// Reads a backup without opening it.
///
/// # Errors
/// [`RestoreError`].
pub fn read_backup(path: &Path) -> Result<Backup, RestoreError> {
    let refused = RestoreError::io(path, "read");
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(BACKUP_MAX_BYTES).read_to_end(&mut bytes))
        .map_err(refused)?;
    Backup::parse(&bytes).map_err(|source| RestoreError::Backup {
        path: shown(path),
        source,
    })
}

/// Opens a backup. Takes as long as its cost says.
///
/// # Errors
/// [`RestoreError`].
pub fn open_backup(
    path: &Path,
    backup: &Backup,
    passphrase: &str,
) -> Result<BackupContent, RestoreError> {
    backup
        .open(passphrase)
        .map_err(|source| RestoreError::Backup {
            path: shown(path),
            source,
        })
}

/// Whether a node lives, or lived, in a home.
pub fn is_occupied(home: &Home) -> bool {
    home.key_file().exists() || home.store_dir().exists()
}

/// The key file of a restored node, under the passphrase that `options` and `prompt` give.
///
/// # Errors
/// [`RestoreError`].
pub fn restored_key_file(
    content: &BackupContent,
    options: &PassphraseOptions,
    prompt: &mut dyn Prompt,
) -> Result<KeyFile, RestoreError> {
    let about = "A passphrase protects the key on this disk.";
    let entity = content.keys.chain().entity_id();
    let passphrase = new_key_passphrase(options, prompt, about, &entity)?;
    let cost = match passphrase {
        Some(_) => KdfCost::PASSPHRASE,
        None => KdfCost::NONE,
    };
    let passphrase = passphrase.as_ref().map(|text| text.as_str());
    let mut rng = Rng::from_rng(&mut rand::rng());
    Ok(KeyFile::seal(&content.keys, passphrase, cost, &mut rng))
}

/// Puts a restored key file into a home whose lock the caller holds. What was there is moved into
/// a folder of its own first, which is returned; without `force` it is refused.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(home: &Home, file: &KeyFile, force: bool) -> Result<Option<PathBuf>, RestoreError> {
    let aside = match is_occupied(home) {
        false => None,
        true if !force => return Err(RestoreError::Occupied(shown(home.path()))),
        true => Some(set_aside(home)?),
    };
    let path = home.key_file();
    write_atomically(&path, file.to_json().as_bytes(), false)
        .map_err(RestoreError::io(&path, "written"))?;
    Ok(aside)
}

fn set_aside(home: &Home) -> Result<PathBuf, RestoreError> {
    let folder = (1..=ASIDE_MAX)
        .map(|n| home.path().join(format!("before-restore-{n}")))
        .find(|folder| !folder.exists())
        .ok_or_else(|| RestoreError::Exists(shown(&home.path().join("before-restore-…"))))?;
    fs::create_dir(&folder).map_err(RestoreError::io(&folder, "created"))?;
    for part in [home.key_file(), home.store_dir()] {
        let Some(name) = part.file_name().filter(|_| part.exists()) else {
            continue;
        };
        fs::rename(&part, folder.join(name)).map_err(RestoreError::io(&part, "moved aside"))?;
    }
    let synced = [folder.as_path(), home.path()]
        .into_iter()
        .try_for_each(|folder| File::open(folder)?.sync_all());
    synced.map_err(RestoreError::io(home.path(), "written"))?;
    Ok(folder)
}
