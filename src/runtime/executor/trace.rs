//! What lets a run be seen in the trace of its task.

use crate::types::TaskId;

/// A W3C trace context: the task is the trace, this run, or claim, a span of it.
pub(super) fn traceparent(task: TaskId) -> String {
    let span = rand::random::<u64>().max(1);
    format!("00-{}-{span:016x}-01", task.0.simple())
}
