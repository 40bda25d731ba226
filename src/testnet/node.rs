//! One node of a testnet: a home, the process that runs there, and a client to talk to it.
//!
//! States: `Idle` (never started, or stopped by us) → `Starting` (our process, not ready yet) →
//! `Up` (ready; ours or somebody else's) → `Dead` (ended without our doing). A dead node is up
//! again when we restart it, or when somebody else does: then its `node.json` names a new pid and
//! the API there answers with the same peer id.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::TestnetError;
use super::files::{NodeFile, read_small, token_path};
use super::process;
use super::settings::{NodePlan, Settings};
use super::spawn::Spawner;
use crate::api::client::ApiClient;

/// A log that grew larger is started anew when its node starts.
const LOG_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// What of a dead node's log is shown.
const TAIL_BYTES: u64 = 8 * 1024;
const TAIL_LINES: usize = 6;
/// An API that does not answer in this time is silent.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Who runs in a node's home.
#[derive(Debug)]
enum Process {
    None,
    Ours(Child),
    /// Started by somebody else; the pid is from `node.json`.
    Theirs(u32),
}

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    Starting,
    Up,
    Dead,
}

/// How a node ended, for people.
#[derive(Debug, Clone)]
pub(super) struct Death {
    pub name: String,
    /// Such as `ended with status 1` or `was killed by signal 9`.
    pub how: String,
    /// The last lines of its log.
    pub tail: String,
}

/// One node. Dropping it kills its process; the fleet asks politely before.
#[derive(Debug)]
pub(super) struct Node {
    name: String,
    home: PathBuf,
    process: Process,
    state: State,
    running: Option<NodeFile>,
    client: Option<ApiClient>,
    up_since: Option<Instant>,
    /// Deaths in a row, each soon after its start.
    pub deaths: u32,
    /// When a dead node is started again, if at all.
    pub restart_at: Option<Instant>,
}

