//! A worker with a queue, and one that is idle: nodes that are processes of their own.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use support::eventually;
use support::node::Node;

const LONG: Duration = Duration::from_secs(120);

/// Settings of a worker whose runs are written down in `runs`, each with its task.
fn serving(runs: &Path, slots: u32, queue: u32) -> String {
    serving_behind("", runs, slots, queue)
}

/// Of one whose runs last until there is a file `gate`.
fn serving_until(gate: &Path, runs: &Path, slots: u32, queue: u32) -> String {
    let gate = format!("while [ ! -e {} ]; do sleep 0.1; done; ", gate.display());
    serving_behind(&gate, runs, slots, queue)
}

fn serving_behind(work: &str, runs: &Path, slots: u32, queue: u32) -> String {
    let runs = runs.display();
    format!(
        "[serve.job]\ncommand = 'echo $JUNTO_TASK_ID >> {runs}; {work}cat'\n\
         slots = {slots}\nqueue = {queue}\n"
    )
}

fn lines(runs: &Path) -> Vec<String> {
    let text = fs::read_to_string(runs).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

impl Node {
    fn hand_over(&self, times: usize) -> Vec<String> {
        let submit = |_| {
            let task = self.json(&["task", "submit", "job", "--text", "x"]);
            task["id"].as_str().unwrap().to_owned()
        };
        (0..times).map(submit).collect()
    }

    fn task(&self, id: &str) -> Value {
        self.json(&["task", "show", id])
    }

    /// How many of these tasks stand so with their newest worker.
    fn stand(&self, ids: &[String], outcome: &str) -> usize {
        let newest = |id: &String| self.task(id)["attempts"].as_array()?.last().cloned();
        let newest = ids.iter().filter_map(newest);
        newest.filter(|of| of["outcome"] == outcome).count()
    }

    fn await_all(&self, ids: &[String]) {
        for id in ids {
            eventually("the task is completed", LONG, || {
                let task = self.task(id);
                assert_ne!(task["state"], "failed", "{task}");
                (task["state"] == "completed").then_some(())
            });
        }
    }
}

#[test]
fn what_waits_at_a_full_worker_moves_to_one_that_comes_up_idle() {
    let dir = tempfile::tempdir().unwrap();
    let runs = [dir.path().join("full.runs"), dir.path().join("idle.runs")];
    // What runs there lasts until others have moved.
    let gate = dir.path().join("gate");
    let settings = serving_until(&gate, &runs[0], 1, 8);
    let full = Node::new("full").settings(&settings).up();
    let asks = Node::new("asks").knows(Some(&full)).up();
    asks.await_peer("full");
    let ids = asks.hand_over(6);
    eventually("five wait there", LONG, || {
        (asks.stand(&ids, "waiting") == 5).then_some(())
    });
    let (_, status) = asks.call(Method::GET, "/v1/peers/full/status", None);
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["load"]["waiting"], 5, "{status}");
    let idle = Node::new("idle")
        .knows(Some(&full))
        .settings(&serving(&runs[1], 4, 0))
        .up();
    asks.await_peer("idle");
    eventually("three and more have run where it was idle", LONG, || {
        (lines(&runs[1]).len() >= 3).then_some(())
    });
    fs::write(&gate, "").unwrap();
    asks.await_all(&ids);

    let mut run = [lines(&runs[0]), lines(&runs[1])].concat();
    run.sort();
    let mut all = ids.clone();
    all.sort();
    assert_eq!(run, all, "each ran once");
    let moved = ids.iter().find_map(|id| {
        let task = asks.task(id);
        let attempts = task["attempts"].as_array().unwrap().clone();
        (attempts.len() > 1).then_some(attempts)
    });
    let said = moved.unwrap()[0]["outcome"].as_str().unwrap().to_owned();
    let entity = idle.entity();
    let expected = format!("handed over: it waited there for a slot while {entity} is idle");
    assert_eq!(said, expected);
}

#[test]
fn what_is_urgent_passes_by_what_waits_at_a_worker_but_not_the_turn_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("runs");
    // It runs until it is let go.
    let gate = dir.path().join("gate");
    let settings = serving_until(&gate, &runs, 1, 16);
    let full = Node::new("full").settings(&settings).up();
    let [asks, other] = ["asks", "other"].map(|name| Node::new(name).knows(Some(&full)).up());
    let submit = |node: &Node, priority: &str| {
        let task = [
            "task",
            "submit",
            "job",
            "--text",
            "x",
            "--priority",
            priority,
        ];
        let id = node.json(&task)["id"].as_str().unwrap().to_owned();
        eventually("it is there", LONG, || {
            let one = std::slice::from_ref(&id);
            let stands = node.stand(one, "waiting") + node.stand(one, "working");
            (stands == 1).then_some(())
        });
        id
    };
    asks.await_peer("full");
    other.await_peer("full");
    let mut ids = vec![submit(&asks, "normal")];
    let [low, normal, critical] = ["low", "normal", "critical"].map(|word| submit(&asks, word));
    let [theirs, last] = ["low", "low"].map(|word| submit(&other, word));
    ids.extend([critical, theirs, normal, last, low]);
    fs::write(&gate, "").unwrap();
    eventually("all have run", LONG, || {
        (lines(&runs).len() == ids.len()).then_some(())
    });
    assert_eq!(lines(&runs), ids);
}

