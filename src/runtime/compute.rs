//! A few threads for work that is too slow for the driver. Bounded: when all of it is taken, the
//! driver does the work itself, which slows it down to what the machine can bear.
//!
//! There are two queues. What somebody waits for (handshakes, messages, answers held back) goes
//! before registry entries, of which one list can keep a thread busy for tens of milliseconds.
//!
//! The threads also wait out the delays that hide how long a verification took ([`Jitter`]): a
//! timer of the async runtime counts in milliseconds, a thread's sleep in microseconds. Work done
//! by the driver itself is not delayed.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use rand::SeedableRng;
use tokio::sync::mpsc;

use crate::crypto::{Jitter, JitterScope, Rng, Subject, Work, WorkOutput};
use crate::types::{InboundId, JobId};

/// Jobs in each of the two queues.
const QUEUE_MAX: usize = 1_024;
const THREADS_MAX: usize = 8;

/// Where slow work goes.
pub(super) struct ComputePool {
    jobs: Arc<Jobs>,
    jitter: Jitter,
}

/// What waits for a thread.
#[derive(Default)]
struct Jobs {
    queues: Mutex<Queues>,
    added: Condvar,
}

#[derive(Default)]
struct Queues {
    awaited: VecDeque<Task>,
    rest: VecDeque<Task>,
    closed: bool,
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a task, or gives it back when there is no room.
    fn add(&self, task: Task) -> Option<Task> {
        let mut queues = self.lock();
        let queue = match task.is_awaited() {
            true => &mut queues.awaited,
            false => &mut queues.rest,
        };
        if queue.len() >= QUEUE_MAX {
            return Some(task);
        }
        queue.push_back(task);
        drop(queues);
        self.added.notify_one();
        None
    }

