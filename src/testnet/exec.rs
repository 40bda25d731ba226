//! The command of `--exec`: runs once the testnet is ready, in a process group of its own, so that
//! all it started ends with it.
//!
//! Its group is not the terminal's foreground group, so it is no place for an interactive program;
//! on a terminal its stdin is empty.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::process;
use super::spawn::Spawner;

/// How often the command is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long it and its children may take to stop in order.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// The running command. Dropping it kills the whole group.
pub(super) struct Exec {
    child: Child,
    ended: Option<u8>,
}

impl Exec {
    /// Starts `/bin/sh -c command` with `JUNTO_TESTNET` naming `file`. With `json`, its output goes
    /// to stderr, because stdout holds one document.
    pub(super) fn start(
        spawner: &Spawner,
        command: &str,
        file: &Path,
        json: bool,
    ) -> io::Result<Exec> {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command).env("JUNTO_TESTNET", file);
        if io::stdin().is_terminal() {
            shell.stdin(Stdio::null());
        }
        if json {
            shell.stdout(io::stderr().as_fd().try_clone_to_owned()?);
        }
        Ok(Exec {
            child: spawner.spawn(shell)?,
            ended: None,
        })
    }

    /// Waits for its end. Returns its status as a shell would tell it.
    pub(super) async fn wait(&mut self) -> io::Result<u8> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                let status = shell_status(status);
                self.ended = Some(status);
                return Ok(status);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Stops what is left of its group: all of it when interrupted, stragglers when it has ended.
    pub(super) async fn stop(&mut self) {
        if !process::send_to_group(self.child.id(), Some(Signal::SIGTERM)) {
            return;
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.is_running() && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
    }

    fn is_running(&mut self) -> bool {
        // Reap the leader first: unreaped it would count as a member of its group.
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten().map(shell_status);
        }
        process::send_to_group(self.child.id(), None)
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        process::send_to_group(self.child.id(), Some(Signal::SIGKILL));
        if self.ended.is_none() {
            // It was just killed, so this does not block; an error means it was reaped before.
            let _ = self.child.wait();
        }
    }
}

/// 0 to 255, and 128 more than the signal for one that was killed.
fn shell_status(status: ExitStatus) -> u8 {
    let status = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(status).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn the_status_is_the_commands_own() {
        let spawner = Spawner::new().unwrap();
        for (command, expected) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)] {
            let mut exec = Exec::start(&spawner, command, Path::new("/x"), true).unwrap();
            assert_eq!(
                runtime().block_on(exec.wait()).unwrap(),
                expected,
                "{command}"
            );
        }
    }

    #[test]
    fn it_is_told_where_the_testnet_is() {
        let spawner = Spawner::new().unwrap();
        let command = "test \"$JUNTO_TESTNET\" = /some/testnet.json";
        let mut exec =
            Exec::start(&spawner, command, Path::new("/some/testnet.json"), true).unwrap();
        assert_eq!(runtime().block_on(exec.wait()).unwrap(), 0);
    }

    #[test]
    fn its_children_end_with_it() {
        let spawner = Spawner::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("pid");
        let command = format!("sleep 60 & echo $! > '{}'; exit 3", note.display());
        let mut exec = Exec::start(&spawner, &command, Path::new("/x"), true).unwrap();
        assert_eq!(runtime().block_on(exec.wait()).unwrap(), 3);
        let straggler: u32 = std::fs::read_to_string(&note)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        assert!(process::is_alive(straggler));
        runtime().block_on(exec.stop());
        drop(exec);
        let deadline = Instant::now() + Duration::from_secs(60);
        while process::is_alive(straggler) {
            assert!(Instant::now() < deadline, "the straggler still runs");
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
