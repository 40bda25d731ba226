//! How single values of the configuration are read.
//!
//! The same reader serves all layers: from the environment and from flags everything comes as
//! text, from `junto.toml` with TOML's types. Lists may be written as text with commas.

use std::fmt;
use std::net::SocketAddr;

use data_encoding::BASE64;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::duration::parse_duration_ms;
use super::size::parse_size;
use super::{LogFormat, LogLevel, PassphraseMode};
use crate::crypto::{Inception, JitterScope};
use crate::proto::clear::Allowed;
use crate::types::{Label, Multiaddr, NetworkName, NodeName, TextError};

/// Items of one list of the configuration.
const LIST_MAX_ITEMS: usize = 1_024;

/// Reads a multiaddr, with an error that shows one.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_multiaddr(text: &str) -> Result<Multiaddr, String> {
    if text.is_empty() {
        return Err(String::from(
            "an address is empty: write one such as /ip4/192.0.2.7/tcp/4001",
        ));
    }
    text.parse().map_err(|_| {
        format!("{text:?} is not a multiaddr: write one such as /ip4/192.0.2.7/tcp/4001")
    })
}

/// Takes text or a number and hands it on as text.
struct Scalar<F> {
    expecting: &'static str,
    parse: F,
}

impl<T, F: Fn(&str) -> Result<T, String>> Visitor<'_> for Scalar<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text.trim()).map_err(E::custom)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        self.visit_str(if value { "true" } else { "false" })
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }
}

fn scalar<'de, D: Deserializer<'de>, T>(
    from: D,
    expecting: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    from.deserialize_any(Scalar { expecting, parse })
}

/// Takes a list of texts, or one text with commas.
struct List<F> {
    expecting: &'static str,
    parse: F,
}

impl<'de, T, F: Fn(&str) -> Result<T, String>> Visitor<'de> for List<F> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        let items: Vec<T> = items
            .map(self.parse)
            .collect::<Result<_, _>>()
            .map_err(E::custom)?;
        bounded(items)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<String>()? {
            items.push((self.parse)(item.trim()).map_err(A::Error::custom)?);
        }
        bounded(items)
    }
}

fn bounded<T, E: Error>(items: Vec<T>) -> Result<Vec<T>, E> {
    if items.len() > LIST_MAX_ITEMS {
        return Err(E::custom(format_args!(
            "at most {LIST_MAX_ITEMS} items are allowed"
        )));
    }
    Ok(items)
}

pub(super) fn duration_ms<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    scalar(from, "a time such as \"20s\"", |text| {
        parse_duration_ms(text).map_err(|error| error.to_string())
    })
}

pub(super) fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    scalar(from, "a size such as \"64GiB\"", |text| {
        parse_size(text).ok_or_else(|| {
            format!("{text:?} is not a size: use a number and a unit, such as 100MiB or 64GiB")
        })
    })
}

pub(super) fn some_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    size(from).map(Some)
}

pub(super) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    scalar(from, "a whole number", |text| {
        text.parse()
            .map_err(|_| format!("{text:?} is not a whole number"))
    })
}

pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    scalar(from, "a whole number", |text| {
        text.parse()
            .map_err(|_| format!("{text:?} is not a whole number"))
    })
}

pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    scalar(from, "true or false", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    })
}

pub(super) fn addresses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Multiaddr>, D::Error> {
    from.deserialize_any(List {
        expecting: "a list of multiaddrs",
        parse: parse_multiaddr,
    })
}

pub(super) fn labels<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Label>, D::Error> {
    from.deserialize_any(List {
        expecting: "a list of labels",
        parse: |text: &str| text.parse().map_err(|error: TextError| error.to_string()),
    })
}

pub(super) fn some_texts<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Vec<String>>, D::Error> {
    let parse = |text: &str| Ok(text.to_owned());
    from.deserialize_any(List {
        expecting: "a list of peers",
        parse,
    })
    .map(Some)
}

pub(super) fn socket<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    scalar(from, "an address such as \"127.0.0.1:0\"", |text| {
        text.parse().map_err(|_| {
            format!("{text:?} is not an address and a port: write one such as 127.0.0.1:0")
        })
    })
}

pub(super) fn network<'de, D: Deserializer<'de>>(from: D) -> Result<NetworkName, D::Error> {
    scalar(from, "a name", |text| {
        text.parse().map_err(|error| format!("{error}"))
    })
}

pub(super) fn some_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NodeName>, D::Error> {
    scalar(from, "a name", |text| {
        text.parse().map(Some).map_err(|error| format!("{error}"))
    })
}

pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    scalar(from, "text", |text| Ok(text.to_owned()))
}

pub(super) fn some_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    text(from).map(Some)
}

pub(super) fn level<'de, D: Deserializer<'de>>(from: D) -> Result<LogLevel, D::Error> {
    let names = LogLevel::ALL.map(|level| (level.as_str(), level));
    scalar(from, "a level", |text| choose(text, &names))
}

pub(super) fn format<'de, D: Deserializer<'de>>(from: D) -> Result<LogFormat, D::Error> {
    let names = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    scalar(from, "a format", |text| choose(text, &names))
}

pub(super) fn passphrase_mode<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<PassphraseMode, D::Error> {
    let names = [
        ("prompt", PassphraseMode::Prompt),
        ("keychain", PassphraseMode::Keychain),
        ("none", PassphraseMode::None),
    ];
    scalar(from, "a mode", |text| choose(text, &names))
}

pub(super) fn allowed<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Allowed>, D::Error> {
    from.deserialize_any(List {
        expecting: "a list of entity ids",
        parse: parse_allowed,
    })
}

/// An entity by its id, or by its founding document, which holds its key, too.
fn parse_allowed(text: &str) -> Result<Allowed, String> {
    if let Ok(entity) = text.parse() {
        return Ok(Allowed::Entity(entity));
    }
    BASE64
        .decode(text.as_bytes())
        .ok()
        .and_then(|bytes| Inception::from_bytes(&bytes).ok())
        .filter(|inception| inception.check().verify())
        .map(|inception| Allowed::Inception(Box::new(inception)))
        .ok_or_else(|| {
            format!("{text:?} is neither an entity id (ent1…) nor an inception document in base64")
        })
}

pub(super) fn jitter<'de, D: Deserializer<'de>>(from: D) -> Result<JitterScope, D::Error> {
    let names = [
        ("off", JitterScope::Off),
        ("handshake", JitterScope::Handshake),
        ("all", JitterScope::All),
    ];
    scalar(from, "off, handshake or all", |text| choose(text, &names))
}

fn choose<T: Copy>(text: &str, names: &[(&'static str, T)]) -> Result<T, String> {
    if let Some((_, value)) = names.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    Err(format!(
        "{text:?} is not allowed: use one of {}",
        names.join(", ")
    ))
}
