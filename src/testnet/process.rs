//! Signals to processes, and the signals that end this one.

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tokio::signal::unix::{self, SignalKind};

use super::TestnetError;

/// Sends `signal` to the process `pid`. One that is gone already is no error.
pub(super) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = to_pid(pid) {
        // ESRCH: gone, which is what a signal is for here. EPERM cannot happen to our own.
        let _ = signal::kill(pid, signal);
    }
}

/// Sends `signal` to every process of the group that `pid` leads. False when nobody is left.
pub(super) fn send_to_group(pid: u32, signal: Option<Signal>) -> bool {
    to_pid(pid).is_some_and(|group| signal::killpg(group, signal).is_ok())
}

/// Whether the process runs: it exists and is not merely waiting to be reaped by its parent.
pub(super) fn is_alive(pid: u32) -> bool {
    to_pid(pid).is_some_and(|pid| signal::kill(pid, None).is_ok()) && !is_zombie(pid)
}

#[cfg(target_os = "linux")]
fn is_zombie(pid: u32) -> bool {
    // "PID (NAME) STATE …": the name may hold anything, so look behind its last bracket.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| {
            stat.rsplit_once(')')
                .map(|(_, rest)| rest.trim_start().starts_with('Z'))
        })
        .unwrap_or(false)
}

#[cfg(not(target_os = "linux"))]
fn is_zombie(_pid: u32) -> bool {
    false
}

/// 0 and negative numbers mean groups or everybody to the system, so they never pass.
fn to_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 0)
        .map(Pid::from_raw)
}

/// Ctrl-C, SIGTERM and the end of the terminal, from the moment this is made.
pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// Starts to listen.
    pub(super) fn new() -> Result<Signals, TestnetError> {
        let listen = |kind| unix::signal(kind).map_err(TestnetError::Signals);
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.terminate.recv() => Signal::SIGTERM,
            _ = self.hangup.recv() => Signal::SIGHUP,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_running_processes_are_alive() {
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(0));
        assert!(!is_alive(u32::MAX));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        for _ in 0..6_000 {
            if !is_alive(pid) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        // Not reaped yet, but not alive either.
        assert!(cfg!(not(target_os = "linux")) || !is_alive(pid));
        child.wait().unwrap();
        assert!(!is_alive(pid));
    }
}
