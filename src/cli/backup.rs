//! `key backup` and `key restore`: everything that makes the node who it is, in one file.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;

use super::client::{block_on, connect};
use super::exit::{Exit, Failure, Outcome};
use super::init::{PassphraseArgs, describe, show};
use super::output;
use crate::config::{
    Config, FirstRun, Flags, Home, PassphraseOptions, RestoreError, TerminalPrompt,
    backup_passphrase, is_occupied, new_backup_passphrase, open_backup, open_keys, read_backup,
    read_key_file, restore, restored_key_file, write_backup,
};
use crate::crypto::{Backup, BackupContent, KdfCost, Keys, Rng};
use crate::store::{SledStore, Store};
use crate::types::{Keyspace, Wall};
use crate::wire::SignedEntry;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  junto key backup alice.backup --backup-passphrase-file ~/.backup-passphrase"
)]
pub(super) struct BackupArgs {
    /// The file to make.
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    #[command(flatten)]
    backup: BackupPassphraseArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  junto key restore alice.backup --home ./alice")]
pub(super) struct RestoreArgs {
    /// The file that `junto key backup` made.
    file: PathBuf,
    /// Restore although a node lives in the home; its key and its store are set aside there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    #[command(flatten)]
    backup: BackupPassphraseArgs,
}

/// Where the backup's own passphrase comes from.
#[derive(Debug, Clone, Args)]
struct BackupPassphraseArgs {
    /// Read the backup's passphrase from a file (also JUNTO_BACKUP_PASSPHRASE_FILE,
    /// JUNTO_BACKUP_PASSPHRASE).
    #[arg(long, value_name = "FILE")]
    backup_passphrase_file: Option<PathBuf>,
}

impl BackupPassphraseArgs {
    fn options(&self) -> Result<PassphraseOptions, Failure> {
        Ok(PassphraseOptions::for_backup(
            self.backup_passphrase_file.clone(),
        )?)
    }
}

pub(super) fn backup(home: &Home, args: &BackupArgs, json: bool) -> Outcome {
    if args.file.exists() {
        return Err(RestoreError::Exists(args.file.display().to_string()).into());
    }
    let config = Config::load(home, Flags::default())?;
    let key_file = read_key_file(home)?.ok_or_else(|| Failure::no_identity(home.path()))?;
    let mut keys = open_keys(
        home,
        &args.passphrase.options(&config)?,
        &mut TerminalPrompt,
    )?;
    keys.entry_seq = keys.entry_seq.max(entry_seq(home, &keys)?);
    let passphrase = new_backup_passphrase(&args.backup.options()?, &mut TerminalPrompt)?;
    let name = describe(home, &key_file)?.name;
    let content = BackupContent { keys, name };
    let mut rng = Rng::from_rng(&mut rand::rng());
    let sealed = working("Encrypting the backup", || {
        Backup::seal(
            &content,
            now_rfc3339(),
            &passphrase,
            KdfCost::BACKUP,
            &mut rng,
        )
    });
    write_backup(&args.file, &sealed)?;
    eprintln!(
        "{} holds this node's keys, and nothing else of it: tasks and settings are not in it.",
        args.file.display()
    );
    eprintln!("Make a new one after every `junto key rotate`.");
    if json {
        output::json(&serde_json::json!({
            "file": args.file.display().to_string(),
            "entity_id": sealed.entity_id,
            "peer_id": sealed.peer_id,
            "created": sealed.created,
        }))?;
    }
    Ok(Exit::Done)
}

pub(super) fn restore_backup(home: &Home, args: &RestoreArgs, json: bool) -> Outcome {
    let backup = read_backup(&args.file)?;
    home.create()?;
    let _lock = home.lock()?;
    if is_occupied(home) && !args.force {
        return Err(RestoreError::Occupied(home.path().display().to_string()).into());
    }
    let passphrase = backup_passphrase(&args.backup.options()?, &mut TerminalPrompt)?;
    let content = working("Opening the backup", || {
        open_backup(&args.file, &backup, &passphrase)
    })?;
    let first = FirstRun {
        name: content.name.parse().ok(),
        keychain: args.passphrase.keychain,
        ..FirstRun::default()
    };
    let written = Config::write_new(&home.config_file(), &first)?;
    let config = Config::load(home, Flags::default())?;
    let options = args.passphrase.options(&config)?;
    let file = restored_key_file(&content, &options, &mut TerminalPrompt)?;
    args.passphrase.advise(home, &config);
    let aside = restore(home, &file, args.force)?;
    if let Some(aside) = aside {
        eprintln!("What was here is in {}.", aside.display());
    }
    if !written {
        eprintln!(
            "The settings in {} stay as they are.",
            home.config_file().display()
        );
    }
    eprintln!(
        "{} holds the node again. Start it with `junto up`, and never let two copies run.",
        home.path().display()
    );
    show(home, &file, json)
}

/// The number of the newest registry entry that this home knows to be its own: the running node's
/// word, or what the store has.
fn entry_seq(home: &Home, keys: &Keys) -> Result<u64, Failure> {
    let entity = keys.chain().entity_id();
    if home.running()?.is_some() {
        let client = connect(home)?;
        let mut seq = 0;
        block_on(async {
            let entity = entity.to_string();
            let entries = client.registry(None).await?;
            let own = entries.iter().find(|entry| entry.entity_id == entity);
            seq = own.map_or(0, |entry| entry.seq);
            Ok(Exit::Done)
        })?;
        return Ok(seq);
    }
    if !home.store_dir().exists() {
        return Ok(0);
    }
    let _lock = home.lock()?;
    let rows = SledStore::open(&home.store_dir())?.load()?;
    let own = rows
        .iter()
        .filter(|row| row.space == Keyspace::Entry && row.key == entity.0)
        .filter_map(|row| SignedEntry::parse(&row.value).ok())
        .find(|(body, _)| body.key == keys.chain().key());
    Ok(own.map_or(0, |(body, _)| body.seq))
}

fn now_rfc3339() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    });
    Wall(ms).to_rfc3339()
}

/// Does slow work, while a person who watches sees that it goes on.
fn working<T>(what: &'static str, work: impl FnOnce() -> T) -> T {
    if !output::watched() {
        return work();
    }
    let spinner = ProgressBar::new_spinner().with_message(what);
    let style = ProgressStyle::with_template("{spinner} {msg}… {elapsed}");
    spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    spinner.enable_steady_tick(Duration::from_millis(100));
    let done = work();
    spinner.finish_and_clear();
    done
}
