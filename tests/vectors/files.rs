//! The files of `docs/vectors/`: compared with what this implementation computes, or written anew.
//!
//! `JUNTO_VECTORS=write cargo test --release --test protocol_vectors` writes them; what only the
//! Python script computes (`computed` in `handshake.json`) is filled in by
//! `python3 docs/vectors/check.py --fill`.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

/// The folder of the vectors.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/vectors")
}

fn read(file: &str) -> Value {
    let path = folder().join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| "{}".into());
    serde_json::from_str(&text).unwrap()
}

/// Compares `computed` with the file: each value in it must stand there. What the file has beside
/// them is of the other implementation.
pub fn hold(file: &str, computed: &Value) {
    let stored = read(file);
    if std::env::var_os("JUNTO_VECTORS").is_some_and(|wish| wish == "write") {
        let text = serde_json::to_string_pretty(&merged(stored, computed)).unwrap();
        std::fs::write(folder().join(file), text + "\n").unwrap();
        return;
    }
    let mut wrong = Vec::new();
    differences(file, &stored, computed, &mut wrong);
    assert!(
        wrong.is_empty(),
        "the bytes of the protocol changed:\n{}",
        wrong.join("\n")
    );
}

fn differences(path: &str, stored: &Value, computed: &Value, wrong: &mut Vec<String>) {
    match (stored, computed) {
        (Value::Object(stored), Value::Object(computed)) => {
            for (key, computed) in computed {
                let stored = stored.get(key).unwrap_or(&Value::Null);
                differences(&format!("{path}/{key}"), stored, computed, wrong);
            }
        }
        (Value::Array(stored), Value::Array(computed)) if stored.len() == computed.len() => {
            for (at, (stored, computed)) in stored.iter().zip(computed).enumerate() {
                differences(&format!("{path}/{at}"), stored, computed, wrong);
            }
        }
        _ if stored == computed => {}
        _ => wrong.push(format!(
            "{path}\n  was {stored}\n  is  {computed}\n  (JUNTO_VECTORS=write writes it anew)"
        )),
    }
}

/// `stored` with what `computed` says instead of its own; a value that is computed elsewhere stays
/// only while nothing beside it changed.
fn merged(stored: Value, computed: &Value) -> Value {
    let (Value::Object(mut stored), Value::Object(computed)) = (stored, computed) else {
        return computed.clone();
    };
    let changed = computed
        .iter()
        .any(|(key, value)| stored.get(key).is_none_or(|stored| !covers(stored, value)));
    if changed {
        stored = stored
            .into_iter()
            .filter(|(key, _)| computed.contains_key(key))
            .collect::<Map<_, _>>();
    }
    for (key, value) in computed {
        let old = stored.remove(key).unwrap_or(Value::Null);
        stored.insert(key.clone(), merged(old, value));
    }
    Value::Object(stored)
}

fn covers(stored: &Value, computed: &Value) -> bool {
    let mut wrong = Vec::new();
    differences("", stored, computed, &mut wrong);
    wrong.is_empty()
}

/// Bytes as the files have them.
pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// A CBOR value as JSON, byte strings as `{"hex": …}`.
pub fn shown(value: &ciborium::Value) -> Value {
    match value {
        ciborium::Value::Integer(number) => {
            json!(u64::try_from(*number).expect("the messages have no negative numbers"))
        }
        ciborium::Value::Bytes(bytes) => json!({ "hex": hex(bytes) }),
        ciborium::Value::Text(text) => json!(text),
        ciborium::Value::Bool(truth) => json!(truth),
        ciborium::Value::Array(items) => items.iter().map(shown).collect(),
        ciborium::Value::Map(pairs) => {
            let named = |(key, value): &(ciborium::Value, ciborium::Value)| {
                (key.as_text().unwrap().to_owned(), shown(value))
            };
            Value::Object(pairs.iter().map(named).collect())
        }
        _ => unreachable!("the messages have no other kinds"),
    }
}
