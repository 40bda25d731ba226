//! AES-256-GCM with a counter nonce. Non-generic on purpose: it is compiled here once.

use std::fmt;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use zeroize::Zeroizing;

/// What sealing adds to a message's length.
pub const TAG_BYTES: usize = 16;

/// One text for every way a decryption can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("decryption failed")]
pub struct AeadError;

/// A key and its initial vector; the nonce of message `seq` is `iv XOR seq`.
pub struct AeadKey {
    cipher: Box<Aes256Gcm>,
    iv: Zeroizing<[u8; 12]>,
}

impl AeadKey {
    /// From 32 bytes of key and 12 of initial vector.
    pub fn new(key: &[u8; 32], iv: &[u8; 12]) -> AeadKey {
        let cipher = Aes256Gcm::new_from_slice(key).expect("AES-256 takes 32 bytes");
        AeadKey {
            cipher: Box::new(cipher),
            iv: Zeroizing::new(*iv),
        }
    }

    fn nonce(&self, seq: u64) -> [u8; 12] {
        let mut nonce = *self.iv;
        for (byte, s) in nonce[4..].iter_mut().zip(seq.to_be_bytes()) {
            *byte ^= s;
        }
        nonce
    }

    /// Seals `plaintext` as message `seq`. The caller never uses a `seq` twice.
    pub fn seal(&self, seq: u64, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let nonce = Nonce::from(self.nonce(seq));
        self.cipher
            .encrypt(
                &nonce,
                Payload {
                    msg: plaintext,
                    aad,
                },
            )
            .expect("a message is far below the 64 GiB that GCM takes")
    }

    /// Opens message `seq`.
    ///
    /// # Errors
    /// [`AeadError`] whatever was wrong: the key, the number, the header or the bytes.
    pub fn open(&self, seq: u64, aad: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, AeadError> {
        let nonce = Nonce::from(self.nonce(seq));
        self.cipher
            .decrypt(
                &nonce,
                Payload {
                    msg: ciphertext,
                    aad,
                },
            )
            .map_err(|_| AeadError)
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_what_was_sealed_under_the_same_number_and_header() {
        let key = AeadKey::new(&[1; 32], &[2; 12]);
        let sealed = key.seal(7, b"header", b"message");
        assert_eq!(sealed.len(), 7 + TAG_BYTES);
        assert_eq!(key.open(7, b"header", &sealed), Ok(b"message".to_vec()));
        assert_eq!(key.open(8, b"header", &sealed), Err(AeadError));
        assert_eq!(key.open(7, b"Header", &sealed), Err(AeadError));
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert_eq!(key.open(7, b"header", &bent), Err(AeadError));
        }
    }
}
