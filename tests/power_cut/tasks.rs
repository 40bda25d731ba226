//! The power of a machine goes on which a requester and a worker run, with the real store, the real cores and the real
//! runtime: what either said to anybody before holds afterwards.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use junto::proto::node::{Command, Reply, Submission, TaskView};
use junto::runtime::{Running, start};
use junto::store::SledStore;
use junto::types::{Multiaddr, TaskId, TaskState};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::disk::{Call, Disk, Lie, calls};
use crate::recording::{Recorder, quick_folder};
use crate::support::within::{self, CAPABILITY};
use crate::{PROMISES, ROOT, number};

const ROUNDS: usize = 48;
/// Cuts that are looked at in one record.
const CUTS: usize = 12;
const TASKS: usize = 30;
const LIMIT: Duration = Duration::from_secs(180);

/// What the requester had told when the power went.
#[derive(Debug, Default, Clone)]
struct Told {
    /// The number that each acknowledged task is about.
    tasks: BTreeMap<Uuid, usize>,
    /// The highest token of an attempt that was shown.
    tokens: BTreeMap<Uuid, u64>,
    /// The token under which it was completed.
    completed: BTreeMap<Uuid, u64>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let what = words.next().unwrap();
        let id: Uuid = words.next().unwrap().parse().unwrap();
        let number: u64 = words.next().unwrap().parse().unwrap();
        match what {
            "submitted" => drop(self.tasks.insert(id, number as usize)),
            "token" => drop(self.tokens.insert(id, number)),
            "completed" => drop(self.completed.insert(id, number)),
            other => panic!("{other}"),
        }
    }
}

/// The same entity after each cut.
async fn node(
    root: &Path,
    name: &str,
    seed: u64,
    first: Option<Multiaddr>,
) -> Result<Running, String> {
    let worker = first.is_some().then_some((4, "read n; echo $((n * 2))"));
    let config = within::config(name, seed, first, worker);
    let dir = root.join(name);
    let opener = Arc::new(move || Ok(Box::new(SledStore::open(&dir)?) as Box<_>));
    let started = start(config, opener).await;
    started.map_err(|error| format!("{name} does not start: {error}"))
}

async fn pair(root: &Path) -> Result<(Running, Running), String> {
    let alice = node(root, "alice", 1, None).await?;
    let first = alice.listen()[0].clone();
    let bob = node(root, "bob", 2, Some(first)).await?;
    Ok((alice, bob))
}

async fn view(node: &Running, id: Uuid) -> Result<Box<TaskView>, String> {
    match node.handle().call(Command::Task(TaskId(id))).await {
        Ok(Reply::Task(task)) => Ok(task),
        other => Err(format!("{other:?}")),
    }
}

/// Not a test by itself: the process that is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_under_record() {
    let Ok(root) = std::env::var(ROOT) else {
        return;
    };
    let root = Path::new(&root);
    let mut promises = OpenOptions::new()
        .append(true)
        .create(true)
        .open(root.join(PROMISES))
        .unwrap();
    let mut tell = |what: &str, id: Uuid, number: u64| {
        let line = format!("{what} {id} {number}\n");
        promises.write_all(line.as_bytes()).unwrap();
    };
    let (alice, bob) = pair(root).await.unwrap();
    let (mut open, mut next, begin) = (Vec::<(Uuid, u64)>::new(), 0, Instant::now());
    while next < TASKS || !open.is_empty() {
        assert!(begin.elapsed() < LIMIT, "not completed: {open:?}");
        // Not all at once, so that the disk is flushed many times.
        if next < TASKS && open.len() < 5 {
            let id = Uuid::now_v7();
            let input = format!("{next}\n").into_bytes();
            let task = Submission::new(TaskId(id), CAPABILITY.parse().unwrap(), input);
            alice.handle().call(Command::Submit(task)).await.unwrap();
            tell("submitted", id, next as u64);
            open.push((id, 0));
            next += 1;
        }
        let mut still = Vec::new();
        for (id, shown) in open {
            let task = view(&alice, id).await.unwrap();
            let token = task.attempts.last().map_or(0, |attempt| attempt.token);
            if token > shown {
                tell("token", id, token);
            }
            if task.state == TaskState::Completed {
                tell("completed", id, token);
            } else {
                still.push((id, token));
            }
        }
        open = still;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bob.shutdown().await;
    alice.shutdown().await;
}

