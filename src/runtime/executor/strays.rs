//! Ends what left the process group of its command.
//!
//! Each command has a mark in its environment ([`VARIABLE`]), which what it starts inherits. Once
//! the command has ended, the processes of this machine that bear its mark are killed, in whatever
//! group or session they are. The marks of one node begin alike, so that its guard can end all of
//! them. A mark is random and grants nothing: it says whose a process is.
//!
//! Linux only: elsewhere nothing is found. What took the mark out of its environment, or belongs to
//! a user whose processes we may not look at, is out of reach.
//!
//! Invariants
//! 1. A process is looked at after the one that started it, so one look at each is enough, however
//!    fast they multiply: who was killed starts nothing more, who was not yet looked at has its
//!    children behind it. The order is that in which the kernel gives out numbers.
//! 2. A process is killed by its number right after that number's environment showed the mark: for
//!    another to be hit, the kernel would have to go through all numbers in between.
//! 3. Only processes that began after the run did are looked at, except where so many have that the
//!    numbers may have gone around since.
//!
//! Bounds: one scan at a time, which serves every run that waits for one; [`WALK_MAX`] numbers, and
//! [`BEGINNING_WAIT`] for processes that are just becoming a program and show no environment.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The name of the mark in a command's environment.
pub(super) const VARIABLE: &str = "JUNTO_RUN";

/// The most that is read of an environment; the kernel allows 6 MiB of arguments and environment.
const ENVIRON_MAX_BYTES: u64 = 8 << 20;
/// If more have begun than this, they are taken from the list of all, not tried number by number.
const NEAR: u32 = 512;
/// No scan goes through more numbers than this, should the machine start processes faster than we
/// look at them.
const WALK_MAX: u32 = 1 << 16;
/// More processes and threads than this no machine starts in a millisecond over a longer time.
const BORN_PER_MS_MAX: u128 = 100;
/// How old the kernel's count of processes may be that a run begins with.
const COUNT_AGE_MAX: Duration = Duration::from_millis(200);
/// How often and how long at most a process is waited for that is just becoming a program.
const BEGINNING_POLL: Duration = Duration::from_micros(200);
const BEGINNING_WAIT: Duration = Duration::from_millis(50);
/// How often all processes are gone through where the order of their numbers is not known.
const PASSES_MAX: usize = 20;

/// What a node's commands are told apart by.
pub(super) struct Strays {
    node: String,
    /// How many processes the machine had started, and when that was read.
    counted: Mutex<Option<(Instant, u64)>>,
    waiting: Mutex<Vec<Waiting>>,
    /// Who has it scans.
    turn: tokio::sync::Mutex<()>,
}

struct Waiting {
    began: Began,
    done: Arc<AtomicBool>,
}

/// A mark for one command, and when it was made.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) text: String,
    at: Instant,
    /// How many processes the machine had started by then, or somewhat less; none: unknown.
    count: Option<u64>,
}

/// A command whose process runs, or did.
#[derive(Debug, Clone)]
pub(super) struct Began {
    /// Made before the process.
    pub(super) mark: Mark,
    /// Its first process: what it started has a later number.
    pub(super) pid: i32,
}

impl Strays {
    pub(super) fn new() -> Strays {
        Strays {
            node: format!("{:032x}", rand::random::<u128>()),
            counted: Mutex::default(),
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// What all marks of this node begin with.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// A mark for a command that is about to begin.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            text: format!("{}-{:016x}", self.node, rand::random::<u64>()),
            at: Instant::now(),
            count: self.count(),
        }
    }

