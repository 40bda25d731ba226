//! What the store's promises cost: flushes of two plain processes beside batches of two stores, and
//! how long a store of many rows takes to open.
//!
//! ```console
//! $ cargo bench --bench store -- flushes [FOLDER]
//! $ cargo bench --bench store -- open [ROWS] [FOLDER]
//! ```
//!
//! Both sides write the same 256 bytes at a time, in the same folder, in rounds of half a second
//! that take turns: what else the machine does meets both. A plain process appends and calls
//! `fsync`; a store applies a batch of one row.

#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use junto::store::{SledStore, Store};
use junto::types::{Keyspace, WriteBatch};

const ROUNDS: usize = 16;
const SPAN: Duration = Duration::from_millis(500);
const PROCESSES: usize = 2;
const VALUE_BYTES: usize = 256;
/// What one apply of the second kind has to carry: so many share its flush.
const GROUP: usize = 64;
const ROW_BYTES: usize = 1024;

fn main() {
    // Cargo adds `--bench`.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["side", kind, folder] => side(kind, Path::new(folder)),
        ["opened", folder] => opened(Path::new(folder)),
        [] | ["flushes"] => flushes(&std::env::temp_dir()),
        ["flushes", folder] => flushes(Path::new(folder)),
        ["open"] => open("100000", &std::env::temp_dir()),
        ["open", rows] => open(rows, &std::env::temp_dir()),
        ["open", rows, folder] => open(rows, Path::new(folder)),
        _ => eprintln!("usage: store [flushes [FOLDER] | open [ROWS] [FOLDER]]"),
    }
}

/// One process of a side: says that it is ready, and for each line it reads works for a span and
/// writes how often it was done.
fn side(kind: &str, folder: &Path) {
    let mut work: Box<dyn FnMut() -> usize> = match kind {
        "plain" => {
            let mut file = File::create(folder).unwrap();
            Box::new(move || {
                file.write_all(&[7; VALUE_BYTES]).unwrap();
                file.sync_all().unwrap();
                1
            })
        }
        _ => {
            let mut store = SledStore::open(folder).unwrap();
            let group = if kind == "store" { 1 } else { GROUP };
            let mut next = 0u32;
            Box::new(move || {
                let batches: Vec<_> = (0..group)
                    .map(|_| {
                        next += 1;
                        let key = (next % 10_000).to_be_bytes();
                        put(&key, vec![next as u8; VALUE_BYTES])
                    })
                    .collect();
                store.apply(&batches).unwrap();
                group
            })
        }
    };
    println!("ready");
    for line in std::io::stdin().lines() {
        line.unwrap();
        let (begin, mut done) = (Instant::now(), 0);
        while begin.elapsed() < SPAN {
            done += work();
        }
        println!("{done}");
    }
}

fn put(key: &[u8], value: Vec<u8>) -> WriteBatch {
    let mut batch = WriteBatch::default();
    batch.put(Keyspace::Task, key, value);
    batch
}

struct Side {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Side {
    fn start(kind: &str, folder: &Path) -> Side {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([std::ffi::OsStr::new("side"), kind.as_ref(), folder.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        Side { child, lines }
    }

    fn go(&mut self) {
        let mut stdin = self.child.stdin.as_ref().unwrap();
        stdin.write_all(b"go\n").unwrap();
    }

    fn done(&mut self) -> f64 {
        let line = self.lines.next().unwrap().unwrap();
        line.parse::<f64>().unwrap() / SPAN.as_secs_f64()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Its input ends, and with it the process.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn flushes(folder: &Path) {
    let home = tempfile::tempdir_in(folder).unwrap();
    warn_of_memory(home.path());
    let kinds = ["plain", "store", "grouped"];
    let mut sides: Vec<Vec<Side>> = kinds
        .iter()
        .map(|kind| {
            (0..PROCESSES)
                .map(|i| Side::start(kind, &home.path().join(format!("{kind}{i}"))))
                .collect()
        })
        .collect();
    let mut rates = vec![Vec::new(); kinds.len()];
    for _ in 0..ROUNDS {
        for (sides, rates) in sides.iter_mut().zip(&mut rates) {
            sides.iter_mut().for_each(Side::go);
            rates.push(sides.iter_mut().map(Side::done).sum::<f64>());
        }
    }
    let medians: Vec<f64> = rates.iter_mut().map(|rates| median(rates)).collect();
    let (plain, alone, grouped) = (medians[0], medians[1], medians[2]);
    println!("{PROCESSES} processes at once, medians of {ROUNDS} rounds of {SPAN:?}");
    println!("plain append and fsync   {plain:8.0} /s");
    let share = alone / plain;
    println!("store, one at a time     {alone:8.0} batches/s, {share:.2} for each fsync");
    let (each, share) = (grouped / GROUP as f64, grouped / plain);
    println!(
        "store, {GROUP} to an apply    {grouped:8.0} batches/s, {share:.1} for each fsync ({each:.0} flushes/s)"
    );
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn warn_of_memory(path: &Path) {
    let kind = nix::sys::statfs::statfs(path).map(|found| found.filesystem_type());
    if kind == Ok(nix::sys::statfs::TMPFS_MAGIC) {
        println!("{} is memory: these figures mean nothing", path.display());
    }
}

fn open(rows: &str, folder: &Path) {
    let rows: u32 = rows.parse().unwrap();
    let home = tempfile::tempdir_in(folder).unwrap();
    let dir = home.path().join("store");
    let begin = Instant::now();
    let mut store = SledStore::open(&dir).unwrap();
    for first in (0..rows).step_by(GROUP) {
        let group: Vec<_> = (first..rows.min(first + GROUP as u32))
            .map(|i| put(&i.to_be_bytes(), vec![i as u8; ROW_BYTES]))
            .collect();
        store.apply(&group).unwrap();
    }
    println!(
        "{rows} rows of {ROW_BYTES} bytes written in {:?}",
        begin.elapsed()
    );
    drop(store);
    println!(
        "closed after {:?}, {} MiB",
        begin.elapsed(),
        size(&dir) >> 20
    );
    for _ in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.arg("opened").arg(&dir).status().unwrap();
    }
}

/// Opens it in a process of its own, so that what it takes can be told.
fn opened(dir: &Path) {
    let begin = Instant::now();
    let store = SledStore::open(dir).unwrap();
    let open = begin.elapsed();
    let rows = store.load().unwrap();
    println!(
        "opened in {open:?}, {} rows loaded after {:?}, {} MiB resident at most",
        rows.len(),
        begin.elapsed(),
        peak_kib() / 1024
    );
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let sizes = entries.map(|entry| {
        let path: PathBuf = entry.path();
        if path.is_dir() {
            size(&path)
        } else {
            entry.metadata().unwrap().len()
        }
    });
    sizes.sum()
}
