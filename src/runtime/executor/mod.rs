//! Does what is behind capabilities, and runs the wake hook.
//!
//! A task is done by a command, by a program that is posted to (`http`), or by a piece of this
//! process (`work`), or waits for an agent that fetches it (`pull`). Each command runs in `/bin/sh -c`, in a process group of its own, with an environment that holds
//! nothing of the node's. Its input comes on stdin, its result is what it writes to stdout.
//!
//! Invariants
//! 1. A run ends in exactly one [`ExecDone`], unless it was killed: then in none.
//! 2. When a run has ended, however it did, its whole process group has been killed.
//! 3. When the node dies, by kill -9 too, every group is killed: by the guard, a process that sees
//!    the end of a pipe only the node holds. A command starts only after the guard knows of it.
//! 4. Nothing a command does (fill its output, ignore its input, leave children behind that hold
//!    its pipes) makes the executor wait more than two seconds beyond the timeout, or hold more
//!    than one result and one stderr tail in memory.
//!
//! 5. A capability's command works in a folder of its own (`folder`), new and empty, which goes when
//!    the run has ended; unless its settings name one.
//!
//! A process that leaves its group (`setsid`) is out of reach: a command does that only on purpose.
//! How many commands run at a time is the core's decision; the executor starts what it is told.

mod command;
mod folder;
mod guard;
mod http;
mod output;
mod passes;
mod pull;
mod stderr;
mod telling;
#[cfg(test)]
mod tests;
mod trace;
mod work;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::command::{Ended, Job};
use self::folder::{Folders, RunFolder};
use self::guard::Guard;
pub use self::guard::guard_main;
use self::http::Post;
use self::output::{Large, Output};
use self::passes::Pass;
pub use self::passes::{Passes, RunAccess};
use self::pull::Terms;
pub use self::pull::{Ask, ClaimError, Claimed, Desk, Settled};
use self::stderr::Progress;
pub use self::telling::Say;
use self::telling::Teller;
use self::trace::traceparent;
pub use self::work::{Work, WorkJob};
use super::http::HttpCaller;
use super::payloads::PayloadFolder;
use super::{CommandSpec, HookAction, ServeHow, ServeSpec};
use crate::proto::node::{HeldKey, HookSpec, RunOutcome, RunSaid, RunSpec};
use crate::types::limits::RESULT_MAX_BYTES;
use crate::types::{HookId, RunId};

/// The hidden subcommand under which this program becomes the guard ([`guard_main`]).
pub const GUARD_SUBCOMMAND: &str = "__guard";

/// How long [`Executor::shutdown`] waits for what it killed.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(3);

/// A command ended by itself, or was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecDone {
    Run {
        run: RunId,
        outcome: RunOutcome,
    },
    /// A run says something; it goes on.
    Said {
        run: RunId,
        said: RunSaid,
    },
    Hook {
        hook: HookId,
        ok: bool,
    },
    /// A webhook's call ended.
    Webhook {
        number: u64,
        answer: Result<(), String>,
    },
}

/// Starts and stops commands. Dropping it kills them all.
pub struct Executor {
    guard: Arc<Guard>,
    folders: Arc<Folders>,
    http: Result<HttpCaller, String>,
    payloads: PayloadFolder,
    desk: Arc<Desk>,
    passes: Arc<Passes>,
    runs: Arc<Runs>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The runs under way, and how to end each.
#[derive(Default)]
struct Runs(Mutex<BTreeMap<RunId, CancellationToken>>);

impl Runs {
    /// Takes out a run that ended. One that was killed is out already: under its number there may
    /// stand another by now, of a core that began to count anew.
    fn forget(&self, run: RunId, stop: &CancellationToken) {
        let mut table = self.table();
        if !stop.is_cancelled() {
            table.remove(&run);
        }
    }

    /// Takes out a run and ends it, in one step as `forget` sees it.
    fn kill(&self, run: RunId) {
        let mut table = self.table();
        if let Some(stop) = table.remove(&run) {
            stop.cancel();
        }
    }

