//! `task watch`: what happens to tasks, as it happens, over restarts of the node. Without ids that is
//! all of them: see `watch_all`.
//!
//! On a terminal one line a task that changes; elsewhere one line an event, or with `--json` one
//! JSON document a line.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use futures::future::try_join_all;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::client::{WAIT_PAUSES_MS, connect, keep_asking};
use super::super::exit::{Exit, Failure, Outcome};
use super::super::names::{Names, TaskRef};
use super::super::output::{self, short};
use super::watch_all::{self, AllArgs};
use crate::api::client::ApiClient;
use crate::config::Home;
use crate::proto::node::{TaskEventView, TaskEventsView, TaskState, TaskView};
use crate::types::TaskId;

/// One question for news; then it is asked again.
pub(super) const NEWS_WAIT: Duration = Duration::from_secs(20);
/// Each is a request that stays open.
const WATCHED_MAX: usize = 64;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  junto task watch 01980000-0000-7000-8000-000000000000\n  \
    junto --json task watch 01980000-0000-7000-8000-000000000000 --from 1763712000004\n  \
    junto task watch\n  \
    junto --json task watch --label run=42 --kind completed,failed,canceled\n\n\
    Without an ID it watches all tasks of this node, those that come, too, until Ctrl-C. Their events \
    have numbers of their own; of a task with many of them it shows fewer than with its ID: of what a \
    run says the newest, and that it wrote something, but not what."
)]
pub(in crate::cli) struct WatchArgs {
    /// The ids of the tasks, or parts of them; up to 64 [default: all tasks].
    #[arg(value_name = "ID", num_args = 1..=WATCHED_MAX)]
    ids: Vec<TaskRef>,
    #[command(flatten)]
    all: AllArgs,
    /// Only what happened after the event with this number [default: all that is kept].
    #[arg(long, value_name = "NUMBER")]
    from: Option<u64>,
}

/// Follows tasks to their ends.
pub(super) async fn run(home: &Home, args: WatchArgs, json: bool) -> Outcome {
    if args.ids.is_empty() {
        return watch_all::run(home, &args.all, args.from, json).await;
    }
    // Without a node now, there is none to be waited for.
    let names = Names::ask(&connect(home)?).await;
    let screen = Screen::new(json);
    let ids = TaskRef::ids(&args.ids, home).await?;
    let follow = ids.iter().map(|id| {
        let line = screen.line(*id);
        follow(home, *id, args.from, line, &names)
    });
    let ended = try_join_all(follow).await?;
    conclude(&ended)
}

/// The task once it has ended; each event is shown on the way.
async fn follow(
    home: &Home,
    id: TaskId,
    mut after: Option<u64>,
    line: Line,
    names: &Names,
) -> Result<TaskView, Failure> {
    loop {
        let ask = |client: ApiClient| async move { client.task_events(id, after, NEWS_WAIT).await };
        let told =
            keep_asking(home, &WAIT_PAUSES_MS, ask)
                .await
                .map_err(|failure| match after {
                    Some(number) => {
                        failure.hint(format!("`junto task watch {id} --from {number}` goes on"))
                    }
                    None => failure,
                })?;
        line.show(&told, names)?;
        if told.over {
            line.close(&told.task);
            return Ok(told.task);
        }
        after = Some(told.last);
    }
}

fn conclude(ended: &[TaskView]) -> Outcome {
    let failed: Vec<&TaskView> = ended
        .iter()
        .filter(|task| task.state != TaskState::Completed)
        .collect();
    let Some(first) = failed.first() else {
        return Ok(Exit::Done);
    };
    let reason = first.reason.as_deref().unwrap_or("no reason was given");
    let (id, state, reason) = (&first.id, first.state.as_str(), reason.trim());
    let text = match failed.len() {
        1 => format!("the task {id} is {state}: {reason}"),
        more => format!("{more} tasks did not complete; the task {id} is {state}: {reason}"),
    };
    Err(Failure::failed(text).hint(format!("`junto task show {id}` lists the attempts")))
}

/// How events are shown.
enum Screen {
    Json,
    Plain,
    Live(MultiProgress),
}

impl Screen {
    fn new(json: bool) -> Screen {
        if json {
            return Screen::Json;
        }
        if !io::stdout().is_terminal() {
            return Screen::Plain;
        }
        Screen::Live(MultiProgress::with_draw_target(ProgressDrawTarget::stdout()))
    }

