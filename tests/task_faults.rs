//! Two real nodes and their tasks under what breaks beside them: a full disk, a process that stands still, a clock that
//! is set wrong. Each ends in a clear state with nothing lost.
//!
//! What a small disk needs (a mount namespace) and what a wrong clock needs (a C compiler) is not there everywhere: a
//! test that cannot run says so on stderr. The cores meet the same faults in `src/sim`, a flush that fails in
//! `tests/flushes.rs`.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use support::node::Node;
use support::small_disk::{Ballast, among_small_disks, mount};
use support::{eventually, run_at};

const SOON: Duration = Duration::from_secs(60);
/// Everything is back within this, breakers and timeouts included.
const LONG: Duration = Duration::from_secs(150);
/// What nobody holds up is renewed long before, on a slow machine, too.
const LEASE: Duration = Duration::from_secs(4);

impl Node {
    /// Starts `name`; a worker knows the requester, and squares numbers.
    fn start(dir: &Path, name: &str, first: Option<&Node>, env: &[(&str, &str)]) -> Node {
        let mut node = Node::within(dir, name).knows(first);
        if first.is_some() {
            // Slow enough to be under way when something happens; each run leaves a line, and lasts
            // as long as it is to (`Hold`).
            let [runs, hold] = ["runs", "hold"].map(|what| dir.join(format!("{name}.{what}")));
            let square = format!(
                "square=read n; echo $JUNTO_TASK_ID >> {}; sleep 1; \
                 while [ -e {} ]; do sleep 0.1; done; echo $((n * n))",
                runs.display(),
                hold.display()
            );
            node = node.args(&["--serve", &square]);
        }
        let lease = format!("{}s", LEASE.as_secs());
        let quick = [
            ("JUNTO_TASK__LEASE", lease.as_str()),
            ("JUNTO_TASK__RENEW", "1s"),
            ("JUNTO_HEALTH__HEARTBEAT", "500ms"),
            // Here the disk itself is to refuse; `tests/small_disk.rs` has what comes before that.
            ("JUNTO_TRANSFER__KEEP_FREE", "0"),
        ];
        node.env(&quick).env(env).up()
    }

