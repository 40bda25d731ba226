//! Who gets a task, with nodes that are processes of their own: labels, scores, and what is told.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Child, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use support::{eventually, junto, run_at};

const SOON: Duration = Duration::from_secs(30);

/// A node with a home of its own.
struct Node {
    home: tempfile::TempDir,
    process: Child,
}

impl Node {
    /// Starts one with these settings, which knows `first`.
    fn start(name: &str, first: Option<&Node>, settings: &str) -> Node {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("junto.toml"), settings).unwrap();
        let mut command = junto();
        command.arg("--home").arg(home.path());
        command.args(["up", "--name", name, "--no-mdns", "--no-passphrase"]);
        command.args(["--listen", "/ip4/127.0.0.1/tcp/0"]);
        if let Some(first) = first {
            command.args(["--bootstrap", &first.addr()]);
        }
        command.stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let node = Node { home, process };
        eventually("the node is up", SOON, || {
            node.cli(&["status"]).status.success().then_some(())
        });
        node
    }

    fn addr(&self) -> String {
        let text = std::fs::read(self.home.path().join("node.json")).unwrap();
        let file: Value = serde_json::from_slice(&text).unwrap();
        file["listen"][0].as_str().unwrap().to_owned()
    }

    fn cli(&self, args: &[&str]) -> Output {
        run_at(self.home.path(), args)
    }

    fn text(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[&["--json"], args].concat())).unwrap()
    }

    fn entity(&self) -> String {
        self.json(&["id"])["entity_id"].as_str().unwrap().to_owned()
    }

    /// Waits for a live session with each of these.
    fn awaits(&self, names: &[&str]) {
        for name in names {
            eventually("the peers know each other", SOON, || {
                self.cli(&["alive", name]).status.success().then_some(())
            });
        }
    }

    /// Hands over a task and waits for its end. Returns it as `task show` has it.
    fn done(&self, args: &[&str]) -> Value {
        let submit = ["task", "submit", "job", "--text", "x", "--wait"];
        let report = self.json(&[&submit[..], args].concat());
        self.json(&["task", "show", report["id"].as_str().unwrap()])
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The worker that was asked first.
fn first(task: &Value) -> &str {
    task["attempts"][0]["worker"].as_str().unwrap()
}

#[test]
fn labels_send_a_task_to_the_right_worker_and_show_tells_why() {
    let job = "[serve.job]\ncommand = 'cat'\n";
    let with = |labels: &str| format!("[node]\nlabels = [{labels}]\n{job}");
    let eu = Node::start("eu", None, &with("'zone=eu', 'gpu=a100'"));
    let us = Node::start("us", Some(&eu), &with("'zone=us'"));
    let asks = Node::start("asks", Some(&eu), "");
    asks.awaits(&["eu", "us"]);
    let (in_eu, in_us) = (eu.entity(), us.entity());
    for (zone, worker) in [("eu", &in_eu), ("us", &in_us), ("eu", &in_eu)] {
        let need = format!("zone={zone}");
        let task = asks.done(&["--need", &need, "--label", "batch=1"]);
        assert_eq!(first(&task), worker);
        let considered = task["attempts"][0]["considered"].as_array().unwrap();
        let why: Vec<&str> = considered
            .iter()
            .map(|one| one["why"].as_str().unwrap())
            .collect();
        assert_eq!(why, ["chosen", "label"]);
    }
    let listed = asks.json(&["task", "list", "--label", "batch=1"]);
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert_eq!(
        asks.json(&["task", "list", "--label", "batch=2"]),
        Value::Array(vec![])
    );

    // What nobody has, and what nobody has come to, waits and says for what.
    for (demand, word) in [("--need", "label"), ("--min-tier", "tier")] {
        let value = if word == "label" {
            "zone=mars"
        } else {
            "elite"
        };
        let report = asks.json(&["task", "submit", "job", "--text", "x", demand, value]);
        let id = report["id"].as_str().unwrap();
        let shown = asks.text(&["task", "show", id]);
        for part in ["CONSIDERED", word, value, "of 2 that offer job"] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
    }
    let registry = asks.text(&["registry", "list"]);
    assert!(registry.contains("gpu=a100"), "{registry}");
}

#[test]
fn a_worker_that_fails_is_given_less() {
    let good = Node::start("good", None, "[serve.job]\ncommand = 'cat'");
    let bad = Node::start("bad", Some(&good), "[serve.job]\ncommand = 'exit 1'");
    let asks = Node::start("asks", Some(&good), "");
    asks.awaits(&["good", "bad"]);
    for _ in 0..20 {
        asks.done(&[]);
    }
    let bad = bad.entity();
    let tasks: Vec<Value> = (0..24).map(|_| asks.done(&[])).collect();
    let to_bad = tasks.iter().filter(|task| first(task) == bad).count();
    // Only where both draws are the one that fails: one time in four.
    assert!(to_bad <= 14, "{to_bad} of 24 began where tasks fail");

    let peers = asks.json(&["peers"]);
    let score = |name: &str| {
        let peers = peers.as_array().unwrap();
        let peer = peers.iter().find(|peer| peer["name"] == name).unwrap();
        peer["score"].as_u64().unwrap()
    };
    assert!(score("good") > 200 && score("bad") < 30, "{peers}");

    let last = tasks.last().unwrap();
    let attempt = last["attempts"].as_array().unwrap().last().unwrap();
    let considered = attempt["considered"].as_array().unwrap();
    assert_eq!(considered[0]["why"], "chosen");
    assert_eq!(considered[0]["worker"], attempt["worker"]);
    assert_eq!(considered.len(), 2);
    let shown = asks.text(&["task", "show", last["id"].as_str().unwrap()]);
    for word in ["CONSIDERED", "WHY", "SCORE", "WEIGHT", "chosen"] {
        assert!(shown.contains(word), "{word} in\n{shown}");
    }
}
