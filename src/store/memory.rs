//! A store in memory, for tests of what lies above it. Clones share their rows, so that what is
//! started again with a clone finds what was applied before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Store, StoreError, check_rows};
use crate::types::{Keyspace, Row, WriteBatch, WriteOp};

type Rows = BTreeMap<(Keyspace, Vec<u8>), Vec<u8>>;

/// Rows that live as long as the last clone.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    rows: Arc<Mutex<Rows>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // A panic elsewhere cannot leave a batch half applied: nothing below panics in between.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn load(&self) -> Result<Vec<Row>, StoreError> {
        let rows = self.rows();
        Ok(rows
            .iter()
            .map(|((space, key), value)| Row {
                space: *space,
                key: key.clone(),
                value: value.clone(),
            })
            .collect())
    }

    fn apply(&mut self, batches: &[WriteBatch]) -> Result<(), StoreError> {
        check_rows(batches).map_err(|source| StoreError::Io {
            path: String::from("(memory)"),
            source,
        })?;
        let mut rows = self.rows();
        for op in batches.iter().flat_map(|batch| &batch.ops) {
            match op {
                WriteOp::Put { space, key, value } => {
                    rows.insert((*space, key.clone()), value.clone());
                }
                WriteOp::Delete { space, key } => {
                    rows.remove(&(*space, key.clone()));
                }
            }
        }
        Ok(())
    }
}
