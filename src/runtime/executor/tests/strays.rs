//! What left the group of its command.

use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

/// Not a test by itself: the node that is killed below.
#[tokio::test]
async fn node_with_a_stray() {
    let Some(dir) = std::env::var_os(NODE_DIR) else {
        return;
    };
    let mut bench = bench(Some(std::env::current_exe().unwrap()));
    let stray = leaving(&Path::new(&dir).join("ended"));
    bench.completed(&format!("{stray} true"), b"").await;
    let stray = leaving(&Path::new(&dir).join("pid"));
    bench.start(1, &format!("{stray} sleep 1000"), b"", 600_000);
    bench.next().await;
}

/// The beginning of a command that starts a process in a session of its own, which notes its number
/// and sleeps, and waits for that.
fn leaving(note: &Path) -> String {
    leaving_by("setsid", note)
}

fn leaving_by(how: &str, note: &Path) -> String {
    format!(
        "{how} sh -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000' \
         </dev/null >/dev/null 2>&1 & while ! test -e {0}; do sleep 0.01; done;",
        note.display()
    )
}

/// A process that a test which fails does not leave behind.
struct Stray(i32);

impl Drop for Stray {
    fn drop(&mut self) {
        if runs(self.0) {
            let _ = kill(Pid::from_raw(self.0), Signal::SIGKILL);
        }
    }
}

fn stray_in(note: &Path) -> Stray {
    Stray(pids(&[note])[0])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_its_group_ends_with_its_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(None);
    let note = |name: &str| dir.path().join(name);
    let ended = note("ended");
    let command = format!("{} echo hi", leaving(&ended));
    assert_eq!(bench.completed(&command, b"").await, b"hi\n");
    gone(&[stray_in(&ended).0]);
    let failed = note("failed");
    bench
        .failed(&format!("{} exit 1", leaving(&failed)), 60_000)
        .await;
    gone(&[stray_in(&failed).0]);
    let late = note("late");
    let command = format!("{} sleep 1000", leaving(&late));
    let reason = bench.failed(&command, 1_000).await;
    assert_eq!(reason, "ran longer than 1 s, was stopped");
    gone(&[stray_in(&late).0]);
    let killed = note("killed");
    bench.start(7, &format!("{} sleep 1000", leaving(&killed)), b"", 60_000);
    let stray = stray_in(&killed);
    bench.executor.kill(RunId(7));
    gone(&[stray.0]);
    bench.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
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
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    gone(&[stray_in(&pid).0]);
    bench.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_the_group_of_another_run_lives_as_long_as_that() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(None);
    let other = dir.path().join("other");
    bench.start(7, &format!("{} sleep 1000", leaving(&other)), b"", 60_000);
    let other = stray_in(&other);
    for round in 0..5 {
        let own = dir.path().join(round.to_string());
        bench.completed(&leaving(&own), b"").await;
        gone(&[stray_in(&own).0]);
    }
    assert!(runs(other.0));
    bench.executor.kill(RunId(7));
    gone(&[other.0]);
    bench.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_its_group_in_the_moment_of_its_end_ends_too() {
    let mut bench = bench(None);
    for _ in 0..40 {
        // In the background, `setsid` becomes what it is to run: it keeps its number.
        let said = bench
            .completed("setsid sleep 1000 >/dev/null 2>&1 & echo $!", b"")
            .await;
        let pid = String::from_utf8(said).unwrap().trim().parse().unwrap();
        gone(&[Stray(pid).0]);
    }
    bench.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_starts_others_faster_than_it_is_found_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(None);
    let count = dir.path().join("count");
    // Each starts the next in a session of its own, and is gone.
    let hop = dir.path().join("hop");
    std::fs::write(
        &hop,
        format!(
            "echo >> {}\nsetsid sh {} &\n",
            count.display(),
            hop.display()
        ),
    )
    .unwrap();
    let command = format!(
        "setsid sh {} >/dev/null 2>&1 & while test $(wc -l < {1} || echo 0) -lt 20; do sleep 0.01; done",
        hop.display(),
        count.display()
    );
    bench.completed(&command, b"").await;
    let hops = || std::fs::read_to_string(&count).unwrap().len();
    let mut last = hops();
    wait_until("they hop no more", || {
        std::thread::sleep(Duration::from_millis(300));
        let before = std::mem::replace(&mut last, hops());
        before == last
    });
    // Whatever became of the rest of this test: nothing is found any more under this name.
    std::fs::remove_file(&hop).unwrap();
    bench.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_the_group_of_a_hook_or_of_an_agents_command_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(None);
    let hook = dir.path().join("hook");
    let action = HookAction::Command(leaving(&hook));
    bench
        .executor
        .spawn_hook(HookId(5), hook_spec(), &action, bench.sender.clone());
    let ended = ExecDone::Hook {
        hook: HookId(5),
        ok: true,
    };
    assert_eq!(bench.next().await, ended);
    gone(&[stray_in(&hook).0]);
    let agent = dir.path().join("agent");
    let runner = bench.executor.runner();
    let reply = runner.run(leaving(&agent), vec![], vec![], PATIENCE);
    assert_eq!(reply.await, Ok(vec![]));
    gone(&[stray_in(&agent).0]);
    bench.executor.shutdown().await;
}

#[test]
fn a_runtime_that_is_torn_down_takes_along_what_left_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let note = dir.path().join("pid");
    let bench = runtime.block_on(async {
        let bench = bench(None);
        bench.start(1, &format!("{} sleep 1000", leaving(&note)), b"", 60_000);
        bench
    });
    let stray = stray_in(&note);
    runtime.shutdown_background();
    gone(&[stray.0]);
    drop(bench);
}

#[test]
fn kill_9_of_the_node_takes_along_what_left_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let node = Command::new(std::env::current_exe().unwrap())
        .args([
            "runtime::executor::tests::strays::node_with_a_stray",
            "--exact",
        ])
        .env(NODE_DIR, dir.path())
        .stdout(Stdio::null())
        .spawn();
    let mut node = KilledOnDrop(node.unwrap());
    let stray = stray_in(&dir.path().join("pid"));
    assert!(runs(stray.0));
    assert!(!runs(stray_in(&dir.path().join("ended")).0));
    node.0.kill().unwrap();
    node.0.wait().unwrap();
    gone(&[stray.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_took_the_mark_out_of_its_environment_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(None);
    let note = dir.path().join("pid");
    let command = leaving_by("env -u JUNTO_RUN setsid", &note);
    bench.completed(&command, b"").await;
    let stray = stray_in(&note);
    assert!(runs(stray.0));
    bench.executor.shutdown().await;
    assert!(runs(stray.0));
}
