//! What becomes of a map's results.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::pin::pin;

use data_encoding::BASE64;
use futures::StreamExt;
use serde::Serialize;

use super::large::Given;
use super::progress::Progress;
use super::{Ended, GATHER_MAX_BYTES, Map};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output::{self, show_bytes};
use crate::crypto::hash;
use crate::proto::node::TaskState;
use crate::types::Capability;

/// The document of `task map --json`.
#[derive(Debug, Serialize)]
struct Report {
    map: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    tasks: Vec<Part>,
}

/// One of its tasks; `result` in base64, unless it went to a file.
#[derive(Debug, Serialize)]
struct Part {
    file: String,
    id: String,
    state: TaskState,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Every result, in the order of the files, or each in a file of its own.
pub(super) async fn all(map: &Map<'_>, progress: &Progress, json: bool) -> Outcome {
    let files = destinations(map)?;
    let mut ended: Vec<Option<Ended>> = (0..map.args.files.len()).map(|_| None).collect();
    let (mut report, mut held, mut next) = (Vec::new(), 0, 0);
    let mut tasks = pin!(map.tasks());
    while let Some(one) = tasks.next().await {
        let one = one?;
        note_end(map, progress, &one);
        if let (Some(files), true) = (&files, one.completed()) {
            map.result_into(&one.task.id, &files[one.index]).await?;
        }
        let index = one.index;
        ended[index] = Some(one);
        while let Some(one) = ended.get(next).and_then(Option::as_ref) {
            let wanted = files.is_none() && one.completed();
            let result = match wanted {
                true => Some(map.result(&one.task.id).await?),
                false => None,
            };
            if json {
                held += result.as_ref().map_or(0, Vec::len);
                bounded(held)?;
                report.push(part(map, one, result.as_deref()));
            } else if let Some(result) = result {
                progress.beside(|| output::bytes(&result))?;
            }
            next += 1;
        }
    }
    if json {
        output::json(&document(map, None, report))?;
    }
    conclude(map, progress)
}

/// One task over all results.
pub(super) async fn reduced(
    map: &Map<'_>,
    capability: &Capability,
    progress: &Progress,
    json: bool,
) -> Outcome {
    let mut ended = Vec::new();
    let mut tasks = pin!(map.tasks());
    while let Some(one) = tasks.next().await {
        let one = one?;
        note_end(map, progress, &one);
        ended.push(one);
    }
    conclude(map, progress)?;
    ended.sort_by_key(|one| one.index);
    let completed = ended.iter().filter(|one| one.completed());
    let joined = map.joined(completed.map(|one| &one.task.id[..])).await?;
    // What is large stays in its file until the node has it.
    let given = Given::of_file(joined.path()).await?;
    let body = map.body_of(capability, ["reduce", "reduce file"], &[], &given);
    let task = map.carried_out(&body, &given).await?;
    if task.state != TaskState::Completed {
        let reason = task.reason.as_deref().unwrap_or("no reason was given");
        let (id, state) = (&task.id, task.state.as_str());
        let text = format!("the task {id} that reduces is {state}: {}", reason.trim());
        return Err(Failure::failed(text));
    }
    let parts = ended.iter().map(|one| part(map, one, None)).collect();
    write_one(map, &map.result(&task.id).await?, parts, json)
}

/// The first result that comes.
pub(super) async fn first(map: &Map<'_>, progress: &Progress, json: bool) -> Outcome {
    let mut won = None;
    {
        let mut tasks = pin!(map.tasks());
        while let Some(one) = tasks.next().await {
            let one = one?;
            note_end(map, progress, &one);
            if one.completed() {
                won = Some(one);
                break;
            }
        }
    }
    let Some(won) = won else {
        let text = format!("none of the {} tasks completed", map.args.files.len());
        return Err(progress.failure(text));
    };
    map.cancel_rest().await;
    let result = map.result(&won.task.id).await?;
    write_one(map, &result, vec![part(map, &won, None)], json)
}

/// The result that more than half of the tasks came to.
pub(super) async fn majority(map: &Map<'_>, progress: &Progress, json: bool) -> Outcome {
    let total = map.args.files.len();
    let mut votes: BTreeMap<[u8; 32], usize> = BTreeMap::new();
    let (mut parts, mut won) = (Vec::new(), None);
    {
        let mut tasks = pin!(map.tasks());
        while let Some(one) = tasks.next().await {
            let one = one?;
            note_end(map, progress, &one);
            parts.push(part(map, &one, None));
            if !one.completed() {
                continue;
            }
            let result = map.result(&one.task.id).await?;
            let count = votes.entry(hash("junto task map", &[&result])).or_default();
            *count += 1;
            if *count * 2 > total {
                won = Some(result);
                break;
            }
        }
    }
    let Some(won) = won else {
        let most = votes.values().max().copied().unwrap_or(0);
        let text = format!("no majority: at most {most} of {total} tasks came to the same result");
        return Err(progress.failure(text));
    };
    map.cancel_rest().await;
    write_one(map, &won, parts, json)
}

/// Where results go, if each has a file of its own.
fn destinations(map: &Map<'_>) -> Result<Option<Vec<PathBuf>>, Failure> {
    let Some(dir) = &map.args.into else {
        return Ok(None);
    };
    let unwritable = |error| Failure::failed(format!("{} cannot be made: {error}", dir.display()));
    fs::create_dir_all(dir).map_err(unwritable)?;
    let mut names = BTreeSet::new();
    let mut files = Vec::new();
    for path in &map.args.files {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".out");
        if !names.insert(name.clone()) {
            let text = format!("two results would be called {}", name.display());
            return Err(Failure::usage(text).hint("with --into the names must differ"));
        }
        files.push(dir.join(name));
    }
    Ok(Some(files))
}

