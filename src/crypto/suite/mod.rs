//! Suites: what a session is made of, chosen by number in the handshake. A suite is one file here
//! and a place in [`all`].
//!
//! The hash of transcripts (SHA-256), the labels of keys and the order of messages are the
//! protocol's; the key of a signature is the entity's. A suite decides how the two sides agree on a
//! secret, how keys come from it, what seals, and how the entity's key signs.

mod one;
#[cfg(test)]
mod other;

use std::fmt;

use zeroize::Zeroizing;

pub use self::one::ONE;
#[cfg(test)]
pub use self::other::OTHER;
use super::{AeadKey, Digest, KeyPair, PublicKey, Rng, SigCheck, Signature, WeakSharedSecret};

/// What a key agreement comes to. Cleared on drop.
pub type SharedSecret = Zeroizing<Vec<u8>>;

/// Why a key agreement failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgreeError {
    #[error("the key share has another length than its suite's")]
    Length,
    #[error(transparent)]
    Weak(#[from] WeakSharedSecret),
}

/// One suite.
pub trait Suite: Send + Sync {
    /// By which the handshake names it.
    fn number(&self) -> u16;

    /// The initiator's half of the key agreement.
    fn offer(&self, rng: &mut Rng) -> Box<dyn Agreement>;

    /// The responder's half: its share, and what both come to.
    ///
    /// # Errors
    /// [`AgreeError`].
    fn answer(&self, share: &[u8], rng: &mut Rng) -> Result<(Vec<u8>, SharedSecret), AgreeError>;

    /// The first pseudo-random key, salted with the transcript.
    fn extract(&self, salt: &Digest, shared: &[u8]) -> Zeroizing<[u8; 32]>;

    /// Fills `out`, of 32 bytes at most, from a key, under `info` (to be joined).
    fn expand(&self, secret: &[u8; 32], info: &[&[u8]], out: &mut [u8]);

    /// What seals.
    fn aead(&self, key: &[u8; 32], iv: &[u8; 12]) -> AeadKey;

    /// Signs in a handshake or a session.
    fn sign(&self, key: &KeyPair, purpose: &'static str, digest: &Digest) -> Signature;

    /// The check of such a signature.
    fn check(
        &self,
        key: PublicKey,
        purpose: &'static str,
        digest: Digest,
        signature: Signature,
    ) -> SigCheck;
}

/// The initiator's secret, until the responder's share has come.
pub trait Agreement: Send {
    /// What is sent.
    fn share(&self) -> Vec<u8>;

    /// What both come to.
    ///
    /// # Errors
    /// [`AgreeError`].
    fn agree(&self, share: &[u8]) -> Result<SharedSecret, AgreeError>;
}

/// The suites this program knows, the best first.
pub fn all() -> Vec<&'static dyn Suite> {
    vec![ONE]
}

impl fmt::Debug for dyn Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Suite({})", self.number())
    }
}
