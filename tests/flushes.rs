//! Two nodes in this process whose stores fail a flush: the nth one, once, for many n; or every one until the disk is
//! mended. Nothing that was acknowledged is lost, and what was not can be handed over again under its id.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use junto::proto::node::{Command, CommandErrorCode, Reply, StatusView, Submission, TaskView};
use junto::runtime::{Running, StoreOpener, start};
use junto::store::{MemoryStore, Store, StoreError};
use junto::types::{Multiaddr, Row, TaskId, TaskState, WriteBatch};
use support::within::{self, CAPABILITY};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(180);
const TASKS: usize = 4;

/// How much of the group that fails is on the disk all the same.
#[derive(Debug, Clone, Copy)]
enum Written {
    Nothing,
    /// The first half of its batches.
    Half,
    Everything,
}

/// A disk in memory, and what will go wrong on it.
struct Disk {
    rows: MemoryStore,
    applied: AtomicU64,
    /// The flush that fails; those after it succeed once the store was opened anew.
    nth: u64,
    written: Written,
    /// Every flush fails for as long as this is set.
    broken: AtomicBool,
    failures: AtomicU64,
    opened: Mutex<u64>,
}

impl Disk {
    fn new(nth: u64, written: Written) -> Arc<Disk> {
        Arc::new(Disk {
            rows: MemoryStore::new(),
            applied: AtomicU64::new(0),
            nth,
            written,
            broken: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            opened: Mutex::new(0),
        })
    }

    fn well() -> Arc<Disk> {
        Disk::new(u64::MAX, Written::Nothing)
    }

    fn opener(self: &Arc<Disk>) -> StoreOpener {
        let disk = Arc::clone(self);
        Arc::new(move || {
            *disk.opened.lock().unwrap() += 1;
            Ok(Box::new(OnDisk {
                disk: Arc::clone(&disk),
                failed: false,
            }))
        })
    }
}

/// One opening of it: takes nothing more after its first error, as the real one.
struct OnDisk {
    disk: Arc<Disk>,
    failed: bool,
}

impl Store for OnDisk {
    fn load(&self) -> Result<Vec<Row>, StoreError> {
        self.disk.rows.load()
    }

    fn apply(&mut self, batches: &[WriteBatch]) -> Result<(), StoreError> {
        let disk = &self.disk;
        let count = disk.applied.fetch_add(1, SeqCst) + 1;
        let mut rows = disk.rows.clone();
        if !self.failed && count != disk.nth && !disk.broken.load(SeqCst) {
            return rows.apply(batches);
        }
        if !self.failed {
            let kept = match disk.written {
                Written::Nothing => 0,
                Written::Half => batches.len() / 2,
                Written::Everything => batches.len(),
            };
            rows.apply(&batches[..kept])?;
            disk.failures.fetch_add(1, SeqCst);
        }
        self.failed = true;
        Err(StoreError::Io {
            path: "(test)".into(),
            source: std::io::Error::other("the disk has a bad day"),
        })
    }
}

async fn node(name: &str, disk: &Arc<Disk>, serves: bool, first: Option<Multiaddr>) -> Running {
    let worker = serves.then_some((2, "read n; sleep 0.2; echo $((n * 2))"));
    let config = within::config(name, rand::random(), first, worker);
    start(config, disk.opener()).await.unwrap()
}

async fn status(node: &Running) -> Box<StatusView> {
    match node.handle().call(Command::Status).await.unwrap() {
        Reply::Status(status) => status,
        other => panic!("{other:?}"),
    }
}

fn submission(n: usize) -> Submission {
    Submission::new(
        TaskId(Uuid::now_v7()),
        CAPABILITY.parse().unwrap(),
        format!("{n}\n").into_bytes(),
    )
}

