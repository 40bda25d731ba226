//! The encrypted key file: Argon2id over the passphrase, AES-256-GCM over the secrets.
//!
//! JSON, so that a person sees what it is; everything outside the ciphertext is authenticated
//! with it. Reading and writing the file itself is the caller's.

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::BASE64;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Rng;
use super::aead::AeadKey;
use super::identity::{Identity, Seeds};
use crate::types::{EntityId, PeerId};

const FORMAT: &str = "junto-identity";
const VERSION: u32 = 1;
/// A file that asks for more than this was not written by us.
const MEMORY_MAX_KIB: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 16;

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
    /// For `--no-passphrase`, where the file protects nothing.
    pub const NONE: KdfCost = KdfCost {
        memory_kib: 8,
        passes: 1,
    };
}

/// Why a key file could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Not JSON of our form, or cut.
    #[error("the key file is damaged: {0}")]
    Damaged(String),
    /// Written by a newer Junto.
    #[error("the key file has version {0}, this program reads up to {VERSION}: update Junto")]
    Newer(u32),
    /// The passphrase does not open it (or the ciphertext was altered: the two look the same).
    #[error("the passphrase is wrong, or the key file was altered")]
    WrongPassphrase,
}

/// The file's content.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    format: String,
    version: u32,
    /// In clear, so that `junto id` needs no passphrase; checked against the secrets at opening.
    pub peer_id: String,
    pub entity_id: String,
    /// Whether there is a passphrase at all.
    pub passphrase: bool,
    kdf: KdfCost,
    salt: String,
    ciphertext: String,
}

impl KeyFile {
    /// Encrypts `seeds`. Takes as long as `cost` says.
    pub fn seal(seeds: &Seeds, passphrase: Option<&str>, cost: KdfCost, rng: &mut Rng) -> KeyFile {
        let identity = Identity::from_seeds(seeds);
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let mut file = KeyFile {
            format: FORMAT.to_owned(),
            version: VERSION,
            peer_id: identity.peer_id.to_string(),
            entity_id: identity.entity_id.to_string(),
            passphrase: passphrase.is_some(),
            kdf: cost,
            salt: BASE64.encode(&salt),
            ciphertext: String::new(),
        };
        let plaintext = Zeroizing::new([&seeds.entity[..], &seeds.next, &seeds.transport].concat());
        let key = derive(passphrase.unwrap_or(""), &salt, cost).expect("our own costs are valid");
        file.ciphertext = BASE64.encode(&key.seal(0, &file.aad(), &plaintext));
        file
    }

    /// Reads the JSON; nothing is decrypted yet.
    ///
    /// # Errors
    /// [`KeyFileError::Damaged`] or [`KeyFileError::Newer`].
    pub fn parse(json: &str) -> Result<KeyFile, KeyFileError> {
        let damaged = |what: &str| KeyFileError::Damaged(what.to_owned());
        let value: serde_json::Value =
            serde_json::from_str(json).map_err(|error| KeyFileError::Damaged(error.to_string()))?;
        if value.get("format").and_then(|format| format.as_str()) != Some(FORMAT) {
            return Err(damaged("it is not a Junto key file"));
        }
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) if version > u64::from(VERSION) => {
                return Err(KeyFileError::Newer(
                    u32::try_from(version).unwrap_or(u32::MAX),
                ));
            }
            _ => return Err(damaged("it names no version")),
        }
        let file: KeyFile = serde_json::from_value(value)
            .map_err(|error| KeyFileError::Damaged(error.to_string()))?;
        if file.kdf.memory_kib > MEMORY_MAX_KIB || file.kdf.passes > PASSES_MAX {
            return Err(damaged("it asks for an absurd amount of work"));
        }
        file.peer_id
            .parse::<PeerId>()
            .map_err(|_| damaged("its peer id is none"))?;
        file.entity_id
            .parse::<EntityId>()
            .map_err(|_| damaged("its entity id is none"))?;
        Ok(file)
    }

    /// The JSON to store.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and numbers only");
        text.push('\n');
        text
    }

    /// Decrypts the secrets. Takes as long as the file's cost says.
    ///
    /// # Errors
    /// [`KeyFileError::WrongPassphrase`], or [`KeyFileError::Damaged`] where the form is broken.
    pub fn open(&self, passphrase: Option<&str>) -> Result<Seeds, KeyFileError> {
        let damaged = |what: &str| KeyFileError::Damaged(what.to_owned());
        let salt = BASE64
            .decode(self.salt.as_bytes())
            .map_err(|_| damaged("its salt is cut"))?;
        let ciphertext = BASE64
            .decode(self.ciphertext.as_bytes())
            .map_err(|_| damaged("its ciphertext is cut"))?;
        let key = derive(passphrase.unwrap_or(""), &salt, self.kdf)
            .ok_or_else(|| damaged("its Argon2 parameters are out of range"))?;
        let plaintext = Zeroizing::new(
            key.open(0, &self.aad(), &ciphertext)
                .map_err(|_| KeyFileError::WrongPassphrase)?,
        );
        let part = |at: usize| {
            plaintext
                .get(at..at + 32)
                .and_then(|part| part.try_into().ok())
        };
        match (part(0), part(32), part(64), plaintext.len()) {
            (Some(entity), Some(next), Some(transport), 96) => Ok(Seeds {
                entity,
                next,
                transport,
            }),
            _ => Err(damaged("its content has another length")),
        }
    }

    fn aad(&self) -> Vec<u8> {
        let KeyFile {
            format,
            version,
            peer_id,
            entity_id,
            passphrase,
            kdf,
            salt,
            ..
        } = self;
        let KdfCost { memory_kib, passes } = kdf;
        format!(
            "{format} {version} {peer_id} {entity_id} {passphrase} {memory_kib} {passes} {salt}"
        )
        .into_bytes()
    }
}

