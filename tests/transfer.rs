//! Files between two real nodes: whole, after either side was killed, and refused in time.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::node::Node;
use support::{eventually, junto};

const MIB: u64 = 1 << 20;
const LONG: Duration = Duration::from_secs(120);

impl Node {
    fn start(dir: &Path, name: &str, first: Option<&Node>, env: &[(&str, &str)]) -> Node {
        Node::within(dir, name).env(env).knows(first).up()
    }

    /// Its newest transfer.
    fn transfer(&self) -> Option<Value> {
        self.try_json(&["transfers"])?.as_array()?.last().cloned()
    }

    fn incoming(&self, name: &str) -> PathBuf {
        self.home.join("incoming").join(name)
    }

    /// Begins to send, and returns the command that watches.
    fn send_in_background(&self, file: &Path) -> Child {
        let mut command: Command = junto();
        command.arg("--home").arg(&self.home);
        command
            .args(["send", "bob", "--json"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn send(&self, file: &Path, more: &[&str]) -> Output {
        let file = file.to_str().unwrap();
        self.cli(&[&["send", "bob", file], more].concat())
    }
}

/// Alice, who sends, and Bob, who receives.
fn pair(dir: &Path, env: &[(&str, &str)]) -> (Node, Node) {
    let alice = Node::start(dir, "alice", None, &[]);
    let bob = Node::start(dir, "bob", Some(&alice), env);
    eventually("alice knows bob", LONG, || {
        let known = alice.try_json(&["registry", "list"])?;
        let named = |entry: &Value| entry["name"] == "bob";
        known.as_array()?.iter().any(named).then_some(())
    });
    (alice, bob)
}

/// A file whose parts all differ.
fn write_file(path: &Path, size: u64) -> String {
    let mut file = File::create(path).unwrap();
    let mut reader = blake3::Hasher::new()
        .update(path.to_str().unwrap().as_bytes())
        .finalize_xof();
    let mut left = size;
    let mut block = vec![0; 1 << 20];
    while left > 0 {
        let length = usize::try_from(left.min(MIB)).unwrap();
        reader.fill(&mut block[..length]);
        file.write_all(&block[..length]).unwrap();
        left -= length as u64;
    }
    hash(path)
}

fn hash(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut File::open(path).unwrap(), &mut hasher).unwrap();
    hasher.finalize().to_hex().to_string()
}

fn bytes(view: &Value, key: &str) -> u64 {
    view[key].as_u64().unwrap()
}

#[test]
fn a_file_arrives_with_its_hash_under_a_safe_name() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = pair(dir.path(), &[]);
    let file = dir.path().join("photo.raw");
    let sum = write_file(&file, 64 * MIB + 12_345);
    let sent = alice.send(&file, &["--json"]);
    assert!(sent.status.success(), "{sent:?}");
    let sent: Value = serde_json::from_slice(&sent.stdout).unwrap();
    assert_eq!(sent["state"], "completed");
    assert_eq!(sent["hash"], sum.as_str());
    // `completed` is said only once it is there.
    assert_eq!(hash(&bob.incoming("photo.raw")), sum);
    let received = bob.transfer().unwrap();
    assert_eq!(received["direction"], "in");
    assert_eq!(received["path"], "photo.raw");
    assert_eq!(received["id"], sent["id"]);
    // The same again is another file, and an empty one is one, too.
    assert!(alice.send(&file, &[]).status.success());
    assert_eq!(hash(&bob.incoming("photo (2).raw")), sum);
    let empty = dir.path().join("empty");
    fs::write(&empty, b"").unwrap();
    let nasty = ["--name", "../../../tmp/\u{1b}[2J..\u{202e}txt.exe"];
    assert!(alice.send(&empty, &nasty).status.success());
    assert_eq!(fs::read(bob.incoming("_[2J.._txt.exe")).unwrap(), b"");
    let names = fs::read_dir(bob.home.join("incoming")).unwrap();
    assert_eq!(names.count(), 4);
    let partial = fs::read_dir(bob.incoming(".partial")).unwrap();
    assert_eq!(partial.count(), 0);
}

#[test]
fn the_inbox_has_a_note_of_each_file_also_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, mut bob) = pair(dir.path(), &[]);
    let file = dir.path().join("plan.txt");
    let sum = write_file(&file, MIB + 1);
    let sent = alice.send(&file, &["--json"]);
    let sent: Value = serde_json::from_slice(&sent.stdout).unwrap();
    assert!(alice.send(&file, &[]).status.success());
    // Alice has heard that it is there: from then on bob knows of it, whatever happens.
    bob.crash();
    let notes = bob.json(&["inbox", "list", "--kind", "file", "--state", "new"]);
    let notes = notes.as_array().unwrap();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert_eq!(notes[0]["from"], bob.transfer().unwrap()["peer"]);
    let id = notes[0]["id"].as_str().unwrap();
    let shown = bob.cli(&["inbox", "show", id]);
    let note: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(note["transfer_id"], sent["id"]);
    assert_eq!(note["name"], "plan.txt");
    assert_eq!(note["path"], bob.incoming("plan.txt").to_str().unwrap());
    assert_eq!(bytes(&note, "size"), MIB + 1);
    assert_eq!(note["hash"], sum.as_str());
    let id = notes[1]["id"].as_str().unwrap();
    let second = bob.json(&["inbox", "show", id]);
    let note: Value = serde_json::from_str(second["text"].as_str().unwrap()).unwrap();
    assert_eq!(note["name"], "plan.txt");
    assert_eq!(note["path"], bob.incoming("plan (2).txt").to_str().unwrap());
    assert!(bob.cli(&["inbox", "ack", id]).status.success());
    let left = bob.json(&["inbox", "list"]);
    assert_eq!(left.as_array().unwrap().len(), 1);
}