    fn kill_all(&self) {
        for stop in std::mem::take(&mut *self.table()).into_values() {
            stop.cancel();
        }
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<RunId, CancellationToken>> {
        // Each use is a single operation of the map: a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Executor {
    /// Starts the guard, `guard_exe` with [`GUARD_SUBCOMMAND`]. Without one (or if it cannot be
    /// started, which is logged) commands outlive a node that is killed with SIGKILL. Runs get
    /// their folders below `work_dir`, which is this node's alone and is emptied; without one,
    /// below the system's folder for temporary files.
    pub fn start(guard_exe: Option<PathBuf>, work_dir: Option<PathBuf>) -> Executor {
        Executor {
            guard: Arc::new(Guard::start(guard_exe)),
            folders: Arc::new(Folders::new(work_dir)),
            http: HttpCaller::new(),
            payloads: PayloadFolder::default(),
            desk: Arc::default(),
            passes: Arc::default(),
            runs: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Runs that may hand on parts of their tasks are told that the API listens there.
    pub fn with_api(mut self, api: Option<SocketAddr>) -> Executor {
        self.passes = Arc::new(Passes::new(api));
        self
    }

    /// The same, with a place for inputs and results that are too large for a message.
    #[must_use]
    pub fn with_payloads(mut self, payloads: PayloadFolder) -> Executor {
        self.payloads = payloads;
        self
    }

    /// Does a task; how that ended goes to `done`. Call it within a tokio runtime.
    pub fn spawn_run(
        &self,
        run: RunId,
        spec: RunSpec,
        serve: &ServeSpec,
        done: mpsc::Sender<ExecDone>,
    ) {
        let stop = self.stop.child_token();
        self.runs.table().insert(run, stop.clone());
        let runs = Arc::clone(&self.runs);
        let doing = Doing {
            guard: Arc::clone(&self.guard),
            folders: Arc::clone(&self.folders),
            http: self.http.clone(),
            payloads: self.payloads.clone(),
            desk: Arc::clone(&self.desk),
            passes: Arc::clone(&self.passes),
            timeout: Duration::from_millis(spec.timeout_ms.min(serve.timeout_ms)),
            output_max_bytes: serve.output_max_bytes,
            stream: serve.stream,
            delegate: serve.delegate,
            done: done.clone(),
        };
        let how = serve.how.clone();
        self.tasks.spawn(async move {
            let (ended, folder) = doing.run(run, spec, how, &stop).await;
            runs.forget(run, &stop);
            let mut large = None;
            let outcome = match ended {
                Ended::Completed(result) => Some(RunOutcome::Completed { result }),
                Ended::CompletedFile(Large { content, new }) => {
                    let file = Some(large.insert(new).id());
                    Some(RunOutcome::CompletedFile { content, file })
                }
                Ended::Failed(reason) => Some(RunOutcome::Failed { reason }),
                Ended::Returned => Some(RunOutcome::Returned),
                Ended::Killed => None,
            };
            if let Some(outcome) = outcome {
                let told = tell(&done, ExecDone::Run { run, outcome }, &stop).await;
                if let Some(large) = large.filter(|_| told) {
                    large.hand_over();
                }
            }
            if let Some(folder) = folder {
                let _ = tokio::task::spawn_blocking(|| folder.remove()).await;
            }
        });
    }

    /// Runs a hook; whether it ended well goes to `done`.
    pub fn spawn_hook(
        &self,
        hook: HookId,
        spec: HookSpec,
        action: &HookAction,
        done: mpsc::Sender<ExecDone>,
    ) {
        let (guard, stop) = (Arc::clone(&self.guard), self.stop.child_token());
        let action = action.clone();
        self.tasks.spawn(async move {
            let request = spec.request.as_str();
            let ended = match action {
                HookAction::Command(command) => {
                    hook_job(command, spec).run(&guard, &stop, |_| {}).await
                }
                HookAction::Url(url) => tokio::select! {
                    () = stop.cancelled() => Ended::Killed,
                    ended = call_hook(&url, &spec) => ended,
                },
            };
            let ok = match ended {
                Ended::Completed(_) | Ended::CompletedFile(_) => true,
                Ended::Failed(reason) => {
                    tracing::warn!(%hook, request, reason, "the hook failed");
                    false
                }
                Ended::Killed | Ended::Returned => return,
            };
            tell(&done, ExecDone::Hook { hook, ok }, &stop).await;
        });
    }

    /// Where runs wait for the agents that fetch them.
    pub(crate) fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.desk)
    }

    /// What runs show to the API.
    pub(crate) fn passes(&self) -> Arc<Passes> {
        Arc::clone(&self.passes)
    }

    /// What an agent's command is run with.
    pub(crate) fn runner(&self) -> AgentRunner {
        AgentRunner {
            guard: Arc::clone(&self.guard),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        }
    }

    /// Ends a run, its children too. It reports nothing any more, unless it had ended before.
    pub fn kill(&self, run: RunId) {
        self.runs.kill(run);
    }

    /// Has a run end as returned if it waits for an agent and none has it.
    pub fn recall(&self, run: RunId) {
        self.desk.recall(run);
    }

    /// Kills every run, also those whose end was told and not kept.
    pub fn kill_all(&self) {
        self.runs.kill_all();
    }

    /// Kills every command, and waits up to 3 s for their shells and up to 1 s for the guard.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(SHUTDOWN_WAIT, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                left = self.tasks.len(),
                "commands are not gone after SIGKILL"
            );
        }
        self.guard.stop().await;
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What a run needs of the executor.
struct Doing {
    guard: Arc<Guard>,
    folders: Arc<Folders>,
    http: Result<HttpCaller, String>,
    payloads: PayloadFolder,
    desk: Arc<Desk>,
    passes: Arc<Passes>,
    timeout: Duration,
    output_max_bytes: usize,
    /// Whether others may read what it writes before it has ended.
    stream: bool,
    /// Whether it may hand parts of its task on.
    delegate: bool,
    done: mpsc::Sender<ExecDone>,
}

impl Doing {
    /// Does the task, and says which folder is to be removed now.
    async fn run(
        self,
        run: RunId,
        spec: RunSpec,
        how: ServeHow,
        stop: &CancellationToken,
    ) -> (Ended, Option<RunFolder>) {
        let input_file = self.input_file(&spec);
        // Good until the run has ended; of a claim until that has.
        let pass = match how {
            ServeHow::Pull => None,
            _ => self.pass(&spec),
        };
        let ended = match how {
            ServeHow::Command(command) => {
                return self.run_command((run, spec), command, pass, stop).await;
            }
            ServeHow::Url(url) => {
                let post = Post {
                    url,
                    headers: self.headers(&spec, pass.as_ref()),
                    input: spec.input,
                    input_file,
                    output_max_bytes: self.output_max_bytes,
                    payloads: self.payloads,
                    timeout: self.timeout,
                };
                post.run(self.http, stop).await
            }
            ServeHow::Work(work) => {
                let teller = spec.stream.then(|| Teller::new(run, self.done.clone()));
                let job = WorkJob {
                    say: Say::new(teller, self.stream),
                    task_id: spec.task_id,
                    requester: spec.requester,
                    capability: spec.capability,
                    token: spec.token,
                    input: spec.input,
                    input_file,
                    timeout_ms: whole_ms(self.timeout),
                    traceparent: traceparent(spec.task_id),
                    api: pass.as_ref().map(Pass::access),
                };
                let output = Output::new(self.output_max_bytes, Some(self.payloads));
                work::run(work, job, self.timeout, output, stop).await
            }
            ServeHow::Pull => {
                let terms = Terms {
                    limit: self.timeout,
                    output_max_bytes: self.output_max_bytes,
                    passes: self.delegate.then_some(self.passes),
                };
                self.desk.hold(run, spec, terms, stop).await
            }
        };
        (ended, None)
    }

