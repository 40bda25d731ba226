//! Where configuration comes from: flags over the environment over `junto.toml` over defaults.
//!
//! Every layer remembers who said what, so that an error names the flag, the variable or the
//! file. Capabilities may hold dots, therefore a key is a list of segments here and never a path
//! to be parsed; the dotted form is for people.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use ::config::{File, FileFormat, Map, Source, Value, ValueKind};

use super::ConfigError;

/// Variables of this form are configuration: `JUNTO_SECTION__KEY`. The others (`JUNTO_HOME`,
/// `JUNTO_PASSPHRASE`, …) have no double underscore.
const ENV_PREFIX: &str = "JUNTO_";
const ENV_SEPARATOR: &str = "__";

/// What the flags of the command line say, as configuration.
#[derive(Debug, Clone, Default)]
pub struct Flags(Layer);

impl Flags {
    /// The flag `name` sets one key to a text.
    pub fn set(&mut self, name: &str, key: &[&str], value: impl Into<String>) {
        self.0
            .insert(key, ValueKind::String(value.into()), name.to_owned());
    }

    /// The flag `name` sets one key to a list.
    pub fn set_list(&mut self, name: &str, key: &[&str], items: &[String]) {
        let items = items
            .iter()
            .map(|item| Value::new(None, item.as_str()))
            .collect();
        self.0.insert(key, ValueKind::Array(items), name.to_owned());
    }

    pub(super) fn into_layer(self) -> Layer {
        self.0
    }
}

/// One source of configuration.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    table: Map<String, Value>,
    /// Dotted key -> who set it.
    origins: BTreeMap<String, String>,
}

impl Layer {
    fn insert(&mut self, key: &[&str], kind: ValueKind, origin: String) {
        let Some((last, path)) = key.split_last() else {
            return;
        };
        let mut table = &mut self.table;
        for segment in path {
            let child = table
                .entry((*segment).to_owned())
                .or_insert_with(|| Value::new(None, Map::<String, Value>::new()));
            if !matches!(child.kind, ValueKind::Table(_)) {
                *child = Value::new(None, Map::<String, Value>::new());
            }
            let ValueKind::Table(inner) = &mut child.kind else {
                return;
            };
            table = inner;
        }
        table.insert((*last).to_owned(), Value::new(None, kind));
        self.origins.insert(key.join("."), origin);
    }

    /// The variables among `env` that are configuration.
    pub(super) fn from_env(
        env: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Layer, ConfigError> {
        let mut layer = Layer::default();
        // Sorted, so that the same environment gives the same first error.
        for (name, value) in env.into_iter().collect::<BTreeMap<_, _>>() {
            let Some(name) = name.to_str() else { continue };
            let Some(path) = name.strip_prefix(ENV_PREFIX) else {
                continue;
            };
            if !path.contains(ENV_SEPARATOR) {
                continue;
            }
            let path = path.to_lowercase();
            let key: Vec<&str> = path.split(ENV_SEPARATOR).collect();
            let origin = format!("the environment variable {name}");
            let Some(value) = value.to_str() else {
                let what = String::from("the value is not UTF-8 text");
                return Err(ConfigError::Key {
                    key: key.join("."),
                    origin,
                    what,
                });
            };
            layer.insert(&key, ValueKind::String(value.to_owned()), origin);
        }
        Ok(layer)
    }

    /// The text of `junto.toml`.
    pub(super) fn from_toml(text: &str, path: &Path) -> Result<Layer, ConfigError> {
        let origin = path.display().to_string();
        let table = File::from_str(text, FileFormat::Toml)
            .collect()
            .map_err(|error| {
                let (line, what) = describe_syntax(text, &error);
                ConfigError::Syntax {
                    path: origin.clone(),
                    line,
                    what,
                }
            })?;
        let mut origins = BTreeMap::new();
        note_origins(&table, "", &origin, &mut origins);
        Ok(Layer { table, origins })
    }

    /// Who set `key` or something below it in this layer.
    fn origin(&self, key: &str) -> Option<&str> {
        if let Some(origin) = self.origins.get(key) {
            return Some(origin);
        }
        let below = format!("{key}.");
        let (found, origin) = self.origins.range(below.clone()..).next()?;
        found.starts_with(&below).then_some(origin.as_str())
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(self.table.clone())
    }
}

/// The layer that decides about `key`; `layers` has the strongest last.
pub(super) fn origin_of(layers: &[Layer], key: &str) -> String {
    // An item of a list (`net.listen[1]`) was set with its list; a section's own mistake
    // (a key that misses) is blamed on whoever wrote the section.
    let key = key.split('[').next().unwrap_or(key);
    let mut candidates = vec![key];
    let mut rest = key;
    while let Some((parent, _)) = rest.rsplit_once('.') {
        candidates.push(parent);
        rest = parent;
    }
    for candidate in candidates {
        for layer in layers.iter().rev() {
            if let Some(origin) = layer.origin(candidate) {
                return origin.to_owned();
            }
        }
    }
    String::from("the defaults")
}

fn note_origins(
    table: &Map<String, Value>,
    prefix: &str,
    origin: &str,
    origins: &mut BTreeMap<String, String>,
) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        if let ValueKind::Table(inner) = &value.kind {
            note_origins(inner, &key, origin, origins);
        }
        origins.insert(key, origin.to_owned());
    }
}

/// The line and the one-sentence reason of a TOML syntax error.
fn describe_syntax(text: &str, error: &::config::ConfigError) -> (usize, String) {
    if let ::config::ConfigError::FileParse { cause, .. } = error
        && let Some(error) = cause.downcast_ref::<toml::de::Error>()
    {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        let what = error.message().replace('\n', ", ");
        let twice = error.span().and_then(|span| stated_twice(text, span.start));
        return (
            line,
            twice.filter(|_| what == "duplicate key").unwrap_or(what),
        );
    }
    (1, error.to_string())
}

/// Of a name that stands twice: where it stood before, and what to do.
fn stated_twice(text: &str, at: usize) -> Option<String> {
    let line = |at: usize| text[..at].rfind('\n').map_or(0, |end| end + 1);
    let second = text.get(line(at)..)?.lines().next()?.trim();
    let section = second.starts_with('[');
    let name = match section {
        true => second.split(']').next()?.trim_start_matches('[').trim(),
        false => second.split('=').next()?.trim(),
    };
    let is_it = |line: &str| match section {
        true => line.trim().trim_start_matches('[').split(']').next() == Some(name),
        false => line.split('=').next().map(str::trim) == Some(name),
    };
    let before: Vec<&str> = text[..line(at)].lines().collect();
    let first = before.iter().rposition(|line| is_it(line))? + 1;
    Some(match section {
        true => {
            format!("the section [{name}] stands at line {first} already: put its settings there")
        }
        false => format!("{name} is set at line {first} already: keep one of the two"),
    })
}
