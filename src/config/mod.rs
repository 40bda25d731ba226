//! L5: what a node is told: its home folder, `junto.toml` and the layers above it, its identity.
//!
//! Flags win over the environment (`JUNTO_SECTION__KEY`), that over `junto.toml`, that over the
//! defaults. Every error names the key, who set it, and what is allowed. Times are in
//! milliseconds once read. Nothing here is secret: passphrases never pass through.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::crypto::Identity;
use crate::proto::node::NodeConfig;
use crate::runtime::{FilesConfig, RuntimeConfig};
use crate::types::{Capability, NodeName, PeerId};
use crate::wire::Offer;

mod atomic;
mod backup;
mod check;
mod duration;
mod error;
mod home;
mod identity;
mod keychain;
mod layers;
mod sections;
mod security;
mod size;
mod template;
mod value;

pub use atomic::write_atomically;
pub use backup::{
    RestoreError, is_occupied, open_backup, read_backup, restore, restored_key_file, write_backup,
};
pub use duration::{DurationError, parse_duration_ms, show_duration_ms};
pub use error::ConfigError;
pub use home::{Home, HomeError, HomeLock, NodeFile};
pub use identity::{
    HomeKeys, IdentityError, Loaded, PassphraseOptions, Prompt, TerminalPrompt, backup_passphrase,
    create_identity, load_or_create, new_backup_passphrase, open_keys, passphrase_of,
    read_key_file, rotate_stopped,
};
pub use keychain::{Keychain, KeychainError, SystemKeychain};
pub use layers::Flags;
pub use sections::{
    AgentSection, ApiSection, HealthSection, IdentitySection, LimitsSection, LogFormat, LogLevel,
    LogSection, NetSection, NodeSection, PassphraseMode, ServeSection, SessionSection,
    StoreSection, TaskSection, TransferSection, WakeSection,
};
pub use security::{ProtocolSection, SecuritySection};
pub use template::FirstRun;
pub use value::parse_multiaddr;

/// A larger `junto.toml` is none.
const FILE_MAX_BYTES: u64 = 256 * 1024;

/// The settings of one node. The sections and keys are those of `junto.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of sections")]
pub struct Config {
    pub node: NodeSection,
    pub net: NetSection,
    pub api: ApiSection,
    pub serve: BTreeMap<Capability, ServeSection>,
    pub agent: AgentSection,
    pub wake: WakeSection,
    pub session: SessionSection,
    pub transfer: TransferSection,
    pub task: TaskSection,
    pub health: HealthSection,
    pub limits: LimitsSection,
    pub identity: IdentitySection,
    pub protocol: ProtocolSection,
    pub security: SecuritySection,
    pub store: StoreSection,
    pub log: LogSection,
}

impl Config {
    /// Reads the home's `junto.toml` (which may be absent) and this process's environment.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key and who set it.
    pub fn load(home: &Home, flags: Flags) -> Result<Config, ConfigError> {
        let path = home.config_file();
        let text = read_bounded(&path)?;
        Config::from_sources(&path, text.as_deref(), std::env::vars_os(), flags)
    }

    /// The layers, merged and checked. `path` is where `text` came from.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key and who set it.
    pub fn from_sources(
        path: &Path,
        text: Option<&str>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        flags: Flags,
    ) -> Result<Config, ConfigError> {
        let file = layers::Layer::from_toml(text.unwrap_or(""), path)?;
        let layers = [file, layers::Layer::from_env(env)?, flags.into_layer()];
        let at = |fault: error::Fault| fault.set_by(|key| layers::origin_of(&layers, key));
        let mut merged = ::config::Config::builder();
        for layer in &layers {
            merged = merged.add_source(layer.clone());
        }
        let mut config: Config = merged
            .build()
            .and_then(::config::Config::try_deserialize)
            .map_err(|error| at(error::explain(error)))?;
        config.check().map_err(at)?;
        if let Some(file) = &mut config.identity.passphrase_file
            && layers::origin_of(&layers, "identity.passphrase_file") == path.display().to_string()
            && let Some(home) = path.parent()
        {
            *file = home.join(&*file).display().to_string();
        }
        Ok(config)
    }

