//! The folder that each run of a command works in: new, empty, this user's only, and removed with
//! all that the run left in it.
//!
//! `ROOT/LIFE/NUMBER`: each life of a node has a folder of its own under the root, so that what an
//! earlier one left behind can be removed while new runs begin.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A process that got SIGKILL may write a last file while its folder is being removed.
const REMOVE_TRIES: u32 = 20;
const REMOVE_PAUSE: Duration = Duration::from_millis(50);
/// What lies deeper is brought up before it is removed.
const DEPTH_MAX: usize = 32;

/// Where the runs of this life get their folders.
#[derive(Debug)]
pub(super) struct Folders {
    life: PathBuf,
    next: AtomicU64,
}

impl Folders {
    /// Below `root`, which belongs to this node alone: what earlier lives left there is removed,
    /// on a thread of its own. Without one, below the system's folder for temporary files.
    pub(super) fn new(root: Option<PathBuf>) -> Folders {
        let number = rand::random::<u64>();
        let life = match root {
            Some(root) => {
                let life = root.join(format!("{number:016x}"));
                sweep(root, life.clone());
                life
            }
            None => std::env::temp_dir().join(format!("junto-work-{number:016x}")),
        };
        Folders {
            life,
            next: AtomicU64::new(1),
        }
    }

    /// Makes the folder of one run.
    pub(super) fn make(&self) -> io::Result<RunFolder> {
        let path = self
            .life
            .join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)?;
        Ok(RunFolder { path })
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        // Whatever is left in it hinders this; the next life's sweep takes it.
        let _ = fs::remove_dir(&self.life);
    }
}

/// One run's folder.
#[derive(Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, once nobody of the run lives any more. Blocks.
    pub(super) fn remove(self) {
        for _ in 0..REMOVE_TRIES {
            let removed = open_up(&self.path).and_then(|()| fs::remove_dir_all(&self.path));
            match removed {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.path.exists() => {
                    return;
                }
                Err(_) => {}
            }
            std::thread::sleep(REMOVE_PAUSE);
        }
        tracing::warn!(
            folder = %self.path.display(),
            "what a run left behind could not be removed: it is tried again at the next start"
        );
    }
}

/// Makes every folder in it ours to empty, for a run may have taken its own rights away, and none
/// deeper than [`DEPTH_MAX`]: whoever removes folders holds each on the way open.
fn open_up(folder: &Path) -> io::Result<()> {
    let mut next = 0u64;
    let mut found = vec![(folder.to_owned(), 0)];
    while let Some((path, depth)) = found.pop() {
        fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            // Not through links, which lead out of here.
            if !entry.file_type()?.is_dir() {
                continue;
            }
            if depth < DEPTH_MAX {
                found.push((entry.path(), depth + 1));
                continue;
            }
            let up = loop {
                next += 1;
                let up = folder.join(format!("deep-{next}"));
                if fs::symlink_metadata(&up).is_err() {
                    break up;
                }
            };
            fs::set_permissions(entry.path(), Permissions::from_mode(0o700))?;
            fs::rename(entry.path(), &up)?;
            found.push((up, 1));
        }
    }
    Ok(())
}

fn sweep(root: PathBuf, mine: PathBuf) {
    let sweeping = std::thread::Builder::new().name(String::from("work-sweep"));
    let swept = sweeping.spawn(move || {
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            let path = entry.path();
            if path != mine {
                RunFolder { path }.remove();
            }
        }
    });
    if let Err(error) = swept {
        tracing::warn!(%error, "what earlier runs left behind stays: no thread could be started");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How deep the folders in `path` go.
    fn depth(path: &Path) -> usize {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        let below = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        below
            .map(|entry| depth(&entry.path()) + 1)
            .max()
            .unwrap_or(0)
    }

    /// More levels than a process may have files open, and than a path may have bytes.
    #[test]
    fn folders_too_deep_for_a_path_are_brought_up_and_removed() {
        let home = tempfile::tempdir().unwrap();
        let (chain, outer) = (home.path().join("d"), home.path().join("outer"));
        fs::create_dir(&chain).unwrap();
        fs::write(chain.join("file"), "x").unwrap();
        for _ in 0..3_000 {
            fs::create_dir(&outer).unwrap();
            fs::rename(&chain, outer.join("d")).unwrap();
            fs::rename(&outer, &chain).unwrap();
        }
        let run = home.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::rename(&chain, run.join("d")).unwrap();
        open_up(&run).unwrap();
        assert!(depth(&run) <= DEPTH_MAX);
        RunFolder { path: run.clone() }.remove();
        assert!(!run.exists());
    }
}
