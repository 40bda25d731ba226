//! One requester, three workers and a network weaker than any real one: it delays, drops,
//! repeats and reorders whatever either side says.
//!
//! What the node's shell guarantees holds here too: an output leaves once the batch it rests on
//! is durable, an answer finds only the life that asked, and a message does not outlive the
//! session it was sealed in at its receiver's end. The clocks differ: the requester's runs three
//! per cent fast, a worker's four per cent slow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::*;
use crate::proto::{Step, Violation};
use crate::types::{BatchId, Mono, Now, RunId, Wall};
use crate::wire::{
    AcceptAnswer, AckAnswer, CancelItem, DelegateItem, RenewAnswer, RenewItem, ResultItem,
};

pub(super) const WORKERS: usize = 3;
const SLOTS: u32 = 2;
const QUEUE: u32 = 2;
const EPOCH: Wall = Wall(1_700_000_000_000);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    Requester,
    Worker(usize),
}

#[derive(Debug, Clone)]
pub(super) enum Message {
    Offer(Vec<DelegateItem>),
    Accept(BootId, Vec<(TaskId, FencingToken)>, Vec<AcceptAnswer>),
    Renew(BootId, Vec<RenewItem>, Mono),
    Renewed(Vec<RenewItem>, Vec<RenewAnswer>, Mono),
    Results(Vec<ResultItem>),
    Kept(Vec<ResultItem>, Vec<AckAnswer>),
    Cancel(Vec<CancelItem>),
}

/// A message between the requester and one worker.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) worker: usize,
    pub(super) message: Message,
    /// Which life of its sender said it.
    pub(super) life: u64,
    pub(super) repeated: bool,
}

/// What waits for the disk.
#[derive(Debug)]
pub(super) enum Said {
    Packet(Packet),
    /// The caller is told that its submission is kept.
    Submitted(TaskId),
    /// Whoever awaits the task is told that it is over.
    Finished(TaskId),
}

/// A process: its core, its disk, and what it may not say yet.
pub(super) struct Process<C> {
    pub(super) side: Side<C>,
    pub(super) life: u64,
    pub(super) started_us: u64,
    pub(super) waiting: Vec<(BatchId, Said)>,
}

impl<C> Process<C> {
    fn new(core: C, seed: u64) -> Process<C> {
        Process {
            side: Side::new(core, seed),
            life: 1,
            started_us: 0,
            waiting: Vec::new(),
        }
    }

    /// Makes batches durable and returns what may now be said.
    pub(super) fn flush(&mut self, batches: usize) -> Vec<Said> {
        self.side.disk.flush(batches);
        let (ready, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(after, _)| self.side.disk.is_durable(*after));
        self.waiting = waiting;
        let ready: Vec<(BatchId, Said)> = ready;
        ready.into_iter().map(|(_, said)| said).collect()
    }

    pub(super) fn crash(&mut self, core: C, at_us: u64) {
        self.side.disk.crash();
        self.waiting.clear();
        self.side.core = core;
        self.life += 1;
        self.started_us = at_us;
    }
}

pub(super) struct World {
    pub(super) now_us: u64,
    pub(super) ours: Process<Requester>,
    pub(super) workers: Vec<Process<Worker>>,
    pub(super) running: Vec<BTreeMap<RunId, HeldKey>>,
    pub(super) net: VecDeque<Packet>,
    /// The workers that can be reached, so that they are offered work.
    pub(super) reachable: [bool; WORKERS],
    pub(super) next_task: u64,
    pub(super) planted: Option<Planted>,
    pub(super) acknowledged: BTreeSet<TaskId>,
    pub(super) sealed: BTreeMap<TaskId, (TaskRecord, Option<Vec<u8>>)>,
    pub(super) tokens: BTreeMap<TaskId, FencingToken>,
    /// How many runs of a task failed.
    pub(super) failed_runs: BTreeMap<TaskId, u32>,
    /// The results on the workers' disks, under the token each was last seen with.
    pub(super) results: BTreeMap<(usize, TaskId), FencingToken>,
    pub(super) violation: Option<Violation>,
}

pub(super) fn requester(planted: Option<Planted>) -> Requester {
    let mut core = Requester::new(requester_config());
    core.planted = planted;
    core
}

