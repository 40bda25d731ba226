//! Runs a test of this file as a process of its own, under record.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The library that records, built.
pub struct Recorder {
    library: PathBuf,
}

impl Recorder {
    /// Builds it in `home`, with the C compiler that Rust links with.
    pub fn build(home: &Path) -> Recorder {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power_cut/recorder.c");
        let library = home.join("recorder.so");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let status = Command::new(compiler)
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&source)
            .args(["-ldl", "-lpthread"])
            .status()
            .expect("a C compiler");
        assert!(status.success(), "{} is not built", source.display());
        Recorder { library }
    }

    /// Runs `test` and appends what it does below `root` to `log`; ends it after so many calls.
    pub fn run(
        &self,
        test: &str,
        root: &Path,
        log: &Path,
        stop: Option<u64>,
        prepare: impl FnOnce(&mut Command),
    ) -> Result<(), String> {
        let mut process = Command::new(std::env::current_exe().unwrap());
        process
            .args([test, "--exact", "--nocapture"])
            .env("LD_PRELOAD", &self.library)
            .env("JUNTO_RECORD_ROOT", root)
            .env("JUNTO_RECORD_LOG", log)
            .stdin(Stdio::null());
        if let Some(stop) = stop {
            process.env("JUNTO_RECORD_STOP", stop.to_string());
        }
        prepare(&mut process);
        let output = process.output().unwrap();
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(format!("the process under record failed: {text}"))
    }
}

/// A folder in memory, where there is one: what flushes there need not wait for a disk.
pub fn quick_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}
