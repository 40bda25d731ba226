//! No secret of a real node gets out: not into logs at trace level, error texts, files that others
//! can read, the arguments or the environment of what it starts, nor to other processes of its user.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/liar.rs"]
mod liar;
#[path = "support/schedule.rs"]
mod schedule;
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use data_encoding::{BASE32, BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use junto::crypto::{AeadKey, KdfCost, KeyFile};
use liar::Liar;
use support::{eventually, junto, run_at};

const PASSPHRASE: &str = "a-passphrase-that-nobody-else-has";
const SOON: Duration = Duration::from_secs(90);
const NOBODY: u32 = 65_534;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a secret may look like in a text.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let unpadded = |text: String| text.trim_end_matches('=').as_bytes().to_vec();
    let list = secret.iter().map(u8::to_string).collect::<Vec<_>>();
    vec![
        secret.to_vec(),
        HEXLOWER.encode(secret).into_bytes(),
        HEXUPPER.encode(secret).into_bytes(),
        unpadded(BASE64.encode(secret)),
        unpadded(BASE64URL.encode(secret)),
        unpadded(BASE32.encode(secret)),
        list.join(", ").into_bytes(),
    ]
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn files_under(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_under(&path, into);
        }
        into.push(path);
    }
}

fn seeds_in(key_file: &Path) -> Vec<Vec<u8>> {
    let file = KeyFile::parse(&fs::read_to_string(key_file).unwrap()).unwrap();
    let keys = file.open(Some(PASSPHRASE)).unwrap();
    let seeds = keys.seeds();
    [seeds.entity, seeds.next, seeds.transport]
        .map(|seed| seed.to_vec())
        .to_vec()
}

/// The key that wraps the others in the key file, and its initial vector: what Argon2id makes of
/// the passphrase.
fn wrapping_key_of(key_file: &Path) -> Vec<u8> {
    let text = fs::read_to_string(key_file).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let salt = BASE64.decode(file["salt"].as_str().unwrap().as_bytes());
    let cost: KdfCost = serde_json::from_value(file["kdf"].clone()).unwrap();
    let params = argon2::Params::new(cost.memory_kib, cost.passes, 1, Some(44)).unwrap();
    let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut out = [0; 44];
    argon
        .hash_password_into(PASSPHRASE.as_bytes(), &salt.unwrap(), &mut out)
        .unwrap();
    let (key, iv) = out.split_at(32);
    assert!(opens(&file, key, iv), "this is the wrapping key");
    key.to_vec()
}

