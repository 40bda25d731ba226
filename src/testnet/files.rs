//! The documents a testnet reads and leaves behind: each node's `node.json`, and `testnet.json`
//! for the whole, which other programs rely on.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TestnetError;

/// A `node.json` or a token that is larger is not ours.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// `node.json`: what a node says of itself once it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct NodeFile {
    pub pid: u32,
    pub name: String,
    pub peer_id: String,
    pub entity_id: String,
    #[serde(default)]
    pub fingerprint: String,
    pub listen: Vec<String>,
    pub api: String,
}

impl NodeFile {
    /// What the node in `home` last said; nothing while it is absent or half written.
    pub(super) fn read(home: &Path) -> Option<NodeFile> {
        serde_json::from_slice(&read_small(&home.join("node.json")).ok()?).ok()
    }

    /// The listen addresses without the peer id that may stand behind them.
    pub(super) fn plain_listen(&self) -> Vec<&str> {
        self.listen.iter().map(|addr| plain(addr)).collect()
    }

    /// Where others find this node: over TCP, because a killed process closes TCP at once, while
    /// QUIC must wait for its idle timeout.
    pub(super) fn dial_addresses(&self) -> Vec<String> {
        let tcp = self
            .listen
            .iter()
            .map(|addr| plain(addr))
            .filter(|addr| addr.contains("/tcp/"));
        tcp.map(|addr| format!("{addr}/p2p/{}", self.peer_id))
            .collect()
    }
}

fn plain(addr: &str) -> &str {
    addr.split_once("/p2p/").map_or(addr, |(before, _)| before)
}

/// `testnet.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TestnetFile {
    pub network: String,
    /// From the start of the first process until every registry listed every node.
    pub converged_ms: u64,
    pub nodes: Vec<NodeEntry>,
}

/// One node of `testnet.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeEntry {
    pub name: String,
    pub home: PathBuf,
    pub peer_id: String,
    pub entity_id: String,
    /// `HOST:PORT` of its HTTP API.
    pub api: String,
    /// The file with the API's bearer token.
    pub token_file: PathBuf,
    pub listen: Vec<String>,
}

impl NodeEntry {
    /// The entry of a running node.
    pub(super) fn new(name: &str, home: &Path, running: &NodeFile) -> NodeEntry {
        NodeEntry {
            name: name.to_owned(),
            home: home.to_owned(),
            peer_id: running.peer_id.clone(),
            entity_id: running.entity_id.clone(),
            api: running.api.clone(),
            token_file: token_path(home),
            listen: running.listen.clone(),
        }
    }
}

impl TestnetFile {
    /// Where it lies in a testnet's folder.
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join("testnet.json")
    }

    /// The document as text.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self)
            .expect("paths are UTF-8: the folder was checked at start")
    }

    /// Puts it into `dir`, whole or not at all.
    pub(super) fn write(&self, dir: &Path) -> Result<(), TestnetError> {
        write_atomically(&TestnetFile::path(dir), self.to_json().as_bytes())
    }
}

/// Where a node keeps its API token.
pub(super) fn token_path(home: &Path) -> PathBuf {
    home.join("api.token")
}

/// Reads a file that must be small.
pub(super) fn read_small(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(FILE_MAX_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Replaces a file so that a reader sees the old one or the new one.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), TestnetError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|source| TestnetError::Folder {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE_JSON: &str = r#"{"pid":12,"name":"node0","peer_id":"12D3KooWa","entity_id":"ent1a",
        "fingerprint":"ab cd","listen":["/ip4/127.0.0.1/udp/2/quic-v1/p2p/12D3KooWa",
        "/ip4/127.0.0.1/tcp/1"],"api":"127.0.0.1:3","later":true}"#;

    fn running() -> NodeFile {
        serde_json::from_str(NODE_JSON).unwrap()
    }

    #[test]
    fn others_are_sent_to_tcp_with_the_peer_id() {
        assert_eq!(
            running().dial_addresses(),
            ["/ip4/127.0.0.1/tcp/1/p2p/12D3KooWa"]
        );
        assert_eq!(running().plain_listen()[0], "/ip4/127.0.0.1/udp/2/quic-v1");
    }

    #[test]
    fn testnet_json_has_the_promised_form() {
        let dir = tempfile::tempdir().unwrap();
        let entry = NodeEntry::new("node0", &dir.path().join("node0"), &running());
        let file = TestnetFile {
            network: "testnet-abcdef".to_owned(),
            converged_ms: 812,
            nodes: vec![entry],
        };
        file.write(dir.path()).unwrap();
        let text = std::fs::read(TestnetFile::path(dir.path())).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(json["network"], "testnet-abcdef");
        assert_eq!(json["converged_ms"], 812);
        let node = &json["nodes"][0];
        for key in ["name", "home", "peer_id", "entity_id", "api", "token_file"] {
            assert!(node[key].is_string(), "{key}");
        }
        assert!(
            node["token_file"]
                .as_str()
                .unwrap()
                .ends_with("node0/api.token")
        );
        assert!(node["listen"].is_array());
    }

    #[test]
    fn a_half_written_node_file_is_no_node() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(NodeFile::read(home.path()), None);
        std::fs::write(home.path().join("node.json"), &NODE_JSON[..40]).unwrap();
        assert_eq!(NodeFile::read(home.path()), None);
        std::fs::write(home.path().join("node.json"), NODE_JSON).unwrap();
        assert_eq!(NodeFile::read(home.path()).unwrap().pid, 12);
    }
}