    fn input_file(&self, spec: &RunSpec) -> Option<PathBuf> {
        spec.input_file.map(|at| self.payloads.path(at.file))
    }

    /// What the run may show to the API, if it may hand parts of its task on.
    fn pass(&self, spec: &RunSpec) -> Option<Pass> {
        let key = HeldKey {
            requester: spec.requester,
            task: spec.task_id,
        };
        self.delegate.then(|| self.passes.give(key)).flatten()
    }

    async fn run_command(
        self,
        (run, spec): (RunId, RunSpec),
        command: CommandSpec,
        pass: Option<Pass>,
        stop: &CancellationToken,
    ) -> (Ended, Option<RunFolder>) {
        let mut env = self.env(&spec);
        let folder = match command.dir {
            Some(_) => None,
            None => match self.folders.make() {
                Ok(folder) => Some(folder),
                Err(error) => {
                    let why = format!("there is no folder to work in: {error}");
                    return (Ended::Failed(why), None);
                }
            },
        };
        let done = self.done.clone();
        let teller = || spec.stream.then(|| Teller::new(run, done.clone()));
        let dir = folder.as_ref().map(|folder| folder.path().to_owned());
        if let Some(dir) = &dir {
            env.push(("TMPDIR", dir.display().to_string()));
        }
        env.extend(pass.iter().flat_map(Pass::env));
        let job = Job {
            command: command.command,
            env,
            input_file: self.input_file(&spec),
            input: spec.input,
            payloads: Some(self.payloads),
            telling: teller().filter(|_| self.stream),
            output_max_bytes: Some(self.output_max_bytes),
            dir: dir.or(command.dir),
            memory_max_bytes: command.memory_max_bytes,
            stop_grace: command.stop_grace,
            timeout: self.timeout,
        };
        let task = spec.task_id;
        let mut progress = teller();
        let on_progress = |said: Progress| {
            tracing::debug!(%task, percent = said.percent, "progress");
            if let Some(teller) = &mut progress {
                teller.progress(said);
            }
        };
        (job.run(&self.guard, stop, on_progress).await, folder)
    }

