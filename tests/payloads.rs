//! Inputs and results that are too large for a message, between real nodes: whole after either side
//! was killed on the way, held in memory nowhere, gone when nobody names them, and fetched and handed
//! over by agents.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::node::Node;
use support::{eventually, junto};

const MIB: usize = 1 << 20;
const LONG: Duration = Duration::from_secs(150);

impl Node {
    fn start(dir: &Path, name: &str, first: Option<&Node>, settings: &str) -> Node {
        Node::within(dir, name).settings(settings).knows(first).up()
    }
}

/// Bytes of which no two pieces are alike.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 32) as u32
    };
    (0..bytes.div_ceil(4))
        .flat_map(|_| next().to_le_bytes())
        .take(bytes)
        .collect()
}

#[test]
fn a_large_task_survives_a_kill_of_either_side_while_it_is_on_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let settings = "[serve.copy]\ncommand = \"cat; echo\"\noutput = \"300MiB\"\n";
    let mut bob = Node::start(dir.path(), "bob", None, settings);
    let mut alice = Node::start(dir.path(), "alice", Some(&bob), "");
    let file = dir.path().join("input");
    let mut input = noise(192 * MIB);
    fs::write(&file, &input).unwrap();
    let task = alice.submit("copy", &file);

    for what in ["input", "result"] {
        alice.await_moving(&bob, &task, what);
        bob.crash();
        alice.await_moving(&bob, &task, what);
        alice.kill();
        bob.signal(Signal::SIGCONT);
        alice.start_again();
    }
    alice.await_completed(&task);

    let result = dir.path().join("result");
    let written = junto()
        .arg("--home")
        .arg(&alice.home)
        .args(["task", "result", &task])
        .stdout(fs::File::create(&result).unwrap())
        .status();
    assert!(written.unwrap().success());
    // One byte more: what the requester has already is not sent.
    input.push(b'\n');
    assert!(fs::read(&result).unwrap() == input, "every byte");
    for node in [&alice, &bob] {
        let peak = node.peak_mib();
        println!("{}: at most {peak} MiB of memory", node.home.display());
        assert!(peak < 150, "{peak} MiB of memory for a file of 192 MiB");
    }
    let view = alice.json(&["task", "show", &task]);
    assert_eq!(view["input_bytes"], 192 * MIB, "{view}");
    assert_eq!(view["result_bytes"], 192 * MIB + 1, "{view}");
    eventually("the worker keeps nothing of it", LONG, || {
        (bob.payloads() == 0).then_some(())
    });
    eventually("only the result is kept", LONG, || {
        (alice.payloads() == 1).then_some(())
    });
}

#[test]
fn agents_fetch_large_inputs_and_hand_over_large_results() {
    let dir = tempfile::tempdir().unwrap();
    let settings = "[serve.turn]\npull = true\noutput = \"8MiB\"\n";
    let bob = Node::start(dir.path(), "bob", None, settings);
    let alice = Node::start(dir.path(), "alice", Some(&bob), "");
    let file = dir.path().join("input");
    let input = noise(3 * MIB);
    fs::write(&file, &input).unwrap();
    let task = alice.submit("turn", &file);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(turn(&bob, &task, &input));
    alice.await_completed(&task);
    let turned: Vec<u8> = input.into_iter().rev().collect();
    let output = alice.cli(&["task", "result", &task]);
    assert!(output.stdout == turned, "the agent's bytes");
}

