//! What a benchmark says: `bench --json` has this form for good.

use std::io;
use std::time::Duration;

use serde::Serialize;

use super::Round;
use super::side::Work;
use crate::cli::output::{self, Listing};

/// The document of `bench --json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    workload: Work,
    ours: Figures,
    baseline: Baseline,
    /// Better when larger; 1 means as fast as the baseline.
    ratio: f64,
    /// What the disk takes in a second from one process that only writes and flushes. No file
    /// arrives faster than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_per_s: Option<f64>,
    #[serde(flatten)]
    tasks: Option<Tasks>,
}

/// What limits tasks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Tasks {
    /// How often both nodes together flushed for one task.
    flushes_per_task: f64,
    /// How long such a flush took.
    flush_us: f64,
    /// What both nodes together computed for one task, the kernel's part in it included.
    cpu_us_per_task: f64,
    /// Group commit's own limit: with 64 under way, four flushes of this length in a row.
    flush_limit_per_s: f64,
    /// What all processors of this machine have time for.
    cpu_limit_per_s: f64,
    /// Eight times the bare flushes, or 10,000.
    goal_per_s: f64,
}

/// Tasks under way at once, and the flushes that each waits for, one after the other.
const UNDER_WAY: f64 = 64.0;
const FLUSHES: f64 = 4.0;
const GOAL_FLUSHES: f64 = 8.0;
const GOAL_PER_S: f64 = 10_000.0;

#[derive(Debug, Serialize)]
struct Baseline {
    name: &'static str,
    #[serde(flatten)]
    figures: Figures,
}

/// One side in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Figures {
    per_s: f64,
    p50_us: f64,
    p99_us: f64,
    /// Of both processes.
    cpu_s: f64,
    /// Of the larger one.
    peak_rss_bytes: u64,
}

/// The rounds of one side, added up.
#[derive(Debug, Default)]
pub(super) struct Tally {
    count: u64,
    elapsed_us: u64,
    /// Latencies and how often; sorted at the end.
    latency_ns: Vec<(u64, u64)>,
    cpu_s: f64,
    peak_rss_bytes: u64,
    flushes: u64,
    flushing_us: u64,
}

impl Tally {
    pub(super) fn add(&mut self, round: Round) {
        self.count += round.measured.count;
        self.elapsed_us += round.measured.elapsed_us;
        self.latency_ns.extend(round.measured.latency_ns);
        self.cpu_s += round.cpu_s;
        self.peak_rss_bytes = self.peak_rss_bytes.max(round.peak_rss_bytes);
        self.flushes += round.flushes;
        self.flushing_us += round.flushing_us;
    }

    pub(super) fn per_s(&self) -> f64 {
        rounded(self.count as f64 * 1e6 / self.elapsed_us.max(1) as f64)
    }

    /// What limits these tasks, on a disk that takes so many flushes.
    fn tasks(&self, bare_per_s: f64) -> Tasks {
        let count = self.count.max(1) as f64;
        let flush_us = self.flushing_us as f64 / self.flushes.max(1) as f64;
        let cpu_us = self.cpu_s * 1e6 / count;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Tasks {
            flushes_per_task: (self.flushes as f64 * 1e3 / count).round() / 1e3,
            flush_us: rounded(flush_us),
            cpu_us_per_task: rounded(cpu_us),
            flush_limit_per_s: rounded(UNDER_WAY * 1e6 / (FLUSHES * flush_us.max(1.0))),
            cpu_limit_per_s: rounded(cores as f64 * 1e6 / cpu_us.max(1.0)),
            goal_per_s: rounded((GOAL_FLUSHES * bare_per_s).min(GOAL_PER_S)),
        }
    }

    fn figures(mut self) -> Figures {
        self.latency_ns.sort_unstable();
        Figures {
            per_s: self.per_s(),
            p50_us: rounded(self.latency_us(0.50)),
            p99_us: rounded(self.latency_us(0.99)),
            cpu_s: (self.cpu_s * 100.0).round() / 100.0,
            peak_rss_bytes: self.peak_rss_bytes,
        }
    }

    /// What this part of all latencies was not above.
    fn latency_us(&self, part: f64) -> f64 {
        let all: u64 = self.latency_ns.iter().map(|(_, times)| times).sum();
        let mut left = (all as f64 * part).ceil() as u64;
        for (ns, times) in &self.latency_ns {
            if left <= *times {
                return *ns as f64 / 1e3;
            }
            left -= times;
        }
        0.0
    }
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

impl Report {
    pub(super) fn new(workload: Work, ours: Tally, baseline: Tally) -> Report {
        let tasks = (workload == Work::Task).then(|| ours.tasks(baseline.per_s()));
        let (ours, figures) = (ours.figures(), baseline.figures());
        let ratio = match workload {
            Work::Talk | Work::Connect => figures.p50_us / ours.p50_us,
            Work::Pipeline | Work::Report | Work::Bulk | Work::Task => ours.per_s / figures.per_s,
        };
        let name = match workload {
            Work::Talk | Work::Pipeline | Work::Connect => {
                "libp2p request-response (TCP, Noise, Yamux)"
            }
            Work::Bulk => "bytes from memory over one libp2p stream (TCP, Noise, Yamux)",
            Work::Task => "flushes of 256 bytes, two processes at once",
            Work::Report => {
                "one Ed25519 signature and one strict verification per message, one core"
            }
        };
        Report {
            workload,
            ours,
            baseline: Baseline { name, figures },
            ratio: (ratio * 1e3).round() / 1e3,
            disk_per_s: None,
            tasks,
        }
    }

