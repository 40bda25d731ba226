//! A node of its own, with settings of its own, that can be killed and brought back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{eventually, junto, run_at};

const SOON: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(150);

/// See the module.
pub struct Node {
    pub home: PathBuf,
    args: Vec<String>,
    process: Option<Child>,
}

impl Node {
    pub fn start(dir: &Path, name: &str, first: Option<&Node>, settings: &str) -> Node {
        let home = dir.join(name);
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("junto.toml"), settings).unwrap();
        let network = format!("payloads-{}", std::process::id());
        let mut args: Vec<String> = ["up", "--no-mdns", "--no-passphrase", "--network"]
            .map(String::from)
            .to_vec();
        args.extend([network, "--name".into(), name.into()]);
        if let Some(node) = first {
            args.extend(["--bootstrap".into(), node.address()]);
        }
        let mut node = Node {
            home,
            args,
            process: None,
        };
        node.up(&["--listen", "/ip4/127.0.0.1/tcp/0"]);
        // From now on it comes back where others look for it.
        let address = node.address();
        let listen = address.split("/p2p/").next().unwrap().to_owned();
        node.args.extend(["--listen".into(), listen]);
        node
    }

    pub fn up(&mut self, more: &[&str]) {
        let _ = fs::remove_file(self.home.join("node.json"));
        let mut command = junto();
        command.arg("--home").arg(&self.home).args(&self.args);
        let process = command
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        eventually("the node is up", SOON, || self.json(&["status"]));
    }

    pub fn node_file(&self) -> Value {
        let file = fs::read(self.home.join("node.json")).unwrap();
        serde_json::from_slice(&file).unwrap()
    }

    pub fn address(&self) -> String {
        self.node_file()["listen"][0].as_str().unwrap().to_owned()
    }

    /// kill -9, and back again.
    pub fn crash(&mut self) {
        self.kill();
        self.up(&[]);
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let pid = Pid::from_raw(process.id().cast_signed());
            kill(pid, Signal::SIGKILL).unwrap();
            process.wait().unwrap();
        }
    }

    pub fn cli(&self, args: &[&str]) -> Output {
        run_at(&self.home, args)
    }

    pub fn json(&self, args: &[&str]) -> Option<Value> {
        let output = self.cli(&[&["--json"], args].concat());
        let good = output.status.success();
        good.then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// The most memory it has had since it was last started, in MiB.
    pub fn peak_mib(&self) -> usize {
        let pid = self.process.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<usize>().unwrap() / 1024
    }

    pub fn payloads(&self) -> usize {
        fs::read_dir(self.home.join("payloads")).map_or(0, Iterator::count)
    }

    pub fn submit(&self, capability: &str, file: &Path) -> String {
        let file = file.to_str().unwrap();
        let args = ["task", "submit", capability, "--input", file, "--json"];
        let output = self.cli(&args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let task: Value = serde_json::from_slice(&output.stdout).unwrap();
        task["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the task's input or result is on its way.
    pub fn await_moving(&self, task: &str, what: &str) {
        eventually(&format!("the {what} is on its way"), LONG, || {
            let view = self.json(&["task", "show", task])?;
            assert_ne!(view["state"], "completed", "it was too quick to be stopped");
            let moves = view["moving"]["what"] == what;
            let done = view["moving"]["done_bytes"].as_u64().unwrap_or(0);
            (moves && done > 0).then_some(())
        });
    }

    pub fn await_completed(&self, task: &str) {
        eventually("the task is completed", LONG, || {
            let view = self.json(&["task", "show", task])?;
            let state = view["state"].as_str().unwrap().to_owned();
            assert_ne!(state, "failed", "{view}");
            (state == "completed").then_some(())
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
