//! `task map`: one task for each of many files, and their results put together.
//!
//! The work lives in the node. A task's id is made from the map's id, its place and everything
//! that was chosen for it, so a map that is cut off and begun again under the same id finds the
//! tasks it had handed over, ended or not, and makes no second one of any.
//!
//! Bounds: [`FILES_MAX`] files, [`IN_FLIGHT_MAX`] tasks at once, [`UPLOADS_MAX`] large inputs on
//! their way to the node, [`GATHER_MAX_BYTES`] of results in memory. Results that go to files, or to stdout in the order of the files, are fetched one by
//! one.

mod desk;
mod gather;
mod large;
mod progress;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use data_encoding::BASE64;
use futures::stream::{self, Stream, StreamExt};
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::desk::Desk;
use self::large::{Given, UPLOADS_MAX};
use self::progress::Progress;
use super::super::args::{priority, span_ms, tier};
use super::super::client::{REQUEST_PAUSES_MS, connect, keep_asking};
use super::super::exit::{Failure, Outcome};
use super::super::output::show_bytes;
use super::submit::{DEADLINE_GRACE, end_of};
use crate::api::body::{SubmitBody, TaskListParams};
use crate::api::client::{ApiClient, ClientError};
use crate::config::Home;
use crate::crypto::hash;
use crate::proto::node::{PeerRef, Priority, TaskState, TaskView};
use crate::types::limits::PAYLOAD_MAX_BYTES;
use crate::types::{Capability, Label, Tier};

