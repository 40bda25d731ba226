//! The envelope as JSON, for those who have HTTP and no libp2p.
//!
//! The same fields, one to one: a JSON message *is* the envelope whose header is the deterministic
//! CBOR of its fields, so signatures, tags and ciphertexts are the same bytes on both carriers.
//! Ids are text, `nonce`, `signature` and `tag` hex, `payload.data` base64, times RFC 3339 in UTC
//! with at most milliseconds. A field that is not known is refused; hints (`_…`) cannot be said.

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use super::cbor;
use super::envelope::{Envelope, Header, MsgType, Seal};
use crate::crypto::Signature;
use crate::types::{Nonce, Wall};

/// An envelope as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonMessage {
    /// `1.1`, or `1.0` from a peer that is allowed to speak it.
    pub version: String,
    /// `handshake`, `ping`, `wake_up`, …
    pub msg_type: String,
    /// The sender's entity id.
    pub sender_id: String,
    /// The recipient's entity id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_id: Option<String>,
    /// A UUID; there exactly where the payload is encrypted, as are the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_num: Option<u64>,
    /// In an encrypted answer: the request's `sequence_num`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub re: Option<u64>,
    /// RFC 3339, UTC, at most milliseconds.
    pub timestamp: String,
    /// 32 random bytes in hex.
    pub nonce: String,
    /// `none` or `session`.
    pub seal: String,
    pub payload: JsonPayload,
    /// In hex; there exactly where the payload is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// In hex; in `handshake_ack` and `handshake_confirm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// What a message carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonPayload {
    /// Whether `data` is a ciphertext; `seal` says the same.
    pub encrypted: bool,
    /// In base64: CBOR in clear, or the ciphertext.
    pub data: String,
}

/// A field of a JSON message does not hold what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct JsonError {
    pub field: &'static str,
    pub why: String,
}

fn bad(field: &'static str, why: impl Into<String>) -> JsonError {
    let why = why.into();
    JsonError { field, why }
}

impl JsonMessage {
    /// The envelope that this is.
    ///
    /// # Errors
    /// [`JsonError`], naming the first field that is wrong.
    pub fn to_envelope(&self) -> Result<Envelope, JsonError> {
        let seal: Seal = word("seal", &self.seal)?;
        if self.payload.encrypted != (seal == Seal::Session) {
            return Err(bad("payload.encrypted", "it contradicts seal"));
        }
        let id = |field, text: &Option<String>| {
            text.as_deref().map(|text| parsed(field, text)).transpose()
        };
        let session = self.session_id.as_deref();
        let header = Header {
            version: self.version.clone(),
            msg_type: word("msg_type", &self.msg_type)?,
            sender_id: parsed("sender_id", &self.sender_id)?,
            recipient_id: id("recipient_id", &self.recipient_id)?,
            session_id: session.map(|text| parsed("session_id", text)).transpose()?,
            epoch: self.epoch,
            sequence_num: self.sequence_num,
            re: self.re,
            timestamp: time_of(&self.timestamp)?,
            nonce: Nonce(bytes_of("nonce", &self.nonce)?),
            seal,
        };
        let data = BASE64
            .decode(self.payload.data.as_bytes())
            .map_err(|_| bad("payload.data", "it is not base64"))?;
        let signature = self.signature.as_deref();
        let tag = self.tag.as_deref();
        Ok(Envelope {
            header: cbor::encode(&header),
            data,
            signature: signature
                .map(|text| bytes_of("signature", text).map(Signature))
                .transpose()?,
            tag: tag.map(|text| bytes_of("tag", text)).transpose()?,
        })
    }

    /// The JSON form of an envelope whose header has been read.
    pub fn from_envelope(envelope: &Envelope, header: &Header) -> JsonMessage {
        let signature = envelope.signature.map(|signature| signature.0);
        JsonMessage {
            version: header.version.clone(),
            msg_type: name_of(&header.msg_type),
            sender_id: header.sender_id.to_string(),
            recipient_id: header.recipient_id.map(|id| id.to_string()),
            session_id: header.session_id.map(|id| id.to_string()),
            epoch: header.epoch,
            sequence_num: header.sequence_num,
            re: header.re,
            timestamp: header.timestamp.to_rfc3339(),
            nonce: HEXLOWER.encode(&header.nonce.0),
            seal: name_of(&header.seal),
            payload: JsonPayload {
                encrypted: header.seal == Seal::Session,
                data: BASE64.encode(&envelope.data),
            },
            signature: signature.map(|bytes| HEXLOWER.encode(&bytes)),
            tag: envelope.tag.map(|bytes| HEXLOWER.encode(&bytes)),
        }
    }
}

impl MsgType {
    /// The type's name, as it travels.
    pub fn name(self) -> String {
        name_of(&self)
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &'static str,
    text: &str,
) -> Result<T, JsonError> {
    text.parse()
        .map_err(|error: T::Err| bad(field, error.to_string()))
}

/// One of a fixed set of names.
fn word<T: serde::de::DeserializeOwned>(field: &'static str, text: &str) -> Result<T, JsonError> {
    serde_json::from_value(serde_json::Value::from(text))
        .map_err(|_| bad(field, "it is not one of this protocol"))
}

fn name_of<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).expect("an enum of plain names");
    value.as_str().unwrap_or_default().to_owned()
}

