//! `bench`: how fast this is, beside what libp2p alone does with the same work.
//!
//! Two nodes and two plain libp2p processes run on loopback, and the rounds of the two pairs take
//! turns, so that whatever else the machine does hits both. With `--peer` the running node takes
//! the place of our pair.

mod plain;
mod process;
mod queued;
mod result;
mod side;

use std::ffi::OsStr;
use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use rand::{Rng as _, SeedableRng};
use tempfile::{NamedTempFile, TempDir};

use self::process::{Cost, Side};
use self::result::{Report, Tally};
use self::side::{Order, Work};
use super::client::{block_on, connect};
use super::exit::{Exit, Failure, Outcome};
use super::output;
use crate::api::body::BenchBody;
use crate::api::client::ApiClient;
use crate::config::Home;
use crate::crypto::Rng;
use crate::proto::node::PeerRef;
use crate::runtime::bench::{Measured, Traffic};
use crate::types::limits::QUEUE_MAX_TASKS;

pub(super) use self::side::SideArgs;

/// A round's length; as many are run as fit into `--seconds`.
const ROUND: Duration = Duration::from_millis(500);
/// Before the first round that counts, each pair has one of this length.
const WARM_UP: Duration = Duration::from_millis(200);
const WARM_UP_BYTES: u64 = 16 * 1024 * 1024;
/// A file is sent so often, by each side.
const FILES: u32 = 2;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  junto bench talk\n  junto bench pipeline --seconds 10 --json | jq .ratio\n  \
    junto bench talk --peer alice\n  \
    junto bench task --queued 100000"
)]
pub(super) struct BenchArgs {
    /// What to measure.
    #[arg(value_enum)]
    workload: Work,
    /// Let the running node measure the way to this peer: a unique name, an id or a part of one.
    #[arg(long)]
    peer: Option<PeerRef>,
    /// How long each side works.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// With `task`: how fast it is before so many tasks that nobody takes, what they cost, and how
    /// long the node takes to come back with them.
    #[arg(long, value_name = "N", conflicts_with = "peer",
        value_parser = clap::value_parser!(u64).range(1..=QUEUE_MAX_TASKS as u64))]
    queued: Option<u64>,
    /// How large the file of `bulk` is, such as 512MiB.
    #[arg(long, default_value = "1GiB", value_parser = size_bytes)]
    size: u64,
}

pub(super) fn run(home: &Home, args: BenchArgs, json: bool) -> Outcome {
    block_on(async {
        // A first Ctrl-C ends the processes and removes their files.
        if let Some(queued) = args.queued {
            if args.workload != Work::Task {
                return Err(Failure::usage("only `bench task` takes --queued"));
            }
            let report = tokio::select! {
                report = queued::measure(queued, args.seconds) => report?,
                _ = tokio::signal::ctrl_c() => return Err(Failure::failed("interrupted")),
            };
            match json {
                true => output::json(&report)?,
                false => report.show()?,
            }
            return Ok(Exit::Done);
        }
        let report = tokio::select! {
            report = measure(home, &args) => report?,
            _ = tokio::signal::ctrl_c() => return Err(Failure::failed("interrupted")),
        };
        if json {
            output::json(&report)?;
        } else {
            report.show()?;
        }
        Ok(Exit::Done)
    })
}

/// A process that `bench` starts. On threads of its own, as a node is: also what drives it is a
/// task, for the way from one thread to another costs as much as a message.
pub(super) fn run_side(args: SideArgs) -> Outcome {
    let failed = |error: String| Failure::failed(format!("this process failed: {error}"));
    let runtime = tokio::runtime::Runtime::new().map_err(|error| failed(error.to_string()))?;
    runtime
        .block_on(async { tokio::spawn(side::run(args)).await })
        .map_err(|error| failed(error.to_string()))?
}

async fn measure(home: &Home, args: &BenchArgs) -> Result<Report, Failure> {
    let mut plain = Pair::plain().await?;
    let mut ours = match &args.peer {
        Some(peer) => Ours::Node(Remote::new(home, peer, args.workload)?),
        None => Ours::Pair(Pair::nodes().await?),
    };
    let work = args.workload;
    let order = |span: Duration, bytes| Order {
        work,
        span_ms: span.as_millis() as u64,
        bytes,
        file: None,
        queue: None,
    };
    let warm_up = order(WARM_UP, WARM_UP_BYTES.min(args.size));
    plain.round(warm_up.clone()).await?;
    ours.round(warm_up).await?;
    let span = Duration::from_secs(args.seconds.into());
    let rounds = match work {
        Work::Bulk => FILES,
        _ => (span.as_millis() / ROUND.as_millis()) as u32,
    };
    let (mut baseline_tally, mut our_tally) = (Tally::default(), Tally::default());
    let mut disk = Duration::ZERO;
    for round in 1..=rounds {
        progress(&format!("{round} of {rounds}"));
        baseline_tally.add(plain.round(order(ROUND, args.size)).await?);
        our_tally.add(ours.round(order(ROUND, args.size)).await?);
        if work == Work::Bulk {
            disk += disk_alone(args.size).await?;
        }
    }
    progress("");
    plain.end().await;
    if let Ours::Pair(pair) = ours {
        pair.end().await;
    }
    let report = Report::new(work, our_tally, baseline_tally);
    Ok(match work {
        Work::Bulk => report.with_disk(args.size * u64::from(rounds), disk),
        _ => report,
    })
}

