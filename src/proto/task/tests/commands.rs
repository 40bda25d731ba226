//! Everything that can happen to the world.

use std::collections::BTreeMap;

use super::world::{
    Message, Packet, Party, Said, WORKERS, World, requester, worker, worker_entity,
};
use super::*;
use crate::proto::Step;
use crate::types::RunId;
use crate::wire::{AckAnswer, ResultItem};

impl World {
    pub(super) fn flush(&mut self, party: Party, batches: usize) {
        let ready = match party {
            Party::Requester => self.ours.flush(batches),
            Party::Worker(at) => self.workers[at].flush(batches),
        };
        for said in ready {
            self.leaves(said);
        }
    }

    pub(super) fn submit(&mut self, priority: Priority, to: Option<usize>, deadline_ms: u64) {
        let new = NewTask {
            priority,
            deadline_ms,
            ..new_task(self.next_task)
        };
        let (id, to) = (new.id, to.map(worker_entity));
        self.next_task += 1;
        let outcome = self.ours(|core, step| core.submit(NewTask { to, ..new }, step));
        if let SubmitOutcome::Queued(after) = outcome {
            self.say(Party::Requester, after, Said::Submitted(id));
        }
    }

    pub(super) fn cancel(&mut self, nth: usize) {
        let id = task_id(1 + nth as u64 % self.next_task);
        self.ours(|core, step| core.cancel(id, step));
    }

    pub(super) fn reach(&mut self, reachable: [bool; WORKERS]) {
        self.reachable = reachable;
        self.ours(|_, _| ());
    }

