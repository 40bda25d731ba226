//! `task dead`, `task resubmit`, `task drop`: failed tasks, and what is to become of them.

use clap::Args;

use super::super::args::{priority, span_ms};
use super::super::client::{REQUEST_PAUSES_MS, connect, keep_asking};
use super::super::exit::{Exit, Failure, Outcome};
use super::super::names::TaskRef;
use super::super::output::{self, Listing};
use crate::api::body::{ResubmitBody, TaskListParams};
use crate::api::client::ApiClient;
use crate::config::Home;
use crate::proto::node::{PeerRef, Priority, TaskView};
use crate::types::Capability;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  junto task dead\n  \
    junto task dead --capability wc --json | jq -r '.[].reason'")]
pub(in crate::cli) struct DeadArgs {
    /// Only those that want this capability.
    #[arg(long, value_name = "CAP")]
    capability: Option<Capability>,
}

/// Which of the failed tasks.
#[derive(Debug, Args)]
pub(in crate::cli) struct WhichArgs {
    /// Their ids, or parts of them.
    #[arg(value_name = "ID", conflicts_with = "all")]
    ids: Vec<TaskRef>,
    /// All that kept their input.
    #[arg(long)]
    all: bool,
    /// With --all: only those that want this capability.
    #[arg(long, value_name = "CAP", requires = "all")]
    capability: Option<Capability>,
}

/// Which to hand over again, and how.
#[derive(Debug, Args)]
pub(in crate::cli) struct AgainArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// How long each may take in all from now [default: as long as it had].
    #[arg(long, value_name = "TIME", value_parser = span_ms)]
    deadline: Option<u64>,
    /// The one worker to take: a unique name, an id or a part of one [default: as it was].
    #[arg(long, value_name = "PEER")]
    to: Option<PeerRef>,
    /// What goes first when the queue is long [default: as it was].
    #[arg(long, value_parser = priority())]
    priority: Option<Priority>,
}

pub(super) async fn list(home: &Home, args: &DeadArgs, json: bool) -> Outcome {
    let tasks = fetch(home, args.capability.as_ref()).await?;
    if json {
        output::json(&tasks)?;
        return Ok(Exit::Done);
    }
    let mut listing = Listing::new(&["ID", "CAPABILITY", "SUBMITTED", "ATTEMPTS", "REASON"]);
    for task in &tasks {
        let attempts = task.attempts.len() + task.attempts_cut as usize;
        listing.row(&[
            &task.id,
            &task.capability,
            &task.submitted,
            &attempts.to_string(),
            task.reason.as_deref().unwrap_or("-").trim(),
        ]);
    }
    listing.write("no failed task kept its input")?;
    Ok(Exit::Done)
}

pub(super) async fn resubmit(home: &Home, args: &AgainArgs, json: bool) -> Outcome {
    let body = &ResubmitBody {
        deadline_ms: args.deadline,
        to: args.to.as_ref().map(ToString::to_string),
        priority: args.priority,
    };
    let mut done: Vec<TaskView> = Vec::new();
    for id in args.which.ids(home).await? {
        let id = id.as_str();
        let ask = |client: ApiClient| async move { client.resubmit(id, body).await };
        let view = keep_asking(home, &REQUEST_PAUSES_MS, ask).await?;
        if !json {
            output::line(&view.id)?;
        }
        done.push(view);
    }
    if json {
        output::json(&done)?;
    }
    Ok(Exit::Done)
}

pub(super) async fn drop_all(home: &Home, args: &WhichArgs, json: bool) -> Outcome {
    let mut done: Vec<TaskView> = Vec::new();
    for id in args.ids(home).await? {
        done.push(connect(home)?.drop_task(id).await?);
    }
    if json {
        output::json(&done)?;
    } else {
        eprintln!("The inputs of {} failed tasks are gone.", done.len());
    }
    Ok(Exit::Done)
}

impl WhichArgs {
    async fn ids(&self, home: &Home) -> Result<Vec<String>, Failure> {
        if !self.all && self.ids.is_empty() {
            let text =
                "no failed task is named: give ids, or --all for every one that kept its input";
            return Err(
                Failure::usage(text).hint("`junto task dead` lists them with their reasons")
            );
        }
        if !self.all {
            let ids = TaskRef::ids(&self.ids, home).await?;
            return Ok(ids.iter().map(ToString::to_string).collect());
        }
        let tasks = fetch(home, self.capability.as_ref()).await?;
        Ok(tasks.into_iter().map(|task| task.id).collect())
    }
}

async fn fetch(home: &Home, capability: Option<&Capability>) -> Result<Vec<TaskView>, Failure> {
    let client = connect(home)?;
    let mut params = TaskListParams {
        capability: capability.map(ToString::to_string),
        dead: Some(true),
        ..TaskListParams::default()
    };
    let mut tasks = Vec::new();
    loop {
        let (page, next) = client.tasks(&params).await?;
        tasks.extend(page);
        params.after = next;
        if params.after.is_none() {
            return Ok(tasks);
        }
    }
}
