//! The node's identity on disk: its key file, made, opened and rotated.
//!
//! Where the passphrase comes from, `passphrase` says; `rotation` puts the next key into use.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rand::SeedableRng;
use zeroize::Zeroizing;

use super::{Home, KeychainError, write_atomically};
use crate::crypto::{ChainError, Identity, KdfCost, KeyFile, KeyFileError, Keys, Rng, Seeds};

mod kept;
mod passphrase;
mod rotation;

pub(super) use kept::new_key_passphrase;
use passphrase::ask;
pub use passphrase::{
    PassphraseOptions, Prompt, TerminalPrompt, backup_passphrase, new_backup_passphrase,
    passphrase_of,
};
pub use rotation::{HomeKeys, rotate_stopped};

const KEY_FILE_MAX_BYTES: u64 = 64 * 1024;
/// Wrong answers to the prompt before we give up.
const PROMPTS_MAX: usize = 3;

/// Why there is no identity to run with.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("{path} cannot be {what}: {source}")]
    Io {
        path: String,
        what: &'static str,
        source: io::Error,
    },
    /// The key file does not open.
    #[error("{path}: {source}")]
    KeyFile { path: String, source: KeyFileError },
    /// Nobody to ask.
    #[error("no passphrase was given and there is no terminal to ask on")]
    NoPassphrase,
    /// Nobody to ask, for a backup.
    #[error("no passphrase for the backup was given and there is no terminal to ask on")]
    NoBackupPassphrase,
    /// What was given cannot be one.
    #[error("the passphrase {from} {what}")]
    BadPassphrase { from: String, what: &'static str },
    /// The key cannot be rotated.
    #[error("{0}")]
    Chain(ChainError),
    /// There is no node in the home.
    #[error("there is no identity in {0}")]
    None(String),
    /// The two entries differ.
    #[error("the two passphrases differ: nothing was created")]
    Differ,
    /// It is to be used and of no use.
    #[error("{0}")]
    Keychain(KeychainError),
}

impl IdentityError {
    fn io(path: &Path, what: &'static str) -> impl Fn(io::Error) -> IdentityError {
        move |source| IdentityError::Io {
            path: path.display().to_string(),
            what,
            source,
        }
    }
}

/// An identity, and whether it is new.
#[derive(Debug)]
pub struct Loaded {
    pub identity: Identity,
    pub created: bool,
}

/// Reads the key file without opening it; none when there is none.
///
/// # Errors
/// [`IdentityError`] when it cannot be read or is damaged.
pub fn read_key_file(home: &Home) -> Result<Option<KeyFile>, IdentityError> {
    let path = home.key_file();
    let refused = IdentityError::io(&path, "read");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    let mut json = String::new();
    file.take(KEY_FILE_MAX_BYTES)
        .read_to_string(&mut json)
        .map_err(refused)?;
    KeyFile::parse(&json)
        .map(Some)
        .map_err(|source| key_error(&path, source))
}

/// The home's identity; made now if there is none. Takes about a second with a passphrase.
///
/// # Errors
/// [`IdentityError`].
pub fn load_or_create(
    home: &Home,
    options: &PassphraseOptions,
    prompt: &mut dyn Prompt,
) -> Result<Loaded, IdentityError> {
    match read_key_file(home)? {
        Some(file) => {
            let (keys, _) = open(&home.key_file(), &file, options, prompt)?;
            Ok(Loaded {
                identity: keys.identity(),
                created: false,
            })
        }
        None => {
            let identity = create_identity(home, options, prompt)?;
            Ok(Loaded {
                identity,
                created: true,
            })
        }
    }
}

/// Makes a new identity; never replaces one.
///
/// # Errors
/// [`IdentityError`].
pub fn create_identity(
    home: &Home,
    options: &PassphraseOptions,
    prompt: &mut dyn Prompt,
) -> Result<Identity, IdentityError> {
    let about = "This node gets a new identity. A passphrase protects its key on this disk.";
    let mut rng = Rng::from_rng(&mut rand::rng());
    let keys = Keys::found(Seeds::generate(&mut rng));
    let entity = keys.chain().entity_id();
    let passphrase = kept::new_key_passphrase(options, prompt, about, &entity)?;
    let cost = if passphrase.is_some() {
        prompt.tell("Protecting the new key with the passphrase…");
        KdfCost::PASSPHRASE
    } else {
        prompt.tell(
            "warning: the key is not protected by a passphrase: whoever can read the home folder \
             can be this node",
        );
        KdfCost::NONE
    };
    let file = KeyFile::seal(
        &keys,
        passphrase.as_ref().map(|text| text.as_str()),
        cost,
        &mut rng,
    );
    let (path, text) = (home.key_file(), file.to_json());
    write_atomically(&path, text.as_bytes(), false)
        .inspect_err(|_| {
            // It may have its name all the same: then nothing else would ever open it.
            if std::fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
                kept::forget(options, &entity);
            }
        })
        .map_err(IdentityError::io(&path, "written"))?;
    Ok(keys.identity())
}

/// The keys of a home, opened.
///
/// # Errors
/// [`IdentityError`].
pub fn open_keys(
    home: &Home,
    options: &PassphraseOptions,
    prompt: &mut dyn Prompt,
) -> Result<Keys, IdentityError> {
    let file = read_key_file(home)?.ok_or_else(|| IdentityError::None(shown(home.path())))?;
    Ok(open(&home.key_file(), &file, options, prompt)?.0)
}

/// The keys, and the passphrase that opened them.
type OpenedKeys = (Keys, Option<Zeroizing<String>>);

fn open(
    path: &Path,
    file: &KeyFile,
    options: &PassphraseOptions,
    prompt: &mut dyn Prompt,
) -> Result<OpenedKeys, IdentityError> {
    let open_with = |passphrase: Option<Zeroizing<String>>| {
        let keys = file
            .open(passphrase.as_ref().map(|text| text.as_str()))
            .map_err(|source| key_error(path, source))?;
        Ok((keys, passphrase))
    };
    if !file.passphrase {
        return open_with(None);
    }
    let entity = &file.entity_id;
    if let Some(passphrase) = options.provided()? {
        let opened = open_with(Some(passphrase.clone()))?;
        kept::keep(options, prompt, entity, &passphrase);
        return Ok(opened);
    }
    if let Some(passphrase) = kept::kept(options, prompt, entity)? {
        match open_with(Some(passphrase)) {
            Err(error) if is_wrong(&error) => kept::of_no_use(prompt, KeychainError::Wrong)?,
            outcome => return outcome,
        };
    }
    if !prompt.is_there() {
        return Err(IdentityError::NoPassphrase);
    }
    let mut tries = 0;
    loop {
        let passphrase = ask(prompt, "Passphrase: ")?;
        prompt.tell("Opening the key…");
        tries += 1;
        match open_with(Some(passphrase.clone())) {
            Err(error) if is_wrong(&error) && tries < PROMPTS_MAX => {
                prompt.tell("That passphrase does not open the key. Try again.");
            }
            Err(error) => return Err(error),
            Ok(opened) => {
                kept::keep(options, prompt, entity, &passphrase);
                return Ok(opened);
            }
        }
    }
}

fn is_wrong(error: &IdentityError) -> bool {
    let wrong = |source: &KeyFileError| *source == KeyFileError::WrongPassphrase;
    matches!(error, IdentityError::KeyFile { source, .. } if wrong(source))
}

pub(in crate::config) fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn key_error(path: &Path, source: KeyFileError) -> IdentityError {
    IdentityError::KeyFile {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests;
