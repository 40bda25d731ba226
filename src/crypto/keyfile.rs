//! The encrypted key file: Argon2id over the passphrase, AES-256-GCM over the secrets.
//!
//! JSON, so that a person sees what it is; everything outside the ciphertext is authenticated
//! with it. Reading and writing the file itself is the caller's.
//!
//! Version 1 had no chain: its entity never rotated. It is read for ever, and written as version
//! 2 when something changes.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Rng;
use super::chain::Chain;
use super::identity::{Keys, Seeds};
use super::passphrase::{KdfCost, derive, salt};
use crate::types::{EntityId, PeerId};

const FORMAT: &str = "junto-identity";
const VERSION: u32 = 2;

/// Why a key file could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Not JSON of our form, or cut.
    #[error(
        "the key file is damaged: {0}; put a copy of it there, or restore a backup into a new home \
         (`junto key restore`)"
    )]
    Damaged(String),
    /// Written by a newer Junto.
    #[error("the key file has version {0}, this program reads up to {VERSION}: update Junto")]
    Newer(u32),
    /// The passphrase does not open it (or the ciphertext was altered: the two look the same).
    #[error("the passphrase is wrong, or the key file was altered")]
    WrongPassphrase,
}

/// What is wrong with the file as JSON, and where.
fn broken(error: &serde_json::Error) -> String {
    let line = error.line();
    match error.is_eof() {
        true => format!("it ends in the middle, at line {line}"),
        false => format!(
            "it is no JSON from line {line}, column {} on",
            error.column()
        ),
    }
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
    /// From version 2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chain: Option<StoredChain>,
    ciphertext: String,
}

/// The public documents, and what is known of the entity's registry entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredChain {
    inception: String,
    rotations: Vec<String>,
    entry_seq: u64,
}

impl StoredChain {
    pub(super) fn of(keys: &Keys) -> StoredChain {
        let chain = keys.chain();
        StoredChain {
            inception: BASE64.encode(&chain.inception().to_bytes()),
            rotations: chain
                .rotations()
                .iter()
                .map(|rotation| BASE64.encode(&rotation.to_bytes()))
                .collect(),
            entry_seq: keys.entry_seq,
        }
    }

    fn documents(&self) -> Option<Chain> {
        let decode = |text: &String| BASE64.decode(text.as_bytes()).ok();
        let rotations: Vec<Vec<u8>> = self.rotations.iter().map(decode).collect::<Option<_>>()?;
        let rotations = rotations.iter().map(Vec::as_slice);
        Chain::read(&decode(&self.inception)?, rotations).ok()
    }

    /// The keys that `seeds` and these documents make; none when they do not belong together.
    pub(super) fn keys(&self, seeds: Seeds) -> Option<Keys> {
        Keys::join(seeds, self.documents()?, self.entry_seq).ok()
    }
}

impl KeyFile {
    /// Encrypts the secrets of `keys`. Takes as long as `cost` says.
    pub fn seal(keys: &Keys, passphrase: Option<&str>, cost: KdfCost, rng: &mut Rng) -> KeyFile {
        let identity = keys.identity();
        let salt = salt(rng);
        let mut file = KeyFile {
            format: FORMAT.to_owned(),
            version: VERSION,
            peer_id: identity.peer_id.to_string(),
            entity_id: identity.entity_id.to_string(),
            passphrase: passphrase.is_some(),
            kdf: cost,
            salt: BASE64.encode(&salt),
            chain: Some(StoredChain::of(keys)),
            ciphertext: String::new(),
        };
        let key = derive(passphrase.unwrap_or(""), &salt, cost).expect("our own costs are valid");
        file.ciphertext = BASE64.encode(&key.seal(&file.aad(), &*keys.seeds().to_bytes()));
        file
    }

    /// The same file, with the same passphrase and cost, around other keys. Takes as long as its
    /// cost says.
    pub fn reseal(&self, keys: &Keys, passphrase: Option<&str>, rng: &mut Rng) -> KeyFile {
        let passphrase = passphrase.filter(|_| self.passphrase);
        KeyFile::seal(keys, passphrase, self.kdf, rng)
    }