#[test]
fn an_agent_that_is_a_command_is_handed_the_note() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, mut bob) = pair(dir.path(), &[]);
    let heard = dir.path().join("heard");
    let listen = format!("(echo \"$JUNTO_KIND\"; cat) >> '{}'", heard.display());
    bob = bob.args(&["--agent", &listen]);
    bob.crash();
    let file = dir.path().join("plan.txt");
    let sum = write_file(&file, 3);
    assert!(alice.send(&file, &[]).status.success());
    eventually("the note is taken", LONG, || {
        let left = bob.try_json(&["inbox", "list"])?;
        left.as_array()?.is_empty().then_some(())
    });
    let heard = fs::read_to_string(heard).unwrap();
    let (kind, note) = heard.split_once('\n').unwrap();
    assert_eq!(kind, "file");
    let note: Value = serde_json::from_str(note).unwrap();
    assert_eq!(note["hash"], sum.as_str());
}

/// Waits until some of a file is recorded at the receiver, and not yet all. The sender stands still
/// then.
fn await_middle(alice: &Node, bob: &Node) -> u64 {
    alice.await_while_still("some of it arrived", || {
        let view = bob.transfer()?;
        let (done, size) = (bytes(&view, "done_bytes"), bytes(&view, "size"));
        assert!(done < size, "it was too fast to be interrupted");
        (done > 0).then_some(done)
    })
}

/// The watching command ends well, and the file is whole.
fn await_whole(watch: Child, bob: &Node, sum: &str) -> Value {
    let watched = watch.wait_with_output().unwrap();
    assert!(watched.status.success(), "{watched:?}");
    assert_eq!(hash(&bob.incoming("large.bin")), sum);
    let view: Value = serde_json::from_slice(&watched.stdout).unwrap();
    assert_eq!(view["state"], "completed");
    view
}

#[test]
fn a_receiver_that_was_killed_gets_the_rest_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, mut bob) = pair(dir.path(), &[]);
    let file = dir.path().join("large.bin");
    let size = 384 * MIB;
    let sum = write_file(&file, size);
    let watch = alice.send_in_background(&file);
    let done = await_middle(&alice, &bob);
    bob.crash();
    alice.signal(Signal::SIGCONT);
    await_whole(watch, &bob, &sum);
    let moved = bytes(&bob.transfer().unwrap(), "moved_bytes");
    // What was recorded before is not sent again; records add less than a thousandth.
    assert!(
        moved <= (size - done) * 1_001 / 1_000,
        "{moved} after {done}"
    );
    assert!(moved > 0);
}

#[test]
fn a_sender_that_was_killed_sends_the_rest_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (mut alice, bob) = pair(dir.path(), &[]);
    let file = dir.path().join("large.bin");
    let size = 384 * MIB;
    let sum = write_file(&file, size);
    let watch = alice.send_in_background(&file);
    let done = await_middle(&alice, &bob);
    alice.crash();
    // The command did not notice more than a pause.
    let view = await_whole(watch, &bob, &sum);
    let moved = bytes(&view, "moved_bytes");
    assert!(
        moved <= (size - done) * 1_001 / 1_000,
        "{moved} after {done}"
    );
    assert!(moved > 0);
}