const FILES_MAX: usize = 10_000;
/// Each is a request that stays open; the node takes 512.
const IN_FLIGHT_MAX: u16 = 256;
/// Results held here at once.
const GATHER_MAX_BYTES: usize = 256 * 1024 * 1024;
/// Before a full queue is tried again.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// Cancellations at once.
const CANCELS: usize = 16;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  junto task map wc books/*.txt\n  \
    junto task map wc books/*.txt --reduce sum\n  \
    junto task map convert images/*.png --into converted\n  \
    junto task map guess seeds/* --gather majority")]
pub(in crate::cli) struct MapArgs {
    /// What the workers must offer, such as wc.
    #[arg(value_name = "CAP")]
    capability: Capability,
    /// The inputs: one task each, up to 10000.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Hand all results, one behind the other, to one more task, and write what that comes to.
    #[arg(long, value_name = "CAP")]
    reduce: Option<Capability>,
    /// Which results to write; those that are not needed any more are canceled.
    #[arg(long, default_value = "all", conflicts_with = "reduce")]
    gather: Gather,
    /// Write each result to DIR/FILE.out in place of stdout.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["reduce", "gather"])]
    into: Option<PathBuf>,
    /// Go on with a map that was cut off; give the same files and options again.
    #[arg(long, value_name = "MAP")]
    resume: Option<Uuid>,
    /// The one worker to take: a unique name, an id or a part of one [default: any].
    #[arg(long, value_name = "PEER")]
    to: Option<PeerRef>,
    /// A label that the workers must have, such as gpu=a100; may be given several times.
    #[arg(long, value_name = "LABEL")]
    need: Vec<Label>,
    /// What the workers must have come to by earlier tasks of this node.
    #[arg(long, value_name = "TIER", value_parser = tier())]
    min_tier: Option<Tier>,
    /// What goes first when the queue is long.
    #[arg(long, default_value = "normal", value_parser = priority())]
    priority: Priority,
    /// How long each task may take in all, from when it is handed over.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = span_ms)]
    deadline: u64,
    /// Tasks handed over and not ended, at most 256.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=i64::from(IN_FLIGHT_MAX)))]
    in_flight: u16,
    /// How many tasks may fail; past that the status is 1.
    #[arg(long, value_name = "N", default_value_t = 0)]
    allow_failed: usize,
}

/// Which results are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Gather {
    /// Each, in the order of the files.
    All,
    /// The first that comes.
    First,
    /// The one that more than half of the tasks came to.
    Majority,
}

/// One of the map's tasks that has ended.
struct Ended {
    index: usize,
    task: TaskView,
}

impl Ended {
    fn completed(&self) -> bool {
        self.task.state == TaskState::Completed
    }
}

/// Hands over a task for each file and gathers what they come to.
pub(super) async fn run(home: &Home, args: MapArgs, json: bool) -> Outcome {
    check(&args)?;
    // Without a node now, there is none to be waited for.
    connect(home)?;
    let progress = &Progress::new(args.files.len());
    let map = Map {
        home,
        id: args.resume.unwrap_or_else(Uuid::now_v7),
        handed: RefCell::new(vec![None; args.files.len()]),
        args: &args,
        desk: Desk::default(),
        uploads: Semaphore::new(UPLOADS_MAX),
        progress,
    };
    if args.resume.is_some() {
        map.is_known().await?;
    }
    progress.begin(&map.id);
    let gathering = async {
        match (args.gather, &args.reduce) {
            (Gather::All, None) => gather::all(&map, progress, json).await,
            (Gather::All, Some(cap)) => gather::reduced(&map, cap, progress, json).await,
            (Gather::First, _) => gather::first(&map, progress, json).await,
            (Gather::Majority, _) => gather::majority(&map, progress, json).await,
        }
    };
    let gathered = tokio::select! {
        gathered = gathering => gathered,
        never = map.desk.serve(home) => match never {},
    };
    progress.end();
    gathered
}

/// What can be known to be wrong before anything is handed over.
fn check(args: &MapArgs) -> Result<(), Failure> {
    if args.files.len() > FILES_MAX {
        let text = format!("{} files are more than {FILES_MAX}", args.files.len());
        return Err(Failure::usage(text).hint("map them in several runs"));
    }
    if args.gather != Gather::All && args.allow_failed > 0 {
        let text = "--allow-failed is for --gather all: the others take what completes";
        return Err(Failure::usage(text));
    }
    for path in &args.files {
        let name = path.display();
        let about = std::fs::metadata(path)
            .map_err(|error| Failure::failed(format!("{name} cannot be read: {error}")))?;
        if !about.is_file() {
            return Err(Failure::failed(format!("{name} is not a file")));
        }
        if about.len() > PAYLOAD_MAX_BYTES {
            let limit = show_bytes(PAYLOAD_MAX_BYTES);
            return Err(Failure::failed(format!("{name} is larger than {limit}")));
        }
    }
    Ok(())
}

/// What the node says of a task that is handed over.
enum Answer {
    Task(Box<TaskView>),
    Full,
    /// It has not got the input.
    Missing,
}

/// One run of a map.
struct Map<'a> {
    home: &'a Home,
    id: Uuid,
    args: &'a MapArgs,
    /// The ids handed over so far, by place.
    handed: RefCell<Vec<Option<Uuid>>>,
    desk: Desk,
    uploads: Semaphore,
    progress: &'a Progress,
}

impl Map<'_> {
    /// A map that goes on has tasks here.
    async fn is_known(&self) -> Result<(), Failure> {
        let params = TaskListParams {
            label: Some(self.label()),
            limit: Some(1),
            ..TaskListParams::default()
        };
        let (found, _) = connect(self.home)?.tasks(&params).await?;
        if found.is_empty() {
            let text = format!("no task of the map {} is known here", self.id);
            return Err(Failure::failed(text).hint("leave --resume out to begin a new one"));
        }
        Ok(())
    }

    fn label(&self) -> String {
        format!("map={}", self.id)
    }

    /// The tasks as they end.
    fn tasks(&self) -> impl Stream<Item = Result<Ended, Failure>> {
        stream::iter(0..self.args.files.len())
            .map(|index| self.one(index))
            .buffer_unordered(usize::from(self.args.in_flight))
    }

    async fn one(&self, index: usize) -> Result<Ended, Failure> {
        let given = Given::of_file(&self.args.files[index]).await?;
        let place = (index as u64).to_be_bytes();
        let body = self.body_of(&self.args.capability, ["part", "file"], &place, &given);
        self.handed.borrow_mut()[index] = body.id;
        let task = self.carried_out(&body, &given).await?;
        Ok(Ended { index, task })
    }

    /// A task over a small or a large input; each kind has its word in the id.
    fn body_of(
        &self,
        capability: &Capability,
        [small, large]: [&str; 2],
        place: &[u8],
        given: &Given,
    ) -> SubmitBody {
        match given {
            Given::Small(input) => self.body(capability, small, place, input),
            Given::Large { hash, .. } => SubmitBody {
                input: None,
                input_file: Some(hash.clone()),
                ..self.body(capability, large, place, hash.as_bytes())
            },
        }
    }

    /// A task under the id that everything chosen for it gives.
    fn body(&self, capability: &Capability, part: &str, place: &[u8], input: &[u8]) -> SubmitBody {
        let args = self.args;
        let to = args.to.as_ref().map(ToString::to_string);
        let chosen = format!(
            "{capability} {to:?} {} {} {:?} {:?}",
            args.priority.as_str(),
            args.deadline,
            args.need,
            args.min_tier
        );
        let parts = [
            self.id.as_bytes(),
            part.as_bytes(),
            place,
            chosen.as_bytes(),
            input,
        ];
        let digest = hash("junto task map", &parts);
        SubmitBody {
            to,
            id: Some(task_id(self.id, &digest)),
            needs: args.need.iter().map(ToString::to_string).collect(),
            min_tier: args.min_tier,
            labels: vec![self.label()],
            priority: args.priority,
            deadline_ms: args.deadline,
            input: Some(BASE64.encode(input)),
            ..SubmitBody::new(capability.to_string(), &[])
        }
    }

    /// Hands a task over, or finds it there, and waits for its end.
    async fn carried_out(&self, body: &SubmitBody, given: &Given) -> Result<TaskView, Failure> {
        let limit = Duration::from_millis(body.deadline_ms) + DEADLINE_GRACE;
        let view = tokio::time::timeout(limit, self.hand_over(body, given))
            .await
            .map_err(|_| Failure::failed("the node's task queue was full all the time"))?;
        let looks = Cell::new(0);
        let seen = |view: &TaskView| {
            looks.set(looks.get() + 1);
            self.progress.seen(view, looks.get());
        };
        let ended = end_of(self.home, view.map_err(|f| self.goes_on(f))?, limit, seen);
        ended.await.map_err(|failure| self.goes_on(failure))
    }

    async fn hand_over(&self, body: &SubmitBody, given: &Given) -> Result<TaskView, Failure> {
        let mut missing = match given {
            Given::Large { source, hash } => Some((source, hash)),
            Given::Small(_) => {
                if let Some(view) = self.desk.hand_over(body).await {
                    return Ok(view);
                }
                None
            }
        };
        loop {
            let may_be_missing = missing.is_some();
            let ask = |client: ApiClient| async move {
                match client.submit(body).await {
                    Err(ClientError::Problem { code, .. }) if code == "queue_full" => {
                        Ok(Answer::Full)
                    }
                    Err(ClientError::Problem { code, .. })
                        if code == "not_found" && may_be_missing =>
                    {
                        Ok(Answer::Missing)
                    }
                    answer => answer.map(|view| Answer::Task(Box::new(view))),
                }
            };
            match keep_asking(self.home, &REQUEST_PAUSES_MS, ask).await? {
                Answer::Task(view) => return Ok(*view),
                Answer::Full => tokio::time::sleep(FULL_PAUSE).await,
                Answer::Missing => {
                    if let Some((source, hash)) = missing {
                        match self.bring(source, hash).await? {
                            // What is not found now is something else.
                            true => missing = None,
                            false => tokio::time::sleep(FULL_PAUSE).await,
                        }
                    }
                }
            }
        }
    }

    fn goes_on(&self, failure: Failure) -> Failure {
        failure.hint(format!(
            "what was handed over goes on: the same command with --resume {} follows it",
            self.id
        ))
    }

    async fn result(&self, id: &str) -> Result<Vec<u8>, Failure> {
        let ask = |client: ApiClient| async move { client.result(id).await };
        let output = keep_asking(self.home, &REQUEST_PAUSES_MS, ask).await?;
        Ok(output.result)
    }

    /// Gives up what is not needed any more.
    async fn cancel_rest(&self) {
        let handed: Vec<Uuid> = self.handed.borrow().iter().flatten().copied().collect();
        stream::iter(handed)
            .for_each_concurrent(CANCELS, |id| async move {
                let ask = |client: ApiClient| async move { client.cancel(id).await };
                // One that has ended meanwhile, or never reached the node, needs none.
                let _ = keep_asking(self.home, &REQUEST_PAUSES_MS, ask).await;
            })
            .await;
    }
}

/// A UUID v7 of the map's time, unique by `digest`.
fn task_id(map: Uuid, digest: &[u8; 32]) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&map.as_bytes()[..6]);
    bytes[6..].copy_from_slice(&digest[..10]);
    uuid::Builder::from_bytes(bytes)
        .with_version(uuid::Version::SortRand)
        .with_variant(uuid::Variant::RFC4122)
        .into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        map: MapArgs,
    }

    fn checked(args: &[&str]) -> Result<(), Failure> {
        let line = [&["map", "wc", "/dev/null"], args].concat();
        check(&<Line as clap::Parser>::parse_from(line).map)
    }

    #[test]
    fn an_option_that_would_do_nothing_is_wrong_usage() {
        let odd = checked(&["--gather", "first", "--allow-failed", "1"]);
        assert_eq!(odd.expect_err("refused").exit, Exit::Usage);
        let device = checked(&["--allow-failed", "1"]);
        assert_eq!(device.expect_err("no file").exit, Exit::Failed);
        for odd in [
            ["--into", "d", "--gather", "first"],
            ["--into", "d", "--reduce", "wc"],
        ] {
            let line = [&["map", "wc", "f"][..], &odd].concat();
            assert!(<Line as clap::Parser>::try_parse_from(line).is_err());
        }
    }

    #[test]
    fn ids_of_a_map_repeat_and_differ_by_what_was_chosen() {
        let map = Uuid::now_v7();
        let (one, other) = (task_id(map, &[1; 32]), task_id(map, &[2; 32]));
        assert_eq!(one, task_id(map, &[1; 32]));
        assert_ne!(one, other);
        assert_eq!(one.get_version_num(), 7);
        assert_eq!(one.as_bytes()[..6], map.as_bytes()[..6]);
        assert_ne!(one, task_id(Uuid::from_u128(u128::MAX), &[1; 32]));
    }
}
