//! Backups of real nodes: made while one runs and while it is stopped, restored elsewhere.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use support::{eventually, junto, run_at};

const KEY: &str = "the key file's passphrase";
const BACKUP: &str = "the backup's own passphrase";
const SOON: Duration = Duration::from_secs(90);

/// Where the passphrases lie, and everything else.
struct Desk {
    dir: tempfile::TempDir,
    running: Vec<Child>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Desk {
    fn new() -> Desk {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("key", KEY), ("backup", BACKUP), ("wrong", "wrong")] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Desk {
            dir,
            running: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn run(&self, home: &str, args: &[&str]) -> Output {
        run_at(&self.path(home), args)
    }

    fn json(&self, home: &str, args: &[&str]) -> Value {
        let output = self.run(home, &[&["--json"], args].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {told}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn up(&mut self, home: &str, args: &[&str]) {
        let child = junto()
            .arg("--home")
            .arg(self.path(home))
            .args(["up", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"])
            .args(["--passphrase-file", &self.text("key")])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.running.push(child);
        eventually("the node is up", SOON, || {
            let output = self.run(home, &["status"]);
            output.status.success().then_some(())
        });
    }

    /// kill -9.
    fn kill_all(&mut self) {
        for mut child in self.running.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn back_up(&self, home: &str, file: &str) {
        let (key, backup) = (self.text("key"), self.text("backup"));
        let file = self.text(file);
        self.json(
            home,
            &[
                "key",
                "backup",
                &file,
                "--passphrase-file",
                &key,
                "--backup-passphrase-file",
                &backup,
            ],
        );
    }

    fn restore(&self, home: &str, file: &Path, passphrase: &str, more: &[&str]) -> Output {
        let (key, passphrase) = (self.text("key"), self.text(passphrase));
        let file = file.to_str().unwrap();
        let args = [
            "key",
            "restore",
            file,
            "--passphrase-file",
            &key,
            "--backup-passphrase-file",
            &passphrase,
        ];
        self.run(home, &[&args, more].concat())
    }

    fn entry_of(&self, home: &str, entity: &Value) -> Option<Value> {
        let list = self.json(home, &["registry", "list"]);
        let of = |entry: &&Value| &entry["entity_id"] == entity;
        list.as_array()?.iter().find(of).cloned()
    }
}

fn told(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_restored_node_is_the_same_entity_and_speaks_above_what_the_network_has() {
    let mut desk = Desk::new();
    desk.up("alice", &["--name", "alice"]);
    let id = desk.json("alice", &["id"]);
    let listen = id["listen"][0].as_str().unwrap().to_owned();
    desk.up("bob", &["--name", "bob", "--bootstrap", &listen]);
    eventually("bob knows alice", SOON, || {
        desk.entry_of("bob", &id["entity_id"])
    });
    // While it runs, with a rotated key.
    let key = desk.text("key");
    desk.json("alice", &["key", "rotate", "--passphrase-file", &key]);
    desk.back_up("alice", "a.backup");
    let mode = std::fs::metadata(desk.path("a.backup"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let rotated = desk.json("alice", &["key", "fingerprint"]);

    // Its disk is lost; meanwhile the network has heard higher numbers than the backup knows.
    desk.kill_all();
    for _ in 0..4 {
        desk.up("alice", &["--bootstrap", &listen]);
        desk.kill_all();
    }
    desk.up("bob", &["--name", "bob"]);
    let bob = desk.json("bob", &["id"])["listen"][0]
        .as_str()
        .unwrap()
        .to_owned();
    desk.up("alice", &["--bootstrap", &bob]);
    let newest = desk.entry_of("alice", &id["entity_id"]).unwrap()["seq"].clone();
    eventually("bob has alice's newest entry", SOON, || {
        let entry = desk.entry_of("bob", &id["entity_id"])?;
        (entry["seq"] == newest).then_some(())
    });
    let mut alice = desk.running.pop().unwrap();
    alice.kill().unwrap();
    alice.wait().unwrap();
    std::fs::remove_dir_all(desk.path("alice")).unwrap();

    let output = desk.restore("again", &desk.path("a.backup"), "backup", &[]);
    assert!(output.status.success(), "{output:?}");
    let stopped = desk.json("again", &["id"]);
    assert_eq!(stopped["name"], "alice");
    desk.up("again", &["--bootstrap", &bob]);
    let again = desk.json("again", &["key", "fingerprint"]);
    assert_eq!(again, rotated, "entity, peer id, key and chain");
    assert_eq!(again["entity_id"], id["entity_id"]);
    assert_eq!(again["peer_id"], id["peer_id"]);
    eventually("bob hears the restored node's own word", SOON, || {
        let entry = desk.entry_of("bob", &id["entity_id"])?;
        let above = entry["seq"].as_u64()? > newest.as_u64()?;
        (above && entry["state"] == "connected").then_some(())
    });
    let pong = desk.run("bob", &["ping", "alice", "--count", "1"]);
    assert!(pong.status.success());
    // And it can go on rotating: the backup has the next key.
    desk.json("again", &["key", "rotate", "--passphrase-file", &key]);
    eventually("bob follows", SOON, || {
        let entry = desk.entry_of("bob", &id["entity_id"])?;
        (entry["rotations"] == 2).then_some(())
    });
}

#[test]
fn whatever_is_wrong_with_a_backup_is_told_and_changes_nothing() {
    let desk = Desk::new();
    let key = desk.text("key");
    desk.json(
        "alice",
        &["init", "--name", "alice", "--passphrase-file", &key],
    );
    desk.back_up("alice", "a.backup");
    let good = std::fs::read_to_string(desk.path("a.backup")).unwrap();
    let bent = desk.path("bent");
    let restore_bent = |text: &str| {
        std::fs::write(&bent, text).unwrap();
        told(&desk.restore("new", &bent, "backup", &[]))
    };
    for (what, text) in [
        ("cut short", good[..good.len() / 2].to_owned()),
        (
            "altered or is damaged",
            good.replace("\"passes\": 4", "\"passes\": 5"),
        ),
        (
            "version 2",
            good.replace("\"version\": 1", "\"version\": 2"),
        ),
        ("not a backup", "hello".to_owned()),
        (
            "not a backup",
            std::fs::read_to_string(desk.path("alice/identity.key")).unwrap(),
        ),
    ] {
        let error = restore_bent(&text);
        assert!(error.contains(what), "{what}: {error}");
        assert!(!error.contains(BACKUP));
    }
    let wrong = told(&desk.restore("new", &desk.path("a.backup"), "wrong", &[]));
    assert!(wrong.contains("does not open the backup"), "{wrong}");
    assert!(!desk.path("new/identity.key").exists());
    // The file is not replaced by another backup either.
    let backup = desk.text("backup");
    let file = desk.text("a.backup");
    let again = [
        "key",
        "backup",
        &file,
        "--passphrase-file",
        &key,
        "--backup-passphrase-file",
        &backup,
    ];
    assert!(told(&desk.run("alice", &again)).contains("is there already"));
    assert_eq!(
        std::fs::read_to_string(desk.path("a.backup")).unwrap(),
        good
    );
}

#[test]
fn a_home_with_a_node_is_restored_into_only_by_force_and_loses_nothing() {
    let desk = Desk::new();
    let key = desk.text("key");
    for name in ["alice", "bob"] {
        desk.json(name, &["init", "--name", name, "--passphrase-file", &key]);
    }
    desk.back_up("alice", "a.backup");
    let before = std::fs::read(desk.path("bob/identity.key")).unwrap();
    let refused = told(&desk.restore("bob", &desk.path("a.backup"), "backup", &[]));
    assert!(refused.contains("holds a node already"), "{refused}");
    assert_eq!(
        std::fs::read(desk.path("bob/identity.key")).unwrap(),
        before
    );
    let forced = desk.restore("bob", &desk.path("a.backup"), "backup", &["--force"]);
    assert!(forced.status.success(), "{forced:?}");
    let kept = desk.path("bob/before-restore-1/identity.key");
    assert_eq!(std::fs::read(kept).unwrap(), before);
    let (alice, bob) = (desk.json("alice", &["id"]), desk.json("bob", &["id"]));
    assert_eq!(alice["entity_id"], bob["entity_id"]);
}
