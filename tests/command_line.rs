//! What the command line refuses and takes before any node is asked.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Command, Output, Stdio};

use support::junto;

fn run(mut command: Command, args: &[&str]) -> (Option<i32>, String) {
    let output: Output = command.args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), errors)
}

#[test]
fn what_is_piped_to_a_task_without_a_word_is_neither_read_nor_forgotten() {
    let home = tempfile::tempdir().unwrap();
    let submit = |stdin: Stdio, more: &[&str]| {
        let mut command = junto();
        command.arg("--home").arg(home.path()).stdin(stdin);
        run(command, &[&["task", "submit", "wc"], more].concat())
    };
    let (status, said) = submit(Stdio::piped(), &[]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("--input -"), "{said}");
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(submit(file.into(), &[]).0, Some(2));
    // There is no node here: that far they come.
    for (stdin, more) in [
        (Stdio::piped(), &["--text", ""][..]),
        (Stdio::piped(), &["--input", "-"]),
        (Stdio::null(), &[]),
    ] {
        let (status, said) = submit(stdin, more);
        assert_eq!(status, Some(3), "{more:?}: {said}");
        let path = home.path().display().to_string();
        assert!(said.contains(&path), "which home: {said}");
    }
}

#[test]
fn a_backup_may_be_named_without_its_folder() {
    let home = tempfile::tempdir().unwrap();
    let at = |args: &[&str]| {
        let mut command = junto();
        command.arg("--home").arg(home.path().join("home"));
        command.current_dir(home.path()).stdin(Stdio::null());
        command.env("JUNTO_BACKUP_PASSPHRASE", "correct horse");
        run(command, args)
    };
    let (status, said) = at(&["init", "--no-passphrase"]);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = at(&["key", "backup", "alice.backup"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(home.path().join("alice.backup").exists());
}

#[test]
fn an_agent_is_not_waited_for_longer_than_a_minute() {
    let talk = ["talk", "bob", "hi", "--timeout", "5m"];
    let (status, said) = run(junto(), &talk);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("--timeout") && said.contains("60s"), "{said}");
}
