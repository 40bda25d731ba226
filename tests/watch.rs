//! Watching tasks of real nodes: every event, in order, over a restart of the node.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use support::{Testnet, eventually, junto};

const SOON: Duration = Duration::from_secs(60);

fn submit(net: &Testnet, capability: &str) -> String {
    let args = [
        "task",
        "submit",
        capability,
        "--text",
        "one two",
        "--deadline",
        "2m",
    ];
    net.json(0, &args).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_watcher_sees_each_event_of_several_tasks_to_their_ends() {
    let net = Testnet::start(
        3,
        &["--serve", "wc=sleep 0.3; wc -w", "--serve", "no=exit 3"],
    );
    let (good, bad) = (submit(&net, "wc"), submit(&net, "wc"));
    let watched = net.cli(0, &["task", "watch", &good, &bad]);
    let text = String::from_utf8(watched.stdout).unwrap();
    assert!(watched.status.success(), "{text}");
    for id in [&good, &bad] {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(&id[..])).collect();
        for kind in ["submitted", "offered", "working", "completed"] {
            assert!(
                lines.iter().any(|line| line.contains(kind)),
                "{kind}: {text}"
            );
        }
        assert!(lines[0].contains("submitted"), "{text}");
        assert!(lines.last().unwrap().contains("completed"), "{text}");
    }
    let failing = submit(&net, "no");
    net.cli(0, &["task", "cancel", &failing]);
    let ended = net.cli(0, &["task", "watch", &failing]);
    assert_eq!(ended.status.code(), Some(1), "a task that did not complete");
}

#[test]
fn a_watcher_goes_on_when_its_node_comes_back() {
    let mut net = Testnet::start(3, &["--serve", "slow=sleep 6; wc -w"]);
    let id = submit(&net, "slow");
    let mut watcher = junto()
        .arg("--home")
        .arg(net.home(0))
        .args(["--json", "task", "watch", &id])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A watcher that starts without a node says so and ends; this one is to have begun.
    let mut told = BufReader::new(watcher.stdout.take().unwrap());
    let mut text = String::new();
    told.read_line(&mut text).unwrap();
    eventually("the task is at a worker", SOON, || {
        let task = net.json(0, &["task", "show", &id])?;
        (task["state"] == "working").then_some(())
    });
    net.kill(0);
    net.restart(0);
    told.read_to_string(&mut text).unwrap();
    let seen = watcher.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&seen.stderr).into_owned();
    assert!(seen.status.success(), "{text}{errors}");
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["kind"], "submitted", "{text}");
    assert!(
        events.iter().any(|event| event["kind"] == "reset"),
        "{text}"
    );
    assert_eq!(events.last().unwrap()["kind"], "completed", "{text}");
    let numbers: Vec<u64> = events.iter().filter_map(|e| e["number"].as_u64()).collect();
    assert!(
        numbers.is_sorted_by(|a, b| a < b),
        "numbers rise: {numbers:?}"
    );
}
