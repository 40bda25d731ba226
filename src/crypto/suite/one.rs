//! Suite 1: X25519, HKDF-SHA-256, AES-256-GCM, Ed25519.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{AgreeError, Agreement, SharedSecret, Suite};
use crate::crypto::{
    AeadKey, Digest, EphemeralSecret, KeyPair, PublicKey, Rng, SigCheck, Signature,
};

/// Suite 1.
pub const ONE: &dyn Suite = &One;

struct One;

impl Suite for One {
    fn number(&self) -> u16 {
        1
    }

    fn offer(&self, rng: &mut Rng) -> Box<dyn Agreement> {
        Box::new(EphemeralSecret::generate(rng))
    }

    fn answer(&self, share: &[u8], rng: &mut Rng) -> Result<(Vec<u8>, SharedSecret), AgreeError> {
        let secret = EphemeralSecret::generate(rng);
        Ok((Agreement::share(&secret), secret.agree_raw(share)?))
    }

    fn extract(&self, salt: &Digest, shared: &[u8]) -> Zeroizing<[u8; 32]> {
        let (prk, _) = Hkdf::<Sha256>::extract(Some(salt), shared);
        Zeroizing::new(prk.into())
    }

    fn expand(&self, secret: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
        let hkdf = Hkdf::<Sha256>::from_prk(secret).expect("32 bytes are a SHA-256 key");
        hkdf.expand_multi_info(info, out)
            .expect("we expand 32 bytes at most");
    }

    fn aead(&self, key: &[u8; 32], iv: &[u8; 12]) -> AeadKey {
        AeadKey::fast(key, iv)
    }

    fn sign(&self, key: &KeyPair, purpose: &'static str, digest: &Digest) -> Signature {
        key.sign(purpose, digest)
    }

    fn check(
        &self,
        key: PublicKey,
        purpose: &'static str,
        digest: Digest,
        signature: Signature,
    ) -> SigCheck {
        SigCheck {
            key,
            purpose,
            digest,
            signature,
        }
    }
}

impl EphemeralSecret {
    fn agree_raw(&self, share: &[u8]) -> Result<SharedSecret, AgreeError> {
        let share = share.try_into().map_err(|_| AgreeError::Length)?;
        Ok(self.diffie_hellman(share)?)
    }
}

impl Agreement for EphemeralSecret {
    fn share(&self) -> Vec<u8> {
        EphemeralSecret::share(self).to_vec()
    }

    fn agree(&self, share: &[u8]) -> Result<SharedSecret, AgreeError> {
        self.agree_raw(share)
    }
}
