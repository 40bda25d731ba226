//! Who gets a task, with nodes that are processes of their own: labels, scores, and what is told.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;

use support::node::Node;

impl Node {
    /// One with these settings, which knows `first`.
    fn start(name: &str, first: Option<&Node>, settings: &str) -> Node {
        Node::new(name).settings(settings).knows(first).up()
    }

    /// Waits for a live session with each of these.
    fn awaits(&self, names: &[&str]) {
        for name in names {
            self.await_peer(name);
        }
    }

    /// Hands over a task and waits for its end. Returns it as `task show` has it.
    fn done(&self, args: &[&str]) -> Value {
        let submit = ["task", "submit", "job", "--text", "x", "--wait"];
        let report = self.json(&[&submit[..], args].concat());
        self.json(&["task", "show", report["id"].as_str().unwrap()])
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