    /// The next task; none when the pool is gone.
    fn next(&self) -> Option<Task> {
        let mut queues = self.lock();
        loop {
            if queues.closed {
                return None;
            }
            let Queues { awaited, rest, .. } = &mut *queues;
            if let Some(task) = awaited.pop_front().or_else(|| rest.pop_front()) {
                return Some(task);
            }
            queues = self
                .added
                .wait(queues)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for ComputePool {
    fn drop(&mut self) {
        self.jobs.lock().closed = true;
        self.jobs.added.notify_all();
    }
}

enum Task {
    Work(JobId, Work),
    /// An answer that leaves a little later.
    Hold(Answer),
}

impl Task {
    /// Whether somebody waits for its end.
    fn is_awaited(&self) -> bool {
        match self {
            Task::Work(_, Work::Verify { subject, .. }) => *subject != Subject::Entries,
            Task::Hold(_) => true,
        }
    }
}

/// The answer to a request from the network.
pub(super) struct Answer {
    pub(super) to: InboundId,
    pub(super) bytes: Vec<u8>,
}

/// What a thread is done with.
pub(super) enum Computed {
    Work(JobId, WorkOutput),
    Held(Answer),
}

impl ComputePool {
    /// Starts one thread per processor (at most 8); they end when the pool is dropped.
    ///
    /// # Errors
    /// The system's, if it gives no thread or no randomness.
    pub(super) fn start(
        jitter: Jitter,
        done: mpsc::Sender<Computed>,
    ) -> Result<ComputePool, io::Error> {
        let jobs = Arc::new(Jobs::default());
        let threads = thread::available_parallelism()
            .map_or(2, usize::from)
            .min(THREADS_MAX);
        for n in 0..threads {
            let (jobs, done) = (Arc::clone(&jobs), done.clone());
            let mut rng = Rng::try_from_rng(&mut rand::rngs::SysRng)
                .map_err(|error| io::Error::other(error.to_string()))?;
            thread::Builder::new()
                .name(format!("compute-{n}"))
                .spawn(move || work(&jobs, &done, jitter, &mut rng))?;
        }
        Ok(ComputePool { jobs, jitter })
    }

    /// Hands a job over, or does it at once when the queue is full.
    pub(super) fn run(&self, job: JobId, work: Work) -> Option<WorkOutput> {
        match self.jobs.add(Task::Work(job, work)) {
            Some(Task::Work(_, work)) => Some(work.run()),
            _ => None,
        }
    }

    /// Holds an answer back for a moment if every verification is to be followed by a delay: what
    /// a session's messages are worth is judged within the driver, and only the answer shows when.
    /// Gives it back when it may leave now.
    pub(super) fn hold(&self, answer: Answer) -> Option<Answer> {
        if self.jitter.scope != JitterScope::All {
            return Some(answer);
        }
        match self.jobs.add(Task::Hold(answer)) {
            Some(Task::Hold(answer)) => Some(answer),
            _ => None,
        }
    }
}

fn work(jobs: &Jobs, done: &mpsc::Sender<Computed>, jitter: Jitter, rng: &mut Rng) {
    while let Some(task) = jobs.next() {
        let computed = match task {
            Task::Work(job, work) => {
                Computed::Work(job, work.run_with_jitter(jitter, rng, thread::sleep))
            }
            Task::Hold(answer) => {
                thread::sleep(jitter.range.draw(rng));
                Computed::Held(answer)
            }
        };
        if done.blocking_send(computed).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::crypto::{JitterRange, KeyPair, SigCheck, Subject};

    fn handshake() -> Work {
        let key = KeyPair::from_seed(&[1; 32]);
        let check = SigCheck {
            key: key.public(),
            purpose: "compute",
            digest: [0; 32],
            signature: key.sign("compute", &[0; 32]),
        };
        Work::Verify {
            subject: Subject::Handshake,
            groups: vec![vec![check]],
        }
    }

    #[test]
    fn a_handshake_goes_before_every_entry_and_has_room_of_its_own() {
        let jobs = Jobs::default();
        let entries = || Work::Verify {
            subject: Subject::Entries,
            groups: Vec::new(),
        };
        for n in 0..QUEUE_MAX as u64 {
            assert!(jobs.add(Task::Work(JobId(n), entries())).is_none());
        }
        assert!(jobs.add(Task::Work(JobId(0), entries())).is_some(), "full");
        assert!(jobs.add(Task::Work(JobId(9_999), handshake())).is_none());
        let next = |jobs: &Jobs| match jobs.next() {
            Some(Task::Work(job, _)) => job,
            _ => panic!("work"),
        };
        assert_eq!(next(&jobs), JobId(9_999));
        assert_eq!(next(&jobs), JobId(0));
    }

    #[tokio::test]
    async fn the_threads_end_with_the_pool() {
        let (done, mut computed) = mpsc::channel(16);
        drop(ComputePool::start(jitter(JitterScope::Off), done).expect("threads"));
        assert!(computed.recv().await.is_none(), "every sender is gone");
    }

    fn jitter(scope: JitterScope) -> Jitter {
        Jitter {
            scope,
            ..Jitter::default()
        }
    }

    /// The time of the quickest of many `handshake`s, one at a time: others that are busy on this
    /// machine lengthen some, and not all.
    async fn quickest(scope: JitterScope) -> Duration {
        let (done, mut computed) = mpsc::channel(16);
        let range = JitterRange::new(2_000, 3_000).expect("a range");
        let jitter = Jitter {
            range,
            ..jitter(scope)
        };
        let pool = ComputePool::start(jitter, done).expect("threads");
        let mut quickest = Duration::MAX;
        for n in 0..200 {
            let before = Instant::now();
            assert!(pool.run(JobId(n), handshake()).is_none());
            assert!(matches!(computed.recv().await, Some(Computed::Work(..))));
            quickest = quickest.min(before.elapsed());
        }
        quickest
    }

    #[tokio::test]
    async fn a_handshakes_verdict_comes_later_by_the_jitter_and_not_without_it() {
        let (without, with) = (
            quickest(JitterScope::Off).await,
            quickest(JitterScope::Handshake).await,
        );
        // Two milliseconds at least; what is measured beside it differs by much less.
        assert!(with >= Duration::from_millis(2), "{without:?} {with:?}");
        let by = with.saturating_sub(without);
        assert!(by >= Duration::from_millis(1), "{without:?} {with:?}");
    }

    #[tokio::test]
    async fn answers_are_held_back_only_where_all_is_delayed() {
        let answer = || Answer {
            to: InboundId(1),
            bytes: vec![1],
        };
        for scope in [JitterScope::Off, JitterScope::Handshake] {
            let (done, _computed) = mpsc::channel(16);
            let pool = ComputePool::start(jitter(scope), done).expect("threads");
            assert!(pool.hold(answer()).is_some());
        }
        let (done, mut computed) = mpsc::channel(16);
        let pool = ComputePool::start(jitter(JitterScope::All), done).expect("threads");
        let before = Instant::now();
        assert!(pool.hold(answer()).is_none());
        let Some(Computed::Held(held)) = computed.recv().await else {
            panic!("the answer leaves after its delay");
        };
        assert!(before.elapsed() >= Duration::from_micros(100));
        assert_eq!((held.to, held.bytes), (InboundId(1), vec![1]));
    }
}
