//! What every backend keeps.

use super::*;
use crate::store::{MemoryStore, StoreError};

/// Runs a test over each backend. `open` opens the same store each time; the one before must be
/// dropped by then.
fn on_every_backend(test: impl Fn(&dyn Fn() -> Box<dyn Store>)) {
    let memory = MemoryStore::new();
    test(&|| Box::new(memory.clone()));
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    test(&|| Box::new(open(&dir)));
}

fn keys_and_values(store: &dyn Store) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    rows(store)
        .into_iter()
        .map(|row| (text(row.key), text(row.value)))
        .collect()
}

#[test]
fn a_new_store_is_empty_also_after_reopening() {
    on_every_backend(|open| {
        assert_eq!(rows(&*open()), []);
        assert_eq!(rows(&*open()), []);
    });
}

#[test]
fn later_batches_and_later_writes_win() {
    on_every_backend(|open| {
        let mut store = open();
        let mut both = put(Keyspace::Task, "a", "1");
        both.put(Keyspace::Task, "a", b"2".to_vec());
        both.put(Keyspace::Task, "b", b"1".to_vec());
        both.delete(Keyspace::Task, "b");
        store
            .apply(&[
                both,
                put(Keyspace::Task, "c", "1"),
                put(Keyspace::Task, "c", "2"),
            ])
            .unwrap();
        store
            .apply(&[put(Keyspace::Task, "d", "1"), delete(Keyspace::Task, "d")])
            .unwrap();
        store
            .apply(&[delete(Keyspace::Task, "e"), put(Keyspace::Task, "e", "1")])
            .unwrap();
        let expected = [("a", "2"), ("c", "2"), ("e", "1")].map(|(k, v)| (k.into(), v.into()));
        assert_eq!(keys_and_values(&*store), expected);
        drop(store);
        assert_eq!(keys_and_values(&*open()), expected);
    });
}

#[test]
fn deleting_what_is_not_there_is_no_error() {
    on_every_backend(|open| {
        let mut store = open();
        store.apply(&[delete(Keyspace::Held, "nothing")]).unwrap();
        store.apply(&[]).unwrap();
        store.apply(&[WriteBatch::default()]).unwrap();
        assert_eq!(rows(&*store), []);
    });
}

#[test]
fn equal_keys_in_different_tables_are_different_rows() {
    on_every_backend(|open| {
        let mut store = open();
        let batches: Vec<_> = Keyspace::ALL
            .map(|space| put(space, "k", format!("{space:?}")))
            .into();
        store.apply(&batches).unwrap();
        store.apply(&[delete(Keyspace::TaskInput, "k")]).unwrap();
        drop(store);
        let store = open();
        for space in Keyspace::ALL {
            let expected = format!("{space:?}").into_bytes();
            let expected = (space != Keyspace::TaskInput).then_some(expected);
            assert_eq!(value_of(&*store, space, "k"), expected);
        }
    });
}

#[test]
fn a_thousand_batches_in_one_group_are_all_kept() {
    on_every_backend(|open| {
        let mut store = open();
        let batches: Vec<_> = (0..1000)
            .map(|i| {
                let mut batch = put(Keyspace::Task, &format!("{i:04}"), vec![7; i % 300]);
                batch.put(Keyspace::Meta, "last", i.to_string().into_bytes());
                batch
            })
            .collect();
        store.apply(&batches).unwrap();
        drop(store);
        let store = open();
        assert_eq!(rows(&*store).len(), 1001);
        assert_eq!(
            value_of(&*store, Keyspace::Meta, "last").as_deref(),
            Some(&b"999"[..])
        );
    });
}

#[test]
fn values_of_every_size_come_back() {
    on_every_backend(|open| {
        let sizes = [
            0,
            1,
            48 * 1024 - 1,
            48 * 1024,
            48 * 1024 + 1,
            LARGE_BYTES,
            2 * 1024 * 1024,
        ];
        let value = |bytes: usize| (0..bytes).map(|i| (i % 251) as u8).collect::<Vec<_>>();
        let mut store = open();
        for bytes in sizes {
            store
                .apply(&[put(Keyspace::TaskInput, &bytes.to_string(), value(bytes))])
                .unwrap();
        }
        drop(store);
        let store = open();
        for bytes in sizes {
            let found = value_of(&*store, Keyspace::TaskInput, &bytes.to_string());
            assert!(found == Some(value(bytes)), "{bytes} bytes");
        }
    });
}

