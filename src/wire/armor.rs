//! CBOR as text that survives mail and terminals: base64 between two lines that say what it is.

use data_encoding::BASE64;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cbor;
use super::evidence::EvidenceError;

const LINE_CHARS: usize = 64;

/// One kind of text.
pub(super) struct Armor {
    pub(super) begin: &'static str,
    pub(super) end: &'static str,
    /// Of what is within.
    pub(super) max_bytes: usize,
}

impl Armor {
    /// The longest text of this kind, with line ends of any kind and a little around it.
    pub(super) const fn max_chars(&self) -> usize {
        self.max_bytes * 2
    }

    pub(super) fn write<T: Serialize>(&self, value: &T) -> String {
        let encoded = BASE64.encode(&cbor::encode(value));
        let mut text = format!("{}\n", self.begin);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(LINE_CHARS));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str(self.end);
        text.push('\n');
        text
    }

    /// Whether a text says that it is of this kind.
    pub(super) fn is_in(&self, text: &str) -> bool {
        text.contains(self.begin)
    }

    /// What stands before and behind it is ignored.
    pub(super) fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, EvidenceError> {
        let (_, rest) = text
            .split_once(self.begin)
            .ok_or(EvidenceError::NotOne(self.begin))?;
        let (encoded, _) = rest.split_once(self.end).ok_or(EvidenceError::Unreadable)?;
        if encoded.len() > self.max_chars() {
            return Err(EvidenceError::Unreadable);
        }
        let packed: String = encoded.split_ascii_whitespace().collect();
        let bytes = BASE64
            .decode(packed.as_bytes())
            .map_err(|_| EvidenceError::Unreadable)?;
        cbor::decode(&bytes, self.max_bytes).map_err(|_| EvidenceError::Unreadable)
    }
}
