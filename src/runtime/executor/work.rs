//! Tasks done by a piece of this process.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::command::{Ended, text_of};
use super::output::Output;
use super::passes::RunAccess;
use super::telling::Say;
use crate::types::{Capability, EntityId, FencingToken, TaskId};

/// What of a result is written at a time.
const PIECE_BYTES: usize = 256 * 1024;

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
    /// The input where it is too large for a message: a file to be read and left as it is. Then
    /// `input` is empty.
    pub input_file: Option<PathBuf>,
    /// How long it may take.
    pub timeout_ms: u64,
    /// The W3C trace context: the task is the trace, this run a span of it.
    pub traceparent: String,
    /// With this it may hand parts of its task on, if the capability allows that (`delegate`).
    pub api: Option<RunAccess>,
    /// Tells who watches how far it is.
    pub say: Say,
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
    mut output: Output,
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
        Ok(Ok(Ok(result))) => {
            let max_bytes = output.max_bytes();
            for piece in result.chunks(PIECE_BYTES) {
                if let Err(cut) = output.write(piece).await {
                    return cut.into_ended(max_bytes);
                }
            }
            output.finish().await
        }
        Ok(Ok(Err(reason))) => Ended::Failed(reason),
        Ok(Err(_)) => Ended::Failed(String::from("the worker's code panicked")),
        Err(_) => Ended::Failed(format!("ran longer than {}, was dropped", text_of(limit))),
    }
}
