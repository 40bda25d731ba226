//! A whole network of cores in one thread, under virtual time and one seed.
//!
//! The world is weaker than the real one: messages are delayed, lost with an unknown outcome and
//! delivered twice; links work one way; partitions come and go; clocks are off, run at their own
//! rate and jump; keys are rotated; disks forget what was not flushed, and get short of room; nodes
//! stand still, or crash between any two outputs and start again from what their disk kept. Safety is checked after every step
//! (`checker`, and the cores' own checks); liveness once the faults are over: every task reaches
//! its end, its client learns of it, and no worker holds anything any more.
//!
//! Everything is drawn from the seed, so a failure replays: its message says how. Invariants
//! beside those of the cores:
//!
//! - **C1** A command is answered once, **C2** a watch ends with a terminal state.
//! - **P1** Nobody is banned: every node here is honest, its network is not.
//! - **M1** Nothing that a node keeps in memory outgrows its limit; in every third world limits are so
//!   small that they are come to.
//! - **L1** After the faults every task ends, **L2** in a bounded number of steps, **L3** and none
//!   waits beside a worker that is idle.
//!
//! Where to look: `world` takes events and applies outputs, `network` carries
//! messages, `gossip` what needs no answer, `disk` forgets, `room` is short, `clock` is off, `host` is one machine,
//! `client` gives it work, `faults` draws what goes wrong, `peaks` says how much there was, `trace` remembers.

mod checker;
mod client;
mod clock;
mod disk;
mod faults;
mod files;
mod gossip;
mod host;
mod network;
mod peaks;
mod room;
mod stage;
mod trace;
mod world;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

pub use faults::{FaultCounts, Outcomes};
pub use peaks::Peaks;
pub use world::World;

use crate::proto::Violation;

/// How many lines the replay of a failure shows at least.
const HISTORY_LINES: usize = 60;

/// How large a world is and how long it lasts, in virtual time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorldConfig {
    /// At least 2.
    pub nodes: usize,
    /// At least 4: the first ones bring what must end badly.
    pub tasks: usize,
    /// Tasks are submitted until then.
    pub submit_ms: u64,
    /// Faults strike until then.
    pub calm_ms: u64,
    /// By then everything must be over.
    pub end_ms: u64,
    /// How many of its last lines a failure shows; [`run`] shows some in any case.
    pub history_lines: usize,
}

impl Default for WorldConfig {
    fn default() -> WorldConfig {
        WorldConfig {
            nodes: 5,
            tasks: 20,
            submit_ms: 20_000,
            calm_ms: 60_000,
            end_ms: 240_000,
            history_lines: 0,
        }
    }
}

/// What happened in one world, or in many together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub seeds: u64,
    pub steps: u64,
    pub virtual_ms: u64,
    /// A hash of all that happened; the same for the same seeds, in whatever order they ran.
    pub trace: u64,
    pub faults: FaultCounts,
    pub outcomes: Outcomes,
    pub peaks: Peaks,
}

impl Report {
    fn add(&mut self, other: &Report) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.virtual_ms += other.virtual_ms;
        self.trace ^= other.trace;
        self.faults.add(&other.faults);
        self.outcomes.add(&other.outcomes);
        self.peaks.add(&other.peaks);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            seeds,
            steps,
            virtual_ms,
            trace,
            faults,
            outcomes,
            peaks,
        } = self;
        let hours = *virtual_ms as f64 / 3.6e6;
        writeln!(
            f,
            "{seeds} worlds, {steps} steps, {hours:.1} h of their time, trace {trace:016x}"
        )?;
        write!(f, "what went wrong:\n{faults}what came of it:\n{outcomes}")?;
        write!(f, "most that was kept:\n{peaks}")
    }
}

/// A world in which something did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub seed: u64,
    /// Virtual time.
    pub at_ms: u64,
    pub step: u64,
    pub violation: Violation,
    /// The last steps, if they were recorded.
    pub history: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.history {
            writeln!(f, "{line}")?;
        }
        let Failure {
            seed,
            at_ms,
            step,
            violation,
            ..
        } = self;
        writeln!(
            f,
            "seed {seed}, step {step}, after {at_ms} ms: {} does not hold: {}",
            violation.invariant, violation.detail
        )?;
        write!(
            f,
            "replay: JUNTO_SIM_SEED={seed} cargo test --release --test simulation -- --nocapture"
        )
    }
}

impl std::error::Error for Failure {}

/// Runs one world. A failure is played once more to show its last steps.
///
/// # Errors
/// What did not hold.
pub fn run(seed: u64, config: &WorldConfig) -> Result<Report, Failure> {
    World::new(seed, config).run().map_err(|failure| {
        let history_lines = config.history_lines.max(HISTORY_LINES);
        let config = WorldConfig {
            history_lines,
            ..*config
        };
        World::new(seed, &config).run().err().unwrap_or(failure)
    })
}

/// Runs many worlds, `threads` at a time, and adds up their reports.
///
/// # Errors
/// The failure with the lowest seed among those that were run; no new world begins after one.
pub fn run_many(
    seeds: Range<u64>,
    threads: usize,
    config: &WorldConfig,
) -> Result<Report, Failure> {
    let next = AtomicU64::new(seeds.start);
    let state: Mutex<(Report, Option<Failure>)> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let result = run(seed, config);
                    let mut state = state.lock().expect("no thread panics while it holds this");
                    match result {
                        Ok(report) => state.0.add(&report),
                        Err(failure) => {
                            next.store(seeds.end, Ordering::Relaxed);
                            if state
                                .1
                                .as_ref()
                                .is_none_or(|first| failure.seed < first.seed)
                            {
                                state.1 = Some(failure);
                            }
                        }
                    }
                }
            });
        }
    });
    let (report, failure) = state
        .into_inner()
        .expect("no thread panics while it holds this");
    failure.map_or(Ok(report), Err)
}
