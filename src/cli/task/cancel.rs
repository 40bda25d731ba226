//! `task cancel`: gives tasks up, one by one or all with a label.

use clap::Args;

use super::super::client::connect;
use super::super::exit::{Exit, Failure, Outcome};
use super::super::names::TaskRef;
use super::super::output;
use crate::api::body::TaskListParams;
use crate::api::client::{ApiClient, ClientError};
use crate::config::Home;
use crate::proto::node::{TaskState, TaskView};
use crate::types::Label;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  junto task cancel 01980000-0000-7000-8000-000000000000\n  \
    junto task cancel 0198c2a4 0198c2b1\n  \
    junto task cancel --label map=01980000-0000-7000-8000-000000000000"
)]
pub(in crate::cli) struct CancelArgs {
    /// Their ids, or parts of them.
    #[arg(
        value_name = "ID",
        conflicts_with = "label",
        required_unless_present = "label"
    )]
    ids: Vec<TaskRef>,
    /// All that have this label and have not ended, such as those of a map.
    #[arg(long, value_name = "LABEL")]
    label: Option<Label>,
}

/// One that cannot be given up keeps no other from it.
pub(super) async fn run(home: &Home, args: &CancelArgs, json: bool) -> Outcome {
    let client = connect(home)?;
    let ids = match &args.label {
        Some(label) => open(&client, label).await?,
        None => {
            let ids = TaskRef::ids(&args.ids, home).await?;
            ids.iter().map(ToString::to_string).collect()
        }
    };
    let (mut done, mut refused): (Vec<TaskView>, Vec<Failure>) = (Vec::new(), Vec::new());
    for id in &ids {
        match client.cancel(id).await {
            Ok(view) => done.push(view),
            // Who names a label means what has not ended.
            Err(ClientError::Problem { code, .. })
                if args.label.is_some() && code == "conflict" => {}
            Err(error) => refused.push(error.into()),
        }
    }
    if json {
        match (&done[..], args.ids.len()) {
            ([view], 1) => output::json(view)?,
            ([], 1) => {}
            _ => output::json(&done)?,
        }
    } else {
        tell(&done, args);
    }
    match refused.pop() {
        None => Ok(Exit::Done),
        Some(only) if refused.is_empty() => Err(only),
        Some(last) => {
            let last = last.to_string();
            let why = last.lines().next().unwrap_or_default();
            let text = format!(
                "{} tasks were not given up; the last: {why}",
                refused.len() + 1
            );
            Err(Failure::failed(text))
        }
    }
}

fn tell(done: &[TaskView], args: &CancelArgs) {
    match (done, &args.label) {
        ([], None) => {}
        ([view], _) => eprintln!("The task {} is given up.", view.id),
        ([], Some(label)) => eprintln!("No task with the label {label} was to be given up."),
        (more, _) => eprintln!("{} tasks are given up.", more.len()),
    }
}

/// Those with the label that have not ended.
async fn open(client: &ApiClient, label: &Label) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for state in [TaskState::Submitted, TaskState::Working] {
        let mut params = TaskListParams {
            state: Some(state),
            label: Some(label.to_string()),
            ..TaskListParams::default()
        };
        loop {
            let (page, next) = client.tasks(&params).await?;
            ids.extend(page.into_iter().map(|task| task.id));
            params.after = next;
            if params.after.is_none() {
                break;
            }
        }
    }
    // One that a worker took between the two lists stands in both.
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
