//! Files that are replaced by rename: whoever reads one, also after a crash, sees the old one or
//! the new one, whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const UNFINISHED: &str = ".tmp";

/// What is on the disk after each operation of a replacement: where a process can die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// An empty file under a name of its own.
    Made,
    Written,
    Flushed,
    /// It has its name; the folder may forget that in a power cut.
    Named,
}

/// Writes a file of mode 0600 that is there whole and durable, or not at all.
///
/// # Errors
/// What the system refuses; `AlreadyExists` when it is there and `replace` is false.
pub fn write_atomically(path: &Path, bytes: &[u8], replace: bool) -> io::Result<()> {
    write_watched(path, bytes, replace, &mut |_| Ok(()))
}

/// The same, while `watch` looks on; its refusal stands for the system's.
pub(super) fn write_watched(
    path: &Path,
    bytes: &[u8],
    replace: bool,
    watch: &mut dyn FnMut(Moment) -> io::Result<()>,
) -> io::Result<()> {
    let folder = folder_of(path);
    // Made with mode 0600, and removed again unless it gets its name.
    let mut file = tempfile::Builder::new()
        .prefix(&unfinished(path))
        .suffix(UNFINISHED)
        .tempfile_in(folder)?;
    watch(Moment::Made)?;
    file.write_all(bytes)?;
    watch(Moment::Written)?;
    file.as_file().sync_all()?;
    watch(Moment::Flushed)?;
    if replace {
        file.persist(path)?;
    } else {
        file.persist_noclobber(path)?;
    }
    watch(Moment::Named)?;
    File::open(folder)?.sync_all()
}

/// Removes what processes that were killed left of their attempts at `path`. The caller is the
/// only one who writes it. Nobody relies on success.
pub(super) fn remove_unfinished(path: &Path) {
    let Ok(folder) = fs::read_dir(folder_of(path)) else {
        return;
    };
    let begin = unfinished(path);
    for entry in folder.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&begin) && name.ends_with(UNFINISHED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The folder it is in; a name alone is in the current one.
fn folder_of(path: &Path) -> &Path {
    let named = |folder: &&Path| !folder.as_os_str().is_empty();
    path.parent().filter(named).unwrap_or(Path::new("."))
}

/// How the names of attempts at `path` begin.
fn unfinished(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    format!(".{}.", name.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn atomic_writes_keep_what_may_not_be_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x");
        write_atomically(&path, b"1", false).expect("new");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = write_atomically(&path, b"2", false).expect_err("there already");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        write_atomically(&path, b"3", true).expect("replaced");
        assert_eq!(fs::read(&path).expect("there"), b"3");
    }

    #[test]
    fn a_name_alone_is_in_the_current_folder() {
        for (path, folder) in [("x", "."), ("./x", "."), ("a/x", "a"), ("/x", "/")] {
            assert_eq!(folder_of(Path::new(path)), Path::new(folder), "{path}");
        }
    }

    #[test]
    fn a_write_that_was_refused_leaves_nothing_and_what_a_kill_left_is_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x");
        let files = || fs::read_dir(dir.path()).expect("a folder").count();
        write_atomically(&path, b"old", false).expect("new");
        for full in [Moment::Made, Moment::Written, Moment::Flushed] {
            let mut watch = |at| match at == full {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            };
            let refused = write_watched(&path, b"new", true, &mut watch);
            assert_eq!(
                refused.expect_err("refused").kind(),
                io::ErrorKind::StorageFull
            );
            assert_eq!(
                (fs::read(&path).expect("there"), files()),
                (b"old".into(), 1)
            );
        }
        for other in [".x.abc.tmp", ".xy.abc.tmp", ".x.abc"] {
            fs::write(dir.path().join(other), "").expect("written");
        }
        remove_unfinished(&path);
        assert_eq!(files(), 3, "only what is surely ours");
        assert!(!dir.path().join(".x.abc.tmp").exists());
    }
}
