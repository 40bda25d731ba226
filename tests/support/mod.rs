//! A testnet of real processes for tests: started, watched, killed, and always taken down.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its part of this"
)]

pub mod node;
pub mod small_disk;
pub mod within;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The program under test.
pub fn junto() -> Command {
    Command::new(env!("CARGO_BIN_EXE_junto"))
}

/// A testnet of ten nodes on a slow machine is ready well within this.
const READY: Duration = Duration::from_secs(150);
/// A node that starts has opened its store and proved its work well within this, and one that was
/// killed is gone.
const UP: Duration = Duration::from_secs(90);

/// Asks until the answer is there.
pub fn eventually<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A running `junto testnet`, and the nodes that were started again one by one.
pub struct Testnet {
    pub dir: tempfile::TempDir,
    process: Child,
    restarted: Vec<Child>,
    pub size: usize,
}

impl Testnet {
    /// Starts `size` nodes and waits until they have converged.
    pub fn start(size: usize, args: &[&str]) -> Testnet {
        let dir = tempfile::tempdir().unwrap();
        let process = junto()
            .args(["testnet", "--nodes", &size.to_string(), "--dir"])
            .arg(dir.path())
            .args(["--ready-timeout", &format!("{}s", READY.as_secs())])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut net = Testnet {
            dir,
            process,
            restarted: Vec::new(),
            size,
        };
        let file = net.dir.path().join("testnet.json");
        eventually("the testnet converges", 2 * READY, || {
            let ended = net.process.try_wait().unwrap();
            assert!(ended.is_none(), "the testnet ended: {ended:?}");
            file.exists().then_some(())
        });
        net
    }

    pub fn home(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node{node}"))
    }

    /// Runs a command against one node.
    pub fn cli(&self, node: usize, args: &[&str]) -> Output {
        run_at(&self.home(node), args)
    }

    /// Runs a command with `--json` and reads what it printed; none if it failed.
    pub fn json(&self, node: usize, args: &[&str]) -> Option<Value> {
        let output = self.cli(node, &[&["--json"], args].concat());
        output
            .status
            .success()
            .then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    pub fn pid(&self, node: usize) -> Option<Pid> {
        let text = std::fs::read(self.home(node).join("node.json")).ok()?;
        let value: Value = serde_json::from_slice(&text).ok()?;
        Some(Pid::from_raw(i32::try_from(value["pid"].as_i64()?).ok()?))
    }

    /// kill -9, and the wait until the process is gone: only then are its locks and ports free.
    pub fn kill(&self, node: usize) {
        if let Some(pid) = self.pid(node) {
            let _ = kill(pid, Signal::SIGKILL);
            eventually("the killed node is gone", UP, || is_gone(pid).then_some(()));
        }
        let gone = self.home(node).join("node.json");
        let _ = std::fs::remove_file(gone);
    }

    /// Brings a killed node back by its home alone.
    pub fn restart(&mut self, node: usize) {
        let child = junto()
            .arg("--home")
            .arg(self.home(node))
            .arg("up")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.restarted.push(child);
        self.reap();
    }

    fn reap(&mut self) {
        self.restarted
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// Waits until a restarted node serves its API again.
    pub fn await_up(&self, node: usize) {
        eventually("the node is up again", UP, || {
            self.json(node, &["status"]).map(|_| ())
        });
    }
}

impl Drop for Testnet {
    fn drop(&mut self) {
        for child in &mut self.restarted {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = kill(
            Pid::from_raw(self.process.id().cast_signed()),
            Signal::SIGTERM,
        );
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(15) {
            if let Ok(Some(_)) = self.process.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether no thread of the process runs: it may still wait for its parent to hear of that.
fn is_gone(pid: Pid) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    let mut threads = threads.flatten();
    threads.all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state stands behind the name in brackets.
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_none_or(|rest| rest.starts_with(['Z', 'X']))
    })
}

/// Runs a command against the node at `home`.
pub fn run_at(home: &Path, args: &[&str]) -> Output {
    junto()
        .arg("--home")
        .arg(home)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}