/// How long the disk takes to write and flush a file of so many bytes.
async fn disk_alone(bytes: u64) -> Result<Duration, Failure> {
    let write = move || {
        let mut file = tempfile::tempfile()?;
        let mut block = vec![0; 1 << 20];
        Rng::from_rng(&mut rand::rng()).fill_bytes(&mut block);
        let (began, mut left) = (Instant::now(), bytes);
        while left > 0 {
            let count = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all(&block[..count])?;
            left -= count as u64;
        }
        file.sync_all()?;
        Ok::<Duration, std::io::Error>(began.elapsed())
    };
    let written = tokio::task::spawn_blocking(write).await;
    Ok(written.map_err(std::io::Error::other).flatten()?)
}

/// `1GiB`, `512MiB`, or bytes.
fn size_bytes(text: &str) -> Result<u64, String> {
    const MAX: u64 = 64 << 30;
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(String::from("write 512MiB, 1GiB or a number of bytes")),
    };
    match digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit))
    {
        Some(bytes @ 1..=MAX) => Ok(bytes),
        _ => Err(String::from("use 1 to 64GiB")),
    }
}

/// One line on a terminal, which the next one replaces.
fn progress(text: &str) {
    if output::watched() {
        let mut err = std::io::stderr().lock();
        // A terminal that is gone is no reason to stop.
        let _ = write!(err, "\r\x1b[K{text}").and_then(|()| err.flush());
    }
}

/// What a round came to, and what it cost.
struct Round {
    measured: Measured,
    cpu_s: f64,
    peak_rss_bytes: u64,
    /// Of both nodes, where tasks were measured; and how long they took.
    flushes: u64,
    flushing_us: u64,
}

impl Round {
    fn new(measured: Measured, before: [Cost; 2], after: [Cost; 2]) -> Round {
        let cpu_s = |costs: &[Cost; 2]| costs.iter().map(|cost| cost.cpu_s).sum::<f64>();
        Round {
            measured,
            cpu_s: cpu_s(&after) - cpu_s(&before),
            peak_rss_bytes: after
                .map(|cost| cost.peak_rss_bytes)
                .into_iter()
                .max()
                .unwrap_or(0),
            flushes: 0,
            flushing_us: 0,
        }
    }
}

/// Two processes: one answers, one drives.
struct Pair {
    answering: Side,
    driving: Side,
    /// Where nodes keep their files.
    dirs: Option<(TempDir, TempDir)>,
}

impl Pair {
    async fn plain() -> Result<Pair, Failure> {
        let kind = OsStr::new("plain");
        let answering = Side::start(&[kind]).await?;
        let driving = Side::start(&[kind, OsStr::new(&answering.addr)]).await?;
        Ok(Pair {
            answering,
            driving,
            dirs: None,
        })
    }

    async fn nodes() -> Result<Pair, Failure> {
        let dir = || {
            tempfile::tempdir()
                .map_err(|error| Failure::failed(format!("no temporary folder: {error}")))
        };
        let (a, b) = (dir()?, dir()?);
        let kind = OsStr::new("node");
        let answering = Side::start(&[kind, a.path().as_os_str()]).await?;
        let to = OsStr::new(&answering.addr);
        let driving = Side::start(&[kind, b.path().as_os_str(), to]).await?;
        Ok(Pair {
            answering,
            driving,
            dirs: Some((a, b)),
        })
    }

    async fn round(&mut self, mut order: Order) -> Result<Round, Failure> {
        if order.work == Work::Task {
            return match self.dirs {
                Some(_) => self.task_round(order).await,
                None => self.flush_round(order).await,
            };
        }
        let file = match (&self.dirs, order.work) {
            (Some((_, dir)), Work::Bulk) => Some(random_file(dir, order.bytes)?),
            _ => None,
        };
        order.file = file
            .as_ref()
            .map(|file| file.path().to_string_lossy().into_owned());
        let before = self.costs()?;
        let measured = self.driving.order(order).await?;
        Ok(Round::new(measured, before, self.costs()?))
    }

