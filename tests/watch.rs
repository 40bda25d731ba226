//! Watching tasks of real nodes: every event, in order, over a restart of the node.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

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

/// Waits until a worker has said that it does the task.
fn at_a_worker(net: &Testnet, id: &str) {
    eventually("the task is at a worker", SOON, || {
        let task = net.json(0, &["task", "show", id])?;
        let attempts = task["attempts"].as_array()?;
        (attempts.last()?["outcome"] == "working").then_some(())
    });
}

#[test]
fn a_watcher_sees_each_event_of_several_tasks_to_their_ends() {
    let gates = tempfile::tempdir().unwrap();
    let gate = gates.path().join("gate");
    let wc = format!(
        "wc=while [ ! -e {} ]; do sleep 0.1; done; wc -w",
        gate.display()
    );
    let net = Testnet::start(3, &["--serve", &wc, "--serve", "no=exit 3"]);
    let (good, bad) = (submit(&net, "wc"), submit(&net, "wc"));
    for id in [&good, &bad] {
        at_a_worker(&net, id);
    }
    std::fs::write(&gate, "").unwrap();
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
    let gates = tempfile::tempdir().unwrap();
    let gate = gates.path().join("gate");
    let slow = format!(
        "slow=while [ ! -e {} ]; do sleep 0.1; done; wc -w",
        gate.display()
    );
    let mut net = Testnet::start(3, &["--serve", &slow]);
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
    at_a_worker(&net, &id);
    net.kill(0);
    net.restart(0);
    net.await_up(0);
    std::fs::write(&gate, "").unwrap();
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

fn labelled(net: &Testnet, capability: &str, label: &str) -> Option<String> {
    let args = [
        "task", "submit", capability, "--text", "one", "--label", label,
    ];
    Some(net.json(0, &args)?["id"].as_str()?.to_owned())
}

/// `task watch` of all tasks, and what it says line by line.
struct Watcher(Child, Receiver<Value>);

impl Watcher {
    fn start(net: &Testnet, more: &[&str]) -> Watcher {
        let mut child = junto()
            .arg("--home")
            .arg(net.home(0))
            .args(["--json", "task", "watch"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in told.lines().map_while(Result::ok) {
                let _ = send.send(serde_json::from_str(&line).unwrap());
            }
        });
        Watcher(child, lines)
    }

    /// What it says until it has told all these kinds of these tasks.
    fn until(&self, wanted: &[(&str, &str)]) -> Vec<Value> {
        let (mut wanted, mut seen) = (wanted.to_vec(), Vec::new());
        while !wanted.is_empty() {
            let event = self.1.recv_timeout(SOON).unwrap_or_else(|_| {
                panic!("{wanted:?} is not among {seen:?}");
            });
            wanted.retain(|(kind, id)| event["kind"] != *kind || event["id"] != *id);
            seen.push(event);
        }
        seen
    }

    /// Ctrl-C. What it says at its end on stderr.
    fn end(mut self) -> String {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        let status = eventually("the watcher has ended", SOON, || self.0.try_wait().unwrap());
        assert!(status.success(), "{status}");
        let mut errors = String::new();
        self.0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        errors
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn one_watcher_sees_all_tasks_over_a_kill_of_its_node() {
    let mut net = Testnet::start(
        3,
        &["--serve", "wc=wc -w", "--serve", "slow=sleep 6; wc -w"],
    );
    let all = Watcher::start(&net, &[]);
    let ends = ["--label", "run=1", "--kind", "completed,failed,canceled"];
    let ours = Watcher::start(&net, &ends);
    let other = labelled(&net, "wc", "run=2").unwrap();
    let quick = labelled(&net, "wc", "run=1").unwrap();
    let slow = labelled(&net, "slow", "run=1").unwrap();
    // Watchers that start without a node say so and end; these have begun.
    let asked = ours.until(&[("completed", &quick)]);
    assert_eq!(asked.len(), 1, "nothing else was asked for");
    let before = [
        ("completed", &other[..]),
        ("completed", &quick),
        ("working", &slow),
    ];
    let mut seen = all.until(&before);
    net.kill(0);
    net.restart(0);
    net.await_up(0);
    let late = labelled(&net, "wc", "run=1").unwrap();
    seen.extend(all.until(&[("completed", &late), ("completed", &slow)]));
    let numbers: Vec<u64> = seen.iter().filter_map(|e| e["number"].as_u64()).collect();
    assert!(
        numbers.is_sorted_by(|a, b| a < b),
        "numbers rise: {numbers:?}"
    );
    let resets = seen.iter().filter(|event| event["kind"] == "reset").count();
    assert_eq!(resets, 1, "{seen:?}");
    for id in [&other, &quick, &slow, &late] {
        let of_it = seen.iter().filter(|event| event["id"] == **id);
        let kinds: Vec<&str> = of_it.filter_map(|event| event["kind"].as_str()).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == "submitted").count(), 1);
        assert_eq!(kinds.last(), Some(&"completed"), "{seen:?}");
    }
    let after = all.end();
    let last = numbers.last().unwrap();
    assert!(after.contains(&format!("--from {last}")), "{after}");
    ours.until(&[("completed", &late)]);
    ours.end();
    let newest = labelled(&net, "wc", "run=3").unwrap();
    let goes_on = Watcher::start(&net, &["--from", &last.to_string()]);
    let first = &goes_on.until(&[("completed", &newest)])[0];
    assert_eq!(
        first["number"],
        last + 1,
        "nothing between is lost or told again"
    );
    assert_eq!(first["id"], newest);
    goes_on.end();
}

#[test]
fn a_watcher_of_all_tasks_ends_with_its_reader() {
    let net = Testnet::start(2, &["--serve", "wc=wc -w"]);
    let mut watcher = junto()
        .arg("--home")
        .arg(net.home(0))
        .args(["task", "watch"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(watcher.stdout.take().unwrap());
    let id = submit(&net, "wc");
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert!(
        line.contains(&id) && line.contains("wc submitted"),
        "{line}"
    );
    drop(told);
    submit(&net, "wc");
    let ended = eventually("the watcher has ended", SOON, || {
        watcher.try_wait().unwrap()
    });
    assert!(ended.success());
}
