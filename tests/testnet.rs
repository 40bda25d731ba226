//! Real processes: a testnet comes up, knows itself, and leaves nothing behind, however it ends.
//!
//! Every wait is for a state and bounded; whatever a failing test started is killed on the way out.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const READY_TIMEOUT: Duration = Duration::from_secs(180);
const END_TIMEOUT: Duration = Duration::from_secs(90);

/// A running `junto testnet`, its output in files of `dir`.
struct Testnet {
    child: Child,
}

impl Testnet {
    fn start(dir: &Path, args: &[&str]) -> Testnet {
        let child = Command::new(env!("CARGO_BIN_EXE_junto"))
            .arg("testnet")
            .args(["--ready-timeout", "150s"])
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(File::create(dir.join("stdout")).unwrap())
            .stderr(File::create(dir.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        Testnet { child }
    }

    fn signal(&self, signal: Signal) {
        kill(pid(self.child.id().into()), signal).unwrap();
    }

    fn end(&mut self, timeout: Duration) -> ExitStatus {
        let mut status = None;
        wait_until("the testnet ends", timeout, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Testnet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(what: &str, timeout: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !holds() {
        assert!(Instant::now() < deadline, "not in {timeout:?}: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

fn pid(number: i64) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap())
}

/// Whether a process runs; one that only waits to be reaped by a stranger does not.
fn is_alive(number: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    kill(pid(number), None).is_ok() && !stat.contains(") Z ")
}

/// The pids in one or more `node.json` documents, one behind the other.
fn pids(documents: &[u8]) -> Vec<i64> {
    let documents = serde_json::Deserializer::from_slice(documents).into_iter::<Value>();
    documents
        .map(|node| node.unwrap()["pid"].as_i64().unwrap())
        .collect()
}

fn stderr(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("stderr")).unwrap()
}

/// Waits until the testnet in `dir/net` is ready and returns its nodes' pids.
fn ready(dir: &Path) -> Vec<i64> {
    let file = dir.join("net/testnet.json");
    wait_until("testnet.json is there", READY_TIMEOUT, || file.exists());
    let testnet: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let homes = testnet["nodes"].as_array().unwrap().iter();
    homes
        .flat_map(|node| {
            let home = Path::new(node["home"].as_str().unwrap());
            pids(&std::fs::read(home.join("node.json")).unwrap())
        })
        .collect()
}

#[test]
fn a_command_runs_in_a_converged_testnet_that_then_vanishes() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("nodes");
    let exec = format!(
        "cat \"$(dirname \"$JUNTO_TESTNET\")\"/node*/node.json > '{}' && exit 7",
        note.display()
    );
    let args = ["--nodes", "3", "--ephemeral", "--json", "--exec", &exec];
    let mut testnet = Testnet::start(dir.path(), &args);
    let status = testnet.end(READY_TIMEOUT + END_TIMEOUT);
    assert_eq!(status.code(), Some(7), "{}", stderr(dir.path()));

    let file: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("stdout")).unwrap()).unwrap();
    assert!(file["converged_ms"].as_u64().is_some());
    assert!(file["network"].as_str().unwrap().starts_with("testnet-"));
    let nodes = file["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    for node in nodes {
        for key in ["name", "home", "peer_id", "entity_id", "api", "token_file"] {
            assert!(node[key].is_string(), "{key} in {node}");
        }
        assert!(!node["listen"].as_array().unwrap().is_empty());
        assert!(
            !Path::new(node["home"].as_str().unwrap()).exists(),
            "the folder is left"
        );
    }
    let pids = pids(&std::fs::read(note).unwrap());
    assert_eq!(pids.len(), 3);
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "a node is left");
}

#[test]
fn ctrl_c_stops_every_node_and_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let mut testnet = Testnet::start(dir.path(), &["--nodes", "3", "--dir", "net"]);
    let pids = ready(dir.path());
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    testnet.signal(Signal::SIGINT);
    assert_eq!(
        testnet.end(END_TIMEOUT).code(),
        Some(0),
        "{}",
        stderr(dir.path())
    );
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "a node is left");
}

#[test]
#[cfg(target_os = "linux")]
fn nodes_do_not_outlive_a_killed_testnet() {
    let dir = tempfile::tempdir().unwrap();
    let mut testnet = Testnet::start(dir.path(), &["--nodes", "3", "--dir", "net"]);
    let pids = ready(dir.path());
    testnet.signal(Signal::SIGKILL);
    testnet.end(END_TIMEOUT);
    wait_until("the nodes are gone", END_TIMEOUT, || {
        !pids.iter().any(|pid| is_alive(*pid))
    });
}

#[test]
fn a_killed_node_is_told_and_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut testnet = Testnet::start(dir.path(), &["--nodes", "3", "--dir", "net"]);
    let victim = ready(dir.path())[1];
    let home = dir.path().join("net/node1");
    let read = || -> Value {
        serde_json::from_slice(&std::fs::read(home.join("node.json")).unwrap()).unwrap()
    };
    let before = read();
    kill(pid(victim), Signal::SIGKILL).unwrap();
    wait_until("the death is told", END_TIMEOUT, || {
        stderr(dir.path()).contains("node1 was killed by signal 9")
    });
    let mut again = Testnet {
        child: Command::new(env!("CARGO_BIN_EXE_junto"))
            .arg("--home")
            .arg(&home)
            .arg("up")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    };
    wait_until("the return is told", END_TIMEOUT, || {
        stderr(dir.path()).contains("node1 is back")
    });
    let after = read();
    for key in ["peer_id", "entity_id", "api", "listen"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    testnet.signal(Signal::SIGTERM);
    assert_eq!(
        testnet.end(END_TIMEOUT).code(),
        Some(0),
        "{}",
        stderr(dir.path())
    );
    again.end(END_TIMEOUT);
}
