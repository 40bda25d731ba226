//! What tasks that wait cost those that are worked on, and the node that holds them.
//!
//! The rate of tasks is measured before ever more tasks of a capability that nobody serves, beside
//! the flushes of that moment. Then the node is killed, and comes back with all of them.

use std::ffi::OsStr;
use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::process::Side;
use super::result::Tally;
use super::side::{Order, Queue, Work};
use super::{Pair, ROUND, WARM_UP, progress};
use crate::cli::exit::Failure;
use crate::cli::output::{self, Listing};
use crate::runtime::bench::Measured;

/// Rates are taken with nothing behind, and then from this many on, ten times as many each.
const FIRST: u64 = 100;

/// The document of `bench task --queued --json`.
#[derive(Debug, Serialize)]
pub(super) struct QueuedReport {
    queued: u64,
    /// Handed over in lists, each on disk before the next.
    filled_per_s: f64,
    /// What the node's memory grew by.
    bytes_per_task: f64,
    rates: Vec<Behind>,
    /// The best of these rates over the worst, each beside its flushes.
    flatness: f64,
    /// From the start of a process that takes over from a killed one until it answers.
    ready_ms: f64,
    first_page_ms: f64,
    all_pages_ms: f64,
    listed: u64,
}

/// A rate with so many tasks that wait.
#[derive(Debug, Serialize)]
struct Behind {
    waiting: u64,
    per_s: f64,
    bare_flushes_per_s: f64,
    ratio: f64,
}

fn order(span: Duration, queue: Option<Queue>) -> Order {
    Order {
        work: Work::Task,
        span_ms: span.as_millis() as u64,
        bytes: 0,
        file: None,
        queue,
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

/// Measures before up to `queued` tasks that wait.
pub(super) async fn measure(queued: u64, seconds: u16) -> Result<QueuedReport, Failure> {
    let mut plain = Pair::plain().await?;
    let mut nodes = Pair::nodes().await?;
    plain.round(order(WARM_UP, None)).await?;
    nodes.round(order(WARM_UP, None)).await?;
    let rounds = Duration::from_secs(seconds.into()).as_millis() / ROUND.as_millis();
    let (mut rates, mut waiting) = (Vec::new(), 0);
    let (mut grown, mut filling_us) = (0, 0);
    for next in std::iter::once(0).chain(steps(queued)) {
        if next > waiting {
            progress(&format!("{next} of {queued} tasks"));
            let before = nodes.driving.rss_bytes()?;
            let fill = Queue::Fill(next - waiting);
            let filled = nodes.driving.order(order(Duration::ZERO, Some(fill)));
            filling_us += filled.await?.elapsed_us;
            grown += nodes.driving.rss_bytes()?.saturating_sub(before);
            waiting = next;
        }
        let (mut bare, mut ours) = (Tally::default(), Tally::default());
        for _ in 0..rounds {
            bare.add(plain.round(order(ROUND, None)).await?);
            ours.add(nodes.round(order(ROUND, None)).await?);
        }
        let (per_s, bare_flushes_per_s) = (ours.per_s(), bare.per_s());
        rates.push(Behind {
            waiting,
            per_s,
            bare_flushes_per_s,
            ratio: (per_s / bare_flushes_per_s * 1e3).round() / 1e3,
        });
    }
    progress("the restart");
    plain.end().await;
    let (ready, listed) = restart(nodes).await?;
    progress("");
    let ratios = || rates.iter().map(|rate| rate.ratio);
    let worst = ratios().fold(f64::INFINITY, f64::min).max(1e-3);
    let best = ratios().fold(0.0, f64::max);
    Ok(QueuedReport {
        queued,
        filled_per_s: (queued as f64 * 1e6 / filling_us.max(1) as f64).round(),
        bytes_per_task: (grown as f64 / queued as f64).round(),
        flatness: (best / worst * 1e2).round() / 1e2,
        rates,
        ready_ms: ms(ready.as_micros() as u64),
        first_page_ms: ms(listed.latency_ns.first().map_or(0, |(ns, _)| ns / 1_000)),
        all_pages_ms: ms(listed.elapsed_us),
        listed: listed.count,
    })
}

/// 100, 1,000 and so on below `queued`, and `queued`.
fn steps(queued: u64) -> impl Iterator<Item = u64> {
    let decades = std::iter::successors(Some(FIRST), |step| step.checked_mul(10));
    let below = decades.take_while(move |step| *step < queued);
    below.chain(std::iter::once(queued))
}

/// Kills the node that holds the tasks and starts it again. How long that took, and the list.
async fn restart(nodes: Pair) -> Result<(Duration, Measured), Failure> {
    let Pair {
        answering,
        driving,
        dirs,
    } = nodes;
    let (_, dir) = dirs.as_ref().expect("nodes have folders");
    driving.kill().await?;
    let began = Instant::now();
    let (kind, to) = (OsStr::new("node"), OsStr::new(&answering.addr));
    let mut driving = Side::start(&[kind, dir.path().as_os_str(), to]).await?;
    let ready = began.elapsed();
    let listed = driving.order(order(Duration::ZERO, Some(Queue::List)));
    let listed = listed.await?;
    driving.end().await;
    answering.end().await;
    Ok((ready, listed))
}

impl QueuedReport {
    /// Shows it to a person.
    pub(super) fn show(&self) -> io::Result<()> {
        let mut listing = Listing::new(&["WAITING", "TASKS/S", "FLUSHES/S", "RATIO"]);
        for rate in &self.rates {
            listing.row(&[
                &rate.waiting.to_string(),
                &format!("{:.0}", rate.per_s),
                &format!("{:.0}", rate.bare_flushes_per_s),
                &format!("{:.3}", rate.ratio),
            ]);
        }
        listing.write("nothing was measured")?;
        output::line(&format!(
            "{} tasks handed over at {:.0}/s, {:.0} bytes of memory each; best ratio over worst {:.2}",
            self.queued, self.filled_per_s, self.bytes_per_task, self.flatness
        ))?;
        output::line(&format!(
            "killed and started: ready after {:.0} ms, first page {:.1} ms, all {} tasks {:.0} ms",
            self.ready_ms, self.first_page_ms, self.listed, self.all_pages_ms
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_taken_at_each_power_of_ten() {
        let at = |queued| steps(queued).collect::<Vec<u64>>();
        assert_eq!(at(100_000), [100, 1_000, 10_000, 100_000]);
        assert_eq!(at(2_500), [100, 1_000, 2_500]);
        assert_eq!(at(7), [7]);
    }
}
