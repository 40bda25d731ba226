//! One value, one encoding; and both ways to read agree.

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

/// As it was written before: a tree, sorted, then bytes.
fn encode_slowly<T: Serialize>(value: &T) -> Vec<u8> {
    fn sort_maps(tree: &mut Value) {
        match tree {
            Value::Array(items) => items.iter_mut().for_each(sort_maps),
            Value::Map(pairs) => {
                pairs.iter_mut().for_each(|(_, value)| sort_maps(value));
                pairs.sort_by_cached_key(|(key, _)| write(key));
            }
            _ => {}
        }
    }
    let mut tree = Value::serialized(value).expect("plain data");
    sort_maps(&mut tree);
    write(&tree)
}

/// Every kind that a message may have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    Newtype(u16),
    Tuple(i8, String),
    Struct { zz: bool, a: Vec<Kinds> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kinds {
    signed: i64,
    many: std::collections::BTreeMap<String, u64>,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    list: Vec<u32>,
    pair: (u8, char),
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    more: Option<String>,
}

fn has_hints(kinds: &Kinds) -> bool {
    let within = match &kinds.kind {
        Kind::Struct { a, .. } => a.iter().any(has_hints),
        _ => false,
    };
    within || kinds.many.keys().any(|key| key.starts_with('_'))
}

fn kind() -> impl Strategy<Value = Kind> {
    let leaf = prop_oneof![
        Just(Kind::Unit),
        any::<u16>().prop_map(Kind::Newtype),
        (any::<i8>(), ".{0,30}").prop_map(|(n, text)| Kind::Tuple(n, text)),
    ];
    leaf.prop_recursive(1, 8, 2, |inner| {
        let kinds = prop::collection::vec(kinds_of(inner), 0..3);
        (any::<bool>(), kinds).prop_map(|(zz, a)| Kind::Struct { zz, a })
    })
}

fn kinds_of(kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Kinds> {
    let many = prop::collection::btree_map("[a-z_]{0,3}", any::<u64>(), 0..40);
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let list = prop::collection::vec(any::<u32>(), 0..30);
    let rest = (any::<i64>(), any::<(u8, char)>(), any::<Option<String>>());
    (many, bytes, list, kind, rest).prop_map(|(many, bytes, list, kind, rest)| Kinds {
        signed: rest.0,
        many,
        bytes,
        list,
        pair: rest.1,
        kind,
        more: rest.2,
    })
}

proptest! {
    #[test]
    fn what_is_written_is_what_the_other_way_writes(kinds in kinds_of(kind())) {
        let bytes = encode(&kinds);
        prop_assert_eq!(&bytes, &encode_slowly(&kinds));
        let hints = has_hints(&kinds);
        let both = (decode(&bytes, 1 << 20), decode_slowly(&bytes));
        prop_assert_eq!(&both.0, &both.1);
        prop_assert!(hints || both.0 == Ok(kinds));
        prop_assert_eq!(reading::is_plain(&bytes), !hints);
    }

    #[test]
    fn both_ways_to_read_say_the_same_of_damage(
        kinds in kinds_of(kind()), at: prop::sample::Index, with: Option<u8>, twice: bool
    ) {
        let mut bytes = encode(&kinds);
        let at = at.index(bytes.len());
        match with {
            Some(byte) if twice => bytes.insert(at, byte),
            Some(byte) => bytes[at] = byte,
            None => bytes.truncate(at),
        }
        let both = (decode::<Kinds>(&bytes, 1 << 20), decode_slowly(&bytes));
        prop_assert_eq!(both.0, both.1);
    }

    #[test]
    fn what_is_plain_is_canonical(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
        let again = ciborium::de::from_reader_with_recursion_limit::<Value, _>(&bytes[..], 16);
        let canonical = again.is_ok_and(|tree| plain(&tree) && write(&tree) == bytes);
        prop_assert!(canonical || !reading::is_plain(&bytes));
    }

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
