//! The passphrase in the system's keychain: with a real Secret Service (GNOME Keyring on a D-Bus of
//! its own), and where there is none.
//!
//! Needs `dbus-daemon` and `gnome-keyring-daemon`, and says so where they are missing;
//! `JUNTO_REQUIRE_KEYCHAIN` makes that a failure.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::junto;

/// `junto --home HOME …` for a user whose session has this D-Bus, and nobody at the terminal.
fn command(dir: &Path, bus: &str, args: &[&str]) -> Command {
    let mut command = junto();
    command
        .arg("--home")
        .arg(dir.join("home"))
        .args(args)
        .env("DBUS_SESSION_BUS_ADDRESS", bus)
        .env("XDG_RUNTIME_DIR", dir)
        .stdin(Stdio::null());
    command
}

fn run(dir: &Path, bus: &str, args: &[&str]) -> Output {
    command(dir, bus, args).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What `doctor` finds of the keychain: the level and the words.
fn doctor(dir: &Path, bus: &str) -> (String, String) {
    let report = json(&run(dir, bus, &["--json", "doctor"]));
    let checks = report["checks"].as_array().unwrap();
    let of_keychain = |check: &&Value| check["name"] == "keychain";
    let found = checks.iter().find(of_keychain).unwrap();
    let text = |name: &str| found[name].as_str().unwrap().to_owned();
    (text("level"), text("detail"))
}

/// A bus that nobody listens on.
fn no_bus(dir: &Path) -> String {
    format!("unix:path={}/nobody", dir.display())
}

#[test]
fn without_a_keychain_the_error_says_what_to_do_and_the_file_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let bus = no_bus(dir.path());
    let refused = run(dir.path(), &bus, &["init", "--keychain"]);
    let (reason, status) = match cfg!(feature = "keychain") {
        true => ("no keychain is running here", 1),
        false => ("built without the system's keychain", 2),
    };
    assert_eq!(refused.status.code(), Some(status));
    assert!(told(&refused).contains(reason), "{}", told(&refused));
    assert!(told(&refused).contains("--passphrase-file FILE"));
    assert!(!dir.path().join("home/identity.key").exists());

    // The settings ask for it now; a passphrase that is given makes up for it, at every start.
    let file = dir.path().join("passphrase");
    std::fs::write(&file, "correct horse").unwrap();
    let given = file.to_str().unwrap();
    let made = run(dir.path(), &bus, &["init", "--passphrase-file", given]);
    assert!(made.status.success(), "{}", told(&made));
    assert!(told(&made).contains(reason), "{}", told(&made));
    let rotated = run(
        dir.path(),
        &bus,
        &["key", "rotate", "--passphrase-file", given],
    );
    assert!(rotated.status.success(), "{}", told(&rotated));
    let nobody = run(dir.path(), &bus, &["up"]);
    assert_eq!(nobody.status.code(), Some(status));
    let (level, detail) = doctor(dir.path(), &bus);
    assert_eq!(level, "warn");
    assert!(detail.contains(reason), "{detail}");
    let id = json(&run(dir.path(), &bus, &["--json", "id"]));
    assert_eq!(id["passphrase"], "keychain");
}

#[cfg(feature = "keychain")]
mod real {
    use std::io::{BufRead, BufReader, Write};
    use std::path::PathBuf;
    use std::process::Child;
    use std::time::Duration;

    use super::support::eventually;
    use super::*;

    const SOON: Duration = Duration::from_secs(90);
    const TOOLS: [&str; 3] = ["dbus-daemon", "dbus-send", "gnome-keyring-daemon"];

    /// Ended when dropped, the last first.
    struct Ended(Child);

    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A session of a user who has logged in: a bus, and a keychain that is unlocked.
    struct Session {
        keyring: Option<Ended>,
        _bus: Ended,
        address: String,
        dir: PathBuf,
    }

    impl Session {
        /// None where the tools are missing.
        fn begin(dir: &Path) -> Option<Session> {
            let there = |tool: &&str| {
                let path = std::env::var_os("PATH").unwrap_or_default();
                std::env::split_paths(&path).any(|folder| folder.join(tool).exists())
            };
            if !TOOLS.iter().all(there) {
                let skipped = "skipped: needs dbus-daemon, dbus-send and gnome-keyring-daemon";
                assert!(
                    std::env::var_os("JUNTO_REQUIRE_KEYCHAIN").is_none(),
                    "{skipped}"
                );
                eprintln!("{skipped}");
                return None;
            }
            // Only ours: a service that the bus would start by itself is another user's keychain.
            let config = dir.join("bus.conf");
            let text = format!(
                "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
                 \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\"><busconfig>\
                 <type>session</type><listen>unix:path={}/bus</listen>\
                 <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
                 <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>",
                dir.display()
            );
            std::fs::write(&config, text).unwrap();
            let mut bus = Command::new("dbus-daemon");
            bus.arg("--config-file").arg(&config);
            bus.args(["--nofork", "--nopidfile", "--print-address=1"]);
            bus.stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null());
            let mut bus = Ended(bus.spawn().unwrap());
            let mut address = String::new();
            let lines = bus.0.stdout.take().unwrap();
            BufReader::new(lines).read_line(&mut address).unwrap();
            let mut session = Session {
                keyring: None,
                _bus: bus,
                address: address.trim().to_owned(),
                dir: dir.to_owned(),
            };
            session.log_in();
            Some(session)
        }

