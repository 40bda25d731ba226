//! Facts about the requester's log.

mod agree;
mod attempts;
mod batch;
mod choice;
mod dead;
mod events;
mod feed;
mod files;
mod handed;
mod keep;
mod last;
mod leases;
mod proofs;
mod queue;
mod said;
mod spending;

use super::*;
use crate::types::limits::{QUEUE_MAX_BYTES, QUEUE_MAX_TASKS, RESULT_MAX_BYTES, TERMINAL_KEEP_MS};
use crate::types::{BatchId, Keyspace, TaskState, Wall};
use crate::wire::{AcceptAnswer, AckAnswer, CancelItem, RefuseReason, RenewAnswer, RenewItem};

type Offered = (EntityId, TaskId, FencingToken);

fn ours() -> Side<Requester> {
    Side::new(Requester::new(requester_config()), 1)
}

impl Side<Requester> {
    fn submit(&mut self, new: NewTask) -> TaskId {
        let id = new.id;
        let outcome = self.kept(|core, step| core.submit(new, step));
        assert!(matches!(outcome, SubmitOutcome::Queued(_)), "{outcome:?}");
        id
    }

    /// Assigns to workers with four slots each, and returns the offers.
    fn assign(&mut self, workers: &[EntityId]) -> Vec<Offered> {
        let candidate = |worker: &EntityId| Candidate::new(*worker, 4);
        self.assign_to(&workers.iter().map(candidate).collect::<Vec<_>>())
    }

    fn assign_to(&mut self, candidates: &[Candidate]) -> Vec<Offered> {
        let offers = self.assign_unsent(candidates);
        let left: Vec<_> = offers.iter().map(|(_, id, token)| (*id, *token)).collect();
        self.core.offers_left(&left, self.now.mono);
        offers
    }

    /// The offers stay where they are for want of a flush.
    fn assign_unsent(&mut self, candidates: &[Candidate]) -> Vec<Offered> {
        self.core.look_again();
        self.kept(|core, step| core.assign(step, |_| candidates.into()));
        let mut offers = Vec::new();
        for effect in self.core.effects() {
            if let RequesterEffect::Delegate { worker, tasks, .. } = effect {
                let token = |id: &TaskId| self.core.task(*id).expect("it was offered").0.token;
                offers.extend(tasks.iter().map(|id| (worker, *id, token(id))));
            }
        }
        offers
    }

    fn answer(&mut self, offer: Offered, boot: BootId, answer: AcceptAnswer) {
        let (worker, id, token) = offer;
        self.kept(|core, step| core.answered(worker, boot, &[(id, token)], &[answer], step));
    }

    /// Submits a task and has `worker` accept it.
    fn working(&mut self, new: NewTask, worker: EntityId) -> Offered {
        self.submit(new);
        let offers = self.assign(&[worker]);
        self.answer(offers[0], boot(1), AcceptAnswer::Accepted);
        offers[0]
    }

    fn renew(&mut self, worker: EntityId, boot: BootId, held: &[Offered]) -> Vec<RenewAnswer> {
        let item = |(_, task_id, token): &Offered| RenewItem {
            task_id: *task_id,
            token: *token,
            spent: 0,
            waiting: false,
        };
        let items: Vec<RenewItem> = held.iter().map(item).collect();
        self.kept(|core, step| core.renewed(worker, boot, &items, step))
            .0
    }

    fn result(&mut self, of: Offered, outcome: TaskOutcome) -> AckAnswer {
        let (worker, task_id, token) = of;
        let items = vec![ResultItem {
            task_id,
            token,
            outcome,
            spent: 0,
        }];
        let (said, entry) = (told(worker, items), entry_of(worker));
        self.kept(|core, step| core.ended(worker, said, &entry, step))
            .0[0]
    }

    fn wait(&mut self, ms: u64) {
        self.pass(ms);
        self.kept(Requester::tick);
    }

    fn record(&self, id: TaskId) -> TaskRecord {
        self.core.task(id).expect("a known task").0.clone()
    }

    fn restart(&mut self) {
        self.disk.crash();
        self.core = Requester::new(requester_config());
        for row in self.disk.rows() {
            self.core.load(&row, self.now).expect("our own rows");
        }
        self.core.resume(self.now);
        self.core.check().expect("T7 after a restart");
    }
}
