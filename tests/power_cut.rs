//! The power goes at any moment, a thousand times: what the store promised is there.
//!
//! A process of its own writes to a store, and every call with which it changes or flushes a file is recorded
//! (`power_cut/recorder.c`, preloaded). From the record, folders are built that a cut may leave (`power_cut/disk.rs`);
//! in each the store is opened and every row compared. One of them is where the next process goes on, whose record
//! begins with what opening a store does after a cut. Some processes are killed, and another goes on before the cut.
//!
//! `JUNTO_CUT_ROUNDS=20000` looks at more cuts, `JUNTO_CUT_SEED=7` at others.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "power_cut/disk.rs"]
mod disk;
#[path = "power_cut/recording.rs"]
mod recording;
mod support;
#[path = "power_cut/tasks.rs"]
mod tasks;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use disk::{Call, Disk, Lie, calls};
use junto::store::{SledStore, Store};
use junto::types::{Keyspace, Row, WriteBatch, WriteOp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use recording::Recorder;

const ROUNDS: usize = 300;
/// Cuts that are looked at in one record.
const CUTS: usize = 25;
/// Records, one on a folder that the one before left, until the next begins with nothing.
const LIVES: usize = 12;

/// What the process that is recorded is told.
const ROOT: &str = "JUNTO_CUT_ROOT";
const HISTORY: &str = "JUNTO_CUT_HISTORY";
const GROUPS: &str = "JUNTO_CUT_GROUPS";
/// Where it says what was promised, each time a word and 8 bytes.
const PROMISES: &str = "promises";
const PROMISED: &[u8] = b"promised";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Batch `n` of a history. Rows are written again and deleted; some become files; some batches are as large as a log's
/// segment, so that segments are moved and used again.
fn batch(history: u64, n: u64) -> WriteBatch {
    let mut rng = StdRng::seed_from_u64(history.wrapping_mul(1_000_003) ^ n);
    let mut batch = WriteBatch::default();
    let mut put = |space, key: u64, bytes: usize| {
        let mut value = vec![n as u8; bytes];
        value[..8].copy_from_slice(&n.to_be_bytes());
        batch.put(space, key.to_be_bytes(), value);
    };
    if n.is_multiple_of(19) {
        for _ in 0..rng.random_range(40..250) {
            let bytes = rng.random_range(8_000..48_000);
            put(Keyspace::TaskResult, rng.random_range(0..250), bytes);
        }
    }
    if rng.random_bool(0.1) {
        let bytes = rng.random_range(50_000..200_000);
        put(Keyspace::HeldResult, rng.random_range(0..8), bytes);
    }
    for _ in 0..rng.random_range(1..8) {
        let bytes = rng.random_range(8..1_500);
        put(Keyspace::Task, rng.random_range(0..200), bytes);
    }
    for _ in 0..rng.random_range(0..4) {
        let key: u64 = rng.random_range(0..250);
        let space = [Keyspace::Task, Keyspace::TaskResult, Keyspace::HeldResult];
        batch.delete(space[rng.random_range(0..3)], key.to_be_bytes());
    }
    batch.put(Keyspace::Meta, "last", n.to_be_bytes().to_vec());
    batch
}

/// The newest batch whose rows are there.
fn newest(rows: &[Row]) -> u64 {
    let last = rows.iter().find(|row| row.key == b"last");
    last.map_or(0, |row| {
        u64::from_be_bytes(row.value.as_slice().try_into().unwrap())
    })
}

/// Not a test by itself: the process that is recorded.
#[test]
fn process_under_record() {
    let (Ok(root), Some(history)) = (std::env::var(ROOT), number(HISTORY)) else {
        return;
    };
    let root = Path::new(&root);
    let mut promises = OpenOptions::new()
        .append(true)
        .create(true)
        .open(root.join(PROMISES))
        .unwrap();
    let mut promise = |last: u64| {
        let text = [PROMISED, &last.to_be_bytes()].concat();
        promises.write_all(&text).unwrap();
    };
    let mut store = SledStore::open(&root.join("store")).unwrap();
    // What is shown after a start is promised from then on.
    let mut last = newest(&store.load().unwrap());
    promise(last);
    for _ in 0..number(GROUPS).unwrap() {
        let group: Vec<_> = (1..=1 + last % 4)
            .map(|n| batch(history, last + n))
            .collect();
        store.apply(&group).unwrap();
        last += group.len() as u64;
        promise(last);
    }
}

/// What the rows of a history add up to after each of its batches.
struct Sums {
    history: u64,
    rows: BTreeMap<(Keyspace, Vec<u8>), u128>,
    after: Vec<u128>,
}

fn weight(space: Keyspace, key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[space as u8, key.len() as u8]);
    hasher.update(key).update(value);
    let hash = hasher.finalize();
    u128::from_be_bytes(hash.as_bytes()[..16].try_into().unwrap())
}

