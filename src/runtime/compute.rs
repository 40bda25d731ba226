//! A few threads for work that is too slow for the driver. Bounded: when all of it is taken, the
//! driver does the work itself, which slows it down to what the machine can bear.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::sync::mpsc;

use crate::crypto::{Work, WorkOutput};
use crate::types::JobId;

const QUEUE_MAX: usize = 1_024;
const THREADS_MAX: usize = 8;

/// Where slow work goes.
pub(super) struct ComputePool {
    jobs: SyncSender<(JobId, Work)>,
}

impl ComputePool {
    /// Starts one thread per processor (at most 8); they end when the pool is dropped.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub(super) fn start(
        done: mpsc::Sender<(JobId, WorkOutput)>,
    ) -> Result<ComputePool, std::io::Error> {
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        let queue = Arc::new(Mutex::new(queue));
        let threads = thread::available_parallelism()
            .map_or(2, usize::from)
            .min(THREADS_MAX);
        for n in 0..threads {
            let (queue, done) = (Arc::clone(&queue), done.clone());
            thread::Builder::new()
                .name(format!("compute-{n}"))
                .spawn(move || work(&queue, &done))?;
        }
        Ok(ComputePool { jobs })
    }

    /// Hands a job over, or does it at once when the queue is full.
    pub(super) fn run(&self, job: JobId, work: Work) -> Option<WorkOutput> {
        match self.jobs.try_send((job, work)) {
            Ok(()) => None,
            Err(TrySendError::Full((_, work)) | TrySendError::Disconnected((_, work))) => {
                Some(work.run())
            }
        }
    }
}

fn work(queue: &Mutex<Receiver<(JobId, Work)>>, done: &mpsc::Sender<(JobId, WorkOutput)>) {
    loop {
        let next = queue
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .recv();
        let Ok((job, work)) = next else { return };
        if done.blocking_send((job, work.run())).is_err() {
            return;
        }
    }
}
