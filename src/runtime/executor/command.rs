//! One command from its start to the death of its process group.

use std::future::Future;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, copy_buf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::guard::Guard;
use super::output::{Cut, Large, Output};
use super::stderr::{Progress, StderrTail};
use super::telling::Teller;
use crate::runtime::payloads::PayloadFolder;
use crate::types::limits::REASON_MAX_BYTES;

/// What of the node's environment a command sees.
const ENV_KEPT: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER"];

/// Waits for one line on stdin and becomes the command. The node writes that line once the guard
/// knows the group: if the node dies before, `read` meets the end of the pipe and nothing runs. So
/// there is no moment at which a command runs and nobody would kill it. POSIX has `read` take no
/// byte behind the newline from a pipe; the command finds its input untouched.
const GATE: &str = "IFS= read -r go";
/// What stands behind the gate.
const BEGIN: &str = r#"exec /bin/sh -c "$1""#;

/// What is read from a command, or of its input, at a time.
const READ_BYTES: usize = 64 * 1024;
/// Once the group is dead its pipes end, unless a process that left the group holds them.
const PIPES_GRACE: Duration = Duration::from_secs(1);
/// A process that got SIGKILL is gone at once, unless it hangs in the kernel.
const REAP_GRACE: Duration = Duration::from_secs(1);

/// A command to run.
pub(super) struct Job {
    pub(super) command: String,
    pub(super) env: Vec<(&'static str, String)>,
    pub(super) input: Vec<u8>,
    /// The input, where it is a file; then `input` is empty.
    pub(super) input_file: Option<PathBuf>,
    /// Where a result goes that is too large for a message.
    pub(super) payloads: Option<PayloadFolder>,
    /// Who hears of its output before it has ended.
    pub(super) telling: Option<Teller>,
    /// How much of stdout is a result; none: it is not read at all.
    pub(super) output_max_bytes: Option<usize>,
    /// Where it runs; none: where the node does.
    pub(super) dir: Option<PathBuf>,
    /// How much each of its processes may have of address space.
    pub(super) memory_max_bytes: Option<u64>,
    /// How long it may take to end by itself once it is to end. None: it is killed at once.
    pub(super) stop_grace: Option<Duration>,
    pub(super) timeout: Duration,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "there is one for each run")]
pub(super) enum Ended {
    Completed(Vec<u8>),
    CompletedFile(Large),
    Failed(String),
    /// Nobody had begun it when it was asked back.
    Returned,
    /// We were told to.
    Killed,
}

/// What made us stop waiting.
enum Stop {
    Exited(io::Result<ExitStatus>),
    Cut(Cut),
    TimedOut,
    Killed,
}

/// What the command has written so far.
struct Written {
    result: Output,
    errors: StderrTail,
}

