//! A backup: everything that makes a node who it is, in one encrypted file.
//!
//! JSON, so that a person sees what it is and whose. All secrets are in `sealed`, under a
//! passphrase of the backup's own; everything else is authenticated with them. The checksum needs
//! no passphrase: it tells a damaged file from a wrong passphrase, and protects from nobody.
//! Reading and writing the file itself is the caller's.

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Rng;
use super::hash::hash;
use super::identity::{Keys, Seeds};
use super::keyfile::StoredChain;
use super::passphrase::{KdfCost, derive, salt};

const FORMAT: &str = "junto-backup";
const VERSION: u32 = 1;
const SEEDS_BYTES: usize = 96;

/// Why a backup could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// Something else.
    #[error("it is not a backup of a Junto node")]
    NotABackup,
    /// Its end is missing.
    #[error("the backup was cut short: copy it again, or take another one")]
    Cut,
    /// Its bytes are not those that were written.
    #[error("the backup was altered or is damaged ({0}): take another copy of it")]
    Altered(&'static str),
    /// Written by a newer Junto.
    #[error("the backup has version {0}, this program reads up to {VERSION}: update Junto")]
    Newer(u64),
    /// The passphrase does not open it.
    #[error("the passphrase does not open the backup: it has one of its own, not the key file's")]
    WrongPassphrase,
}

/// What is in a backup.
#[derive(Debug, Clone)]
pub struct BackupContent {
    pub keys: Keys,
    pub name: String,
}

/// What of it is no secret, but sealed as well.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    name: String,
    chain: StoredChain,
}

/// The file's content.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    format: String,
    version: u32,
    /// Whose it is; checked against the secrets at opening.
    pub entity_id: String,
    pub peer_id: String,
    /// RFC 3339.
    pub created: String,
    kdf: KdfCost,
    salt: String,
    sealed: String,
    checksum: String,
}

impl Backup {
    /// Encrypts `content`. Takes as long as `cost` says.
    pub fn seal(
        content: &BackupContent,
        created: String,
        passphrase: &str,
        cost: KdfCost,
        rng: &mut Rng,
    ) -> Backup {
        let identity = content.keys.identity();
        let salt = salt(rng);
        let mut backup = Backup {
            format: FORMAT.to_owned(),
            version: VERSION,
            entity_id: identity.entity_id.to_string(),
            peer_id: identity.peer_id.to_string(),
            created,
            kdf: cost,
            salt: BASE64.encode(&salt),
            sealed: String::new(),
            checksum: String::new(),
        };
        let public = Sealed {
            name: content.name.clone(),
            chain: StoredChain::of(&content.keys),
        };
        let public = serde_json::to_vec(&public).expect("strings and numbers only");
        let seeds = content.keys.seeds().to_bytes();
        let mut plain = Zeroizing::new(Vec::with_capacity(SEEDS_BYTES + public.len()));
        plain.extend_from_slice(&*seeds);
        plain.extend_from_slice(&public);
        let key = derive(passphrase, &salt, cost).expect("our own costs are valid");
        backup.sealed = BASE64.encode(&key.seal(&backup.header(), &plain));
        backup.checksum = backup.sum();
        backup
    }