    /// Lets time go by and everybody look at the clock.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now_us += ms * 1_000;
        self.ours(|_, _| ());
        for at in 0..WORKERS {
            self.theirs(at, |_, _| ());
        }
    }

    pub(super) fn session_up(&mut self, at: usize) {
        let mono = self.clock(Party::Worker(at)).mono;
        self.theirs(at, |core, _| core.requester_is_back(US, mono));
    }

    /// A worker hears who is idle, and may hand over what waits.
    pub(super) fn hand_over(&mut self, at: usize, idle: [bool; WORKERS]) {
        let others = (0..WORKERS).filter(|other| *other != at && idle[*other]);
        let idle = others.map(|other| Idle {
            worker: worker_entity(other),
            free: 1,
            price: 0,
        });
        let idle: Vec<Idle> = idle.collect();
        self.theirs(at, |core, step| {
            core.look_again();
            for capability in core.overdue(step.now.mono) {
                core.hand_over(&capability, idle.clone(), step);
            }
        });
    }

    pub(super) fn drain(&mut self, at: usize, on: bool) {
        let until = self.clock(Party::Worker(at)).mono + 10_000;
        self.theirs(at, |core, _| match on {
            true => core.drain(until),
            false => core.undrain(),
        });
    }

    /// One of a worker's runs ends.
    pub(super) fn finish_run(&mut self, at: usize, nth: usize, well: bool) {
        let Some((run, key)) = nth_of(&self.running[at], nth) else {
            return;
        };
        self.running[at].remove(&run);
        let outcome = if well {
            TaskOutcome::Completed {
                result: self.answer(at, key.task),
            }
        } else {
            *self.failed_runs.entry(key.task).or_default() += 1;
            failed()
        };
        self.theirs(at, |core, step| core.run_ended(run, outcome, step));
    }

    /// What `at` makes of a task: whose answer a result is can be seen.
    pub(super) fn answer(&self, at: usize, task: TaskId) -> Vec<u8> {
        [&[at as u8][..], task.0.as_bytes()].concat()
    }

    pub(super) fn deliver(&mut self, nth: usize) {
        if let Some(packet) = self.take_packet(nth) {
            self.arrives(packet);
        }
    }

    pub(super) fn duplicate(&mut self, nth: usize) {
        if self.net.is_empty() {
            return;
        }
        let at = nth % self.net.len();
        self.net[at].repeated = true;
        let again = self.net[at].clone();
        self.net.push_back(again);
    }

    fn take_packet(&mut self, nth: usize) -> Option<Packet> {
        let len = self.net.len();
        self.net.remove(nth.checked_rem(len)?)
    }

    fn arrives(&mut self, packet: Packet) {
        let Packet {
            worker: at,
            message,
            ..
        } = packet;
        let from = worker_entity(at);
        match message {
            Message::Offer(items) => {
                let offers = items
                    .iter()
                    .map(|item| (item.task_id, item.token))
                    .collect();
                let (answers, after) = self.theirs(at, |core, step| core.offered(US, items, step));
                let accept = Message::Accept(self.boot(at), offers, answers);
                self.tell_requester(at, after, accept);
            }
            Message::Accept(boot, offers, answers) => {
                self.ours(|core, step| core.answered(from, boot, &offers, &answers, step));
            }
            Message::Renew(boot, items, sent) => {
                let renew = |core: &mut Requester, step: &mut Step<'_>| {
                    core.renewed(from, boot, &items, step)
                };
                let (answers, after) = self.ours(renew);
                self.tell_worker(at, after, Message::Renewed(items, answers, sent));
            }
            Message::Renewed(items, answers, sent) => {
                self.theirs(at, |core, step| {
                    core.renewed(US, &items, &answers, sent, step)
                });
            }
            Message::Results(items) => {
                let sent = items.clone();
                let (said, entry) = (told(from, items), entry_of(from));
                let (answers, after) = self.ours(|core, step| core.ended(from, said, &entry, step));
                self.tell_worker(at, after, Message::Kept(sent, answers));
            }
            Message::Kept(items, answers) => self.acknowledged(at, &items, Some(&answers)),
            Message::Cancel(items) => {
                self.theirs(at, |core, step| core.canceled(US, &items, step));
            }
        }
    }

    fn acknowledged(&mut self, at: usize, items: &[ResultItem], answers: Option<&[AckAnswer]>) {
        let tasks: Vec<_> = items
            .iter()
            .map(|item| (item.task_id, item.token))
            .collect();
        self.theirs(at, |core, step| {
            core.acknowledged(US, &tasks, answers, step)
        });
    }

    /// A message is lost; whoever asked hears that no answer will come, and when `unsent` (and
    /// only where that is true) that it never left.
    pub(super) fn drop_packet(&mut self, nth: usize, unsent: bool) {
        let Some(packet) = self.take_packet(nth) else {
            return;
        };
        let Packet {
            worker: at,
            message,
            life,
            repeated,
        } = packet;
        match message {
            Message::Offer(items) if life == self.ours.life => {
                let offers: Vec<_> = items
                    .iter()
                    .map(|item| (item.task_id, item.token))
                    .collect();
                let (to, sent) = (worker_entity(at), repeated || !unsent);
                self.ours(|core, step| core.offer_failed(to, &offers, step, sent));
            }
            Message::Results(items) if life == self.workers[at].life => {
                self.acknowledged(at, &items, None);
            }
            Message::Kept(items, _) => self.acknowledged(at, &items, None),
            _ => {}
        }
    }

    /// A process dies, loses what was not flushed, and starts again from its rows.
    pub(super) fn crash(&mut self, party: Party) {
        match party {
            Party::Requester => {
                self.net.retain(|packet| packet.is_to_worker());
                self.ours.crash(requester(self.planted), self.now_us);
                let now = self.clock(party);
                let Side { core, disk, .. } = &mut self.ours.side;
                for row in disk.rows() {
                    core.load(&row, now).expect("our own rows");
                }
                core.resume(now);
                self.ours(|_, _| ());
            }
            Party::Worker(at) => {
                self.net
                    .retain(|packet| packet.worker != at || !packet.is_to_worker());
                self.running[at].clear();
                let life = self.workers[at].life + 1;
                self.workers[at].crash(worker(at, life, self.planted), self.now_us);
                let now = self.clock(party);
                let Side { core, disk, .. } = &mut self.workers[at].side;
                for row in disk.rows() {
                    core.load(&row, now).expect("our own rows");
                }
                self.theirs(at, Worker::resume);
            }
        }
    }
}

fn nth_of(runs: &BTreeMap<RunId, HeldKey>, nth: usize) -> Option<(RunId, HeldKey)> {
    let at = nth.checked_rem(runs.len())?;
    runs.iter().nth(at).map(|(run, key)| (*run, *key))
}