impl Job {
    /// Runs the command to its end, or until `stop`.
    pub(super) async fn run(
        mut self,
        guard: &Guard,
        stop: &CancellationToken,
        on_progress: impl FnMut(Progress),
    ) -> Ended {
        let input = match Input::open(self.input_file.as_deref(), &self.input).await {
            Ok(input) => input,
            Err(error) => {
                tracing::warn!(%error, "an input cannot be read");
                return Ended::Failed("the worker cannot read the input".into());
            }
        };
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(error) => {
                // Where is for the log: the requester gets to see the reason.
                tracing::warn!(dir = ?self.dir, %error, "a command cannot be started");
                return Ended::Failed(format!("the command cannot be started: {error}"));
            }
        };
        let Some(mut group) = Group::of(&child, guard) else {
            return Ended::Failed(String::from("the command ended before it began"));
        };
        let max_bytes = self.output_max_bytes.unwrap_or(0);
        let telling = self.telling.take();
        let mut written = Written {
            result: Output::new(max_bytes, self.payloads.clone()),
            errors: StderrTail::default(),
        };
        let stopped = {
            let pipes = Pipes::of(&mut child);
            let mut pumping = pin!(pipes.pump(input, &mut written, telling, on_progress));
            let (stopped, mut pumped) =
                watch(&mut child, pumping.as_mut(), self.timeout, stop).await;
            if let (Stop::Killed | Stop::TimedOut, Some(grace)) = (&stopped, self.stop_grace) {
                group.ask();
                let mut ending = pin!(timeout(grace, child.wait()));
                // A command that cleans up may write: nobody must hold it up.
                tokio::select! {
                    _ = &mut ending => {}
                    _ = pumping.as_mut(), if !pumped => {
                        pumped = true;
                        let _ = ending.await;
                    }
                }
            }
            // Also after the shell ended by itself: what it left in the background goes too. Its
            // number cannot be another's by now: while a member lives it is taken, and the kernel
            // gives a free one out again only after it has been through all others.
            group.kill();
            let rest = if pumped {
                None
            } else {
                timeout(PIPES_GRACE, pumping).await.ok()
            };
            match (stopped, rest) {
                (Stop::Exited(_), Some(Err(cut))) => Stop::Cut(cut),
                (stopped, _) => stopped,
            }
        };
        if !matches!(stopped, Stop::Exited(_)) {
            // Past the grace, tokio reaps it whenever it goes.
            let _ = timeout(REAP_GRACE, child.wait()).await;
        }
        judge(stopped, written, self.timeout, max_bytes).await
    }

    fn spawn(&self) -> io::Result<Child> {
        let kept = ENV_KEPT
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        let mut command = Command::new("/bin/sh");
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
            .args(["-c", &self.gate(), "sh", &self.command])
            .env_clear()
            .envs(kept)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(if self.output_max_bytes.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stderr(Stdio::piped())
            .spawn()
    }

    /// The gate, and the limits that hold for all that comes behind it. They are set by the shell:
    /// doing it between fork and exec needs unsafe code.
    fn gate(&self) -> String {
        let limit = self
            .memory_max_bytes
            .map(|bytes| format!(" && ulimit -v {}", bytes.div_ceil(1024)))
            .unwrap_or_default();
        format!("{GATE}{limit} && {BEGIN}")
    }
}

/// Waits for whatever comes first: the command's end, too much output, the timeout, the word to
/// stop. Also says whether the pipes have ended by then.
async fn watch(
    child: &mut Child,
    mut pumping: Pin<&mut impl Future<Output = Result<(), Cut>>>,
    limit: Duration,
    stop: &CancellationToken,
) -> (Stop, bool) {
    let mut pumped = false;
    let mut deadline = pin!(sleep(limit));
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return (Stop::Killed, pumped),
            () = &mut deadline => return (Stop::TimedOut, pumped),
            // A command may close its output long before it ends.
            outcome = &mut pumping, if !pumped => match outcome {
                Ok(()) => pumped = true,
                Err(cut) => return (Stop::Cut(cut), true),
            },
            status = child.wait() => return (Stop::Exited(status), pumped),
        }
    }
}

async fn judge(stopped: Stop, written: Written, limit: Duration, max_bytes: usize) -> Ended {
    let (what, errors) = match stopped {
        Stop::Killed => return Ended::Killed,
        Stop::Exited(Ok(status)) if status.success() => return written.result.finish().await,
        Stop::Exited(Ok(status)) => (describe(status), written.errors),
        Stop::Exited(Err(error)) => {
            return Ended::Failed(format!("the command's end cannot be awaited: {error}"));
        }
        Stop::Cut(cut) => return cut.into_ended(max_bytes),
        Stop::TimedOut => (
            format!("ran longer than {}, was stopped", text_of(limit)),
            written.errors,
        ),
    };
    let tail = errors.into_text();
    Ended::Failed(if tail.is_empty() {
        what
    } else {
        join_bounded(&what, &tail)
    })
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal).map_or("an unnamed signal", Signal::as_str);
            format!("ended by signal {signal} ({name})")
        }
        (None, None) => status.to_string(),
    }
}

/// What is said of a result over the limit.
pub(super) fn too_large(max_bytes: usize) -> String {
    let units = [("MiB", 1024 * 1024), ("KiB", 1024), ("bytes", 1)];
    let exact = units
        .iter()
        .find(|(_, unit)| max_bytes.is_multiple_of(*unit));
    let (name, unit) = exact.expect("every number is a multiple of one");
    format!("the result is larger than {} {name}", max_bytes / unit)
}

pub(super) fn text_of(limit: Duration) -> String {
    let ms = limit.as_millis();
    if ms.is_multiple_of(1000) {
        format!("{} s", ms / 1000)
    } else {
        format!("{ms} ms")
    }
}

