//! A disk that forgets what was not flushed.
//!
//! Batches queue; one flush makes durable all that had queued when it began, in order; the next
//! begins when it ends. A crash keeps a random prefix of what queued (the machine may stop after
//! the flush and before the node was told) and forgets the rest. A batch is whole or not at all,
//! as the real store promises.

use std::collections::{BTreeMap, VecDeque};

use rand::RngExt as _;

use crate::crypto::Rng;
use crate::types::{BatchId, Keyspace, Row, WriteBatch, WriteOp};

/// One node's disk.
#[derive(Default)]
pub(super) struct Disk {
    durable: BTreeMap<(Keyspace, Vec<u8>), Vec<u8>>,
    queued: VecDeque<(BatchId, WriteBatch)>,
    /// How many of `queued` the flush under way covers; 0 when none is.
    flushing: usize,
}

/// What a crash did to the queue.
pub(super) struct Remains {
    /// The batches that turn out to be durable.
    pub(super) kept: Vec<WriteBatch>,
    pub(super) forgotten: usize,
}

impl Disk {
    /// Queues a batch. Returns whether a flush must begin.
    #[must_use]
    pub(super) fn write(&mut self, id: BatchId, batch: WriteBatch) -> bool {
        self.queued.push_back((id, batch));
        self.begin()
    }

    /// Whether something is queued that is not durable yet.
    pub(super) fn is_writing(&self) -> bool {
        !self.queued.is_empty()
    }

    fn begin(&mut self) -> bool {
        let begins = self.flushing == 0 && !self.queued.is_empty();
        if begins {
            self.flushing = self.queued.len();
        }
        begins
    }

    /// The flush under way ends. Returns the batches now durable, the number of the last, and
    /// whether another flush must begin.
    pub(super) fn flushed(&mut self) -> (Vec<WriteBatch>, BatchId, bool) {
        let covered = std::mem::take(&mut self.flushing);
        let mut upto = BatchId::NONE;
        let mut batches = Vec::with_capacity(covered);
        for (id, batch) in self.queued.drain(..covered) {
            upto = id;
            batches.push(batch);
        }
        for batch in &batches {
            self.apply(batch);
        }
        (batches, upto, self.begin())
    }

    /// The machine stops.
    pub(super) fn crash(&mut self, rng: &mut Rng) -> Remains {
        let keep = rng.random_range(0..=self.queued.len());
        let forgotten = self.queued.len() - keep;
        let kept: Vec<WriteBatch> = self.queued.drain(..keep).map(|(_, batch)| batch).collect();
        for batch in &kept {
            self.apply(batch);
        }
        self.queued.clear();
        self.flushing = 0;
        Remains { kept, forgotten }
    }

    fn apply(&mut self, batch: &WriteBatch) {
        for op in &batch.ops {
            match op {
                WriteOp::Put { space, key, value } => {
                    self.durable.insert((*space, key.clone()), value.clone());
                }
                WriteOp::Delete { space, key } => {
                    self.durable.remove(&(*space, key.clone()));
                }
            }
        }
    }

    /// Every durable row, in the order of keyspace and key.
    pub(super) fn rows(&self) -> Vec<Row> {
        self.durable
            .iter()
            .map(|((space, key), value)| Row {
                space: *space,
                key: key.clone(),
                value: value.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn batch(key: u8) -> WriteBatch {
        let mut batch = WriteBatch::default();
        batch.put(Keyspace::Meta, [key], vec![key]);
        batch
    }

    #[test]
    fn one_flush_covers_all_that_queued_before_it() {
        let mut disk = Disk::default();
        assert!(disk.write(BatchId(1), batch(1)));
        assert!(!disk.write(BatchId(2), batch(2)));
        let (batches, upto, more) = disk.flushed();
        assert_eq!((batches.len(), upto, more), (1, BatchId(1), true));
        assert!(!disk.write(BatchId(3), batch(3)));
        let (batches, upto, more) = disk.flushed();
        assert_eq!((batches.len(), upto, more), (1, BatchId(2), true));
        assert_eq!(disk.rows().len(), 2);
    }

    #[test]
    fn a_crash_keeps_a_prefix_and_never_what_came_later() {
        for seed in 0..50 {
            let mut disk = Disk::default();
            let _ = disk.write(BatchId(1), batch(0));
            let _ = disk.flushed();
            for key in 1..8u8 {
                let _ = disk.write(BatchId(u64::from(key) + 1), batch(key));
            }
            let remains = disk.crash(&mut Rng::seed_from_u64(seed));
            let rows = disk.rows();
            assert_eq!(rows.len(), 1 + remains.kept.len());
            assert_eq!(remains.kept.len() + remains.forgotten, 7);
            assert!(
                rows.iter()
                    .enumerate()
                    .all(|(at, row)| row.value == [at as u8])
            );
        }
    }
}