/// Repeats until it is acknowledged: how often it was refused for the disk's sake.
async fn submit(node: &Running, task: &Submission) -> usize {
    let (begin, mut refused) = (Instant::now(), 0);
    loop {
        let error = match node.handle().call(Command::Submit(task.clone())).await {
            Ok(_) => return refused,
            Err(error) => error,
        };
        assert_eq!(error.code, CommandErrorCode::Storage, "{error:?}");
        assert!(begin.elapsed() < LIMIT, "never accepted: {error:?}");
        refused += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn completed(node: &Running, id: TaskId) -> Box<TaskView> {
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < LIMIT, "not completed: {id:?}");
        match node.handle().call(Command::Task(id)).await {
            Ok(Reply::Task(task)) if task.state == TaskState::Completed => return task,
            Ok(Reply::Task(task)) => assert!(!task.state.is_terminal(), "{task:?}"),
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert_eq!(error.code, CommandErrorCode::Storage, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every task is there once, with its one right result.
async fn all_complete(node: &Running, tasks: &[Submission]) {
    for (n, task) in tasks.iter().enumerate() {
        let view = completed(node, task.id).await;
        let by = view.attempts.iter().filter(|a| a.outcome == "completed");
        assert_eq!(by.count(), 1, "{view:?}");
        let begin = Instant::now();
        let result = loop {
            match node.handle().call(Command::TaskResult(task.id)).await {
                Ok(Reply::TaskResult { result, .. }) => break result,
                Ok(other) => panic!("{other:?}"),
                // The flush that fails may be the one after the last result.
                Err(error) => assert_eq!(error.code, CommandErrorCode::Storage, "{error:?}"),
            }
            assert!(begin.elapsed() < LIMIT, "no result: {view:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(result, format!("{}\n", n * 2).into_bytes());
    }
}

/// Tasks handed over while the nth flush of one side fails. Whether it did.
async fn with_disks(alices: Arc<Disk>, bobs: Arc<Disk>) -> bool {
    let alice = node("alice", &alices, false, None).await;
    let bob = node("bob", &bobs, true, Some(alice.listen()[0].clone())).await;
    let tasks: Vec<Submission> = (0..TASKS).map(submission).collect();
    for task in &tasks {
        submit(&alice, task).await;
    }
    all_complete(&alice, &tasks).await;
    bob.shutdown().await;
    alice.shutdown().await;
    alices.failures.load(SeqCst) + bobs.failures.load(SeqCst) == 1
}

/// The first write of a life proves the disk; from there to beyond the last that these tasks need.
async fn each_flush_fails_once(side: impl Fn(Arc<Disk>) -> (Arc<Disk>, Arc<Disk>)) {
    let mut runs = FuturesUnordered::new();
    for nth in 2..=9 {
        for written in [Written::Nothing, Written::Half, Written::Everything] {
            let (alices, bobs) = side(Disk::new(nth, written));
            runs.push(with_disks(alices, bobs));
        }
    }
    let mut failed = 0;
    while let Some(did_fail) = runs.next().await {
        failed += usize::from(did_fail);
    }
    assert!(failed >= 12, "only {failed} flushes failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_of_the_requester_that_fails_once_loses_no_task() {
    each_flush_fails_once(|disk| (disk, Disk::well())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_of_the_worker_that_fails_once_loses_no_task() {
    each_flush_fails_once(|disk| (Disk::well(), disk)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_for_good_is_told_until_it_is_mended() {
    let (alices, bobs) = (Disk::well(), Disk::well());
    let alice = node("alice", &alices, false, None).await;
    let bob = node("bob", &bobs, true, Some(alice.listen()[0].clone())).await;
    let mut tasks: Vec<Submission> = (0..TASKS).map(submission).collect();
    for task in &tasks {
        assert_eq!(submit(&alice, task).await, 0);
    }
    alices.broken.store(true, SeqCst);
    let refused = submission(TASKS);
    let error = alice.handle().call(Command::Submit(refused.clone())).await;
    let error = error.unwrap_err();
    assert_eq!(error.code, CommandErrorCode::Storage);
    assert!(error.message.contains("a bad day"), "{error:?}");
    // Opened once before, and tried each second from now on.
    let (begin, opened) = (Instant::now(), || *alices.opened.lock().unwrap());
    while begin.elapsed() < Duration::from_secs(4) || opened() < 3 {
        assert!(begin.elapsed() < LIMIT, "not tried again");
        let told = status(&alice).await.storage;
        assert!(told.contains("a bad day"), "{told}");
        let again = alice.handle().call(Command::Submit(refused.clone())).await;
        assert_eq!(again.unwrap_err().code, CommandErrorCode::Storage);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (opened, seconds) = (opened(), begin.elapsed().as_secs());
    assert!(opened <= seconds + 3, "{opened} times in {seconds} s");
    assert_eq!(status(&bob).await.storage, "ok");

    alices.broken.store(false, SeqCst);
    submit(&alice, &refused).await;
    assert_eq!(status(&alice).await.storage, "ok");
    tasks.push(refused);
    all_complete(&alice, &tasks).await;
    bob.shutdown().await;
    alice.shutdown().await;
}