impl Sums {
    fn new(history: u64) -> Sums {
        Sums {
            history,
            rows: BTreeMap::new(),
            after: vec![0],
        }
    }

    fn after(&mut self, n: u64) -> u128 {
        while self.after.len() as u64 <= n {
            let mut sum = *self.after.last().unwrap();
            for op in batch(self.history, self.after.len() as u64).ops {
                let before = match op {
                    WriteOp::Put { space, key, value } => {
                        let weight = weight(space, &key, &value);
                        sum = sum.wrapping_add(weight);
                        self.rows.insert((space, key), weight)
                    }
                    WriteOp::Delete { space, key } => self.rows.remove(&(space, key)),
                };
                sum = sum.wrapping_sub(before.unwrap_or(0));
            }
            self.after.push(sum);
        }
        self.after[n as usize]
    }
}

/// What was looked at.
#[derive(Debug, Default)]
struct Story {
    cuts: usize,
    calls: usize,
    written_mib: u64,
    /// Calls of `sync_file_range`.
    ranges: usize,
    /// Cuts before a store that was being opened had said what is there.
    openings: usize,
    /// Cuts after which batches were there that had not been promised yet.
    more: usize,
    newest: u64,
}

/// Stores that follow one another on one disk.
struct Lives<'a> {
    recorder: &'a Recorder,
    home: &'a Path,
    rng: StdRng,
    lie: Lie,
    sums: Sums,
    folders: usize,
    /// What must be there when the next process begins.
    promised: u64,
    story: &'a mut Story,
}

impl Lives<'_> {
    fn folder(&mut self) -> PathBuf {
        self.folders += 1;
        self.home.join(self.folders.to_string())
    }

    /// Records what one or more processes do below `root`.
    fn record(&mut self, root: &Path) -> Result<Vec<u8>, String> {
        let log = self.home.join("log");
        let _ = fs::remove_file(&log);
        let kills = [0, 0, 1, 2][self.rng.random_range(0..4)];
        for process in 0..=kills {
            let groups = match self.rng.random_range(0..10) {
                0..3 => self.rng.random_range(0..4),
                _ => self.rng.random_range(20..70),
            };
            let stop = (process < kills).then(|| self.rng.random_range(1..300));
            let history = self.sums.history;
            self.recorder
                .run("process_under_record", root, &log, stop, |process| {
                    process.env(ROOT, root);
                    process.env(HISTORY, history.to_string());
                    process.env(GROUPS, groups.to_string());
                })?;
        }
        Ok(fs::read(&log).unwrap())
    }

    /// One record, and cuts of it. Answers with a folder that one of them left.
    fn live(&mut self, root: &Path, cuts: usize) -> Result<PathBuf, String> {
        let _ = fs::remove_file(root.join(PROMISES));
        let mut disk = Disk::new(root, self.lie);
        let log = self.record(root)?;
        let calls = calls(&log, root);
        let loaded = calls.iter().position(|call| promise_in(call).is_some());
        let loaded = loaded.unwrap_or(calls.len());
        // A third of them while the first process opens the store.
        let mut at: Vec<usize> = (0..cuts)
            .map(|_| match self.rng.random_range(0..3) {
                0 => self.rng.random_range(0..=loaded),
                _ => self.rng.random_range(0..=calls.len()),
            })
            .collect();
        at.sort_unstable();
        let next = self.rng.random_range(0..cuts);
        let mut left = None;
        for (place, call) in calls.iter().map(Some).chain([None]).enumerate() {
            while let Some(cut) = at.iter().position(|at| *at == place) {
                let number = cuts - at.len();
                at.remove(cut);
                let seed = self.rng.random();
                let found = self.cut(&disk, seed, place >= loaded);
                let found = found.map_err(|what| format!("cut at call {place}: {what}"))?;
                if number == next {
                    let folder = self.folder();
                    disk.leave(&folder, seed);
                    left = Some((folder, found));
                }
            }
            if let Some(call) = call {
                self.promised = promise_in(call).unwrap_or(self.promised);
                self.count(call);
                disk.make(call);
            }
        }
        if !disk.is_all_of(root) {
            return Err(String::from("the record does not hold all that was done"));
        }
        fs::remove_dir_all(root).unwrap();
        let (folder, found) = left.unwrap();
        // The cut that is gone on from is behind: what came after it in this record never was.
        self.promised = found;
        Ok(folder)
    }

    fn count(&mut self, call: &Call<'_>) {
        self.story.calls += 1;
        match call {
            Call::Write(_, _, bytes) => self.story.written_mib += bytes.len() as u64,
            Call::SyncRange => self.story.ranges += 1,
            _ => {}
        }
    }

    /// The power goes, and the store is opened: the newest batch that is there, with all before it.
    fn cut(&mut self, disk: &Disk<'_>, seed: u64, is_loaded: bool) -> Result<u64, String> {
        let root = self.folder();
        disk.leave(&root, seed);
        let found = self.look(&root).map_err(|what| {
            let kept = std::env::temp_dir().join(format!("junto-power-cut-{seed}"));
            disk.leave(&kept, seed);
            format!("{what} (the folder that was left: {})", kept.display())
        })?;
        fs::remove_dir_all(&root).unwrap();
        self.story.cuts += 1;
        self.story.openings += usize::from(!is_loaded);
        self.story.more += usize::from(found > self.promised);
        self.story.newest = self.story.newest.max(found);
        Ok(found)
    }

    fn look(&mut self, root: &Path) -> Result<u64, String> {
        let opened = SledStore::open(&root.join("store"));
        let loaded = opened.and_then(|store| store.load());
        let rows = loaded.map_err(|error| format!("the store does not open: {error}"))?;
        let (found, promised) = (newest(&rows), self.promised);
        if found < promised {
            return Err(format!("{promised} was promised, {found} is there"));
        }
        let sum = rows.iter().fold(0u128, |sum, row| {
            sum.wrapping_add(weight(row.space, &row.key, &row.value))
        });
        if sum != self.sums.after(found) {
            return Err(format!("the rows are not those after batch {found}"));
        }
        Ok(found)
    }
}

