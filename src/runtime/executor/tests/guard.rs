//! The guard as a process: this test binary, started again.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::*;

/// Not a test by itself: this binary, called with [`GUARD_SUBCOMMAND`], runs what that word names,
/// and becomes the guard here.
#[test]
#[expect(non_snake_case, reason = "the name must hold the guard's subcommand")]
fn becomes__guard() {
    if std::env::args().nth(1).as_deref() == Some(GUARD_SUBCOMMAND) {
        guard_main();
    }
}

/// Not a test by itself: the node that is killed below.
#[tokio::test]
async fn node_process() {
    let Some(dir) = std::env::var_os(NODE_DIR) else {
        return;
    };
    let mut bench = bench(Some(std::env::current_exe().unwrap()));
    let (command, _) = sleepers(Path::new(&dir));
    bench.start(1, &command, b"", 600_000);
    bench.next().await;
}

#[test]
fn kill_9_of_the_node_takes_its_commands_along() {
    let dir = tempfile::tempdir().unwrap();
    let node = Command::new(std::env::current_exe().unwrap())
        .args(["runtime::executor::tests::guard::node_process", "--exact"])
        .env(NODE_DIR, dir.path())
        .stdout(Stdio::null())
        .spawn();
    let mut node = KilledOnDrop(node.unwrap());
    let files = ["shell", "child", "grandchild"].map(|name| dir.path().join(name));
    let pids = sleeping(&files);
    assert!(pids.iter().all(|pid| runs(*pid)));
    node.0.kill().unwrap();
    node.0.wait().unwrap();
    gone(&pids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_ignores_signals_and_kills_when_its_pipe_ends() {
    let sleeper = Command::new("sleep")
        .arg("1000")
        .process_group(0)
        .stdout(Stdio::null())
        .spawn();
    let mut sleeper = KilledOnDrop(sleeper.unwrap());
    let guard = Guard::start(Some(std::env::current_exe().unwrap()));
    guard.add(i32::try_from(sleeper.0.id()).unwrap());
    let pid = guard.pid_for_test();
    let ignores_sigterm = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))
            .unwrap_or("0");
        u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << 14) != 0
    };
    wait_until("the guard ignores signals", ignores_sigterm);
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let sent = Command::new("kill")
            .args(["-s", signal, &pid.to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }
    assert!(sleeper.0.try_wait().unwrap().is_none());
    guard.stop().await;
    wait_until("the sleeper is killed", || {
        sleeper.0.try_wait().unwrap().is_some()
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_died_is_replaced_and_told_of_what_runs() {
    let dir = tempfile::tempdir().unwrap();
    let guard = Guard::start(Some(std::env::current_exe().unwrap()));
    let (command, files) = sleepers(dir.path());
    let job = |command: String| Job {
        command,
        env: vec![],
        input: vec![],
        input_file: None,
        payloads: None,
        telling: None,
        output_max_bytes: Some(1024),
        dir: None,
        memory_max_bytes: None,
        stop_grace: None,
        timeout: PATIENCE,
    };
    let stop = CancellationToken::new();
    let guard = Arc::new(guard);
    let running = {
        let (guard, stop) = (Arc::clone(&guard), stop.clone());
        tokio::spawn(async move { job(command).run(&guard, &stop, |_| {}).await })
    };
    let pids = sleeping(&files);
    guard.kill_for_test();
    assert_eq!(
        job(String::from("true")).run(&guard, &stop, |_| {}).await,
        Ended::Completed(vec![])
    );
    assert!(pids.iter().all(|pid| runs(*pid)));
    // The new guard knows the old group: the end of its pipe is the end of the group.
    guard.stop().await;
    gone(&pids);
    let Ended::Failed(reason) = running.await.unwrap() else {
        panic!("it was killed")
    };
    assert!(
        reason.starts_with("ended by signal 9 (SIGKILL)"),
        "{reason}"
    );
}
