//! What can be wrong with the configuration, as sentences that name the key and who set it.

use ::config::ConfigError as Foreign;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and the system refuses it.
    #[error("{path} cannot be read: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    /// The default file could not be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        path: String,
        source: std::io::Error,
    },
    /// Nobody writes a configuration of that size.
    #[error("{path} is larger than 256 KiB: it is not a Junto configuration")]
    TooLarge { path: String },
    /// Not TOML.
    #[error("{path}, line {line}: {what}")]
    Syntax {
        path: String,
        line: usize,
        what: String,
    },
    /// One key is unknown, or its value is not allowed.
    #[error("the setting `{key}` ({origin}): {what}")]
    Key {
        key: String,
        origin: String,
        what: String,
    },
}

/// A key and what is wrong with it, before it is known who set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) key: String,
    pub(super) what: String,
}

impl Fault {
    pub(super) fn new(key: impl Into<String>, what: impl Into<String>) -> Fault {
        Fault {
            key: key.into(),
            what: what.into(),
        }
    }

    /// The error, with who set the key.
    pub(super) fn set_by(self, origin_of: impl Fn(&str) -> String) -> ConfigError {
        let origin = origin_of(&self.key);
        ConfigError::Key {
            key: self.key,
            origin,
            what: self.what,
        }
    }
}

/// Puts the `config` crate's error into our words.
pub(super) fn explain(error: Foreign) -> Fault {
    match error {
        Foreign::At { error, key, .. } => {
            let inner = explain(*error);
            Fault::new(
                join(key.as_deref().unwrap_or_default(), &inner.key),
                inner.what,
            )
        }
        Foreign::Type {
            unexpected,
            expected,
            key,
            ..
        } => Fault::new(
            key.unwrap_or_default(),
            format!("expected {expected}, found {unexpected}"),
        ),
        Foreign::NotFound(key) => Fault::new(key, "is missing and has no default"),
        other => explain_message(&other.to_string()),
    }
}

/// serde names an unknown key only in the text of its message.
fn explain_message(message: &str) -> Fault {
    let unknown = message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once("`, expected "))
        .map(|(key, known)| (key, known.replace("one of ", "")));
    match unknown {
        Some((key, known)) => Fault::new(
            key,
            format!("there is no such setting; here are known: {known}"),
        ),
        None => Fault::new("", message),
    }
}

fn join(section: &str, key: &str) -> String {
    match (section.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (_, true) => section.to_owned(),
        _ => format!("{section}.{key}"),
    }
}