/// Whether these open the key file's ciphertext.
fn opens(file: &serde_json::Value, key: &[u8], iv: &[u8]) -> bool {
    let text = |name: &str| file[name].as_str().unwrap().to_owned();
    let chain = &file["chain"];
    let rotations: Vec<&str> = chain["rotations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rotation| rotation.as_str().unwrap())
        .collect();
    let aad = format!(
        "{} {} {} {} {} {} {} {} {} {} {}",
        text("format"),
        file["version"],
        text("peer_id"),
        text("entity_id"),
        file["passphrase"],
        file["kdf"]["memory_kib"],
        file["kdf"]["passes"],
        text("salt"),
        chain["inception"].as_str().unwrap(),
        rotations.join(","),
        chain["entry_seq"],
    );
    let sealed = BASE64.decode(text("ciphertext").as_bytes()).unwrap();
    let key = AeadKey::new(key.try_into().unwrap(), iv.try_into().unwrap());
    key.open(0, aad.as_bytes(), &sealed).is_ok()
}

#[test]
fn secrets_stay_in_the_process_and_in_its_key_file() {
    let dir = tempfile::tempdir().unwrap();
    let passphrase = dir.path().join("passphrase");
    fs::write(&passphrase, PASSPHRASE).unwrap();
    fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
    let file = passphrase.to_str().unwrap();
    let (home, log) = (dir.path().join("home"), dir.path().join("log"));
    let seen = dir.path().join("seen");
    // The task it runs tells what a child gets to see of its parent.
    let spy = format!(
        "spy=tr '\\0' '\\n' < /proc/$$/environ > {0}; tr '\\0' '\\n' < /proc/$PPID/cmdline >> {0}; cat",
        seen.display()
    );
    let up = |home: &Path, log: &Path, more: &[&str]| {
        let stderr = fs::File::create(log).unwrap();
        let mut command = junto();
        command
            .arg("--home")
            .arg(home)
            .args(["up", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"])
            .args(more)
            .env("JUNTO_LOG", "trace")
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        let process = Killed(command.spawn().unwrap());
        eventually("the node is up", SOON, || {
            run_at(home, &["status"]).status.success().then_some(())
        });
        process
    };
    let node = up(
        &home,
        &log,
        &[
            "--name",
            "alice",
            "--passphrase-file",
            file,
            "--serve",
            &spy,
        ],
    );
    let id: serde_json::Value =
        serde_json::from_slice(&run_at(&home, &["--json", "id"]).stdout).unwrap();
    let other = dir.path().join("other");
    let bootstrap = id["listen"][0].as_str().unwrap();
    let _peer = up(
        &other,
        &dir.path().join("other-log"),
        &["--no-passphrase", "--name", "bob", "--bootstrap", bootstrap],
    );
    let mut secrets = seeds_in(&home.join("identity.key"));
    secrets.push(wrapping_key_of(&home.join("identity.key")));
    secrets.push(PASSPHRASE.as_bytes().to_vec());
    let token = fs::read_to_string(home.join("api.token")).unwrap();
    secrets.push(token.trim().as_bytes().to_vec());

    // A session whose keys are known to us, because we are its other side.
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let peer = id["peer_id"].as_str().unwrap().parse().unwrap();
    let mut liar = tokio.block_on(Liar::connect_to(peer, &bootstrap.parse().unwrap(), 7));
    let of_session = schedule::shake_and_tell(&mut liar, &tokio);
    assert_eq!(of_session.len(), 9);
    secrets.extend(of_session);
    tokio.block_on(liar.ping()).unwrap();

    // It lives through all that touches its keys: a handshake, a task, refusals, a rotation.
    let done = eventually("a task is done", SOON, || {
        let args = ["task", "submit", "spy", "--text", "x", "--wait"];
        Some(run_at(&other, &args)).filter(|output| output.status.success())
    });
    assert_eq!(done.stdout, b"x");
    let wrong = dir.path().join("wrong");
    fs::write(&wrong, "wrong").unwrap();
    let mut told = Vec::new();
    for with in [wrong.to_str().unwrap(), file] {
        let output = run_at(&home, &["key", "rotate", "--passphrase-file", with]);
        told.extend(output.stdout);
        told.extend(output.stderr);
    }
    secrets.extend(seeds_in(&home.join("identity.key")));
    secrets.push(wrapping_key_of(&home.join("identity.key")));
    eventually("the peer has followed", SOON, || {
        let list = run_at(&other, &["--json", "registry", "list"]).stdout;
        contains(&list, b"\"rotations\": 1").then_some(())
    });

    let mut places: Vec<(String, Vec<u8>)> = vec![("error texts".into(), told)];
    for of in [&log, &dir.path().join("other-log"), &seen] {
        places.push((of.display().to_string(), fs::read(of).unwrap()));
    }
    assert!(places[1].1.len() > 100_000, "trace level tells much");
    let mut files = Vec::new();
    files_under(&home, &mut files);
    for path in &files {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        let name = path.display();
        assert!(mode & 0o077 == 0 || home_hides(&home), "{name}: {mode:o}");
        if path.is_file() && !path.ends_with("api.token") {
            places.push((name.to_string(), fs::read(path).unwrap()));
        }
    }
    let pid = node.0.id();
    for part in ["cmdline", "environ"] {
        let path = format!("/proc/{pid}/{part}");
        let bytes = fs::read(&path).unwrap();
        places.push((path, bytes));
    }
    for (place, bytes) in &places {
        for secret in &secrets {
            for form in forms(secret) {
                assert!(!contains(bytes, &form), "a secret is in {place}");
            }
        }
    }
    let keys = fs::metadata(home.join("identity.key")).unwrap();
    assert_eq!(keys.permissions().mode() & 0o777, 0o600);
    let tokens = fs::metadata(home.join("api.token")).unwrap();
    assert_eq!(tokens.permissions().mode() & 0o777, 0o600);
}

/// The home's own mode keeps others from whatever is in it.
fn home_hides(home: &Path) -> bool {
    fs::metadata(home).unwrap().permissions().mode() & 0o077 == 0
}

#[test]
fn other_processes_of_the_same_user_cannot_read_its_memory_and_it_leaves_no_core() {
    let dir = tempfile::tempdir().unwrap();
    // A copy that anybody may run: root's own processes may read everything.
    let program = dir.path().join("junto");
    // By another process: what one of ours starts meanwhile would hold the copy open for writing,
    // and then it could not be run.
    let mut copy = Command::new("cp");
    copy.arg(env!("CARGO_BIN_EXE_junto")).arg(&program);
    assert!(copy.status().unwrap().success());
    let root = nix::unistd::geteuid().is_root();
    let home = dir.path().join("home");
    let as_user = |command: &mut Command| {
        if root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.stdin(Stdio::null()).stderr(Stdio::null());
    };
    if root {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(&home).unwrap();
        std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut command = Command::new(&program);
    command
        .arg("--home")
        .arg(&home)
        .args(["up", "--no-mdns", "--no-passphrase", "--listen"])
        .arg("/ip4/127.0.0.1/tcp/0")
        .stdout(Stdio::null());
    as_user(&mut command);
    let node = Killed(command.spawn().unwrap());
    let ready = home.join("node.json");
    eventually("the node is up", SOON, || ready.exists().then_some(()));
    let pid = node.0.id();
    // What may not be dumped belongs to root in /proc, whoever runs it.
    let owner = |part: &str| fs::metadata(format!("/proc/{pid}/{part}")).unwrap().uid();
    assert_eq!(owner("mem"), 0);
    assert_eq!(owner("environ"), 0);
    for part in ["mem", "environ", "maps"] {
        let mut reader = Command::new("cat");
        reader
            .arg(format!("/proc/{pid}/{part}"))
            .stdout(Stdio::null());
        as_user(&mut reader);
        let read = reader.status().unwrap();
        assert!(!read.success(), "{part} was read by the same user");
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let soft = core.unwrap().split_whitespace().nth(4);
    assert_eq!(soft, Some("0"), "{core:?}");
}
