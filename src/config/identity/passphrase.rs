//! Where a passphrase comes from.
//!
//! In order: `--passphrase-file` or `--no-passphrase`, `JUNTO_PASSPHRASE_FILE`,
//! `JUNTO_PASSPHRASE`, `[identity]` of the configuration, the system's keychain if it is to be
//! used (`kept`), a prompt on a terminal. A key file that says it has no passphrase is opened
//! without asking for one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::kept::kept;
use super::{IdentityError, read_key_file, shown};
use crate::config::{Config, Home, Keychain, PassphraseMode, SystemKeychain};

pub(super) const PASSPHRASE_MAX_BYTES: usize = 1_024;

/// What was said about the passphrase. Holds where it is, not what it is; except for the
/// environment's, which is cleared on drop.
#[derive(Default)]
pub struct PassphraseOptions {
    /// `--no-passphrase`
    pub none: bool,
    /// `--passphrase-file`
    pub file: Option<PathBuf>,
    /// `JUNTO_PASSPHRASE_FILE`
    pub env_file: Option<PathBuf>,
    /// `JUNTO_PASSPHRASE`
    pub env: Option<Zeroizing<String>>,
    /// `[identity] passphrase_file`
    pub config_file: Option<PathBuf>,
    /// `[identity] passphrase = "none"`
    pub config_none: bool,
    /// `--keychain`, `[identity] passphrase = "keychain"`
    pub keychain: Option<Box<dyn Keychain>>,
}

impl PassphraseOptions {
    /// The flags with this process's environment and the configuration. `keychain` asks for the
    /// system's, as the configuration can.
    ///
    /// # Errors
    /// [`IdentityError::BadPassphrase`] when the environment's is not text.
    pub fn new(
        none: bool,
        file: Option<PathBuf>,
        keychain: bool,
        config: &Config,
    ) -> Result<PassphraseOptions, IdentityError> {
        let mode = config.identity.passphrase;
        let keychain = keychain || mode == PassphraseMode::Keychain;
        Ok(PassphraseOptions {
            none,
            file,
            env_file: env_path("JUNTO_PASSPHRASE_FILE"),
            env: env_text("JUNTO_PASSPHRASE")?,
            config_file: config.identity.passphrase_file.as_ref().map(PathBuf::from),
            config_none: mode == PassphraseMode::None,
            keychain: keychain.then(|| Box::new(SystemKeychain::new()) as Box<dyn Keychain>),
        })
    }

    /// Where a backup's passphrase comes from: a flag, or this process's environment.
    ///
    /// # Errors
    /// [`IdentityError::BadPassphrase`] when the environment's is not text.
    pub fn for_backup(file: Option<PathBuf>) -> Result<PassphraseOptions, IdentityError> {
        Ok(PassphraseOptions {
            file,
            env_file: env_path("JUNTO_BACKUP_PASSPHRASE_FILE"),
            env: env_text("JUNTO_BACKUP_PASSPHRASE")?,
            ..PassphraseOptions::default()
        })
    }

    /// The keychain that is to be used.
    pub(super) fn keychain(&self) -> Option<&dyn Keychain> {
        self.keychain.as_deref().filter(|_| !self.none)
    }

    /// The passphrase somebody provided; none when a person must be asked.
    pub(super) fn provided(&self) -> Result<Option<Zeroizing<String>>, IdentityError> {
        if let Some(file) = self.file.as_ref().or(self.env_file.as_ref()) {
            return read_passphrase(file).map(Some);
        }
        if let Some(passphrase) = &self.env {
            return checked(passphrase.clone(), "in the environment").map(Some);
        }
        self.config_file.as_deref().map(read_passphrase).transpose()
    }
}

