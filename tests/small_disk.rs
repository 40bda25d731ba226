//! A real node on a disk that is nearly full: what is large is refused and leaves nothing behind, what is small goes on,
//! tasks are refused before the disk is full, and a start that has no room says how much it takes.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use serde_json::json;

use support::node::Node;
use support::small_disk::{Ballast, among_small_disks, mount};
use support::{eventually, junto};

const MIB: usize = 1 << 20;
const LONG: Duration = Duration::from_secs(240);

/// Every file of a folder with its content.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| (entry.path(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// Hands over `bytes` without saying how many they are; the answer's first line.
fn upload(node: &Node, bytes: usize) -> String {
    let mut stream = TcpStream::connect(node.api()).unwrap();
    let head = format!(
        "PUT /v1/payloads HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        node.api(),
        node.token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..bytes / piece.len() {
        let chunk = [b"10000\r\n", &piece[..], b"\r\n"].concat();
        // Whoever is refused in between is not listened to any more.
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    let _ = stream.write_all(b"0\r\n\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_large_input_that_the_disk_has_no_room_for_is_refused_and_leaves_nothing() {
    if !among_small_disks(
        "a_large_input_that_the_disk_has_no_room_for_is_refused_and_leaves_nothing",
    ) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let payloads = dir.path().join("alice").join("payloads");
    mount(&payloads, "16m");
    let node = Node::within(dir.path(), "alice");
    let node = node.env(&[("JUNTO_TRANSFER__KEEP_FREE", "4MiB")]).up();
    let input = |mib: usize| {
        let path = dir.path().join(format!("{mib}"));
        fs::write(&path, vec![b'x'; mib * MIB]).unwrap();
        let path = path.display().to_string();
        node.cli(&["task", "submit", "nobody", "--input", &path])
    };
    let kept = |files: usize| assert_eq!(content(&payloads).len(), files);
    let refused = input(13);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("the disk has no room for it"), "{said}");
    assert!(said.contains("free space"), "{said}");
    kept(0);
    // Of a length that is not said before, and past what is there.
    let answer = upload(&node, 20 * MIB);
    assert!(answer.contains(" 507 "), "{answer}");
    kept(0);
    let tasks = node.json(&["task", "list"]);
    assert_eq!(tasks.as_array().unwrap().len(), 0, "{tasks}");
    // What is small goes on, and so does what fits.
    node.text(&["task", "submit", "nobody", "--text", "x"]);
    assert_eq!(node.json(&["status"])["storage"], "ok");
    assert!(input(2).status.success());
    kept(1);
}

#[test]
fn a_start_without_room_for_a_copy_of_the_log_says_how_much_it_takes_and_changes_nothing() {
    let name =
        "a_start_without_room_for_a_copy_of_the_log_says_how_much_it_takes_and_changes_nothing";
    if !among_small_disks(name) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("alice").join("store");
    mount(&store, "24m");
    let node = Node::within(dir.path(), "alice");
    let mut node = node.env(&[("JUNTO_TRANSFER__KEEP_FREE", "0")]).up();
    for n in 0..5 {
        node.text(&["task", "submit", "nobody", "--text", &n.to_string()]);
    }
    node.kill();
    let ballast = Ballast::fill(&store);
    let before = content(&store);
    let start = || {
        let up = [
            "up",
            "--no-mdns",
            "--no-passphrase",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
        ];
        let mut command = junto();
        command.arg("--home").arg(&node.home).args(up);
        command.args(["--api", "127.0.0.1:0"]).stdin(Stdio::null());
        command.output().unwrap()
    };
    let refused = start();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("No space left on its disk"), "{said}");
    let log = before[&store.join("db")].len().div_ceil(MIB);
    let takes = |mib: usize| said.contains(&format!("It takes {mib} MiB"));
    assert!(takes(log) || takes(log + 1), "{log} MiB: {said}");
    assert!(said.contains("0 MiB are free"), "{said}");
    assert!(content(&store) == before, "nothing was changed");
    drop(ballast);
    node.start_again();
    let tasks = node.json(&["task", "list"]);
    assert_eq!(tasks.as_array().unwrap().len(), 5);
}

/// What is free where `dir` is.
fn free(dir: &Path) -> u64 {
    let disk = statvfs(dir).unwrap();
    disk.blocks_available() * disk.fragment_size()
}

fn storage(node: &Node) -> String {
    node.json(&["status"])["storage"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_worker_stops_taking_tasks_before_its_disk_is_full_and_goes_on_once_there_is_room() {
    const TASKS: usize = 60;
    const KEEP: u64 = 24 << 20;
    let name = "a_worker_stops_taking_tasks_before_its_disk_is_full_and_goes_on_once_there_is_room";
    if !among_small_disks(name) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("bob").join("store");
    mount(&store, "160m");
    // It goes when the disk is to have room again.
    let ballast = store.join("ballast");
    fs::write(&ballast, vec![1; 80 * MIB]).unwrap();
    let go = dir.path().join("go");
    let settings = format!(
        "[serve.hold]\nslots = 2\nqueue = 200\n\
         command = \"while [ ! -e {} ]; do sleep 0.1; done; wc -c\"\n",
        go.display()
    );
    let alice = Node::within(dir.path(), "alice").up();
    let bob = Node::within(dir.path(), "bob").settings(&settings);
    let keep = format!("{}MiB", KEEP >> 20);
    let bob = bob.env(&[("JUNTO_TRANSFER__KEEP_FREE", &keep)]);
    let mut bob = bob.knows(Some(&alice)).up();
    bob.await_peer("alice");

    for n in 0..TASKS {
        // Another one each time: what is the same is on the disk only once.
        let input = format!("{n:8}").repeat(MIB / 8 - 128);
        let body = json!({ "capability": "hold", "input_text": input, "deadline_ms": 600_000 });
        let (status, task) = alice.post("/v1/tasks", &body);
        assert_eq!(status, 201, "{task}");
    }
    let says = "no new task is taken";
    let held = |bob: &Node| bob.json(&["status"])["held"].as_u64().unwrap();
    let taken = eventually("the worker takes no more and says why", LONG, || {
        let before = held(&bob);
        // It is offered more all the time.
        std::thread::sleep(Duration::from_secs(3));
        (storage(&bob).contains(says) && held(&bob) == before).then_some(before)
    });
    assert!((5..TASKS as u64 - 10).contains(&taken), "{taken}");
    assert!(free(&store) >= KEEP, "{} are free", free(&store));
    let waiting = &alice.json(&["status"])["tasks"];
    assert_eq!(waiting["failed"], 0, "{waiting}");
    // As full as it is, it can be killed and comes back with all that it took.
    bob.crash();
    assert_eq!(held(&bob), taken);
    assert!(storage(&bob).contains(says));

    fs::write(&go, b"").unwrap();
    fs::remove_file(&ballast).unwrap();
    eventually("every task is completed", LONG, || {
        let tasks = &alice.json(&["status"])["tasks"];
        assert_eq!(tasks["failed"], 0, "{tasks}");
        (tasks["completed"] == TASKS).then_some(())
    });
    assert_eq!(storage(&bob), "ok");
}

#[test]
fn a_requester_leaves_free_what_is_to_stay_so() {
    let node = Node::new("alice").env(&[("JUNTO_TRANSFER__KEEP_FREE", "1000000GiB")]);
    let mut node = node.up();
    let body = json!({ "capability": "nobody", "input_text": "x" });
    let (status, refused) = node.post("/v1/tasks", &body);
    assert_eq!((status, &refused["code"]), (507, &json!("storage")));
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("are to stay so"), "{detail}");
    assert!(detail.contains("free space"), "{detail}");
    assert!(storage(&node).contains("no new task is taken"));
    node.kill();
    let mut node = node.env(&[("JUNTO_TRANSFER__KEEP_FREE", "1MiB")]);
    node.start_again();
    assert_eq!(node.post("/v1/tasks", &body).0, 201);
    assert_eq!(storage(&node), "ok");
}

#[test]
fn a_node_without_room_tells_senders_that_it_is_busy_and_takes_their_messages_once_it_has_some() {
    let alice = Node::new("alice").up();
    let bob = Node::new("bob").knows(Some(&alice));
    let mut bob = bob.env(&[("JUNTO_TRANSFER__KEEP_FREE", "1000000GiB")]).up();
    bob.await_peer("alice");
    alice.await_peer("bob");
    let told = alice.cli(&["report", "bob", "half done", "--durable"]);
    let said = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(1), "{said}");
    assert!(said.contains("BUSY"), "{said}");
    assert!(storage(&bob).contains("no message"), "{}", storage(&bob));
    let inbox = |bob: &Node| bob.json(&["inbox", "list"]).as_array().unwrap().len();
    assert_eq!(inbox(&bob), 0);
    bob.kill();
    let mut bob = bob.env(&[("JUNTO_TRANSFER__KEEP_FREE", "1MiB")]);
    bob.start_again();
    alice.await_peer("bob");
    alice.text(&["report", "bob", "half done", "--durable"]);
    assert_eq!(inbox(&bob), 1);
}