/// The number, if the call is the process saying what is promised.
fn promise_in(call: &Call<'_>) -> Option<u64> {
    let Call::Write(_, _, bytes) = call else {
        return None;
    };
    let number = bytes.strip_prefix(PROMISED)?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

/// Looks at so many cuts. Says which seed broke a promise, and how.
fn cut_the_power(rounds: usize, seed: u64, lie: Lie) -> Result<Story, String> {
    let home = recording::quick_folder();
    let recorder = Recorder::build(home.path());
    let mut story = Story::default();
    for (life, first) in (0..rounds).step_by(CUTS * LIVES).enumerate() {
        let seed = seed + life as u64;
        let home = home.path().join(format!("life{life}"));
        let mut root = home.join("0");
        fs::create_dir_all(&root).unwrap();
        let mut lives = Lives {
            recorder: &recorder,
            home: &home,
            rng: StdRng::seed_from_u64(seed),
            lie,
            sums: Sums::new(seed),
            folders: 0,
            promised: 0,
            story: &mut story,
        };
        let mut left = (rounds - first).min(CUTS * LIVES);
        while left > 0 {
            let cuts = left.min(CUTS);
            root = lives
                .live(&root, cuts)
                .map_err(|what| format!("JUNTO_CUT_SEED={seed}: {what}"))?;
            left -= cuts;
        }
        fs::remove_dir_all(&home).unwrap();
    }
    story.written_mib >>= 20;
    Ok(story)
}

#[test]
fn what_was_promised_survives_a_power_cut() {
    let rounds = number("JUNTO_CUT_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize);
    let seed = number("JUNTO_CUT_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let begin = std::time::Instant::now();
    println!("{rounds} rounds, JUNTO_CUT_SEED={seed}");
    let story = cut_the_power(rounds, seed, Lie::None).unwrap();
    println!("{story:?} in {:?}", begin.elapsed());
    assert!(story.openings > 0 && story.more > 0, "{story:?}");
}

#[test]
fn a_disk_that_only_says_it_flushed_is_found_out() {
    for lie in [Lie::Files, Lie::Names] {
        let outcome = cut_the_power(200, 1, lie);
        assert!(outcome.is_err(), "{lie:?}: {outcome:?}");
    }
}
