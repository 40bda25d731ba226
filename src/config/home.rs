//! The home folder of one node: where things lie in it, its lock, and `node.json`.
//!
//! 1. Whoever holds the lock on `junto.lock` is the node of this home; there is never a second.
//! 2. `node.json` is there only between *ready* and the end. One left behind by a process that
//!    was killed is told apart by the lock, which the system releases with the process.
//! 3. Files are replaced by rename, never rewritten: a reader sees the old or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::atomic::{remove_unfinished, write_atomically};

/// How long a new node waits for one that is just ending.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(50);
const NODE_FILE_MAX_BYTES: u64 = 64 * 1024;

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither a flag, nor a variable, nor a user to take it from.
    #[error("this system names no data folder: say where with --home DIR or JUNTO_HOME")]
    NoDefault,
    /// The system refuses the folder or a file in it.
    #[error("{path} cannot be {what}: {source}")]
    Io {
        path: String,
        what: &'static str,
        source: io::Error,
    },
    /// Something else is there.
    #[error("{path} is not a folder: name another with --home DIR or JUNTO_HOME")]
    NotAFolder { path: String },
    /// Invariant 1.
    #[error("another node is running on this home ({path}, {holder})")]
    Locked { path: String, holder: String },
}

impl HomeError {
    fn io(path: &Path, what: &'static str) -> impl Fn(io::Error) -> HomeError {
        move |source| HomeError::Io {
            path: path.display().to_string(),
            what,
            source,
        }
    }
}

/// What `node.json` says about the running node; also the form of `id --json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    pub name: String,
    pub peer_id: String,
    pub entity_id: String,
    pub fingerprint: String,
    /// Each with `/p2p/…`.
    pub listen: Vec<String>,
    /// `ADDRESS:PORT`; none while the node does not run.
    pub api: Option<String>,
}

/// One node's folder. Naming it touches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// The folder that was named, or the platform's data folder.
    ///
    /// # Errors
    /// [`HomeError::NoDefault`] where the platform has none.
    pub fn locate(named: Option<&Path>) -> Result<Home, HomeError> {
        let path = match named {
            Some(path) if !path.as_os_str().is_empty() => path.to_owned(),
            _ => directories::ProjectDirs::from("", "", "junto")
                .ok_or(HomeError::NoDefault)?
                .data_dir()
                .to_owned(),
        };
        let path = std::path::absolute(&path).map_err(HomeError::io(&path, "found"))?;
        Ok(Home { path })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `junto.toml`.
    pub fn config_file(&self) -> PathBuf {
        self.path.join("junto.toml")
    }

    /// The encrypted key.
    pub fn key_file(&self) -> PathBuf {
        self.path.join("identity.key")
    }

    /// The API's bearer token.
    pub fn token_file(&self) -> PathBuf {
        self.path.join("api.token")
    }

    /// Says how to reach the running node.
    pub fn node_file(&self) -> PathBuf {
        self.path.join("node.json")
    }

    /// Invariant 1.
    pub fn lock_file(&self) -> PathBuf {
        self.path.join("junto.lock")
    }

    /// What commands work in; emptied at each start.
    pub fn work_dir(&self) -> PathBuf {
        self.path.join("work")
    }

    /// The files that others sent.
    pub fn incoming_dir(&self) -> PathBuf {
        self.path.join("incoming")
    }

    /// The tasks and the registry.
    pub fn store_dir(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Makes the folder, for this user only.
    ///
    /// # Errors
    /// [`HomeError`] when something else is there or the system refuses.
    pub fn create(&self) -> Result<(), HomeError> {
        if self.path.exists() && !self.path.is_dir() {
            return Err(HomeError::NotAFolder {
                path: self.path.display().to_string(),
            });
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(HomeError::io(&self.path, "created"))
    }

    /// Becomes the node of this home. Waits up to two seconds for one that is just ending.
    ///
    /// # Errors
    /// [`HomeError::Locked`], or what the system refuses.
    pub fn lock(&self) -> Result<HomeLock, HomeError> {
        self.lock_within(LOCK_PATIENCE)
    }

    fn lock_within(&self, patience: Duration) -> Result<HomeLock, HomeError> {
        let path = self.lock_file();
        let refused = HomeError::io(&path, "locked");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(&refused)?;
        let end = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let path = self.path.display().to_string();
                    return Err(HomeError::Locked {
                        path,
                        holder: holder(&mut file),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(refused(error)),
            }
        }
        // The pid is for people; it decides nothing.
        file.set_len(0).map_err(&refused)?;
        file.rewind().map_err(&refused)?;
        writeln!(file, "{}", std::process::id()).map_err(&refused)?;
        let lock = HomeLock {
            _file: file,
            node_file: self.node_file(),
        };
        lock.retract();
        for file in [self.key_file(), self.node_file()] {
            remove_unfinished(&file);
        }
        Ok(lock)
    }

    /// The running node; none when there is none or it is not ready yet.
    ///
    /// # Errors
    /// [`HomeError::Io`] when the folder cannot be read.
    pub fn running(&self) -> Result<Option<NodeFile>, HomeError> {
        if !self.is_locked()? {
            return Ok(None);
        }
        let path = self.node_file();
        let refused = HomeError::io(&path, "read");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(error)),
        };
        let mut json = String::new();
        file.take(NODE_FILE_MAX_BYTES)
            .read_to_string(&mut json)
            .map_err(&refused)?;
        serde_json::from_str(&json)
            .map(Some)
            .map_err(|error| refused(error.into()))
    }

    /// Whether a node holds this home, ready or not.
    ///
    /// # Errors
    /// [`HomeError::Io`] when the folder cannot be read.
    pub fn is_locked(&self) -> Result<bool, HomeError> {
        let path = self.lock_file();
        let refused = HomeError::io(&path, "read");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(refused(error)),
        };
        // Shared, so that clients that look at the same time do not take each other for a node.
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(refused(error)),
        }
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(32).read_to_string(&mut text));
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("pid {pid}"),
        _ => String::from("pid unknown"),
    }
}

