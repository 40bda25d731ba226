use rand::SeedableRng;

use super::*;
use crate::crypto::Rng;
use crate::types::{Wall, WriteBatch, WriteOp};

struct Bench {
    core: Payloads,
    rng: Rng,
    batch: u64,
    rows: Vec<Row>,
}

fn content(n: u8, size: u64) -> FileRef {
    FileRef {
        root: [n; 32],
        size,
    }
}

fn file(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

impl Bench {
    fn new() -> Bench {
        Bench {
            core: Payloads::new(100),
            rng: Rng::seed_from_u64(1),
            batch: 0,
            rows: Vec::new(),
        }
    }

    fn on<T>(&mut self, ms: u64, act: impl FnOnce(&mut Payloads, &mut Step<'_>) -> T) -> T {
        self.batch += 1;
        let mut writes = WriteBatch::default();
        let mut step = Step {
            now: Now {
                mono: Mono::from_micros(ms * 1000),
                wall: Wall(ms),
            },
            rng: &mut self.rng,
            batch: BatchId(self.batch),
            writes: &mut writes,
        };
        let done = act(&mut self.core, &mut step);
        for op in writes.ops {
            match op {
                WriteOp::Put { space, key, value } => {
                    self.rows.retain(|row| row.key != key);
                    self.rows.push(Row { space, key, value });
                }
                WriteOp::Delete { key, .. } => self.rows.retain(|row| row.key != key),
            }
        }
        done
    }

    fn restart(&mut self, ms: u64) {
        let now = Now {
            mono: Mono::from_micros(ms * 1000),
            wall: Wall(ms),
        };
        self.core = Payloads::new(100);
        for row in &self.rows {
            self.core.load(row, now).expect("a row of ours");
        }
    }

    fn sweep(&mut self, ms: u64, named: &[u8]) -> Vec<Uuid> {
        let named = named.iter().map(|n| [*n; 32]).collect();
        self.on(ms, |core, step| core.sweep(&named, step))
    }
}

#[test]
fn a_payload_stays_while_it_is_named_and_no_longer() {
    let mut bench = Bench::new();
    let kept = bench.on(0, |core, step| core.keep(content(1, 60), file(1), step));
    assert_eq!(kept, Kept::Taken(BatchId(1)));
    assert!(bench.sweep(SPARE_MS - 1, &[]).is_empty());
    assert!(bench.sweep(SPARE_MS, &[1]).is_empty());
    assert!(bench.core.has(&content(1, 60)));
    assert!(!bench.core.has(&content(1, 61)));
    assert_eq!(bench.sweep(SPARE_MS + 1, &[]), [file(1)]);
    assert!(bench.core.is_empty() && bench.rows.is_empty());
}

#[test]
fn what_was_named_for_a_moment_only_goes_with_the_next_sweep() {
    let mut bench = Bench::new();
    let kept = bench.on(0, |core, step| core.keep(content(1, 60), file(1), step));
    assert_eq!(kept, Kept::Taken(BatchId(1)));
    bench.core.named(&[1; 32]);
    assert_eq!(bench.sweep(1, &[]), [file(1)]);
}

#[test]
fn what_nobody_names_goes_after_a_while_also_after_a_restart() {
    let mut bench = Bench::new();
    let kept = bench.on(0, |core, step| core.keep(content(1, 60), file(1), step));
    assert_eq!(kept, Kept::Taken(BatchId(1)));
    bench.restart(10);
    assert_eq!(bench.core.files().collect::<Vec<_>>(), [file(1)]);
    assert!(bench.sweep(SPARE_MS, &[]).is_empty());
    assert_eq!(bench.sweep(SPARE_MS + 10, &[]), [file(1)]);
}

#[test]
fn a_payload_handed_over_again_stays_as_long_as_was_promised_whoever_names_it() {
    let mut bench = Bench::new();
    let mut hand_over = |ms, n| {
        let kept = bench.on(ms, |core, step| core.keep(content(1, 60), file(n), step));
        assert_ne!(kept, Kept::Full);
    };
    hand_over(0, 1);
    hand_over(1_000, 2);
    bench.core.named(&[1; 32]);
    assert!(bench.sweep(2_000, &[1]).is_empty());
    let again = bench.on(3_000, |core, step| core.keep(content(1, 60), file(3), step));
    assert!(matches!(again, Kept::Known(_)), "{again:?}");
    // The first task is still there for a while, and then it is gone.
    assert!(bench.sweep(10_000, &[1]).is_empty());
    assert!(bench.sweep(20_000, &[]).is_empty());
    // Nor does what comes for somebody else's task change that.
    let came = bench.on(30_000, |core, step| {
        core.take(content(1, 60), file(4), step)
    });
    assert!(matches!(came, Kept::Known(_)), "{came:?}");
    assert!(bench.sweep(3_000 + SPARE_MS - 1, &[]).is_empty());
    assert_eq!(bench.sweep(3_000 + SPARE_MS, &[]), [file(1)]);
}

#[test]
fn what_came_for_a_task_goes_with_it() {
    let mut bench = Bench::new();
    let came = bench.on(0, |core, step| core.take(content(1, 60), file(1), step));
    assert_eq!(came, Kept::Taken(BatchId(1)));
    assert!(bench.sweep(1, &[1]).is_empty());
    // Also where the node went down before it was deleted.
    bench.restart(2);
    assert!(bench.sweep(GRACE_MS + 1, &[]).is_empty());
    assert_eq!(bench.sweep(GRACE_MS + 2, &[]), [file(1)]);
}

#[test]
fn the_same_content_is_kept_once_and_its_time_begins_anew() {
    let mut bench = Bench::new();
    for (ms, n) in [(0, 1), (1_000, 2)] {
        let kept = bench.on(ms, |core, step| core.keep(content(1, 60), file(n), step));
        assert_ne!(kept, Kept::Full);
    }
    assert_eq!(bench.core.file(&[1; 32]).expect("kept").0.file, file(1));
    // It was named before, and is about to be named again.
    assert!(bench.sweep(2_000, &[1]).is_empty());
    let kept = bench.on(3_000, |core, step| core.keep(content(1, 60), file(3), step));
    assert!(matches!(kept, Kept::Known(_)), "{kept:?}");
    assert!(bench.sweep(4_000, &[]).is_empty());
}

#[test]
fn there_is_no_more_than_fits() {
    let mut bench = Bench::new();
    let mut keep = |n: u8, size| {
        bench.on(0, |core, step| {
            core.keep(content(n, size), file(n.into()), step)
        })
    };
    assert_eq!(keep(1, 60), Kept::Taken(BatchId(1)));
    assert_eq!(keep(2, 41), Kept::Full);
    assert_eq!(keep(3, 40), Kept::Taken(BatchId(3)));
    assert_eq!(bench.sweep(SPARE_MS, &[3]), [file(1)]);
    let kept = bench.on(SPARE_MS, |core, step| {
        core.keep(content(2, 41), file(2), step)
    });
    assert_eq!(kept, Kept::Taken(BatchId(5)));
}

#[test]
fn a_row_of_another_version_is_called_that() {
    let record = PayloadRecord {
        v: 2,
        file: file(1),
        size: 1,
        spare: false,
    };
    let row = Row {
        space: Keyspace::Payload,
        key: vec![1; 32],
        value: cbor::encode(&record),
    };
    let now = Now {
        mono: Mono::default(),
        wall: Wall(0),
    };
    let error = Payloads::new(1).load(&row, now).expect_err("version 2");
    assert!(error.why.contains("version 2"), "{}", error.why);
}
