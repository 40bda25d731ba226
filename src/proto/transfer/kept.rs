//! What sending and receiving share of the files that they keep: the row, and how many that are
//! over stay.

use std::collections::BTreeMap;

use crate::proto::Step;
use crate::types::limits::TRANSFERS_KEPT;
use crate::types::{BatchId, Keyspace, TransferId, Wall};

/// A file that one side keeps.
pub(super) trait Kept {
    /// Where its row is.
    const ROW: Keyspace;
    /// Where its list of hashes is, until it is over.
    const CHUNKS: Keyspace;

    fn is_over(&self) -> bool;

    fn changed(&self) -> Wall;

    /// Its row as of now, when it changed.
    fn row(&mut self, now: Wall) -> Vec<u8>;
}

/// Writes the row of a file that changed.
pub(super) fn write<F: Kept>(id: TransferId, file: &mut F, step: &mut Step<'_>) -> BatchId {
    let row = file.row(step.now.wall);
    step.put(F::ROW, *id.0.as_bytes(), row)
}

/// This file is over, and its row says so: its list of hashes goes, and so do the oldest of those
/// that are over when they are too many.
pub(super) fn close<F: Kept>(
    files: &mut BTreeMap<TransferId, F>,
    id: TransferId,
    step: &mut Step<'_>,
) {
    step.delete(F::CHUNKS, *id.0.as_bytes());
    let over = files.iter().filter(|(_, file)| file.is_over());
    let mut over: Vec<_> = over.map(|(id, file)| (file.changed(), *id)).collect();
    over.sort_unstable();
    let excess = over.len().saturating_sub(TRANSFERS_KEPT);
    for (_, id) in over.into_iter().take(excess) {
        files.remove(&id);
        step.delete(F::ROW, *id.0.as_bytes());
    }
}
