//! The thread of the store: takes write batches from the driver, and says what is durable.
//!
//! Groups form by themselves: while one group is being flushed the next one gathers, and all of it
//! shares the next flush. There is no timer.
//!
//! Invariants
//! 1. Batches are applied in the order in which they were submitted.
//! 2. `Upto(n)` is sent only after a flush that had every batch up to `n` in it.
//! 3. After a failure nothing is applied or confirmed any more; the failure is the last word.
//! 4. The driver never waits for the store ([`Persister::submit`]), and the store never for the
//!    driver: a confirmation that finds the driver's queue full is merged into the next one.
//!
//! Bounds: [`QUEUE_MAX_BATCHES`] waiting batches; their bytes are bounded by what the core admits.

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::metrics::StoreMetrics;
use crate::store::Store;
use crate::types::{BatchId, WriteBatch};

/// Batches that wait for the flush under way to end.
const QUEUE_MAX_BATCHES: usize = 65_536;
/// How soon a word that found the driver's queue full is tried again.
const RETRY: Duration = Duration::from_millis(2);

/// What the store's thread says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PersistDone {
    /// Every batch up to this one is durable.
    Upto(BatchId),
    /// The store refused a write; nothing after the last `Upto` may be relied on.
    Failed(String),
}

/// The batch was not taken: too many wait, or the store has failed or was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store takes no more writes now")]
pub struct PersistFull;

/// The driver's handle of the thread.
pub struct Persister {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    batches: Vec<WriteBatch>,
    /// The newest batch taken in.
    newest: BatchId,
    /// The store has failed: no more is taken.
    failed: bool,
    /// The handle is gone or about to go: no more will come.
    stopping: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while the queue is held, and each change leaves it whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.queue().stopping = true;
        self.changed.notify_one();
    }
}

impl Persister {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub fn spawn(
        store: Box<dyn Store>,
        done: mpsc::Sender<PersistDone>,
        metrics: StoreMetrics,
    ) -> std::io::Result<Persister> {
        let shared = Arc::<Shared>::default();
        let worker = Worker {
            shared: Arc::clone(&shared),
            store,
            done,
            metrics,
            unsaid: None,
        };
        let thread = thread::Builder::new()
            .name(String::from("store"))
            .spawn(|| worker.run())?;
        Ok(Persister {
            shared,
            thread: Some(thread),
        })
    }

    /// Hands over a batch. Never blocks; ids grow from call to call.
    ///
    /// # Errors
    /// [`PersistFull`]: the batch was not taken, and none after it may be promised.
    pub fn submit(&self, id: BatchId, writes: WriteBatch) -> Result<(), PersistFull> {
        let mut queue = self.shared.queue();
        if queue.failed || queue.batches.len() >= QUEUE_MAX_BATCHES {
            return Err(PersistFull);
        }
        queue.batches.push(writes);
        queue.newest = id;
        drop(queue);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Makes what is queued durable, closes the store, and ends the thread. The last words are in
    /// the channel by then, as far as it had room. Blocks for a flush: not for an async thread.
    pub fn stop(mut self) {
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            // The worker turns panics of the store into words; there is nothing to add here.
            let _ = thread.join();
        }
    }
}

impl Drop for Persister {
    fn drop(&mut self) {
        // Without `stop` the thread is left to finish by itself.
        self.shared.stop();
    }
}

struct Worker {
    shared: Arc<Shared>,
    store: Box<dyn Store>,
    done: mpsc::Sender<PersistDone>,
    metrics: StoreMetrics,
    /// The newest word that the driver's queue had no room for.
    unsaid: Option<PersistDone>,
}

impl Worker {
    fn run(mut self) {
        while let Some((group, newest)) = self.next_group() {
            let begun = Instant::now();
            let applied = catch_unwind(AssertUnwindSafe(|| self.store.apply(&group)));
            let failure = match applied {
                Ok(Ok(())) => {
                    self.metrics.batches.inc_by(group.len() as u64);
                    self.metrics.flushes.inc();
                    let took = begun.elapsed();
                    self.metrics.flush_seconds.observe(took.as_secs_f64());
                    self.metrics.flush_us.inc_by(took.as_micros() as u64);
                    self.say(PersistDone::Upto(newest));
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => String::from("the store broke off in the middle of a write"),
            };
            self.metrics.failures.inc();
            let mut queue = self.shared.queue();
            queue.failed = true;
            queue.batches = Vec::new();
            drop(queue);
            self.say(PersistDone::Failed(failure));
            break;
        }
        self.say_the_rest();
    }

    /// Tries until the last word is said, the driver is gone, or nobody waits for it any more.
    fn say_the_rest(&mut self) {
        self.say_again();
        let mut queue = self.shared.queue();
        while self.unsaid.is_some() && !queue.stopping {
            let waited = self.shared.changed.wait_timeout(queue, RETRY);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            self.say_again();
            queue = self.shared.queue();
        }
    }

    /// Everything that is queued, as soon as there is something; none once no more will come.
    fn next_group(&mut self) -> Option<(Vec<WriteBatch>, BatchId)> {
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.queue();
        loop {
            if !queue.batches.is_empty() {
                return Some((std::mem::take(&mut queue.batches), queue.newest));
            }
            if queue.stopping {
                return None;
            }
            queue = if self.unsaid.is_none() {
                shared
                    .changed
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner)
            } else {
                self.say_again();
                let waited = shared.changed.wait_timeout(queue, RETRY);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    /// Replaces whatever was not said yet: a later `Upto` covers an earlier one, and a failure is
    /// the last word.
    fn say(&mut self, word: PersistDone) {
        self.unsaid = Some(word);
        self.say_again();
    }

    fn say_again(&mut self) {
        if let Some(word) = self.unsaid.take()
            && let Err(mpsc::error::TrySendError::Full(word)) = self.done.try_send(word)
        {
            self.unsaid = Some(word);
        }
    }
}
