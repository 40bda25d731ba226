//! Small file systems, which go with a mount namespace.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether this process may go on with `test`: it runs where file systems can be mounted that go with it. Otherwise the
/// test is run in such a place, or, where there is none, left out.
pub fn among_small_disks(test: &str) -> bool {
    const INSIDE: &str = "JUNTO_TEST_SMALL_DISKS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let probe = Command::new("unshare")
        .args([
            "-rm",
            "mount",
            "-t",
            "tmpfs",
            "-o",
            "size=1m",
            "junto-test",
            "/mnt",
        ])
        .stderr(Stdio::null())
        .status();
    if !matches!(probe, Ok(status) if status.success()) {
        eprintln!("NOT TESTED: {test}: no file system can be mounted here");
        return false;
    }
    let status = Command::new("unshare")
        .arg("-rm")
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its mount namespace");
    false
}

/// Mounts a file system of this size at a folder, which is made.
pub fn mount(dir: &Path, size: &str) {
    fs::create_dir_all(dir).unwrap();
    let status = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={size}"), "junto-test"])
        .arg(dir)
        .status()
        .unwrap();
    assert!(status.success());
}

/// Takes every byte that is left on a disk, until this is dropped.
pub struct Ballast(PathBuf);

impl Ballast {
    pub fn fill(store: &Path) -> Ballast {
        let path = store.join("ballast");
        let mut file = fs::File::create(&path).unwrap();
        let error = loop {
            if let Err(error) = file.write_all(&[1; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        Ballast(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}
