//! Deterministic CBOR: one value has one encoding, and a decoder refuses every other.
//!
//! Refused: unsorted or duplicate map keys, longer integers or lengths than needed, indefinite
//! lengths, floats, null, tags, trailing bytes, more than 16 levels, and map keys that the type
//! does not know. A key that begins with `_` is a hint which a reader may ignore; any other
//! unknown key is critical. Signatures cover the exact bytes received, never a re-encoding.

use std::cmp::Ordering;
use std::io;

use ciborium::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::types::limits::CBOR_MAX_DEPTH;

/// The hints that some type of ours knows. One that does not read is as good as none.
const HINTS: &[&str] = &["_priority", "_waited_ms"];
/// What most messages and rows fit into.
const TYPICAL_BYTES: usize = 256;

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
    let mut tree = Value::serialized(value).expect("our messages are plain data");
    sort_maps(&mut tree);
    write(&tree)
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
    let mut tree: Value = ciborium::de::from_reader_with_recursion_limit(bytes, CBOR_MAX_DEPTH)
        .map_err(|_| CborError::Malformed)?;
    if !plain(&tree) || !is_written_as(&tree, bytes) {
        return Err(CborError::NotCanonical);
    }
    drop_hints(&mut tree, HINTS);
    let mut read = tree.deserialized();
    if read.is_err() && drop_hints(&mut tree, &[]) {
        read = tree.deserialized();
    }
    read.map_err(|error| {
        let mut text = error.to_string();
        text.truncate(text.floor_char_boundary(200));
        CborError::Unexpected(text)
    })
}

/// Reads what this program wrote and nobody could change since, in one pass: whether its form is
/// the deterministic one is not asked. None where it does not read so; [`decode`] says why, or
/// reads it after all.
pub fn decode_own<T: DeserializeOwned>(mut bytes: &[u8]) -> Option<T> {
    let read = ciborium::de::from_reader_with_recursion_limit(&mut bytes, CBOR_MAX_DEPTH);
    read.ok().filter(|_| bytes.is_empty())
}

fn write(tree: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(TYPICAL_BYTES);
    ciborium::into_writer(tree, &mut bytes).expect("writing to memory");
    bytes
}

/// Whether these bytes are what [`write()`] makes of the tree.
fn is_written_as(tree: &Value, bytes: &[u8]) -> bool {
    let mut expected = Expected(bytes);
    ciborium::into_writer(tree, &mut expected).is_ok() && expected.0.is_empty()
}

/// Takes only these bytes.
struct Expected<'a>(&'a [u8]);

impl io::Write for Expected<'_> {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        let rest = self.0.strip_prefix(written);
        self.0 = rest.ok_or(io::ErrorKind::InvalidData)?;
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The order of two keys' encodings. That of a text begins with its length.
fn key_order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => (a.len(), a).cmp(&(b.len(), b)),
        _ => write(a).cmp(&write(b)),
    }
}

fn sort_maps(tree: &mut Value) {
    match tree {
        Value::Array(items) => items.iter_mut().for_each(sort_maps),
        Value::Map(pairs) => {
            pairs.iter_mut().for_each(|(_, value)| sort_maps(value));
            pairs.sort_by(|(a, _), (b, _)| key_order(a, b));
        }
        _ => {}
    }
}

/// Whether the tree has only the kinds we use, and every map's keys ascend without repetition.
fn plain(tree: &Value) -> bool {
    match tree {
        Value::Integer(_) | Value::Bytes(_) | Value::Text(_) | Value::Bool(_) => true,
        Value::Array(items) => items.iter().all(plain),
        Value::Map(pairs) => {
            pairs.is_sorted_by(|(a, _), (b, _)| key_order(a, b).is_lt())
                && pairs
                    .iter()
                    .all(|(key, value)| key.is_text() && plain(value))
        }
        _ => false,
    }
}

