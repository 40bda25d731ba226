//! What the worker's disk has room for, and what is known of its places (`places`).
//!
//! Whoever may hand us tasks may fill our disk: with inputs at once, and with results until they
//! are acknowledged. So an offer is taken only while the disk has room for it and for the results
//! of all that is still to end. How much may still be written the shell says, before the node comes
//! to what it must leave free; until it has said so there is room.

use std::collections::BTreeMap;

use super::{HeldKey, Worker};
use crate::types::Mono;
use crate::types::limits::RESULT_MAX_BYTES;

/// See the module, and `places`. Not stored.
#[derive(Default)]
pub(super) struct Space {
    /// What may still be written, if that is known.
    disk_left: Option<u64>,
    /// Since when what ended waits to be acknowledged, in this life.
    pub(super) ended: BTreeMap<HeldKey, Mono>,
    /// When nothing was found that could be let go.
    pub(super) looked: Option<Mono>,
    /// What was let go and is yet to be told.
    pub(super) let_go: Vec<HeldKey>,
}

impl Worker {
    /// So many bytes may still be written.
    pub fn disk_has(&mut self, left_bytes: u64) {
        self.space.disk_left = Some(left_bytes);
    }

    /// Whether the disk has room for one task more, with an input of this size.
    pub fn disk_takes(&self, input_bytes: usize) -> bool {
        let Some(left) = self.space.disk_left.filter(|_| !self.asks_no_room()) else {
            return true;
        };
        let one = RESULT_MAX_BYTES as u64;
        left >= (self.disk_owes() + one).saturating_add(input_bytes as u64)
    }

    /// What the results may take of the disk that are still to come.
    pub fn disk_owes(&self) -> u64 {
        (self.running() + self.waiting()) as u64 * RESULT_MAX_BYTES as u64
    }

    /// So much of it is an input that is written now.
    pub(super) fn disk_took(&mut self, input_bytes: usize) {
        if let Some(left) = &mut self.space.disk_left {
            *left = left.saturating_sub(input_bytes as u64);
        }
    }

    #[cfg(test)]
    fn asks_no_room(&self) -> bool {
        self.planted == Some(crate::proto::task::Planted::AskNoRoom)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "a planted defect of the tests")]
    fn asks_no_room(&self) -> bool {
        false
    }
}
