//! How much the two logs keep: the limits of [`crate::types::limits`], and smaller ones in worlds that
//! are to come to them.

use crate::types::limits::{QUEUE_MAX_BYTES, QUEUE_MAX_TASKS, TOMBSTONES_MAX, WORKER_MAX_TASKS};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Tasks that are not terminal, of one requester.
    pub queue_tasks: usize,
    /// Their inputs together.
    pub queue_bytes: usize,
    /// Tasks that a worker holds.
    pub held_tasks: usize,
    /// Those of which it keeps nothing but that it had them.
    pub tombstones: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            queue_tasks: QUEUE_MAX_TASKS,
            queue_bytes: QUEUE_MAX_BYTES,
            held_tasks: WORKER_MAX_TASKS,
            tombstones: TOMBSTONES_MAX,
        }
    }
}
