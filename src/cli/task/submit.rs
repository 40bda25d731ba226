//! `task submit`: from an input to a kept task, and with `--wait` to its result.
//!
//! A submission is repeated under the id chosen here until the node has said that it keeps the
//! task, so a lost answer makes no second task. Waiting survives a restart of the node.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use data_encoding::BASE64;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;
use uuid::Uuid;

use super::super::args::{delay_ms, moment, orphan, priority, span_ms, tier};
use super::super::client::{REQUEST_PAUSES_MS, WAIT_PAUSES_MS, connect, keep_asking};
use super::super::exit::{Exit, Failure, Outcome};
use super::super::output::{self, short, show_bytes};
use super::agree::AgreementArgs;
use super::payload::{self, Input};
use super::{End, Report, write_result};
use super::{notify, stream};
use crate::api::body::{OrphanRule, SubmitBody};
use crate::api::client::ApiClient;
use crate::config::Home;
use crate::proto::node::{PeerRef, Priority, TaskState, TaskView};
use crate::types::{Amount, Capability, Label, TaskKey, Tier, Wall};

/// One question for a task's end; the rest of the time is asked for again.
const END_WAIT_MAX: Duration = Duration::from_secs(20);
/// The same while somebody watches how it goes.
const WATCHED_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long past its deadline a task's end may take to be seen.
pub(super) const DEADLINE_GRACE: Duration = Duration::from_secs(60);
const SPINNER_TICK: Duration = Duration::from_millis(120);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  junto task submit wc --text 'one two three' --wait\n  \
    junto task submit wc --input book.txt --priority high --deadline 1h\n  \
    cat book.txt | junto task submit wc --input - --wait\n  \
    junto task submit render --need gpu=a100 --min-tier trusted --label scene=7\n  \
    junto task submit report --delay 2h --key report-2030-01-31\n  \
    junto task submit square --text 12 --replicas 3 --agree 2 --wait\n  \
    junto task submit report --notify http://127.0.0.1:9000/done --notify-secret-file secret"
)]
pub(in crate::cli) struct SubmitArgs {
    /// What the worker must offer, such as wc.
    #[arg(value_name = "CAP")]
    capability: Capability,
    /// The input, from a file or from stdin, 1 GiB at most.
    #[arg(long, value_name = "FILE or -", conflicts_with = "text")]
    input: Option<PathBuf>,
    /// The input itself. Without this and --input it is empty; what is piped is not read unasked.
    #[arg(long, allow_hyphen_values = true)]
    text: Option<String>,
    /// The one worker to take: a unique name, an id or a part of one [default: any].
    #[arg(long, value_name = "PEER")]
    to: Option<PeerRef>,
    /// What goes first when the queue is long.
    #[arg(long, default_value = "normal", value_parser = priority())]
    priority: Priority,
    /// Do not begin before then, such as 2030-01-31T12:00:00Z; 30 days from now at most.
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "delay")]
    at: Option<String>,
    /// Do not begin before so long has passed.
    #[arg(long, value_name = "SPAN", value_parser = delay_ms)]
    delay: Option<u64>,
    /// What you call the task: the same one handed over again under this key is no second one.
    #[arg(long, value_name = "KEY")]
    key: Option<TaskKey>,
    /// How long the task may take in all, from its start.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = span_ms)]
    deadline: u64,
    /// What becomes of a run whose worker loses its lease on the task: it may go on and still be in
    /// time, or it stops, so that two never run at once.
    #[arg(long, value_name = "WHAT", default_value = "continue", value_parser = orphan())]
    orphan: OrphanRule,
    #[command(flatten)]
    agreement: AgreementArgs,
    /// How many times the task may be handed on, in parts, by who works on it [default: 0; within a
    /// task, one less than that].
    #[arg(long, value_name = "N")]
    depth: Option<u8>,
    /// What the task is worth; its parts may not cost more together.
    #[arg(long, value_name = "N", default_value_t = 0)]
    reward: u64,
    /// A label that the worker must have, such as gpu=a100; may be given several times.
    #[arg(long, value_name = "LABEL")]
    need: Vec<Label>,
    /// What the worker must have come to by earlier tasks of this node.
    #[arg(long, value_name = "TIER", value_parser = tier())]
    min_tier: Option<Tier>,
    /// A label of the task, by which `task list --label` finds it; may be given several times.
    #[arg(long, value_name = "LABEL")]
    label: Vec<Label>,
    /// Hear what its runs say before they have ended: `task watch` tells, and with --wait stderr.
    #[arg(long)]
    stream: bool,
    /// Have this address told when the task has ended, as `task notify` does: http, on this machine
    /// unless the settings allow others.
    #[arg(long, value_name = "URL")]
    notify: Option<String>,
    /// Sign what is posted there with this file's first line.
    #[arg(long, value_name = "FILE", requires = "notify")]
    notify_secret_file: Option<PathBuf>,
    /// Wait for the end and write the result to stdout.
    #[arg(long)]
    wait: bool,
}