    /// Tasks, and how often both nodes flushed for them.
    async fn task_round(&mut self, order: Order) -> Result<Round, Failure> {
        let flushed = self.flushes(&order).await?;
        let before = self.costs()?;
        let measured = self.driving.order(order.clone()).await?;
        let mut round = Round::new(measured, before, self.costs()?);
        let (flushes, flushing_us) = self.flushes(&order).await?;
        round.flushes = flushes - flushed.0;
        round.flushing_us = flushing_us - flushed.1;
        Ok(round)
    }

    /// How often both nodes have flushed so far, and for how many microseconds.
    async fn flushes(&mut self, order: &Order) -> Result<(u64, u64), Failure> {
        let order = Order {
            span_ms: 0,
            ..order.clone()
        };
        let one = self.answering.order(order.clone()).await?;
        let other = self.driving.order(order).await?;
        Ok((one.count + other.count, one.elapsed_us + other.elapsed_us))
    }

    /// What two processes at once get out of the disk that the nodes use.
    async fn flush_round(&mut self, mut order: Order) -> Result<Round, Failure> {
        let dir = tempfile::tempdir()?;
        order.file = Some(dir.path().to_string_lossy().into_owned());
        let before = self.costs()?;
        let both = tokio::try_join!(
            self.answering.order(order.clone()),
            self.driving.order(order)
        );
        let (one, mut other) = both?;
        other.count += one.count;
        other.elapsed_us = other.elapsed_us.max(one.elapsed_us);
        other.latency_ns.extend(one.latency_ns);
        Ok(Round::new(other, before, self.costs()?))
    }

    fn costs(&self) -> Result<[Cost; 2], Failure> {
        Ok([self.answering.cost()?, self.driving.cost()?])
    }

    async fn end(self) {
        self.driving.end().await;
        self.answering.end().await;
    }
}

/// A file of random bytes, on disk. Each differs from those before: a receiver need not store again
/// what it has.
fn random_file(dir: &TempDir, bytes: u64) -> Result<NamedTempFile, Failure> {
    let mut file = NamedTempFile::new_in(dir)?;
    let mut block = vec![0; 1 << 20];
    let mut rng = Rng::from_rng(&mut rand::rng());
    let mut left = bytes;
    while left > 0 {
        let count = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        rng.fill_bytes(&mut block[..count]);
        file.write_all(&block[..count])?;
        left -= count as u64;
    }
    file.as_file().sync_all()?;
    Ok(file)
}

/// Our half of the comparison.
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
enum Ours {
    Pair(Pair),
    Node(Remote),
}

impl Ours {
    async fn round(&mut self, order: Order) -> Result<Round, Failure> {
        match self {
            Ours::Pair(pair) => pair.round(order).await,
            Ours::Node(remote) => remote.round(order).await,
        }
    }
}

/// The running node, and the peer to which it measures. Its own costs are all that is seen.
struct Remote {
    client: ApiClient,
    pid: u32,
    peer: PeerRef,
    traffic: Traffic,
}

impl Remote {
    fn new(home: &Home, peer: &PeerRef, work: Work) -> Result<Remote, Failure> {
        let traffic = match work {
            Work::Talk => Traffic::Talk,
            Work::Pipeline => Traffic::Pipeline,
            Work::Report => Traffic::Report,
            Work::Bulk => {
                let what = "the file would stay with the peer";
                return Err(Failure::usage(what).hint("`junto send` shows how fast a file goes"));
            }
            Work::Task => {
                let what = "the peer would be handed real tasks";
                return Err(Failure::usage(what).hint("run `junto bench task` without --peer"));
            }
            Work::Connect => {
                let what = "the running node keeps its session with a peer, so it cannot begin one";
                return Err(Failure::usage(what).hint("run `junto bench connect` without --peer"));
            }
        };
        let running = home
            .running()?
            .ok_or_else(|| Failure::not_running(Some(home.path())))?;
        Ok(Remote {
            client: connect(home)?,
            pid: running
                .pid
                .ok_or_else(|| Failure::not_running(Some(home.path())))?,
            peer: peer.clone(),
            traffic,
        })
    }

    async fn round(&self, order: Order) -> Result<Round, Failure> {
        let before = Cost::of(self.pid)?;
        let body = BenchBody {
            peer: self.peer.to_string(),
            traffic: self.traffic,
            span_ms: order.span_ms,
        };
        let measured = self.client.bench(&body).await?;
        let after = Cost::of(self.pid)?;
        Ok(Round {
            measured,
            cpu_s: after.cpu_s - before.cpu_s,
            peak_rss_bytes: after.peak_rss_bytes,
            flushes: 0,
            flushing_us: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_people_do() {
        assert_eq!(size_bytes("7"), Ok(7));
        assert_eq!(size_bytes("512MiB"), Ok(512 << 20));
        assert_eq!(size_bytes("64GiB"), Ok(64 << 30));
        for wrong in [
            "",
            "0",
            "GiB",
            "1 GiB",
            "1GB",
            "-1",
            "65GiB",
            "99999999999999999999",
        ] {
            assert!(size_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