#[test]
fn chunks_that_are_not_what_was_announced_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, mut bob) = pair(dir.path(), &[]);
    bob.kill();
    let file = dir.path().join("lie.bin");
    write_file(&file, 8 * MIB);
    let watch = alice.send_in_background(&file);
    eventually("the file is hashed and offered", LONG, || {
        let view = alice.transfer()?;
        (view["state"] == "waiting").then_some(())
    });
    // The file becomes another, and its time says that it is the same.
    let times = fs::metadata(&file).unwrap();
    let mut data = fs::read(&file).unwrap();
    data[(3 * MIB) as usize + 5] ^= 1;
    fs::write(&file, data).unwrap();
    let modified = FileTimes::new().set_modified(times.modified().unwrap());
    let handle = File::options().write(true).open(&file).unwrap();
    handle.set_times(modified).unwrap();
    bob.crash();
    let watched = watch.wait_with_output().unwrap();
    assert_eq!(watched.status.code(), Some(1));
    let text = String::from_utf8_lossy(&watched.stderr);
    assert!(text.contains("did not match their hashes"), "{text}");
    let received = bob.transfer().unwrap();
    assert_eq!(received["state"], "failed");
    // Nothing of it is left.
    let incoming = fs::read_dir(bob.home.join("incoming")).unwrap();
    assert_eq!(incoming.count(), 1);
    eventually("the unfinished file is gone", LONG, || {
        let partial = fs::read_dir(bob.incoming(".partial")).unwrap();
        (partial.count() == 0).then_some(())
    });
    // A chunk that does not fit is no crime: they still talk.
    assert!(alice.cli(&["ping", "bob"]).status.success());
}

/// What the sender is told, and that nothing was written.
fn refusal(env: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = pair(dir.path(), env);
    let file = dir.path().join("f.bin");
    write_file(&file, 2 * MIB);
    let sent = alice.send(&file, &[]);
    assert_eq!(sent.status.code(), Some(1));
    assert_eq!(bob.json(&["transfers"]), serde_json::json!([]));
    let partial = fs::read_dir(bob.incoming(".partial"));
    assert_eq!(partial.into_iter().flatten().count(), 0);
    String::from_utf8_lossy(&sent.stderr).into_owned()
}

#[test]
fn what_is_over_a_limit_is_refused_before_a_byte_is_sent() {
    let large = refusal(&[("JUNTO_TRANSFER__MAX_SIZE", "1MiB")]);
    assert!(large.contains("size limit"), "{large}");
    let full = refusal(&[("JUNTO_TRANSFER__KEEP_FREE", "8000000TiB")]);
    assert!(full.contains("no room"), "{full}");
    let stranger = "ent1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let unwanted = refusal(&[("JUNTO_TRANSFER__ALLOW", stranger)]);
    assert!(unwanted.contains("does not take files"), "{unwanted}");
}

/// A small file system of its own at a folder, as long as this lives.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path) -> Option<Tmpfs> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "junto-test"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        matches!(mounted, Ok(status) if status.success()).then(|| Tmpfs(at.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_too_small_refuses_and_takes_what_fits() {
    let dir = tempfile::tempdir().unwrap();
    let incoming = dir.path().join("bob").join("incoming");
    let Some(_disk) = Tmpfs::mount(&incoming) else {
        eprintln!("no file system can be mounted here: nothing was tested");
        return;
    };
    let (alice, bob) = pair(dir.path(), &[("JUNTO_TRANSFER__KEEP_FREE", "1MiB")]);
    let (large, small) = (dir.path().join("large"), dir.path().join("small"));
    write_file(&large, 20 * MIB);
    let sum = write_file(&small, 10 * MIB);
    let sent = alice.send(&large, &[]);
    assert_eq!(sent.status.code(), Some(1));
    let text = String::from_utf8_lossy(&sent.stderr);
    assert!(text.contains("no room"), "{text}");
    assert!(alice.send(&small, &[]).status.success());
    assert_eq!(hash(&bob.incoming("small")), sum);
}

#[test]
fn a_transfer_can_be_given_up_by_either_side() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, mut bob) = pair(dir.path(), &[]);
    bob.kill();
    let file = dir.path().join("large.bin");
    write_file(&file, 384 * MIB);
    let watch = alice.send_in_background(&file);
    let id = eventually("it waits", LONG, || {
        let view = alice.transfer()?;
        (view["state"] == "waiting").then(|| view["id"].as_str().unwrap().to_owned())
    });
    assert!(alice.cli(&["transfers", "cancel", &id]).status.success());
    assert_eq!(watch.wait_with_output().unwrap().status.code(), Some(1));
    bob.crash();
    let watch = alice.send_in_background(&file);
    await_middle(&alice, &bob);
    let id = bob.transfer().unwrap()["id"].as_str().unwrap().to_owned();
    assert!(bob.cli(&["transfers", "cancel", &id]).status.success());
    alice.signal(Signal::SIGCONT);
    let watched = watch.wait_with_output().unwrap();
    assert_eq!(watched.status.code(), Some(1));
    let text = String::from_utf8_lossy(&watched.stderr);
    assert!(text.contains("receiver canceled it"), "{text}");
    eventually("the unfinished file is gone", LONG, || {
        let partial = fs::read_dir(bob.incoming(".partial")).unwrap();
        (partial.count() == 0).then_some(())
    });
}

#[test]
fn what_cannot_be_sent_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let alice = Node::start(dir.path(), "alice", None, &[]);
    let gone = alice.send(&dir.path().join("gone"), &[]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("cannot be read"));
    let nobody = alice.send(&alice.home.join("junto.toml"), &[]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no peer is known"));
}
