//! How a command ends: an exit status that scripts can rely on, and one sentence for a person.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::api::client::ClientError;
use crate::api::{ApiError, TokenError};
use crate::config::{ConfigError, HomeError, IdentityError, KeychainError, RestoreError};
use crate::store::StoreError;

/// The exit statuses. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// The operation failed.
    Failed,
    /// Wrong usage; clap's own status, too.
    Usage,
    /// No node is running at this home.
    NotRunning,
    /// The peer could not be reached or did not answer in time.
    Unreachable,
    /// The status of a command that was run for the caller (`testnet --exec`).
    Command(u8),
}

impl Exit {
    /// The number the shell sees.
    pub fn status(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotRunning => 3,
            Exit::Unreachable => 4,
            Exit::Command(status) => status,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.status())
    }
}

/// What a command comes to.
pub(super) type Outcome = Result<Exit, Failure>;

/// Why a command did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// The API's code, where it refused; the status tells otherwise.
    code: Option<String>,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            code: None,
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn failed(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Failed, message)
    }

    pub(super) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// The sentence without the hint.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Stable, for programs: the API's own codes, and `failed`, `usage`, `not_running`, `timeout`
    /// and `unreachable`.
    pub(super) fn code(&self) -> &str {
        let by_exit = match self.exit {
            Exit::Usage => "usage",
            Exit::NotRunning => "not_running",
            Exit::Unreachable => "unreachable",
            Exit::Done | Exit::Failed | Exit::Command(_) => "failed",
        };
        self.code.as_deref().unwrap_or(by_exit)
    }

    /// With a code of its own.
    pub(super) fn coded(self, code: impl Into<String>) -> Failure {
        Failure {
            code: Some(code.into()),
            ..self
        }
    }

    /// Says it on stderr: in words, or with `--json` as one line that is a document.
    pub(super) fn tell(&self, json: bool) {
        match json {
            true => eprintln!("{}", self.document()),
            false => eprintln!("{self}"),
        }
    }

    fn document(&self) -> serde_json::Value {
        serde_json::json!({ "error": {
            "code": self.code(),
            "detail": self.message,
            "hint": self.hint,
        }})
    }

    /// Adds what to do next.
    pub(super) fn hint(self, hint: impl Into<String>) -> Failure {
        Failure {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Part of the text may come from a peer.
        write!(f, "error: {}", super::output::clean(&self.message))?;
        match &self.hint {
            Some(hint) => write!(f, "\n hint: {}", super::output::clean(hint)),
            None => Ok(()),
        }
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Failure {
        let hint = match &error {
            HomeError::Locked { .. } => {
                Some("stop that node, or give this one a home of its own with --home DIR")
            }
            HomeError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("use a home that belongs to you: --home DIR")
            }
            _ => None,
        };
        let failure = Failure::failed(error.to_string());
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        let from_flag =
            matches!(&error, ConfigError::Key { origin, .. } if origin.starts_with("--"));
        let exit = if from_flag { Exit::Usage } else { Exit::Failed };
        Failure::new(exit, error.to_string())
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Failure {
        match &error {
            IdentityError::NoPassphrase => Failure::usage(error.to_string()).hint(
                "use --passphrase-file FILE, JUNTO_PASSPHRASE_FILE or JUNTO_PASSPHRASE, or make \
                 an unprotected key with --no-passphrase",
            ),
            IdentityError::NoBackupPassphrase => Failure::usage(error.to_string()).hint(
                "use --backup-passphrase-file FILE, JUNTO_BACKUP_PASSPHRASE_FILE or \
                 JUNTO_BACKUP_PASSPHRASE",
            ),
            IdentityError::None(_) => {
                Failure::failed(error.to_string()).hint("make one with `junto init` or `junto up`")
            }
            IdentityError::Keychain(reason) => {
                Failure::new(keychain_exit(reason), error.to_string()).hint(keychain_hint(reason))
            }
            _ => Failure::failed(error.to_string()),
        }
    }
}

/// As without a passphrase, where a build cannot do what was asked.
fn keychain_exit(error: &KeychainError) -> Exit {
    match error {
        KeychainError::NotBuilt => Exit::Usage,
        _ => Exit::Failed,
    }
}

/// What to do where the keychain does not help.
pub(super) fn keychain_hint(error: &KeychainError) -> &'static str {
    match error {
        KeychainError::NotBuilt => {
            "build it with `cargo build --release --features keychain`, or give the passphrase with \
             --passphrase-file FILE, JUNTO_PASSPHRASE_FILE or JUNTO_PASSPHRASE"
        }
        KeychainError::Absent(_) | KeychainError::Refused(_) | KeychainError::Silent(_) => {
            "start or unlock one (on Linux a Secret Service on the session's D-Bus, such as GNOME \
             Keyring or KWallet), or give the passphrase with --passphrase-file FILE, \
             JUNTO_PASSPHRASE_FILE or JUNTO_PASSPHRASE"
        }
        KeychainError::Empty | KeychainError::Wrong => {
            "give the right passphrase once with --passphrase-file FILE, JUNTO_PASSPHRASE_FILE or \
             JUNTO_PASSPHRASE: it is kept from then on"
        }
        KeychainError::Another => {
            "leave out the one that was given, or remove the other from the keychain (service \
             junto, user name the entity id) if nothing needs it"
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::failed(error.to_string())
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Failure {
        Failure::failed(error.to_string())
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Failure {
        Failure::failed(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::failed(format!("the output could not be written: {error}"))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::NotRunning => Failure::not_running(None),
            ClientError::Timeout => {
                Failure::new(Exit::Unreachable, "the node did not answer in time")
                    .coded("timeout")
                    .hint("`junto doctor` looks for the reason")
            }
            ClientError::Problem { code, detail, .. } => {
                Failure::new(exit_of(&code), detail).coded(code)
            }
            ClientError::Other(what) => Failure::failed(what),
        }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Failure {
        let failure = Failure::failed(error.to_string());
        match error {
            RestoreError::Identity(error) => error.into(),
            RestoreError::Occupied(_) => failure
                .hint("name another home with --home DIR, or set this one aside with --force"),
            _ => failure,
        }
    }
}

impl Failure {
    pub(super) fn no_identity(home: &Path) -> Failure {
        Failure::failed(format!("there is no identity in {}", home.display()))
            .hint("make one with `junto init` or `junto up`")
    }

    pub(super) fn not_running(home: Option<&Path>) -> Failure {
        let home = home.map_or("this home".into(), |home| home.display().to_string());
        Failure::new(Exit::NotRunning, format!("no node is running at {home}"))
            .hint("start one with `junto up`, or name another home with --home DIR")
    }
}

/// The API's stable codes, as exit statuses.
fn exit_of(code: &str) -> Exit {
    match code {
        "unreachable" | "circuit_open" => Exit::Unreachable,
        "stopping" => Exit::NotRunning,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: &str) -> Exit {
        let (code, detail) = (code.to_owned(), String::from("x"));
        Failure::from(ClientError::Problem {
            code,
            detail,
            status: 400,
        })
        .exit
    }

    #[test]
    fn statuses_are_those_of_the_interface() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::NotRunning,
            Exit::Unreachable,
        ];
        assert_eq!(all.map(Exit::status), [0, 1, 2, 3, 4]);
        assert_eq!(Exit::Command(7).status(), 7);
        assert_eq!(
            Failure::from(ClientError::NotRunning).exit,
            Exit::NotRunning
        );
        assert_eq!(Failure::from(ClientError::Timeout).exit, Exit::Unreachable);
        assert_eq!(problem("unreachable"), Exit::Unreachable);
        assert_eq!(problem("stopping"), Exit::NotRunning);
        assert_eq!(problem("not_found"), Exit::Failed);
        assert_eq!(problem("conflict"), Exit::Failed);
        assert_eq!(Failure::from(IdentityError::NoPassphrase).exit, Exit::Usage);
        assert_eq!(Failure::from(IdentityError::Differ).exit, Exit::Failed);
        let locked = HomeError::Locked {
            path: String::new(),
            holder: String::new(),
        };
        assert_eq!(Failure::from(locked).exit, Exit::Failed);
    }

    #[test]
    fn a_flags_bad_value_is_wrong_usage_a_files_is_a_failure() {
        let key = |origin: &str| {
            let (key, what) = (String::from("k"), String::from("w"));
            Failure::from(ConfigError::Key {
                key,
                origin: origin.to_owned(),
                what,
            })
            .exit
        };
        assert_eq!(key("--listen"), Exit::Usage);
        assert_eq!(key("/h/junto.toml"), Exit::Failed);
    }

    #[test]
    fn for_programs_a_failure_is_a_document_with_a_stable_code() {
        let refused = Failure::from(ClientError::Problem {
            code: String::from("queue_full"),
            detail: String::from("the queue is full"),
            status: 503,
        });
        let document = serde_json::json!({ "error": {
            "code": "queue_full", "detail": "the queue is full", "hint": null
        }});
        assert_eq!(refused.document(), document);
        let codes = [
            (Failure::failed("x"), "failed"),
            (Failure::usage("x"), "usage"),
            (Failure::not_running(None), "not_running"),
            (Failure::new(Exit::Unreachable, "x"), "unreachable"),
            (ClientError::Timeout.into(), "timeout"),
        ];
        for (failure, code) in codes {
            assert_eq!(failure.document()["error"]["code"], code);
        }
        let hint = Failure::not_running(None).document()["error"]["hint"].clone();
        assert!(hint.as_str().is_some_and(|hint| hint.contains("junto up")));
    }

    #[test]
    fn a_failure_is_a_sentence_and_a_hint_without_control_characters() {
        let text = Failure::failed("bad \u{1b}[31mpeer")
            .hint("look")
            .to_string();
        assert_eq!(text, "error: bad \u{fffd}[31mpeer\n hint: look");
    }
}
