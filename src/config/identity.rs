//! The node's identity on disk, and where its passphrase comes from.
//!
//! In order: `--passphrase-file` or `--no-passphrase`, `JUNTO_PASSPHRASE_FILE`,
//! `JUNTO_PASSPHRASE`, `[identity]` of the configuration, a prompt on a terminal. A key file
//! that says it has no passphrase is opened without asking for one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, TryLockError};

use rand::SeedableRng;
use zeroize::Zeroizing;

use super::{Config, Home, PassphraseMode, write_atomically};
use crate::crypto::{ChainError, Identity, KdfCost, KeyFile, KeyFileError, Keys, Rng, Seeds};
use crate::runtime::{KeyKeeper, KeyKeeperError};
use crate::types::EntityId;

const KEY_FILE_MAX_BYTES: u64 = 64 * 1024;
const PASSPHRASE_MAX_BYTES: usize = 1_024;
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
}

impl PassphraseOptions {
    /// The flags with this process's environment and the configuration.
    ///
    /// # Errors
    /// [`IdentityError::BadPassphrase`] when the environment's is not text.
    pub fn new(
        none: bool,
        file: Option<PathBuf>,
        config: &Config,
    ) -> Result<PassphraseOptions, IdentityError> {
        Ok(PassphraseOptions {
            none,
            file,
            env_file: env_path("JUNTO_PASSPHRASE_FILE"),
            env: env_text("JUNTO_PASSPHRASE")?,
            config_file: config.identity.passphrase_file.as_ref().map(PathBuf::from),
            config_none: config.identity.passphrase == PassphraseMode::None,
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

    /// The passphrase somebody provided; none when a person must be asked.
    fn provided(&self) -> Result<Option<Zeroizing<String>>, IdentityError> {
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
    let passphrase = new_passphrase(options, prompt, about)?;
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
    let mut rng = Rng::from_rng(&mut rand::rng());
    let keys = Keys::found(Seeds::generate(&mut rng));
    let file = KeyFile::seal(
        &keys,
        passphrase.as_ref().map(|text| text.as_str()),
        cost,
        &mut rng,
    );
    let path = home.key_file();
    write_atomically(&path, file.to_json().as_bytes(), false)
        .map_err(IdentityError::io(&path, "written"))?;
    Ok(keys.identity())
}

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
    if !prompt.is_there() {
        return Err(IdentityError::NoPassphrase);
    }
    ask(prompt, "Passphrase: ").map(Some)
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

pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn new_passphrase(
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
    if let Some(passphrase) = options.provided()? {
        return open_with(Some(passphrase));
    }
    if !prompt.is_there() {
        return Err(IdentityError::NoPassphrase);
    }
    let mut tries = 0;
    loop {
        let passphrase = ask(prompt, "Passphrase: ")?;
        prompt.tell("Opening the key…");
        tries += 1;
        match open_with(Some(passphrase)) {
            Err(IdentityError::KeyFile {
                source: KeyFileError::WrongPassphrase,
                ..
            }) if tries < PROMPTS_MAX => {
                prompt.tell("That passphrase does not open the key. Try again.");
            }
            outcome => return outcome,
        }
    }
}

fn ask(prompt: &mut dyn Prompt, question: &str) -> Result<Zeroizing<String>, IdentityError> {
    let answer = prompt
        .ask(question)
        .map_err(IdentityError::io(Path::new("the terminal"), "read"))?;
    checked(answer, "from the terminal")
}

/// A file's first and only line.
fn read_passphrase(path: &Path) -> Result<Zeroizing<String>, IdentityError> {
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

fn key_error(path: &Path, source: KeyFileError) -> IdentityError {
    IdentityError::KeyFile {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::fs;

    use super::*;

    /// Answers from a list; nobody is there when it is empty from the start.
    struct Scripted {
        there: bool,
        answers: VecDeque<&'static str>,
    }

    fn person(answers: &[&'static str]) -> Scripted {
        Scripted {
            there: !answers.is_empty(),
            answers: answers.iter().copied().collect(),
        }
    }

    impl Prompt for Scripted {
        fn is_there(&self) -> bool {
            self.there
        }

        fn ask(&mut self, _: &str) -> io::Result<Zeroizing<String>> {
            let answer = self
                .answers
                .pop_front()
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            Ok(Zeroizing::new(answer.to_owned()))
        }

        fn tell(&mut self, _: &str) {}
    }

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a folder");
        let home = Home::locate(Some(dir.path())).expect("a path");
        (dir, home)
    }

    fn none() -> PassphraseOptions {
        PassphraseOptions {
            none: true,
            ..PassphraseOptions::default()
        }
    }

    fn env(passphrase: &str) -> PassphraseOptions {
        let env = Some(Zeroizing::new(passphrase.to_owned()));
        PassphraseOptions {
            env,
            ..PassphraseOptions::default()
        }
    }

    #[test]
    fn an_identity_is_made_once_and_stays() {
        let (_dir, home) = home();
        let first = load_or_create(&home, &none(), &mut person(&[])).expect("made");
        assert!(first.created);
        let mode = fs::metadata(home.key_file())
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        // No passphrase is needed for a file that says it has none.
        let options = PassphraseOptions::default();
        let again = load_or_create(&home, &options, &mut person(&[])).expect("opened");
        assert!(!again.created);
        assert_eq!(again.identity.peer_id, first.identity.peer_id);
        let clear = read_key_file(&home).expect("readable").expect("there");
        assert_eq!(clear.entity_id, first.identity.entity_id.to_string());
        let refused = create_identity(&home, &none(), &mut person(&[])).expect_err("there");
        assert!(matches!(refused, IdentityError::Io { .. }));
    }

    #[test]
    fn a_wrong_passphrase_is_told_from_the_right_one() {
        let (_dir, home) = home();
        let made = load_or_create(&home, &env("right"), &mut person(&[])).expect("made");
        let opened = load_or_create(&home, &env("right"), &mut person(&[])).expect("opened");
        assert_eq!(opened.identity.entity_id, made.identity.entity_id);
        let error = load_or_create(&home, &env("wrong"), &mut person(&[])).expect_err("wrong");
        assert!(error.to_string().contains("passphrase is wrong"), "{error}");
        assert!(!error.to_string().contains("right"));
        let asked = load_or_create(
            &home,
            &PassphraseOptions::default(),
            &mut person(&["wrong", "right"]),
        );
        assert_eq!(
            asked.expect("second try").identity.peer_id,
            made.identity.peer_id
        );
        let nobody = load_or_create(&home, &none(), &mut person(&[])).expect_err("protected");
        assert!(matches!(nobody, IdentityError::NoPassphrase));
    }

    #[test]
    fn nobody_to_ask_creates_nothing() {
        let (_dir, home) = home();
        let options = PassphraseOptions::default();
        let error = load_or_create(&home, &options, &mut person(&[])).expect_err("nobody");
        assert!(matches!(error, IdentityError::NoPassphrase));
        let error = load_or_create(&home, &options, &mut person(&["a", "b"])).expect_err("differ");
        assert!(matches!(error, IdentityError::Differ));
        assert!(!home.key_file().exists());
    }

    #[test]
    fn a_passphrase_file_loses_its_line_end_and_has_a_limit() {
        let (dir, _) = home();
        let path = dir.path().join("p");
        for text in ["secret", "secret\n", "secret\r\n"] {
            fs::write(&path, text).expect("written");
            assert_eq!(read_passphrase(&path).expect("read").as_str(), "secret");
        }
        fs::write(&path, "\n").expect("written");
        assert!(read_passphrase(&path).is_err());
        fs::write(&path, "x".repeat(PASSPHRASE_MAX_BYTES + 1)).expect("written");
        assert!(read_passphrase(&path).is_err());
        assert!(read_passphrase(&dir.path().join("absent")).is_err());
    }

    #[test]
    fn a_given_file_wins_over_the_environment_and_that_over_the_configuration() {
        let (dir, _) = home();
        let write = |name: &str| {
            let path = dir.path().join(name);
            fs::write(&path, name).expect("written");
            Some(path)
        };
        let mut options = env("env");
        options.config_file = write("config");
        let provided = |options: &PassphraseOptions| {
            options
                .provided()
                .expect("readable")
                .map(|text| text.to_string())
        };
        assert_eq!(provided(&options).as_deref(), Some("env"));
        options.env_file = write("env_file");
        assert_eq!(provided(&options).as_deref(), Some("env_file"));
        options.file = write("flag");
        assert_eq!(provided(&options).as_deref(), Some("flag"));
        let config = PassphraseOptions {
            config_file: write("c"),
            ..Default::default()
        };
        assert_eq!(provided(&config).as_deref(), Some("c"));
    }

    #[test]
    fn a_damaged_key_file_is_named() {
        let (_dir, home) = home();
        fs::write(home.key_file(), "{").expect("written");
        let error = load_or_create(&home, &none(), &mut person(&[])).expect_err("damaged");
        assert!(error.to_string().contains("identity.key"), "{error}");
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}
