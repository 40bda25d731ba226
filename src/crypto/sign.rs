//! Ed25519 with a purpose in front of what is signed.
//!
//! Signing is done by aws-lc, in half of dalek's time, on a key that never leaves its protected
//! memory. Checking is dalek's, whose strict rules are the protocol's.

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::{SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::hash::{Digest, PROTOCOL};
use super::protected::{Protected, scrub_stack};

/// The seed and the public key, in the form that RFC 8032 calls a private key and aws-lc reads.
type Expanded = [u8; 64];

/// A signing key, in protected memory. Cleared when its last clone is dropped, shown nowhere.
#[derive(Clone)]
pub struct KeyPair {
    secret: Arc<Protected<Expanded>>,
    public: PublicKey,
}

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

/// The eight points of small order, as they are written.
const SMALL_ORDER: [[u8; 32]; 8] = {
    const fn with_sign(mut point: [u8; 32]) -> [u8; 32] {
        point[31] |= 0x80;
        point
    }
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    minus_one[31] = 0x7f;
    let eighth = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ];
    let other = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ];
    [
        one,
        minus_one,
        [0; 32],
        with_sign([0; 32]),
        eighth,
        with_sign(eighth),
        other,
        with_sign(other),
    ]
};

/// `"junto/1/" ‖ purpose ‖ 0x00 ‖ digest`: what is really signed.
fn signed_bytes(purpose: &str, digest: &Digest) -> Vec<u8> {
    [PROTOCOL.as_bytes(), purpose.as_bytes(), &[0], digest].concat()
}

impl KeyPair {
    /// The key of a 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> KeyPair {
        let key = SigningKey::from_bytes(seed);
        let pair = KeyPair {
            secret: Arc::new(Protected::new(key.to_keypair_bytes())),
            public: PublicKey(key.verifying_key().to_bytes()),
        };
        drop(key);
        scrub_stack();
        pair
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs `digest` for `purpose`.
    pub fn sign(&self, purpose: &str, digest: &Digest) -> Signature {
        Signature(signature_of(&signed_bytes(purpose, digest), &self.secret))
    }
}

#[allow(
    unsafe_code,
    reason = "aws-lc's safe interface copies the key into memory of its own"
)]
fn signature_of(message: &[u8], key: &Expanded) -> [u8; 64] {
    let mut signature = [0; 64];
    // SAFETY: it reads `len` bytes of the message and 64 of the key, writes 64 of the signature,
    // and keeps no pointer.
    let signed = unsafe {
        aws_lc_sys::ED25519_sign(
            signature.as_mut_ptr(),
            message.as_ptr(),
            message.len(),
            key.as_ptr(),
        )
    };
    assert_eq!(signed, 1, "aws-lc signs what fits into memory");
    signature
}

impl PublicKey {
    /// The key made ready for many checks; none if it is not a point of the curve, or one of small
    /// order, under which no signature means anything.
    pub fn prepare(&self) -> Option<PreparedKey> {
        let key = VerifyingKey::from_bytes(&self.0).ok()?;
        (!key.is_weak()).then_some(PreparedKey(key))
    }
}

impl PreparedKey {
    /// As [`SigCheck::verify`].
    pub fn verify(&self, purpose: &str, digest: &Digest, signature: &Signature) -> bool {
        self.verify_bytes(&signed_bytes(purpose, digest), signature)
    }

    /// dalek's `verify_strict`, a tenth faster: `R` is compared as bytes with what it must be, so
    /// it need not be decompressed to see whether its order is small; `prepare` judged the key.
    fn verify_bytes(&self, message: &[u8], signature: &Signature) -> bool {
        let (r, _) = signature
            .0
            .split_first_chunk()
            .expect("64 are more than 32");
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        !SMALL_ORDER.contains(r) && self.0.verify(message, &signature).is_ok()
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
    use ed25519_dalek::Signer;
    use proptest::prelude::*;

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
    fn the_points_of_small_order_are_those() {
        let mut seen = SMALL_ORDER.to_vec();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 8);
        for point in SMALL_ORDER {
            assert!(VerifyingKey::from_bytes(&point).unwrap().is_weak());
            assert!(PublicKey(point).prepare().is_none());
        }
    }

    /// A signature under a key of the torsion's own making: `verify` takes it, strictly it is none.
    #[test]
    fn a_small_order_r_is_refused_as_dalek_refuses_it() {
        let key = KeyPair::from_seed(&[3; 32]).public().prepare().unwrap();
        for r in SMALL_ORDER {
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(&r);
            assert!(!key.verify_bytes(b"message", &Signature(bytes)));
        }
    }

    proptest! {
        #[test]
        fn signs_as_dalek_signs(seed: [u8; 32], message: Vec<u8>) {
            let key = KeyPair::from_seed(&seed);
            let dalek = SigningKey::from_bytes(&seed);
            let signature = signature_of(&message, &key.secret);
            prop_assert_eq!(signature, dalek.sign(&message).to_bytes());
            prop_assert_eq!(key.public().0, dalek.verifying_key().to_bytes());
        }

        #[test]
        fn judges_as_dalek_judges_strictly(
            seed: [u8; 32],
            message: Vec<u8>,
            at in 0..64_usize,
            mask: u8,
            point in 0..9_usize,
        ) {
            let dalek = SigningKey::from_bytes(&seed);
            let mut signature = dalek.sign(&message).to_bytes();
            signature[at] ^= mask;
            if let Some(r) = SMALL_ORDER.get(point) {
                signature[..32].copy_from_slice(r);
            }
            let key = PublicKey(dalek.verifying_key().to_bytes()).prepare().unwrap();
            let strict = dalek.verifying_key().verify_strict(&message, &signature.into());
            prop_assert_eq!(key.verify_bytes(&message, &Signature(signature)), strict.is_ok());
        }
    }

    #[test]
    fn the_secret_is_not_in_the_debug_form() {
        assert_eq!(format!("{:?}", KeyPair::from_seed(&[9; 32])), "KeyPair(…)");
    }
}
