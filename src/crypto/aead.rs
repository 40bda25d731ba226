//! Authenticated encryption with a counter nonce: AES-256-GCM, or what another suite brings.
//!
//! AES-GCM comes twice. Files are sealed by the `aes-gcm` crate ([`AeadKey::new`]); what travels
//! is sealed by aws-lc ([`AeadKey::fast`]), which does four to nine times as many bytes a second.
//! Both give the same bytes.

use std::fmt;

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit, Nonce, Tag};
use aws_lc_rs::aead as aws;
use zeroize::Zeroizing;

/// What sealing adds to a message's length.
pub const TAG_BYTES: usize = 16;

/// One text for every way a decryption can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("decryption failed")]
pub struct AeadError;

/// An AEAD under one key, with nonces of 12 bytes and tags of 16.
pub trait Cipher: Send + Sync {
    /// Encrypts where it stands and returns the tag.
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], message: &mut [u8]) -> [u8; TAG_BYTES];

    /// Decrypts where it stands; after an error the content is of no use.
    ///
    /// # Errors
    /// [`AeadError`].
    fn open(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        message: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), AeadError>;
}

impl Cipher for Aes256Gcm {
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], message: &mut [u8]) -> [u8; TAG_BYTES] {
        self.encrypt_inout_detached(&Nonce::from(*nonce), aad, message.into())
            .expect("a message is far below the 64 GiB that GCM takes")
            .into()
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        message: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), AeadError> {
        let (nonce, tag) = (Nonce::from(*nonce), Tag::from(*tag));
        self.decrypt_inout_detached(&nonce, aad, message.into(), &tag)
            .map_err(|_| AeadError)
    }
}

/// AES-256-GCM of aws-lc, which clears the key when it gives its memory back.
struct AwsLc(aws::LessSafeKey);

impl Cipher for AwsLc {
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], message: &mut [u8]) -> [u8; TAG_BYTES] {
        let nonce = aws::Nonce::assume_unique_for_key(*nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, aws::Aad::from(aad), message)
            .expect("a message is far below the 64 GiB that GCM takes");
        tag.as_ref().try_into().expect("GCM's tag has 16 bytes")
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        message: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), AeadError> {
        let nonce = aws::Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_in_place_separate_tag(nonce, aws::Aad::from(aad), tag, message)
            .map(|_| ())
            .map_err(|_| AeadError)
    }
}

/// A key and its initial vector; the nonce of message `seq` is `iv XOR seq`.
pub struct AeadKey {
    cipher: Box<dyn Cipher>,
    iv: Zeroizing<[u8; 12]>,
}

impl AeadKey {
    /// AES-256-GCM, from 32 bytes of key and 12 of initial vector.
    pub fn new(key: &[u8; 32], iv: &[u8; 12]) -> AeadKey {
        let cipher = Aes256Gcm::new_from_slice(key).expect("AES-256 takes 32 bytes");
        AeadKey::with(Box::new(cipher), iv)
    }

    /// As [`AeadKey::new`], for much traffic.
    pub fn fast(key: &[u8; 32], iv: &[u8; 12]) -> AeadKey {
        let key = aws::UnboundKey::new(&aws::AES_256_GCM, key).expect("AES-256 takes 32 bytes");
        AeadKey::with(Box::new(AwsLc(aws::LessSafeKey::new(key))), iv)
    }

    /// Another AEAD.
    pub fn with(cipher: Box<dyn Cipher>, iv: &[u8; 12]) -> AeadKey {
        let iv = Zeroizing::new(*iv);
        AeadKey { cipher, iv }
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
        let mut sealed = Vec::with_capacity(plaintext.len() + TAG_BYTES);
        sealed.extend_from_slice(plaintext);
        self.seal_in_place(seq, aad, &mut sealed, 0);
        sealed
    }

    /// Opens message `seq`.
    ///
    /// # Errors
    /// [`AeadError`] whatever was wrong: the key, the number, the header or the bytes.
    pub fn open(&self, seq: u64, aad: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, AeadError> {
        let mut opened = ciphertext.to_vec();
        self.open_in_place(seq, aad, &mut opened, 0)?;
        Ok(opened)
    }

    /// Seals `buffer[from..]` where it stands and appends the tag. As [`AeadKey::seal`], without a
    /// copy.
    pub fn seal_in_place(&self, seq: u64, aad: &[u8], buffer: &mut Vec<u8>, from: usize) {
        let tag = self.cipher.seal(&self.nonce(seq), aad, &mut buffer[from..]);
        buffer.extend_from_slice(&tag);
    }

    /// Opens `buffer[from..]`, ciphertext and tag, where it stands; the tag is cut off. As
    /// [`AeadKey::open`], without a copy; after an error the buffer's content is of no use.
    ///
    /// # Errors
    /// [`AeadError`].
    pub fn open_in_place(
        &self,
        seq: u64,
        aad: &[u8],
        buffer: &mut Vec<u8>,
        from: usize,
    ) -> Result<(), AeadError> {
        let sealed = buffer.get_mut(from..).ok_or(AeadError)?;
        let (message, tag) = sealed.split_last_chunk_mut().ok_or(AeadError)?;
        self.cipher.open(&self.nonce(seq), aad, message, tag)?;
        buffer.truncate(buffer.len() - TAG_BYTES);
        Ok(())
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

    #[test]
    fn both_implementations_give_the_same_bytes() {
        let (files, fast) = (
            AeadKey::new(&[1; 32], &[2; 12]),
            AeadKey::fast(&[1; 32], &[2; 12]),
        );
        for len in [0, 1, 15, 16, 17, 255, 4096, 70_000] {
            let message: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let sealed = files.seal(len, b"header", &message);
            assert_eq!(fast.seal(len, b"header", &message), sealed);
            assert_eq!(fast.open(len, b"header", &sealed), Ok(message));
            assert_eq!(fast.open(len, b"", &sealed), Err(AeadError));
            let last = sealed.len() - 1;
            for at in [0, last / 2, last] {
                let mut bent = sealed.clone();
                bent[at] ^= 1;
                assert_eq!(fast.open(len, b"header", &bent), Err(AeadError));
            }
        }
    }

    #[test]
    fn sealing_in_place_gives_the_same_bytes() {
        let key = AeadKey::new(&[1; 32], &[2; 12]);
        let mut buffer = b"headermessage".to_vec();
        key.seal_in_place(7, b"header", &mut buffer, 6);
        assert_eq!(buffer[6..], key.seal(7, b"header", b"message"));
        assert_eq!(
            key.open_in_place(7, b"header", &mut buffer.clone(), 7),
            Err(AeadError)
        );
        assert_eq!(key.open_in_place(7, b"header", &mut buffer, 6), Ok(()));
        assert_eq!(buffer, b"headermessage");
        assert_eq!(
            key.open_in_place(7, b"", &mut vec![0; 15], 0),
            Err(AeadError)
        );
        assert_eq!(
            key.open_in_place(7, b"", &mut vec![0; 17], 2),
            Err(AeadError)
        );
    }
}
