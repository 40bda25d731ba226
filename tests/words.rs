//! What people read and type, and what programs read of it: names, parts of ids, errors.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use support::node::Node;
use support::{eventually, junto};

const SOON: Duration = Duration::from_secs(90);

/// Two that know each other; the first serves, with these settings.
fn pair(settings: &str) -> (Node, Node) {
    let serves = Node::new("alice").settings(settings).up();
    let asks = Node::new("bob").knows(Some(&serves)).up();
    asks.await_peer("alice");
    serves.await_peer("bob");
    (serves, asks)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The error that a command ends with, as a program reads it: the last line on stderr.
fn error(output: &Output) -> Value {
    let said = text(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    let document: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{said}"));
    document["error"].clone()
}

/// The cell behind the first word of that kind.
fn column<'a>(listing: &'a str, word: &str) -> Vec<&'a str> {
    let line = listing.lines().find(|line| line.contains(word));
    line.unwrap_or_else(|| panic!("no {word} in {listing}"))
        .split_whitespace()
        .collect()
}

#[test]
fn what_a_listing_shows_of_an_id_is_what_every_command_takes() {
    let (alice, bob) = pair("[serve.wc]\ncommand = 'wc -w'\n");
    let known = bob.text(&["registry", "list"]);
    let cells = column(&known, "alice");
    let shown = *cells.iter().find(|cell| cell.starts_with('…')).unwrap();
    let entity = alice.entity();
    let typed = shown.replace('…', "...");
    for part in [shown, &typed, &entity[..9]] {
        assert!(bob.cli(&["ping", part, "--count", "1"]).status.success());
        bob.text(&["alive", part]);
        bob.text(&["key", "fingerprint", part]);
        let submit = [
            "task", "submit", "wc", "--text", "a b", "--to", part, "--wait",
        ];
        assert_eq!(bob.text(&submit).trim(), "2", "{part}");
    }
    let tasks = bob.json(&["task", "list"]);
    let id = tasks[0]["id"].as_str().unwrap().to_owned();
    let end = format!("…{}", &id[24..]);
    for part in [&end, &id[..36], &id[..30]] {
        let task = bob.text(&["task", "show", part]);
        assert!(task.contains(&id), "{task}");
        // Who did it, by the name that says it.
        assert!(task.contains("alice") && !task.contains(shown), "{task}");
        assert_eq!(bob.text(&["task", "result", part]).trim(), "2");
        bob.text(&["task", "watch", part]);
    }
    let (status, answer) = bob.post(&format!("/v1/tasks/{}/cancel", &id[..35]), &Value::Null);
    assert_eq!(
        (status, &answer["code"]),
        (409, &"conflict".into()),
        "found"
    );
    // All begin with the same time, and with nothing else one is not told from the others.
    let output = bob.cli(&["--json", "task", "show", &id[..4]]);
    assert_eq!(output.status.code(), Some(1));
    let error = error(&output);
    assert_eq!(error["code"], "ambiguous");
    assert!(error["detail"].as_str().unwrap().contains(&id), "{error}");
}

