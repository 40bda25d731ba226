//! How two results are held against each other: byte by byte, as JSON, or as text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The largest integer below which every one is a double of its own.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// What of a result counts when it is compared with another.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// Every byte.
    #[default]
    Bytes,
    /// The JSON value: neither the order of keys, nor white space, nor how a number or a character
    /// is written. Integers of 64 bits are compared exactly, other numbers as doubles.
    Json,
    /// The text: neither white space at the end of a line or of the text, nor how lines end.
    Text,
}

impl Compare {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Compare::Bytes => "bytes",
            Compare::Json => "json",
            Compare::Text => "text",
        }
    }

    /// The one form of all results that count as equal; none for one that is not of this kind (no
    /// JSON, a key that stands twice, no UTF-8), which equals only its own bytes.
    pub fn canonical(self, result: &[u8]) -> Option<Cow<'_, [u8]>> {
        match self {
            Compare::Bytes => Some(Cow::Borrowed(result)),
            Compare::Json => {
                let value: Json = serde_json::from_slice(result).ok()?;
                Some(Cow::Owned(serde_json::to_vec(&value).ok()?))
            }
            Compare::Text => {
                let text = std::str::from_utf8(result).ok()?;
                let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
                Some(Cow::Owned(lines.join("\n").trim_end().into()))
            }
        }
    }
}

impl fmt::Display for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Compare {
    type Err = String;

    fn from_str(text: &str) -> Result<Compare, String> {
        [Compare::Bytes, Compare::Json, Compare::Text]
            .into_iter()
            .find(|compare| compare.as_str() == text)
            .ok_or_else(|| String::from("write bytes, json or text"))
    }
}

/// A JSON value of which equal ones are written equally.
#[derive(Serialize)]
#[serde(untagged)]
enum Json {
    Null,
    Bool(bool),
    Natural(u64),
    Negative(i64),
    Real(f64),
    Text(String),
    List(Vec<Json>),
    Map(BTreeMap<String, Json>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Json, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Natural(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(u64::try_from(value).map_or(Json::Negative(value), Json::Natural))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "an integer that a double holds exactly fits 64 bits"
    )]
    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        match value {
            _ if value.fract() == 0.0 && value.abs() < EXACT_MAX => self.visit_i64(value as i64),
            _ if value.is_finite() => Ok(Json::Real(value)),
            _ => Err(E::custom("no number")),
        }
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Json, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = pairs.next_entry()? {
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(Json::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> Option<String> {
        let bytes = Compare::Json.canonical(text.as_bytes())?;
        Some(String::from_utf8(bytes.into_owned()).expect("JSON is UTF-8"))
    }

    #[test]
    fn json_is_compared_by_what_it_says() {
        let one = json(r#"{"b": [1.0, -0.0, 1e2], "a": "\u00e9\/"}"#);
        assert_eq!(one.as_deref(), Some(r#"{"a":"é/","b":[1,0,100]}"#));
        assert_ne!(json("[1,2]"), json("[2,1]"));
        assert_ne!(json("9007199254740993"), json("9007199254740992"));
        assert_ne!(json("0.1"), json("0.2"));
        assert_ne!(json("\"1\""), json("1"));
    }

    #[test]
    fn what_is_no_json_has_no_form_but_its_own() {
        let deep = "[".repeat(5_000) + &"]".repeat(5_000);
        for not in ["", "{", "NaN", "1e999", "[1] x", r#"{"a":1,"a":1}"#, &deep] {
            assert_eq!(json(not), None, "{:.20}", not);
        }
        assert_eq!(Compare::Text.canonical(&[0xff]), None);
        let bytes = Compare::Bytes.canonical(&[0xff]);
        assert_eq!(bytes.as_deref(), Some(&[0xff][..]));
    }

    #[test]
    fn text_is_compared_without_the_white_space_at_its_ends() {
        let text = |text: &str| {
            Compare::Text
                .canonical(text.as_bytes())
                .map(Cow::into_owned)
        };
        assert_eq!(text("a \r\n b\n\n"), text("a\n b"));
        assert_ne!(text("a\nb"), text("a b"));
        assert_ne!(text(" a"), text("a"));
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9f64).prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The value with the keys of every map in an order of `turn`'s own, and room between all.
    fn written(value: &serde_json::Value, turn: usize) -> String {
        use serde_json::Value;
        match value {
            Value::Object(map) => {
                let mut pairs: Vec<String> = map
                    .iter()
                    .map(|(key, of)| format!("{} :\n{}", Value::from(&key[..]), written(of, turn)))
                    .collect();
                let len = pairs.len().max(1);
                pairs.rotate_left(turn % len);
                if turn % 2 == 1 {
                    pairs.reverse();
                }
                format!("{{ {} }}", pairs.join(" , "))
            }
            Value::Array(list) => {
                let items: Vec<String> = list.iter().map(|of| written(of, turn)).collect();
                format!("[ {} ]", items.join(",\t"))
            }
            other => other.to_string(),
        }
    }

    proptest! {
        #[test]
        fn the_order_of_keys_changes_nothing(value in value(), turn in 0..8usize) {
            let plain = json(&value.to_string());
            prop_assert!(plain.is_some());
            prop_assert_eq!(json(&written(&value, turn)), plain);
        }

        #[test]
        fn a_canonical_form_is_its_own(value in value()) {
            let once = json(&value.to_string()).expect("JSON");
            prop_assert_eq!(json(&once), Some(once.clone()));
            let back: serde_json::Value = serde_json::from_str(&once).expect("JSON");
            prop_assert_eq!(json(&back.to_string()), Some(once));
        }
    }
}
