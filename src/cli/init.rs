//! `init` and `id`: a home without a running node.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::exit::{Exit, Failure, Outcome};
use super::output;
use crate::config::{
    Config, FirstRun, Flags, Home, IdentityError, NodeFile, PassphraseMode, PassphraseOptions,
    TerminalPrompt, load_or_create, read_key_file,
};
use crate::crypto::{Identity, KeyFile};
use crate::types::{EntityId, NetworkName, NodeName, PeerId};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  junto init --name alice --passphrase-file ~/.junto-passphrase\n  \
                  junto init --keychain"
)]
pub(super) struct InitArgs {
    /// What people call this node.
    #[arg(long)]
    name: Option<NodeName>,
    /// The network the node belongs to.
    #[arg(long, value_name = "NAME")]
    network: Option<NetworkName>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Where the key's passphrase comes from.
#[derive(Debug, Clone, Args)]
pub(super) struct PassphraseArgs {
    /// Do not protect a new key by a passphrase.
    #[arg(long, conflicts_with = "passphrase_file")]
    pub(super) no_passphrase: bool,
    /// Read the key's passphrase from a file (also JUNTO_PASSPHRASE_FILE, JUNTO_PASSPHRASE).
    #[arg(long, value_name = "FILE")]
    pub(super) passphrase_file: Option<PathBuf>,
    /// Keep the key's passphrase in the system's keychain; that of a new key is random unless one
    /// is given.
    #[arg(long, conflicts_with = "no_passphrase")]
    pub(super) keychain: bool,
}

impl PassphraseArgs {
    pub(super) fn options(&self, config: &Config) -> Result<PassphraseOptions, IdentityError> {
        let file = self.passphrase_file.clone();
        PassphraseOptions::new(self.no_passphrase, file, self.keychain, config)
    }

    /// Says how `--keychain` stays, where the settings were there before it.
    pub(super) fn advise(&self, home: &Home, config: &Config) {
        if self.keychain && config.identity.passphrase != PassphraseMode::Keychain {
            eprintln!(
                "Write passphrase = \"keychain\" into the section [identity] of {}, or give \
                 --keychain every time.",
                home.config_file().display()
            );
        }
    }
}

/// Makes what is missing of a home; what is there stays.
pub(super) fn init(home: &Home, args: InitArgs, json: bool) -> Outcome {
    home.create()?;
    if let Some(file) = read_key_file(home)? {
        if args.name.is_some() || args.network.is_some() {
            let text = format!("{} holds a node already", home.path().display());
            return Err(Failure::failed(text).hint(format!(
                "change its name or network in {}",
                home.config_file().display()
            )));
        }
        eprintln!(
            "{} holds a node already; nothing was changed.",
            home.path().display()
        );
        return show(home, &file, json);
    }
    // Held while the key is made, so that a node does not start with another one meanwhile.
    let _lock = home.lock()?;
    let config_file = home.config_file();
    let keychain = args.passphrase.keychain;
    let named = args.name.is_some() || args.network.is_some() || keychain;
    let first = FirstRun {
        name: args.name.clone(),
        network: args.network.clone(),
        keychain,
    };
    let written = Config::write_new(&config_file, &first)?;
    if named && !written {
        let text = format!("{} is there already", config_file.display());
        return Err(Failure::failed(text)
            .hint("write the name, the network and the passphrase's place into it"));
    }
    let config = Config::load(home, Flags::default())?;
    load_or_create(
        home,
        &args.passphrase.options(&config)?,
        &mut TerminalPrompt,
    )?;
    eprintln!(
        "A new node lives in {}. Start it with `junto up`.",
        home.path().display()
    );
    let file = read_key_file(home)?.ok_or_else(|| Failure::failed("the new key is gone"))?;
    show(home, &file, json)
}

/// Says who the node of this home is.
pub(super) fn id(home: &Home, json: bool) -> Outcome {
    let file = read_key_file(home)?.ok_or_else(|| Failure::no_identity(home.path()))?;
    show(home, &file, json)
}

pub(super) fn show(home: &Home, file: &KeyFile, json: bool) -> Outcome {
    let node = describe(home, file)?;
    let passphrase = Passphrase::of(home, file);
    if json {
        output::json(&Shown {
            node: &node,
            key_file: home.key_file().display().to_string(),
            passphrase,
        })?;
        return Ok(Exit::Done);
    }
    output::line(&format!("name         {}", node.name))?;
    output::line(&format!("peer id      {}", node.peer_id))?;
    output::line(&format!("entity id    {}", node.entity_id))?;
    output::line(&format!("fingerprint  {}", node.fingerprint))?;
    output::line(&format!(
        "key kept     {}, {}",
        home.key_file().display(),
        passphrase.words()
    ))?;
    for addr in &node.listen {
        output::line(&format!("listening    {addr}"))?;
    }
    if let Some(api) = &node.api {
        output::line(&format!("api          http://{api}"))?;
    }
    Ok(Exit::Done)
}

/// The document of `id --json`.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    node: &'a NodeFile,
    key_file: String,
    passphrase: Passphrase,
}