    /// Adds what the disk alone can do.
    pub(super) fn with_disk(mut self, bytes: u64, elapsed: Duration) -> Report {
        self.disk_per_s = Some(rounded(bytes as f64 / elapsed.as_secs_f64()));
        self
    }

    fn show_rate(&self, per_s: f64) -> String {
        match self.workload {
            Work::Bulk => output::show_bytes(per_s as u64),
            _ => format!("{per_s:.0}"),
        }
    }

    /// Shows it to a person.
    pub(super) fn show(&self) -> io::Result<()> {
        let mut listing = Listing::new(&["", "PER SECOND", "P50", "P99", "CPU", "MEMORY"]);
        for (name, figures) in [
            ("junto", &self.ours),
            (self.baseline.name, &self.baseline.figures),
        ] {
            listing.row(&[
                name,
                &self.show_rate(figures.per_s),
                &show_us(figures.p50_us),
                &show_us(figures.p99_us),
                &format!("{:.2} s", figures.cpu_s),
                &output::show_bytes(figures.peak_rss_bytes),
            ]);
        }
        listing.write("nothing was measured")?;
        if let Some(per_s) = self.disk_per_s {
            let rate = output::show_bytes(per_s as u64);
            output::line(&format!("this disk alone, written and flushed: {rate}/s"))?;
        }
        if let Some(tasks) = self.tasks {
            output::line(&format!(
                "{:.3} flushes for each task, of both nodes together; one took {}",
                tasks.flushes_per_task,
                show_us(tasks.flush_us)
            ))?;
            output::line(&format!(
                "{} of processor time for each; limits: {:.0}/s by the flushes, {:.0}/s by the \
                 processors; wanted {:.0}/s",
                show_us(tasks.cpu_us_per_task),
                tasks.flush_limit_per_s,
                tasks.cpu_limit_per_s,
                tasks.goal_per_s
            ))?;
        }
        output::line(&format!("{:.2} times the baseline", self.ratio))
    }
}

fn show_us(us: f64) -> String {
    if us < 10_000.0 {
        format!("{us:.1} µs")
    } else {
        format!("{:.1} ms", us / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::bench::Measured;

    fn tally(count: u64, elapsed_us: u64, latency_ns: &[(u64, u64)]) -> Tally {
        let mut tally = Tally::default();
        for _ in 0..2 {
            tally.add(Round {
                measured: Measured {
                    count,
                    elapsed_us,
                    latency_ns: latency_ns.to_vec(),
                },
                cpu_s: 0.5,
                peak_rss_bytes: count,
                flushes: count / 2,
                flushing_us: count * 500,
            });
        }
        tally
    }

    #[test]
    fn rounds_add_up_to_rates_and_percentiles() {
        let figures = tally(100, 1_000_000, &[(9_000, 1), (1_000, 98), (5_000, 1)]).figures();
        let expected = Figures {
            per_s: 100.0,
            p50_us: 1.0,
            p99_us: 5.0,
            cpu_s: 1.0,
            peak_rss_bytes: 100,
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn a_ratio_is_better_when_larger() {
        let fast = || tally(200, 1_000_000, &[(1_000, 200)]);
        let slow = || tally(100, 1_000_000, &[(4_000, 100)]);
        let ratio = |work| Report::new(work, fast(), slow()).ratio;
        assert_eq!(ratio(Work::Talk), 4.0);
        assert_eq!(ratio(Work::Connect), 4.0);
        assert_eq!(ratio(Work::Pipeline), 2.0);
        assert_eq!(ratio(Work::Report), 2.0);
        let tasks = Report::new(Work::Task, fast(), slow());
        let limits = tasks.tasks.expect("of tasks");
        assert_eq!((tasks.ratio, limits.flushes_per_task), (2.0, 0.5));
        assert_eq!(
            (limits.flush_us, limits.flush_limit_per_s),
            (1_000.0, 16_000.0)
        );
        assert_eq!(
            (limits.cpu_us_per_task, limits.goal_per_s),
            (2_500.0, 800.0)
        );
    }

    #[test]
    fn the_document_has_the_promised_form() {
        let report = Report::new(Work::Talk, tally(1, 1, &[(1, 1)]), tally(1, 1, &[(1, 1)]));
        let document = serde_json::to_value(report).expect("plain data");
        let keys = |value: &serde_json::Value| -> Vec<String> {
            let object = value.as_object().expect("an object");
            object.keys().cloned().collect()
        };
        assert_eq!(keys(&document), ["baseline", "ours", "ratio", "workload"]);
        let figures = ["cpu_s", "p50_us", "p99_us", "peak_rss_bytes", "per_s"];
        assert_eq!(keys(&document["ours"]), figures);
        assert_eq!(document["workload"], "talk");
        assert!(keys(&document["baseline"]).contains(&String::from("name")));
    }
}
