//! What a task came to, shown to somebody who has nothing but a file: the program itself.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use support::{Testnet, run_at};

/// The program on a machine that has never had a node.
fn anywhere(args: &[&str]) -> Output {
    let nowhere = tempfile::tempdir().unwrap();
    let output = run_at(&nowhere.path().join("none"), args);
    assert!(!nowhere.path().join("none").exists(), "no home is made");
    output
}

fn verified(proof: &Path, more: &[&str]) -> Result<Value, String> {
    let args = ["--json", "inbox", "verify", proof.to_str().unwrap()];
    let output = anywhere(&[&args, more].concat());
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn entity(net: &Testnet, node: usize) -> String {
    let status = net.json(node, &["status"]).unwrap();
    status["entity_id"].as_str().unwrap().to_owned()
}

fn write_proof(net: &Testnet, id: &str, name: &str) -> (PathBuf, Vec<u8>) {
    let file = net.dir.path().join(name);
    let path = file.to_str().unwrap();
    let output = net.cli(0, &["task", "result", id, "--proof", path]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    (file, output.stdout)
}

/// The proof with one character of its base64 another, somewhere in line `line`.
fn bent(text: &str, line: usize) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let of = lines[line].pop().unwrap();
    let other = if of == 'A' { 'B' } else { 'A' };
    lines[line].push(other);
    lines.join("\n")
}

#[test]
fn a_result_is_shown_by_a_file_alone_also_after_kills_of_its_requester() {
    let mut net = Testnet::start(2, &["--serve", "wc=wc -w"]);
    let (us, worker) = (entity(&net, 0), entity(&net, 1));
    let submit = ["task", "submit", "wc", "--text", "some words", "--wait"];
    let done = net.json(0, &[&submit[..], &["--to", &worker]].concat());
    let id = done.unwrap()["id"].as_str().unwrap().to_owned();
    let (proof, result) = write_proof(&net, &id, "first.proof");
    let output = net.dir.path().join("result");
    std::fs::write(&output, &result).unwrap();
    let again = net.cli(
        0,
        &["task", "result", &id, "--proof", proof.to_str().unwrap()],
    );
    assert!(!again.status.success(), "no file is replaced");

    net.kill(0);
    net.restart(0);
    net.await_up(0);
    let (second, _) = write_proof(&net, &id, "second.proof");
    let text = std::fs::read_to_string(&proof).unwrap();
    assert_eq!(
        std::fs::read_to_string(second).unwrap(),
        text,
        "after a kill"
    );
    net.kill(0);
    net.kill(1);

    let file = output.to_str().unwrap();
    let expected = ["--from", &worker, "--to", &us, "--result", file];
    let shown = verified(&proof, &expected).unwrap();
    let [of] = &shown["outcomes"].as_array().unwrap()[..] else {
        panic!("{shown}")
    };
    assert_eq!(
        (&of["from"], &of["to"]),
        (&worker.as_str().into(), &us.as_str().into())
    );
    assert_eq!(
        (&of["task"], &of["outcome"]),
        (&id.as_str().into(), &"completed".into())
    );
    assert_eq!(
        (&of["is_result"], &of["size"]),
        (&true.into(), &result.len().into())
    );
    let people = anywhere(&["inbox", "verify", proof.to_str().unwrap()]);
    let table = String::from_utf8_lossy(&people.stdout).into_owned();
    let hash = of["sha256"].as_str().unwrap();
    assert!(table.contains(hash) && table.contains(&id), "{table}");

    std::fs::write(&output, b"3\n").unwrap();
    let refused = verified(&proof, &["--result", file]).unwrap_err();
    assert!(refused.contains("is another result"), "{refused}");
    let refused = verified(&proof, &["--from", &us]).unwrap_err();
    assert!(refused.contains("was signed by"), "{refused}");
    let refused = verified(&proof, &["--to", &worker]).unwrap_err();
    assert!(refused.contains("the task was one of"), "{refused}");
    let other = net.dir.path().join("bent.proof");
    for line in 1..text.lines().count() - 1 {
        std::fs::write(&other, bent(&text, line)).unwrap();
        let refused = verified(&other, &[]).unwrap_err();
        assert!(!refused.trim().is_empty(), "line {line}");
    }
}

#[test]
fn a_task_that_has_not_completed_has_nothing_to_show() {
    let net = Testnet::start(1, &[]);
    let submitted = net.cli(0, &["task", "submit", "nobody", "--text", "x"]);
    let id = String::from_utf8(submitted.stdout).unwrap();
    let output = net.cli(0, &["task", "result", id.trim(), "--proof"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("nothing shows"),
        "{said}"
    );
}
