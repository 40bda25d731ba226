//! Purpose-separated SHA-256 and HMAC-SHA-256.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};

/// A SHA-256 value.
pub type Digest = [u8; 32];

/// Begins every hash, signature and derivation label.
pub(super) const PROTOCOL: &str = "junto/1/";

/// SHA-256 over `"junto/1/" ‖ purpose ‖ 0x00`, then each part behind its length (u64, big-endian).
pub fn hash(purpose: &str, parts: &[&[u8]]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(PROTOCOL.as_bytes());
    hasher.update(purpose.as_bytes());
    hasher.update([0]);
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// SHA-256 as every other program computes it, of what people have as a file.
pub fn sha256(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// HMAC-SHA-256 of `message` under `key`.
pub fn hmac(key: &[u8; 32], message: &[u8]) -> Digest {
    mac(key, message).finalize().into_bytes().into()
}

/// HMAC-SHA256 under a key of any length, for those who check it by other programs.
pub fn hmac_text(key: &str, message: &[u8]) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length is a key");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Checks a tag in constant time.
pub fn hmac_verify(key: &[u8; 32], message: &[u8], tag: &Digest) -> bool {
    mac(key, message).verify_slice(tag).is_ok()
}

fn mac(key: &[u8; 32], message: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_between_parts_changes_the_hash() {
        assert_ne!(hash("x", &[b"ab", b"c"]), hash("x", &[b"a", b"bc"]));
        assert_ne!(hash("x", &[b"a"]), hash("y", &[b"a"]));
    }

    #[test]
    fn a_tag_under_another_key_is_refused() {
        let tag = hmac(&[1; 32], b"m");
        assert!(hmac_verify(&[1; 32], b"m", &tag));
        assert!(!hmac_verify(&[2; 32], b"m", &tag));
        assert!(!hmac_verify(&[1; 32], b"n", &tag));
    }
}
