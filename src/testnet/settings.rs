//! One node's `junto.toml`: written once with free ports, then with the ports it got, so that
//! `junto --home DIR up` alone brings the node back as it was.
//!
//! What a person changed in the file by hand between two runs is kept: only the keys named here
//! are ever touched.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::TestnetError;
use super::files::{NodeFile, write_atomically};
use crate::types::Capability;

/// The settings' file in a node's home.
const FILE: &str = "junto.toml";
/// Loopback only, on a port the system picks, by TCP and by QUIC.
const LISTEN: [&str; 2] = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"];
const API_LISTEN: &str = "127.0.0.1:0";

/// What a node of a testnet is to be.
#[derive(Debug, Clone, Default)]
pub(super) struct NodePlan {
    /// Its name, and the name of its folder.
    pub name: String,
    /// Capabilities with the command of each.
    pub serve: Vec<(Capability, String)>,
    /// How many runs of each capability at once; the node's default where absent.
    pub slots: Option<u32>,
    pub on_wake: Option<String>,
    /// Entries for the `[task]` section, such as `lease = "4s"`.
    pub task: Vec<(&'static str, &'static str)>,
    pub mdns: bool,
}

/// The parsed file and where it is.
#[derive(Debug)]
pub(super) struct Settings {
    path: PathBuf,
    table: Table,
}

impl Settings {
    /// Whether `home` has settings already.
    pub(super) fn exist(home: &Path) -> bool {
        home.join(FILE).is_file()
    }

    /// The settings of a node that never ran. Nothing is written yet.
    pub(super) fn fresh(home: &Path, plan: &NodePlan, network: &str) -> Settings {
        let mut settings = Settings {
            path: home.join(FILE),
            table: Table::new(),
        };
        settings.set("node", "name", plan.name.as_str());
        settings.set("node", "network", network);
        settings.set("net", "listen", strings(LISTEN));
        settings.set("net", "bootstrap", Vec::<Value>::new());
        settings.set("net", "mdns", plan.mdns);
        settings.set("api", "listen", API_LISTEN);
        settings.set("identity", "passphrase", "none");
        for (key, value) in &plan.task {
            settings.set("task", key, *value);
        }
        settings.apply(plan);
        settings
    }

    /// The settings found in `home`.
    pub(super) fn read(home: &Path) -> Result<Settings, TestnetError> {
        let path = home.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| TestnetError::Folder {
            path: path.clone(),
            source,
        })?;
        let table = text
            .parse::<Table>()
            .map_err(|error| TestnetError::Settings {
                path: path.clone(),
                why: error.message().to_owned(),
            })?;
        Ok(Settings { path, table })
    }

    /// Puts the file on disk, whole or not at all.
    pub(super) fn write(&self) -> Result<(), TestnetError> {
        let text = toml::to_string(&self.table).map_err(|error| TestnetError::Settings {
            path: self.path.clone(),
            why: error.to_string(),
        })?;
        write_atomically(&self.path, text.as_bytes())
    }

    /// The network's name, if the file has one.
    pub(super) fn network(&self) -> Option<&str> {
        self.table.get("node")?.get("network")?.as_str()
    }

    /// Takes over what this run asks to be served; what it does not mention stays.
    pub(super) fn apply(&mut self, plan: &NodePlan) {
        for (capability, command) in &plan.serve {
            let mut entry = Table::new();
            entry.insert("command".to_owned(), Value::from(command.as_str()));
            if let Some(slots) = plan.slots {
                entry.insert("slots".to_owned(), Value::from(i64::from(slots)));
            }
            self.set("serve", capability.as_str(), entry);
        }
        if let Some(command) = &plan.on_wake {
            self.set("wake", "command", command.as_str());
        }
    }

    /// Replaces the ports by those the running node got.
    pub(super) fn fix_ports(&mut self, running: &NodeFile) {
        self.set("net", "listen", strings(running.plain_listen()));
        self.set("api", "listen", running.api.as_str());
    }

    /// Whom the node asks first.
    pub(super) fn bootstrap_from(&mut self, addresses: &[String]) {
        self.set("net", "bootstrap", strings(addresses));
    }

    fn set(&mut self, section: &str, key: &str, value: impl Into<Value>) {
        let entry = self
            .table
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()));
        if !entry.is_table() {
            *entry = Value::Table(Table::new());
        }
        if let Some(table) = entry.as_table_mut() {
            table.insert(key.to_owned(), value.into());
        }
    }
}

