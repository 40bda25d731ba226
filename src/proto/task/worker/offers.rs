//! Offers: what is taken, what is refused, and what is known already.

use std::collections::BTreeMap;

use super::budget::Word;
use super::commit::Promise;
use super::places::Places;
use super::turns::Rank;
use super::{Held, Phase, Worker};
use crate::proto::Step;
use crate::proto::task::record::{HeldKey, HeldRecord};
use crate::types::limits::{INPUT_MAX_BYTES, LIST_MAX_ITEMS, TERMINAL_KEEP_MS};
use crate::types::{BatchId, Capability, EntityId, FileRef, Keyspace, Mono, Wall};
use crate::wire::{AcceptAnswer, DelegateItem, Orphan, RefuseReason, TaskOutcome};

/// A requester cannot ask for a longer run than this.
const REMAINING_MAX_MS: u64 = TERMINAL_KEEP_MS;

impl Worker {
    /// Answers an offer. The answers may leave once the returned batch is durable.
    pub fn offered(
        &mut self,
        requester: EntityId,
        items: Vec<DelegateItem>,
        step: &mut Step<'_>,
    ) -> (Vec<AcceptAnswer>, BatchId) {
        let mut after = BatchId::NONE;
        let mut room = self.room(requester);
        let mut stale = None;
        let answers = items
            .into_iter()
            .map(|item| {
                let key = HeldKey {
                    requester,
                    task: item.task_id,
                };
                let mut judged = self.judge(key, &item, &room, step.now.mono);
                if matches!(judged, Judgement::Anew) {
                    self.bury(key, step);
                    judged = self.judge_new(requester, &item, &room, step.now.mono);
                }
                if matches!(judged, Judgement::Crowded) {
                    let made = self.make_place(room.of, item.input.len(), &mut stale, step);
                    judged = match made {
                        true => Judgement::Take,
                        false => Judgement::Refuse(RefuseReason::Busy),
                    };
                }
                let answer = match judged {
                    Judgement::Refuse(reason) => AcceptAnswer::Refused(reason),
                    Judgement::Known => self.accepted(key),
                    Judgement::Adopt => {
                        self.adopt(key, &item, step);
                        self.accepted(key)
                    }
                    Judgement::Take | Judgement::Anew | Judgement::Crowded => {
                        self.take(key, item, &mut room, step);
                        self.accepted(key)
                    }
                };
                let written = self
                    .held
                    .get(&key)
                    .map_or(BatchId::NONE, |held| held.written);
                after = after.max(written);
                answer
            })
            .collect();
        if self.forgets_to_wait() {
            after = BatchId::NONE;
        }
        (answers, after)
    }

    /// One look at all that is held serves a whole list of offers.
    fn room(&self, requester: EntityId) -> Room {
        let mut taken = self.running_by_capability();
        for key in self.waiting.keys() {
            let capability = self.held[&key].record.capability.clone();
            *taken.entry(capability).or_default() += 1;
        }
        Room {
            taken,
            of: self.places_of(requester),
        }
    }

    fn judge(&self, key: HeldKey, item: &DelegateItem, room: &Room, now: Mono) -> Judgement {
        if let Some(held) = self.held.get(&key) {
            return match (held.phase, item.token.cmp(&held.record.token)) {
                (_, std::cmp::Ordering::Less) => Judgement::Refuse(RefuseReason::Stale),
                (Phase::Tombstone, std::cmp::Ordering::Equal) => {
                    Judgement::Refuse(RefuseReason::Stale)
                }
                (Phase::Tombstone, _) => self.judge_new(key.requester, item, room, now),
                (_, std::cmp::Ordering::Equal) => Judgement::Known,
                // A failure that the requester counted once must not be handed over again.
                (Phase::Ended { .. }, std::cmp::Ordering::Greater)
                    if !matches!(
                        held.outcome,
                        Some(
                            TaskOutcome::Completed { .. }
                                | TaskOutcome::CompletedFile { .. }
                                | TaskOutcome::Revealed { .. }
                        )
                    ) =>
                {
                    Judgement::Anew
                }
                (_, std::cmp::Ordering::Greater) => Judgement::Adopt,
            };
        }
        self.judge_new(key.requester, item, room, now)
    }

    fn judge_new(
        &self,
        requester: EntityId,
        item: &DelegateItem,
        room: &Room,
        now: Mono,
    ) -> Judgement {
        let Some(slots) = self.slots(&item.capability) else {
            return Judgement::Refuse(RefuseReason::UnknownCapability);
        };
        if self.is_draining() {
            return Judgement::Refuse(RefuseReason::Draining);
        }
        if asks_too_much(item) {
            return Judgement::Refuse(RefuseReason::NotAllowed);
        }
        if self.is_too_cheap(item) {
            return Judgement::Refuse(RefuseReason::Price);
        }
        let too_large = |file: FileRef| file.size > self.config.payload_max_bytes;
        if item.input.len() > INPUT_MAX_BYTES || item.input_file.is_some_and(too_large) {
            return Judgement::Refuse(RefuseReason::TooLarge);
        }
        let taken = room.taken.get(&item.capability).copied().unwrap_or(0);
        let places = slots.saturating_add(self.queue(&item.capability));
        if taken >= places as usize
            || self.is_unattended(&item.capability, now)
            || room.of.tasks >= LIST_MAX_ITEMS
            || !self.may_have(requester, room.of, item.input.len())
            || !self.disk_takes(item.input.len())
        {
            return Judgement::Refuse(RefuseReason::Busy);
        }
        match self.is_crowded(item.input.len()) {
            true => Judgement::Crowded,
            false => Judgement::Take,
        }
    }