impl Node {
    /// The node at `dir/plan.name`, with its home and settings on disk, not yet running.
    pub(super) fn prepare(
        dir: &Path,
        plan: &NodePlan,
        network: &str,
    ) -> Result<Node, TestnetError> {
        let home = dir.join(&plan.name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&home)
            .map_err(|source| TestnetError::Folder {
                path: home.clone(),
                source,
            })?;
        let settings = if Settings::exist(&home) {
            let mut settings = Settings::read(&home)?;
            settings.apply(plan);
            settings
        } else {
            Settings::fresh(&home, plan, network)
        };
        settings.write()?;
        Ok(Node {
            name: plan.name.clone(),
            home,
            process: Process::None,
            state: State::Idle,
            running: None,
            client: None,
            up_since: None,
            deaths: 0,
            restart_at: None,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// What the node said of itself when it was last ready.
    pub(super) fn running(&self) -> Option<&NodeFile> {
        self.running.as_ref()
    }

    /// A client, once the node was ready.
    pub(super) fn client(&self) -> Option<&ApiClient> {
        self.client.as_ref()
    }

    /// How long it has been up.
    pub(super) fn uptime(&self) -> Duration {
        self.up_since
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Names whom the node asks first, from its next start on.
    pub(super) fn bootstrap_from(&self, addresses: &[String]) -> Result<(), TestnetError> {
        let mut settings = Settings::read(&self.home)?;
        settings.bootstrap_from(addresses);
        settings.write()
    }

    /// Starts the process. Its surroundings are ours, except for `JUNTO_…` variables, which would
    /// override the node's own settings.
    pub(super) fn start(&mut self, spawner: &Spawner) -> Result<(), TestnetError> {
        let failed = |source| TestnetError::Start {
            name: self.name.clone(),
            source,
        };
        let log = open_log(&self.log_path()).map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.arg("--home").arg(&self.home).arg("up");
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("JUNTO_") {
                command.env_remove(key);
            }
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log);
        self.process = Process::Ours(spawner.spawn(command).map_err(failed)?);
        self.state = State::Starting;
        self.up_since = None;
        self.restart_at = None;
        Ok(())
    }

    /// Takes note of a `node.json` that our process wrote since its start. True once, when the
    /// node has just become ready; its ports are then in its settings.
    pub(super) fn settle(&mut self) -> Result<bool, TestnetError> {
        let Process::Ours(child) = &self.process else {
            return Ok(false);
        };
        if self.state != State::Starting {
            return Ok(false);
        }
        let Some(running) = NodeFile::read(&self.home).filter(|file| file.pid == child.id()) else {
            return Ok(false);
        };
        self.client = Some(self.connect(&running)?);
        let mut settings = Settings::read(&self.home)?;
        settings.fix_ports(&running);
        settings.write()?;
        self.running = Some(running);
        self.state = State::Up;
        self.up_since = Some(Instant::now());
        Ok(true)
    }

    /// Whether the process ended without our doing. Told once.
    pub(super) fn bury(&mut self) -> Option<Death> {
        let how = match &mut self.process {
            Process::None => return None,
            Process::Ours(child) => match child.try_wait() {
                Ok(None) => return None,
                Ok(Some(status)) => how_it_ended(status),
                Err(error) => format!("cannot be watched any more ({error})"),
            },
            Process::Theirs(pid) if process::is_alive(*pid) => return None,
            Process::Theirs(_) => "ended".to_owned(),
        };
        self.process = Process::None;
        self.state = State::Dead;
        Some(Death {
            name: self.name.clone(),
            how,
            tail: log_tail(&self.log_path()),
        })
    }

    /// Looks whether somebody else brought the dead node back. True once, when so.
    pub(super) async fn adopt(&mut self) -> bool {
        let Some(found) = NodeFile::read(&self.home) else {
            return false;
        };
        let news = self
            .running
            .as_ref()
            .is_none_or(|last| last.pid != found.pid);
        if self.state != State::Dead || !news || !process::is_alive(found.pid) {
            return false;
        }
        let Ok(client) = self.connect(&found) else {
            return false;
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.status()).await;
        // The answer is the proof that the pid is this node's, and not one that was used again.
        if !matches!(answer, Ok(Ok(status)) if status.peer_id == found.peer_id) {
            return false;
        }
        self.process = Process::Theirs(found.pid);
        self.running = Some(found);
        self.client = Some(client);
        self.state = State::Up;
        self.up_since = Some(Instant::now());
        self.restart_at = None;
        true
    }

    /// Sends a signal to the process, if there is one. The commands it runs are its own to end.
    pub(super) fn signal(&self, signal: Signal) {
        let pid = match &self.process {
            Process::None => return,
            Process::Ours(child) => child.id(),
            Process::Theirs(pid) => *pid,
        };
        process::send(pid, signal);
    }

    /// Whether the process is gone; reaps it if it was ours. Ends in `Idle`, not `Dead`.
    pub(super) fn is_gone(&mut self) -> bool {
        let gone = match &mut self.process {
            Process::None => true,
            Process::Ours(child) => !matches!(child.try_wait(), Ok(None)),
            Process::Theirs(pid) => !process::is_alive(*pid),
        };
        if gone {
            self.process = Process::None;
            self.state = State::Idle;
        }
        gone
    }

    /// The pid of the process, if one runs.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.process {
            Process::None => None,
            Process::Ours(child) => Some(child.id()),
            Process::Theirs(pid) => Some(*pid),
        }
    }

    fn connect(&self, running: &NodeFile) -> Result<ApiClient, TestnetError> {
        let path = token_path(&self.home);
        let token = read_small(&path).map_err(|source| TestnetError::Folder { path, source })?;
        ApiClient::new(&running.api, String::from_utf8_lossy(&token).trim()).map_err(|error| {
            TestnetError::Api {
                name: self.name.clone(),
                why: error.to_string(),
            }
        })
    }

    fn log_path(&self) -> PathBuf {
        self.home.join("node.log")
    }
}

impl Drop for Node {
    /// The last resort: whoever could not stop the process in order leaves none behind.
    fn drop(&mut self) {
        match &mut self.process {
            Process::None => {}
            Process::Ours(child) => {
                // Both fail only for a process that is gone already.
                let _ = child.kill();
                let _ = child.wait();
            }
            Process::Theirs(pid) => process::send(*pid, Signal::SIGKILL),
        }
    }
}

fn how_it_ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    let large = path.metadata().is_ok_and(|log| log.len() > LOG_MAX_BYTES);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    if large {
        log.set_len(0)?;
    }
    Ok(log)
}

/// The last lines of a log, each indented; empty if there are none.
fn log_tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // A log that cannot be read has nothing to show; the death itself is told all the same.
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES);
    lines[skipped..]
        .iter()
        .map(|line| format!("\n    {line}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shows_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.log");
        assert_eq!(log_tail(&path), "");
        let text: String = (0..2000).map(|n| format!("line {n}\n\n")).collect();
        std::fs::write(&path, text).unwrap();
        let tail = log_tail(&path);
        assert!(tail.ends_with("line 1999"), "{tail}");
        assert_eq!(
            tail.lines().filter(|line| !line.is_empty()).count(),
            TAIL_LINES
        );
    }

    #[test]
    fn preparing_twice_keeps_the_network() {
        let dir = tempfile::tempdir().unwrap();
        let plan = NodePlan {
            name: "node0".to_owned(),
            ..NodePlan::default()
        };
        Node::prepare(dir.path(), &plan, "testnet-one").unwrap();
        let node = Node::prepare(dir.path(), &plan, "testnet-two").unwrap();
        let settings = Settings::read(node.home()).unwrap();
        assert_eq!(settings.network(), Some("testnet-one"));
        assert_eq!(node.state(), State::Idle);
    }
}
