//! A side of a benchmark, from without: starting it, telling it what to do, what it costs, and its
//! end, whatever happens here.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::side::{Answer, Order, Ready};
use crate::cli::exit::Failure;
use crate::runtime::bench::Measured;

/// Beyond the time that was asked for.
const PATIENCE: Duration = Duration::from_secs(60);
/// A file that goes more slowly counts as stuck.
const SLOWEST_BYTES_PER_S: u64 = 4 * 1024 * 1024;
const END_PATIENCE: Duration = Duration::from_secs(5);

/// One of two processes that work together. Dropping it kills it.
pub(super) struct Side {
    child: Child,
    pid: u32,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    pub(super) addr: String,
}

impl Side {
    /// Starts this program as a side, and waits until it says where it listens.
    pub(super) async fn start(args: &[&std::ffi::OsStr]) -> Result<Side, Failure> {
        let failed = |error: io::Error| Failure::failed(format!("no process for it: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .arg("__bench")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for us, who then end the sides in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let gone = || Failure::failed("a process of the benchmark ended at its start");
        let orders = child.stdin.take().ok_or_else(gone)?;
        let output = child.stdout.take().ok_or_else(gone)?;
        let mut answers = BufReader::new(output).lines();
        let ready: Ready = line(&mut answers, PATIENCE).await?;
        Ok(Side {
            pid: child.id().ok_or_else(gone)?,
            child,
            orders,
            answers,
            addr: ready.addr,
        })
    }

    /// Has the side do something, and returns what it measured.
    pub(super) async fn order(&mut self, order: Order) -> Result<Measured, Failure> {
        let mut text = serde_json::to_vec(&order).map_err(io::Error::from)?;
        text.push(b'\n');
        let gone = |_| Failure::failed("a process of the benchmark ended");
        self.orders.write_all(&text).await.map_err(gone)?;
        let patience = PATIENCE
            + Duration::from_millis(order.span_ms)
            + Duration::from_secs(order.bytes / SLOWEST_BYTES_PER_S);
        match line(&mut self.answers, patience).await? {
            Answer::Done(measured) => Ok(measured),
            Answer::Failed(what) => Err(Failure::failed(what)),
        }
    }

    pub(super) fn cost(&self) -> Result<Cost, Failure> {
        Cost::of(self.pid)
    }

    /// The memory it has now.
    pub(super) fn rss_bytes(&self) -> Result<u64, Failure> {
        let odd = |_| Failure::failed("a process of the benchmark cannot be read");
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).map_err(odd)?;
        kib(&status, "VmRSS:").ok_or_else(|| Failure::failed("/proc does not read as expected"))
    }

    /// Kills it as the kernel would for want of memory: it is not told.
    pub(super) async fn kill(mut self) -> Result<(), Failure> {
        Ok(self.child.kill().await?)
    }

    /// Ends it in order.
    pub(super) async fn end(mut self) {
        drop(self.orders);
        // Whoever does not end in time is killed when it is dropped.
        let _ = timeout(END_PATIENCE, self.child.wait()).await;
    }
}

async fn line<T: DeserializeOwned>(
    lines: &mut Lines<BufReader<ChildStdout>>,
    patience: Duration,
) -> Result<T, Failure> {
    let failed = |what: &str| Failure::failed(format!("a process of the benchmark {what}"));
    let line = timeout(patience, lines.next_line())
        .await
        .map_err(|_| failed("does not answer"))??
        .ok_or_else(|| failed("ended"))?;
    serde_json::from_str(&line).map_err(|_| failed("answers nonsense"))
}

/// What a process has used since its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) cpu_s: f64,
    pub(super) peak_rss_bytes: u64,
}

impl Cost {
    pub(super) fn of(pid: u32) -> Result<Cost, Failure> {
        let read = |file: &str| {
            let path = Path::new("/proc").join(pid.to_string()).join(file);
            std::fs::read_to_string(path)
                .map_err(|error| Failure::failed(format!("process {pid} cannot be read: {error}")))
        };
        let odd = || Failure::failed(format!("/proc/{pid} does not read as expected"));
        let ticks = cpu_ticks(&read("stat")?).ok_or_else(odd)?;
        let per_second = sysconf(SysconfVar::CLK_TCK)
            .ok()
            .flatten()
            .ok_or_else(odd)?;
        Ok(Cost {
            cpu_s: ticks as f64 / per_second as f64,
            peak_rss_bytes: peak_rss(&read("status")?).ok_or_else(odd)?,
        })
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`; the name in field 2 may hold blanks and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn peak_rss(status: &str) -> Option<u64> {
    kib(status, "VmHWM:")
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_read_whatever_the_program_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 9 0 0 0 120 34 0 0 20 0 1 0 1 1 1";
        assert_eq!(cpu_ticks(stat), Some(154));
        assert_eq!(cpu_ticks("7 (a"), None);
        assert_eq!(peak_rss("VmPeak:\t9 kB\nVmHWM:\t  12 kB\n"), Some(12_288));
        let cost = Cost::of(std::process::id()).expect("we run");
        assert!(cost.cpu_s >= 0.0 && cost.peak_rss_bytes > 100_000);
    }
}