/// Drops all hints but `kept`, and says whether there were any.
fn drop_hints(tree: &mut Value, kept: &[&str]) -> bool {
    let is_dropped = |key: &Value| {
        let text = key.as_text().filter(|text| text.starts_with('_'));
        text.is_some_and(|text| !kept.contains(&text))
    };
    let mut any = false;
    match tree {
        Value::Array(items) => {
            for item in items {
                any |= drop_hints(item, kept);
            }
        }
        Value::Map(pairs) => {
            let all = pairs.len();
            pairs.retain(|(key, _)| !is_dropped(key));
            any = pairs.len() < all;
            for (_, value) in pairs {
                any |= drop_hints(value, kept);
            }
        }
        _ => {}
    }
    any
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        n: u64,
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        more: Option<u32>,
    }

    fn read(bytes: &[u8]) -> Result<Sample, CborError> {
        decode(bytes, 4096)
    }

    fn sample_bytes() -> Vec<u8> {
        encode(&Sample {
            name: "a".into(),
            n: 1,
            data: vec![1, 2],
            more: None,
        })
    }

    #[test]
    fn keys_are_sorted_by_their_encoding() {
        // {"n": 1, "data": h'0102', "name": "a"}: the shorter key first, then by bytes.
        let hex = data_encoding::HEXLOWER.encode(&sample_bytes());
        assert_eq!(
            hex,
            "a3616e0164646174614201026".to_owned() + "46e616d656161"
        );
    }

    #[test]
    fn texts_are_ordered_as_their_encodings_are() {
        let of = |len: usize, last: char| Value::Text("a".repeat(len) + &last.to_string());
        let lengths = [0, 1, 22, 23, 24, 254, 255, 256, 65_534, 65_535, 65_536];
        let keys: Vec<Value> = lengths
            .into_iter()
            .flat_map(|len| [of(len, 'a'), of(len, 'b'), of(len, 'é')])
            .chain([1.into(), Value::Bytes(vec![7]), Value::Bool(true)])
            .collect();
        for a in &keys {
            for b in &keys {
                assert_eq!(key_order(a, b), write(a).cmp(&write(b)));
            }
        }
    }

    #[test]
    fn what_is_our_own_reads_in_one_pass_or_not_at_all() {
        let own = sample_bytes();
        assert_eq!(decode_own::<Sample>(&own), read(&own).ok());
        for cut in 0..own.len() {
            assert_eq!(decode_own::<Sample>(&own[..cut]), None, "cut at {cut}");
        }
        assert_eq!(decode_own::<Sample>(&[&own[..], &[0]].concat()), None);
        assert_eq!(decode_own::<Sample>(&[0x81; 4000]), None);
    }

    #[test]
    fn other_encodings_of_the_same_value_are_refused() {
        let cases: [&[u8]; 6] = [
            // n as a two-byte integer
            &[0xa1, 0x61, b'n', 0x18, 0x01],
            // an indefinite-length map
            &[0xbf, 0x61, b'n', 0x01, 0xff],
            // a duplicate key
            &[0xa2, 0x61, b'n', 0x01, 0x61, b'n', 0x01],
            // unsorted keys
            &[0xa2, 0x61, b'n', 0x01, 0x61, b'a', 0x01],
            // null
            &[0xa1, 0x61, b'n', 0xf6],
            // a float
            &[0xa1, 0x61, b'n', 0xf9, 0x3c, 0x00],
        ];
        for case in cases {
            assert_eq!(read(case), Err(CborError::NotCanonical), "{case:02x?}");
        }
        let mut trailing = sample_bytes();
        trailing.push(0);
        assert_eq!(read(&trailing), Err(CborError::NotCanonical));
    }

    #[test]
    fn unknown_key_is_refused_and_a_hint_is_ignored() {
        #[derive(Serialize)]
        struct More {
            n: u64,
            name: &'static str,
            #[serde(with = "serde_bytes")]
            data: Vec<u8>,
            #[serde(skip_serializing_if = "Option::is_none")]
            critical: Option<u8>,
            #[serde(skip_serializing_if = "Option::is_none", rename = "_hint")]
            hint: Option<u8>,
        }
        let with = |critical, hint| {
            encode(&More {
                n: 1,
                name: "a",
                data: vec![1, 2],
                critical,
                hint,
            })
        };
        assert!(matches!(
            read(&with(Some(1), None)),
            Err(CborError::Unexpected(_))
        ));
        assert_eq!(read(&with(None, Some(1))).expect("a hint").n, 1);
    }

    #[test]
    fn a_hint_that_is_known_is_read_where_it_is_known_and_says_what_it_should() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Hinted {
            n: u64,
            #[serde(default, rename = "_waited_ms")]
            waited_ms: u64,
        }
        #[derive(Serialize)]
        struct Other {
            n: u64,
            #[serde(rename = "_waited_ms")]
            waited_ms: &'static str,
        }
        let list = |waited_ms| vec![Hinted { n: 1, waited_ms }];
        let bytes = encode(&list(7));
        assert_eq!(decode::<Vec<Hinted>>(&bytes, 64), Ok(list(7)));
        let waited_ms = "long";
        let bytes = encode(&[Other { n: 1, waited_ms }]);
        assert_eq!(decode::<Vec<Hinted>>(&bytes, 64), Ok(list(0)));
        // Who does not know it ignores it.
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Bare {
            n: u64,
        }
        let bytes = encode(&list(7));
        assert_eq!(decode::<Vec<Bare>>(&bytes, 64), Ok(vec![Bare { n: 1 }]));
    }

    #[test]
    fn depth_and_length_bombs_are_refused() {
        assert_eq!(read(&[0x81; 4000]), Err(CborError::Malformed));
        // a byte string that claims 4 GiB, an array that claims 2^63 items
        assert_eq!(
            read(&[0x5a, 0xff, 0xff, 0xff, 0xff, 1]),
            Err(CborError::Malformed)
        );
        assert_eq!(
            read(&[0x9b, 0x7f, 255, 255, 255, 255, 255, 255, 255]),
            Err(CborError::Malformed)
        );
        assert!(matches!(read(&[0; 5000]), Err(CborError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(name in ".{0,20}", n: u64, data: Vec<u8>, more: Option<u32>) {
            let sample = Sample { name, n, data, more };
            prop_assert_eq!(decode::<Sample>(&encode(&sample), 65_536), Ok(sample));
        }

        #[test]
        fn no_bytes_panic_and_whatever_reads_is_canonical(bytes: Vec<u8>) {
            if let Ok(sample) = read(&bytes) {
                prop_assert_eq!(encode(&sample), bytes);
            }
        }

        #[test]
        fn a_flipped_bit_never_reads_as_the_same(at in 0usize..20, bit in 0u8..8) {
            let good = sample_bytes();
            let mut bent = good.clone();
            let at = at % bent.len();
            bent[at] ^= 1 << bit;
            if let Ok(sample) = read(&bent) {
                prop_assert_ne!(encode(&sample), good);
            }
        }
    }
}
