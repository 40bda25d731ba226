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
            match fs::remove_dir_all(&self.path) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                Err(_) => open_up(&self.path),
            }
            std::thread::sleep(REMOVE_PAUSE);
        }
        tracing::warn!(
            folder = %self.path.display(),
            "what a run left behind could not be removed: it is tried again at the next start"
        );
    }
}

/// Makes every folder in it ours to empty: a run may have taken its own rights away.
fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // Not through links, which lead out of here.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
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