fn bytes_of<const N: usize>(field: &'static str, text: &str) -> Result<[u8; N], JsonError> {
    HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| bad(field, format!("it is not {N} bytes in hex")))
}

/// Milliseconds since 1970. What is finer would not be what was signed.
fn time_of(text: &str) -> Result<Wall, JsonError> {
    let wrong = || {
        bad(
            "timestamp",
            "it is not RFC 3339 in UTC with at most milliseconds",
        )
    };
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
    let nanos = at.unix_timestamp_nanos();
    if !at.offset().is_utc() || nanos % 1_000_000 != 0 {
        return Err(wrong());
    }
    u64::try_from(nanos / 1_000_000)
        .map(Wall)
        .map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{EntityId, SessionId};

    fn message(header: &Header, data: Vec<u8>) -> Envelope {
        let sealed = header.seal == Seal::Session;
        Envelope {
            header: cbor::encode(header),
            data,
            signature: (!sealed).then_some(Signature([7; 64])),
            tag: None,
        }
    }

    fn header(sealed: bool, ms: u64, seq: u64) -> Header {
        Header {
            version: "1.1".into(),
            msg_type: MsgType::Ping,
            sender_id: EntityId([1; 32]),
            recipient_id: Some(EntityId([2; 32])),
            session_id: sealed.then_some(SessionId(uuid::Uuid::from_bytes([3; 16]))),
            epoch: sealed.then_some(0),
            sequence_num: sealed.then_some(seq),
            re: None,
            timestamp: Wall(ms),
            nonce: Nonce([4; 32]),
            seal: if sealed { Seal::Session } else { Seal::None },
        }
    }

    proptest! {
        /// The bytes that signatures cover survive the way through JSON text.
        #[test]
        fn an_envelope_survives_its_json_form(
            sealed: bool, ms in 0u64..=253_402_300_799_999, seq: u64, data: Vec<u8>
        ) {
            let header = header(sealed, ms, seq);
            let envelope = message(&header, data);
            let text = serde_json::to_string(&JsonMessage::from_envelope(&envelope, &header))
                .expect("plain data");
            let read: JsonMessage = serde_json::from_str(&text).expect("what was written");
            prop_assert_eq!(read.to_envelope(), Ok(envelope));
        }
    }

    #[test]
    fn each_field_that_is_wrong_is_named() {
        let header = header(true, 1_000, 1);
        let good = JsonMessage::from_envelope(&message(&header, vec![1]), &header);
        type Bend = fn(&mut JsonMessage);
        let bends: [(&str, Bend); 9] = [
            ("seal", |m| m.seal = "hpke".into()),
            ("payload.encrypted", |m| m.payload.encrypted = false),
            ("payload.data", |m| m.payload.data = "?".into()),
            ("msg_type", |m| m.msg_type = "no_such".into()),
            ("sender_id", |m| m.sender_id = "ent1".into()),
            ("recipient_id", |m| m.recipient_id = Some("bob".into())),
            ("session_id", |m| m.session_id = Some("1".into())),
            ("nonce", |m| m.nonce = "00".into()),
            ("signature", |m| m.signature = Some("zz".into())),
        ];
        for (field, bend) in bends {
            let mut bent = good.clone();
            bend(&mut bent);
            assert_eq!(bent.to_envelope().expect_err(field).field, field);
        }
        for time in [
            "2026-11-21T10:00:00.0001Z",
            "2026-11-21T10:00:00+01:00",
            "1969-12-31T23:59:59Z",
            "now",
        ] {
            let mut bent = good.clone();
            bent.timestamp = time.into();
            assert_eq!(
                bent.to_envelope().expect_err(time).field,
                "timestamp",
                "{time}"
            );
        }
    }

    #[test]
    fn the_example_in_the_specification_reads_and_its_signature_holds() {
        let page = include_str!("../../docs/protocol.md");
        let example = page.split("```json\n").nth(1).expect("one example");
        let example = example.split("```").next().expect("it ends");
        let message: JsonMessage = serde_json::from_str(example).expect("a message");
        let envelope = message.to_envelope().expect("its fields");
        let digest = envelope.digest();
        assert!(page.contains(&HEXLOWER.encode(&digest)));
        let check = crate::crypto::SigCheck {
            key: crate::crypto::KeyPair::from_seed(&[1; 32]).public(),
            purpose: "clear message",
            digest,
            signature: envelope.signature.expect("signed"),
        };
        assert!(check.verify());
    }

    #[test]
    fn a_field_that_is_not_known_is_refused() {
        let header = header(true, 1_000, 1);
        let good = JsonMessage::from_envelope(&message(&header, vec![1]), &header);
        let mut value = serde_json::to_value(&good).expect("plain data");
        value["_hint"] = 1.into();
        assert!(serde_json::from_value::<JsonMessage>(value).is_err());
    }
}
