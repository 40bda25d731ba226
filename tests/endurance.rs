//! Thousands of tasks while a worker is killed with kill -9 each second and the requester every ten:
//! each comes to an end once, with the right result; how many ran more than once is told.
//!
//! `JUNTO_ENDURANCE_TASKS=10000 cargo test --release --test endurance -- --nocapture` is a long one.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use junto::api::body::{SubmitBody, SubmitManyBody, TaskListParams};
use junto::api::{ApiClient, ClientError};
use junto::proto::node::TaskView;
use serde_json::Value;
use support::Testnet;
use uuid::Uuid;

const NODES: usize = 5;
const TASKS: usize = 2_000;
const LIMIT: Duration = Duration::from_secs(1_200);
/// Lists of tasks under way at once, and tasks in each.
const SUBMITTERS: usize = 4;
const LIST: usize = 50;
const LOOK_EVERY: Duration = Duration::from_secs(1);
const REQUESTER_DIES_EVERY: usize = 10;

fn count() -> usize {
    let named = std::env::var("JUNTO_ENDURANCE_TASKS").ok();
    named.and_then(|n| n.parse().ok()).unwrap_or(TASKS)
}

/// The requester's API, wherever it listens in its present life.
#[derive(Clone)]
struct Requester {
    home: std::path::PathBuf,
}

impl Requester {
    fn client(&self) -> Option<ApiClient> {
        let node: Value =
            serde_json::from_slice(&std::fs::read(self.home.join("node.json")).ok()?).ok()?;
        let token = std::fs::read_to_string(self.home.join("api.token")).ok()?;
        ApiClient::new(node["api"].as_str()?, token.trim()).ok()
    }

    /// Repeats until they are acknowledged: the ids make them the same tasks.
    async fn submit(&self, first: usize, ids: &[Uuid]) {
        let task = |(n, id): (usize, &Uuid)| SubmitBody {
            id: Some(*id),
            deadline_ms: 3_600_000,
            ..SubmitBody::new("job", format!("{n}\n").as_bytes())
        };
        let tasks = (first..).zip(ids).map(task).collect();
        let list = SubmitManyBody { tasks };
        let begin = Instant::now();
        loop {
            let last = match self.client() {
                Some(client) => match client.submit_many(&list).await {
                    Ok(_) => return,
                    Err(error) => error,
                },
                None => ClientError::NotRunning,
            };
            assert!(
                begin.elapsed() < LIMIT,
                "the tasks from {first} on are not accepted: {last}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// All tasks, page by page; those that were seen when it dies meanwhile.
    async fn tasks(&self) -> Vec<TaskView> {
        let (mut all, mut params) = (Vec::new(), TaskListParams::default());
        let Some(client) = self.client() else {
            return all;
        };
        while let Ok((page, next)) = client.tasks(&params).await {
            all.extend(page);
            match next {
                Some(next) => params.after = Some(next),
                None => break,
            }
        }
        all
    }
}

/// A task of each id, whatever happens meanwhile.
async fn submit_all(requester: &Requester, ids: Arc<Vec<Uuid>>) {
    let next = Arc::new(AtomicUsize::new(0));
    let submitters = (0..SUBMITTERS).map(|_| {
        let (requester, ids, next) = (requester.clone(), Arc::clone(&ids), Arc::clone(&next));
        tokio::spawn(async move {
            loop {
                let first = next.fetch_add(LIST, Ordering::Relaxed);
                let Some(rest) = ids.get(first..).filter(|rest| !rest.is_empty()) else {
                    return;
                };
                requester.submit(first, &rest[..rest.len().min(LIST)]).await;
            }
        })
    });
    for submitter in submitters.collect::<Vec<_>>() {
        submitter.await.unwrap();
    }
}

/// Kills until every task has ended; returns how often a worker and the requester died.
async fn kill_until_done(net: &mut Testnet, requester: &Requester, total: usize) -> (usize, usize) {
    let begin = Instant::now();
    let (mut kills, mut requester_kills, mut down) = (0, 0, None);
    loop {
        let tasks = requester.tasks().await;
        let ended = tasks.iter().filter(|task| task.state.is_terminal()).count();
        println!(
            "{:>5.1} s: {ended} of {} ended",
            begin.elapsed().as_secs_f64(),
            tasks.len()
        );
        if ended == total {
            break;
        }
        if begin.elapsed() > LIMIT {
            let open = tasks.iter().filter(|task| !task.state.is_terminal());
            let open: Vec<_> = open.take(3).collect();
            panic!("{ended} of {total} after {LIMIT:?}; among the others {open:#?}");
        }
        if let Some(node) = down.take() {
            net.restart(node);
        }
        let victim = 1 + kills % (NODES - 1);
        net.kill(victim);
        down = Some(victim);
        kills += 1;
        if kills % REQUESTER_DIES_EVERY == 0 {
            net.kill(0);
            net.restart(0);
            requester_kills += 1;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    (kills, requester_kills)
}

/// How often the command of each task ran: each run wrote its task's id into a file.
fn runs(log: &std::path::Path) -> HashMap<String, usize> {
    let mut runs = HashMap::new();
    for line in std::fs::read_to_string(log).unwrap().lines() {
        *runs.entry(line.to_owned()).or_default() += 1;
    }
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn every_task_ends_once_though_workers_and_requester_are_killed() {
    let total = count();
    let begin = Instant::now();
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("runs");
    std::fs::write(&log, "").unwrap();
    let work = format!(
        "job=read n; echo $JUNTO_TASK_ID >> {}; echo $((n * n))",
        log.display()
    );
    let mut net = Testnet::start(NODES, &["--serve", &work]);
    let requester = Requester { home: net.home(0) };
    let ids: Arc<Vec<Uuid>> = Arc::new((0..total).map(|_| Uuid::now_v7()).collect());

    let submitting = tokio::spawn({
        let (requester, ids) = (requester.clone(), Arc::clone(&ids));
        async move { submit_all(&requester, ids).await }
    });
    let (kills, requester_kills) = kill_until_done(&mut net, &requester, total).await;
    submitting.await.unwrap();
    let took = begin.elapsed();

    net.await_up(0);
    let tasks: HashMap<Uuid, TaskView> = requester
        .tasks()
        .await
        .into_iter()
        .map(|task| (task.id.parse().unwrap(), task))
        .collect();
    assert_eq!(tasks.len(), total, "none is lost and none is there twice");
    let client = requester.client().unwrap();
    for (n, id) in ids.iter().enumerate() {
        let task = &tasks[id];
        assert_eq!(task.state.as_str(), "completed", "task {n}: {task:?}");
        let output = client.result(id).await.unwrap();
        let result = String::from_utf8(output.result).unwrap();
        assert_eq!(result.trim(), (n * n).to_string(), "task {n}");
    }
    let runs = runs(&log);
    let again = runs.values().filter(|times| **times > 1).count();
    let most = runs.values().max().copied().unwrap_or(0);
    assert_eq!(runs.len(), total, "each ran");
    println!(
        "{total} tasks over {NODES} nodes in {:.0} s, a worker killed {kills} times and the requester \
         {requester_kills} times: {total} right results, 0 lost; {again} ran more than once, the most \
         often {most} times",
        took.as_secs_f64()
    );
}
