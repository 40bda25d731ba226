//! One step of a core: the time it happens at, the dice, and the one batch of its writes.

use rand::RngExt as _;

use crate::crypto::Rng;
use crate::types::{BatchId, Keyspace, Nonce, Now, WriteBatch};

/// Passed down through the cores while one input is handled.
pub struct Step<'a> {
    pub now: Now,
    pub rng: &'a mut Rng,
    /// The number this step's writes will have, if there are any.
    pub batch: BatchId,
    pub writes: &'a mut WriteBatch,
}

impl Step<'_> {
    /// Adds or replaces a row and tells which batch makes it durable.
    #[must_use = "what rests on the row waits for this batch"]
    pub fn put(&mut self, space: Keyspace, key: impl Into<Vec<u8>>, value: Vec<u8>) -> BatchId {
        self.writes.put(space, key, value);
        self.batch
    }

    /// Removes a row.
    pub fn delete(&mut self, space: Keyspace, key: impl Into<Vec<u8>>) {
        self.writes.delete(space, key);
    }

    /// A fresh nonce.
    pub fn nonce(&mut self) -> Nonce {
        Nonce(self.rng.random())
    }

    /// An id that ascends with the time.
    pub fn uuid_v7(&mut self) -> uuid::Uuid {
        let bytes: [u8; 10] = self.rng.random();
        uuid::Builder::from_unix_timestamp_millis(self.now.wall.0, &bytes).into_uuid()
    }

    /// A delay with full jitter: uniform between 0 and `base_ms · 2^tries`, at most `max_ms`.
    pub fn backoff_ms(&mut self, tries: u32, base_ms: u64, max_ms: u64) -> u64 {
        let ceiling = base_ms
            .saturating_mul(1 << tries.min(20))
            .clamp(1, max_ms.max(1));
        self.rng.random_range(0..=ceiling)
    }
}
