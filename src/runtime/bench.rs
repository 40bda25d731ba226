//! Sends traffic to a peer and measures it: what `junto bench` and `POST /v1/bench` do.
//!
//! A file is sent as `junto send` does it, from disk to disk.
//!
//! Bounds: one measurement takes at most `SPAN_MAX` and what is under way then; latencies are kept
//! in a histogram of three digits, not one by one.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{try_join, try_join_all};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Handle;
use super::channel::{Channel, ChannelError};
use crate::proto::node::{
    Command, CommandError, CommandErrorCode, NewTransfer, PeerRef, Reply, Submission, TaskFilter,
};
use crate::types::limits::SUBMIT_MAX_TASKS;
use crate::types::{Capability, Priority, TaskId, TaskState, TransferId};

/// The longest measurement.
pub const SPAN_MAX: Duration = Duration::from_secs(20);
/// What each message carries.
const BODY: [u8; 256] = [0x5a; 256];
/// How many questions of a pipeline are open at once.
const IN_FLIGHT: usize = 64;
/// A message that takes longer ends the measurement.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A task that takes longer ends the measurement.
const TASK_LIMIT: Duration = Duration::from_secs(60);
/// A task that nobody takes waits so long.
const QUEUED_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// Tasks on one page of a list.
const PAGE_TASKS: usize = 1_000;
/// Between two reports whose way is timed, among the many that are only counted.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// A question and its answer, one at a time.
    Talk,
    /// The same, 64 at once.
    Pipeline,
    /// One way, as fast as they are acknowledged.
    Report,
}

/// Who takes a message on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taker {
    /// The peer's agent, which must echo.
    Agent,
    /// The peer's node by itself: every message is a ping, so its agent hears nothing.
    Node,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Measured {
    /// Messages, or bytes.
    pub count: u64,
    pub elapsed_us: u64,
    /// How often each latency in nanoseconds was met, to three digits.
    pub latency_ns: Vec<(u64, u64)>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("{0}")]
    Reach(CommandError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// A file did not arrive; why.
    #[error("the file did not arrive: {0}")]
    File(String),
    /// A task did not complete; why.
    #[error("a task did not complete: {0}")]
    Task(String),
}

/// Collects latencies. Shared by the loops of one measurement.
pub struct Recorder(Mutex<Histogram<u64>>);

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder(Mutex::new(
            Histogram::new(3).expect("three digits are allowed"),
        ))
    }
}

impl Recorder {
    pub fn record(&self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let mut histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It grows by itself, so it only refuses what does not fit into memory.
        let _ = histogram.record(ns);
    }

    pub fn finish(self, count: u64, elapsed: Duration) -> Measured {
        let histogram = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        Measured {
            count,
            elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            latency_ns: histogram
                .iter_recorded()
                .map(|at| (at.value_iterated_to(), at.count_at_value()))
                .collect(),
        }
    }
}

/// Sends `traffic` to `peer` for `span`.
///
/// # Errors
/// [`BenchError`]: the peer is not reached, or a message is refused or not answered.
pub async fn measure(
    handle: &Handle,
    peer: PeerRef,
    traffic: Traffic,
    taker: Taker,
    span: Duration,
) -> Result<Measured, BenchError> {
    let channel = match first_answer(handle, peer.clone()).await {
        // A session that was being replaced: there is another now.
        Err(BenchError::Reach(error)) if error.code == CommandErrorCode::Unreachable => {
            first_answer(handle, peer).await?
        }
        answered => answered?,
    };
    let end = Instant::now() + span.min(SPAN_MAX);
    Ok(match (traffic, taker) {
        (Traffic::Talk, _) => questions(&channel, taker, 1, end).await?,
        (Traffic::Pipeline, _) => questions(&channel, taker, IN_FLIGHT, end).await?,
        (Traffic::Report, Taker::Agent) => reports(&channel, end).await?,
        // A node keeps reports for its agent; a flood of pings leaves nothing behind.
        (Traffic::Report, Taker::Node) => questions(&channel, taker, 16 * IN_FLIGHT, end).await?,
    })
}

