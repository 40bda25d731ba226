//! One contract for every backend, and what only a disk can do wrong: locks, damage, a full disk,
//! sudden death.

mod contract;
mod crash;
mod damage;

use std::path::Path;

use super::{SledStore, Store};
use crate::types::{Keyspace, Row, WriteBatch};

/// Larger than what stands inline.
const LARGE_BYTES: usize = 300 * 1024;

/// A batch of one row.
fn put(space: Keyspace, key: &str, value: impl Into<Vec<u8>>) -> WriteBatch {
    let mut batch = WriteBatch::default();
    batch.put(space, key, value.into());
    batch
}

fn delete(space: Keyspace, key: &str) -> WriteBatch {
    let mut batch = WriteBatch::default();
    batch.delete(space, key);
    batch
}

/// The rows in the order of table and key.
fn rows(store: &dyn Store) -> Vec<Row> {
    let mut rows = store.load().unwrap();
    rows.sort_by(|a, b| (a.space, &a.key).cmp(&(b.space, &b.key)));
    rows
}

fn value_of(store: &dyn Store, space: Keyspace, key: &str) -> Option<Vec<u8>> {
    let same = |row: &Row| row.space == space && row.key == key.as_bytes();
    store
        .load()
        .unwrap()
        .into_iter()
        .find(same)
        .map(|row| row.value)
}

fn open(dir: &Path) -> SledStore {
    SledStore::open(dir).unwrap()
}

/// Runs a test's body in a process of its own: what panics inside sled's threads would break sled
/// for every other test of this process, and its words belong to nobody.
fn in_own_process(name: &str, body: impl FnOnce()) {
    const INNER: &str = "JUNTO_TEST_INNER";
    if std::env::var_os(INNER).is_some() {
        return body();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact"])
        .env(INNER, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("1 passed"),
        "no test is called {name}: {text}"
    );
}

/// Names of the files of large values.
fn payloads(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join("payloads")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
