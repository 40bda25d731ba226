//! A suite for tests that differs from suite 1 in every part, its shares' length included: it shows
//! that a suite is one file. It protects nothing better or worse.

use aes_gcm::{Aes256Gcm, KeyInit};
use zeroize::Zeroizing;

use super::{AgreeError, Agreement, ONE, SharedSecret, Suite};
use crate::crypto::aead::{AeadError, Cipher, TAG_BYTES};
use crate::crypto::{AeadKey, Digest, KeyPair, PublicKey, Rng, SigCheck, Signature, hash};

/// Suite 0xFFFF.
pub const OTHER: &dyn Suite = &Other;

struct Other;

/// Two key agreements, both of which must hold.
struct Two([Box<dyn Agreement>; 2]);

impl Agreement for Two {
    fn share(&self) -> Vec<u8> {
        self.0.iter().flat_map(|one| one.share()).collect()
    }

    fn agree(&self, share: &[u8]) -> Result<SharedSecret, AgreeError> {
        let (first, second) = halves(share)?;
        let [one, two] = &self.0;
        Ok(joined(one.agree(first)?, &two.agree(second)?))
    }
}

fn halves(share: &[u8]) -> Result<(&[u8], &[u8]), AgreeError> {
    share.split_at_checked(32).ok_or(AgreeError::Length)
}

fn joined(mut first: SharedSecret, second: &SharedSecret) -> SharedSecret {
    first.extend_from_slice(second);
    first
}

/// AES-256-GCM whose tags are turned around.
struct Turned(Aes256Gcm);

impl Cipher for Turned {
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], message: &mut [u8]) -> [u8; TAG_BYTES] {
        let mut tag = Cipher::seal(&self.0, nonce, aad, message);
        tag.reverse();
        tag
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        message: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), AeadError> {
        let mut tag = *tag;
        tag.reverse();
        Cipher::open(&self.0, nonce, aad, message, &tag)
    }
}

impl Suite for Other {
    fn number(&self) -> u16 {
        0xffff
    }

    fn offer(&self, rng: &mut Rng) -> Box<dyn Agreement> {
        Box::new(Two([ONE.offer(rng), ONE.offer(rng)]))
    }

    fn answer(&self, share: &[u8], rng: &mut Rng) -> Result<(Vec<u8>, SharedSecret), AgreeError> {
        let (first, second) = halves(share)?;
        let (mut ours, one) = ONE.answer(first, rng)?;
        let (more, two) = ONE.answer(second, rng)?;
        ours.extend(more);
        Ok((ours, joined(one, &two)))
    }

    fn extract(&self, salt: &Digest, shared: &[u8]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hash("other extract", &[salt, shared]))
    }

    fn expand(&self, secret: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
        let bytes = hash("other expand", &[secret, &info.concat()]);
        out.copy_from_slice(&bytes[..out.len()]);
    }

    fn aead(&self, key: &[u8; 32], iv: &[u8; 12]) -> AeadKey {
        let cipher = Aes256Gcm::new_from_slice(key).expect("AES-256 takes 32 bytes");
        AeadKey::with(Box::new(Turned(cipher)), iv)
    }

    fn sign(&self, key: &KeyPair, purpose: &'static str, digest: &Digest) -> Signature {
        key.sign(purpose, &hash("other", &[digest]))
    }

    fn check(
        &self,
        key: PublicKey,
        purpose: &'static str,
        digest: Digest,
        signature: Signature,
    ) -> SigCheck {
        ONE.check(key, purpose, hash("other", &[&digest]), signature)
    }
}
