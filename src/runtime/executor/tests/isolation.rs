//! What one run leaves of the disk and of memory to others.

use super::*;

fn limited(command: CommandSpec, output_max_bytes: usize) -> ServeSpec {
    ServeSpec {
        output_max_bytes,
        ..ServeSpec::new(ServeHow::Command(command), 60_000)
    }
}

async fn outcome(bench: &mut Bench, serve: &ServeSpec) -> Result<String, String> {
    bench
        .executor
        .spawn_run(RunId(1), spec(b""), serve, bench.sender.clone());
    match bench.next().await {
        ExecDone::Run {
            outcome: RunOutcome::Completed { result },
            ..
        } => Ok(String::from_utf8(result).unwrap()),
        ExecDone::Run {
            outcome: RunOutcome::Failed { reason },
            ..
        } => Err(reason),
        other => panic!("{other:?}"),
    }
}

fn bench_in(root: &Path) -> Bench {
    let (sender, done) = mpsc::channel(16);
    Bench {
        executor: Executor::start(None, Some(root.to_owned())),
        sender,
        done,
    }
}

fn entries(root: &Path) -> Vec<PathBuf> {
    let lives = std::fs::read_dir(root).into_iter().flatten().flatten();
    lives
        .flat_map(|life| std::fs::read_dir(life.path()).unwrap().flatten())
        .map(|entry| entry.path())
        .collect()
}

#[tokio::test]
async fn each_run_works_in_an_empty_folder_of_its_own_which_goes_with_it() {
    let root = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("file"), "x").unwrap();
    let mut bench = bench_in(root.path());
    let look = format!(
        "pwd; ls -A | wc -l; stat -c %a .; echo $TMPDIR; \
         mkdir -p a/b; touch a/b/c; ln -s {} out; chmod 0 a",
        elsewhere.path().display()
    );
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let said = String::from_utf8(bench.completed(&look, b"").await).unwrap();
        let [dir, count, mode, tmpdir] = said.lines().collect::<Vec<_>>()[..] else {
            panic!("{said}")
        };
        assert!(Path::new(dir).starts_with(root.path()), "{dir}");
        assert_eq!((count, mode, tmpdir), ("0", "700", dir));
        assert!(seen.insert(dir.to_owned()), "the same folder twice");
    }
    wait_until("the folders are gone", || entries(root.path()).is_empty());
    // A link is removed, and nothing behind it.
    assert!(elsewhere.path().join("file").exists());
    bench.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_leaves_no_folder() {
    let root = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    let bench = bench_in(root.path());
    let pid = files.path().join("pid");
    let command = format!(
        "touch here; sh -c 'echo $$ > {0}.new; mv {0}.new {0}; while :; do date > here; done' & wait",
        pid.display()
    );
    bench.start(1, &command, b"", 60_000);
    let pids = pids(&[&pid]);
    assert_eq!(entries(root.path()).len(), 1);
    bench.executor.kill(RunId(1));
    gone(&pids);
    wait_until("the folder is gone", || entries(root.path()).is_empty());
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_start_removes_what_an_earlier_life_left() {
    let root = tempfile::tempdir().unwrap();
    let left = root.path().join("0123456789abcdef/7/deep");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("file"), "x").unwrap();
    let bench = bench_in(root.path());
    wait_until("it is swept", || {
        !root.path().join("0123456789abcdef").exists()
    });
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_folder_may_be_named_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("script.sh"), "echo from; pwd").unwrap();
    let mut bench = bench(None);
    let command = |dir: &Path| CommandSpec {
        command: String::from("sh ./script.sh"),
        dir: Some(dir.to_owned()),
        ..CommandSpec::default()
    };
    let said = outcome(&mut bench, &limited(command(dir.path()), 1024)).await;
    assert_eq!(said, Ok(format!("from\n{}\n", dir.path().display())));
    assert!(dir.path().join("script.sh").exists());
    let missing = dir.path().join("missing");
    let reason = outcome(&mut bench, &limited(command(&missing), 1024)).await;
    let reason = reason.unwrap_err();
    assert!(
        reason.starts_with("the command cannot be started: "),
        "{reason}"
    );
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn memory_over_the_limit_fails_the_run_and_only_that() {
    let mut bench = bench(None);
    let command = |command: &str| CommandSpec {
        command: command.to_owned(),
        memory_max_bytes: Some(64 << 20),
        ..CommandSpec::default()
    };
    let hungry = command("dd if=/dev/zero of=/dev/null bs=256M count=1");
    let reason = outcome(&mut bench, &limited(hungry, 1024))
        .await
        .unwrap_err();
    assert!(reason.starts_with("exit status 1: "), "{reason}");
    // The limit holds for what it starts, too, and cannot be lifted from within, except by root.
    let child = command("sh -c 'ulimit -v'; ulimit -v");
    let said = outcome(&mut bench, &limited(child, 1024)).await;
    assert_eq!(said.as_deref(), Ok("65536\n65536\n"));
    if !nix::unistd::geteuid().is_root() {
        let lifting = command("ulimit -v unlimited && echo lifted; ulimit -v");
        let said = outcome(&mut bench, &limited(lifting, 1024)).await;
        assert_eq!(said.as_deref(), Ok("65536\n"));
    }
    let frugal = command("dd if=/dev/zero bs=1M count=1 2>/dev/null | wc -c");
    let said = outcome(&mut bench, &limited(frugal, 1024)).await;
    assert_eq!(said.unwrap().trim(), "1048576");
    // Others have no limit.
    let free = CommandSpec {
        command: String::from("ulimit -v"),
        ..CommandSpec::default()
    };
    let said = outcome(&mut bench, &limited(free, 1024)).await.unwrap();
    assert_ne!(said.trim(), "65536");
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_capability_may_have_a_smaller_limit_on_its_output() {
    let mut bench = bench(None);
    let command = |count: usize| CommandSpec {
        command: format!("head -c {count} /dev/zero | tr '\\0' x"),
        ..CommandSpec::default()
    };
    let said = outcome(&mut bench, &limited(command(2048), 2048)).await;
    assert_eq!(said.map(|text| text.len()), Ok(2048));
    let said = outcome(&mut bench, &limited(command(2049), 2048)).await;
    assert_eq!(said, Err(String::from("the result is larger than 2 KiB")));
    let said = outcome(&mut bench, &limited(command(102), 101)).await;
    assert_eq!(
        said,
        Err(String::from("the result is larger than 101 bytes"))
    );
    bench.executor.shutdown().await;
}
