//! Starting processes that cannot outlive this one, however it ends.
//!
//! On Linux a child asks the kernel for SIGKILL when its parent dies. The kernel counts the
//! *thread* that forked as the parent, so every start goes through one thread that lives exactly
//! as long as its [`Spawner`]: neither a runtime that retires a worker thread nor the order in
//! which things are dropped can hit a child too early or leave one behind.
//! Elsewhere there is no such signal; there only an orderly end, or a panic, stops the children.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// One start on its way to the thread.
struct Request {
    command: Command,
    reply: mpsc::SyncSender<io::Result<Child>>,
}

/// The thread that starts processes. Dropping it kills whatever of them still runs (Linux).
pub(super) struct Spawner {
    requests: Option<mpsc::SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Spawner {
    /// Starts the thread.
    pub(super) fn new() -> io::Result<Spawner> {
        let (requests, inbox) = mpsc::sync_channel::<Request>(1);
        let thread = thread::Builder::new()
            .name("testnet-spawner".to_owned())
            .spawn(move || {
                for Request { mut command, reply } in inbox {
                    let child = command.spawn();
                    if let Err(mpsc::SendError(Ok(mut orphan))) = reply.send(child) {
                        // Nobody waits for it any more. Both errors mean that it is gone already.
                        let _ = orphan.kill();
                        let _ = orphan.wait();
                    }
                }
            })?;
        Ok(Spawner {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    /// Starts `command` in a process group of its own, so that the terminal's Ctrl-C reaches only
    /// this process, which then stops the others in order. Blocks for one fork and exec.
    pub(super) fn spawn(&self, mut command: Command) -> io::Result<Child> {
        command.process_group(0);
        tie_to_parent(&mut command);
        let (reply, answer) = mpsc::sync_channel(1);
        let gone = || io::Error::other("the thread that starts processes is gone");
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests
            .send(Request { command, reply })
            .map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // An error is a panic of the thread, which has been printed already.
            let _ = thread.join();
        }
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the kernel must be asked between fork and exec")]
fn tie_to_parent(command: &mut Command) {
    use nix::errno::Errno;
    use nix::sys::prctl::set_pdeathsig;
    use nix::sys::signal::Signal;
    use nix::unistd::{getpid, getppid};

    let parent = getpid();
    let tie = move || -> io::Result<()> {
        set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died between the fork and the line above: then no signal comes.
        if getppid() == parent {
            Ok(())
        } else {
            Err(Errno::ESRCH.into())
        }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. `tie` makes two
    // plain system calls, neither allocates nor locks, and its errors are bare numbers.
    unsafe {
        command.pre_exec(tie);
    }
}

#[cfg(not(target_os = "linux"))]
fn tie_to_parent(_command: &mut Command) {}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn sleeper() -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec sleep 60"]);
        command
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn children_die_with_their_spawner() {
        let spawner = Spawner::new().unwrap();
        let mut child = spawner.spawn(sleeper()).unwrap();
        assert!(child.try_wait().unwrap().is_none());
        drop(spawner);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn a_child_leads_its_own_group() {
        let spawner = Spawner::new().unwrap();
        let mut child = spawner.spawn(sleeper()).unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        assert_eq!(nix::unistd::getpgid(Some(pid)).unwrap(), pid);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_command_that_does_not_exist_is_an_error() {
        let spawner = Spawner::new().unwrap();
        let error = spawner
            .spawn(Command::new("/nonexistent/junto"))
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
