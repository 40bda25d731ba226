//! Argon2id over a passphrase, AES-256-GCM over secrets: what the key file and a backup share.

use argon2::{Algorithm, Argon2, Params, Version};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Rng;
use super::aead::{AeadError, AeadKey};

/// What asks for more than this was not written by us.
const MEMORY_MAX_KIB: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 16;
const SALT_BYTES: usize = 16;

/// What one guess at the passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KdfCost {
    pub memory_kib: u32,
    pub passes: u32,
}

impl KdfCost {
    /// For a passphrase that a person chose: 64 MiB, 3 passes.
    pub const PASSPHRASE: KdfCost = KdfCost {
        memory_kib: 64 * 1024,
        passes: 3,
    };
    /// For a backup, which lies where others may have years to guess: 128 MiB, 4 passes.
    pub const BACKUP: KdfCost = KdfCost {
        memory_kib: 128 * 1024,
        passes: 4,
    };
    /// For `--no-passphrase`, where the file protects nothing.
    pub const NONE: KdfCost = KdfCost {
        memory_kib: 8,
        passes: 1,
    };

    /// Whether this is work that we would have asked for: judged before any of it is done.
    pub(super) fn is_sane(&self) -> bool {
        self.memory_kib <= MEMORY_MAX_KIB && self.passes <= PASSES_MAX && self.params().is_some()
    }

    fn params(&self) -> Option<Params> {
        Params::new(self.memory_kib, self.passes, 1, Some(44)).ok()
    }
}

/// A fresh salt.
pub(super) fn salt(rng: &mut Rng) -> [u8; SALT_BYTES] {
    let mut salt = [0; SALT_BYTES];
    rng.fill_bytes(&mut salt);
    salt
}

/// The key that a passphrase makes. Takes as long as `cost` says. None when the salt or the cost
/// is not one of ours.
pub(super) fn derive(passphrase: &str, salt: &[u8], cost: KdfCost) -> Option<PassphraseKey> {
    if salt.len() != SALT_BYTES || !cost.is_sane() {
        return None;
    }
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.params()?);
    let mut out = Zeroizing::new([0; 44]);
    argon
        .hash_password_into(passphrase.as_bytes(), salt, &mut *out)
        .ok()?;
    let (key, iv) = out.split_at(32);
    let key = AeadKey::new(key.try_into().ok()?, iv.try_into().ok()?);
    Some(PassphraseKey(key))
}

/// Seals one text under one salt.
pub(super) struct PassphraseKey(AeadKey);

impl PassphraseKey {
    pub(super) fn seal(self, header: &[u8], secrets: &[u8]) -> Vec<u8> {
        self.0.seal(0, header, secrets)
    }

    pub(super) fn open(
        self,
        header: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, AeadError> {
        self.0.open(0, header, sealed).map(Zeroizing::new)
    }
}
