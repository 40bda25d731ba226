//! Tasks that failed for good: they keep their input and their attempts until somebody decides.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use support::node::Node;
use support::{Testnet, eventually, junto};

const LONG: Duration = Duration::from_secs(120);

fn ids(list: &Value) -> Vec<String> {
    let tasks = list.as_array().unwrap().iter();
    tasks
        .map(|task| task["id"].as_str().unwrap().to_owned())
        .collect()
}

fn lines(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn what_failed_is_kept_with_its_input_and_attempts_and_handed_over_again_or_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let licence = dir.path().join("licence");
    let file = licence.to_str().unwrap();
    // It fails until somebody has mended what it needs, and says why.
    let serve = format!("wc=test -e {file} || {{ echo no licence >&2; exit 3; }}; wc -w");
    let mut net = Testnet::start(2, &["--serve", &serve]);
    let input = net.dir.path().join("words");
    let mut tasks = Vec::new();
    for n in 1..=3 {
        std::fs::write(&input, "word ".repeat(n)).unwrap();
        let submit = ["task", "submit", "wc", "--input", input.to_str().unwrap()];
        let submitted = net.cli(0, &submit);
        assert!(submitted.status.success());
        tasks.extend(lines(&submitted.stdout));
    }
    let dead = |net: &Testnet| net.json(0, &["task", "dead"]);
    let all = eventually("all have failed", Duration::from_secs(240), || {
        dead(&net).filter(|list| list.as_array().unwrap().len() == 3)
    });
    assert_eq!(ids(&all), tasks);
    for task in all.as_array().unwrap() {
        let attempts = task["attempts"].as_array().unwrap();
        let failed = attempts.iter().filter(|attempt| {
            let outcome = attempt["outcome"].as_str().unwrap();
            outcome.starts_with("failed") && outcome.contains("no licence")
        });
        assert_eq!(failed.count(), 5, "each with its reason: {attempts:?}");
    }
    net.kill(0);
    net.restart(0);
    net.await_up(0);
    assert_eq!(dead(&net), Some(all), "as it was, after a kill");

    let dropped = net.cli(0, &["task", "drop", &tasks[0]]);
    assert!(dropped.status.success());
    let refused = net.cli(0, &["task", "resubmit", &tasks[0]]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("whose input is kept"),
        "{said}"
    );

    std::fs::write(&licence, "").unwrap();
    let one = net.cli(0, &["task", "resubmit", &tasks[1]]);
    let rest = net.cli(0, &["task", "resubmit", "--all"]);
    assert!(one.status.success() && rest.status.success());
    let again = [lines(&one.stdout), lines(&rest.stdout)].concat();
    assert_eq!(again.len(), 2);
    for (id, words) in again.iter().zip(["2", "3"]) {
        let result = eventually("it is completed now", LONG, || {
            let result = net.cli(0, &["task", "result", id]);
            result.status.success().then_some(result.stdout)
        });
        assert_eq!(String::from_utf8_lossy(&result).trim(), words);
    }
    assert_eq!(dead(&net), Some(Value::Array(Vec::new())));
    let old = net.json(0, &["task", "show", &tasks[1]]).unwrap();
    assert_eq!(
        (&old["state"], &old["again"]),
        (&"failed".into(), &again[0].as_str().into())
    );
}

#[test]
fn what_has_ended_is_kept_as_the_settings_say() {
    let serves = "[serve.cat]\ncommand = 'cat'\n[serve.fail]\ncommand = 'exit 1'\n";
    let keeps = "[task]\nfailures_max = 1\nkeep_results = '1MiB'\nkeep_failed_tasks = 1\n";
    let works = Node::new("works").settings(serves).up();
    let node = Node::new("thrifty")
        .knows(Some(&works))
        .settings(keeps)
        .up();
    node.await_peer("works");
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("input");
    std::fs::write(&input, vec![b'x'; 600 << 10]).unwrap();
    let submit = |capability: &str| {
        let input = input.to_str().unwrap();
        let task = node.json(&["task", "submit", capability, "--input", input]);
        task["id"].as_str().unwrap().to_owned()
    };
    let state = |id: &str| node.try_json(&["task", "show", id]);
    let ends = |id: &str, as_state: &str| {
        eventually("it has ended", LONG, || {
            state(id).filter(|task| task["state"] == as_state)
        });
    };
    let kept: Vec<String> = { 0..2 }
        .map(|_| {
            let id = submit("cat");
            ends(&id, "completed");
            id
        })
        .collect();
    eventually("the first is forgotten", LONG, || {
        state(&kept[0]).is_none().then_some(())
    });
    assert!(state(&kept[1]).is_some(), "the newer one is kept");

    let failed: Vec<String> = { 0..2 }
        .map(|_| {
            let id = submit("fail");
            ends(&id, "failed");
            id
        })
        .collect();
    eventually("the older one is forgotten", LONG, || {
        let dead = node.json(&["task", "dead"]);
        (ids(&dead) == [failed[1].as_str()]).then_some(())
    });
    // Who failed at it has signed that.
    let proof = dir.path().join("proof");
    let text = node.text(&["task", "result", &failed[1], "--proof"]);
    std::fs::write(&proof, text).unwrap();
    let shown = node.json(&["inbox", "verify", proof.to_str().unwrap()]);
    let of = &shown["outcomes"][0];
    assert_eq!(
        (&of["outcome"], &of["task"]),
        (&"failed".into(), &failed[1].as_str().into())
    );
    assert_eq!(of["from"], works.entity());
}

