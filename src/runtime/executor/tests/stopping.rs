//! Commands that are to end.

use super::*;

#[tokio::test]
async fn a_command_that_is_to_end_may_clean_up_for_as_long_as_it_was_given() {
    let mut bench = bench(None);
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("note");
    let patient = |command: String, timeout_ms, grace_s| {
        let command = CommandSpec {
            command,
            stop_grace: Some(Duration::from_secs(grace_s)),
            ..CommandSpec::default()
        };
        ServeSpec::new(ServeHow::Command(command), timeout_ms)
    };
    let tidy = format!(
        "trap 'echo tidy > {}; exit 0' TERM; echo up > {0}.up; while :; do sleep 0.01; done",
        note.display()
    );
    let serve = patient(tidy, 60_000, 60);
    let done = bench.sender.clone();
    bench.executor.spawn_run(RunId(1), spec(b""), &serve, done);
    let up = dir.path().join("note.up");
    while !up.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.executor.kill(RunId(1));
    let begin = Instant::now();
    while !note.exists() {
        assert!(begin.elapsed() < PATIENCE, "it was killed at once");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Who does not listen is killed all the same, also at the timeout.
    let deaf = patient(
        "trap '' TERM; while :; do sleep 0.01; done".into(),
        3_000,
        2,
    );
    let begin = Instant::now();
    let done = bench.sender.clone();
    bench.executor.spawn_run(RunId(2), spec(b""), &deaf, done);
    let ended = bench.next().await;
    let ExecDone::Run {
        run: RunId(2),
        outcome: RunOutcome::Failed { reason },
    } = ended
    else {
        panic!("{ended:?}");
    };
    assert!(reason.starts_with("ran longer than 3 s"), "{reason}");
    assert!(begin.elapsed() > Duration::from_secs(5));
}