fn derive(passphrase: &str, salt: &[u8], cost: KdfCost) -> Option<AeadKey> {
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(44)).ok()?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut out = Zeroizing::new([0; 44]);
    argon
        .hash_password_into(passphrase.as_bytes(), salt, &mut *out)
        .ok()?;
    let (key, iv) = out.split_at(32);
    Some(AeadKey::new(key.try_into().ok()?, iv.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const CHEAP: KdfCost = KdfCost {
        memory_kib: 8,
        passes: 1,
    };

    fn sealed(passphrase: Option<&str>) -> (Seeds, KeyFile) {
        let mut rng = Rng::seed_from_u64(1);
        let seeds = Seeds::generate(&mut rng);
        let file = KeyFile::seal(&seeds, passphrase, CHEAP, &mut rng);
        (seeds, file)
    }

    #[test]
    fn opens_with_its_passphrase_only() {
        let (seeds, file) = sealed(Some("correct horse"));
        let read = KeyFile::parse(&file.to_json()).expect("our own file");
        let opened = read
            .open(Some("correct horse"))
            .expect("the right passphrase");
        assert_eq!(opened.entity, seeds.entity);
        assert_eq!(opened.transport, seeds.transport);
        assert_eq!(
            read.open(Some("wrong")).err(),
            Some(KeyFileError::WrongPassphrase)
        );
        assert_eq!(read.open(None).err(), Some(KeyFileError::WrongPassphrase));
    }

    #[test]
    fn a_cut_file_and_a_newer_file_say_so() {
        let json = sealed(None).1.to_json();
        for end in 0..json.len() - 2 {
            assert!(matches!(
                KeyFile::parse(&json[..end]),
                Err(KeyFileError::Damaged(_))
            ));
        }
        let newer = json.replace("\"version\": 1", "\"version\": 2");
        assert_eq!(KeyFile::parse(&newer).err(), Some(KeyFileError::Newer(2)));
        let greedy = json.replace("\"memory_kib\": 8", "\"memory_kib\": 4000000000");
        assert!(matches!(
            KeyFile::parse(&greedy),
            Err(KeyFileError::Damaged(_))
        ));
    }

    #[test]
    fn an_altered_clear_part_does_not_open() {
        let (_, file) = sealed(None);
        let other = Identity::from_seeds(&Seeds::generate(&mut Rng::seed_from_u64(2)));
        let altered = KeyFile {
            peer_id: other.peer_id.to_string(),
            ..file
        };
        assert_eq!(
            altered.open(None).err(),
            Some(KeyFileError::WrongPassphrase)
        );
    }

    #[test]
    fn the_file_holds_no_secret_in_clear() {
        let (seeds, file) = sealed(None);
        let json = file.to_json();
        assert!(!json.contains(&BASE64.encode(&seeds.entity)));
    }
}
