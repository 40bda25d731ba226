//! A disk whose power goes: reads what a process did to a folder (`recorder.c`), knows at each moment what of it was
//! flushed, and builds the folders that a cut may leave.
//!
//! What is there after a cut:
//! - of a file, what was written before its last `fsync` or `fdatasync`; of each later write any sectors, of 512 bytes,
//!   of 4 KiB, or all of it, in any order; the length it had then, or one that it had since; what it grew by and was not
//!   written reads as zeros or as garbage. `sync_file_range` flushes nothing: it leaves out the disk's own cache and the
//!   file's length;
//! - of a folder, the names it had at its own last `fsync`; each name that was made, changed or taken away since is, or
//!   is not. Flushing a file does not flush its name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What a disk may pretend to have flushed. No store can keep a promise on such a one, which shows that the test
/// notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    None,
    Files,
    Names,
}

/// One call that a process made.
#[derive(Debug)]
pub enum Call<'a> {
    Create(u64, PathBuf),
    Length(u64, u64),
    Write(u64, u64, &'a [u8]),
    Sync(u64),
    SyncFolder(PathBuf),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    MakeFolder(PathBuf),
    RemoveFolder(PathBuf),
    SyncRange,
}

/// Reads what `recorder.c` wrote; paths become relative to `root`.
pub fn calls<'a>(mut log: &'a [u8], root: &Path) -> Vec<Call<'a>> {
    let mut calls = Vec::new();
    let mut take = |bytes: usize| {
        let (front, rest) = log.split_at_checked(bytes)?;
        log = rest;
        Some(front)
    };
    while let Some(head) = take(33) {
        let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
        let path = take(number(17) as usize).unwrap();
        let data = take(number(25) as usize).unwrap();
        let (inode, at) = (number(1), number(9));
        let below = |path: &[u8]| {
            let path = Path::new(std::str::from_utf8(path).unwrap());
            path.strip_prefix(root).map(Path::to_path_buf)
        };
        calls.push(match head[0] {
            1 => Call::Create(inode, below(path).unwrap()),
            2 => Call::Length(inode, at),
            3 => Call::Write(inode, at, data),
            4 => Call::Sync(inode),
            5 => Call::SyncFolder(below(path).unwrap()),
            6 => Call::Rename(below(path).unwrap(), below(data).unwrap()),
            7 => Call::Unlink(below(path).unwrap()),
            8 => Call::MakeFolder(below(path).unwrap()),
            9 => Call::RemoveFolder(below(path).unwrap()),
            10 => Call::SyncRange,
            _ => panic!("not modelled: {}", String::from_utf8_lossy(path)),
        });
    }
    calls
}

/// What lies below a folder, by what of it was flushed.
pub struct Disk<'a> {
    lie: Lie,
    files: Vec<Content<'a>>,
    inodes: BTreeMap<u64, usize>,
    /// By path below the root, which is the empty one.
    folders: BTreeMap<PathBuf, Folder>,
}

#[derive(Default)]
struct Content<'a> {
    flushed: Vec<u8>,
    since: Vec<Change<'a>>,
    /// Its length as the process sees it.
    bytes: u64,
}

#[derive(Clone, Copy)]
enum Change<'a> {
    Length(u64),
    Write(u64, &'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File(usize),
    Folder,
}

type Names = BTreeMap<String, Entry>;

#[derive(Default)]
struct Folder {
    flushed: Names,
    since: Vec<NameChange>,
    /// As the process sees it.
    now: Names,
}

#[derive(Clone)]
enum NameChange {
    Made(String, Entry),
    Gone(String),
    Renamed(String, String),
}