#[test]
fn with_json_an_error_is_a_document_and_the_status_is_the_same() {
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = junto();
        command.arg("--home").arg(home.path());
        command.args(args).output().unwrap()
    };
    for (args, status, code) in [
        (&["peers"][..], 3, "not_running"),
        (&["task", "show", "7"], 2, "usage"),
        (&["task", "resubmit"], 2, "usage"),
        (&["tsk"], 2, "usage"),
        (&["id"], 1, "failed"),
    ] {
        let plain = run(args);
        assert_eq!(plain.status.code(), Some(status), "{args:?}");
        let said = text(&plain.stderr);
        assert!(said.starts_with("error: "), "{args:?}: {said}");
        let output = run(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(status), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        let error = error(&output);
        assert_eq!(error["code"], code, "{args:?}");
        let detail = error["detail"].as_str().unwrap();
        assert!(said.contains(detail.split(':').next().unwrap()), "{detail}");
        assert!(error["hint"].is_string(), "{args:?}: {error}");
    }
    // Help is no error, with --json or without it.
    let help = run(&["--json", "task", "--help"]);
    assert!(help.status.success() && text(&help.stdout).contains("resubmit"));
    let node = Node::new("alone").up();
    let output = node.cli(&["--json", "ping", "nobody"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(error(&output)["code"], "not_found");
}

#[test]
fn who_answers_a_talk_that_was_given_up_hears_that_nobody_waits() {
    let (alice, bob) = pair("");
    let talk = ["talk", "alice", "are you there?", "--timeout", "5s"];
    let output = bob.cli(&[&["--json"], &talk[..]].concat());
    assert_eq!(output.status.code(), Some(4));
    let given_up = eventually("alice knows that bob waits no more", SOON, || {
        let messages = alice.json(&["inbox", "list"]);
        let message = messages.as_array().unwrap().first().cloned()?;
        (message["awaits_reply"] == false).then_some(message)
    });
    let id = given_up["id"].as_str().unwrap();
    let output = alice.cli(&["--json", "inbox", "reply", id, "here I am"]);
    assert_eq!(output.status.code(), Some(1));
    let error = error(&output);
    assert_eq!(error["code"], "nobody_waits", "{error}");
    assert!(error["detail"].as_str().unwrap().contains("report"));
    // Nothing is lost by it: the message is there, and a report gets through.
    alice.text(&["report", "bob", "here I am"]);
    assert_eq!(bob.json(&["inbox", "list"]).as_array().unwrap().len(), 1);
    alice.text(&["inbox", "ack", id]);
}

#[test]
fn a_claim_for_what_nobody_can_fetch_here_is_refused_and_told_why() {
    let (alice, bob) = pair("[serve.wc]\ncommand = 'wc -w'\n[serve.think]\npull = true\n");
    let claim = |body: &str| {
        let body: Value = serde_json::from_str(body).unwrap();
        let (status, answer) = alice.post("/v1/tasks/claim", &body);
        (status, answer["code"].clone(), answer["detail"].clone())
    };
    for (wrong, part) in [
        (
            r#"{"capabilities": ["wc"], "wait_ms": 20000}"#,
            "other means",
        ),
        (
            r#"{"capabilities": ["think", "dream"]}"#,
            "dream is not served",
        ),
    ] {
        let (status, code, detail) = claim(wrong);
        assert_eq!((status, code), (404, "not_served".into()), "{wrong}");
        let detail = detail.as_str().unwrap();
        assert!(
            detail.contains(part) && detail.contains("pull = true"),
            "{detail}"
        );
    }
    assert_eq!(claim(r#"{"capabilities": ["think"]}"#).0, 200);
    assert_eq!(claim("{}").0, 200);
    // Of a node where nothing is fetched an agent hears so, too.
    let (status, answer) = bob.post("/v1/tasks/claim", &serde_json::json!({}));
    assert_eq!((status, &answer["code"]), (404, &"not_served".into()));
}

#[test]
fn what_nobody_fetches_is_shown_by_status_and_peers_until_somebody_does() {
    let think = "[serve.wc]\ncommand = 'wc -w'\n[serve.think]\npull = true\n\
                 unattended_after = '8s'\n";
    let (alice, bob) = pair(think);
    let said = |told: &Value| told["unattended"] == serde_json::json!(["think"]);
    eventually("the node says so itself", SOON, || {
        said(&alice.json(&["status"])).then_some(())
    });
    assert!(alice.text(&["status"]).contains("think (unattended)"));
    let long = Duration::from_secs(150);
    eventually("and its peers hear of it", long, || {
        said(&bob.json(&["peers"])[0]).then_some(())
    });
    let shown = bob.text(&["peers"]);
    assert!(shown.contains("think (unattended), wc"), "{shown}");
    let claim = serde_json::json!({ "wait_ms": 1_000 });
    assert_eq!(alice.post("/v1/tasks/claim", &claim).0, 200);
    assert!(!said(&alice.json(&["status"])), "somebody is there");
}
