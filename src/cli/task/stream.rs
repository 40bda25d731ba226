//! Waiting for a task while what its runs say is shown: on stderr, because the result alone goes to
//! stdout.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use data_encoding::BASE64;
use indicatif::ProgressBar;
use tokio::time::Instant;

use super::super::client::{WAIT_PAUSES_MS, keep_asking};
use super::super::exit::{Exit, Failure};
use super::super::output;
use crate::api::client::ApiClient;
use crate::config::Home;
use crate::proto::node::{TaskEventView, TaskView};

/// One question for news; the rest of the time is asked for again.
const NEWS_WAIT: Duration = Duration::from_secs(20);

/// The task once it has ended.
pub(super) async fn follow(
    home: &Home,
    view: TaskView,
    limit: Duration,
    spinner: &ProgressBar,
) -> Result<TaskView, Failure> {
    let (end, id) = (Instant::now() + limit, view.id.as_str());
    let mut after = None;
    // What the run wrote may end anywhere.
    let mut within_line = false;
    loop {
        let wait = end.saturating_duration_since(Instant::now()).min(NEWS_WAIT);
        if wait.is_zero() {
            let text = format!("the task {id} is past its deadline and has not ended");
            return Err(Failure::new(Exit::Unreachable, text));
        }
        let ask = |client: ApiClient| async move { client.task_events(id, after, wait).await };
        let told = keep_asking(home, &WAIT_PAUSES_MS, ask)
            .await
            .map_err(|failure| {
                failure.hint(format!(
                    "the task is kept: `junto task watch {id}` follows it"
                ))
            })?;
        for event in &told.events {
            if event.kind == "progress" {
                let said = said(event);
                match output::watched() {
                    true => spinner.set_message(format!("{}: {said}", view.capability)),
                    false => tell(&said, &mut within_line)?,
                }
            }
            if let Some(data) = data(event) {
                within_line = !data.ends_with(b"\n");
                spinner.suspend(|| show(&data))?;
            }
        }
        if told.over {
            return Ok(told.task);
        }
        after = Some(told.last);
    }
}

/// How far a run is, in a line.
fn said(event: &TaskEventView) -> String {
    let percent = event.percent.map(|percent| format!("{percent} %"));
    let note = event.note.as_deref().map(|note| output::clean(note.trim()));
    let parts: Vec<String> = percent.into_iter().chain(note).collect();
    parts.join(" ").replace(['\n', '\t'], " ")
}

/// A line of its own on stderr that no person watches.
fn tell(said: &str, within_line: &mut bool) -> io::Result<()> {
    let before = if *within_line { "\n" } else { "" };
    *within_line = false;
    writeln!(io::stderr().lock(), "{before}progress: {said}")
}

fn data(event: &TaskEventView) -> Option<Vec<u8>> {
    BASE64.decode(event.data.as_ref()?.as_bytes()).ok()
}

/// As it is to a program, without control characters to a terminal.
fn show(data: &[u8]) -> io::Result<()> {
    let mut out = io::stderr().lock();
    match out.is_terminal() {
        true => out.write_all(output::clean(&String::from_utf8_lossy(data)).as_bytes()),
        false => out.write_all(data),
    }
}