impl<'a> Disk<'a> {
    /// A disk that holds what is below `root`, all of it flushed.
    pub fn new(root: &Path, lie: Lie) -> Disk<'a> {
        let mut disk = Disk {
            lie,
            files: Vec::new(),
            inodes: BTreeMap::new(),
            folders: BTreeMap::new(),
        };
        disk.take_in(root, PathBuf::new());
        disk
    }

    fn take_in(&mut self, root: &Path, at: PathBuf) {
        let mut names = Names::new();
        for entry in fs::read_dir(root.join(&at)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() {
                self.take_in(root, at.join(&name));
                names.insert(name, Entry::Folder);
                continue;
            }
            let flushed = fs::read(entry.path()).unwrap();
            names.insert(name, Entry::File(self.files.len()));
            let inode = entry.metadata().unwrap().ino();
            self.inodes.insert(inode, self.files.len());
            self.files.push(Content {
                bytes: flushed.len() as u64,
                flushed,
                since: Vec::new(),
            });
        }
        let folder = Folder {
            flushed: names.clone(),
            since: Vec::new(),
            now: names,
        };
        self.folders.insert(at, folder);
    }

    /// One more call is made.
    pub fn make(&mut self, call: &Call<'a>) {
        match call {
            Call::Create(inode, path) => {
                self.inodes.insert(*inode, self.files.len());
                let entry = Entry::File(self.files.len());
                self.files.push(Content::default());
                self.change(path, |name| NameChange::Made(name, entry));
            }
            Call::Length(inode, bytes) => self.file(*inode).change(Change::Length(*bytes)),
            Call::Write(inode, at, bytes) => self.file(*inode).change(Change::Write(*at, bytes)),
            Call::Sync(inode) if self.lie != Lie::Files => self.file(*inode).flush(),
            Call::SyncFolder(path) if self.lie != Lie::Names => {
                let folder = self.folders.get_mut(path).unwrap();
                folder.since.clear();
                folder.flushed = folder.now.clone();
            }
            Call::Rename(from, to) => {
                assert_eq!(from.parent(), to.parent(), "not modelled");
                assert!(!self.folders.contains_key(from), "not modelled");
                let to = name_of(to);
                self.change(from, |name| NameChange::Renamed(name, to));
            }
            Call::Unlink(path) => self.change(path, NameChange::Gone),
            Call::MakeFolder(path) => {
                let before = self.folders.insert(path.clone(), Folder::default());
                assert!(before.is_none(), "not modelled: a folder made again");
                self.change(path, |name| NameChange::Made(name, Entry::Folder));
            }
            Call::RemoveFolder(path) => panic!("not modelled: {} is removed", path.display()),
            Call::Sync(_) | Call::SyncFolder(_) | Call::SyncRange => {}
        }
    }

    fn file(&mut self, inode: u64) -> &mut Content<'a> {
        &mut self.files[self.inodes[&inode]]
    }

    fn change(&mut self, path: &Path, change: impl FnOnce(String) -> NameChange) {
        let folder = self.folders.get_mut(path.parent().unwrap()).unwrap();
        let change = change(name_of(path));
        change.apply(&mut folder.now);
        folder.since.push(change);
    }

    /// Whether what the process sees is what is really below `root`: then nothing it did was missed.
    pub fn is_all_of(&self, root: &Path) -> bool {
        self.folders.iter().all(|(at, folder)| {
            let entries = fs::read_dir(root.join(at)).unwrap();
            let there = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut there: Vec<_> = there.collect();
            there.sort();
            there.iter().eq(folder.now.keys())
                && folder.now.iter().all(|(name, entry)| match entry {
                    Entry::File(index) => {
                        fs::read(root.join(at).join(name)).unwrap() == self.files[*index].now()
                    }
                    Entry::Folder => root.join(at).join(name).is_dir(),
                })
        })
    }

    /// Builds in `to` one of the folders that may be left if the power goes now.
    pub fn leave(&self, to: &Path, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let kept = [0.0, 0.1, 0.5, 0.9, 1.0][rng.random_range(0..5)];
        let sector = [512, 4096, u64::MAX][rng.random_range(0..3)];
        let is_in_order = rng.random_bool(0.2);
        let mut cut = Cut {
            disk: self,
            rng,
            kept,
            sector,
            is_in_order,
        };
        cut.folder(Path::new(""), to);
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl<'a> Content<'a> {
    fn change(&mut self, change: Change<'a>) {
        self.bytes = match change {
            Change::Length(bytes) => bytes,
            Change::Write(at, bytes) => self.bytes.max(at + bytes.len() as u64),
        };
        self.since.push(change);
    }

    fn flush(&mut self) {
        for change in self.since.drain(..) {
            change.apply(&mut self.flushed);
        }
    }

    fn now(&self) -> Vec<u8> {
        let mut now = self.flushed.clone();
        self.since.iter().for_each(|change| change.apply(&mut now));
        now
    }
}

impl Change<'_> {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Length(bytes) => to.resize(*bytes as usize, 0),
            Change::Write(at, bytes) => {
                let (at, end) = (*at as usize, *at as usize + bytes.len());
                to.resize(to.len().max(end), 0);
                to[at..end].copy_from_slice(bytes);
            }
        }
    }
}