    /// Whether it pays, and less than is asked for.
    fn is_too_cheap(&self, item: &DelegateItem) -> bool {
        let offers = self.config.capabilities.iter();
        let price = { offers }.find(|offer| offer.name == item.capability);
        let reward = item.budget.map_or(0, |budget| budget.reward);
        price.is_some_and(|offer| reward > 0 && reward < offer.price)
    }

    /// What is said of a task that is held.
    fn accepted(&self, key: HeldKey) -> AcceptAnswer {
        match self.held.get(&key).map(|held| held.phase) {
            Some(Phase::Waiting { .. }) => AcceptAnswer::Queued,
            _ => AcceptAnswer::Accepted,
        }
    }

    fn take(&mut self, key: HeldKey, item: DelegateItem, room: &mut Room, step: &mut Step<'_>) {
        let slots = self.slots(&item.capability).unwrap_or(0);
        let runs = room.take(&item.capability, item.input.len()) < slots as usize;
        let remaining_ms = item.remaining_ms.min(REMAINING_MAX_MS);
        let deadline = step.now.wall + remaining_ms;
        let mut record = HeldRecord::new(item.token, item.capability, deadline, step.now.wall);
        record.budget = item.budget;
        // What an earlier attempt here has paid for stays paid.
        record.spent = (self.held.get(&key)).map_or(item.spent, |old| old.record.spent);
        record.stops_after_ms = item.orphan.map(|Orphan::Stop| item.lease_ms);
        record.agree = item.agree;
        record.input_file = item.input_file;
        // What it says would tell a result before its time.
        record.stream = item.stream && item.agree.is_none();
        // A run that waits for its input does not count if the node goes down.
        record.stopped = item.input_file.is_some();
        record.stay = item.stay;
        record.priority = item.priority;
        let waited_ms = item.waited_ms.min(REMAINING_MAX_MS);
        let rank = Rank::new(item.priority, waited_ms, step.now.mono);
        if !runs {
            record.place = Some(self.last_place());
            record.queued = Some(Wall(step.now.wall.0.saturating_sub(waited_ms)));
        }
        let _ = step.put(Keyspace::HeldInput, key.to_bytes(), item.input.clone());
        let written = step.put(Keyspace::Held, key.to_bytes(), record.to_row());
        let held = Held {
            record,
            input: item.input,
            outcome: None,
            phase: Phase::Tombstone,
            deadline: step.now.mono + remaining_ms,
            lease_until: None,
            stops_at: None,
            keep_until: step.now.mono + TERMINAL_KEEP_MS,
            written,
            promise: Promise::default(),
            word: Word::default(),
        };
        self.bytes += held.input.len();
        self.disk_took(held.input.len());
        self.live.entry(key.requester).or_default().insert(key.task);
        if let Some(old) = self.held.insert(key, held) {
            self.tombstones.remove(&(old.keep_until, key));
        }
        match runs {
            true => self.run(key, step.now.mono),
            false => self.wait(key, rank, step.now.mono),
        }
        self.renew_at
            .entry(key.requester)
            .or_insert(step.now.mono + self.config.renew_ms);
    }

    /// The requester assigned it to us once more (our first answer was lost): the same run goes
    /// on under the new token.
    fn adopt(&mut self, key: HeldKey, item: &DelegateItem, step: &mut Step<'_>) {
        let held = self.held.get_mut(&key).expect("judged as held");
        held.record.token = item.token;
        held.record.budget = item.budget;
        held.record.stay = item.stay;
        held.word = Word::default();
        held.lease_until = None;
        held.promise = Promise::default();
        held.written = step.put(Keyspace::Held, key.to_bytes(), held.record.to_row());
        match held.phase {
            Phase::Running { .. } | Phase::Waiting { .. } => {
                self.watch_lease(key, step.now.mono);
            }
            Phase::Ended { .. } => self.await_ack(key, step.now.mono, 0),
            Phase::Tombstone => {}
        }
    }

    pub(super) fn slots(&self, capability: &Capability) -> Option<u32> {
        self.config
            .capabilities
            .iter()
            .find(|o| o.name == *capability)
            .map(|o| o.slots)
    }

    #[cfg(test)]
    pub(super) fn forgets_to_wait(&self) -> bool {
        self.planted == Some(crate::proto::task::Planted::AckBeforeFlush)
    }

    #[cfg(not(test))]
    pub(super) fn forgets_to_wait(&self) -> bool {
        false
    }
}

/// Whether it asks for what this worker cannot do; taking it all the same would break the word.
fn asks_too_much(item: &DelegateItem) -> bool {
    item.input_file.is_some() && !item.input.is_empty()
}

/// What to do with an offer.
enum Judgement {
    Refuse(RefuseReason),
    /// Accepted before under this token.
    Known,
    /// Held under an older token.
    Adopt,
    /// Held under an older token, and that attempt is over.
    Anew,
    Take,
    /// To be taken if somebody else's outcome makes room.
    Crowded,
}

/// What is taken already.
struct Room {
    /// Slots, and places behind them.
    taken: BTreeMap<Capability, usize>,
    of: Places,
}

impl Room {
    /// Returns how many were taken before.
    fn take(&mut self, capability: &Capability, input_bytes: usize) -> usize {
        self.of.tasks += 1;
        self.of.bytes += input_bytes;
        let taken = self.taken.entry(capability.clone()).or_default();
        *taken += 1;
        *taken - 1
    }
}
