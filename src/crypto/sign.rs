//! Ed25519 with a purpose in front of what is signed.

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::hash::{Digest, PROTOCOL};
use super::protected::{Protected, scrub_stack};

/// A signing key, in protected memory. Cleared when its last clone is dropped, shown nowhere.
#[derive(Clone)]
pub struct KeyPair(Arc<Protected<SigningKey>>);

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublicKey(#[serde(with = "serde_bytes")] pub [u8; 32]);

/// A public key that is used again and again: decompressed once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PreparedKey(VerifyingKey);

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signature(#[serde(with = "serde_bytes")] pub [u8; 64]);

/// One signature to be checked: `signature` by `key` over `purpose` and `digest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigCheck {
    pub key: PublicKey,
    pub purpose: &'static str,
    pub digest: Digest,
    pub signature: Signature,
}

/// `"junto/1/" ‖ purpose ‖ 0x00 ‖ digest`: what is really signed.
fn signed_bytes(purpose: &str, digest: &Digest) -> Vec<u8> {
    [PROTOCOL.as_bytes(), purpose.as_bytes(), &[0], digest].concat()
}

impl KeyPair {
    /// The key of a 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> KeyPair {
        let key = KeyPair(Arc::new(Protected::new(SigningKey::from_bytes(seed))));
        scrub_stack();
        key
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `digest` for `purpose`.
    pub fn sign(&self, purpose: &str, digest: &Digest) -> Signature {
        Signature(self.0.sign(&signed_bytes(purpose, digest)).to_bytes())
    }
}

impl PublicKey {
    /// The key made ready for many checks; none if it is not a point of the curve.
    pub fn prepare(&self) -> Option<PreparedKey> {
        VerifyingKey::from_bytes(&self.0).ok().map(PreparedKey)
    }
}

impl PreparedKey {
    /// As [`SigCheck::verify`].
    pub fn verify(&self, purpose: &str, digest: &Digest, signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0
            .verify_strict(&signed_bytes(purpose, digest), &signature)
            .is_ok()
    }
}

impl SigCheck {
    /// The strict check, which every peer judges alike: small-order keys and non-canonical
    /// signatures are refused.
    pub fn verify(&self) -> bool {
        let key = self.key.prepare();
        key.is_some_and(|key| key.verify(self.purpose, &self.digest, &self.signature))
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(…)")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &KeyPair, purpose: &'static str, digest: Digest) -> SigCheck {
        let signature = key.sign(purpose, &digest);
        SigCheck {
            key: key.public(),
            purpose,
            digest,
            signature,
        }
    }

    #[test]
    fn a_signature_holds_for_its_purpose_and_bytes_only() {
        let good = check(&KeyPair::from_seed(&[1; 32]), "a", [5; 32]);
        assert!(good.verify());
        assert!(
            !SigCheck {
                purpose: "b",
                ..good.clone()
            }
            .verify()
        );
        assert!(
            !SigCheck {
                digest: [6; 32],
                ..good.clone()
            }
            .verify()
        );
        let other = KeyPair::from_seed(&[2; 32]).public();
        assert!(!SigCheck { key: other, ..good }.verify());
    }

    #[test]
    fn small_order_key_is_refused() {
        // The neutral element as a key: a lax verifier accepts signatures under it.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let check = SigCheck {
            key: PublicKey(neutral),
            purpose: "a",
            digest: [0; 32],
            signature: Signature(signature),
        };
        assert!(!check.verify());
    }

    #[test]
    fn the_secret_is_not_in_the_debug_form() {
        assert_eq!(format!("{:?}", KeyPair::from_seed(&[9; 32])), "KeyPair(…)");
    }
}