/// Sends the file at `path` (absolute) and awaits that the peer has stored it; counts bytes.
///
/// # Errors
/// [`BenchError`].
pub async fn send_file(
    handle: &Handle,
    peer: PeerRef,
    path: String,
) -> Result<Measured, BenchError> {
    let recorder = Recorder::default();
    let began = Instant::now();
    let id = TransferId(Uuid::now_v7());
    let new = NewTransfer {
        id,
        peer,
        path,
        name: None,
    };
    let mut command = Command::SendFile(new);
    loop {
        let reply = handle.call(command).await.map_err(BenchError::Reach)?;
        let Reply::Transfer(view) = reply else {
            return Err(BenchError::File(String::from("the node answers oddly")));
        };
        if view.is_over() {
            let elapsed = began.elapsed();
            recorder.record(elapsed);
            return match view.state.as_str() {
                "completed" => Ok(recorder.finish(view.size, elapsed)),
                _ => Err(BenchError::File(view.reason.unwrap_or(view.state))),
            };
        }
        let seen = Some(view.revision);
        command = Command::AwaitTransfer { id, seen };
    }
}

/// Hands tasks of `capability` to `peer` for `span`, 64 at once. Each counts from its submission to
/// its end, both on this node's disk.
///
/// # Errors
/// [`BenchError`].
pub async fn tasks(
    handle: &Handle,
    peer: PeerRef,
    capability: Capability,
    span: Duration,
) -> Result<Measured, BenchError> {
    let recorder = Recorder::default();
    let (began, end) = (Instant::now(), Instant::now() + span.min(SPAN_MAX));
    let handing_over = || async {
        let mut count = 0_u64;
        while Instant::now() < end {
            let asked = Instant::now();
            one_task(handle, peer.clone(), capability.clone()).await?;
            recorder.record(asked.elapsed());
            count += 1;
        }
        Ok::<u64, BenchError>(count)
    };
    let counts = try_join_all((0..IN_FLIGHT).map(|_| handing_over())).await?;
    let elapsed = began.elapsed();
    Ok(recorder.finish(counts.iter().sum(), elapsed))
}

async fn one_task(
    handle: &Handle,
    peer: PeerRef,
    capability: Capability,
) -> Result<(), BenchError> {
    let id = TaskId(Uuid::now_v7());
    let submission = Submission {
        to: Some(peer),
        deadline_ms: TASK_LIMIT.as_millis() as u64,
        ..Submission::new(id, capability, BODY.to_vec())
    };
    let submitted = handle.call(Command::Submit(submission)).await;
    submitted.map_err(BenchError::Reach)?;
    let ended = handle.call(Command::AwaitTask(id)).await;
    match ended.map_err(BenchError::Reach)? {
        Reply::Task(task) if task.state == TaskState::Completed => Ok(()),
        Reply::Task(task) => {
            let why = task
                .reason
                .unwrap_or_else(|| task.state.as_str().to_owned());
            Err(BenchError::Task(why))
        }
        _ => Err(BenchError::Task(String::from("the node answers oddly"))),
    }
}

/// Queues `count` tasks of `capability` in lists, each list counting from its submission until it is
/// on disk.
///
/// # Errors
/// [`BenchError`].
pub async fn fill(
    handle: &Handle,
    capability: Capability,
    count: u64,
) -> Result<Measured, BenchError> {
    let recorder = Recorder::default();
    let (began, mut left) = (Instant::now(), count);
    while left > 0 {
        let list = left.min(SUBMIT_MAX_TASKS as u64);
        let new = |_| Submission {
            deadline_ms: QUEUED_LIMIT.as_millis() as u64,
            ..Submission::new(TaskId(Uuid::now_v7()), capability.clone(), BODY.to_vec())
        };
        let all = (0..list).map(new).collect();
        let asked = Instant::now();
        let queued = handle.call(Command::SubmitMany(all)).await;
        queued.map_err(BenchError::Reach)?;
        recorder.record(asked.elapsed());
        left -= list;
    }
    Ok(recorder.finish(count, began.elapsed()))
}