    /// Reads the JSON and checks its sum; nothing is decrypted yet.
    ///
    /// # Errors
    /// [`BackupError`], all but a wrong passphrase.
    pub fn parse(bytes: &[u8]) -> Result<Backup, BackupError> {
        let text = String::from_utf8_lossy(bytes);
        let begins = text.trim_start().chars().take(64).collect::<String>();
        if !begins.starts_with('{') || !begins.contains(FORMAT) {
            return Err(BackupError::NotABackup);
        }
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| {
            if error.is_eof() {
                BackupError::Cut
            } else {
                BackupError::Altered("it is not JSON any more")
            }
        })?;
        if value.get("format").and_then(serde_json::Value::as_str) != Some(FORMAT) {
            return Err(BackupError::NotABackup);
        }
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) if version > u64::from(VERSION) => {
                return Err(BackupError::Newer(version));
            }
            _ => return Err(BackupError::Altered("it names no version")),
        }
        let backup: Backup = serde_json::from_value(value)
            .map_err(|_| BackupError::Altered("its parts are not those of its version"))?;
        if backup.checksum != backup.sum() {
            return Err(BackupError::Altered("its checksum does not hold"));
        }
        if !backup.kdf.is_sane() {
            return Err(BackupError::Altered("it asks for an absurd amount of work"));
        }
        Ok(backup)
    }

    /// The JSON to store.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and numbers only");
        text.push('\n');
        text
    }

    /// Decrypts it. Takes as long as the backup's cost says.
    ///
    /// # Errors
    /// [`BackupError::WrongPassphrase`], or [`BackupError::Altered`] where the form is broken.
    pub fn open(&self, passphrase: &str) -> Result<BackupContent, BackupError> {
        let decode = |text: &str| BASE64.decode(text.as_bytes()).ok();
        let salt = decode(&self.salt).ok_or(BackupError::Altered("its salt is none"))?;
        let sealed = decode(&self.sealed).ok_or(BackupError::Altered("its content is none"))?;
        let key = derive(passphrase, &salt, self.kdf)
            .ok_or(BackupError::Altered("its salt has another length"))?;
        let plain = key
            .open(&self.header(), &sealed)
            .map_err(|_| BackupError::WrongPassphrase)?;
        let foreign = BackupError::Altered("its parts do not belong together");
        let (seeds, public) = plain
            .split_at_checked(SEEDS_BYTES)
            .ok_or_else(|| foreign.clone())?;
        let public: Sealed = serde_json::from_slice(public).map_err(|_| foreign.clone())?;
        let keys = Seeds::from_bytes(seeds)
            .and_then(|seeds| public.chain.keys(seeds))
            .ok_or_else(|| foreign.clone())?;
        let identity = keys.identity();
        let names_it = identity.entity_id.to_string() == self.entity_id
            && identity.peer_id.to_string() == self.peer_id;
        if !names_it {
            return Err(foreign);
        }
        Ok(BackupContent {
            keys,
            name: public.name,
        })
    }

    /// What is authenticated with the secrets.
    fn header(&self) -> Vec<u8> {
        let KdfCost { memory_kib, passes } = self.kdf;
        format!(
            "{} {} {} {} {} {memory_kib} {passes} {}",
            self.format, self.version, self.entity_id, self.peer_id, self.created, self.salt
        )
        .into_bytes()
    }

    fn sum(&self) -> String {
        HEXLOWER.encode(&hash(
            "backup sum",
            &[&self.header(), self.sealed.as_bytes()],
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;
    use crate::crypto::Rng;

    const CHEAP: KdfCost = KdfCost {
        memory_kib: 8,
        passes: 1,
    };

    fn content() -> BackupContent {
        let mut rng = Rng::seed_from_u64(1);
        let mut keys = Keys::found(Seeds::generate(&mut rng))
            .rotate(&mut rng)
            .expect("room");
        keys.entry_seq = 41;
        BackupContent {
            keys,
            name: "alice".into(),
        }
    }

    fn sealed() -> Backup {
        let created = "2030-01-01T00:00:00Z".to_owned();
        Backup::seal(
            &content(),
            created,
            "right",
            CHEAP,
            &mut Rng::seed_from_u64(2),
        )
    }

    #[test]
    fn a_backup_gives_the_same_node_back_to_its_passphrase_only() {
        let backup = Backup::parse(sealed().to_json().as_bytes()).expect("our own");
        let opened = backup.open("right").expect("its passphrase");
        let made = content();
        assert_eq!(
            *opened.keys.seeds().to_bytes(),
            *made.keys.seeds().to_bytes()
        );
        assert_eq!(opened.keys.chain(), made.keys.chain());
        assert_eq!((opened.keys.entry_seq, opened.name.as_str()), (41, "alice"));
        assert_eq!(
            backup.open("wrong").err(),
            Some(BackupError::WrongPassphrase)
        );
    }

    #[test]
    fn every_cut_is_told() {
        let json = sealed().to_json();
        let json = json.trim_end();
        for end in 0..json.len() {
            let error = Backup::parse(&json.as_bytes()[..end]).expect_err("cut");
            let expected = match end < 40 {
                true => matches!(error, BackupError::NotABackup | BackupError::Cut),
                false => error == BackupError::Cut,
            };
            assert!(expected, "{end}: {error:?}");
        }
    }

    #[test]
    fn other_files_and_newer_ones_are_told() {
        for other in [
            "",
            "hello",
            "{}",
            "{\"format\": \"junto-identity\"}",
            "\u{0}",
        ] {
            assert_eq!(
                Backup::parse(other.as_bytes()).err(),
                Some(BackupError::NotABackup)
            );
        }
        let newer = sealed()
            .to_json()
            .replace("\"version\": 1", "\"version\": 7");
        assert_eq!(
            Backup::parse(newer.as_bytes()).err(),
            Some(BackupError::Newer(7))
        );
    }

    #[test]
    fn an_absurd_cost_is_refused_before_it_is_paid() {
        let mut backup = sealed();
        backup.kdf.memory_kib = 4_000_000_000;
        backup.checksum = backup.sum();
        let error = Backup::parse(backup.to_json().as_bytes()).expect_err("absurd");
        assert!(matches!(error, BackupError::Altered(_)));
        assert!(matches!(backup.open("right"), Err(BackupError::Altered(_))));
    }

    #[test]
    fn whoever_makes_the_sum_fit_does_not_get_it_opened() {
        let mut backup = sealed();
        backup.created = "2031-01-01T00:00:00Z".to_owned();
        backup.checksum = backup.sum();
        let read = Backup::parse(backup.to_json().as_bytes()).expect("the sum fits");
        assert_eq!(read.open("right").err(), Some(BackupError::WrongPassphrase));
    }

    proptest! {
        #[test]
        fn an_altered_byte_is_never_opened(at in 0usize..10_000, bit in 0u8..8) {
            let mut bytes = sealed().to_json().trim_end().as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            // White space between the parts is nobody's.
            match Backup::parse(&bytes) {
                Err(BackupError::WrongPassphrase) => prop_assert!(false, "no passphrase was given"),
                Err(_) => {}
                Ok(read) => prop_assert_eq!(read.to_json(), sealed().to_json()),
            }
        }
    }
}