        fn log_in(&mut self) {
            let control = self.dir.join("keyring");
            let mut keyring = Command::new("gnome-keyring-daemon");
            keyring
                .args(["--unlock", "--foreground", "--components=secrets"])
                .arg("--control-directory")
                .arg(&control)
                .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
                .env("XDG_RUNTIME_DIR", &self.dir)
                .env("XDG_DATA_HOME", self.dir.join("data"))
                .env("HOME", &self.dir)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut keyring = Ended(keyring.spawn().unwrap());
            let mut password = keyring.0.stdin.take().unwrap();
            password.write_all(b"the user's own").unwrap();
            drop(password);
            self.keyring = Some(keyring);
            let bus = self.address.clone();
            eventually("the keychain answers", SOON, || {
                let mut ask = Command::new("dbus-send");
                ask.arg(format!("--bus={bus}")).args([
                    "--print-reply",
                    "--dest=org.freedesktop.secrets",
                    "/org/freedesktop/secrets",
                    "org.freedesktop.DBus.Peer.Ping",
                ]);
                ask.stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                ask.status().unwrap().success().then_some(())
            });
        }

        /// Its keychain ends with it, and stays on the disk, encrypted.
        fn log_out(&mut self) {
            self.keyring = None;
        }
    }

    /// A node that runs.
    fn up(dir: &Path, bus: &str) -> Ended {
        let mut command = command(dir, bus, &["up", "--no-mdns"]);
        command.args(["--listen", "/ip4/127.0.0.1/tcp/0"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut node = Ended(command.spawn().unwrap());
        eventually("the node is up", SOON, || {
            assert!(node.0.try_wait().unwrap().is_none(), "it ended");
            run(dir, bus, &["status"]).status.success().then_some(())
        });
        node
    }

    #[test]
    fn a_node_starts_by_its_keychain_alone_and_not_without_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let Some(mut session) = Session::begin(dir) else {
            return;
        };
        let bus = session.address.clone();
        let made = run(dir, &bus, &["--json", "init", "--keychain"]);
        assert!(made.status.success(), "{}", told(&made));
        let made = json(&made);
        assert_eq!(made["passphrase"], "keychain");
        assert!(made["key_file"].as_str().unwrap().ends_with("identity.key"));
        assert_eq!(doctor(dir, &bus).0, "ok");

        // Nobody is asked for anything: neither for a start, nor for a rotation of either kind.
        let node = up(dir, &bus);
        let rotated = run(dir, &bus, &["key", "rotate"]);
        assert!(rotated.status.success(), "{}", told(&rotated));
        drop(node);
        let rotated = run(dir, &bus, &["--json", "key", "rotate"]);
        assert!(rotated.status.success(), "{}", told(&rotated));
        assert_eq!(json(&rotated)["rotations"], 2);

        // The key file is encrypted, as with any other passphrase.
        let file = std::fs::read_to_string(dir.join("home/identity.key")).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&file).unwrap()["passphrase"],
            true
        );

        session.log_out();
        let refused = run(dir, &bus, &["up"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(told(&refused).contains("no keychain is running here"));
        assert_eq!(doctor(dir, &bus).0, "warn");
        session.log_in();
        drop(up(dir, &bus));
    }

    #[test]
    fn the_passphrase_of_an_older_node_is_kept_once_it_was_given() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let Some(session) = Session::begin(dir) else {
            return;
        };
        let bus = session.address.as_str();
        let file = dir.join("passphrase");
        std::fs::write(&file, "correct horse").unwrap();
        let given = file.to_str().unwrap();
        let made = run(dir, bus, &["init", "--passphrase-file", given]);
        assert!(made.status.success(), "{}", told(&made));
        let unknown = run(dir, bus, &["key", "rotate", "--keychain"]);
        assert_eq!(unknown.status.code(), Some(1));
        assert!(told(&unknown).contains("keeps no passphrase for this node"));
        let args = ["key", "rotate", "--keychain", "--passphrase-file", given];
        let kept = run(dir, bus, &args);
        assert!(kept.status.success(), "{}", told(&kept));
        assert!(told(&kept).contains("in the system's keychain from now on"));
        let rotated = run(dir, bus, &["key", "rotate", "--keychain"]);
        assert!(rotated.status.success(), "{}", told(&rotated));
        // Without the word, and without the setting, nobody looks there.
        let asked = run(dir, bus, &["key", "rotate"]);
        assert_eq!(asked.status.code(), Some(2), "{}", told(&asked));
    }
}
