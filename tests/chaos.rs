//! Work that must not be lost, while its workers (and its requester) are killed with kill -9.
//!
//! `JUNTO_CHAOS_RUNS=5 cargo test --release --test chaos -- --nocapture` repeats it five times.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::time::{Duration, Instant};

use support::Testnet;

const NODES: usize = 8;
const TASKS: usize = 100;
const LIMIT: Duration = Duration::from_secs(600);
/// A second of work, and a result that depends on the input.
const WORK: &str = "job=sleep 1; read n; echo $((n * n))";

fn runs() -> usize {
    std::env::var("JUNTO_CHAOS_RUNS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1)
}

#[derive(Default)]
struct Story {
    kills: usize,
    repeated: usize,
}

/// Submits every task at node 0 and returns their ids.
fn submit_all(net: &Testnet) -> Vec<(usize, String)> {
    (0..TASKS)
        .map(|n| {
            let submitted = net
                .json(0, &["task", "submit", "job", "--text", &format!("{n}\n")])
                .expect("node 0 accepts the task");
            (n, submitted["id"].as_str().unwrap().to_owned())
        })
        .collect()
}

fn completed(net: &Testnet) -> usize {
    let tasks = net.json(0, &["task", "list"]);
    let tasks = tasks.as_ref().and_then(|tasks| tasks.as_array());
    tasks.map_or(0, |tasks| {
        tasks
            .iter()
            .filter(|task| task["state"] == "completed")
            .count()
    })
}

/// Kills one node after the other until all work is done.
fn kill_until_done(net: &mut Testnet, requester_dies_at: &[usize]) -> Story {
    let begin = Instant::now();
    let mut story = Story::default();
    let mut down: Option<usize> = None;
    while completed(net) < TASKS {
        assert!(
            begin.elapsed() < LIMIT,
            "{} of {TASKS} after {LIMIT:?}",
            completed(net)
        );
        if let Some(node) = down.take() {
            net.restart(node);
        }
        let victim = 1 + story.kills % (NODES - 1);
        net.kill(victim);
        down = Some(victim);
        story.kills += 1;
        if requester_dies_at.contains(&story.kills) {
            net.kill(0);
            net.restart(0);
            net.await_up(0);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    story
}

fn check_results(net: &Testnet, tasks: &[(usize, String)]) -> usize {
    let mut repeated = 0;
    for (n, id) in tasks {
        let result = net.cli(0, &["task", "result", id]);
        assert!(result.status.success(), "task {n} has a result");
        assert_eq!(
            String::from_utf8_lossy(&result.stdout).trim(),
            (n * n).to_string()
        );
        let shown = net.json(0, &["task", "show", id]).unwrap();
        repeated += usize::from(shown["attempts"].as_array().unwrap().len() > 1);
    }
    repeated
}

fn chaos(requester_dies_at: &[usize]) {
    for run in 1..=runs() {
        let begin = Instant::now();
        let mut net = Testnet::start(NODES, &["--serve", WORK]);
        let tasks = submit_all(&net);
        let mut story = kill_until_done(&mut net, requester_dies_at);
        let took = begin.elapsed();
        story.repeated = check_results(&net, &tasks);
        println!(
            "run {run}: {TASKS} of {TASKS} results right after {:.1} s, {} workers and {} times \
             the requester killed, {} tasks attempted more than once",
            took.as_secs_f64(),
            story.kills,
            requester_dies_at.len(),
            story.repeated
        );
    }
}

#[test]
fn every_result_arrives_though_a_worker_dies_each_second() {
    chaos(&[]);
}

#[test]
fn every_result_arrives_though_the_requester_dies_twice_as_well() {
    chaos(&[2, 4]);
}
