//! Facts about the worker's side.

mod attended;
mod budget;
mod commit;
mod draining;
mod ending;
mod files;
mod offers;
mod orphans;
mod places;
mod poison;
mod space;
mod turns;
mod waiting;

use super::*;
use crate::types::limits::{INPUT_MAX_BYTES, TERMINAL_KEEP_MS, TOMBSTONES_MAX};
use crate::types::{BatchId, Keyspace, Mono, RunId};
use crate::wire::{
    AcceptAnswer, AckAnswer, AgreePart, CancelItem, DelegateItem, Orphan, RefuseReason,
    RenewAnswer, RenewItem,
};

const FIRST_RUN: u64 = 100;

fn theirs(slots: u32) -> Side<Worker> {
    Side::new(Worker::new(worker_config(slots, FIRST_RUN)), 2)
}

fn key(n: u64) -> HeldKey {
    HeldKey {
        requester: US,
        task: task_id(n),
    }
}

fn offer(n: u64, under: u64) -> DelegateItem {
    DelegateItem {
        task_id: task_id(n),
        token: token(under),
        capability: wc(),
        input: b"some words".to_vec(),
        input_file: None,
        lease_ms: 20_000,
        remaining_ms: HOUR_MS,
        orphan: None,
        stream: false,
        budget: None,
        spent: 0,
        agree: None,
        stay: false,
        priority: Priority::Normal,
        waited_ms: 0,
    }
}

impl Side<Worker> {
    fn offered(&mut self, item: DelegateItem) -> AcceptAnswer {
        self.kept(|core, step| core.offered(US, vec![item], step)).0[0]
    }

    /// Takes a task and returns its run.
    fn running(&mut self, n: u64, under: u64) -> RunId {
        assert_eq!(self.offered(offer(n, under)), AcceptAnswer::Accepted);
        match &self.core.effects()[..] {
            [WorkerEffect::Run { run, key: k, .. }] if *k == key(n) => *run,
            other => panic!("{other:?}"),
        }
    }

    fn ended(&mut self, run: RunId, outcome: TaskOutcome) {
        self.kept(|core, step| core.run_ended(run, outcome, step));
    }

    fn tick(&mut self, ms: u64) -> Vec<WorkerEffect> {
        self.pass(ms);
        self.kept(Worker::tick);
        self.core.effects()
    }

    /// The results handed over within `ms`.
    fn handed_over(&mut self, ms: u64) -> Vec<(TaskId, FencingToken)> {
        let results = |effect| match effect {
            WorkerEffect::Results { tasks, .. } => tasks,
            _ => Vec::new(),
        };
        self.tick(ms).into_iter().flat_map(results).collect()
    }

    fn told(&mut self, n: u64, under: u64, answer: Option<AckAnswer>) {
        let answers = answer.map(|answer| vec![answer]);
        let tasks = [(task_id(n), token(under))];
        self.kept(|core, step| core.acknowledged(US, &tasks, answers.as_deref(), step));
    }

    fn renewed(&mut self, n: u64, under: u64, answer: RenewAnswer, sent: Mono) {
        let item = RenewItem {
            task_id: task_id(n),
            token: token(under),
            spent: 0,
            waiting: false,
        };
        self.kept(|core, step| core.renewed(US, &[item], &[answer], sent, step));
    }

    fn restart(&mut self, config: WorkerConfig) -> Vec<WorkerEffect> {
        self.disk.crash();
        self.core = Worker::new(config);
        for row in self.disk.rows() {
            self.core.load(&row, self.now).expect("our own rows");
        }
        self.kept(Worker::resume);
        self.core.check().expect("T7 after a restart");
        self.core.effects()
    }

    fn state(&self, n: u64) -> Option<HeldRecord> {
        let row = self.disk.row(Keyspace::Held, &key(n).to_bytes())?;
        Some(HeldRecord::from_row(row).expect("our own row"))
    }
}