/// Hands over a task; with `--wait` also follows it to its end.
pub(super) async fn run(home: &Home, args: SubmitArgs, json: bool) -> Outcome {
    let webhook = args.notify.clone();
    let webhook = webhook.map(|url| notify::webhook(url, args.notify_secret_file.as_deref()));
    let webhook = webhook.transpose()?;
    let input = read_input(&args)?;
    // Without a node now, there is none to be waited for.
    connect(home)?;
    let (input, input_file) = match &input {
        Input::Small(bytes) => (Some(BASE64.encode(bytes)), None),
        Input::Large(source) => (None, Some(payload::upload(home, source).await?)),
    };
    let task = SubmitBody {
        capability: args.capability.to_string(),
        input,
        input_text: None,
        input_file,
        stream: args.stream,
        id: Some(Uuid::now_v7()),
        to: args.to.as_ref().map(ToString::to_string),
        priority: args.priority,
        start_at: args.at.clone(),
        delay_ms: args.delay,
        key: args.key.as_ref().map(ToString::to_string),
        deadline_ms: args.deadline,
        orphan: args.orphan,
        agreement: args.agreement.body(),
        webhook,
        depth: args.depth,
        reward: Amount(args.reward),
        needs: args.need.iter().map(ToString::to_string).collect(),
        min_tier: args.min_tier,
        labels: args.label.iter().map(ToString::to_string).collect(),
    };
    let task = &task;
    let ask = |client: ApiClient| async move { client.submit(task).await };
    let view = keep_asking(home, &REQUEST_PAUSES_MS, ask).await?;
    if args.wait {
        let limit = left_until(&view.deadline) + DEADLINE_GRACE;
        let id = view.id.clone();
        let ended = async {
            match args.stream {
                true => await_streaming(home, view, limit).await,
                false => await_end(home, view, limit).await,
            }
        };
        let view = tokio::select! {
            ended = ended => ended?,
            _ = tokio::signal::ctrl_c() => {
                let text = format!("nobody waits for the task {id} any more; it goes on");
                return Err(Failure::failed(text).hint(format!(
                    "`junto task watch {id}` follows it, `junto task cancel {id}` gives it up"
                )));
            }
        };
        return report_end(home, &view, json).await;
    }
    if json {
        output::json(&Report {
            id: &view.id,
            state: view.state,
            end: None,
        })?;
    } else {
        output::line(&view.id)?;
    }
    Ok(Exit::Done)
}

/// From now until `deadline`, by the clock of this machine, which is the node's.
fn left_until(deadline: &str) -> Duration {
    let at = Wall::from_rfc3339(deadline).unwrap_or_default();
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(at.0);
    at.duration_since(SystemTime::now()).unwrap_or_default()
}

