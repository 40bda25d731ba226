//! Locks, damaged files and full disks: a clear error, never a panic, never a silent loss.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::store::{SCHEMA_VERSION, StoreError};

const FULL_DISK_DIR: &str = "JUNTO_TEST_FULL_DISK_DIR";

/// A closed store with rows of all kinds, some overwritten, over several segments.
fn filled(dir: &Path) -> Vec<Row> {
    let mut store = open(dir);
    for i in 0..400u32 {
        let mut batch = put(
            Keyspace::Task,
            &format!("{:03}", i % 150),
            vec![i as u8; 900],
        );
        batch.put(
            Keyspace::TaskInput,
            format!("{i:03}"),
            vec![i as u8; 20_000],
        );
        store.apply(&[batch]).unwrap();
    }
    store
        .apply(&[put(Keyspace::TaskInput, "large", vec![9; LARGE_BYTES])])
        .unwrap();
    rows(&store)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn snapshots(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("snap.")
        })
        .collect()
}

/// Opens and reads everything.
fn read(dir: &Path) -> Result<Vec<Row>, StoreError> {
    let store = SledStore::open_within(dir, Duration::from_secs(5))?;
    store.load()?;
    Ok(rows(&store))
}

#[track_caller]
fn assert_damaged(dir: &Path, case: &str) {
    for attempt in ["first", "second"] {
        match read(dir) {
            Err(StoreError::Damaged { .. }) => {}
            Err(error) => panic!("{case}, {attempt} opening: {error}"),
            Ok(rows) => panic!("{case}, {attempt} opening: {} rows", rows.len()),
        }
    }
}

#[test]
fn a_store_in_use_is_refused_and_free_again_once_closed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let refused = SledStore::open_within(dir.path(), Duration::from_millis(50));
    assert!(matches!(refused, Err(StoreError::InUse { .. })));
    drop(store);
    open(dir.path());
}

#[test]
fn a_store_that_is_let_go_in_time_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let closing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        drop(store);
    });
    open(dir.path());
    closing.join().unwrap();
}

#[test]
fn a_newer_schema_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let db = sled::Config::new()
        .path(dir.path())
        .segment_size(4 << 20)
        .open()
        .unwrap();
    db.insert([&[1u8][..], b"schema"].concat(), &7u32.to_be_bytes())
        .unwrap();
    // In a table that is not known here.
    db.insert([&[200u8][..], b"row"].concat(), b"value")
        .unwrap();
    drop(db);
    let refused = read(dir.path()).unwrap_err();
    assert!(
        matches!(refused, StoreError::Newer { found: 7, .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("schema 7"));
}

#[test]
fn a_store_of_schema_1_is_read_and_becomes_one_of_this_program() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.apply(&[put(Keyspace::Task, "a", "kept")]).unwrap();
    drop(store);
    let log = || {
        sled::Config::new()
            .path(dir.path())
            .segment_size(4 << 20)
            .open()
            .unwrap()
    };
    let key = [&[1u8][..], b"schema"].concat();
    log().insert(&key, &1u32.to_be_bytes()).unwrap();
    let rows = read(dir.path()).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        log().get(&key).unwrap().unwrap(),
        &SCHEMA_VERSION.to_be_bytes()
    );
    assert_eq!(read(dir.path()).unwrap(), rows);
}

#[test]
fn a_log_that_lost_promised_rows_is_refused() {
    let name = "store::tests::damage::a_log_that_lost_promised_rows_is_refused";
    in_own_process(name, lose_promised_rows);
}