impl NameChange {
    fn apply(&self, to: &mut Names) {
        match self.clone() {
            NameChange::Made(name, entry) => drop(to.insert(name, entry)),
            NameChange::Gone(name) => drop(to.remove(&name)),
            NameChange::Renamed(from, name) => {
                let entry = to.remove(&from).unwrap();
                to.insert(name, entry);
            }
        }
    }
}

/// One way in which the power may go.
struct Cut<'a> {
    disk: &'a Disk<'a>,
    rng: StdRng,
    /// The chance that something which was not flushed is there all the same.
    kept: f64,
    sector: u64,
    /// Whether the disk wrote in the order it was told to, up to some point in each file and folder.
    is_in_order: bool,
}

impl Cut<'_> {
    fn is_kept(&mut self) -> bool {
        self.rng.random_bool(self.kept)
    }

    /// How many of so many changes were looked at when the power went.
    fn reached(&mut self, changes: usize) -> usize {
        if self.is_in_order {
            self.rng.random_range(0..=changes)
        } else {
            changes
        }
    }

    fn folder(&mut self, at: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        let folder = &self.disk.folders[at];
        let mut names = folder.flushed.clone();
        // A file is found under a name it had before, though that name is not there any more.
        let mut before = folder.flushed.clone();
        let reached = self.reached(folder.since.len());
        for change in &folder.since[..reached] {
            if self.is_in_order || self.is_kept() {
                match change {
                    NameChange::Renamed(from, name) => {
                        names.remove(from);
                        names.insert(name.clone(), before[from]);
                    }
                    other => other.apply(&mut names),
                }
            }
            change.apply(&mut before);
        }
        for (name, entry) in names {
            match entry {
                Entry::File(index) => self.file(index, &to.join(name)),
                Entry::Folder => self.folder(&at.join(&name), &to.join(&name)),
            }
        }
    }

    fn file(&mut self, index: usize, to: &Path) {
        let content = &self.disk.files[index];
        fs::write(to, &content.flushed).unwrap();
        if content.since.is_empty() {
            return;
        }
        let file = File::options().write(true).open(to).unwrap();
        let mut bytes = content.flushed.len() as u64;
        let reached = self.reached(content.since.len());
        for (place, change) in content.since[..reached].iter().enumerate() {
            // The last one that it came to is torn.
            let is_whole = self.is_in_order && place + 1 < reached;
            match change {
                Change::Length(length) if is_whole || self.is_kept() => {
                    file.set_len(*length).unwrap();
                    bytes = *length;
                }
                Change::Length(_) => {}
                Change::Write(at, data) if is_whole => {
                    file.write_all_at(data, *at).unwrap();
                    bytes = bytes.max(at + data.len() as u64);
                }
                Change::Write(at, data) => self.write(&file, &mut bytes, *at, data),
            }
        }
        // The length is not flushed together with what was written.
        match self.rng.random_range(0..10) {
            0 => file.set_len(content.bytes).unwrap(),
            1 => file.set_len(content.flushed.len() as u64).unwrap(),
            _ => {}
        }
    }

    /// Writes some of the sectors of what was written.
    fn write(&mut self, file: &File, bytes: &mut u64, at: u64, data: &[u8]) {
        let end = at + data.len() as u64;
        let mut place = at;
        while place < end {
            let next = (place / self.sector + 1).saturating_mul(self.sector);
            let next = next.min(end);
            if self.is_kept() {
                // What the file grew by and was not written may be anything.
                if place > *bytes && self.rng.random_bool(0.1) {
                    let garbage: Vec<u8> = (*bytes..place).map(|_| self.rng.random()).collect();
                    file.write_all_at(&garbage, *bytes).unwrap();
                }
                let part = &data[(place - at) as usize..(next - at) as usize];
                file.write_all_at(part, place).unwrap();
                *bytes = (*bytes).max(next);
            }
            place = next;
        }
    }
}
