//! A store that takes its time, and a driver that does not read.

use std::io;
use std::sync::mpsc as std_mpsc;
use std::time::Instant;

use super::*;
use crate::store::{MemoryStore, StoreError};
use crate::types::{Keyspace, Row};

const PATIENCE: Duration = Duration::from_secs(60);

/// Says how many batches each flush had, and takes its time over it where it is told to.
struct Slow {
    rows: MemoryStore,
    flushes: std_mpsc::Sender<usize>,
    /// One message lets one flush end.
    gate: std_mpsc::Receiver<Flush>,
}

enum Flush {
    Works,
    Fails,
    Panics,
}

impl Store for Slow {
    fn load(&self) -> Result<Vec<Row>, StoreError> {
        self.rows.load()
    }

    fn apply(&mut self, batches: &[WriteBatch]) -> Result<(), StoreError> {
        self.flushes.send(batches.len()).unwrap();
        match self.gate.recv_timeout(PATIENCE).unwrap() {
            Flush::Works => self.rows.apply(batches),
            Flush::Fails => Err(StoreError::Io {
                path: String::from("/here"),
                source: io::ErrorKind::StorageFull.into(),
            }),
            Flush::Panics => panic!("a panic that the test asked for"),
        }
    }
}

struct Bench {
    rows: MemoryStore,
    persister: Persister,
    done: mpsc::Receiver<PersistDone>,
    flushes: std_mpsc::Receiver<usize>,
    gate: std_mpsc::Sender<Flush>,
}

fn bench(room: usize) -> Bench {
    let rows = MemoryStore::new();
    let (flushed, flushes) = std_mpsc::channel();
    let (gate, opened) = std_mpsc::channel();
    let (done_tx, done) = mpsc::channel(room);
    let store = Box::new(Slow {
        rows: rows.clone(),
        flushes: flushed,
        gate: opened,
    });
    let persister = Persister::spawn(store, done_tx, StoreMetrics::default()).unwrap();
    Bench {
        rows,
        persister,
        done,
        flushes,
        gate,
    }
}

impl Bench {
    fn submit(&self, id: u64) -> Result<(), PersistFull> {
        let mut batch = WriteBatch::default();
        batch.put(Keyspace::Task, id.to_be_bytes(), Vec::new());
        self.persister.submit(BatchId(id), batch)
    }

    fn flush(&self, how: Flush) -> usize {
        self.gate.send(how).unwrap();
        self.flushes.recv_timeout(PATIENCE).unwrap()
    }

    fn next_word(&mut self) -> Option<PersistDone> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.done.try_recv() {
                Ok(word) => return Some(word),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) => {}
            }
            assert!(Instant::now() < until, "the store says nothing");
            thread::yield_now();
        }
    }
}

#[test]
fn batches_that_queue_up_during_a_flush_share_the_next_one() {
    let mut bench = bench(16);
    bench.submit(1).unwrap();
    assert_eq!(bench.flushes.recv_timeout(PATIENCE), Ok(1));
    (2..=101).for_each(|id| bench.submit(id).unwrap());
    bench.gate.send(Flush::Works).unwrap();
    assert_eq!(bench.flush(Flush::Works), 100);
    assert_eq!(bench.next_word(), Some(PersistDone::Upto(BatchId(1))));
    assert_eq!(bench.next_word(), Some(PersistDone::Upto(BatchId(101))));
    assert_eq!(bench.rows.load().unwrap().len(), 101);
}

#[test]
fn stopping_flushes_what_is_queued() {
    let mut bench = bench(16);
    bench.submit(1).unwrap();
    assert_eq!(bench.flushes.recv_timeout(PATIENCE), Ok(1));
    (2..=9).for_each(|id| bench.submit(id).unwrap());
    bench.gate.send(Flush::Works).unwrap();
    bench.gate.send(Flush::Works).unwrap();
    bench.persister.stop();
    assert_eq!(bench.rows.load().unwrap().len(), 9);
    assert_eq!(bench.done.try_recv(), Ok(PersistDone::Upto(BatchId(1))));
    assert_eq!(bench.done.try_recv(), Ok(PersistDone::Upto(BatchId(9))));
    assert!(bench.done.try_recv().is_err());
}

#[test]
fn a_driver_that_does_not_read_holds_up_neither_the_store_nor_the_stop() {
    let mut bench = bench(1);
    for id in 1..=5 {
        bench.submit(id).unwrap();
        assert_eq!(bench.flush(Flush::Works), 1);
    }
    // The first word filled the queue; what it kept out arrives as one.
    assert_eq!(bench.next_word(), Some(PersistDone::Upto(BatchId(1))));
    assert_eq!(bench.next_word(), Some(PersistDone::Upto(BatchId(5))));
    bench.submit(6).unwrap();
    bench.submit(7).unwrap();
    bench.gate.send(Flush::Works).unwrap();
    bench.gate.send(Flush::Works).unwrap();
    bench.persister.stop();
    assert_eq!(bench.rows.load().unwrap().len(), 7);
}

#[test]
fn a_failure_is_the_last_word() {
    for how in [Flush::Fails, Flush::Panics] {
        let expected = match how {
            Flush::Panics => "in the middle of a write",
            _ => "/here cannot be written",
        };
        let mut bench = bench(1);
        bench.submit(1).unwrap();
        assert_eq!(bench.flush(Flush::Works), 1);
        bench.submit(2).unwrap();
        assert_eq!(bench.flush(how), 1);
        assert_eq!(bench.next_word(), Some(PersistDone::Upto(BatchId(1))));
        let Some(PersistDone::Failed(text)) = bench.next_word() else {
            panic!("no failure was said")
        };
        assert!(text.contains(expected), "{text}");
        assert_eq!(bench.submit(3), Err(PersistFull));
        assert_eq!(bench.next_word(), None);
        bench.persister.stop();
        assert_eq!(bench.rows.load().unwrap().len(), 1);
    }
}

#[test]
fn the_queue_is_bounded() {
    let bench = bench(1);
    bench.submit(1).unwrap();
    assert_eq!(bench.flushes.recv_timeout(PATIENCE), Ok(1));
    let last = QUEUE_MAX_BATCHES as u64 + 1;
    (2..=last).for_each(|id| bench.submit(id).unwrap());
    assert_eq!(bench.submit(last + 1), Err(PersistFull));
    bench.gate.send(Flush::Works).unwrap();
    assert_eq!(bench.flush(Flush::Works), QUEUE_MAX_BATCHES);
}
