//! Both sides against each other: messages that are lost, streams that break, chunks that lie,
//! lives that end, and disks that know only what was flushed.

mod laws;
mod parts;
mod sides;
mod world;

use std::collections::BTreeMap;

use rand::{RngExt as _, SeedableRng};

use self::world::World;
use super::*;
use crate::crypto::{ChunkHasher, Rng};
use crate::proto::Step;
use crate::types::{
    BatchId, EntityId, Keyspace, Mono, Now, Row, TransferId, Wall, WriteBatch, WriteOp,
};

const SENDER: EntityId = EntityId([1; 32]);
const RECEIVER: EntityId = EntityId([2; 32]);
const OTHER: EntityId = EntityId([3; 32]);

fn id(n: u128) -> TransferId {
    TransferId(uuid::Uuid::from_u128(n))
}

/// A file of `chunks` chunks of 1 MiB, each of one byte's repetition, the last of 3 bytes.
fn manifest(chunks: u32) -> Manifest {
    let size = u64::from(chunks - 1) * (1 << 20) + 3;
    let hash = |n: u32| {
        let mut hasher = ChunkHasher::new(u64::from(n) << 20, chunks == 1);
        let length = if n + 1 == chunks { 3 } else { 1 << 20 };
        hasher.update(&vec![n as u8; length]);
        hasher.finish()
    };
    Manifest::new(size, 1 << 20, (0..chunks).map(hash).collect()).expect("it fits")
}

/// What survives the end of a life.
#[derive(Default)]
struct Disk {
    rows: BTreeMap<(Keyspace, Vec<u8>), Vec<u8>>,
    pending: Vec<(BatchId, WriteBatch)>,
    next_batch: u64,
}

impl Disk {
    fn flush(&mut self) -> BatchId {
        for (_, batch) in self.pending.drain(..) {
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
        BatchId(self.next_batch)
    }

    fn rows(&self) -> Vec<Row> {
        let row = |((space, key), value): (&(Keyspace, Vec<u8>), &Vec<u8>)| Row {
            space: *space,
            key: key.clone(),
            value: value.clone(),
        };
        self.rows.iter().map(row).collect()
    }

    /// Runs one step and keeps its writes back until the next flush.
    fn step<T>(&mut self, rng: &mut Rng, now: Now, f: impl FnOnce(&mut Step<'_>) -> T) -> T {
        let mut writes = WriteBatch::default();
        let batch = BatchId(self.next_batch + 1);
        let mut step = Step {
            now,
            rng,
            batch,
            writes: &mut writes,
        };
        let result = f(&mut step);
        if !writes.is_empty() {
            self.next_batch += 1;
            self.pending.push((batch, writes));
        }
        result
    }
}

fn at(ms: u64) -> Now {
    Now {
        mono: Mono::from_micros(ms * 1_000),
        wall: Wall(1_700_000_000_000 + ms),
    }
}