/// Puts the tail behind what happened, without its beginning if it does not fit.
fn join_bounded(what: &str, tail: &str) -> String {
    let room = REASON_MAX_BYTES.saturating_sub(what.len() + 2);
    let mut from = tail.len().saturating_sub(room);
    while !tail.is_char_boundary(from) {
        from += 1;
    }
    format!("{what}: {}", &tail[from..])
}

/// The process group of one command. Killed when it is dropped, so that a task that is torn down
/// with its runtime leaves nothing behind.
struct Group<'a> {
    alive: Option<Pid>,
    guard: &'a Guard,
}

impl<'a> Group<'a> {
    /// The group whose leader `child` is, made known to the guard.
    fn of(child: &Child, guard: &'a Guard) -> Option<Group<'a>> {
        let leader = i32::try_from(child.id()?).ok()?;
        guard.add(leader);
        Some(Group {
            alive: Some(Pid::from_raw(leader)),
            guard,
        })
    }

    /// Says that it is to end; whoever does not is killed later.
    fn ask(&self) {
        if let Some(group) = self.alive {
            let _ = killpg(group, Signal::SIGTERM);
        }
    }

    fn kill(&mut self) {
        if let Some(group) = self.alive.take() {
            // An error says that nobody is left in it.
            let _ = killpg(group, Signal::SIGKILL);
            self.guard.remove(group.as_raw());
        }
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Our ends of a command's pipes.
struct Pipes {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

impl Pipes {
    fn of(child: &mut Child) -> Pipes {
        Pipes {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
        }
    }

    /// Feeds the input and reads both outputs until they end, or until one is too large.
    async fn pump(
        self,
        input: Input<'_>,
        written: &mut Written,
        telling: Option<Teller>,
        on_progress: impl FnMut(Progress),
    ) -> Result<(), Cut> {
        let feed = async {
            feed(self.stdin, input).await;
            Ok(())
        };
        let errors = async {
            read_errors(self.stderr, &mut written.errors, on_progress).await;
            Ok(())
        };
        let result = read_result(self.stdout, &mut written.result, telling);
        tokio::try_join!(feed, errors, result).map(|_| ())
    }
}

/// Opens the gate, writes the input and closes the pipe.
async fn feed(stdin: Option<ChildStdin>, input: Input<'_>) {
    let Some(mut stdin) = stdin else { return };
    // A command need not read its input: a pipe that it closed is no failure.
    if stdin.write_all(b"\n").await.is_err() {
        return;
    }
    match input {
        Input::Bytes(bytes) => {
            let _ = stdin.write_all(bytes).await;
        }
        Input::File(file) => {
            let mut file = BufReader::with_capacity(READ_BYTES, file);
            let _ = copy_buf(&mut file, &mut stdin).await;
        }
    }
}

/// What a command reads.
enum Input<'a> {
    Bytes(&'a [u8]),
    File(File),
}

impl<'a> Input<'a> {
    async fn open(path: Option<&Path>, bytes: &'a [u8]) -> io::Result<Input<'a>> {
        match path {
            Some(path) => File::open(path).await.map(Input::File),
            None => Ok(Input::Bytes(bytes)),
        }
    }
}

async fn read_result(
    stdout: Option<impl AsyncRead + Unpin>,
    result: &mut Output,
    mut telling: Option<Teller>,
) -> Result<(), Cut> {
    let Some(mut stdout) = stdout else {
        return Ok(());
    };
    let mut piece = vec![0; READ_BYTES];
    // A read that fails ends the output as its end would.
    while let Ok(bytes @ 1..) = stdout.read(&mut piece).await {
        if let Some(telling) = &mut telling {
            telling.output(&piece[..bytes]);
        }
        result.write(&piece[..bytes]).await?;
    }
    Ok(())
}

async fn read_errors(
    stderr: Option<impl AsyncRead + Unpin>,
    tail: &mut StderrTail,
    mut on_progress: impl FnMut(Progress),
) {
    let Some(mut stderr) = stderr else { return };
    let mut chunk = vec![0; 8 * 1024];
    while let Ok(bytes @ 1..) = stderr.read(&mut chunk).await {
        tail.push(&chunk[..bytes], &mut on_progress);
    }
}
