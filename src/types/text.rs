//! Names that people choose and that travel: short, printable, checked once at the edge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an acceptable name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not allowed: use {allowed}")]
pub struct TextError {
    what: &'static str,
    text: String,
    allowed: &'static str,
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $allowed:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                let allowed = |c: char| -> bool { ($ok)(c) };
                if text.is_empty() || text.chars().count() > $max || !text.chars().all(allowed) {
                    let text = text.chars().take(80).collect();
                    return Err(TextError { what: $what, text, allowed: $allowed });
                }
                Ok($name(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, TextError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

checked_text!(
    /// What a node can do for others, such as `wc` or `summarise`.
    Capability,
    "the capability",
    64,
    "1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'",
    |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
);
checked_text!(
    /// What a node says of itself, or a task of its kind: `gpu=a100`, `batch`.
    Label,
    "the label",
    64,
    "1 to 64 of a-z, A-Z, 0-9, '.', '_', '-', '/', ':' and '='",
    |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '=')
);
checked_text!(
    /// What a submitter calls a task, so that handing it over again makes no second one.
    TaskKey,
    "the key",
    128,
    "1 to 128 visible ASCII characters",
    |c: char| c.is_ascii_graphic()
);
checked_text!(
    /// The network a node belongs to; part of every protocol id.
    NetworkName,
    "the network name",
    64,
    "1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'",
    |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
);
checked_text!(
    /// What people call a node. Not unique; a command takes it where only one peer has it.
    NodeName,
    "the node name",
    64,
    "1 to 64 printable characters without spaces",
    |c: char| !c.is_control() && !c.is_whitespace()
);
