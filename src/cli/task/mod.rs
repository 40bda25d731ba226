//! `task`: hand over work, follow it, fetch what it came to.

use clap::Subcommand;
use data_encoding::BASE64;
use serde::Serialize;

use super::client::{REQUEST_PAUSES_MS, connect, keep_asking};
use super::exit::{Exit, Failure, Outcome};
use super::output::{self, Listing, short, show_bytes};
use crate::api::client::ApiClient;
use crate::config::Home;
use crate::proto::node::{Priority, TaskState, TaskView};
use crate::types::TaskId;

mod dead;
mod list;
mod map;
mod notify;
mod submit;
mod watch;

use dead::{DeadArgs, WhichArgs};
use list::ListArgs;
use map::MapArgs;
use notify::NotifyArgs;
use submit::SubmitArgs;
use watch::WatchArgs;

#[derive(Debug, Subcommand)]
pub(super) enum TaskCommand {
    /// Hand over a task; prints its id, or with --wait its result.
    Submit(SubmitArgs),
    /// Hand over a task for each of many files, and put their results together.
    Map(MapArgs),
    /// The tasks this node handed over.
    List(ListArgs),
    /// One task with its attempts.
    #[command(after_help = "Example:\n  junto task show 01980000-0000-7000-8000-000000000000")]
    Show { id: TaskId },
    /// What happens to tasks, as it happens, until they have ended.
    Watch(WatchArgs),
    /// Have an address told when a task has ended.
    Notify(NotifyArgs),
    /// Give a task up.
    #[command(after_help = "Example:\n  junto task cancel 01980000-0000-7000-8000-000000000000")]
    Cancel { id: TaskId },
    /// The tasks that failed and kept their input.
    Dead(DeadArgs),
    /// Hand failed tasks over again; prints the ids of the new ones.
    #[command(after_help = "Examples:\n  junto task resubmit \
        01980000-0000-7000-8000-000000000000\n  junto task resubmit --all --capability wc")]
    Resubmit(WhichArgs),
    /// Let the inputs of failed tasks go: they cannot be handed over again.
    #[command(after_help = "Examples:\n  junto task drop \
        01980000-0000-7000-8000-000000000000\n  junto task drop --all --capability wc")]
    Drop(WhichArgs),
    /// Write a completed task's result to stdout.
    #[command(
        after_help = "Example:\n  junto task result 01980000-0000-7000-8000-000000000000 > result.txt"
    )]
    Result { id: TaskId },
}

/// The document of `task submit --json` and `task result --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    id: &'a str,
    state: TaskState,
    #[serde(flatten)]
    end: Option<End>,
}

/// What a task came to; `result` in base64.
#[derive(Debug, Serialize)]
struct End {
    result: Option<String>,
    worker: Option<String>,
    attempts: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) async fn run(home: &Home, command: TaskCommand, json: bool) -> Outcome {
    match command {
        TaskCommand::Submit(args) => submit::run(home, args, json).await,
        TaskCommand::Map(args) => map::run(home, args, json).await,
        TaskCommand::List(args) => list::run(home, args, json).await,
        TaskCommand::Show { id } => show(&connect(home)?.task(id).await?, json),
        TaskCommand::Watch(args) => watch::run(home, args, json).await,
        TaskCommand::Notify(args) => notify::run(home, args, json).await,
        TaskCommand::Cancel { id } => cancel(home, id, json).await,
        TaskCommand::Dead(args) => dead::list(home, &args, json).await,
        TaskCommand::Resubmit(args) => dead::resubmit(home, &args, json).await,
        TaskCommand::Drop(args) => dead::drop_all(home, &args, json).await,
        TaskCommand::Result { id } => result(home, id, json).await,
    }
}

async fn result(home: &Home, id: TaskId, json: bool) -> Outcome {
    let view = connect(home)?.task(id).await?;
    if view.state == TaskState::Completed {
        return write_result(home, &view.id, json).await;
    }
    let text = format!(
        "the task {} has no result: it is {}",
        view.id,
        view.state.as_str()
    );
    Err(Failure::failed(text).hint(format!("`junto task show {}` says why", view.id)))
}