fn lose_promised_rows() {
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("whole");
    filled(&whole);
    let log_bytes = fs::metadata(whole.join("db")).unwrap().len();
    type Damage<'a> = (&'a str, Box<dyn Fn(&Path)>);
    let cut = |to: u64| {
        move |dir: &Path| {
            OpenOptions::new()
                .write(true)
                .open(dir.join("db"))
                .unwrap()
                .set_len(to)
                .unwrap();
        }
    };
    let overwrite = |at: u64, bytes: usize, with: u8| {
        move |dir: &Path| {
            let file = OpenOptions::new().write(true).open(dir.join("db")).unwrap();
            file.write_all_at(&vec![with; bytes], at).unwrap();
        }
    };
    let damages: Vec<Damage> = vec![
        ("emptied", Box::new(cut(0))),
        ("cut in its first segment", Box::new(cut(100_000))),
        ("cut in half", Box::new(cut(log_bytes / 2))),
        ("zeroed", Box::new(overwrite(0, log_bytes as usize, 0))),
        (
            "filled with garbage",
            Box::new(overwrite(0, log_bytes as usize, 0xa5)),
        ),
        (
            "garbage from its half on",
            Box::new(overwrite(log_bytes / 2, log_bytes as usize / 2, 7)),
        ),
        (
            "deleted",
            Box::new(|dir| fs::remove_file(dir.join("db")).unwrap()),
        ),
        (
            "settings overwritten",
            Box::new(|dir| fs::write(dir.join("conf"), [0xff; 64]).unwrap()),
        ),
        (
            "settings not ours",
            Box::new(|dir| fs::write(dir.join("conf"), "a: b\nc: d\n\n\n\n").unwrap()),
        ),
    ];
    for (i, (case, damage)) in damages.iter().enumerate() {
        for keep_snapshot in [true, false] {
            let dir = home.path().join(format!("{i}-{keep_snapshot}"));
            copy(&whole, &dir);
            damage(&dir);
            if !keep_snapshot {
                snapshots(&dir)
                    .iter()
                    .for_each(|path| fs::remove_file(path).unwrap());
            }
            assert_damaged(&dir, case);
            fs::remove_dir_all(dir).unwrap();
        }
    }
}

#[test]
fn a_damaged_snapshot_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("whole");
    let expected = filled(&whole);
    // A snapshot is written at open.
    drop(open(&whole));
    assert_eq!(snapshots(&whole).len(), 1);
    for (i, bytes) in [&b""[..], b"0123", &[0xff; 4000]].into_iter().enumerate() {
        let dir = home.path().join(i.to_string());
        copy(&whole, &dir);
        fs::write(&snapshots(&dir)[0], bytes).unwrap();
        assert!(read(&dir).unwrap() == expected);
        let dir = home.path().join(format!("{i}-generating"));
        copy(&whole, &dir);
        fs::write(dir.join("snap.7FFFFFFFFFFFFFFF.generating"), bytes).unwrap();
        assert!(read(&dir).unwrap() == expected);
    }
}

/// sled clears segments that are not used any more when it opens a log: without its snapshot it
/// would take what is left for nothing, and clear that, too.
#[test]
fn a_damaged_snapshot_of_a_log_that_needs_it_clears_nothing() {
    let name = "store::tests::damage::a_damaged_snapshot_of_a_log_that_needs_it_clears_nothing";
    in_own_process(name, damage_a_needed_snapshot);
}

fn damage_a_needed_snapshot() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    for pass in 0..6u8 {
        let mut store = open(&dir);
        for i in 0..150u32 {
            let value = vec![pass; 20_000];
            store
                .apply(&[put(Keyspace::TaskInput, &format!("{i:03}"), value)])
                .unwrap();
        }
    }
    let expected = rows(&open(&dir));
    let snapshot = snapshots(&dir).remove(0);
    let whole = fs::read(&snapshot).unwrap();
    fs::write(&snapshot, "not it").unwrap();
    match read(&dir) {
        Ok(rows) => assert!(rows == expected),
        Err(StoreError::Damaged { .. }) => {
            assert!(fs::read(&snapshot).unwrap() == b"not it");
            fs::write(&snapshot, whole).unwrap();
            assert!(read(&dir).unwrap() == expected);
        }
        Err(error) => panic!("{error}"),
    }
}

/// The process ended while sled opened the log, and another time while the copy was put back.
#[test]
fn a_log_that_was_copied_is_put_back() {
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("whole");
    filled(&whole);
    let expected = rows(&open(&whole));
    let snapshot = snapshots(&whole).remove(0);
    let name = snapshot.file_name().unwrap().to_str().unwrap();
    for half_put_back in [false, true] {
        let dir = home.path().join(half_put_back.to_string());
        copy(&whole, &dir);
        fs::copy(dir.join(name), dir.join(format!("aside.{name}"))).unwrap();
        fs::rename(dir.join("db"), dir.join("aside.db")).unwrap();
        fs::write(dir.join("db"), "").unwrap();
        if !half_put_back {
            fs::remove_file(dir.join(name)).unwrap();
            fs::write(dir.join("snap.7FFFFFFFFFFFFFFF"), "cut off").unwrap();
        }
        assert!(read(&dir).unwrap() == expected);
        for left in fs::read_dir(&dir).unwrap() {
            let name = left.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with("aside."), "{name}");
        }
    }
}

