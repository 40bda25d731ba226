//! `task input`: what a task was handed over with, as long as it is kept.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use data_encoding::BASE64;
use serde_json::json;

use super::super::client::{REQUEST_PAUSES_MS, keep_asking};
use super::super::exit::{Exit, Failure, Outcome};
use super::super::names::TaskRef;
use super::super::output;
use super::payload;
use crate::api::client::{ApiClient, ResultStream};
use crate::config::Home;
use crate::types::TaskId;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  junto task input 01980000-0000-7000-8000-000000000000\n  \
    junto task input 01980000-0000-7000-8000-000000000000 -o book.txt\n\n\
    It is kept until the task has completed or was canceled, and of one that failed until \
    `task drop`."
)]
pub(in crate::cli) struct InputArgs {
    /// The task's id, or a part of it.
    id: TaskRef,
    /// Write it to a file that is not there yet, in place of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(home: &Home, args: &InputArgs, json: bool) -> Outcome {
    let id = args.id.id(home).await?;
    let ask = |client: ApiClient| async move { client.input_stream(id).await };
    let stream = keep_asking(home, &REQUEST_PAUSES_MS, ask).await?;
    match &args.output {
        Some(path) => to_file(id, path, stream, json).await,
        None if json => document(id, stream).await,
        None => payload::write(&id.to_string(), payload::Part::Input, stream).await,
    }
}

/// What is not whole is not left there.
async fn to_file(id: TaskId, path: &Path, stream: ResultStream, json: bool) -> Outcome {
    let unwritten =
        |error| Failure::failed(format!("{} cannot be written: {error}", path.display()));
    let mut file = File::create_new(path).map_err(unwritten)?;
    let written = match fill(id, stream, |piece| file.write_all(piece).map_err(unwritten)).await {
        Ok(written) => written,
        Err(failure) => {
            let _ = fs::remove_file(path);
            return Err(failure);
        }
    };
    match json {
        true => output::json(&json!({"id": id, "bytes": written, "file": path}))?,
        false => eprintln!("Wrote the input of {id} to {}.", path.display()),
    }
    Ok(Exit::Done)
}

async fn document(id: TaskId, stream: ResultStream) -> Outcome {
    let mut input = Vec::new();
    let take = |piece: &[u8]| {
        input.extend_from_slice(piece);
        Ok(())
    };
    fill(id, stream, take).await?;
    output::json(&json!({"id": id, "input": BASE64.encode(&input)}))?;
    Ok(Exit::Done)
}

/// Returns how many bytes came: all of them.
async fn fill(
    id: TaskId,
    mut stream: ResultStream,
    mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut came = 0;
    while let Some(piece) = stream.next().await? {
        take(&piece)?;
        came += piece.len() as u64;
    }
    match stream.bytes.is_none_or(|bytes| bytes == came) {
        true => Ok(came),
        false => {
            let text = format!("the input of {id} ended before it was whole");
            Err(Failure::failed(text).hint(format!("`junto task input {id}` begins again")))
        }
    }
}