#[test]
fn what_waits_at_a_worker_survives_its_kill() {
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("runs");
    let gate = dir.path().join("gate");
    let settings = serving_until(&gate, &runs, 1, 8);
    let mut full = Node::new("full").settings(&settings).up();
    let asks = Node::new("asks").knows(Some(&full)).up();
    asks.await_peer("full");
    let ids = asks.hand_over(6);
    eventually("five wait there", LONG, || {
        (asks.stand(&ids, "waiting") == 5).then_some(())
    });
    full.kill();
    let begun = lines(&runs).len();
    full.start_again();
    fs::write(&gate, "").unwrap();
    asks.await_all(&ids);
    let run = lines(&runs);
    // Only what was running may have run twice.
    assert!(run.len() <= ids.len() + 1, "{begun} before, {run:?}");
    let attempts = |id: &String| asks.task(id)["attempts"].as_array().unwrap().len();
    assert!(
        ids.iter().all(|id| attempts(id) == 1),
        "nobody else was tried"
    );
}

#[test]
fn a_capability_whose_agent_is_gone_takes_nothing_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("runs");
    let pull = "[serve.job]\npull = true\nunattended_after = '8s'\n";
    let gone = Node::new("gone").settings(pull).up();
    let asks = Node::new("asks").knows(Some(&gone)).up();
    asks.await_peer("gone");
    // The agent is there for a moment, and takes nothing.
    let (status, none) = gone.post("/v1/tasks/claim", &json!({}));
    assert_eq!((status, none), (200, json!([])));
    let first = asks.hand_over(1);
    eventually("the node takes the task", LONG, || {
        (asks.stand(&first, "working") == 1).then_some(())
    });
    eventually("nobody fetches it any more", LONG, || {
        (gone.json(&["status"])["unattended"] == json!(["job"])).then_some(())
    });
    let second = asks.hand_over(1);
    eventually("it takes no more", LONG, || {
        let task = asks.task(&second[0]);
        (task["considered"][0]["why"] == "unattended").then_some(())
    });
    assert_eq!(asks.stand(&first, "working"), 1, "there is nobody else");

    let mut idle = Node::new("idle")
        .knows(Some(&gone))
        .settings(&serving(&runs, 4, 0))
        .up();
    asks.await_all(&[&first[..], &second].concat());
    assert_eq!(lines(&runs).len(), 2);
    let said = asks.task(&first[0])["attempts"][0]["outcome"].clone();
    let entity = idle.entity();
    let expected = format!("handed over: no agent fetches it there while {entity} is idle");
    assert_eq!(said, expected);

    idle.kill();
    let third = asks.hand_over(1);
    eventually("whoever comes back is given it", LONG, || {
        let (status, claimed) = gone.post("/v1/tasks/claim", &json!({ "wait_ms": 20_000 }));
        assert_eq!(status, 200, "{claimed}");
        let claimed = claimed.as_array().unwrap().first()?;
        assert_eq!(claimed["id"], third[0]);
        Some(())
    });
}

#[test]
fn an_agent_that_extends_its_claim_says_how_far_it_is() {
    let agent = Node::new("agent")
        .settings("[serve.job]\npull = true\n")
        .up();
    let asks = Node::new("asks").knows(Some(&agent)).up();
    asks.await_peer("agent");
    let task = asks.json(&["task", "submit", "job", "--text", "x", "--stream"]);
    let id = task["id"].as_str().unwrap();
    let (_, claimed) = agent.post("/v1/tasks/claim", &json!({ "wait_ms": 30_000 }));
    let path = format!("/v1/tasks/{id}/extend");
    let claim = claimed[0]["claim"].as_str().unwrap();
    let say = |more: Value| {
        let mut body = json!({ "claim": claim });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        agent.post(&path, &body).0
    };
    assert_eq!(say(json!({ "percent": 101 })), 400);
    assert_eq!(say(json!({ "note": "x".repeat(257) })), 400);
    assert_eq!(
        say(json!({ "percent": 40, "note": "half of it read" })),
        204
    );
    eventually("the requester hears of it", LONG, || {
        let (_, events) = asks.call(Method::GET, &format!("/v1/tasks/{id}/events"), None);
        let events: Value = serde_json::from_str(&events).unwrap();
        let events = events["events"].as_array().unwrap().clone();
        let progress = events
            .into_iter()
            .find(|event| event["kind"] == "progress")?;
        let told = (&progress["percent"], &progress["note"]);
        assert_eq!(told, (&json!(40), &json!("half of it read")));
        Some(())
    });
}
