//! The protocol, from `docs/protocol.md` alone.

use ciborium::Value as Cbor;
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signer, SigningKey};
use hmac::{KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

pub type Hash = [u8; 32];

pub fn hash(purpose: &str, parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(b"junto/1/");
    hasher.update(purpose);
    hasher.update([0]);
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

pub fn signed(purpose: &str, digest: &Hash) -> Vec<u8> {
    [b"junto/1/", purpose.as_bytes(), &[0], digest].concat()
}

pub fn sign(key: &SigningKey, purpose: &str, digest: &Hash) -> [u8; 64] {
    key.sign(&signed(purpose, digest)).to_bytes()
}

pub fn hmac(key: &Hash, message: &[u8]) -> Hash {
    let mut mac = hmac::Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().into()
}

pub fn expand<const N: usize>(prk: &Hash, label: &str, context: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let info = [b"junto/1/", label.as_bytes(), &[0], context].concat();
    hkdf::Hkdf::<Sha256>::from_prk(prk)
        .unwrap()
        .expand(&info, &mut out)
        .unwrap();
    out
}

/// A map with its keys in the order of their encodings.
pub fn map(pairs: Vec<(&str, Cbor)>) -> Cbor {
    let mut pairs: Vec<(Cbor, Cbor)> = pairs
        .into_iter()
        .map(|(key, value)| (Cbor::Text(key.into()), value))
        .collect();
    pairs.sort_by_key(|(key, _)| encode(key));
    Cbor::Map(pairs)
}

pub fn encode(value: &Cbor) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

pub fn decode(bytes: &[u8]) -> Cbor {
    ciborium::from_reader(bytes).unwrap()
}

pub fn field<'a>(map: &'a Cbor, name: &str) -> &'a Cbor {
    let pairs = map.as_map().unwrap();
    let found = pairs.iter().find(|(key, _)| key.as_text() == Some(name));
    &found.unwrap_or_else(|| panic!("{name} in {map:?}")).1
}

pub fn bytes(bytes: &[u8]) -> Cbor {
    Cbor::Bytes(bytes.to_vec())
}

pub fn text(text: &str) -> Cbor {
    Cbor::Text(text.into())
}

pub fn number(n: u64) -> Cbor {
    Cbor::Integer(n.into())
}

pub fn entity_text(id: &Hash) -> String {
    format!("ent1{}", BASE32_NOPAD.encode(id).to_lowercase())
}

pub fn entity_bytes(text: &str) -> Hash {
    let body = text.strip_prefix("ent1").unwrap().to_uppercase();
    let bytes = BASE32_NOPAD.decode(body.as_bytes()).unwrap();
    bytes.try_into().unwrap()
}

pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_millis()).unwrap()
}

pub fn rfc3339(ms: u64) -> String {
    let nanos = i128::from(ms) * 1_000_000;
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap();
    at.format(&time::format_description::well_known::Rfc3339)
        .unwrap()
}

pub fn ms_of(rfc3339: &str) -> u64 {
    let format = &time::format_description::well_known::Rfc3339;
    let at = time::OffsetDateTime::parse(rfc3339, format).unwrap();
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap()
}

pub fn random<const N: usize>() -> [u8; N] {
    rand::random()
}