#[test]
fn groups_larger_than_one_sled_batch_keep_their_order() {
    on_every_backend(|open| {
        let mut store = open();
        let batches: Vec<_> = (0..1000)
            .map(|i: u32| {
                put(
                    Keyspace::TaskInput,
                    &(i % 500).to_string(),
                    i.to_be_bytes().repeat(10_000),
                )
            })
            .collect();
        store.apply(&batches).unwrap();
        drop(store);
        let store = open();
        let found = rows(&*store);
        assert_eq!(found.len(), 500);
        assert!(
            found
                .iter()
                .all(|row| row.value[..4] >= 500u32.to_be_bytes()[..])
        );
    });
}

#[test]
fn rows_of_the_store_itself_are_refused() {
    on_every_backend(|open| {
        for key in ["schema", "tally"] {
            let mut store = open();
            let refused = store.apply(&[put(Keyspace::Meta, key, "x")]);
            assert!(matches!(refused, Err(StoreError::Io { .. })), "{refused:?}");
        }
        let mut store = open();
        store.apply(&[put(Keyspace::Task, "schema", "x")]).unwrap();
        assert_eq!(rows(&*store).len(), 1);
    });
}

#[test]
fn a_file_lives_as_long_as_a_row_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let large = vec![1; LARGE_BYTES];
    store
        .apply(&[put(Keyspace::TaskInput, "a", large.clone())])
        .unwrap();
    store
        .apply(&[put(Keyspace::HeldInput, "b", large.clone())])
        .unwrap();
    assert_eq!(payloads(dir.path()).len(), 1, "equal values share a file");
    store
        .apply(&[put(Keyspace::TaskInput, "a", large.clone())])
        .unwrap();
    store.apply(&[delete(Keyspace::TaskInput, "a")]).unwrap();
    drop(store);
    let mut store = open(dir.path());
    assert!(value_of(&store, Keyspace::HeldInput, "b").as_ref() == Some(&large));
    // Dropped by one batch and named again by a later one of the same group.
    store
        .apply(&[
            delete(Keyspace::HeldInput, "b"),
            put(Keyspace::TaskInput, "c", large.clone()),
        ])
        .unwrap();
    assert!(value_of(&store, Keyspace::TaskInput, "c") == Some(large));
    store
        .apply(&[put(Keyspace::TaskInput, "c", "small")])
        .unwrap();
    assert_eq!(payloads(dir.path()), [""; 0]);
    store
        .apply(&[
            put(Keyspace::Task, "d", vec![2; LARGE_BYTES]),
            delete(Keyspace::Task, "d"),
        ])
        .unwrap();
    assert_eq!(payloads(dir.path()), [""; 0]);
}

#[test]
fn files_without_a_row_are_swept_at_open_and_strange_ones_left() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let orphan = "ab".repeat(32);
    for name in [orphan.as_str(), "new.tmp", "README", "abcd"] {
        std::fs::write(dir.path().join("payloads").join(name), "x").unwrap();
    }
    drop(open(dir.path()));
    let mut left = payloads(dir.path());
    left.sort();
    assert_eq!(left, ["README", "abcd"]);
}

#[test]
fn sled_never_makes_files_of_its_own_for_large_pages() {
    // It would neither fsync nor delete them. Leaves full of the largest inline rows, churned.
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut seed = 1u64;
    for _ in 0..60 {
        let batches: Vec<_> = (0..20)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let key = format!("{:0200}", (seed >> 33) % 150);
                let value = vec![(seed >> 40) as u8; 48 * 1024];
                if (seed >> 50).is_multiple_of(4) {
                    delete(Keyspace::TaskInput, &key)
                } else {
                    put(Keyspace::TaskInput, &key, value)
                }
            })
            .collect();
        store.apply(&batches).unwrap();
        assert_eq!(
            std::fs::read_dir(dir.path().join("blobs")).unwrap().count(),
            0
        );
    }
}

#[test]
fn only_the_owner_can_read_the_store() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    std::fs::create_dir(&dir).unwrap();
    let mut store = open(&dir);
    store
        .apply(&[put(Keyspace::TaskInput, "a", vec![1; LARGE_BYTES])])
        .unwrap();
    for folder in [dir.clone(), dir.join("payloads"), dir.join("blobs")] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    assert_eq!(mode(&dir.join("payloads").join(&payloads(&dir)[0])), 0o600);
}