/// The copy was not finished: the log counts.
#[test]
fn half_a_copy_is_removed() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    let expected = filled(&dir);
    fs::write(dir.join("aside.db.new"), "half").unwrap();
    fs::write(dir.join("aside.snap.0000000000000007"), "old").unwrap();
    assert!(read(&dir).unwrap() == expected);
    assert!(!dir.join("aside.db.new").exists());
}

/// A store that does not open stays as it was, for whoever can mend it.
#[test]
fn a_refused_log_is_left_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    filled(&dir);
    drop(open(&dir));
    let log = dir.join("db");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[..middle].fill(0x5a);
    fs::write(&log, &bytes).unwrap();
    let before = snapshots(&dir);
    assert!(matches!(read(&dir), Err(StoreError::Damaged { .. })));
    assert!(fs::read(&log).unwrap() == bytes);
    assert!(snapshots(&dir) == before);
    assert!(!dir.join("aside.db").exists());
}

#[test]
fn a_store_whose_creation_was_cut_off_begins_anew() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("conf"), [0; 63]).unwrap();
    fs::write(dir.join("db"), [0xff; 100]).unwrap();
    assert!(read(&dir).unwrap().is_empty());
    open(&dir).apply(&[put(Keyspace::Task, "a", "1")]).unwrap();
    // From then on its settings are worth a refusal.
    fs::write(dir.join("conf"), [0; 63]).unwrap();
    assert_damaged(&dir, "settings zeroed");
}

#[test]
fn a_damaged_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let file = dir.path().join("payloads").join(&payloads(dir.path())[0]);
    fs::write(&file, "not it").unwrap();
    let error = read(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("does not hold what its name says"),
        "{error}"
    );
    fs::remove_file(&file).unwrap();
    let error = read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("is missing"), "{error}");
}

#[test]
fn random_damage_is_noticed_or_harmless() {
    let name = "store::tests::damage::random_damage_is_noticed_or_harmless";
    in_own_process(name, damage_at_random);
}

fn damage_at_random() {
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("whole");
    let expected = filled(&whole);
    let log_bytes = fs::metadata(whole.join("db")).unwrap().len();
    let rounds = std::env::var("JUNTO_TEST_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(12);
    let base = std::env::var("JUNTO_TEST_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0u64);
    for round in base..base + rounds {
        let mut seed = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let dir = home.path().join(round.to_string());
        copy(&whole, &dir);
        let file = OpenOptions::new().write(true).open(dir.join("db")).unwrap();
        for _ in 0..next() % 4 + 1 {
            let bytes: Vec<u8> = (0..1 << (next() % 14)).map(|_| next() as u8).collect();
            file.write_all_at(&bytes, next() % log_bytes).unwrap();
        }
        match read(&dir) {
            Ok(rows) => assert!(rows == expected, "round {round}: rows changed"),
            Err(StoreError::Damaged { .. }) => {}
            Err(error) => panic!("round {round}: {error}"),
        }
        fs::remove_dir_all(dir).unwrap();
    }
}

/// Not a test by itself: runs below, in a process whose files may not grow past a limit.
#[test]
fn full_disk_process() {
    let Ok(dir) = std::env::var(FULL_DISK_DIR) else {
        return;
    };
    let mut store = open(Path::new(&dir));
    let refused = (0..10_000u32).find_map(|i| {
        let batch = put(Keyspace::TaskInput, &i.to_string(), vec![i as u8; 40_000]);
        store.apply(&[batch]).err().map(|error| (i, error))
    });
    let (i, error) = refused.expect("the limit is far below what is written");
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    let again = store.apply(&[put(Keyspace::Task, "x", "x")]).unwrap_err();
    assert!(
        again.to_string().contains("an earlier write failed"),
        "{again}"
    );
    fs::write(Path::new(&dir).join("accepted"), i.to_string()).unwrap();
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing_promised() {
    let dir = tempfile::tempdir().unwrap();
    // The shell ignores SIGXFSZ, which the child inherits: writes past the limit fail like ENOSPC.
    let status = Command::new("/bin/sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 40000; exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args(["store::tests::damage::full_disk_process", "--exact"])
        .env(FULL_DISK_DIR, dir.path())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let accepted: usize = fs::read_to_string(dir.path().join("accepted"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(accepted > 10);
    assert!(rows(&open(dir.path())).len() >= accepted);
}