/// Hands over a task that nobody takes; returns its id once it has failed.
fn unmet(node: &Node, input: &std::path::Path) -> String {
    let mut submit = junto();
    submit.arg("--home").arg(&node.home);
    submit.args(["task", "submit", "wc", "--input", "-", "--deadline", "1s"]);
    submit.stdin(Stdio::from(fs::File::open(input).unwrap()));
    let submitted = submit.output().unwrap();
    assert!(submitted.status.success(), "{submitted:?}");
    let id = lines(&submitted.stdout).remove(0);
    eventually("it has failed", LONG, || {
        (node.json(&["task", "show", &id])["dead"] == true).then_some(())
    });
    id
}

#[test]
fn a_piped_input_is_read_back_and_its_task_handed_over_again_with_a_later_deadline() {
    let node = Node::new("alice").up();
    let dir = tempfile::tempdir().unwrap();
    let (small, large) = (dir.path().join("small"), dir.path().join("large"));
    fs::write(&small, "one two three").unwrap();
    fs::write(&large, "word ".repeat(500_000)).unwrap();
    for (place, input) in [&small, &large].into_iter().enumerate() {
        let given = fs::read(input).unwrap();
        let id = unmet(&node, input);
        let shown = node.json(&["task", "show", &id]);
        let reason = "no worker was found before the deadline; last: no known peer offers wc";
        assert_eq!(shown["reason"], reason);
        let read = node.cli(&["task", "input", &id]);
        assert!(read.status.success() && read.stdout == given);
        let copy = dir.path().join(format!("copy{place}"));
        let save = ["task", "input", &id, "-o", copy.to_str().unwrap()];
        assert!(node.cli(&save).status.success());
        assert_eq!(fs::read(&copy).unwrap(), given);
        let twice = node.cli(&save);
        assert!(!twice.status.success(), "no file is written over");
        let changed = ["--deadline", "2h", "--priority", "high"];
        let again = node.text(&[&["task", "resubmit", &id][..], &changed].concat());
        let new = node.json(&["task", "show", again.trim()]);
        assert_eq!(new["priority"], "high");
        let hours = |view: &Value, field: &str| view[field].as_str().unwrap()[11..13].to_owned();
        let (from, to) = (hours(&new, "submitted"), hours(&new, "deadline"));
        let (from, to): (u8, u8) = (from.parse().unwrap(), to.parse().unwrap());
        assert_eq!((from + 2) % 24, to, "{new}");
        let read = node.cli(&["task", "input", again.trim()]);
        assert_eq!(read.stdout, given, "of a task that waits, too");
        let gone = node.cli(&["task", "input", &id]);
        let said = String::from_utf8_lossy(&gone.stderr).into_owned();
        assert!(!gone.status.success() && said.contains("is gone"), "{said}");
    }
}

#[test]
fn tasks_are_given_up_together_by_ids_or_a_label() {
    let node = Node::new("alice").up();
    let submit = |label: &str| {
        let label = format!("scene={label}");
        let id = node.text(&["task", "submit", "wc", "--text", "x", "--label", &label]);
        id.trim().to_owned()
    };
    let ids: Vec<String> = ["7", "7", "8", "8"].map(submit).into();
    let by_label = node.cli(&["task", "cancel", "--label", "scene=7"]);
    assert!(by_label.status.success());
    assert_eq!(by_label.stderr, b"2 tasks are given up.\n");
    let state = |id: &str| node.json(&["task", "show", id])["state"].clone();
    let states: Vec<Value> = ids.iter().map(|id| state(id)).collect();
    assert_eq!(states, ["canceled", "canceled", "submitted", "submitted"]);
    let by_ids = node.json(&["task", "cancel", &ids[2], &ids[3]]);
    assert_eq!(by_ids.as_array().unwrap().len(), 2);
    assert_eq!(state(&ids[3]), "canceled");
    let none = node.cli(&["task", "cancel", "--label", "scene=7"]);
    assert!(none.status.success());
    let neither = node.cli(&["task", "cancel"]);
    assert_eq!(neither.status.code(), Some(2));
}
