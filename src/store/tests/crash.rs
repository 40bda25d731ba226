//! kill -9 at any moment: everything acknowledged is there, and each batch whole or not at all.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

const CRASH_DIR: &str = "JUNTO_TEST_CRASH_DIR";
const ROUNDS: u64 = 5;
/// A child that acknowledges nothing for so long has hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// Batch `n`: two small rows, a file now and then, and the number of the newest batch.
fn batch(n: u64) -> WriteBatch {
    let mut batch = put(Keyspace::Task, &format!("{:02}", n % 40), n.to_string());
    batch.put(
        Keyspace::Held,
        format!("{:02}", n % 40),
        n.to_string().into_bytes(),
    );
    batch.put(Keyspace::TaskResult, format!("{n:08}"), vec![n as u8; 500]);
    if n.is_multiple_of(7) {
        batch.put(
            Keyspace::TaskInput,
            "large",
            n.to_be_bytes().repeat(LARGE_BYTES / 8),
        );
    }
    batch.put(Keyspace::Meta, "last", n.to_string().into_bytes());
    batch
}

fn number(store: &dyn Store, space: Keyspace, key: &str) -> Option<u64> {
    value_of(store, space, key).map(|value| String::from_utf8(value).unwrap().parse().unwrap())
}

/// Not a test by itself: the process that is killed. Says on stdout what is durable.
#[test]
fn crash_process() {
    let Ok(dir) = std::env::var(CRASH_DIR) else {
        return;
    };
    let mut store = open(Path::new(&dir));
    let mut next = number(&store, Keyspace::Meta, "last").unwrap_or(0) + 1;
    loop {
        let group: Vec<_> = (next..next + 1 + next % 4).map(batch).collect();
        store.apply(&group).unwrap();
        next += group.len() as u64;
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nkept {}", next - 1)
            .and_then(|()| out.flush())
            .unwrap();
    }
}

fn spawn(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "store::tests::crash::crash_process",
            "--exact",
            "--nocapture",
        ])
        .env(CRASH_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the child after so many acknowledgements; returns the last one it got out.
fn run_and_kill(dir: &Path, acknowledgements: u64) -> u64 {
    let mut child = spawn(dir);
    let started = Instant::now();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut kept = lines
        .by_ref()
        .filter_map(|line| line.strip_prefix("kept ")?.parse().ok());
    let mut last = 0;
    for _ in 0..acknowledgements {
        last = kept
            .next()
            .expect("the child acknowledges until it is killed");
        assert!(started.elapsed() < PATIENCE);
    }
    child.kill().unwrap();
    // What was already in the pipe was acknowledged, too.
    last = kept.last().unwrap_or(last);
    child.wait().unwrap();
    last
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let kept = run_and_kill(dir.path(), 5 + 13 * round);
        let store = open(dir.path());
        let last = number(&store, Keyspace::Meta, "last").unwrap();
        assert!(
            last >= kept,
            "round {round}: {kept} was acknowledged, {last} is there"
        );
        for n in last.saturating_sub(39).max(1)..=last {
            let key = format!("{:02}", n % 40);
            assert_eq!(
                number(&store, Keyspace::Task, &key),
                Some(n),
                "round {round}"
            );
            assert_eq!(
                number(&store, Keyspace::Held, &key),
                Some(n),
                "round {round}"
            );
        }
        let results = rows(&store)
            .into_iter()
            .filter(|row| row.space == Keyspace::TaskResult);
        assert_eq!(results.count() as u64, last, "round {round}");
        let large = value_of(&store, Keyspace::TaskInput, "large");
        let newest = (last / 7 * 7).to_be_bytes().repeat(LARGE_BYTES / 8);
        assert!(large == (last >= 7).then_some(newest), "round {round}");
        assert!(
            payloads(dir.path()).len() <= 1,
            "round {round}: files are swept"
        );
    }
}
