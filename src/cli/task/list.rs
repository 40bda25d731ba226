//! `task list`: the tasks handed over, page by page.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::super::client::connect;
use super::super::exit::{Exit, Failure, Outcome};
use super::super::output::{self, Listing};
use super::priority_name;
use crate::api::body::{TASKS_PAGE_MAX, TaskListParams};
use crate::config::Home;
use crate::proto::node::{TaskState, TaskView};
use crate::types::{Capability, Label};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  junto task list --state failed\n  \
    junto task list --label scene=7 --limit 20\n  \
    junto task list --state completed --json | jq -r '.[].id'")]
pub(in crate::cli) struct ListArgs {
    /// Only those in this state.
    #[arg(long, value_name = "STATE", value_parser = state())]
    state: Option<TaskState>,
    /// Only those that want this capability.
    #[arg(long, value_name = "CAP")]
    capability: Option<Capability>,
    /// The parts of tasks that several workers do, too.
    #[arg(long)]
    parts: bool,
    /// Only those with this label.
    #[arg(long, value_name = "LABEL")]
    label: Option<Label>,
    /// Only the newest so many [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

const STATES: [TaskState; 5] = [
    TaskState::Submitted,
    TaskState::Working,
    TaskState::Completed,
    TaskState::Failed,
    TaskState::Canceled,
];

fn state() -> impl TypedValueParser<Value = TaskState> {
    PossibleValuesParser::new(STATES.map(TaskState::as_str)).map(|name| {
        let named = STATES.into_iter().find(|state| state.as_str() == name);
        named.expect("only the names of states pass")
    })
}

pub(super) async fn run(home: &Home, args: ListArgs, json: bool) -> Outcome {
    let tasks = fetch(home, &args).await?;
    if json {
        output::json(&tasks)?;
        return Ok(Exit::Done);
    }
    let mut listing = Listing::new(&[
        "ID",
        "CAPABILITY",
        "STATE",
        "PRIORITY",
        "ATTEMPTS",
        "SUBMITTED",
    ]);
    for task in &tasks {
        listing.row(&[
            &task.id,
            &task.capability,
            task.state.as_str(),
            priority_name(task.priority),
            &task.attempts.len().to_string(),
            &task.submitted,
        ]);
    }
    let nothing = match (args.state, &args.capability, &args.label) {
        (None, None, None) => "no tasks were handed over yet",
        _ => "there are no such tasks",
    };
    listing.write(nothing)?;
    Ok(Exit::Done)
}

/// In the order of submission, however they were fetched.
async fn fetch(home: &Home, args: &ListArgs) -> Result<Vec<TaskView>, Failure> {
    let client = connect(home)?;
    let limit = args.limit.map(|limit| limit as usize);
    let mut tasks: Vec<TaskView> = Vec::new();
    let mut after = None;
    loop {
        let left = limit.map_or(TASKS_PAGE_MAX, |limit| limit.saturating_sub(tasks.len()));
        let params = TaskListParams {
            state: args.state,
            capability: args.capability.as_ref().map(ToString::to_string),
            label: args.label.as_ref().map(ToString::to_string),
            dead: None,
            parts: args.parts.then_some(true),
            after,
            newest: limit.map(|_| true),
            limit: Some(left.min(TASKS_PAGE_MAX)),
        };
        let (page, next) = client.tasks(&params).await?;
        tasks.extend(page);
        after = next;
        if after.is_none() || limit.is_some_and(|limit| tasks.len() >= limit) {
            break;
        }
    }
    if limit.is_some() {
        tasks.reverse();
    }
    Ok(tasks)
}