fn read_input(args: &SubmitArgs) -> Result<Input, Failure> {
    match (&args.input, &args.text) {
        (Some(path), _) if path == Path::new("-") => Input::of_stream(io::stdin().lock(), "stdin"),
        (Some(path), _) => Input::of_file(path),
        (None, Some(text)) => Ok(Input::Small(text.clone().into_bytes())),
        (None, None) if is_fed() => Err(Failure::usage(
            "something is on stdin, and nothing says what it is for",
        )
        .hint("--input - hands it over; --text '' hands over an empty input")),
        (None, None) => Ok(Input::Small(Vec::new())),
    }
}

/// Whether stdin is a pipe or a file. It is not read unasked: within a loop it may be the loop's.
fn is_fed() -> bool {
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let about = stdin.and_then(|stdin| File::from(stdin).metadata());
    about.is_ok_and(|about| about.file_type().is_fifo() || about.is_file())
}

/// The task once it has ended.
async fn await_end(home: &Home, view: TaskView, limit: Duration) -> Result<TaskView, Failure> {
    let spinner = spinner();
    let waits = Waits::default();
    let ended = end_of(home, view, limit, |view| {
        spinner.set_message(progress(view));
        waits.seen(view);
    })
    .await;
    spinner.finish_and_clear();
    ended
}

/// The same, while what its runs say is shown.
async fn await_streaming(
    home: &Home,
    view: TaskView,
    limit: Duration,
) -> Result<TaskView, Failure> {
    let spinner = spinner();
    let ended = stream::follow(home, view, limit, &spinner).await;
    spinner.finish_and_clear();
    ended
}

/// Says on stderr, where nobody sees the spinner, what a task waits for that nobody has taken.
#[derive(Default)]
pub(super) struct Waits {
    looks: Cell<usize>,
    told: RefCell<Option<String>>,
}

impl Waits {
    /// At the first look it may be about to be given out.
    pub(super) fn seen(&self, view: &TaskView) {
        self.looks.set(self.looks.get() + 1);
        let reason = view.reason.as_ref().filter(|_| view.attempts.is_empty());
        let Some(reason) = reason.filter(|_| self.looks.get() > 1 && !output::watched()) else {
            return;
        };
        if self.told.borrow().as_ref() != Some(reason) {
            let reason = output::clean(reason);
            eprintln!("the task {} waits: {reason}", view.id);
            self.told.replace(Some(reason));
        }
    }
}

/// The task once it has ended, over restarts of the node; `seen` is shown how it goes.
pub(super) async fn end_of(
    home: &Home,
    mut view: TaskView,
    limit: Duration,
    seen: impl Fn(&TaskView),
) -> Result<TaskView, Failure> {
    let end = Instant::now() + limit;
    let mut wait = WATCHED_WAIT_MAX;
    while !view.state.is_terminal() {
        seen(&view);
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let text = format!(
                "the task {} is past its deadline and has not ended",
                view.id
            );
            return Err(Failure::new(Exit::Unreachable, text));
        }
        let id = view.id.clone();
        let (id, wait_now) = (id.as_str(), left.min(wait));
        if !output::watched() {
            wait = END_WAIT_MAX;
        }
        let ask = |client: ApiClient| async move { client.await_task(id, wait_now).await };
        view = keep_asking(home, &WAIT_PAUSES_MS, ask)
            .await
            .map_err(|failure| {
                failure.hint(format!(
                    "the task is kept: `junto task show {id}` follows it"
                ))
            })?;
    }
    Ok(view)
}

fn progress(view: &TaskView) -> String {
    if let Some(moving) = &view.moving {
        return format!(
            "{} {}: its {} is on its way, {} of {}",
            view.capability,
            view.state.as_str(),
            moving.what,
            show_bytes(moving.done_bytes),
            show_bytes(moving.size)
        );
    }
    match view.attempts.last() {
        Some(attempt) => format!(
            "{} {}: {} at {}",
            view.capability,
            view.state.as_str(),
            output::clean(&attempt.outcome),
            short(&attempt.worker)
        ),
        None => {
            let reason = view.reason.as_deref().unwrap_or("waiting for a worker");
            let (capability, state) = (&view.capability, view.state.as_str());
            format!("{capability} {state}: {}", output::clean(reason))
        }
    }
}

