//! `key`: rotate the node's key, keep it, and compare fingerprints.

use clap::{Args, Subcommand};

use super::backup;
use super::client::{block_on, connect};
use super::exit::{Exit, Failure, Outcome};
use super::init::{PassphraseArgs, describe};
use super::output;
use crate::config::{
    Config, Flags, Home, TerminalPrompt, passphrase_of, read_key_file, rotate_stopped,
};
use crate::crypto::KeyFile;
use crate::proto::node::FingerprintView;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Put the next key into use; the entity, the peer id and the tasks stay.
    Rotate(RotateArgs),
    /// Write everything that makes this node who it is into one encrypted file.
    Backup(backup::BackupArgs),
    /// Make the node of a backup again, in a home of its own.
    Restore(backup::RestoreArgs),
    /// Numbers that two people can read to each other: a peer's, or this node's own.
    Fingerprint(FingerprintArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  junto key rotate --passphrase-file ~/.junto-passphrase")]
pub(super) struct RotateArgs {
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  junto key fingerprint          this node's own; needs no running node\n  \
                  junto key fingerprint alice    a peer's, as this node knows it"
)]
pub(super) struct FingerprintArgs {
    /// A unique name, a peer id or an entity id, or a part of either.
    peer: Option<String>,
}

pub(super) fn run(home: &Home, command: KeyCommand, json: bool) -> Outcome {
    match command {
        KeyCommand::Rotate(args) => rotate(home, &args, json),
        KeyCommand::Backup(args) => backup::backup(home, &args, json),
        KeyCommand::Restore(args) => backup::restore_backup(home, &args, json),
        KeyCommand::Fingerprint(args) => fingerprint(home, args.peer.as_deref(), json),
    }
}

/// A running node rotates its key itself, so that it uses it from then on; the next key is in its
/// key file only, for which it needs the passphrase once more.
fn rotate(home: &Home, args: &RotateArgs, json: bool) -> Outcome {
    let config = Config::load(home, Flags::default())?;
    let options = args.passphrase.options(&config)?;
    let view = if home.running()?.is_some() {
        let passphrase = passphrase_of(home, &options, &mut TerminalPrompt)?;
        let client = connect(home)?;
        let mut view = None;
        block_on(async {
            let passphrase = passphrase.as_ref().map(|text| text.as_str());
            view = Some(client.rotate_key(passphrase).await?);
            Ok(Exit::Done)
        })?;
        view.ok_or_else(|| Failure::failed("the node did not answer"))?
    } else {
        let _lock = home.lock()?;
        rotate_stopped(home, &options, &mut TerminalPrompt)?;
        let file = read_key_file(home)?.ok_or_else(|| Failure::failed("the new key is gone"))?;
        stored_view(home, &file)?
    };
    eprintln!("The node has a new key; it is the same entity as before.");
    eprintln!("Backups made until now hold the old key: make a new one with `junto key backup`.");
    show(&view, json)
}

fn fingerprint(home: &Home, peer: Option<&str>, json: bool) -> Outcome {
    let file = read_key_file(home)?.ok_or_else(|| Failure::no_identity(home.path()))?;
    if peer.is_none() && home.running()?.is_none() {
        return show(&stored_view(home, &file)?, json);
    }
    let client = connect(home)?;
    block_on(async {
        let view = client.fingerprint(peer).await?;
        show(&view, json)
    })
}

/// What the key file says of itself, without its passphrase.
fn stored_view(home: &Home, file: &KeyFile) -> Result<FingerprintView, Failure> {
    let node = describe(home, file)?;
    let chain = file.chain();
    Ok(FingerprintView {
        name: node.name,
        peer_id: node.peer_id,
        entity_id: node.entity_id,
        fingerprint: node.fingerprint,
        key: chain.as_ref().map(|chain| chain.key().to_string()),
        rotations: chain.map_or(0, |chain| chain.rotations().len()),
    })
}

fn show(view: &FingerprintView, json: bool) -> Outcome {
    if json {
        output::json(view)?;
        return Ok(Exit::Done);
    }
    output::line(&format!("name         {}", view.name))?;
    output::line(&format!("peer id      {}", view.peer_id))?;
    output::line(&format!("entity id    {}", view.entity_id))?;
    output::line(&format!("fingerprint  {}", view.fingerprint))?;
    if let Some(key) = &view.key {
        output::line(&format!("key          {key}"))?;
    }
    output::line(&format!("rotations    {}", view.rotations))?;
    Ok(Exit::Done)
}
