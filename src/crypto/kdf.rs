//! X25519, and keys expanded from keys.

use std::fmt;

use rand::Rng as _;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::Rng;
use super::aead::AeadKey;
use super::hash::{Digest, PROTOCOL};
use super::suite::{ONE, SharedSecret, Suite};

/// The other side's share was a low-order point: the shared secret would be known to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer's key share is a low-order point")]
pub struct WeakSharedSecret;

/// One side's X25519 secret of one handshake. Cleared on drop.
pub struct EphemeralSecret(StaticSecret);

impl EphemeralSecret {
    /// A fresh secret.
    pub fn generate(rng: &mut Rng) -> EphemeralSecret {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *bytes);
        EphemeralSecret(StaticSecret::from(*bytes))
    }

    /// The share that is sent.
    pub fn share(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }

    /// What both sides come to.
    ///
    /// # Errors
    /// [`WeakSharedSecret`] when it would be all zero.
    pub fn diffie_hellman(&self, share: &[u8; 32]) -> Result<SharedSecret, WeakSharedSecret> {
        let shared = self.0.diffie_hellman(&PublicKey::from(*share));
        match shared.was_contributory() {
            true => Ok(Zeroizing::new(shared.as_bytes().to_vec())),
            false => Err(WeakSharedSecret),
        }
    }

    /// The pseudo-random key of suite 1, salted with the transcript.
    ///
    /// # Errors
    /// [`WeakSharedSecret`].
    pub fn agree(&self, share: &[u8; 32], salt: &Digest) -> Result<Prk, WeakSharedSecret> {
        Ok(Prk::extract(ONE, salt, &self.diffie_hellman(share)?))
    }
}

/// A pseudo-random key, from which others are expanded by its suite. Cleared on drop.
#[derive(Clone)]
pub struct Prk {
    suite: &'static dyn Suite,
    secret: Zeroizing<[u8; 32]>,
}

impl Prk {
    /// The first of a session: from what the two sides agreed on.
    pub fn extract(suite: &'static dyn Suite, salt: &Digest, shared: &SharedSecret) -> Prk {
        let secret = suite.extract(salt, shared);
        Prk { suite, secret }
    }

    fn fill(&self, label: &str, context: &[u8], out: &mut [u8]) {
        let info = [PROTOCOL.as_bytes(), label.as_bytes(), &[0], context];
        self.suite.expand(&self.secret, &info, out);
    }

    /// 32 bytes under `label` and `context`.
    pub fn expand(&self, label: &str, context: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        self.fill(label, context, &mut *out);
        out
    }

    /// The next key down, under `label` and `context`.
    pub fn derive(&self, label: &str, context: &[u8]) -> Prk {
        Prk {
            suite: self.suite,
            secret: self.expand(label, context),
        }
    }

    /// The AEAD key and initial vector of this traffic secret.
    pub fn aead(&self) -> AeadKey {
        let key = self.expand("key", &[]);
        let mut iv = Zeroizing::new([0; 12]);
        self.fill("iv", &[], &mut *iv);
        self.suite.aead(&key, &iv)
    }
}

impl fmt::Debug for EphemeralSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EphemeralSecret(…)")
    }
}

impl fmt::Debug for Prk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prk(…)")
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn both_sides_derive_the_same_and_labels_differ() {
        let mut rng = Rng::seed_from_u64(1);
        let (a, b) = (
            EphemeralSecret::generate(&mut rng),
            EphemeralSecret::generate(&mut rng),
        );
        let left = a.agree(&b.share(), &[0; 32]).expect("honest share");
        let right = b.agree(&a.share(), &[0; 32]).expect("honest share");
        assert_eq!(*left.expand("x", b""), *right.expand("x", b""));
        assert_ne!(*left.expand("x", b""), *left.expand("y", b""));
        assert_ne!(*left.expand("x", b"1"), *left.expand("x", b"2"));
    }

    #[test]
    fn low_order_share_is_refused() {
        let secret = EphemeralSecret::generate(&mut Rng::seed_from_u64(1));
        assert_eq!(
            secret.agree(&[0; 32], &[0; 32]).err(),
            Some(WeakSharedSecret)
        );
        let mut one = [0; 32];
        one[0] = 1;
        assert_eq!(secret.agree(&one, &[0; 32]).err(), Some(WeakSharedSecret));
    }
}
