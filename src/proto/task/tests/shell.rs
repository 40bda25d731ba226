//! What surrounds a core: a clock, dice, and a disk that forgets what was not flushed.

use std::collections::{BTreeMap, VecDeque};

use rand::SeedableRng;

use crate::crypto::Rng;
use crate::proto::Step;
use crate::types::{BatchId, Keyspace, Mono, Now, Row, Wall, WriteBatch, WriteOp};

const START: Now = Now {
    mono: Mono::from_micros(1),
    wall: Wall(1_700_000_000_000),
};

/// The rows of one side: those a crash spares, and the batches it takes.
#[derive(Default)]
pub(super) struct Disk {
    rows: BTreeMap<(Keyspace, Vec<u8>), Vec<u8>>,
    pending: VecDeque<WriteBatch>,
    written: BatchId,
    durable: BatchId,
}

impl Disk {
    fn write(&mut self, batch: WriteBatch) {
        if !batch.is_empty() {
            self.written.0 += 1;
            self.pending.push_back(batch);
        }
    }

    /// Makes the oldest `batches` durable.
    pub(super) fn flush(&mut self, batches: usize) {
        for batch in self.pending.drain(..batches.min(self.pending.len())) {
            self.durable.0 += 1;
            for op in batch.ops {
                match op {
                    WriteOp::Put { space, key, value } => {
                        self.rows.insert((space, key), value);
                    }
                    WriteOp::Delete { space, key } => {
                        self.rows.remove(&(space, key));
                    }
                }
            }
        }
    }

    pub(super) fn is_durable(&self, batch: BatchId) -> bool {
        batch <= self.durable
    }

    /// What was not flushed is gone, and batches are counted anew.
    pub(super) fn crash(&mut self) {
        self.pending.clear();
        (self.written, self.durable) = (BatchId::NONE, BatchId::NONE);
    }

    /// Every durable row, by keyspace and key.
    pub(super) fn rows(&self) -> Vec<Row> {
        let row = |((space, key), value): (&(Keyspace, Vec<u8>), &Vec<u8>)| Row {
            space: *space,
            key: key.clone(),
            value: value.clone(),
        };
        self.rows.iter().map(row).collect()
    }

    pub(super) fn row(&self, space: Keyspace, key: &[u8]) -> Option<&[u8]> {
        let place = (space, key.to_vec());
        self.rows.get(&place).map(Vec::as_slice)
    }

    pub(super) fn count(&self, space: Keyspace) -> usize {
        self.rows.keys().filter(|(s, _)| *s == space).count()
    }
}

/// A core and what surrounds it.
pub(super) struct Side<C> {
    pub(super) core: C,
    pub(super) disk: Disk,
    pub(super) now: Now,
    rng: Rng,
}

impl<C> Side<C> {
    pub(super) fn new(core: C, seed: u64) -> Side<C> {
        Side {
            core,
            disk: Disk::default(),
            now: START,
            rng: Rng::seed_from_u64(seed),
        }
    }

    /// One step, whose writes are on their way to the disk when it returns.
    pub(super) fn step<T>(&mut self, act: impl FnOnce(&mut C, &mut Step<'_>) -> T) -> T {
        let mut writes = WriteBatch::default();
        let mut step = Step {
            now: self.now,
            rng: &mut self.rng,
            batch: BatchId(self.disk.written.0 + 1),
            writes: &mut writes,
        };
        let out = act(&mut self.core, &mut step);
        self.disk.write(writes);
        out
    }

    /// One step, flushed at once.
    pub(super) fn kept<T>(&mut self, act: impl FnOnce(&mut C, &mut Step<'_>) -> T) -> T {
        let out = self.step(act);
        self.disk.flush(usize::MAX);
        out
    }

    /// Lets time go by.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now.mono = self.now.mono + ms;
        self.now.wall = self.now.wall + ms;
    }
}
