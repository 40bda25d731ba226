//! One `junto up` with a capability and a hook.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::support::{eventually, junto};

/// One `junto up`, killed when dropped.
pub struct Node {
    home: PathBuf,
    child: Child,
}

impl Node {
    pub fn start(home: &Path) -> Node {
        let file = home.join("node.json");
        let _ = std::fs::remove_file(&file);
        let child = junto()
            .arg("--home")
            .arg(home)
            .args(["up", "--no-mdns", "--no-passphrase", "--api", "127.0.0.1:0"])
            .args(["--listen", "/ip4/127.0.0.1/tcp/0", "--serve", "wc=wc -w"])
            .args(["--on-wake", "echo woken >> woken"])
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let node = Node {
            home: home.to_owned(),
            child,
        };
        eventually("the node is up", Duration::from_secs(30), || {
            file.exists().then_some(())
        });
        node
    }

    pub fn api(&self) -> String {
        let text = std::fs::read(self.home.join("node.json")).unwrap();
        let value: Value = serde_json::from_slice(&text).unwrap();
        value["api"]
            .as_str()
            .unwrap()
            .trim_start_matches("http://")
            .to_owned()
    }

    /// Waits until the hook has run so often.
    pub fn await_wakes(&self, count: usize) {
        eventually("the hook ran", Duration::from_secs(30), || {
            (self.wakes() == count).then_some(())
        });
    }

    pub fn wakes(&self) -> usize {
        let text = std::fs::read_to_string(self.home.join("woken"));
        text.map_or(0, |text| text.lines().count())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
