//! Amounts as JSON has them: decimal strings, since many readers of JSON have doubles for all
//! numbers and would round large ones.
//!
//! What goes between nodes and to disk has its own form.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// So many tokens. Written as a decimal string, read as one or as an integer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount(pub u64);

impl Amount {
    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Amount, D::Error> {
        from.deserialize_any(Reader)
    }
}

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        let text = "A decimal string, up to 18446744073709551615. Where it is sent to the node, an \
                    integer will do.";
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(text))
            .pattern(Some("^(0|[1-9][0-9]{0,19})$"))
            .examples(["10"]);
        RefOr::T(Schema::Object(schema.build()))
    }
}

impl ToSchema for Amount {}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an amount from 0 to {}, as \"5\" or 5", u64::MAX)
    }

    fn visit_u64<E>(self, amount: u64) -> Result<Amount, E> {
        Ok(Amount(amount))
    }

    fn visit_i64<E: Error>(self, amount: i64) -> Result<Amount, E> {
        let not_one = |_| E::invalid_value(Unexpected::Signed(amount), &self);
        u64::try_from(amount).map(Amount).map_err(not_one)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
        // One way to write each: no sign, no zeros in front.
        let plain = text == "0" || text.starts_with(|c: char| matches!(c, '1'..='9'));
        let amount = text.parse().ok().filter(|_| plain);
        let amount = amount.map(Amount);
        amount.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_written_as_strings_and_read_as_both() {
        for amount in [0, 5, 1 << 53, u64::MAX - 1, u64::MAX] {
            let written = serde_json::to_value(Amount(amount)).expect("JSON");
            assert_eq!(written, json!(amount.to_string()));
            for form in [written, json!(amount)] {
                let read: Amount = serde_json::from_value(form).expect("an amount");
                assert_eq!(read, Amount(amount));
            }
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        let odd = [
            json!(""),
            json!("+5"),
            json!("-5"),
            json!("05"),
            json!("5.0"),
            json!(" 5"),
            json!("5e3"),
            json!("0x5"),
            json!("18446744073709551616"),
            json!(-1),
            json!(5.5),
            json!(1e30),
            json!(null),
            json!([5]),
        ];
        for form in odd {
            let read = serde_json::from_value::<Amount>(form.clone());
            let why = read.expect_err("no amount").to_string();
            assert!(
                why.contains("an amount from 0 to 18446744073709551615"),
                "{form}: {why}"
            );
        }
    }
}