/// Turns on stderr while a person watches; otherwise silent.
fn spinner() -> ProgressBar {
    if !output::watched() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner = ProgressBar::new_spinner().with_style(style);
    spinner.enable_steady_tick(SPINNER_TICK);
    spinner
}

async fn report_end(home: &Home, view: &TaskView, json: bool) -> Outcome {
    if view.state == TaskState::Completed {
        return write_result(home, &view.id, json).await;
    }
    if json {
        let end = Some(End {
            attempts: view.attempts.len(),
            worker: view.attempts.last().map(|attempt| attempt.worker.clone()),
            reason: view.reason.clone(),
            result: None,
        });
        output::json(&Report {
            id: &view.id,
            state: view.state,
            end,
        })?;
    }
    Err(explain_end(view))
}

/// Why a task that ended has no result.
fn explain_end(view: &TaskView) -> Failure {
    if view.no_worker {
        let last = view
            .reason
            .as_deref()
            .and_then(|why| why.split_once("; last: "));
        let last = last.map_or(String::new(), |(_, last)| format!(": {last}"));
        let text = format!(
            "no worker for {} was found before the deadline{last}",
            view.capability
        );
        let hint = format!(
            "`junto registry find {}` lists who offers it",
            view.capability
        );
        return Failure::new(Exit::Unreachable, text).hint(hint);
    }
    let reason = view.reason.as_deref().unwrap_or("no reason was given");
    let text = format!(
        "the task {} is {}: {}",
        view.id,
        view.state.as_str(),
        reason.trim()
    );
    let hint = match view.dead {
        true => "`junto task show {}` lists the attempts, `junto task resubmit {}` tries once more",
        false => "`junto task show {}` lists the attempts",
    };
    Failure::failed(text).hint(hint.replace("{}", &view.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(no_worker: bool) -> TaskView {
        TaskView {
            id: String::from("i"),
            capability: String::from("wc"),
            state: TaskState::Failed,
            priority: Priority::Normal,
            to: None,
            submitted: String::new(),
            start_at: None,
            deadline: String::new(),
            key: None,
            parent: None,
            budget: None,
            stops: false,
            stream: false,
            input_bytes: 0,
            moving: None,
            progress: None,
            result_bytes: None,
            reason: Some(String::from("status 1")),
            no_worker,
            dead: false,
            prior: None,
            again: None,
            attempts_cut: 0,
            attempts: Vec::new(),
            labels: Vec::new(),
            needs: Vec::new(),
            min_tier: None,
            considered: Vec::new(),
            others: 0,
            agreement: None,
            dissent: None,
            part_of: None,
            webhook: None,
        }
    }

    #[test]
    fn want_of_a_worker_is_told_from_failure() {
        assert_eq!(explain_end(&failed(true)).exit, Exit::Unreachable);
        let reason = Some(String::from(
            "no worker was found before the deadline; last: why",
        ));
        let unmet = explain_end(&TaskView {
            reason,
            ..failed(true)
        });
        assert!(unmet.to_string().contains("before the deadline: why"));
        let failure = explain_end(&failed(false));
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.to_string().contains("status 1"));
    }

    #[tokio::test]
    async fn a_task_that_has_ended_is_not_asked_for() {
        let home = Home::locate(Some(Path::new("/nowhere"))).expect("a path");
        let ended = await_end(&home, failed(false), Duration::ZERO)
            .await
            .expect("ended");
        assert_eq!(ended.state, TaskState::Failed);
        let open = TaskView {
            state: TaskState::Working,
            ..failed(false)
        };
        let late = await_end(&home, open, Duration::ZERO)
            .await
            .expect_err("past its deadline");
        assert_eq!(late.exit, Exit::Unreachable);
    }
}