pub(super) fn worker(at: usize, life: u64, planted: Option<Planted>) -> Worker {
    let first_run = 1_000_000 * at as u64 + 1_000 * life;
    let serving = BTreeMap::from([(
        wc(),
        Serving {
            queue: QUEUE,
            ..Serving::default()
        },
    )]);
    let mut core = Worker::new(WorkerConfig {
        serving,
        ..worker_config(SLOTS, first_run)
    });
    core.planted = planted;
    core
}

pub(super) fn worker_entity(at: usize) -> EntityId {
    entity(at as u8 + 1)
}

pub(super) fn worker_at(entity: EntityId) -> usize {
    usize::from(entity.0[0]) - 1
}

impl World {
    pub(super) fn new(planted: Option<Planted>) -> World {
        World {
            now_us: 1,
            ours: Process::new(requester(planted), 1),
            workers: (0..WORKERS)
                .map(|at| Process::new(worker(at, 1, planted), 2 + at as u64))
                .collect(),
            running: vec![BTreeMap::new(); WORKERS],
            net: VecDeque::new(),
            reachable: [true; WORKERS],
            next_task: 1,
            planted,
            acknowledged: BTreeSet::new(),
            sealed: BTreeMap::new(),
            tokens: BTreeMap::new(),
            failed_runs: BTreeMap::new(),
            results: BTreeMap::new(),
            violation: None,
        }
    }

    pub(super) fn clock(&self, party: Party) -> Now {
        let (started_us, per_cent) = match party {
            Party::Requester => (self.ours.started_us, 103),
            Party::Worker(at) => (self.workers[at].started_us, [96, 100, 101][at]),
        };
        Now {
            mono: Mono::from_micros(1 + (self.now_us - started_us) / 100 * per_cent),
            wall: EPOCH + self.now_us / 1000,
        }
    }

    pub(super) fn boot(&self, at: usize) -> BootId {
        boot(1_000 * at as u64 + self.workers[at].life)
    }

