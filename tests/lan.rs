//! Three machines on one LAN find each other by mDNS alone: three network namespaces on a bridge.
//!
//! Needs root and `ip` (Debian: iproute2). Without them it is left out and says so, except in CI
//! (`CI=true`), where that is a failure.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use support::eventually;

const NODES: usize = 3;

/// A bridge in a namespace of its own and `NODES` namespaces on it. No interface of the machine's
/// own network is touched, and all of it goes when this is dropped.
struct Lan {
    prefix: String,
}

fn ip(args: &str) {
    let output = Command::new("ip")
        .args(args.split_whitespace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ip {args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Lan {
    fn up() -> Lan {
        let lan = Lan {
            prefix: format!("jt{}", std::process::id()),
        };
        let switch = format!("{}-sw", lan.prefix);
        ip(&format!("netns add {switch}"));
        ip(&format!(
            "-n {switch} link add br0 type bridge mcast_snooping 0 forward_delay 0"
        ));
        ip(&format!("-n {switch} link set br0 up"));
        for n in 1..=NODES {
            let ns = lan.namespace(n);
            ip(&format!("netns add {ns}"));
            ip(&format!("-n {ns} link set lo up"));
            ip(&format!(
                "-n {ns} link add eth0 type veth peer name p{n} netns {switch}"
            ));
            ip(&format!("-n {switch} link set p{n} master br0 up"));
            ip(&format!("-n {ns} addr add 10.77.0.{n}/24 dev eth0"));
            ip(&format!("-n {ns} link set eth0 up"));
            ip(&format!("-n {ns} route add 224.0.0.0/4 dev eth0"));
        }
        lan
    }

    fn namespace(&self, n: usize) -> String {
        format!("{}-n{n}", self.prefix)
    }

    /// `junto` on machine `n`.
    fn junto(&self, n: usize, home: &Path) -> Command {
        let mut command = Command::new("ip");
        command
            .args([
                "netns",
                "exec",
                &self.namespace(n),
                env!("CARGO_BIN_EXE_junto"),
                "--home",
            ])
            .arg(home)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let names = (1..=NODES).map(|n| self.namespace(n));
        for name in names.chain([format!("{}-sw", self.prefix)]) {
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

/// The nodes, killed when the test is over.
struct Machines(Vec<Child>);

impl Drop for Machines {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn can_run() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let tool = Command::new("ip")
        .arg("-V")
        .output()
        .is_ok_and(|output| output.status.success());
    if root && tool {
        return true;
    }
    let why = "needs root and `ip` (Debian: iproute2)";
    assert!(
        std::env::var_os("CI").is_none(),
        "in CI this test must run: {why}"
    );
    eprintln!("LEFT OUT three_machines_find_each_other_by_mdns_alone: {why}");
    false
}

#[test]
fn three_machines_find_each_other_by_mdns_alone_and_one_works_for_another() {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let homes: Vec<PathBuf> = (1..=NODES)
        .map(|n| dir.path().join(format!("m{n}")))
        .collect();
    let lan = Lan::up();
    let mut machines = Machines(Vec::new());
    for (at, home) in homes.iter().enumerate() {
        let name = format!("machine{}", at + 1);
        let mut up = lan.junto(at + 1, home);
        up.args(["up", "--no-passphrase", "--name", &name])
            .stdout(Stdio::null());
        up.stderr(Stdio::null());
        if at == 2 {
            up.args(["--serve", "upper=tr a-z A-Z"]);
        }
        machines.0.push(up.spawn().unwrap());
    }
    let ask = |n: usize, args: &[&str]| -> Output {
        lan.junto(n, &homes[n - 1]).args(args).output().unwrap()
    };
    for n in 1..=NODES {
        eventually("each lists all three", Duration::from_secs(120), || {
            let output = ask(n, &["--json", "registry", "list"]);
            let list: Value = serde_json::from_slice(&output.stdout).ok()?;
            (list.as_array()?.len() == NODES).then_some(())
        });
    }
    let output = ask(
        1,
        &[
            "task",
            "submit",
            "upper",
            "--text",
            "over the lan",
            "--wait",
        ],
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "OVER THE LAN");
}