fn env_path(variable: &str) -> Option<PathBuf> {
    let value = std::env::var_os(variable);
    value.filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn env_text(variable: &str) -> Result<Option<Zeroizing<String>>, IdentityError> {
    let utf8 = |value: OsString| {
        let text = value.into_string().map(Zeroizing::new);
        text.map_err(|_| IdentityError::BadPassphrase {
            from: format!("in {variable}"),
            what: "is not UTF-8 text",
        })
    };
    let value = std::env::var_os(variable);
    value
        .filter(|value| !value.is_empty())
        .map(utf8)
        .transpose()
}

/// The person at the terminal, if there is one.
pub trait Prompt {
    /// Whether somebody can be asked.
    fn is_there(&self) -> bool;
    /// Asks without echo.
    ///
    /// # Errors
    /// When the terminal went away.
    fn ask(&mut self, question: &str) -> io::Result<Zeroizing<String>>;
    /// Tells.
    fn tell(&mut self, text: &str);
}

/// The terminal this process was started on.
pub struct TerminalPrompt;

impl Prompt for TerminalPrompt {
    fn is_there(&self) -> bool {
        io::stdin().is_terminal()
    }

    fn ask(&mut self, question: &str) -> io::Result<Zeroizing<String>> {
        rpassword::prompt_password(question).map(Zeroizing::new)
    }

    fn tell(&mut self, text: &str) {
        eprintln!("{text}");
    }
}

pub(in crate::config) fn new_passphrase(
    options: &PassphraseOptions,
    prompt: &mut dyn Prompt,
    about: &str,
) -> Result<Option<Zeroizing<String>>, IdentityError> {
    if options.none {
        return Ok(None);
    }
    if let Some(passphrase) = options.provided()? {
        return Ok(Some(passphrase));
    }
    if options.config_none {
        return Ok(None);
    }
    if !prompt.is_there() {
        return Err(IdentityError::NoPassphrase);
    }
    prompt.tell(about);
    let first = ask(prompt, "New passphrase: ")?;
    let again = ask(prompt, "The same again: ")?;
    if first == again {
        Ok(Some(first))
    } else {
        Err(IdentityError::Differ)
    }
}

/// The passphrase of a backup to be opened.
///
/// # Errors
/// [`IdentityError`].
pub fn backup_passphrase(
    options: &PassphraseOptions,
    prompt: &mut dyn Prompt,
) -> Result<Zeroizing<String>, IdentityError> {
    if let Some(passphrase) = options.provided()? {
        return Ok(passphrase);
    }
    if !prompt.is_there() {
        return Err(IdentityError::NoBackupPassphrase);
    }
    ask(prompt, "Passphrase of the backup: ")
}

/// The passphrase of a backup to be made, asked for twice.
///
/// # Errors
/// [`IdentityError`].
pub fn new_backup_passphrase(
    options: &PassphraseOptions,
    prompt: &mut dyn Prompt,
) -> Result<Zeroizing<String>, IdentityError> {
    let about = "A passphrase of its own protects the backup. Without it the backup is lost.";
    new_passphrase(options, prompt, about)
        .map_err(|error| match error {
            IdentityError::NoPassphrase => IdentityError::NoBackupPassphrase,
            error => error,
        })?
        .ok_or(IdentityError::NoBackupPassphrase)
}

/// The passphrase of a home's key file, for a node that is to rotate it: none when it has none.
/// Whether it is the right one, the node finds out.
///
/// # Errors
/// [`IdentityError`].
pub fn passphrase_of(
    home: &Home,
    options: &PassphraseOptions,
    prompt: &mut dyn Prompt,
) -> Result<Option<Zeroizing<String>>, IdentityError> {
    let file = read_key_file(home)?.ok_or_else(|| IdentityError::None(shown(home.path())))?;
    if !file.passphrase {
        return Ok(None);
    }
    if let Some(passphrase) = options.provided()? {
        return Ok(Some(passphrase));
    }
    if let Some(passphrase) = kept(options, prompt, &file.entity_id)? {
        return Ok(Some(passphrase));
    }
    if !prompt.is_there() {
        return Err(IdentityError::NoPassphrase);
    }
    ask(prompt, "Passphrase: ").map(Some)
}

pub(super) fn ask(
    prompt: &mut dyn Prompt,
    question: &str,
) -> Result<Zeroizing<String>, IdentityError> {
    let answer = prompt
        .ask(question)
        .map_err(IdentityError::io(Path::new("the terminal"), "read"))?;
    checked(answer, "from the terminal")
}

/// A file's first and only line.
pub(super) fn read_passphrase(path: &Path) -> Result<Zeroizing<String>, IdentityError> {
    let refused = IdentityError::io(path, "read as a passphrase file");
    let file = File::open(path).map_err(&refused)?;
    let mode = file.metadata().map_err(&refused)?.permissions().mode();
    if mode & 0o004 != 0 {
        tracing::warn!(
            file = %path.display(),
            "everybody on this machine can read the passphrase file: chmod 600 it"
        );
    }
    let mut text = Zeroizing::new(String::with_capacity(PASSPHRASE_MAX_BYTES + 3));
    file.take(PASSPHRASE_MAX_BYTES as u64 + 3)
        .read_to_string(&mut text)
        .map_err(refused)?;
    let length = text.strip_suffix('\n').map_or(text.len(), str::len);
    text.truncate(length);
    let length = text.strip_suffix('\r').map_or(text.len(), str::len);
    text.truncate(length);
    checked(text, &format!("in {}", path.display()))
}

fn checked(passphrase: Zeroizing<String>, from: &str) -> Result<Zeroizing<String>, IdentityError> {
    let refused = |what| IdentityError::BadPassphrase {
        from: from.to_owned(),
        what,
    };
    if passphrase.is_empty() {
        return Err(refused("is empty"));
    }
    if passphrase.len() > PASSPHRASE_MAX_BYTES {
        return Err(refused("is longer than 1024 bytes"));
    }
    Ok(passphrase)
}