    /// Writes the commented default file; one that is there is kept.
    ///
    /// # Errors
    /// [`ConfigError::Write`].
    pub fn write_new(path: &Path, first: &FirstRun) -> Result<bool, ConfigError> {
        let refused = |source| ConfigError::Write {
            path: path.display().to_string(),
            source,
        };
        match File::create_new(path) {
            Ok(mut file) => {
                file.write_all(template::render(first).as_bytes())
                    .map_err(refused)?;
                file.sync_all().map_err(refused)?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(refused(error)),
        }
    }

    /// The configured name, or this machine's with the end of the peer id.
    pub fn node_name(&self, peer: &PeerId) -> NodeName {
        if let Some(name) = &self.node.name {
            return name.clone();
        }
        default_name(&hostname(), peer)
    }

    /// What the core is told.
    pub fn node_config(&self, name: NodeName) -> NodeConfig {
        let offer = |(name, serve): (&Capability, &ServeSection)| Offer {
            name: name.clone(),
            slots: serve.slots,
            price: serve.price,
        };
        NodeConfig {
            network: self.node.network.clone(),
            name,
            capabilities: self.serve.iter().map(offer).collect(),
            serving: self
                .serve
                .iter()
                .map(|(name, serve)| (name.clone(), serve.to_core()))
                .collect(),
            labels: self.node.labels.iter().cloned().collect(),
            bootstrap: self.net.bootstrap.clone(),
            session: self.session.to_core(),
            task: self.task.to_core(),
            wake: self.wake.to_core(),
            health: self.health.to_core(),
            limits: self.limits.to_core(),
            allow_v1_0: self.protocol.allow_v1_0.clone(),
            transfer: self.transfer.to_core(),
            goes_on: false,
        }
    }

    /// What the runtime is told. `guard_exe` is the program that guards the commands, which work
    /// in folders below `work_dir`; received files go to `incoming`, and what is
    /// too large for a message to `payloads` beside it.
    pub fn runtime_config(
        &self,
        identity: Identity,
        guard_exe: Option<PathBuf>,
        work_dir: Option<PathBuf>,
        incoming: PathBuf,
    ) -> RuntimeConfig {
        let node = self.node_config(self.node_name(&identity.peer_id));
        let done = |(name, serve): (&Capability, &ServeSection)| {
            serve.to_runtime().map(|serve| (name.clone(), serve))
        };
        RuntimeConfig {
            identity,
            node,
            listen: self.net.listen.clone(),
            mdns: self.net.mdns,
            jitter: self.security.to_runtime(),
            serve: self.serve.iter().filter_map(done).collect(),
            agent: self.agent.to_runtime(),
            on_wake: self.wake.on_wake(),
            on_restart: self.wake.on_restart(),
            guard_exe,
            work_dir,
            api: None,
            store: Some(incoming.with_file_name("store")),
            files: FilesConfig {
                payloads: incoming.with_file_name("payloads"),
                incoming,
                keep_free_bytes: self.transfer.keep_free_bytes,
            },
        }
    }
}

fn read_bounded(path: &Path) -> Result<Option<String>, ConfigError> {
    let refused = |source| ConfigError::Read {
        path: path.display().to_string(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    let mut text = String::new();
    let read = file
        .take(FILE_MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(refused)?;
    if read as u64 > FILE_MAX_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.display().to_string(),
        });
    }
    Ok(Some(text))
}

/// The name this machine goes by; `node` where it has none.
fn hostname() -> String {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let from_file = files
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok());
    from_file
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_default()
}

/// The host's first label, cut and cleaned, with the last four characters of the peer id (its
/// first ones are the same for everybody).
fn default_name(host: &str, peer: &PeerId) -> NodeName {
    let label = host.trim().split('.').next().unwrap_or_default();
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let label: String = label.chars().filter(allowed).take(40).collect();
    let label = if label.is_empty() { "node" } else { &label };
    let peer = peer.to_string();
    let end = &peer[peer.len() - 4..];
    format!("{label}-{end}")
        .parse()
        .expect("at most 45 printable ASCII characters")
}

#[cfg(test)]
mod tests;