    fn storage(&self) -> String {
        self.json(&["status"])["storage"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn await_session(&self) {
        eventually("a session with the other", LONG, || {
            (self.json(&["status"])["sessions"] == 1).then_some(())
        });
    }

    fn view(&self, id: &str) -> Value {
        self.json(&["task", "show", id])
    }
}

/// No run of Bob's ends before this is dropped.
struct Hold(PathBuf);

impl Hold {
    fn bobs(dir: &Path) -> Hold {
        let hold = dir.join("bob.hold");
        fs::write(&hold, "").unwrap();
        Hold(hold)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The tasks that were acknowledged, by their id: the number that each was to square.
#[derive(Default)]
struct Tasks {
    numbers: BTreeMap<String, u64>,
    next: u64,
}

impl Tasks {
    /// Hands over the next task: its id, or how it was refused.
    fn submit(&mut self, node: &Node) -> Result<String, (u16, Value)> {
        self.next += 1;
        let body = json!({ "capability": "square", "input_text": format!("{}\n", self.next), "deadline_ms": 600_000 });
        match node.post("/v1/tasks", &body) {
            (200..=299, task) => {
                let id = task["id"].as_str().unwrap().to_owned();
                self.numbers.insert(id.clone(), self.next);
                Ok(id)
            }
            refused => Err(refused),
        }
    }

    fn submit_all(&mut self, node: &Node, count: usize) -> Vec<String> {
        (0..count).map(|_| self.submit(node).unwrap()).collect()
    }

    /// Waits until every acknowledged task has completed, and no other is there; each with one right result, which came
    /// by its last attempt alone.
    fn all_complete(&self, node: &Node) {
        let begin = Instant::now();
        loop {
            let status = node.json(&["status"]);
            let tasks = &status["tasks"];
            assert_eq!(tasks["failed"], 0, "{tasks}");
            if tasks["completed"] == self.numbers.len() {
                let open = [&tasks["submitted"], &tasks["working"], &tasks["canceled"]];
                assert!(open.iter().all(|count| **count == 0), "{tasks}");
                break;
            }
            assert!(begin.elapsed() < LONG, "{status:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
        for (id, number) in &self.numbers {
            let output = run_at(&node.home, &["task", "result", id]);
            let result = String::from_utf8(output.stdout).unwrap();
            assert_eq!(result.trim(), (number * number).to_string(), "{id}");
            let view = node.view(id);
            let attempts = view["attempts"].as_array().unwrap();
            let completed = attempts.iter().filter(|a| a["outcome"] == "completed");
            assert_eq!(completed.count(), 1, "{view:#}");
            assert_eq!(attempts.last().unwrap()["outcome"], "completed", "{view:#}");
        }
    }
}

/// Alice, who has tasks, and Bob, who works.
fn pair(dir: &Path) -> (Node, Node) {
    let alice = Node::start(dir, "alice", None, &[]);
    let bob = Node::start(dir, "bob", Some(&alice), &[]);
    alice.await_session();
    (alice, bob)
}

/// Waits until the requester has heard that a worker has them.
fn await_under_way(alice: &Node, tasks: &[String]) {
    for id in tasks {
        eventually("the task is under way", SOON, || {
            // Its state is `working` from the offer on.
            let attempts = alice.view(id)["attempts"].as_array()?.clone();
            (attempts.last()?["outcome"] == "working").then_some(())
        });
    }
}

fn attempts(view: &Value) -> usize {
    view["attempts"].as_array().unwrap().len()
}

/// A small file system for the store of `name`; it ends with the mount namespace.
fn small_store(dir: &Path, name: &str) -> PathBuf {
    let store = dir.join(name).join("store");
    mount(&store, "24m");
    store
}

#[test]
fn a_full_disk_of_the_requester_refuses_new_tasks_and_loses_none() {
    if !among_small_disks("a_full_disk_of_the_requester_refuses_new_tasks_and_loses_none") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = small_store(dir.path(), "alice");
    let (alice, _bob) = pair(dir.path());
    let mut tasks = Tasks::default();
    tasks.submit_all(&alice, 6);

    let ballast = Ballast::fill(&store);
    let (status, problem) = eventually("a task is refused", SOON, || tasks.submit(&alice).err());
    assert_eq!((status, &problem["code"]), (507, &json!("storage")));
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("No space left"), "{detail}");
    assert!(detail.contains("free space"), "{detail}");
    assert!(alice.storage().contains("No space left"));
    let again = run_at(&alice.home, &["task", "submit", "square", "--text", "7"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    // It stays so for as long as the disk is full.
    std::thread::sleep(LEASE);
    assert!(alice.storage().contains("No space left"));
    assert_eq!(tasks.submit(&alice).unwrap_err().0, 507);

    drop(ballast);
    eventually("the store is of use again", SOON, || {
        (alice.storage() == "ok").then_some(())
    });
    tasks.submit_all(&alice, 2);
    tasks.all_complete(&alice);
}

#[test]
fn a_full_disk_of_the_worker_takes_nothing_and_loses_nothing() {
    if !among_small_disks("a_full_disk_of_the_worker_takes_nothing_and_loses_nothing") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = small_store(dir.path(), "bob");
    let (alice, bob) = pair(dir.path());
    let mut tasks = Tasks::default();
    tasks.submit_all(&alice, 4);

    let ballast = Ballast::fill(&store);
    let why = eventually("the worker says why", SOON, || {
        // The requester's disk is well: it takes tasks on.
        tasks.submit(&alice).unwrap();
        Some(bob.storage()).filter(|storage| storage != "ok")
    });
    assert!(why.contains("No space left"), "{why}");
    assert_eq!(alice.storage(), "ok");
    // Longer than a lease: what the worker held goes back into the queue.
    std::thread::sleep(2 * LEASE);
    let waiting = tasks.submit(&alice).unwrap();
    std::thread::sleep(LEASE);
    assert_ne!(alice.view(&waiting)["state"], "completed");
    assert_eq!(alice.json(&["status"])["tasks"]["failed"], 0);

    drop(ballast);
    eventually("the store is of use again", SOON, || {
        (bob.storage() == "ok").then_some(())
    });
    tasks.all_complete(&alice);
}

#[test]
fn a_worker_that_stood_still_beyond_its_lease_changes_no_result() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = pair(dir.path());
    let mut tasks = Tasks::default();
    let hold = Hold::bobs(dir.path());
    let held = tasks.submit_all(&alice, 4);
    await_under_way(&alice, &held);
    // The commands go on and end while their node stands still: late results are there to be sent.
    bob.signal(Signal::SIGSTOP);
    drop(hold);
    let carol = Node::start(dir.path(), "carol", Some(&alice), &[]);
    for id in &held {
        let view = eventually("another takes it over", LONG, || {
            Some(alice.view(id)).filter(|view| view["state"] == "completed")
        });
        assert_eq!(attempts(&view), 2, "{view:#}");
        let lost = view["attempts"][0]["outcome"].as_str().unwrap();
        assert!(lost.contains("lost: its lease ran out"), "{view:#}");
    }
    let before: Vec<Value> = held.iter().map(|id| alice.view(id)).collect();

    bob.signal(Signal::SIGCONT);
    eventually("the late results are told to be of no use", LONG, || {
        (bob.json(&["status"])["held"] == 0).then_some(())
    });
    let after: Vec<Value> = held.iter().map(|id| alice.view(id)).collect();
    assert_eq!(before, after, "an end does not change");
    let ran = fs::read_to_string(dir.path().join("carol.runs")).unwrap();
    assert_eq!(ran.lines().count(), 4, "each ran there once");
    drop(carol);
    tasks.submit_all(&alice, 2);
    tasks.all_complete(&alice);
}

#[test]
fn a_late_result_of_a_worker_that_stood_still_is_taken_once_if_nobody_else_has_the_task() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = pair(dir.path());
    let mut tasks = Tasks::default();
    let hold = Hold::bobs(dir.path());
    let held = tasks.submit_all(&alice, 4);
    await_under_way(&alice, &held);
    bob.signal(Signal::SIGSTOP);
    drop(hold);
    std::thread::sleep(3 * LEASE);
    for id in &held {
        let view = alice.view(id);
        assert!(view["state"] != "completed", "{view:#}");
        assert!(view["state"] != "failed", "{view:#}");
    }
    bob.signal(Signal::SIGCONT);
    tasks.all_complete(&alice);
}

#[test]
fn a_requester_that_stood_still_finds_every_result() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = pair(dir.path());
    let mut tasks = Tasks::default();
    let hold = Hold::bobs(dir.path());
    tasks.submit_all(&alice, 6);
    eventually("some are under way", SOON, || {
        (bob.json(&["status"])["held"] == 4).then_some(())
    });
    alice.signal(Signal::SIGSTOP);
    drop(hold);
    std::thread::sleep(3 * LEASE);
    let held = bob.json(&["status"])["held"].as_u64().unwrap();
    assert!(held > 0, "what nobody acknowledged is kept");
    alice.signal(Signal::SIGCONT);
    tasks.submit_all(&alice, 2);
    tasks.all_complete(&alice);
    eventually("everything was acknowledged", LONG, || {
        (bob.json(&["status"])["held"] == 0).then_some(())
    });
}

/// Stands between a program and the clock: the wall clock shows as much more as a file says.
const WRONG_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static int (*real)(clockid_t, struct timespec *);
static const char *file;
__attribute__((constructor)) static void begin(void) {
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    file = getenv("JUNTO_TEST_CLOCK");
}
int clock_gettime(clockid_t id, struct timespec *at) {
    if (!real) begin();
    int failed = real(id, at);
    if (failed || id != CLOCK_REALTIME || !file) return failed;
    char text[32] = {0};
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    if (read(fd, text, sizeof text - 1) > 0) at->tv_sec += atol(text);
    close(fd);
    return 0;
}
"#;

/// A wall clock that can be set wrong for one node.
struct WrongClock {
    library: String,
    file: PathBuf,
}

impl WrongClock {
    fn build(dir: &Path) -> Option<WrongClock> {
        let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
        fs::write(&source, WRONG_CLOCK).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-ldl")
            .status();
        let clock = WrongClock {
            library: library.to_str().unwrap().to_owned(),
            file: dir.join("clock"),
        };
        if !matches!(built, Ok(status) if status.success()) {
            eprintln!("NOT TESTED: no C compiler makes a wrong clock here");
            return None;
        }
        clock.set(0);
        Some(clock)
    }

    fn env(&self) -> [(&str, &str); 2] {
        let file = self.file.to_str().unwrap();
        [("LD_PRELOAD", &self.library), ("JUNTO_TEST_CLOCK", file)]
    }

    /// By one rename, so that no reader finds half of it.
    fn set(&self, by_s: i64) {
        let next = self.file.with_extension("next");
        fs::write(&next, by_s.to_string()).unwrap();
        fs::rename(next, &self.file).unwrap();
    }
}

const HOUR_S: i64 = 3_600;

/// The minute of the day at which a task was handed over, as its node shows it.
fn minute(view: &Value) -> i64 {
    let text = view["submitted"].as_str().unwrap();
    let number = |at: usize| text[at..at + 2].parse::<i64>().unwrap();
    number(11) * 60 + number(14)
}

/// Tasks under way, new ones, and a restart while the clock of one node is an hour off, both ways.
fn a_clock_jumps(wrong: &str) {
    let dir = tempfile::tempdir().unwrap();
    let Some(clock) = WrongClock::build(dir.path()) else {
        return;
    };
    let of = |name: &str| {
        if name == wrong {
            clock.env().to_vec()
        } else {
            Vec::new()
        }
    };
    let mut alice = Node::start(dir.path(), "alice", None, &of("alice"));
    let mut bob = Node::start(dir.path(), "bob", Some(&alice), &of("bob"));
    alice.await_session();
    let mut tasks = Tasks::default();
    for by_s in [HOUR_S, 0, -HOUR_S, 0] {
        let hold = Hold::bobs(dir.path());
        let under_way = tasks.submit_all(&alice, 4);
        await_under_way(&alice, &under_way);
        clock.set(by_s);
        let new = tasks.submit_all(&alice, 2);
        if wrong == "alice" {
            let (then, now) = (alice.view(&under_way[0]), alice.view(&new[0]));
            let moved = (minute(&now) - minute(&then)).rem_euclid(24 * 60);
            assert!(
                [59, 60, 61, 1_379, 1_380, 1_381].contains(&moved),
                "{moved}"
            );
        }
        drop(hold);
        tasks.all_complete(&alice);
        for id in under_way.iter().chain(&new) {
            let view = alice.view(id);
            assert_eq!(attempts(&view), 1, "a jump moves no lease: {view:#}");
        }
    }
    // A node that starts with a wrong clock finds nobody, and everything once the clock is right.
    clock.set(-HOUR_S);
    let kept = tasks.submit_all(&alice, 2);
    let node = if wrong == "alice" {
        &mut alice
    } else {
        &mut bob
    };
    node.crash();
    let waiting = tasks.submit(&alice).unwrap();
    std::thread::sleep(2 * LEASE);
    assert_eq!(alice.json(&["status"])["sessions"], 0);
    for id in kept.iter().chain([&waiting]) {
        let state = alice.view(id)["state"].clone();
        assert!(state != "failed" && state != "canceled", "{state}");
    }
    clock.set(0);
    tasks.all_complete(&alice);
}

#[test]
fn a_requesters_clock_that_jumps_an_hour_moves_no_lease_and_loses_no_task() {
    a_clock_jumps("alice");
}

#[test]
fn a_workers_clock_that_jumps_an_hour_moves_no_lease_and_loses_no_task() {
    a_clock_jumps("bob");
}
