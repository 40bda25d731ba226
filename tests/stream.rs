//! What runs say before they have ended, between real nodes: seen by who watches, and no part of the
//! result.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::junto;
use support::node::Node;

impl Node {
    fn start(dir: &std::path::Path, name: &str, first: Option<&Node>, settings: &str) -> Node {
        Node::within(dir, name).settings(settings).knows(first).up()
    }
}

/// Says how far it is and writes a line, then waits for a file, and writes another.
fn command(go: &std::path::Path) -> String {
    let go = go.display();
    format!(
        "echo progress 40 reading >&2; echo first; while [ ! -e {go} ]; do sleep 0.05; done; echo second"
    )
}

fn cli(node: &Node, args: &[&str]) -> Command {
    let mut command = junto();
    command.arg("--home").arg(&node.home).args(args);
    command
}

#[test]
fn a_watcher_reads_what_a_run_says_before_it_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let settings = format!(
        "[serve.talk]\ncommand = \"{}\"\nstream = true\n",
        command(&go)
    );
    let bob = Node::start(dir.path(), "bob", None, &settings);
    let alice = Node::start(dir.path(), "alice", Some(&bob), "");
    let submit = ["task", "submit", "talk", "--stream", "--deadline", "2m"];
    let task = alice.json(&submit)["id"].as_str().unwrap().to_owned();
    let mut watching = cli(&alice, &["--json", "task", "watch", &task])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let (mut percent, mut note, mut written) = (None, Value::Null, String::new());
    for line in lines {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["kind"] == "progress" {
            percent = event["percent"].as_u64();
            note = event["note"].clone();
        }
        if event["kind"] == "output" {
            assert_eq!(event["offset"], written.len());
            written.push_str(event["text"].as_str().unwrap());
        }
        if percent == Some(40) && written == "first\n" && !go.exists() {
            // It was seen while the command still waited.
            assert_eq!(note, "reading");
            let shown = alice.cli(&["task", "show", &task]);
            let shown = String::from_utf8(shown.stdout).unwrap();
            assert!(shown.contains("40 % reading"), "{shown}");
            fs::write(&go, "").unwrap();
        }
    }
    assert!(watching.wait().unwrap().success());
    assert!(go.exists(), "{percent:?} {written:?}");
    let output = alice.cli(&["task", "result", &task]);
    assert_eq!(output.stdout, b"first\nsecond\n");
}

#[test]
fn what_a_run_writes_is_shown_while_its_submitter_waits_and_only_where_the_worker_allows_it() {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let settings = format!(
        "[serve.open]\ncommand = \"echo words; {wait}\"\nstream = true\n\
         [serve.shut]\ncommand = \"echo progress 7 of all >&2; echo words; {wait}\"\n"
    );
    let bob = Node::start(dir.path(), "bob", None, &settings);
    let alice = Node::start(dir.path(), "alice", Some(&bob), "");
    for (capability, shown) in [("open", "words\n"), ("shut", "progress: 7 % of all\n")] {
        let _ = fs::remove_file(&go);
        let submit = ["task", "submit", capability, "--stream", "--wait"];
        let mut submitter = cli(&alice, &[&submit[..], &["--deadline", "2m"]].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The run ends once it was seen.
        let mut said = BufReader::new(submitter.stderr.take().unwrap());
        let mut errors = String::new();
        said.read_line(&mut errors).unwrap();
        fs::write(&go, "").unwrap();
        said.read_to_string(&mut errors).unwrap();
        let output = submitter.wait_with_output().unwrap();
        assert!(output.status.success(), "{errors}");
        assert_eq!(output.stdout, b"words\n");
        assert_eq!(errors, shown);
    }
    let id = |task: &Value| task["id"].as_str().unwrap().to_owned();
    let shut = alice.json(&["task", "list", "--capability", "shut"]);
    let list = shut
        .as_array()
        .or_else(|| shut["tasks"].as_array())
        .unwrap();
    let watched = alice.cli(&["task", "watch", &id(&list[0])]);
    let text = String::from_utf8(watched.stdout).unwrap();
    assert!(
        text.contains("progress at") && text.contains("7 %"),
        "{text}"
    );
    // Nobody asked for it here.
    let silent = alice.cli(&["task", "submit", "open", "--wait"]);
    assert_eq!(
        (silent.stdout, silent.stderr),
        (b"words\n".to_vec(), Vec::new())
    );
}
