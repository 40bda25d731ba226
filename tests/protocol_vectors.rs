//! The bytes of the peer protocol stay what they are: the files of `docs/vectors/` against this
//! implementation, and against `docs/vectors/check.py`, a second one that was written from
//! `docs/protocol.md` alone. A vector that changes is a change of the protocol, and needs a new
//! version.
//!
//! The secrets that are drawn during the handshake come from generators with the seeds in
//! `vectors/sides.rs`.
#![allow(clippy::unwrap_used)]

mod vectors;

use std::process::Command;

use vectors::files::folder;

/// A Python that has what the script needs.
fn python() -> Option<&'static str> {
    let ready = |python: &&str| {
        Command::new(python)
            .args(["-c", "import cryptography"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    ["python3", "/usr/bin/python3"].into_iter().find(ready)
}

#[test]
fn a_second_implementation_computes_the_same() {
    let Some(python) = python() else {
        assert!(
            std::env::var_os("JUNTO_REQUIRE_PYTHON").is_none(),
            "python3 with the package cryptography is missing"
        );
        eprintln!("SKIPPED: docs/vectors/check.py needs python3 with the package cryptography");
        return;
    };
    let output = Command::new(python)
        .arg(folder().join("check.py"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    println!("{}", said.trim());
}
