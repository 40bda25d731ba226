//! Tasks done by a piece of this process.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::command::{Ended, text_of, too_large};
use crate::types::{Capability, EntityId, FencingToken, TaskId};

/// One task to do.
#[derive(Debug, Clone)]
pub struct WorkJob {
    pub task_id: TaskId,
    pub requester: EntityId,
    pub capability: Capability,
    /// Grows with each attempt at the task: who keeps the highest one seen can refuse what an
    /// older attempt still does.
    pub token: FencingToken,
    pub input: Vec<u8>,
    /// How long it may take.
    pub timeout_ms: u64,
}

/// Does tasks in the node's own process. It is called on many tasks at once.
///
/// The future is dropped when the task is canceled, or takes too long: it must not block its
/// thread (`tokio::task::spawn_blocking` is for that), and what it began elsewhere must end with
/// it. A task may come more than once. What panics has failed.
pub trait Work: Send + Sync + 'static {
    /// Does it; the error is what the requester is told.
    fn run(&self, job: WorkJob) -> BoxFuture<'_, Result<Vec<u8>, String>>;
}

/// Does one task, for at most `limit` and until `stop`.
pub(super) async fn run(
    work: Arc<dyn Work>,
    job: WorkJob,
    limit: Duration,
    output_max_bytes: usize,
    stop: &CancellationToken,
) -> Ended {
    // Already the call may panic, not only the future it returns.
    let doing = async { work.run(job).await };
    let doing = timeout(limit, AssertUnwindSafe(doing).catch_unwind());
    let done = tokio::select! {
        biased;
        () = stop.cancelled() => return Ended::Killed,
        done = doing => done,
    };
    match done {
        Ok(Ok(Ok(result))) if result.len() <= output_max_bytes => Ended::Completed(result),
        Ok(Ok(Ok(_))) => Ended::Failed(too_large(output_max_bytes)),
        Ok(Ok(Err(reason))) => Ended::Failed(reason),
        Ok(Err(_)) => Ended::Failed(String::from("the worker's code panicked")),
        Err(_) => Ended::Failed(format!("ran longer than {}, was dropped", text_of(limit))),
    }
}