fn strings<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Vec<Value> {
    items
        .into_iter()
        .map(|item| Value::from(item.as_ref()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> NodePlan {
        NodePlan {
            name: "node1".to_owned(),
            serve: vec![("text.wc".parse().unwrap(), "wc -w | tr -d ' \"'".to_owned())],
            slots: Some(1),
            on_wake: Some("echo \"awake\"".to_owned()),
            task: vec![("lease", "4s"), ("renew", "1s")],
            mdns: false,
        }
    }

    fn running() -> NodeFile {
        NodeFile {
            pid: 7,
            name: "node1".to_owned(),
            peer_id: "12D3KooWx".to_owned(),
            entity_id: "ent1x".to_owned(),
            fingerprint: String::new(),
            listen: vec![
                "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWx".to_owned(),
                "/ip4/127.0.0.1/udp/4002/quic-v1".to_owned(),
            ],
            api: "127.0.0.1:4003".to_owned(),
        }
    }

    #[test]
    fn fresh_settings_parse_and_say_all() {
        let home = tempfile::tempdir().unwrap();
        Settings::fresh(home.path(), &plan(), "testnet-abcdef")
            .write()
            .unwrap();
        let read = Settings::read(home.path()).unwrap();
        assert_eq!(read.network(), Some("testnet-abcdef"));
        let table = &read.table;
        assert_eq!(table["net"]["listen"].as_array().unwrap().len(), 2);
        assert_eq!(table["net"]["mdns"].as_bool(), Some(false));
        assert_eq!(table["identity"]["passphrase"].as_str(), Some("none"));
        assert_eq!(
            table["serve"]["text.wc"]["command"].as_str(),
            Some("wc -w | tr -d ' \"'")
        );
        assert_eq!(table["serve"]["text.wc"]["slots"].as_integer(), Some(1));
        assert_eq!(table["wake"]["command"].as_str(), Some("echo \"awake\""));
        assert_eq!(table["task"]["lease"].as_str(), Some("4s"));
    }

    #[test]
    fn ports_are_rewritten_and_the_rest_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let mut settings = Settings::fresh(home.path(), &plan(), "testnet-abcdef");
        settings.set("log", "level", "debug");
        settings.fix_ports(&running());
        settings.bootstrap_from(&["/ip4/127.0.0.1/tcp/1/p2p/X".to_owned()]);
        settings.write().unwrap();
        let table = Settings::read(home.path()).unwrap().table;
        assert_eq!(
            table["net"]["listen"][0].as_str(),
            Some("/ip4/127.0.0.1/tcp/4001")
        );
        assert_eq!(
            table["net"]["listen"][1].as_str(),
            Some("/ip4/127.0.0.1/udp/4002/quic-v1")
        );
        assert_eq!(table["api"]["listen"].as_str(), Some("127.0.0.1:4003"));
        assert_eq!(
            table["net"]["bootstrap"][0].as_str(),
            Some("/ip4/127.0.0.1/tcp/1/p2p/X")
        );
        assert_eq!(table["log"]["level"].as_str(), Some("debug"));
    }

    #[test]
    fn damaged_settings_name_their_file() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(FILE), "[net\nlisten=").unwrap();
        let error = Settings::read(home.path()).unwrap_err().to_string();
        assert!(error.contains("junto.toml"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