    fn env(&self, spec: &RunSpec) -> Vec<(&'static str, String)> {
        vec![
            ("JUNTO_TASK_ID", spec.task_id.to_string()),
            ("JUNTO_REQUESTER", spec.requester.to_string()),
            ("JUNTO_CAPABILITY", spec.capability.to_string()),
            ("JUNTO_TOKEN", spec.token.0.to_string()),
            ("JUNTO_TIMEOUT_MS", whole_ms(self.timeout).to_string()),
            ("JUNTO_TRACEPARENT", traceparent(spec.task_id)),
        ]
    }

    /// The same for a program that is posted to.
    fn headers(&self, spec: &RunSpec, pass: Option<&Pass>) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("x-junto-task-id", spec.task_id.to_string()),
            ("x-junto-requester", spec.requester.to_string()),
            ("x-junto-capability", spec.capability.to_string()),
            ("x-junto-token", spec.token.0.to_string()),
            ("x-junto-timeout-ms", whole_ms(self.timeout).to_string()),
            ("traceparent", traceparent(spec.task_id)),
        ];
        headers.extend(pass.into_iter().flat_map(Pass::headers));
        headers
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Runs the agent's command, beside what the core asks for. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AgentRunner {
    guard: Arc<Guard>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl AgentRunner {
    /// Runs it once and returns what it wrote to stdout. It runs to its end also when nobody
    /// awaits that any more.
    ///
    /// # Errors
    /// Why there is no reply, for the log.
    pub(crate) async fn run(
        &self,
        command: String,
        env: Vec<(&'static str, String)>,
        input: Vec<u8>,
        limit: Duration,
    ) -> Result<Vec<u8>, String> {
        let job = Job {
            command,
            env,
            input,
            input_file: None,
            payloads: None,
            telling: None,
            output_max_bytes: Some(RESULT_MAX_BYTES),
            dir: None,
            memory_max_bytes: None,
            stop_grace: None,
            timeout: limit,
        };
        let (guard, stop) = (Arc::clone(&self.guard), self.stop.clone());
        let run = self
            .tasks
            .spawn(async move { job.run(&guard, &stop, |_| {}).await });
        match run.await {
            Ok(Ended::Completed(reply)) => Ok(reply),
            Ok(Ended::CompletedFile(_)) => Err(String::from("the reply is too large")),
            Ok(Ended::Failed(why)) => Err(why),
            Ok(Ended::Killed | Ended::Returned) => Err(String::from("the node is stopping")),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn hook_job(command: String, spec: HookSpec) -> Job {
    Job {
        command,
        env: vec![
            ("JUNTO_WAKE_ID", spec.id.to_string()),
            ("JUNTO_WAKE_REQUEST", spec.request.as_str().to_owned()),
            ("JUNTO_WAKE_FROM", spec.from.to_string()),
            ("JUNTO_WAKE_PRIORITY", spec.priority.as_str().to_owned()),
            // Another's text: without the NUL that an environment cannot hold, nor controls.
            (
                "JUNTO_WAKE_REASON",
                spec.reason.replace(char::is_control, " "),
            ),
        ],
        input: Vec::new(),
        input_file: None,
        payloads: None,
        telling: None,
        output_max_bytes: None,
        dir: None,
        memory_max_bytes: None,
        stop_grace: None,
        timeout: Duration::from_millis(spec.timeout_ms),
    }
}

async fn call_hook(url: &str, spec: &HookSpec) -> Ended {
    let document = serde_json::json!({
        "id": spec.id.to_string(),
        "request": spec.request.as_str(),
        "from": spec.from.to_string(),
        "priority": spec.priority.as_str(),
        "reason": spec.reason,
    });
    let limit = Duration::from_millis(spec.timeout_ms);
    let called = match HttpCaller::new() {
        Ok(caller) => caller.tell(url, document.to_string(), &[], limit).await,
        Err(why) => Err(why),
    };
    match called {
        Ok(()) => Ended::Completed(Vec::new()),
        Err(why) => Ended::Failed(why),
    }
}

/// Hands over how a command ended; waits while the driver's queue is full. Returns whether it is
/// handed over.
async fn tell(done: &mpsc::Sender<ExecDone>, what: ExecDone, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        // A driver that is gone needs no answer.
        sent = done.send(what) => sent.is_ok(),
    }
}
