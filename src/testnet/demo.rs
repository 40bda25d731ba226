//! `junto testnet --demo`: five nodes meet, greet, wake one of them, share a job, lose one of them
//! in the middle of it, and finish with every result right.
//!
//! The demo says nothing that it has not checked: each act returns what it measured or the sentence
//! that says what did not happen, and every wait in it is bounded.

use std::fmt::Display;
use std::time::{Duration, Instant};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use self::job::{Count, Job};
use self::tale::Tale;
use super::fleet::Fleet;
use super::process::Signals;
use super::screen::{Screen, duration};
use super::{Home, Outcome, TestnetError, print_line};

mod cast;
mod job;
mod pages;
mod tale;

/// Five nodes on a slow machine know each other well within this.
const MEET_TIMEOUT: Duration = Duration::from_secs(120);

/// A peer that ada has a session with.
#[derive(Debug, Serialize)]
struct Greeting {
    name: String,
    fingerprint: String,
    rtt_us: u64,
}

/// The steps of the wake-up, in milliseconds since it was sent.
#[derive(Debug, Serialize)]
struct Waking {
    name: String,
    delivered_ms: u64,
    hook_started_ms: u64,
    resumed_ms: u64,
}

/// The kill, and what became of it.
#[derive(Debug, Serialize)]
struct KillReport {
    worker: String,
    page: &'static str,
    task: String,
    lease_lost_after_ms: u64,
    taken_over_by: String,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    nodes: usize,
    converged_ms: u64,
    greetings: Vec<Greeting>,
    waking: Waking,
    killed: KillReport,
    pages: Vec<Count>,
    total_words: usize,
    elapsed_ms: u64,
}

/// Plays the demo. The story goes to stdout; with `json` a report goes there, and the story to
/// stderr.
///
/// # Errors
/// [`TestnetError::Demo`] with the first thing that did not happen; every process is stopped then.
pub async fn demo(json: bool) -> Result<Outcome, TestnetError> {
    let home = Home::temporary()?;
    let mut signals = Signals::new()?;
    let (tale, screen) = (Tale::new(json), Screen::quiet());
    let folder = home.path().canonicalize();
    let folder = folder.map_err(|source| TestnetError::Folder {
        path: home.path().to_owned(),
        source,
    })?;
    let mut fleet = Fleet::open(&folder, &cast::plans(&folder), false)?;
    let played = tokio::select! {
        biased;
        signal = signals.next() => Err(signal),
        report = play(&mut fleet, &tale, &screen) => Ok(report),
    };
    tale.close_bar();
    fleet.stop(&mut signals, &screen).await;
    drop(fleet);
    home.leave(&screen);
    match played {
        Err(signal) => Ok(Outcome {
            status: 128 + u8::try_from(signal as i32).unwrap_or(0),
        }),
        Ok(report) => {
            let report = report?;
            if json {
                let text = serde_json::to_string_pretty(&report)
                    .map_err(|error| failed(format!("no report could be made: {error}")))?;
                print_line(&text)?;
            }
            Ok(Outcome { status: 0 })
        }
    }
}

/// Something did not happen.
fn failed(what: impl Display) -> TestnetError {
    TestnetError::Demo(what.to_string())
}

async fn play(fleet: &mut Fleet, tale: &Tale, screen: &Screen) -> Result<Report, TestnetError> {
    let begun = Instant::now();
    tale.act("Five agents, one machine, and no server between them");

    tale.act("They find each other");
    tale.line("ada starts first. ben, cleo, dan and eve know her address and nothing else.");
    let converged = fleet.bring_up(MEET_TIMEOUT, screen).await.map_err(failed)?;
    tale.good(&format!(
        "After {} each of them knows all five.",
        duration(converged)
    ));

    tale.act("They greet");
    let greetings = cast::greet(fleet).await?;
    for Greeting {
        name,
        fingerprint,
        rtt_us,
    } in &greetings
    {
        tale.line(&format!(
            "ada and {name:<4}  {:>9}  {fingerprint}",
            millis(*rtt_us)
        ));
    }
    tale.line("The keys are theirs alone. The fingerprints can be compared by telephone.");

    tale.act("One of them is woken");
    let waking = cast::wake(fleet).await?;
    tale.line(&format!(
        "ada calls {}: delivered after {} ms, hook started after {} ms.",
        waking.name, waking.delivered_ms, waking.hook_started_ms
    ));
    tale.good(&format!(
        "{} is awake after {} ms.",
        waking.name, waking.resumed_ms
    ));

    tale.act("They share a job");
    tale.line(&format!(
        "The manual has {} pages. How many words? ada hands them out, a page a task.",
        pages::PAGES.len()
    ));
    let job = job::share_out(fleet, tale).await?;
    tell_result(tale, &job);

    let elapsed = begun.elapsed();
    tale.act(&format!(
        "All of it happened, in {}. One worker is dead, and nothing is missing.",
        duration(elapsed)
    ));
    report(converged, greetings, waking, job, elapsed)
}

fn tell_result(tale: &Tale, job: &Job) {
    tale.act("The result");
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    table.set_header(["page", "words", "worker", "attempts"]);
    for count in &job.counts {
        table.add_row([
            count.page.to_owned(),
            count.words.to_string(),
            count.worker.clone(),
            count.attempts.to_string(),
        ]);
    }
    table.add_row(["all", &total(job).to_string(), "", ""]);
    for column in [1, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    tale.line(&table.trim_fmt());
    tale.good(&format!(
        "Counted in {}, and every number is the same when counted again here.",
        duration(job.took)
    ));
}

fn report(
    converged: Duration,
    greetings: Vec<Greeting>,
    waking: Waking,
    job: Job,
    elapsed: Duration,
) -> Result<Report, TestnetError> {
    let total_words = total(&job);
    let missing = || failed("the records of the killed worker's page are not complete");
    Ok(Report {
        nodes: cast::NAMES.len(),
        converged_ms: whole_ms(converged),
        greetings,
        waking,
        killed: KillReport {
            worker: job.victim.name,
            page: job.victim.page,
            task: job.victim.task,
            lease_lost_after_ms: whole_ms(job.victim.lease_lost.ok_or_else(missing)?),
            taken_over_by: job.victim.heir.ok_or_else(missing)?,
        },
        pages: job.counts,
        total_words,
        elapsed_ms: whole_ms(elapsed),
    })
}

fn total(job: &Job) -> usize {
    job.counts.iter().map(|count| count.words).sum()
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// `0.42 ms`.
fn millis(us: u64) -> String {
    format!("{}.{:02} ms", us / 1000, us % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_read_as_milliseconds() {
        assert_eq!(millis(420), "0.42 ms");
        assert_eq!(millis(12_345), "12.34 ms");
    }
}