/// Both nodes start on what a cut left: everything that was told is so, and every task ends.
async fn holds(root: &Path, told: &Told) -> Result<(), String> {
    let (alice, bob) = pair(root).await?;
    for (id, n) in &told.tasks {
        let begin = Instant::now();
        let task = loop {
            let task = view(&alice, *id).await?;
            if told.completed.contains_key(id) && task.state != TaskState::Completed {
                return Err(format!("was completed before the cut: {task:?}"));
            }
            if task.state == TaskState::Completed {
                break task;
            }
            if task.state.is_terminal() || begin.elapsed() > LIMIT {
                return Err(format!("does not complete: {task:?}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let tokens: Vec<u64> = task.attempts.iter().map(|attempt| attempt.token).collect();
        let by: Vec<_> = task
            .attempts
            .iter()
            .filter(|a| a.outcome == "completed")
            .collect();
        let shown = told.tokens.get(id).copied().unwrap_or(0);
        if by.len() != 1 || !tokens.is_sorted_by(|a, b| a < b) || tokens.last() < Some(&shown) {
            return Err(format!("token {shown} was shown before the cut: {task:?}"));
        }
        if told
            .completed
            .get(id)
            .is_some_and(|token| by[0].token != *token)
        {
            return Err(format!("was completed by another attempt: {task:?}"));
        }
        match alice.handle().call(Command::TaskResult(TaskId(*id))).await {
            Ok(Reply::TaskResult { result, .. })
                if result == format!("{}\n", n * 2).into_bytes() => {}
            other => return Err(format!("the result of {n}: {other:?}")),
        }
    }
    bob.shutdown().await;
    alice.shutdown().await;
    Ok(())
}

/// Cuts of one record, looked at beside each other: in how many some tasks had ended and others not.
async fn cut(recorder: &Recorder, home: &Path, seed: u64, lie: Lie) -> Result<usize, String> {
    let (root, log) = (home.join("root"), home.join("log"));
    fs::create_dir_all(&root).unwrap();
    let mut disk = Disk::new(&root, lie);
    recorder.run("tasks::tasks_under_record", &root, &log, None, |process| {
        process.env(ROOT, &root);
    })?;
    let log = fs::read(&log).unwrap();
    let calls = calls(&log, &root);
    let mut rng = StdRng::seed_from_u64(seed);
    let at: Vec<usize> = (0..CUTS)
        .map(|_| rng.random_range(0..=calls.len()))
        .collect();
    let (mut told, mut left) = (Told::default(), Vec::new());
    for (place, call) in calls.iter().map(Some).chain([None]).enumerate() {
        for _ in at.iter().filter(|at| **at == place) {
            let folder = home.join(format!("cut{}", left.len()));
            disk.leave(&folder, rng.random());
            left.push((place, folder, told.clone()));
        }
        let Some(call) = call else { continue };
        if let Call::Write(_, _, bytes) = call
            && let Ok(line) = std::str::from_utf8(bytes)
            && ["submitted ", "token ", "completed "]
                .iter()
                .any(|what| line.starts_with(what))
        {
            told.hear(line);
        }
        disk.make(call);
    }
    if !disk.is_all_of(&root) {
        return Err(String::from("the record does not hold all that was done"));
    }
    let mut looks: FuturesUnordered<_> = left
        .iter()
        .map(async |(place, folder, told)| {
            let outcome = holds(folder, told).await;
            outcome.map_err(|what| format!("cut at call {place} of {}: {what}", calls.len()))
        })
        .collect();
    while let Some(outcome) = looks.next().await {
        outcome?;
    }
    Ok(left
        .iter()
        .filter(|(_, _, told)| (1..told.tasks.len()).contains(&told.completed.len()))
        .count())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_of_a_task_holds_after_a_power_cut() {
    let home = quick_folder();
    let recorder = Recorder::build(home.path());
    let rounds = number("JUNTO_CUT_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize / 6);
    let seed = number("JUNTO_CUT_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("JUNTO_CUT_SEED={seed}");
    let mut amid = 0;
    for first in (0..rounds.max(CUTS)).step_by(CUTS) {
        let seed = seed + first as u64;
        let home = home.path().join(first.to_string());
        amid += cut(&recorder, &home, seed, Lie::None)
            .await
            .unwrap_or_else(|what| panic!("JUNTO_CUT_SEED={seed}: {what}"));
        fs::remove_dir_all(&home).unwrap();
    }
    assert!(amid > 0, "no cut came while tasks were under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_only_says_it_flushed_loses_what_was_told_of_tasks() {
    let home = quick_folder();
    let recorder = Recorder::build(home.path());
    let outcome = cut(&recorder, &home.path().join("cuts"), 1, Lie::Files).await;
    assert!(outcome.is_err(), "{outcome:?}");
}
