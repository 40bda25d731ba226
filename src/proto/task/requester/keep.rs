//! What is kept of tasks that have ended: how long, and how many. First the oldest goes.
//!
//! A failed task is kept with its input until somebody decides (`dead`), or for as long as it is to
//! be; then it is one that has ended like any other.

use super::Requester;
use crate::proto::Step;
use crate::types::limits::{
    DEAD_MAX_BYTES, DEAD_MAX_TASKS, RESULTS_MAX_BYTES, TERMINAL_KEEP_MS, TERMINAL_MAX_TASKS,
};
use crate::types::{Keyspace, Mono, Now, TaskId, Wall};

/// How long what has ended is kept, and how much of it. In memory is all of it but files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// From a task's end on.
    pub ended_ms: u64,
    pub tasks: u32,
    /// Of their results.
    pub result_bytes: u64,
    /// How long a failed task keeps its input; 0: until somebody decides.
    pub failed_ms: u64,
    pub failed_tasks: u32,
    /// Of their inputs.
    pub failed_bytes: u64,
}

impl Default for Keep {
    fn default() -> Keep {
        Keep {
            ended_ms: TERMINAL_KEEP_MS,
            tasks: TERMINAL_MAX_TASKS,
            result_bytes: RESULTS_MAX_BYTES as u64,
            failed_ms: 0,
            failed_tasks: DEAD_MAX_TASKS,
            failed_bytes: DEAD_MAX_BYTES as u64,
        }
    }
}

impl Requester {
    /// When what ended then is forgotten.
    pub(super) fn forgotten_at(&self, ended: Wall, now: Now) -> Mono {
        super::super::forget_at(ended, self.config.keep.ended_ms, now)
    }

    /// When a task that failed then loses its input; none: when somebody says so.
    pub(super) fn decided_at(&self, failed: Wall, now: Now) -> Option<Mono> {
        let keep_ms = Some(self.config.keep.failed_ms).filter(|ms| *ms > 0)?;
        Some(super::super::forget_at(failed, keep_ms, now))
    }

    pub(super) fn prune(&mut self, step: &mut Step<'_>) {
        self.let_outdated_go(step);
        let keep = self.config.keep;
        while let Some((forget_at, id)) = self.over.first().copied() {
            let room = self.over.len() <= keep.tasks as usize
                && self.result_bytes as u64 <= keep.result_bytes;
            if forget_at > step.now.mono && room {
                break;
            }
            self.over.pop_first();
            self.forget(id, step);
        }
    }

    /// Nothing stays of a task that has ended. The caller took it from `over`.
    pub(super) fn forget(&mut self, id: TaskId, step: &mut Step<'_>) {
        if let Some(task) = self.tasks.remove(&id) {
            self.result_bytes -= task.result.as_ref().map_or(0, Vec::len);
            self.uncount(task.counted);
            self.files.results.remove(&id);
            self.drop_proof(&task.record, step);
            if let Some(key) = &task.record.key {
                self.by_key.remove(key);
            }
            for space in [Keyspace::Task, Keyspace::TaskInput, Keyspace::TaskResult] {
                step.delete(space, id.0.as_bytes().to_vec());
            }
        }
    }
}
