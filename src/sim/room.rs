//! What a machine's disk has room for while something else fills it.
//!
//! The node is told as its shell tells it: by a look at the disk twice a second, of which it hears
//! a little later, when it may have written more.

use super::host::Host;
use crate::proto::node::{DiskRoom, Input};

/// Between two looks.
pub(super) const LOOK_EVERY_MS: u64 = 500;
/// A look is heard of before the next one is taken.
pub(super) const LOOK_TAKES_MAX_MS: u64 = 300;
/// What a node is to leave free.
const KEEP_BYTES: u64 = 64 << 20;
/// What is free when nothing else fills the disk.
const PLENTY_BYTES: u64 = 1 << 30;

/// A disk that is short of room, or was until its node is told that it is no more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    free: u64,
    until_us: u64,
    /// This start of the node has been told.
    told: bool,
}

impl Room {
    /// `left` is what there is beyond what is to stay free, or what is missing of that.
    pub(super) fn short(left: i64, until_us: u64) -> Room {
        Room {
            free: KEEP_BYTES.saturating_add_signed(left),
            until_us,
            told: false,
        }
    }

    /// What is seen now.
    pub(super) fn look(&mut self, now_us: u64) -> DiskRoom {
        if now_us >= self.until_us {
            self.free = PLENTY_BYTES;
        }
        DiskRoom {
            free_bytes: self.free,
            keep_bytes: KEEP_BYTES,
        }
    }

    /// Returns what there was beyond what is to stay free, as far as the node could know.
    pub(super) fn writes(&mut self, bytes: u64) -> Option<u64> {
        let left = self.free.saturating_sub(KEEP_BYTES);
        self.free = self.free.saturating_sub(bytes);
        Some(left).filter(|_| self.told)
    }
}

impl Host {
    /// A node is handed something: it may be a look at its disk.
    pub(super) fn hears_of_room(&mut self, input: &Input) {
        if let Input::Disk(seen) = input
            && let Some(room) = &mut self.room
        {
            room.told = true;
            if seen.free_bytes == PLENTY_BYTES {
                self.room = None;
            }
        }
    }

    /// The node stops: its next start is told anew.
    pub(super) fn forgets_room(&mut self) {
        if let Some(room) = &mut self.room {
            room.told = false;
        }
    }
}