    /// What [`born`] said not long ago.
    fn count(&self) -> Option<u64> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = counted.filter(|(at, _)| at.elapsed() < COUNT_AGE_MAX);
        if fresh.is_none() {
            *counted = born().map(|count| (Instant::now(), count));
        }
        counted.map(|(_, count)| count)
    }

    /// Kills what bears the mark of a command that has ended. Beside the async threads; runs that
    /// end while a scan is under way share the next one.
    pub(super) async fn end(&self, began: Began) {
        if !cfg!(target_os = "linux") {
            return;
        }
        let done = Arc::new(AtomicBool::new(false));
        let own = began.clone();
        self.waiting().push(Waiting {
            began,
            done: Arc::clone(&done),
        });
        let _turn = self.turn.lock().await;
        if done.load(Ordering::Acquire) {
            return;
        }
        let all = std::mem::take(&mut *self.waiting());
        let scan = tokio::task::spawn_blocking(move || {
            // Whoever took ours along did not come back: the runtime is being torn down.
            let taken = all
                .iter()
                .any(|waiting| waiting.began.mark.text == own.mark.text);
            let began = all.iter().map(|waiting| &waiting.began);
            let found = end_now(began.chain((!taken).then_some(&own)));
            if !found.killed.is_empty() {
                let count = found.killed.len();
                tracing::debug!(count, "ended what had left the groups of its commands");
            }
            for waiting in &all {
                waiting.done.store(true, Ordering::Release);
            }
        });
        // It fails only with the runtime; then the guard does it.
        let _ = scan.await;
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // Each use is a single operation of the list: a panic elsewhere leaves it whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same on this thread: a millisecond or two on a machine with a thousand processes, and more
/// where all of them have to be looked at.
pub(super) fn end_now<'a>(runs: impl Iterator<Item = &'a Began>) -> Found {
    let runs: Vec<&Began> = runs.collect();
    let marks: BTreeSet<&[u8]> = runs.iter().map(|run| run.mark.text.as_bytes()).collect();
    let mut scan = Scan::new(|mark| marks.contains(mark));
    match Numbers::read().and_then(|numbers| numbers.earliest(&runs)) {
        Some((pid, since)) if since <= NEAR => {
            scan.walked = Some(pid);
            scan.walk();
        }
        Some((pid, _)) => scan.all(Some(pid)),
        None => scan.all(None),
    }
    scan.await_beginning();
    scan.found
}

/// Kills whatever a node's commands left, and comes back when a look at all processes finds nothing
/// more.
pub(super) fn end_all_of(node: &str) -> Found {
    let mut found = Found::default();
    for _ in 0..PASSES_MAX {
        let mut scan = Scan::new(|mark| {
            let rest = mark.strip_prefix(node.as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"-"))
        });
        scan.all(None);
        scan.await_beginning();
        let before = found.killed.len();
        found.killed.append(&mut scan.found.killed);
        found.looked = found.looked.saturating_add(scan.found.looked);
        if found.killed.len() == before {
            break;
        }
    }
    found
}

/// What a scan came to.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Their numbers.
    pub(super) killed: BTreeSet<i32>,
    /// How many numbers were looked at.
    pub(super) looked: u32,
}

/// How many processes and threads the kernel has started since the machine began, in whatever
/// namespace.
fn born() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let count = |line: &str| line.strip_prefix("processes ")?.trim().parse().ok();
    stat.lines().find_map(count)
}

/// How the kernel gives out numbers: one after the other, and from the beginning again.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    /// The one given out last in our namespace.
    last: i32,
    /// None reaches it.
    max: i32,
}

impl Numbers {
    /// None where the kernel does not tell.
    fn read() -> Option<Numbers> {
        let read = |name: &str| -> Option<i32> {
            let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
            text.trim().parse().ok().filter(|number| *number > 0)
        };
        Some(Numbers {
            last: read("ns_last_pid")?,
            max: read("pid_max")?,
        })
    }

    fn next(self, pid: i32) -> i32 {
        match pid.checked_add(1) {
            Some(next) if next < self.max => next,
            _ => 1,
        }
    }

    /// The first of these runs' numbers, behind which all that they started must be, and how many
    /// were given out since. None: they may have gone around.
    fn earliest(self, runs: &[&Began]) -> Option<(i32, u32)> {
        let half = u64::from(self.max.unsigned_abs()) / 2;
        let short = |run: &&&Began| {
            let ms = run.mark.at.elapsed().as_millis().saturating_add(1);
            ms.saturating_mul(BORN_PER_MS_MAX) < u128::from(half)
        };
        if !runs.iter().all(|run| short(&run)) {
            let now = born()?;
            let counts = runs.iter().map(|run| run.mark.count);
            let least = counts.collect::<Option<Vec<u64>>>()?.into_iter().min()?;
            // One that does not count is none.
            if !(1..half).contains(&now.saturating_sub(least)) {
                return None;
            }
        }
        let all = runs.iter().map(|run| (run.pid, self.since(run.pid)));
        all.max_by_key(|(_, since)| *since)
    }

    /// How many were given out after `pid`, if they have not gone around since.
    fn since(self, pid: i32) -> u32 {
        let ahead = i64::from(self.last) - i64::from(pid);
        let ahead = match ahead {
            ahead @ 0.. => ahead,
            behind => behind + i64::from(self.max),
        };
        u32::try_from(ahead).unwrap_or(u32::MAX)
    }
}

