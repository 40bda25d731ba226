//! Real processes. Every wait is bounded; whatever a test starts is gone at its end.

mod guard;
mod isolation;
mod large;
mod pull;
mod stopping;
mod ways;

use std::path::Path;
use std::time::Instant;

use super::*;
use crate::types::limits::{REASON_MAX_BYTES, RESULT_MAX_BYTES, STDERR_TAIL_BYTES};
use crate::types::{EntityId, FencingToken, Priority, TaskId, WakeId};
use crate::wire::WakeRequest;

const PATIENCE: Duration = Duration::from_secs(90);
/// What does not wait for any of its descendants, which sleep longer by far, takes less.
const PROMPT: Duration = Duration::from_secs(45);
const NODE_DIR: &str = "JUNTO_TEST_NODE_DIR";

struct Bench {
    executor: Executor,
    sender: mpsc::Sender<ExecDone>,
    done: mpsc::Receiver<ExecDone>,
}

fn bench(guard_exe: Option<PathBuf>) -> Bench {
    let (sender, done) = mpsc::channel(16);
    Bench {
        executor: Executor::start(guard_exe, None),
        sender,
        done,
    }
}

fn spec(input: &[u8]) -> RunSpec {
    RunSpec {
        task_id: TaskId(uuid::Uuid::from_u128(0xabcd)),
        requester: EntityId([7; 32]),
        capability: "wc".parse().unwrap(),
        token: FencingToken(3),
        input: input.to_vec(),
        input_file: None,
        stream: false,
        timeout_ms: 60_000,
    }
}

fn by_command(command: &str, timeout_ms: u64) -> ServeSpec {
    let command = CommandSpec {
        command: command.to_owned(),
        ..CommandSpec::default()
    };
    ServeSpec::new(ServeHow::Command(command), timeout_ms)
}

impl Bench {
    fn start(&self, run: u64, command: &str, input: &[u8], timeout_ms: u64) {
        let serve = by_command(command, timeout_ms);
        self.executor
            .spawn_run(RunId(run), spec(input), &serve, self.sender.clone());
    }

    async fn next(&mut self) -> ExecDone {
        tokio::time::timeout(PATIENCE, self.done.recv())
            .await
            .unwrap()
            .unwrap()
    }

