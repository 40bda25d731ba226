//! `task`: hand over work, follow it, fetch what it came to.

use std::path::PathBuf;

use clap::Subcommand;
use data_encoding::BASE64;
use serde::Serialize;

use super::client::{REQUEST_PAUSES_MS, connect, keep_asking};
use super::exit::{Exit, Failure, Outcome};
use super::names::TaskRef;
use super::{output, proof};
use crate::api::client::ApiClient;
use crate::config::Home;
use crate::proto::node::{Priority, TaskState};
use crate::types::TaskId;

mod agree;
mod cancel;
mod dead;
mod input;
mod list;
mod map;
mod notify;
mod payload;
mod show;
mod stream;
mod submit;
mod watch;
mod watch_all;

use cancel::CancelArgs;
use dead::{AgainArgs, DeadArgs, WhichArgs};
use input::InputArgs;
use list::ListArgs;
use map::MapArgs;
use notify::NotifyArgs;
use submit::SubmitArgs;
use watch::WatchArgs;

const SHOW_HELP: &str = "\
Example:\n  junto task show 01980000-0000-7000-8000-000000000000\n\n\
CONSIDERED lists the workers that were looked at for the newest attempt, or that keep a waiting task waiting:\n  \
chosen        offered the task\n  \
lighter       drawn as well, and weighed less\n  \
not_drawn     could have had it; two others were drawn\n  \
tried         tried it more often than others\n  \
standing      others are in better reach\n  \
queue         the task would wait there for a slot; others have one free\n  \
full          all its slots, and its queue, hold tasks of ours\n  \
handed_over   gave the task back a moment ago, because others had slots free\n  \
passed_over   refused or was silent a moment ago\n  \
not_named     the task names another (--to)\n  \
label, tier   lacks what the task needs (--need, --min-tier)\n  \
price         asks for more than the reward (--reward)\n  \
apart         does another part of the same work\n  \
unattended    has no agent at the moment that fetches tasks\n  \
draining, unreachable, circuit_open, banned\n                as `junto peers` tells\n  \
free          may have it at any moment";

const RESULT_HELP: &str = "\
Examples:\n  junto task result 01980000-0000-7000-8000-000000000000 > result.txt\n  \
junto task result 01980000-0000-7000-8000-000000000000 --proof task.proof > result.txt\n  \
junto inbox verify task.proof --result result.txt\n\n\
A proof shows which worker signed what result of which task for whom; it does not show that the \
result is right. `inbox verify` checks it without a node.";

#[derive(Debug, Subcommand)]
pub(super) enum TaskCommand {
    /// Hand over a task; prints its id, or with --wait its result.
    Submit(SubmitArgs),
    /// Hand over a task for each of many files, and put their results together.
    Map(MapArgs),
    /// The tasks this node handed over.
    List(ListArgs),
    /// One task with its attempts, and who was considered for it.
    #[command(after_help = SHOW_HELP)]
    Show {
        /// Its id, or a part of it.
        id: TaskRef,
    },
    /// What happens to tasks, as it happens, until they have ended; without ids to all of them.
    Watch(WatchArgs),
    /// Have an address told when a task has ended.
    Notify(NotifyArgs),
    /// Give tasks up.
    Cancel(CancelArgs),
    /// The tasks that failed and kept their input.
    Dead(DeadArgs),
    /// Hand failed tasks over again; prints the ids of the new ones.
    #[command(after_help = "Examples:\n  junto task resubmit \
        01980000-0000-7000-8000-000000000000 --deadline 2h\n  \
        junto task resubmit --all --capability wc")]
    Resubmit(AgainArgs),
    /// Let the inputs of failed tasks go: they cannot be handed over again.
    #[command(after_help = "Examples:\n  junto task drop \
        01980000-0000-7000-8000-000000000000\n  junto task drop --all --capability wc")]
    Drop(WhichArgs),
    /// Write the input that a task was handed over with to stdout or a file.
    Input(InputArgs),
    /// Write a completed task's result to stdout.
    #[command(after_help = RESULT_HELP)]
    Result {
        /// Its id, or a part of it.
        id: TaskRef,
        /// Write what shows to others who signed the result to a file that is not there yet;
        /// without one to stdout, in place of the result.
        #[arg(long, value_name = "FILE", num_args = 0..=1)]
        proof: Option<Option<PathBuf>>,
    },
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
        TaskCommand::Show { id } => show::run(home, &id, json).await,
        TaskCommand::Watch(args) => watch::run(home, args, json).await,
        TaskCommand::Notify(args) => notify::run(home, args, json).await,
        TaskCommand::Cancel(args) => cancel::run(home, &args, json).await,
        TaskCommand::Dead(args) => dead::list(home, &args, json).await,
        TaskCommand::Resubmit(args) => dead::resubmit(home, &args, json).await,
        TaskCommand::Drop(args) => dead::drop_all(home, &args, json).await,
        TaskCommand::Input(args) => input::run(home, &args, json).await,
        TaskCommand::Result { id, proof } => result(home, id.id(home).await?, proof, json).await,
    }
}

async fn result(home: &Home, id: TaskId, proof: Option<Option<PathBuf>>, json: bool) -> Outcome {
    if let Some(out) = proof {
        let text = connect(home)?.task_proof(id).await?;
        proof::save(&text, out.as_deref())?;
        if out.is_none() {
            return Ok(Exit::Done);
        }
    }
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
    if !json {
        let ask = |client: ApiClient| async move { client.result_stream(id).await };
        let stream = keep_asking(home, &REQUEST_PAUSES_MS, ask).await?;
        return payload::write(id, payload::Part::Result, stream).await;
    }
    let ask = |client: ApiClient| async move { client.result(id).await };
    let done = keep_asking(home, &REQUEST_PAUSES_MS, ask).await?;
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
    Ok(Exit::Done)
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