/// Where the passphrase of a key file is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Passphrase {
    None,
    /// Not by us: it is given at every start.
    Given,
    /// By the system's keychain, the settings say.
    Keychain,
}

impl Passphrase {
    pub(super) fn of(home: &Home, file: &KeyFile) -> Passphrase {
        let mode = || Config::load(home, Flags::default()).map(|it| it.identity.passphrase);
        match file.passphrase {
            false => Passphrase::None,
            true if mode().is_ok_and(|mode| mode == PassphraseMode::Keychain) => {
                Passphrase::Keychain
            }
            true => Passphrase::Given,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Passphrase::None => "without a passphrase",
            Passphrase::Given => "encrypted by a passphrase that is given at every start",
            Passphrase::Keychain => "encrypted by a passphrase in the system's keychain",
        }
    }
}

/// The running node's own words, or what the files say.
pub(super) fn describe(home: &Home, file: &KeyFile) -> Result<NodeFile, Failure> {
    if let Some(node) = home.running()? {
        return Ok(NodeFile { pid: None, ..node });
    }
    let damaged = || Failure::failed(format!("{} is damaged", home.key_file().display()));
    let peer: PeerId = file.peer_id.parse().map_err(|_| damaged())?;
    let entity: EntityId = file.entity_id.parse().map_err(|_| damaged())?;
    // A broken configuration must not hide who the node is.
    let config = Config::load(home, Flags::default()).unwrap_or_else(|error| {
        tracing::warn!("{error}");
        Config::default()
    });
    Ok(NodeFile {
        pid: None,
        name: config.node_name(&peer).to_string(),
        peer_id: peer.to_string(),
        entity_id: entity.to_string(),
        fingerprint: Identity::fingerprint(&entity),
        listen: Vec::new(),
        api: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(name: Option<&str>) -> InitArgs {
        InitArgs {
            name: name.map(|name| name.parse().expect("a name")),
            network: None,
            passphrase: PassphraseArgs {
                no_passphrase: true,
                passphrase_file: None,
                keychain: false,
            },
        }
    }

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a folder");
        let home = Home::locate(Some(&dir.path().join("h"))).expect("a path");
        (dir, home)
    }

    #[test]
    fn init_makes_everything_once_and_id_tells_it() {
        let (_dir, home) = home();
        assert_eq!(
            id(&home, false).expect_err("nothing yet").exit,
            Exit::Failed
        );
        assert_eq!(init(&home, args(Some("alice")), true), Ok(Exit::Done));
        let file = read_key_file(&home).expect("readable").expect("there");
        let node = describe(&home, &file).expect("described");
        assert_eq!(
            (node.name.as_str(), node.listen.len(), &node.api),
            ("alice", 0, &None)
        );
        assert_eq!(node.peer_id, file.peer_id);
        assert_eq!(
            init(&home, args(None), false),
            Ok(Exit::Done),
            "again is no error"
        );
        assert_eq!(
            init(&home, args(Some("bob")), false)
                .expect_err("too late")
                .exit,
            Exit::Failed
        );
        let again = read_key_file(&home).expect("readable").expect("there");
        assert_eq!(again.peer_id, file.peer_id);
    }

    #[test]
    fn who_the_node_is_does_not_depend_on_its_settings() {
        let (_dir, home) = home();
        init(&home, args(None), true).expect("made");
        std::fs::write(home.config_file(), "nonsense = [").expect("written");
        assert_eq!(id(&home, true), Ok(Exit::Done));
    }
}
