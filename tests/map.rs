//! `task map` over real nodes: the same answer as a loop on one machine, also when it is cut off.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use uuid::Uuid;

use support::{Testnet, junto};

/// `n` texts of different lengths in `dir`, in the order of their names.
fn texts(dir: &Path, n: usize) -> Vec<String> {
    let text = |i: usize| "word ".repeat(i * 7 % 31) + &"x ".repeat(i % 3);
    let path = |i: usize| dir.join(format!("text{i:03}"));
    let write = |i: usize| std::fs::write(path(i), text(i)).map(|()| path(i));
    let files: Vec<PathBuf> = (0..n).map(|i| write(i).unwrap()).collect();
    files
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}

/// What one machine alone makes of the files.
fn local_loop(files: &[String]) -> Vec<u8> {
    let script = "for f in \"$@\"; do wc -w < \"$f\"; done";
    let output = Command::new("/bin/sh")
        .args(["-c", script, "sh"])
        .args(files)
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

fn map(net: &Testnet, args: &[&str], files: &[String]) -> Command {
    let mut command = junto();
    command
        .arg("--home")
        .arg(net.home(0))
        .args(["task", "map"])
        .args(args)
        .arg("--")
        .args(files)
        .stdin(Stdio::null());
    command
}

/// The map's id, from the line that it begins with.
fn map_id(line: &str) -> &str {
    let rest = line.strip_prefix("map ").expect("the first line");
    rest.split(':').next().unwrap()
}

#[test]
fn a_map_over_five_nodes_gives_what_a_local_loop_gives() {
    let net = Testnet::start(5, &["--serve", "wc=sleep 0.1; wc -w"]);
    let dir = tempfile::tempdir().unwrap();
    let files = texts(dir.path(), 200);
    let expected = local_loop(&files);

    let mapped = map(&net, &["wc"], &files).output().unwrap();
    let said = String::from_utf8(mapped.stderr).unwrap();
    assert!(mapped.status.success(), "{said}");
    assert_eq!(mapped.stdout, expected, "{said}");
    assert!(
        said.contains("of 200 completed, 0 failed"),
        "progress: {said}"
    );
    assert!(
        said.contains("map: 200 of 200 completed"),
        "progress: {said}"
    );
    let workers: std::collections::BTreeSet<String> = net
        .json(0, &["task", "list"])
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["attempts"][0]["worker"].to_string())
        .collect();
    assert!(workers.len() >= 4, "the work was shared: {workers:?}");

    let id = said.lines().find(|line| line.starts_with("map ")).unwrap();
    let label = format!("map={}", map_id(id));
    let found = net.json(0, &["task", "list", "--label", &label]).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 200, "{label}");

    let few = &files[..20];
    let into = dir.path().join("out");
    let to_files = map(&net, &["wc", "--into", into.to_str().unwrap()], few);
    let done = { to_files }.output().unwrap();
    assert!(done.status.success() && done.stdout.is_empty());
    let each = |i: usize| std::fs::read(into.join(format!("text{i:03}.out"))).unwrap();
    assert_eq!((0..20).flat_map(each).collect::<Vec<u8>>(), local_loop(few));

    let reduced = map(&net, &["wc", "--reduce", "wc"], few).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&reduced.stdout).trim(), "20");

    let same: Vec<String> = vec![files[5].clone(); 5];
    let majority = map(&net, &["wc", "--gather", "majority"], &same)
        .output()
        .unwrap();
    assert_eq!(majority.stdout, local_loop(&files[5..6]));
    let first = map(&net, &["wc", "--gather", "first"], &same)
        .output()
        .unwrap();
    assert_eq!(first.stdout, local_loop(&files[5..6]));

    let split = map(&net, &["wc", "--gather", "majority"], &files[1..4])
        .output()
        .unwrap();
    assert_eq!(split.status.code(), Some(1), "three different results");
}

#[test]
fn a_map_that_was_killed_goes_on_without_a_second_task_of_any_file() {
    let net = Testnet::start(3, &["--serve", "wc=sleep 0.3; wc -w"]);
    let dir = tempfile::tempdir().unwrap();
    let files = texts(dir.path(), 60);
    let mut killed = map(&net, &["wc"], &files)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(killed.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let id = map_id(&first).to_owned();
    let some = lines.find(|line| line.as_ref().unwrap().starts_with("map: "));
    assert!(some.is_some(), "some were done");
    killed.kill().unwrap();
    killed.wait().unwrap();

    let mut again = map(&net, &["wc", "--resume", &id], &files);
    let again = again.output().unwrap();
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success(), "{said}");
    assert_eq!(again.stdout, local_loop(&files), "{said}");
    let tasks: Value = net.json(0, &["task", "list"]).unwrap();
    assert_eq!(tasks.as_array().unwrap().len(), files.len());
}

