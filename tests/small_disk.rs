//! A real node on a disk that is nearly full: what is large is refused and leaves nothing behind, what is small goes on,
//! and a start that has no room says how much it takes.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use support::junto;
use support::node::Node;
use support::small_disk::{Ballast, among_small_disks, mount};

const MIB: usize = 1 << 20;

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
    let mut node = Node::within(dir.path(), "alice").up();
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
