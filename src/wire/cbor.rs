//! Deterministic CBOR: one value has one encoding, and a decoder refuses every other.
//!
//! Refused: unsorted or duplicate map keys, longer integers or lengths than needed, indefinite
//! lengths, floats, null, tags, trailing bytes, more than 16 levels, and map keys that the type
//! does not know. A key that begins with `_` is a hint which a reader may ignore; any other
//! unknown key is critical. Signatures cover the exact bytes received, never a re-encoding.

mod reading;
mod writing;

use ciborium::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::types::limits::CBOR_MAX_DEPTH;

/// Why bytes are not an acceptable message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    #[error("{len} bytes are over the limit of {max}")]
    TooLarge { len: usize, max: usize },
    #[error("not CBOR, cut, or nested too deeply")]
    Malformed,
    #[error("not the deterministic encoding")]
    NotCanonical,
    #[error("unexpected content: {0}")]
    Unexpected(String),
}

/// The one encoding of `value`.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    writing::write(value).expect("our messages are plain data")
}

/// Reads a `T` from exactly these bytes.
///
/// # Errors
/// [`CborError`], the first reason found in the order: size, form, canonicity, content.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], max_bytes: usize) -> Result<T, CborError> {
    if bytes.len() > max_bytes {
        return Err(CborError::TooLarge {
            len: bytes.len(),
            max: max_bytes,
        });
    }
    if reading::is_plain(bytes)
        && let Ok(value) = reading::read(bytes)
    {
        return Ok(value);
    }
    decode_slowly(bytes)
}

/// Everything that is not read at once: what has hints, and what is wrong.
fn decode_slowly<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CborError> {
    let mut tree: Value = ciborium::de::from_reader_with_recursion_limit(bytes, CBOR_MAX_DEPTH)
        .map_err(|_| CborError::Malformed)?;
    if !plain(&tree) || write(&tree) != bytes {
        return Err(CborError::NotCanonical);
    }
    drop_hints(&mut tree);
    tree.deserialized().map_err(|error| {
        let mut text = error.to_string();
        text.truncate(text.floor_char_boundary(200));
        CborError::Unexpected(text)
    })
}

fn write(tree: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(tree, &mut bytes).expect("writing to memory");
    bytes
}

/// Whether the tree has only the kinds we use, and every map's keys ascend without repetition.
fn plain(tree: &Value) -> bool {
    match tree {
        Value::Integer(_) | Value::Bytes(_) | Value::Text(_) | Value::Bool(_) => true,
        Value::Array(items) => items.iter().all(plain),
        Value::Map(pairs) => {
            let keys: Vec<Vec<u8>> = pairs.iter().map(|(key, _)| write(key)).collect();
            keys.is_sorted_by(|a, b| a < b)
                && pairs
                    .iter()
                    .all(|(key, value)| matches!(key, Value::Text(_)) && plain(value))
        }
        _ => false,
    }
}

fn drop_hints(tree: &mut Value) {
    match tree {
        Value::Array(items) => items.iter_mut().for_each(drop_hints),
        Value::Map(pairs) => {
            pairs.retain(|(key, _)| !key.as_text().is_some_and(|text| text.starts_with('_')));
            pairs.iter_mut().for_each(|(_, value)| drop_hints(value));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