    fn line(&self, id: TaskId) -> Line {
        match self {
            Screen::Json => Line::Json(id),
            Screen::Plain => Line::Plain(id),
            Screen::Live(all) => {
                let style = ProgressStyle::with_template("{prefix}  {elapsed:>4}  {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner());
                let bar = all.add(ProgressBar::new_spinner().with_style(style));
                bar.set_prefix(short(&id.to_string()));
                bar.enable_steady_tick(Duration::from_secs(1));
                Line::Live(bar)
            }
        }
    }
}

/// Where one task's events are shown.
enum Line {
    Json(TaskId),
    Plain(TaskId),
    Live(ProgressBar),
}

impl Line {
    fn show(&self, told: &TaskEventsView, names: &Names) -> io::Result<()> {
        match self {
            Line::Json(id) => {
                if told.reset {
                    let reset = serde_json::json!({"id": id, "kind": "reset", "task": told.task});
                    output::bytes(format!("{reset}\n").as_bytes())?;
                }
                for event in &told.events {
                    output::bytes(format!("{}\n", document(*id, event)).as_bytes())?;
                }
            }
            Line::Plain(id) => {
                if told.reset {
                    let state = told.task.state.as_str();
                    output::line(&format!(
                        "- {id} reset: it is {state}, what is kept follows"
                    ))?;
                }
                for event in &told.events {
                    let text = sentence(event, names);
                    output::line(&format!("{} {id} {text}", event.at).replace('\n', " "))?;
                }
            }
            Line::Live(bar) => {
                if let Some(event) = told.events.last() {
                    let cap = &told.task.capability;
                    let text = output::clean(&sentence(event, names)).replace(['\n', '\t'], " ");
                    bar.set_message(format!("{cap}  {text}"));
                }
            }
        }
        Ok(())
    }

    fn close(&self, task: &TaskView) {
        if let Line::Live(bar) = self {
            let (cap, tries) = (&task.capability, task.attempts.len());
            let reason = output::clean(task.reason.as_deref().unwrap_or_default());
            let reason = reason.trim().replace(['\n', '\t'], " ");
            let state = task.state.as_str();
            bar.abandon_with_message(format!("{cap}  {state} after {tries} attempts  {reason}"));
        }
    }
}

fn document(id: TaskId, event: &TaskEventView) -> serde_json::Value {
    let mut document = serde_json::json!({"id": id, "number": event.number});
    if let (Some(object), Ok(serde_json::Value::Object(rest))) =
        (document.as_object_mut(), serde_json::to_value(event))
    {
        object.extend(rest);
    }
    document
}

/// An event in words.
pub(super) fn sentence(event: &TaskEventView, names: &Names) -> String {
    let worker = event.worker.as_deref().map(|worker| names.show(worker));
    let mut text = event.kind.replace('_', " ");
    if let Some(worker) = worker {
        text.push_str(match event.kind.as_str() {
            "offered" | "not_sent" => " to ",
            "completed" | "refused" => " by ",
            _ => " at ",
        });
        text.push_str(&worker);
    }
    if let Some(percent) = event.percent {
        text.push_str(&format!(": {percent} %"));
    }
    if event.offset.is_some() {
        match (&event.text, &event.data) {
            (Some(said), _) => text.push_str(&format!(": {}", said.trim_end())),
            (None, Some(_)) => text.push_str(": bytes that are no text"),
            (None, None) => {}
        }
    }
    if let Some(note) = &event.note {
        text.push_str(": ");
        text.push_str(note.trim());
    }
    if let Some(times) = event.times {
        text.push_str(&format!(", {times} times"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str) -> TaskEventView {
        TaskEventView {
            number: 7,
            kind: kind.to_owned(),
            at: String::from("2026-01-01T00:00:00Z"),
            worker: Some(String::from("alice")),
            token: Some(1),
            note: None,
            times: None,
            percent: None,
            offset: None,
            data: None,
            text: None,
        }
    }

    #[test]
    fn events_read_as_sentences() {
        assert_eq!(
            sentence(&event("offered"), &Names::default()),
            "offered to alice"
        );
        let failed = TaskEventView {
            note: Some(String::from("status 1\n")),
            ..event("attempt_failed")
        };
        assert_eq!(
            sentence(&failed, &Names::default()),
            "attempt failed at alice: status 1"
        );
        let refused = TaskEventView {
            note: Some(String::from("busy")),
            times: Some(3),
            ..event("refused")
        };
        assert_eq!(
            sentence(&refused, &Names::default()),
            "refused by alice: busy, 3 times"
        );
    }

    #[test]
    fn a_json_line_names_the_task() {
        let id: TaskId = "01980000-0000-7000-8000-000000000000"
            .parse()
            .expect("an id");
        let line = document(id, &event("working"));
        assert_eq!(line["id"], "01980000-0000-7000-8000-000000000000");
        assert_eq!(line["number"], 7);
        assert_eq!(line["kind"], "working");
        assert_eq!(line["worker"], "alice");
    }
}