async fn write_result(home: &Home, id: &str, json: bool) -> Outcome {
    let ask = |client: ApiClient| async move { client.result(id).await };
    let done = keep_asking(home, &REQUEST_PAUSES_MS, ask).await?;
    if json {
        let end = Some(End {
            result: Some(BASE64.encode(&done.result)),
            worker: done.worker,
            attempts: done.attempts,
            reason: None,
        });
        output::json(&Report {
            id,
            state: TaskState::Completed,
            end,
        })?;
    } else {
        output::bytes(&done.result)?;
    }
    Ok(Exit::Done)
}

async fn cancel(home: &Home, id: TaskId, json: bool) -> Outcome {
    let view = connect(home)?.cancel(id).await?;
    if json {
        output::json(&view)?;
    }
    conclude_cancel(&view)?;
    if !json {
        eprintln!("The task {} is given up.", view.id);
    }
    Ok(Exit::Done)
}

/// A task that came to another end first cannot be given up.
fn conclude_cancel(view: &TaskView) -> Outcome {
    if view.state.is_terminal() && view.state != TaskState::Canceled {
        let text = format!("the task {} is {} already", view.id, view.state.as_str());
        return Err(Failure::failed(text));
    }
    Ok(Exit::Done)
}

fn show(task: &TaskView, json: bool) -> Outcome {
    if json {
        output::json(task)?;
        return Ok(Exit::Done);
    }
    for (label, value) in describe(task) {
        output::line(&format!("{label:<12}{value}"))?;
    }
    if task.attempts.is_empty() {
        return Ok(Exit::Done);
    }
    output::line("")?;
    let mut listing = Listing::new(&["WORKER", "TOKEN", "STARTED", "ENDED", "OUTCOME"]);
    for attempt in &task.attempts {
        listing.row(&[
            &short(&attempt.worker),
            &attempt.token.to_string(),
            &attempt.started,
            attempt.ended.as_deref().unwrap_or("-"),
            &attempt.outcome,
        ]);
    }
    listing.write("")?;
    if task.attempts_cut > 0 {
        output::line(&format!("and {} more before", task.attempts_cut))?;
    }
    Ok(Exit::Done)
}

fn describe(task: &TaskView) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("id", task.id.clone()),
        ("capability", task.capability.clone()),
        ("state", task.state.as_str().to_owned()),
        ("priority", priority_name(task.priority).to_owned()),
        ("submitted", task.submitted.clone()),
    ];
    lines.extend(task.start_at.clone().map(|at| ("start", at)));
    lines.push(("deadline", task.deadline.clone()));
    lines.extend(task.key.clone().map(|key| ("key", key)));
    lines.push(("input", show_bytes(task.input_bytes as u64)));
    lines.extend(
        task.result_bytes
            .map(|bytes| ("result", show_bytes(bytes as u64))),
    );
    let named = [("repeats", &task.prior), ("repeated by", &task.again)];
    for (label, id) in named {
        lines.extend(id.clone().map(|id| (label, id)));
    }
    if task.dead {
        let text = String::from("its input is kept: `junto task resubmit` tries once more");
        lines.push(("dead letter", text));
    }
    lines.extend(
        task.reason
            .as_ref()
            .map(|reason| ("reason", reason.trim().to_owned())),
    );
    lines
}

fn priority_name(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High => "high",
        Priority::Critical => "critical",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reports_have_the_form_of_the_interface() {
        let submitted = Report {
            id: "i",
            state: TaskState::Submitted,
            end: None,
        };
        let value = serde_json::to_value(&submitted).expect("JSON");
        assert_eq!(value, json!({"id": "i", "state": "submitted"}));
        let end = Some(End {
            result: Some(String::from("Mw==")),
            worker: Some(String::from("ent1")),
            attempts: 1,
            reason: None,
        });
        let value = serde_json::to_value(Report {
            id: "i",
            state: TaskState::Completed,
            end,
        });
        let expected = json!({
            "id": "i", "state": "completed", "result": "Mw==", "worker": "ent1", "attempts": 1
        });
        assert_eq!(value.expect("JSON"), expected);
    }
}