/// This process is the node of a home until this is dropped.
#[derive(Debug)]
pub struct HomeLock {
    /// Holds the lock; closing it releases it.
    _file: File,
    node_file: PathBuf,
}

impl HomeLock {
    /// Says that the node is ready and how to reach it.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn publish(&self, node: &NodeFile) -> Result<(), HomeError> {
        let mut json = serde_json::to_string_pretty(node).expect("texts and numbers only");
        json.push('\n');
        write_atomically(&self.node_file, json.as_bytes(), true)
            .map_err(HomeError::io(&self.node_file, "written"))
    }

    /// Takes `node.json` away. Nobody relies on success: the lock is what counts.
    pub fn retract(&self) {
        let _ = fs::remove_file(&self.node_file);
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        self.retract();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a folder");
        let home = Home::locate(Some(&dir.path().join("a/b"))).expect("a path");
        home.create().expect("created");
        (dir, home)
    }

    fn node() -> NodeFile {
        NodeFile {
            pid: Some(std::process::id()),
            name: String::from("alice"),
            peer_id: String::from("12D3"),
            entity_id: String::from("ent1"),
            fingerprint: String::from("0000"),
            listen: vec![String::from("/ip4/127.0.0.1/tcp/1/p2p/12D3")],
            api: Some(String::from("127.0.0.1:2")),
        }
    }

    #[test]
    fn a_new_home_is_for_its_user_only() {
        let (_dir, home) = home();
        let mode = fs::metadata(home.path())
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
        home.create().expect("creating it again is no error");
    }

    #[test]
    fn a_second_node_is_refused_and_told_the_pid() {
        let (_dir, home) = home();
        let lock = home.lock().expect("free");
        let refused = home.lock_within(Duration::ZERO).expect_err("held");
        assert!(
            refused
                .to_string()
                .contains(&format!("pid {}", std::process::id())),
            "{refused}"
        );
        drop(lock);
        home.lock_within(Duration::ZERO).expect("free again");
    }

    #[test]
    fn a_node_that_is_just_ending_is_waited_for() {
        let (_dir, home) = home();
        let lock = home.lock().expect("free");
        let ending = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            drop(lock);
        });
        home.lock().expect("free within the patience");
        ending.join().expect("ended");
    }

    #[test]
    fn node_json_is_believed_only_while_the_lock_is_held() {
        let (_dir, home) = home();
        assert_eq!(home.running().expect("readable"), None);
        let lock = home.lock().expect("free");
        assert_eq!(home.running().expect("readable"), None, "not ready yet");
        lock.publish(&node()).expect("written");
        assert_eq!(home.running().expect("readable"), Some(node()));
        let left = fs::read(home.node_file()).expect("there");
        drop(lock);
        assert!(!home.node_file().exists());
        fs::write(home.node_file(), left).expect("left behind by a killed node");
        assert_eq!(home.running().expect("readable"), None);
        let _lock = home.lock().expect("free");
        assert!(!home.node_file().exists(), "a start clears what was left");
    }

    #[test]
    fn a_file_in_place_of_the_home_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("file");
        fs::write(&path, "x").expect("written");
        let error = Home::locate(Some(&path))
            .and_then(|home| home.create())
            .expect_err("a file");
        assert!(error.to_string().contains("is not a folder"), "{error}");
    }
}