/// Lists every task, page by page; the first page's time is the only one recorded.
///
/// # Errors
/// [`BenchError`].
pub async fn list(handle: &Handle) -> Result<Measured, BenchError> {
    let recorder = Recorder::default();
    let (began, mut count, mut after) = (Instant::now(), 0, None);
    loop {
        let filter = TaskFilter {
            after,
            limit: PAGE_TASKS,
            ..TaskFilter::default()
        };
        let reply = handle.call(Command::Tasks(filter)).await;
        let Reply::Tasks { tasks, next } = reply.map_err(BenchError::Reach)? else {
            return Err(BenchError::Task(String::from("the node answers oddly")));
        };
        if after.is_none() {
            recorder.record(began.elapsed());
        }
        count += tasks.len() as u64;
        after = next;
        if after.is_none() {
            return Ok(recorder.finish(count, began.elapsed()));
        }
    }
}

/// Reaches a peer and awaits the first answer of its node.
///
/// # Errors
/// [`BenchError`].
pub async fn first_answer(handle: &Handle, peer: PeerRef) -> Result<Channel, BenchError> {
    let channel = handle.channel(peer).await.map_err(BenchError::Reach)?;
    channel
        .ping(Bytes::from_static(&BODY), ANSWER_LIMIT)
        .await?;
    Ok(channel)
}

async fn questions(
    channel: &Channel,
    taker: Taker,
    in_flight: usize,
    end: Instant,
) -> Result<Measured, ChannelError> {
    let recorder = Recorder::default();
    let began = Instant::now();
    let body = Bytes::from_static(&BODY);
    let asking = || async {
        let mut count = 0_u64;
        while Instant::now() < end {
            let asked = Instant::now();
            match taker {
                Taker::Agent => {
                    let answer = channel.talk(body.clone(), Priority::Normal, ANSWER_LIMIT);
                    answer.await.map(drop)?;
                }
                Taker::Node => channel.ping(body.clone(), ANSWER_LIMIT).await.map(drop)?,
            }
            recorder.record(asked.elapsed());
            count += 1;
        }
        Ok::<u64, ChannelError>(count)
    };
    let counts = try_join_all((0..in_flight).map(|_| asking())).await?;
    let elapsed = began.elapsed();
    Ok(recorder.finish(counts.iter().sum(), elapsed))
}

/// Posts without waiting for each, times a few, and ends when all have arrived.
async fn reports(channel: &Channel, end: Instant) -> Result<Measured, ChannelError> {
    let recorder = Recorder::default();
    let began = Instant::now();
    let body = Bytes::from_static(&BODY);
    let posting = async {
        let mut count = 0_u64;
        while Instant::now() < end {
            for _ in 0..IN_FLIGHT {
                channel.post(body.clone(), Priority::Normal).await?;
            }
            count += IN_FLIGHT as u64;
        }
        Ok::<u64, ChannelError>(count)
    };
    let timing = async {
        let mut count = 0_u64;
        while Instant::now() < end {
            let sent = Instant::now();
            let confirmed = channel.report(body.clone(), Priority::Normal, false, ANSWER_LIMIT);
            confirmed.await?;
            recorder.record(sent.elapsed());
            count += 1;
            tokio::time::sleep(SAMPLE_EVERY).await;
        }
        Ok(count)
    };
    let (posted, timed) = try_join(posting, timing).await?;
    channel.drained(ANSWER_LIMIT).await?;
    let elapsed = began.elapsed();
    Ok(recorder.finish(posted + timed, elapsed))
}
