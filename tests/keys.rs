//! Keys between real nodes: rotation with a peer that looks on, by thieves and by crashes.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use support::node::Node;
use support::{eventually, junto, run_at};

const PASSPHRASE: &str = "correct horse battery staple";
const SOON: Duration = Duration::from_secs(90);

impl Node {
    /// What this node's registry says of `name`.
    fn entry_of(&self, name: &str) -> Option<Value> {
        let list = self.try_json(&["registry", "list"])?;
        let named = |entry: &&Value| entry["name"] == name;
        list.as_array()?.iter().find(named).cloned()
    }

    fn knows_keys(&self, name: &str, rotations: u64) -> Value {
        eventually("the registry has the keys", SOON, || {
            self.entry_of(name)
                .filter(|entry| entry["rotations"] == rotations)
        })
    }

    fn pings(&self, name: &str) {
        eventually("it answers", SOON, || {
            self.try_json(&["ping", name, "--count", "1"])
        });
    }
}

/// Alice, who has a passphrase, and Bob, who works for her.
fn pair(dir: &Path) -> (Node, Node, PathBuf) {
    let passphrase = dir.join("passphrase");
    std::fs::write(&passphrase, PASSPHRASE).unwrap();
    let file = passphrase.to_str().unwrap();
    let alice = Node::within(dir, "alice")
        .args(&["--passphrase-file", file])
        .up();
    let bob = Node::within(dir, "bob")
        .args(&["--serve", "upper=tr a-z A-Z"])
        .knows(Some(&alice))
        .up();
    alice.knows_keys("bob", 0);
    bob.knows_keys("alice", 0);
    (alice, bob, passphrase)
}

#[test]
fn a_rotated_key_is_followed_by_peers_and_nothing_stops_working() {
    let dir = tempfile::tempdir().unwrap();
    let (mut alice, bob, passphrase) = pair(dir.path());
    bob.pings("alice");
    let before = bob.entry_of("alice").unwrap();

    // The passphrase is needed once more: the next key is in its file only.
    let wrong = dir.path().join("wrong");
    std::fs::write(&wrong, "wrong").unwrap();
    let args = [
        "key",
        "rotate",
        "--passphrase-file",
        wrong.to_str().unwrap(),
    ];
    let refused = run_at(&alice.home, &args);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("passphrase is wrong"), "{told}");

    // Tasks are under way all the while, and none is lost.
    let submit = |n: usize| {
        let text = format!("task {n}");
        let args = ["--json", "task", "submit", "upper", "--text", &text];
        let output = run_at(&alice.home, &args);
        assert!(output.status.success());
        let task: Value = serde_json::from_slice(&output.stdout).unwrap();
        task["id"].as_str().unwrap().to_owned()
    };
    let mut tasks: Vec<String> = (0..10).map(submit).collect();
    let file = passphrase.to_str().unwrap();
    let rotated = alice.json(&["key", "rotate", "--passphrase-file", file]);
    tasks.extend((10..20).map(submit));
    assert_eq!(rotated["rotations"], 1);
    let after = bob.knows_keys("alice", 1);
    assert_eq!(after["entity_id"], before["entity_id"]);
    assert_eq!(after["peer_id"], before["peer_id"]);
    assert_eq!(after["key"], rotated["key"]);
    assert_ne!(after["key"], before["key"]);
    bob.pings("alice");
    alice.pings("bob");
    for (n, id) in tasks.iter().enumerate() {
        let result = eventually("the task is done", SOON, || {
            let shown = run_at(&alice.home, &["task", "result", id]);
            shown.status.success().then_some(shown.stdout)
        });
        assert_eq!(String::from_utf8_lossy(&result), format!("TASK {n}"));
    }
    // For people it is the same as before, from both sides.
    let own = alice.json(&["key", "fingerprint"]);
    assert_eq!(bob.json(&["key", "fingerprint", "alice"]), own);

    // After kill -9 the new key is there, and the old one is not.
    alice.kill();
    alice.start_again();
    let own = alice.json(&["key", "fingerprint"]);
    assert_eq!(
        (&own["key"], &own["rotations"]),
        (&rotated["key"], &rotated["rotations"])
    );
    bob.pings("alice");

    // A stopped node rotates in its home.
    alice.kill();
    let offline = alice.json(&["key", "rotate", "--passphrase-file", file]);
    assert_eq!(offline["rotations"], 2);
    alice.start_again();
    let after = bob.knows_keys("alice", 2);
    assert_eq!(after["key"], offline["key"]);
    assert_eq!(after["entity_id"], before["entity_id"]);
    bob.pings("alice");
}

/// When a process that rotates a key is killed.
#[derive(Debug, Clone, Copy)]
enum Blow {
    After(Duration),
    /// The new key file is being written.
    Unfinished,
    /// It was put in place of the old one.
    Replaced,
}

impl Blow {
    /// Waits for the moment, or for the end of the rotation.
    fn await_moment(self, home: &Path, rotating: &mut Child) {
        let key_file = home.join("identity.key");
        let inode = || std::fs::metadata(&key_file).unwrap().ino();
        let unfinished = || {
            std::fs::read_dir(home).unwrap().flatten().any(|entry| {
                let name = entry.file_name().into_string().unwrap();
                name.starts_with(".identity.key.")
            })
        };
        let (before, begin) = (inode(), Instant::now());
        let is_now = || match self {
            Blow::After(delay) => begin.elapsed() >= delay,
            Blow::Unfinished => unfinished(),
            Blow::Replaced => inode() != before,
        };
        // No pause: the moments are short.
        while !is_now() && rotating.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < SOON, "the rotation hangs");
        }
    }
}

/// Kills either the running node that rotates its key, or the command that rotates the key of a
/// stopped one.
#[test]
fn a_kill_within_a_rotation_leaves_the_key_before_it_or_the_one_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut alice, bob, passphrase) = pair(dir.path());
    let before = bob.knows_keys("alice", 0);
    let file = passphrase.to_str().unwrap();
    let mut rotations = 0;
    for round in 0..10 {
        let running = round % 2 == 0;
        let delay = Duration::from_millis(rand::random_range(0..800));
        let blow = [Blow::Unfinished, Blow::Replaced, Blow::After(delay)][round / 2 % 3];
        eprintln!("round {round}, running: {running}, {blow:?}, {rotations} rotations until now");
        if !running {
            alice.kill();
        }
        let mut rotating = junto()
            .arg("--home")
            .arg(&alice.home)
            .args(["key", "rotate", "--passphrase-file", file])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        blow.await_moment(&alice.home, &mut rotating);
        if running {
            alice.kill();
        } else {
            let _ = rotating.kill();
        }
        let told = rotating.wait().unwrap();
        alice.start_again();
        let own = alice.json(&["key", "fingerprint"]);
        let now = own["rotations"].as_u64().unwrap();
        assert!(
            now == rotations || now == rotations + 1,
            "{now} {rotations}"
        );
        assert!(now > rotations || !told.success(), "what was told is kept");
        rotations = now;
        // The chain is whole to those who check it, and the key is the one it ends in.
        let seen = bob.knows_keys("alice", rotations);
        assert_eq!(seen["key"], own["key"]);
        assert_eq!(seen["entity_id"], before["entity_id"]);
        assert_eq!(seen["peer_id"], before["peer_id"]);
        alice.pings("bob");
        let left = std::fs::read_dir(&alice.home).unwrap().flatten();
        let left = left.map(|entry| entry.file_name().into_string().unwrap());
        let left: Vec<String> = left.filter(|name| name.ends_with(".tmp")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    assert!(rotations > 0, "some of the blows came after it");
}