    /// One step of the requester, as its node takes it: the cause, the time, the assignment.
    pub(super) fn ours<T>(&mut self, cause: impl FnOnce(&mut Requester, &mut Step<'_>) -> T) -> T {
        self.ours.side.now = self.clock(Party::Requester);
        let up = |at: &usize| self.reachable[*at];
        let candidate = |at| Candidate {
            queue: QUEUE,
            ..Candidate::new(worker_entity(at), SLOTS)
        };
        let free: Arc<[Candidate]> = (0..WORKERS).filter(up).map(candidate).collect();
        let (out, effects) = self.ours.side.step(|core, step| {
            let out = cause(core, step);
            core.tick(step);
            core.assign(step, |_| Arc::clone(&free));
            (out, core.effects())
        });
        for effect in effects {
            self.requester_asks(effect);
        }
        out
    }

    fn requester_asks(&mut self, effect: RequesterEffect) {
        match effect {
            RequesterEffect::Delegate {
                worker,
                tasks,
                after,
            } => {
                let items = tasks.iter().map(|id| self.delegate_item(*id)).collect();
                self.tell_worker(worker_at(worker), after, Message::Offer(items));
            }
            RequesterEffect::Cancel {
                worker,
                items,
                after,
            } => {
                self.tell_worker(worker_at(worker), after, Message::Cancel(items));
            }
            RequesterEffect::Reveal { .. } => unreachable!("no task here is done by several"),
            RequesterEffect::Finished { task, after } => {
                self.say(Party::Requester, after, Said::Finished(task));
            }
            RequesterEffect::Lost { .. }
            | RequesterEffect::Forgot { .. }
            | RequesterEffect::Refund { .. } => {}
        }
    }

    fn delegate_item(&self, id: TaskId) -> DelegateItem {
        let core = &self.ours.side.core;
        let record = core.task(id).expect("it is on offer").0;
        DelegateItem {
            task_id: id,
            token: record.token,
            capability: record.capability.clone(),
            input: core.input(id).expect("it has one").to_vec(),
            input_file: record.input_file,
            lease_ms: core.lease_ms(),
            remaining_ms: core
                .remaining_ms(id, self.ours.side.now.mono)
                .expect("it is known"),
            orphan: record.orphan,
            stream: false,
            budget: record.budget,
            spent: 0,
            agree: None,
            stay: core.stays(id),
            priority: record.priority,
            waited_ms: (self.ours.side.now.wall.0).saturating_sub(record.queued_at().0),
        }
    }

    /// One step of a worker: the cause, then the time.
    pub(super) fn theirs<T>(
        &mut self,
        at: usize,
        cause: impl FnOnce(&mut Worker, &mut Step<'_>) -> T,
    ) -> T {
        self.workers[at].side.now = self.clock(Party::Worker(at));
        let (out, effects) = self.workers[at].side.step(|core, step| {
            let out = cause(core, step);
            core.tick(step);
            (out, core.effects())
        });
        for effect in effects {
            self.worker_asks(at, effect);
        }
        out
    }

    fn worker_asks(&mut self, at: usize, effect: WorkerEffect) {
        match effect {
            WorkerEffect::Run { run, key, .. } => {
                let twice = self.running[at].values().any(|other| *other == key);
                self.demand(!twice, "run once", || {
                    format!("worker {at} runs {} twice", key.task)
                });
                self.running[at].insert(run, key);
            }
            // Nothing is handed on here.
            WorkerEffect::Over { .. } | WorkerEffect::Recall { .. } => {}
            WorkerEffect::Kill { run } => {
                self.running[at].remove(&run);
            }
            WorkerEffect::Renew { items, after, .. } => {
                let sent = self.workers[at].side.now.mono;
                let renew = Message::Renew(self.boot(at), items, sent);
                self.tell_requester(at, after, renew);
            }
            WorkerEffect::Results { tasks, after, .. } => {
                let core = &self.workers[at].side.core;
                let item = |(task_id, token): (TaskId, FencingToken)| {
                    let key = HeldKey {
                        requester: US,
                        task: task_id,
                    };
                    let outcome = core.outcome(key)?;
                    Some(ResultItem {
                        task_id,
                        token,
                        outcome,
                        spent: 0,
                    })
                };
                let items = tasks.into_iter().filter_map(item).collect();
                self.tell_requester(at, after, Message::Results(items));
            }
        }
    }

    pub(super) fn tell_worker(&mut self, worker: usize, after: BatchId, message: Message) {
        let life = self.ours.life;
        let packet = Packet {
            worker,
            message,
            life,
            repeated: false,
        };
        self.say(Party::Requester, after, Said::Packet(packet));
    }

    pub(super) fn tell_requester(&mut self, worker: usize, after: BatchId, message: Message) {
        let life = self.workers[worker].life;
        let packet = Packet {
            worker,
            message,
            life,
            repeated: false,
        };
        self.say(Party::Worker(worker), after, Said::Packet(packet));
    }

    /// Says it now if what it rests on is durable, and after the flush otherwise.
    pub(super) fn say(&mut self, party: Party, after: BatchId, said: Said) {
        let (disk, waiting) = match party {
            Party::Requester => (&self.ours.side.disk, &mut self.ours.waiting),
            Party::Worker(at) => {
                let Process { side, waiting, .. } = &mut self.workers[at];
                (&side.disk, waiting)
            }
        };
        if disk.is_durable(after) {
            self.leaves(said);
        } else {
            waiting.push((after, said));
        }
    }

    pub(super) fn leaves(&mut self, said: Said) {
        let judged = self.judge_said(&said);
        self.violation = self.violation.take().or(judged.err());
        match said {
            Said::Packet(packet) => {
                if let Message::Offer(items) = &packet.message {
                    let offers: Vec<_> = items.iter().map(|i| (i.task_id, i.token)).collect();
                    let now = self.clock(Party::Requester).mono;
                    self.ours.side.core.offers_left(&offers, now);
                }
                self.net.push_back(packet);
            }
            Said::Submitted(id) => {
                self.acknowledged.insert(id);
            }
            Said::Finished(_) => {}
        }
    }

    fn demand(&mut self, holds: bool, law: &'static str, detail: impl FnOnce() -> String) {
        let judged = Violation::unless(holds, law, detail);
        self.violation = self.violation.take().or(judged.err());
    }
}

impl Packet {
    pub(super) fn is_to_worker(&self) -> bool {
        use Message::{Cancel, Kept, Offer, Renewed};
        matches!(self.message, Offer(_) | Renewed(..) | Kept(..) | Cancel(_))
    }
}