/// An agent that turns its input round.
async fn turn(node: &Node, task: &str, input: &[u8]) {
    let api = node.api();
    let token = node.token();
    let http = reqwest::Client::new();
    let at = |path: &str| format!("http://{api}/v1/{path}");
    let claim = json!({ "wait_ms": 30_000, "lease_ms": 60_000 });
    let claimed = http.post(at("tasks/claim")).bearer_auth(&token);
    let claimed: Value = claimed
        .json(&claim)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let claimed = &claimed[0];
    assert_eq!(claimed["id"], task);
    assert_eq!(claimed["input_bytes"], input.len());
    let claim = claimed["claim"].as_str().unwrap();
    let fetched = http.get(at(&format!("tasks/{task}/input?claim={claim}")));
    let fetched = fetched.bearer_auth(&token).send().await.unwrap();
    let fetched = fetched.bytes().await.unwrap();
    assert!(fetched == input, "the requester's bytes");

    let turned: Vec<u8> = fetched.iter().rev().copied().collect();
    let hash = blake3::hash(&turned).to_hex().to_string();
    let complete = |hash: &str| {
        let call = http.post(at(&format!("tasks/{task}/complete")));
        let body = json!({ "claim": claim, "result_file": hash });
        call.bearer_auth(&token).json(&body).send()
    };
    let early = complete(&hash).await.unwrap();
    assert_eq!(early.status(), 404, "nobody handed it over yet");
    let kept = http.put(at("payloads")).bearer_auth(&token).body(turned);
    let kept: Value = kept.send().await.unwrap().json().await.unwrap();
    assert_eq!(kept["hash"], hash.as_str());
    assert_eq!(complete(&hash).await.unwrap().status(), 204);
}

#[test]
fn a_payload_over_the_limit_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let alice = Node::start(
        dir.path(),
        "alice",
        None,
        "[task]\nmax_payload = \"2MiB\"\n",
    );
    let file = dir.path().join("input");
    fs::write(&file, noise(2 * MIB + 1)).unwrap();
    let args = ["task", "submit", "copy", "--input", file.to_str().unwrap()];
    let output = alice.cli(&args);
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("larger than"), "{errors}");
    assert_eq!(alice.payloads(), 0);
}

#[test]
fn a_result_over_the_requesters_limit_fails_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let serve = "[serve.grow]\ncommand = \"head -c 3145728 /dev/zero\"\noutput = \"8MiB\"\n";
    let bob = Node::start(dir.path(), "bob", None, serve);
    let settings = "[task]\nmax_payload = \"2MiB\"\nfailures_max = 1\n";
    let alice = Node::start(dir.path(), "alice", Some(&bob), settings);
    let file = dir.path().join("input");
    fs::write(&file, b"grow").unwrap();
    let task = alice.submit("grow", &file);
    let ended = eventually("the task has ended", LONG, || {
        let view = alice.try_json(&["task", "show", &task])?;
        (view["state"] != "submitted" && view["state"] != "working").then_some(view)
    });
    assert_eq!(ended["state"], "failed", "{ended}");
    let reason = ended["reason"].as_str().unwrap();
    assert!(reason.contains("the result is too large"), "{reason}");
    assert_eq!(alice.payloads(), 0);
    eventually("the worker keeps nothing of it", LONG, || {
        (bob.payloads() == 0).then_some(())
    });
}

#[test]
fn the_oldest_large_result_makes_room_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let serve = "[serve.dice]\ncommand = \"head -c 2097152 /dev/urandom\"\noutput = \"2MiB\"\n";
    let bob = Node::start(dir.path(), "bob", None, serve);
    let settings = "[task]\nmax_payload = \"2MiB\"\npayload_space = \"5MiB\"\n";
    let alice = Node::start(dir.path(), "alice", Some(&bob), settings);
    let file = dir.path().join("input");
    let tasks = ["one", "two", "three"].map(|input| {
        fs::write(&file, input).unwrap();
        let task = alice.submit("dice", &file);
        alice.await_completed(&task);
        task
    });
    let result = |task: &str| alice.cli(&["task", "result", task]);
    let forgotten = result(&tasks[0]);
    assert!(!forgotten.status.success());
    let errors = String::from_utf8_lossy(&forgotten.stderr);
    assert!(errors.contains("there is no task"), "{errors}");
    for task in &tasks[1..] {
        assert_eq!(result(task).stdout.len(), 2 * MIB);
    }
    eventually("its file is gone", LONG, || {
        (alice.payloads() == 2).then_some(())
    });
}
