//! What the worker's disk has room for.
//!
//! Whoever may hand us tasks may fill our disk: with inputs at once, and with results until they
//! are acknowledged. So an offer is taken only while the disk has room for it and for the results
//! of all that is still to end. How much may still be written the shell says, before the node comes
//! to what it must leave free; until it has said so there is room.

use super::Worker;
use crate::types::limits::RESULT_MAX_BYTES;

impl Worker {
    /// So many bytes may still be written.
    pub fn disk_has(&mut self, left_bytes: u64) {
        self.disk_left = left_bytes;
    }

    /// Whether the disk has room for one task more, with an input of this size.
    pub fn disk_takes(&self, input_bytes: usize) -> bool {
        let results = (self.running() + self.waiting() + 1) as u64 * RESULT_MAX_BYTES as u64;
        self.disk_left >= results.saturating_add(input_bytes as u64)
    }
}
