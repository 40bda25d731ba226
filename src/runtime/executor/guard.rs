//! The guard: a process that outlives a killed node just long enough to kill its commands.
//!
//! The node holds one end of a pipe, the guard reads the other: `+N` says that process group N
//! runs, `-N` that it is gone. When the node dies, however it does, the kernel closes its end; the
//! guard meets the end of the pipe, kills every group it knows, and ends.
//!
//! It stands in a process group of its own and ignores signals, so that neither Ctrl-C at the
//! terminal nor a signal to the node's group takes it away before its work is done. It holds no
//! file of the node's but the pipe, and nothing of its environment.
//!
//! A guard that died by itself is noticed with the next command, and replaced; the new one is told
//! of every group that runs. The kernel's parent-death signal would cover that gap for the shell
//! alone, not for its children, and needs code between fork and exec: left out.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::time::sleep;

use super::GUARD_SUBCOMMAND;

/// Becomes the program behind it, deaf to signals from its first instruction on: what is ignored
/// stays ignored across `exec`.
const DEAF: &str = r#"trap "" HUP INT QUIT TERM; exec "$0" "$@""#;

const STOP_POLL: Duration = Duration::from_millis(10);
const STOP_POLLS_MAX: u32 = 100;

/// The node's side.
pub(super) struct Guard {
    exe: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    process: Option<Process>,
    /// Every group that runs.
    groups: BTreeSet<i32>,
}

struct Process {
    child: Child,
    pipe: ChildStdin,
}

impl Guard {
    /// Starts the guard, if there is a program to start.
    pub(super) fn start(exe: Option<PathBuf>) -> Guard {
        let guard = Guard {
            exe,
            state: Mutex::default(),
        };
        guard.tell(|_| String::new());
        guard
    }

    /// Says that a group runs.
    pub(super) fn add(&self, group: i32) {
        self.tell(|state| {
            state.groups.insert(group);
            format!("+{group}\n")
        });
    }

    /// Says that a group is gone.
    pub(super) fn remove(&self, group: i32) {
        self.tell(|state| {
            state.groups.remove(&group);
            format!("-{group}\n")
        });
    }

    /// Ends the guard. Nothing it knows runs any more by then.
    pub(super) async fn stop(&self) {
        let Some(Process { mut child, pipe }) = self.state().process.take() else {
            return;
        };
        drop(pipe);
        for _ in 0..STOP_POLLS_MAX {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            sleep(STOP_POLL).await;
        }
        let _ = child.kill().and_then(|()| child.wait());
    }

    /// Applies a change and passes it on; a guard that does not take it is replaced.
    fn tell(&self, change: impl FnOnce(&mut State) -> String) {
        let Some(exe) = &self.exe else { return };
        let mut state = self.state();
        let line = change(&mut state);
        if let Some(process) = &mut state.process {
            // A line is shorter than what a pipe takes whole or not at all.
            if process.pipe.write_all(line.as_bytes()).is_ok() {
                return;
            }
            tracing::warn!("the guard of the commands is gone: starting another");
        }
        if let Some(Process { mut child, pipe }) = state.process.take() {
            // Dead before its pipe ends: one that only hung must not take the end for ours.
            let _ = child.kill().and_then(|()| child.wait());
            drop(pipe);
        }
        match Process::spawn(exe, &state.groups) {
            Ok(process) => state.process = Some(process),
            Err(error) => tracing::warn!(
                exe = %exe.display(), %error,
                "no guard could be started: commands would survive a kill -9 of this node"
            ),
        }
    }

    /// Kills the guard behind the node's back.
    #[cfg(test)]
    pub(super) fn kill_for_test(&self) {
        let mut state = self.state();
        let child = &mut state.process.as_mut().expect("the guard was started").child;
        child
            .kill()
            .and_then(|()| child.wait())
            .expect("a child can be killed and awaited");
    }

    #[cfg(test)]
    pub(super) fn pid_for_test(&self) -> u32 {
        let state = self.state();
        state
            .process
            .as_ref()
            .expect("the guard was started")
            .child
            .id()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The set is whole after a panic; at worst the guard is replaced once more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    fn spawn(exe: &PathBuf, groups: &BTreeSet<i32>) -> io::Result<Process> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", DEAF])
            .arg(exe)
            .arg(GUARD_SUBCOMMAND)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = child
            .stdin
            .take()
            .ok_or_else(|| io::Error::other("it has no pipe"))?;
        // A guard that hangs must not make the node hang.
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut process = Process { child, pipe };
        for group in groups {
            process.pipe.write_all(format!("+{group}\n").as_bytes())?;
        }
        Ok(process)
    }
}

/// The guard's side: what the program does when it is called with [`GUARD_SUBCOMMAND`]. Reads
/// stdin to its end; needs no runtime, no settings and no log.
pub fn guard_main() -> ExitCode {
    for group in follow(io::stdin().lock()) {
        // An error says that nobody is left in it.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    ExitCode::SUCCESS
}

/// Reads the node's lines to the end; what is left are the groups that run.
fn follow(input: impl BufRead) -> BTreeSet<i32> {
    let mut groups = BTreeSet::new();
    for line in input.lines().map_while(Result::ok) {
        let Some((sign, number)) = line.split_at_checked(1) else {
            continue;
        };
        match (sign, number.parse()) {
            // 0 and 1 would be our own group and everybody.
            ("+", Ok(group @ 2..)) => groups.insert(group),
            ("-", Ok(group)) => groups.remove(&group),
            _ => continue,
        };
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_and_not_removed_is_left() {
        let lines = "+5\n+7\n-5\n+0\n+1\n+-9\nx\n\n+x\n-8\n+9\n";
        assert_eq!(follow(lines.as_bytes()), BTreeSet::from([7, 9]));
    }
}