struct Scan<F> {
    is_wanted: F,
    own: i32,
    environ: Vec<u8>,
    /// What was given out up to here is looked at.
    walked: Option<i32>,
    /// Those that showed no environment, because they are just becoming a program.
    beginning: Vec<i32>,
    found: Found,
}

impl<F: Fn(&[u8]) -> bool> Scan<F> {
    fn new(is_wanted: F) -> Scan<F> {
        Scan {
            is_wanted,
            own: Pid::this().as_raw(),
            environ: Vec::new(),
            walked: None,
            beginning: Vec::new(),
            found: Found::default(),
        }
    }

    /// Looks at every number that was given out since, those too that are given out meanwhile.
    fn walk(&mut self) {
        let Some(mut pid) = self.walked else { return };
        let mut left = WALK_MAX;
        while let Some(numbers) = Numbers::read().filter(|numbers| numbers.last != pid) {
            while pid != numbers.last {
                if left == 0 {
                    tracing::warn!("processes begin faster than they can be looked at");
                    self.walked = Some(numbers.last);
                    return;
                }
                left -= 1;
                pid = numbers.next(pid);
                self.look(pid);
            }
        }
        self.walked = Some(pid);
    }

    /// Looks at every process there is, or that was given a number behind this, until nothing is
    /// found, and at those that begin meanwhile.
    fn all(&mut self, behind: Option<i32>) {
        let numbers = Numbers::read();
        self.walked = numbers.map(|numbers| numbers.last);
        let since = |pid| numbers.map(|numbers| numbers.since(pid));
        let within = behind.and_then(since).unwrap_or(u32::MAX);
        for _ in 0..PASSES_MAX {
            let before = self.found.killed.len();
            self.pass(|pid| since(pid) <= Some(within));
            if self.found.killed.len() == before {
                break;
            }
        }
        self.walk();
    }

    fn pass(&mut self, is_new: impl Fn(i32) -> bool) {
        let Ok(entries) = fs::read_dir("/proc") else {
            return;
        };
        for entry in entries.map_while(Result::ok) {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid.filter(|pid| is_new(*pid)) {
                self.look(pid);
            }
        }
    }

    /// Kills the process if it is one of those that are sought.
    fn look(&mut self, pid: i32) {
        self.found.looked = self.found.looked.saturating_add(1);
        // 1 is who everybody descends from; what is below would be a group, or everybody.
        if pid <= 1 || pid == self.own {
            return;
        }
        match self.read(pid) {
            // There is none, it is another user's, or it is gone.
            Err(_) => {}
            Ok(()) if self.environ.is_empty() => {
                if is_beginning(pid) {
                    self.beginning.push(pid);
                }
            }
            Ok(()) => {
                if self.bears_mark() && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
                    self.found.killed.insert(pid);
                }
            }
        }
    }

    /// Reads the environment with which a process began its program.
    fn read(&mut self, pid: i32) -> io::Result<()> {
        self.environ.clear();
        let file = File::open(format!("/proc/{pid}/environ"))?;
        file.take(ENVIRON_MAX_BYTES)
            .read_to_end(&mut self.environ)
            .map(drop)
    }

    fn bears_mark(&self) -> bool {
        let mut variables = self.environ.split(|byte| *byte == 0);
        variables.any(|variable| {
            let value = variable.strip_prefix(VARIABLE.as_bytes());
            let mark = value.and_then(|value| value.strip_prefix(b"="));
            mark.is_some_and(&self.is_wanted)
        })
    }

    /// Looks again at those that showed nothing, and at what began since.
    fn await_beginning(&mut self) {
        let until = Instant::now() + BEGINNING_WAIT;
        while !self.beginning.is_empty() && Instant::now() < until {
            thread::sleep(BEGINNING_POLL);
            for pid in std::mem::take(&mut self.beginning) {
                self.look(pid);
            }
            self.walk();
        }
    }
}

/// Whether a process has a program, but not yet its environment: between the two, `exec` shows an
/// empty one. A thread of the kernel and a process that is gone have no program; one that was given
/// an empty environment knows where that ends.
fn is_beginning(pid: i32) -> bool {
    /// `env_end` in `/proc/PID/stat`, counted from the state, which stands behind the name.
    const ENV_END: usize = 48;
    if fs::read_link(format!("/proc/{pid}/exe")).is_err() {
        return false;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest);
    fields.and_then(|rest| rest.split(' ').nth(ENV_END)) == Some("0")
}

#[cfg(test)]
mod tests;