    async fn run(&mut self, command: &str, input: &[u8], timeout_ms: u64) -> RunOutcome {
        self.start(1, command, input, timeout_ms);
        match self.next().await {
            ExecDone::Run { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        }
    }

    async fn completed(&mut self, command: &str, input: &[u8]) -> Vec<u8> {
        match self.run(command, input, 60_000).await {
            RunOutcome::Completed { result } => result,
            other => panic!("{command}: {other:?}"),
        }
    }

    async fn failed(&mut self, command: &str, timeout_ms: u64) -> String {
        match self.run(command, b"", timeout_ms).await {
            RunOutcome::Failed { reason } => reason,
            other => panic!("{command}: {other:?}"),
        }
    }
}

/// A process that a test which fails does not leave behind.
struct KilledOnDrop(std::process::Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Whether the process runs; a zombie does not.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state stands behind the name in brackets.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Numbers that processes wrote into files of their own; as soon as all are there.
fn pids(files: &[&Path]) -> Vec<i32> {
    let read = |path: &&Path| {
        std::fs::read_to_string(path)
            .ok()?
            .trim_end_matches('\n')
            .parse()
            .ok()
    };
    let mut found = Vec::new();
    wait_until("the processes have begun", || {
        found = files.iter().filter_map(read).collect();
        found.len() == files.len()
    });
    found
}

/// A command whose shell and two descendants sleep; each leaves its number in a file.
fn sleepers(dir: &Path) -> (String, [PathBuf; 3]) {
    let files = ["shell", "child", "grandchild"].map(|name| dir.join(name));
    let [shell, child, grandchild] = files.each_ref().map(|path| path.display().to_string());
    let note = |path: &str| format!("echo $$ > {path}.new && mv {path}.new {path}");
    let deepest = format!("{}; exec sleep 1000", note(&grandchild));
    let middle = format!("sh -c \"$DEEPEST\" & {}; sleep 1000; wait", note(&child));
    let all = format!(
        "export DEEPEST='{}'; sh -c '{}' & {}; sleep 1000; wait",
        deepest,
        middle,
        note(&shell)
    );
    (all, files)
}

fn sleeping(files: &[PathBuf; 3]) -> Vec<i32> {
    pids(&files.each_ref().map(PathBuf::as_path))
}

fn gone(pids: &[i32]) {
    wait_until("the processes are gone", || {
        !pids.iter().any(|pid| runs(*pid))
    });
}

#[tokio::test]
async fn input_comes_in_and_output_is_the_result() {
    let mut bench = bench(None);
    assert_eq!(bench.completed("cat", b"").await, b"");
    assert_eq!(
        bench.completed("cat", b"\n\none\ntwo").await,
        b"\n\none\ntwo"
    );
    let binary: Vec<u8> = (0..RESULT_MAX_BYTES).map(|i| (i * 7 % 256) as u8).collect();
    assert!(
        bench.completed("cat", &binary).await == binary,
        "a result of exactly the limit"
    );
    assert_eq!(
        bench.completed("wc -c | tr -d ' '", &binary).await,
        b"1048576\n"
    );
    assert_eq!(
        bench
            .completed(r#"echo "it's"; printf '%s' "$(cat)""#, b"x")
            .await,
        b"it's\nx"
    );
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_command_need_not_read_its_input() {
    let mut bench = bench(None);
    let input = vec![0; RESULT_MAX_BYTES];
    assert_eq!(bench.completed("true", &input).await, b"");
    assert_eq!(
        bench.completed("exec <&-; echo done", &input).await,
        b"done\n"
    );
    assert_eq!(bench.completed("head -c 3", b"abcdef").await, b"abc");
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_failure_says_how_it_ended_and_what_stderr_said_last() {
    let mut bench = bench(None);
    assert_eq!(bench.failed("exit 3", 60_000).await, "exit status 3");
    let reason = bench
        .failed("echo ignored; echo why >&2; exit 4", 60_000)
        .await;
    assert_eq!(reason, "exit status 4: why");
    assert_eq!(
        bench.failed("kill -TERM $$", 60_000).await,
        "ended by signal 15 (SIGTERM)"
    );
    let reason = bench.failed("no-such-command-here", 60_000).await;
    assert!(reason.starts_with("exit status 127: "), "{reason}");
    assert!(reason.contains("no-such-command-here"), "{reason}");
    let reason = bench
        .failed(
            "printf 'progress 10 a\\nwhy\\nprogress 20\\n' >&2; exit 1",
            60_000,
        )
        .await;
    assert_eq!(reason, "exit status 1: why");
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_flood_on_stderr_leaves_a_bounded_tail() {
    let mut bench = bench(None);
    let reason = bench
        .failed(
            "yes word | head -c 50000000 >&2; echo end >&2; exit 1",
            60_000,
        )
        .await;
    assert!(
        reason.ends_with("\nend") && reason.len() <= STDERR_TAIL_BYTES + 20,
        "{}",
        reason.len()
    );
    let reason = bench
        .failed(
            "head -c 100000 /dev/zero | tr '\\0' '\\377' >&2; exit 1",
            60_000,
        )
        .await;
    assert!(reason.len() <= REASON_MAX_BYTES && reason.starts_with("exit status 1: "));
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_command_that_cannot_be_spawned_fails_with_a_sentence() {
    let mut bench = bench(None);
    let too_long = format!(": {}", "x".repeat(1 << 20));
    let reason = bench.failed(&too_long, 60_000).await;
    assert!(
        reason.starts_with("the command cannot be started: "),
        "{reason}"
    );
    let reason = bench.failed("a\0b", 60_000).await;
    assert!(
        reason.starts_with("the command cannot be started: "),
        "{reason}"
    );
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_result_over_the_limit_is_cut_at_once() {
    let mut bench = bench(None);
    // It would not end by itself.
    let reason = bench.failed("yes", 60_000).await;
    assert_eq!(reason, "the result is larger than 1 MiB");
    let one_more = format!("head -c {} /dev/zero", RESULT_MAX_BYTES + 1);
    assert_eq!(
        bench.failed(&one_more, 60_000).await,
        "the result is larger than 1 MiB"
    );
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_command_past_its_timeout_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(None);
    let (command, files) = sleepers(dir.path());
    let started = Instant::now();
    let reason = bench
        .failed(&format!("echo late >&2; {command}"), 4_000)
        .await;
    assert_eq!(reason, "ran longer than 4 s, was stopped: late");
    assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
    gone(&sleeping(&files));
    assert_eq!(
        bench.failed("sleep 1000", 300).await,
        "ran longer than 300 ms, was stopped"
    );
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn the_shorter_of_the_two_timeouts_counts() {
    let mut bench = bench(None);
    let command = by_command("sleep 1000", 60_000);
    let spec = RunSpec {
        timeout_ms: 50,
        ..spec(b"")
    };
    bench
        .executor
        .spawn_run(RunId(9), spec, &command, bench.sender.clone());
    let reason = String::from("ran longer than 50 ms, was stopped");
    let expected = ExecDone::Run {
        run: RunId(9),
        outcome: RunOutcome::Failed { reason },
    };
    assert_eq!(bench.next().await, expected);
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_background_child_neither_survives_nor_holds_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(None);
    let pid = dir.path().join("pid");
    let started = Instant::now();
    let command = format!("sleep 1000 & echo $! > {}; echo hi", pid.display());
    assert_eq!(bench.completed(&command, b"").await, b"hi\n");
    gone(&pids(&[&pid]));
    assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_process_that_left_the_group_and_keeps_the_pipes_does_not_hold_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(None);
    let pid = dir.path().join("pid");
    let started = Instant::now();
    let command = format!(
        "setsid sh -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000' & \
         while ! test -e {0}; do sleep 0.01; done; echo hi",
        pid.display()
    );
    assert_eq!(bench.completed(&command, b"").await, b"hi\n");
    assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
    // Out of the executor's reach, so the test ends it.
    let escaped = nix::unistd::Pid::from_raw(pids(&[&pid])[0]);
    nix::sys::signal::kill(escaped, nix::sys::signal::Signal::SIGKILL).unwrap();
    bench.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_is_gone_with_its_children_and_reports_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(None);
    let (command, files) = sleepers(dir.path());
    bench.start(1, &command, b"", 60_000);
    let pids = sleeping(&files);
    bench.executor.kill(RunId(1));
    bench.executor.kill(RunId(1));
    bench.executor.kill(RunId(77));
    assert_eq!(bench.completed("echo next", b"").await, b"next\n");
    gone(&pids);
    assert!(bench.done.try_recv().is_err());
    bench.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_under_the_number_of_a_killed_one_can_be_killed_too() {
    let dir = tempfile::tempdir().unwrap();
    let bench = bench(None);
    for round in 0..5 {
        let round_dir = dir.path().join(round.to_string());
        std::fs::create_dir(&round_dir).unwrap();
        let (command, files) = sleepers(&round_dir);
        bench.start(1, &command, b"", 60_000);
        let pids = sleeping(&files);
        bench.executor.kill(RunId(1));
        if round == 2 {
            gone(&pids);
        }
    }
    wait_until("every killed run has ended", || {
        bench.executor.tasks.is_empty()
    });
    assert!(bench.executor.runs.table().is_empty());
    bench.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_and_drop_leave_nothing_behind() {
    for by_drop in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let bench = bench(None);
        let (command, files) = sleepers(dir.path());
        bench.start(1, &command, b"", 60_000);
        let pids = sleeping(&files);
        if by_drop {
            drop(bench.executor);
        } else {
            bench.executor.shutdown().await;
            assert!(!runs(pids[0]), "shutdown waits for the shells");
        }
        gone(&pids);
    }
}

#[test]
fn a_runtime_that_is_torn_down_takes_its_commands_along() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (command, files) = sleepers(dir.path());
    let bench = runtime.block_on(async {
        let bench = bench(None);
        bench.start(1, &command, b"", 60_000);
        bench
    });
    let pids = sleeping(&files);
    runtime.shutdown_background();
    gone(&pids);
    drop(bench);
}

#[tokio::test]
async fn the_environment_holds_the_task_and_nothing_of_the_node() {
    // `cargo test` sets this one for every test.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let mut bench = bench(None);
    let text = String::from_utf8(bench.completed("env", b"").await).unwrap();
    let allowed = [
        "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "PWD", "OLDPWD", "SHLVL", "_",
    ];
    for line in text.lines() {
        let (name, value) = line.split_once('=').unwrap();
        match name {
            "JUNTO_TASK_ID" => assert_eq!(value, "00000000-0000-0000-0000-00000000abcd"),
            "JUNTO_REQUESTER" => assert_eq!(value, EntityId([7; 32]).to_string()),
            "JUNTO_CAPABILITY" => assert_eq!(value, "wc"),
            "JUNTO_TOKEN" => assert_eq!(value, "3"),
            "JUNTO_TIMEOUT_MS" => assert_eq!(value, "60000"),
            "JUNTO_TRACEPARENT" => {
                assert!(
                    value.starts_with("00-0000000000000000000000000000abcd-"),
                    "{value}"
                );
                assert!(value.ends_with("-01") && value.len() == 55, "{value}");
            }
            name => assert!(allowed.contains(&name), "{name} came through"),
        }
    }
    assert_eq!(text.matches("JUNTO_").count(), 6);
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn the_hook_learns_who_and_why_and_reports_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(None);
    let seen = dir.path().join("seen");
    let spec = hook_spec();
    let command = format!(
        r#"cat > {0}; printf '%s %s' "$JUNTO_WAKE_FROM" "$JUNTO_WAKE_REASON" >> {0}; yes | head -c 3M"#,
        seen.display()
    );
    let action = HookAction::Command(command);
    bench
        .executor
        .spawn_hook(HookId(5), spec.clone(), &action, bench.sender.clone());
    assert_eq!(
        bench.next().await,
        ExecDone::Hook {
            hook: HookId(5),
            ok: true
        }
    );
    let expected = format!("{} it's $(late) ; now", EntityId([3; 32]));
    assert_eq!(std::fs::read_to_string(seen).unwrap(), expected);
    for (command, timeout_ms) in [("exit 1", 60_000), ("sleep 1000", 100)] {
        let spec = HookSpec {
            timeout_ms,
            ..spec.clone()
        };
        let action = HookAction::Command(command.to_owned());
        bench
            .executor
            .spawn_hook(HookId(6), spec, &action, bench.sender.clone());
        assert_eq!(
            bench.next().await,
            ExecDone::Hook {
                hook: HookId(6),
                ok: false
            }
        );
    }
    bench.executor.shutdown().await;
}

fn hook_spec() -> HookSpec {
    HookSpec {
        id: WakeId(uuid::Uuid::nil()),
        request: WakeRequest::Restart,
        from: EntityId([3; 32]),
        reason: String::from("it's $(late)\0;\nnow"),
        priority: Priority::High,
        timeout_ms: 60_000,
    }
}

/// Answers one request with `answer`, and hands out what it said.
async fn answering(answer: &'static str) -> (HookAction, tokio::task::JoinHandle<String>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut said = Vec::new();
        let mut chunk = [0; 4_096];
        while !said.ends_with(b"}") {
            let read = stream.read(&mut chunk).await.unwrap();
            said.extend_from_slice(&chunk[..read]);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(said).unwrap()
    });
    (HookAction::Url(url), served)
}

#[tokio::test]
async fn a_hook_may_be_an_address_that_is_posted_to() {
    let mut bench = bench(None);
    for (answer, expected) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
        // What it would say beside that it has heard is not waited for.
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nmore",
            true,
        ),
        ("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", false),
        (
            "HTTP/1.1 302 There\r\nlocation: http://127.0.0.1:1/\r\n\r\n",
            false,
        ),
    ] {
        let (action, served) = answering(answer).await;
        bench
            .executor
            .spawn_hook(HookId(5), hook_spec(), &action, bench.sender.clone());
        let ExecDone::Hook { ok, .. } = bench.next().await else {
            panic!("a hook")
        };
        assert_eq!(ok, expected, "{answer}");
        let said = served.await.unwrap();
        let (_, body) = said.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["request"], "restart");
        assert_eq!(body["reason"], "it's $(late)\0;\nnow");
        assert_eq!(body["from"], EntityId([3; 32]).to_string());
    }
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn many_commands_run_side_by_side() {
    let mut bench = bench(Some(std::env::current_exe().unwrap()));
    for run in 0..16 {
        bench.start(run, "cat", run.to_string().as_bytes(), 60_000);
    }
    let mut seen = BTreeMap::new();
    for _ in 0..16 {
        let ExecDone::Run {
            run,
            outcome: RunOutcome::Completed { result },
        } = bench.next().await
        else {
            panic!("a run failed")
        };
        seen.insert(run.0, String::from_utf8(result).unwrap());
    }
    assert!(seen.iter().all(|(run, result)| run.to_string() == *result) && seen.len() == 16);
    bench.executor.shutdown().await;
}
