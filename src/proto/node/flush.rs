//! What leaves with a flush: one list for each peer, however many steps asked for it.
//!
//! Offers, outcomes to hand over, cancels, questions for results and answers rest on a batch. They are parked as they are
//! asked for. Once the disk has their batch they leave together, without what is no longer
//! current, and are sealed only then: behind a disk that stands still no message grows old, and an
//! offer's time to be answered begins when it leaves.
//!
//! # Invariants
//! - **P1** Nothing leaves before the batch it rests on is durable.
//! - **P2** What leaves is current: an offer that still stands under its token, an outcome that is
//!   still to be handed over.
//!
//! # Bounds
//! One offer, cancel or question a task of ours, one answer a request under way, and of a task held its
//! outcome, once for each flush behind which it was asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::Node;
use super::io::Output;
use crate::proto::Step;
use crate::proto::session::SealedRef;
use crate::types::{BatchId, EntityId, FencingToken, InboundId, PeerId, TaskId};
use crate::wire::{CancelItem, MsgType};

/// An answer to a request, before it is sealed.
pub(super) struct Answering {
    pub(super) id: InboundId,
    pub(super) peer: PeerId,
    pub(super) to: SealedRef,
    pub(super) msg_type: MsgType,
    pub(super) body: Vec<u8>,
}

/// What rests on one batch.
#[derive(Default)]
pub(super) struct Parcel {
    pub(super) offers: BTreeMap<EntityId, Vec<(TaskId, FencingToken)>>,
    pub(super) results: BTreeMap<EntityId, BTreeSet<TaskId>>,
    pub(super) cancels: BTreeMap<EntityId, Vec<CancelItem>>,
    pub(super) reveals: BTreeMap<EntityId, BTreeSet<(TaskId, FencingToken)>>,
    answers: Vec<Answering>,
}

impl Parcel {
    fn append(&mut self, later: Parcel) {
        append(&mut self.offers, later.offers);
        append(&mut self.results, later.results);
        append(&mut self.cancels, later.cancels);
        append(&mut self.reveals, later.reveals);
        self.answers.extend(later.answers);
    }
}

fn append<T, L>(lists: &mut BTreeMap<EntityId, L>, later: BTreeMap<EntityId, L>)
where
    L: Default + Extend<T> + IntoIterator<Item = T>,
{
    for (entity, items) in later {
        lists.entry(entity).or_default().extend(items);
    }
}

/// What is parked, by the batch it waits for.
#[derive(Default)]
pub(super) struct Flush {
    parked: BTreeMap<BatchId, Parcel>,
}

impl Flush {
    /// Where to put what rests on `after`.
    pub(super) fn after(&mut self, after: BatchId) -> &mut Parcel {
        self.parked.entry(after).or_default()
    }

    /// How many offers and cancels wait, and how many tasks' outcomes.
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        let (mut offers, mut cancels, mut results) = (0, 0, BTreeSet::new());
        for parcel in self.parked.values() {
            offers += parcel.offers.values().map(Vec::len).sum::<usize>();
            cancels += parcel.cancels.values().map(Vec::len).sum::<usize>();
            // A session that comes back asks for all again, behind what was written meanwhile.
            let of = |(requester, tasks)| std::iter::repeat(requester).zip(tasks);
            results.extend(parcel.results.iter().flat_map(of));
        }
        (offers, cancels, results.len())
    }

    /// Takes all that rests on nothing newer than `durable`.
    fn take(&mut self, durable: BatchId) -> Option<Parcel> {
        let first = self.parked.first_entry()?;
        if *first.key() > durable {
            return None;
        }
        let mut parcel = first.remove();
        while let Some(next) = self.parked.first_entry() {
            if *next.key() > durable {
                break;
            }
            parcel.append(next.remove());
        }
        Some(parcel)
    }
}

impl Node {
    /// Sends whatever rests on durable batches. Returns whether there was anything.
    pub(super) fn send_parked(&mut self, step: &mut Step<'_>) -> bool {
        let Some(parcel) = self.flush.take(self.gate.durable()) else {
            return false;
        };
        for answering in parcel.answers {
            self.answer_now(answering, step);
        }
        for (worker, items) in parcel.cancels {
            self.send_cancels(worker, items, step);
        }
        for (worker, offers) in parcel.offers {
            self.send_offers(worker, &offers, step);
        }
        for (worker, items) in parcel.reveals {
            self.send_reveals(worker, &items, step);
        }
        for (requester, tasks) in parcel.results {
            self.send_results(requester, &tasks, step);
        }
        true
    }

    /// Answers a request in its session, once `after` is durable.
    pub(super) fn respond(&mut self, answering: Answering, after: BatchId, step: &mut Step<'_>) {
        if after <= self.gate.durable() {
            self.answer_now(answering, step);
        } else {
            self.flush.after(after).answers.push(answering);
        }
    }

    fn answer_now(&mut self, answering: Answering, step: &mut Step<'_>) {
        let Answering {
            id,
            peer,
            to,
            msg_type,
            body,
        } = answering;
        let nonce = step.nonce();
        let sealed = (self.sessions).seal_response(to, msg_type, &body, step.now, nonce);
        if let Some(bytes) = sealed {
            self.answer_goes(&peer, msg_type, &bytes);
            self.out.push(Output::Respond { id, bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(n: u8) -> EntityId {
        EntityId([n; 32])
    }

    fn task(n: u128) -> TaskId {
        TaskId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn what_is_parked_leaves_with_its_batch_in_one_list_for_each_peer() {
        let mut flush = Flush::default();
        for (after, worker, n) in [(3, 1, 1), (1, 1, 2), (2, 2, 3), (2, 1, 4)] {
            let offers = &mut flush.after(BatchId(after)).offers;
            let token = FencingToken(1);
            let of_worker = offers.entry(entity(worker)).or_default();
            of_worker.push((task(n), token));
        }
        assert!(flush.take(BatchId::NONE).is_none(), "P1");
        let parcel = flush.take(BatchId(2)).expect("two batches' lists");
        let ids = |worker: u8| -> Vec<TaskId> {
            let offers = parcel.offers.get(&entity(worker));
            offers.into_iter().flatten().map(|(id, _)| *id).collect()
        };
        assert_eq!(ids(1), [task(2), task(4)]);
        assert_eq!(ids(2), [task(3)]);
        assert!(flush.take(BatchId(2)).is_none());
        assert!(flush.take(BatchId(9)).is_some());
    }
}
