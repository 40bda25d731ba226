//! Inputs and results that are too large for a message: from a file or stdin to the node, and from
//! the node to stdout, with a bar while a person watches.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::super::client::{REQUEST_PAUSES_MS, keep_asking};
use super::super::exit::{Exit, Failure, Outcome};
use super::super::output::{self, show_bytes};
use crate::api::client::{ApiClient, ResultStream};
use crate::config::Home;
use crate::types::limits::{INPUT_MAX_BYTES, PAYLOAD_MAX_BYTES};

/// What a task is to get.
pub(super) enum Input {
    /// It stands in the task's own document.
    Small(Vec<u8>),
    /// It goes to the node before the task.
    Large(Source),
}

/// Where a large input is.
pub(super) enum Source {
    Named(PathBuf),
    /// What came on stdin, in a file that goes with this.
    Spooled(tempfile::NamedTempFile),
}

impl Source {
    pub(super) fn path(&self) -> &Path {
        match self {
            Source::Named(path) => path,
            Source::Spooled(file) => file.path(),
        }
    }
}

impl Input {
    /// From a file.
    pub(super) fn of_file(path: &Path) -> Result<Input, Failure> {
        let refused = |error| unread(&path.display().to_string(), &error);
        let file = File::open(path).map_err(refused)?;
        let metadata = file.metadata().map_err(refused)?;
        if metadata.is_file() && metadata.len() > INPUT_MAX_BYTES as u64 {
            fitting(metadata.len())?;
            return Ok(Input::Large(Source::Named(path.to_owned())));
        }
        Input::of_stream(file, &path.display().to_string())
    }

    /// From what has no length to be known before its end.
    pub(super) fn of_stream(mut from: impl Read, name: &str) -> Result<Input, Failure> {
        let refused = |error| unread(name, &error);
        let mut begin = Vec::new();
        let mut first = from.by_ref().take(INPUT_MAX_BYTES as u64 + 1);
        first.read_to_end(&mut begin).map_err(refused)?;
        if begin.len() <= INPUT_MAX_BYTES {
            return Ok(Input::Small(begin));
        }
        let mut spool = tempfile::NamedTempFile::new()
            .map_err(|error| Failure::failed(format!("there is no room for {name}: {error}")))?;
        let mut all = begin.as_slice().chain(from).take(PAYLOAD_MAX_BYTES + 1);
        let bytes = io::copy(&mut all, &mut spool).map_err(refused)?;
        fitting(bytes)?;
        Ok(Input::Large(Source::Spooled(spool)))
    }
}

fn unread(name: &str, error: &io::Error) -> Failure {
    Failure::failed(format!("{name} cannot be read: {error}"))
}

fn fitting(bytes: u64) -> Result<(), Failure> {
    if bytes <= PAYLOAD_MAX_BYTES {
        return Ok(());
    }
    let limit = show_bytes(PAYLOAD_MAX_BYTES);
    Err(Failure::failed(format!("the input is larger than {limit}")))
}

/// Hands over a large input; returns its name.
pub(super) async fn upload(home: &Home, source: &Source) -> Result<String, Failure> {
    let path = source.path();
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let bar = bar("to the node", size);
    let ask = |client: ApiClient| {
        // Begun again, it counts again.
        bar.set_position(0);
        let bar = bar.clone();
        async move { client.upload(path, move |bytes| bar.inc(bytes)).await }
    };
    let kept = keep_asking(home, &REQUEST_PAUSES_MS, ask).await;
    bar.finish_and_clear();
    kept.map(|view| view.hash)
}

/// Which of a task's contents.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Input,
    Result,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Part::Input => "input",
            Part::Result => "result",
        }
    }
}

/// Writes an input or a result to stdout as it comes.
pub(super) async fn write(id: &str, part: Part, mut stream: ResultStream) -> Outcome {
    let large = stream.bytes.filter(|bytes| *bytes > INPUT_MAX_BYTES as u64);
    let bar = large.map_or_else(ProgressBar::hidden, |bytes| bar("from the node", bytes));
    let mut written = 0_u64;
    while let Some(piece) = stream.next().await? {
        output::bytes(&piece)?;
        written += piece.len() as u64;
        bar.inc(piece.len() as u64);
    }
    bar.finish_and_clear();
    if stream.bytes.is_some_and(|bytes| bytes != written) {
        let part = part.as_str();
        let text = format!("the {part} of {id} ended before it was whole");
        return Err(Failure::failed(text).hint(format!("`junto task {part} {id}` begins again")));
    }
    Ok(Exit::Done)
}

/// On stderr while a person watches; otherwise silent.
fn bar(what: &'static str, bytes: u64) -> ProgressBar {
    if !output::watched() {
        return ProgressBar::hidden();
    }
    let form = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style).with_message(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_a_document_is_read_and_the_rest_is_left_on_the_disk() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("input");
        for (bytes, small) in [(INPUT_MAX_BYTES, true), (INPUT_MAX_BYTES + 1, false)] {
            std::fs::write(&path, vec![7; bytes]).expect("written");
            match Input::of_file(&path).expect("it reads") {
                Input::Small(read) => assert!(small && read.len() == bytes),
                Input::Large(source) => assert!(!small && source.path() == path),
            }
        }
    }

    #[test]
    fn a_long_stream_is_spooled() {
        let long = io::repeat(b'x').take(INPUT_MAX_BYTES as u64 + 5);
        let Input::Large(source) = Input::of_stream(long, "stdin").expect("it reads") else {
            panic!("it is over the limit");
        };
        let spooled = std::fs::read(source.path()).expect("it is there");
        assert_eq!(spooled.len(), INPUT_MAX_BYTES + 5);
        assert!(matches!(
            Input::of_stream(&b"short"[..], "stdin"),
            Ok(Input::Small(read)) if read == b"short"
        ));
    }

    #[test]
    fn more_than_any_task_takes_is_refused_before_it_is_sent() {
        assert!(fitting(PAYLOAD_MAX_BYTES).is_ok());
        let failure = fitting(PAYLOAD_MAX_BYTES + 1).expect_err("too large");
        assert!(failure.to_string().contains("larger than"), "{failure}");
    }
}