#[test]
fn files_that_are_too_large_for_a_message_are_mapped_as_others_are() {
    let net = Testnet::start(3, &["--serve", "wc=wc -w"]);
    let dir = tempfile::tempdir().unwrap();
    let mut files = texts(dir.path(), 4);
    for n in 0..3 {
        let path = dir.path().join(format!("large{n}"));
        std::fs::write(&path, "word ".repeat(300_000 + n)).unwrap();
        files.push(path.display().to_string());
    }
    let mapped = map(&net, &["wc"], &files).output().unwrap();
    let said = String::from_utf8_lossy(&mapped.stderr);
    assert!(mapped.status.success(), "{said}");
    assert_eq!(mapped.stdout, local_loop(&files), "{said}");
    // Begun again it finds what it had handed over.
    let id = map_id(said.lines().next().unwrap()).to_owned();
    let again = map(&net, &["wc", "--resume", &id], &files).output();
    assert_eq!(again.unwrap().stdout, mapped.stdout);
    let tasks: Value = net.json(0, &["task", "list"]).unwrap();
    let sizes = tasks.as_array().unwrap().iter();
    let sizes = sizes.filter(|task| task["input_bytes"].as_u64() > Some(1 << 20));
    assert_eq!(sizes.count(), 3, "{tasks}");
    assert_eq!(tasks.as_array().unwrap().len(), files.len());
}

#[test]
fn results_that_are_too_large_for_a_message_are_reduced_as_others_are() {
    let net = Testnet::start(2, &["--serve", "same=cat", "--serve", "wc=wc -w"]);
    let dir = tempfile::tempdir().unwrap();
    let mut files = texts(dir.path(), 3);
    for n in 0..2 {
        let path = dir.path().join(format!("large{n}"));
        std::fs::write(&path, "word ".repeat(160_000 + n)).unwrap();
        files.push(path.display().to_string());
    }
    let all: Vec<u8> = { files.iter() }
        .flat_map(|path| std::fs::read(path).unwrap())
        .collect();
    assert!(all.len() > 1 << 20, "more than a message");
    let words = String::from_utf8(all).unwrap().split_whitespace().count();
    let args = ["same", "--reduce", "wc"];
    let reduced = map(&net, &args, &files).output().unwrap();
    let said = String::from_utf8_lossy(&reduced.stderr);
    assert!(reduced.status.success(), "{said}");
    let counted = String::from_utf8_lossy(&reduced.stdout);
    assert_eq!(counted.trim(), words.to_string(), "{said}");
    // Begun again it finds what it had handed over, the reducing task with the rest.
    let id = map_id(said.lines().next().unwrap()).to_owned();
    let args = [&args[..], &["--resume", &id]].concat();
    let again = map(&net, &args, &files).output().unwrap();
    assert_eq!(again.stdout, reduced.stdout);
    let tasks: Value = net.json(0, &["task", "list"]).unwrap();
    assert_eq!(tasks.as_array().unwrap().len(), files.len() + 1, "{tasks}");
}

#[test]
fn a_file_that_fails_is_named_and_makes_the_status_1() {
    let net = Testnet::start(
        2,
        &[
            "--serve",
            "odd=grep -q word || { echo no word >&2; exit 1; }",
        ],
    );
    let dir = tempfile::tempdir().unwrap();
    let files = texts(dir.path(), 2);
    let stranger = Uuid::now_v7().to_string();
    let unknown = map(&net, &["odd", "--resume", &stranger], &files);
    let unknown = { unknown }.output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(said.contains("no task of the map"), "{said}");
    let args = ["odd", "--deadline", "10s"];
    let failed = map(&net, &args, &files).output().unwrap();
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains(&files[0]), "{said}");
    let allowed = map(
        &net,
        &[&args[..], &["--allow-failed", "1"]].concat(),
        &files,
    );
    assert!({ allowed }.output().unwrap().status.success());
}

#[test]
fn a_map_without_a_worker_says_why_while_it_waits_and_ends_with_4() {
    let net = Testnet::start(1, &[]);
    let dir = tempfile::tempdir().unwrap();
    let files = texts(dir.path(), 3);
    let unmet = map(&net, &["wc", "--deadline", "8s"], &files).output();
    let unmet = unmet.unwrap();
    let said = String::from_utf8_lossy(&unmet.stderr);
    assert_eq!(unmet.status.code(), Some(4), "{said}");
    let waits = "map: no task has begun: no known peer offers wc";
    assert_eq!(said.matches(waits).count(), 1, "{said}");
}