fn bounded(held: usize) -> Result<(), Failure> {
    if held <= GATHER_MAX_BYTES {
        return Ok(());
    }
    let limit = show_bytes(GATHER_MAX_BYTES as u64);
    let text = format!("the results are more than {limit} in one document");
    Err(Failure::failed(text).hint("write them to files with --into DIR"))
}

fn note_end(map: &Map<'_>, progress: &Progress, one: &Ended) {
    progress.ended(&one.task);
    if !one.completed() {
        let file = map.args.files[one.index].display();
        let (id, state) = (&one.task.id, one.task.state.as_str());
        let reason = one.task.reason.as_deref().unwrap_or("no reason was given");
        progress.note(&format!(
            "{file}: the task {id} is {state}: {}",
            reason.trim()
        ));
    }
}

fn part(map: &Map<'_>, one: &Ended, result: Option<&[u8]>) -> Part {
    Part {
        file: map.args.files[one.index].display().to_string(),
        id: one.task.id.clone(),
        state: one.task.state,
        result: result.map(|bytes| BASE64.encode(bytes)),
        reason: one.task.reason.clone(),
    }
}

fn document(map: &Map<'_>, result: Option<&[u8]>, tasks: Vec<Part>) -> Report {
    Report {
        map: map.id.to_string(),
        result: result.map(|bytes| BASE64.encode(bytes)),
        tasks,
    }
}

/// The one result of the whole map.
fn write_one(map: &Map<'_>, result: &[u8], parts: Vec<Part>, json: bool) -> Outcome {
    if json {
        output::json(&document(map, Some(result), parts))?;
    } else {
        output::bytes(result)?;
    }
    Ok(Exit::Done)
}

fn conclude(map: &Map<'_>, progress: &Progress) -> Outcome {
    let (failed, allowed) = (progress.failures(), map.args.allow_failed);
    if failed <= allowed {
        return Ok(Exit::Done);
    }
    let total = map.args.files.len();
    let text = format!("{failed} of {total} tasks did not complete, {allowed} may");
    Err(progress
        .failure(text)
        .hint("`junto task show ID` says why one did not"))
}