    /// Reads the JSON; nothing is decrypted yet.
    ///
    /// # Errors
    /// [`KeyFileError::Damaged`] or [`KeyFileError::Newer`].
    pub fn parse(json: &str) -> Result<KeyFile, KeyFileError> {
        let damaged = |what: &str| KeyFileError::Damaged(what.to_owned());
        let value: serde_json::Value =
            serde_json::from_str(json).map_err(|error| damaged(&broken(&error)))?;
        if value.get("format").and_then(|format| format.as_str()) != Some(FORMAT) {
            return Err(damaged("it is not a Junto key file"));
        }
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if (1..=u64::from(VERSION)).contains(&version) => {}
            Some(version) if version > u64::from(VERSION) => {
                return Err(KeyFileError::Newer(
                    u32::try_from(version).unwrap_or(u32::MAX),
                ));
            }
            _ => return Err(damaged("it names no version")),
        }
        let file: KeyFile = serde_json::from_value(value)
            .map_err(|_| damaged("its parts are not those of its version"))?;
        if !file.kdf.is_sane() {
            return Err(damaged("it asks for an absurd amount of work"));
        }
        if file.chain.is_some() != (file.version >= 2) {
            return Err(damaged("it has not the parts of its version"));
        }
        file.peer_id
            .parse::<PeerId>()
            .map_err(|_| damaged("its peer id is none"))?;
        file.entity_id
            .parse::<EntityId>()
            .map_err(|_| damaged("its entity id is none"))?;
        Ok(file)
    }

    /// The documents of the keys, which need no passphrase; none in the first version. Whether
    /// they are the keys' own is known once the file was opened.
    pub fn chain(&self) -> Option<Chain> {
        self.chain.as_ref()?.documents()
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
    pub fn open(&self, passphrase: Option<&str>) -> Result<Keys, KeyFileError> {
        let damaged = |what: &str| KeyFileError::Damaged(what.to_owned());
        let salt = BASE64
            .decode(self.salt.as_bytes())
            .map_err(|_| damaged("its salt is cut"))?;
        let ciphertext = BASE64
            .decode(self.ciphertext.as_bytes())
            .map_err(|_| damaged("its ciphertext is cut"))?;
        let key = derive(passphrase.unwrap_or(""), &salt, self.kdf)
            .ok_or_else(|| damaged("its salt is cut"))?;
        let plaintext: Zeroizing<Vec<u8>> = key
            .open(&self.aad(), &ciphertext)
            .map_err(|_| KeyFileError::WrongPassphrase)?;
        let seeds = Seeds::from_bytes(&plaintext)
            .ok_or_else(|| damaged("its content has another length"))?;
        let keys = match &self.chain {
            None => Keys::found(seeds),
            Some(chain) => chain
                .keys(seeds)
                .ok_or_else(|| damaged("its keys and its documents do not belong together"))?,
        };
        let identity = keys.identity();
        if identity.peer_id.to_string() != self.peer_id
            || identity.entity_id.to_string() != self.entity_id
        {
            return Err(damaged("it names another node than its keys do"));
        }
        Ok(keys)
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
        let mut aad = format!(
            "{format} {version} {peer_id} {entity_id} {passphrase} {memory_kib} {passes} {salt}"
        );
        if let Some(chain) = &self.chain {
            let rotations = chain.rotations.join(",");
            aad += &format!(" {} {rotations} {}", chain.inception, chain.entry_seq);
        }
        aad.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const CHEAP: KdfCost = KdfCost {
        memory_kib: 8,
        passes: 1,
    };

    fn sealed(passphrase: Option<&str>) -> (Keys, KeyFile) {
        let mut rng = Rng::seed_from_u64(1);
        let keys = Keys::found(Seeds::generate(&mut rng));
        let file = KeyFile::seal(&keys, passphrase, CHEAP, &mut rng);
        (keys, file)
    }

    fn same(a: &Keys, b: &Keys) {
        assert_eq!(*a.seeds().to_bytes(), *b.seeds().to_bytes());
        assert_eq!((a.chain(), a.entry_seq), (b.chain(), b.entry_seq));
    }

    #[test]
    fn opens_with_its_passphrase_only() {
        let (keys, file) = sealed(Some("correct horse"));
        let read = KeyFile::parse(&file.to_json()).expect("our own file");
        let opened = read
            .open(Some("correct horse"))
            .expect("the right passphrase");
        same(&opened, &keys);
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
        for (bent, what) in [
            (
                json[..json.len() / 2].to_owned(),
                "ends in the middle, at line",
            ),
            (json.replacen(':', ";", 2), "no JSON from line 2, column"),
            (json.replace("\"salt\"", "\"pepper\""), "its parts"),
        ] {
            let error = KeyFile::parse(&bent).expect_err("it is bent").to_string();
            assert!(error.contains(what) && error.contains("restore"), "{error}");
        }
        let newer = json.replace("\"version\": 2", "\"version\": 3");
        assert_eq!(KeyFile::parse(&newer).err(), Some(KeyFileError::Newer(3)));
        let greedy = json.replace("\"memory_kib\": 8", "\"memory_kib\": 4000000000");
        assert!(matches!(
            KeyFile::parse(&greedy),
            Err(KeyFileError::Damaged(_))
        ));
    }

    #[test]
    fn an_altered_clear_part_does_not_open() {
        let (_, file) = sealed(None);
        let other = Keys::found(Seeds::generate(&mut Rng::seed_from_u64(2))).identity();
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
        let (keys, file) = sealed(None);
        let json = file.to_json();
        let Seeds {
            entity,
            next,
            transport,
        } = keys.seeds();
        for seed in [entity, next, transport] {
            assert!(!json.contains(BASE64.encode(seed).trim_end_matches('=')));
        }
    }

    #[test]
    fn a_rotated_key_is_kept_with_its_documents_and_an_altered_one_does_not_open() {
        let mut rng = Rng::seed_from_u64(3);
        let (first, file) = sealed(Some("p"));
        let mut keys = first.rotate(&mut rng).expect("room for more");
        keys.entry_seq = 17;
        let file = file.reseal(&keys, Some("p"), &mut rng);
        let read = KeyFile::parse(&file.to_json()).expect("our own file");
        assert_eq!(read.entity_id, first.chain().entity_id().to_string());
        same(&read.open(Some("p")).expect("the passphrase"), &keys);
        let mut altered = read.clone();
        if let Some(chain) = &mut altered.chain {
            chain.entry_seq = 18;
        }
        assert_eq!(
            altered.open(Some("p")).err(),
            Some(KeyFileError::WrongPassphrase)
        );
    }

    /// Written by the first release.
    const VERSION_1: &str = r#"{
        "format": "junto-identity", "version": 1,
        "peer_id": "12D3KooWM6EL9ZQ63hopiWahMDhQDFG7qNxUp7nMtVEZR41dUeYe",
        "entity_id": "ent1m7d6jor6ednq6hs6sxccsij2sq7istn3dz2v5am576kq2l3hgnea",
        "passphrase": false,
        "kdf": { "memory_kib": 8, "passes": 1 },
        "salt": "4ZqL0luV3RGxC0uv0j1xRw==",
        "ciphertext": "eiZJBP7Et3sODPtdiuVecu1rgo+mpWROiG05B/o2AbYQQW3CeWMPnGxkK0nEFWv5n2wp7QQpmcbPKUN4pUpC3mo4XSpwk3b0rhDDChlGryyXaRaoZZELg/LGQPC9LnVlbgPqhEgKgMYnLInn9/s/NQ=="
    }"#;

    #[test]
    fn a_file_of_the_first_version_opens_and_becomes_one_of_the_second() {
        let file = KeyFile::parse(VERSION_1).expect("the first version");
        let keys = file.open(None).expect("it has no passphrase");
        assert_eq!(keys.identity().entity_id.to_string(), file.entity_id);
        assert!(keys.chain().rotations().is_empty());
        let again = file.reseal(&keys, None, &mut Rng::seed_from_u64(1));
        assert!(again.to_json().contains("\"version\": 2"));
        same(&again.open(None).expect("no passphrase"), &keys);
        let mixed = VERSION_1.replace("\"version\": 1", "\"version\": 2");
        assert!(matches!(
            KeyFile::parse(&mixed),
            Err(KeyFileError::Damaged(_))
        ));
    }
}
