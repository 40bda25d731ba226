//! Offers: what is taken, what is refused, and what is known already.

use super::{Held, Phase, Worker};
use crate::proto::Step;
use crate::proto::task::record::{HeldKey, HeldRecord};
use crate::types::limits::{INPUT_MAX_BYTES, LIST_MAX_ITEMS, TERMINAL_KEEP_MS, WORKER_MAX_TASKS};
use crate::types::{BatchId, Capability, EntityId, FencingToken, Keyspace};
use crate::wire::{AcceptAnswer, DelegateItem, RefuseReason};

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
        let answers = items
            .into_iter()
            .map(|item| {
                let key = HeldKey {
                    requester,
                    task: item.task_id,
                };
                let answer = match self.judge(key, &item) {
                    Judgement::Refuse(reason) => AcceptAnswer::Refused(reason),
                    Judgement::Known => AcceptAnswer::Accepted,
                    Judgement::Adopt => {
                        self.adopt(key, item.token, step);
                        AcceptAnswer::Accepted
                    }
                    Judgement::Take => {
                        self.take(key, item, step);
                        AcceptAnswer::Accepted
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

    fn judge(&self, key: HeldKey, item: &DelegateItem) -> Judgement {
        if let Some(held) = self.held.get(&key) {
            return match (held.phase, item.token.cmp(&held.record.token)) {
                (_, std::cmp::Ordering::Less) => Judgement::Refuse(RefuseReason::Stale),
                (Phase::Tombstone, std::cmp::Ordering::Equal) => {
                    Judgement::Refuse(RefuseReason::Stale)
                }
                (Phase::Tombstone, _) => self.judge_new(key, item),
                (_, std::cmp::Ordering::Equal) => Judgement::Known,
                (_, std::cmp::Ordering::Greater) => Judgement::Adopt,
            };
        }
        self.judge_new(key, item)
    }

    fn judge_new(&self, key: HeldKey, item: &DelegateItem) -> Judgement {
        let Some(slots) = self.slots(&item.capability) else {
            return Judgement::Refuse(RefuseReason::UnknownCapability);
        };
        if item.input.len() > INPUT_MAX_BYTES {
            return Judgement::Refuse(RefuseReason::TooLarge);
        }
        let running = |held: &&Held| {
            matches!(held.phase, Phase::Running { .. }) && held.record.capability == item.capability
        };
        let taken = self.held.values().filter(running).count();
        let of_requester = self.live_of(key.requester).count();
        let live = self.held.len() - self.tombstones.len();
        if taken >= slots as usize || live >= WORKER_MAX_TASKS || of_requester >= LIST_MAX_ITEMS {
            return Judgement::Refuse(RefuseReason::Busy);
        }
        Judgement::Take
    }

    fn take(&mut self, key: HeldKey, item: DelegateItem, step: &mut Step<'_>) {
        let remaining_ms = item.remaining_ms.min(REMAINING_MAX_MS);
        let deadline = step.now.wall + remaining_ms;
        let record = HeldRecord::new(item.token, item.capability, deadline, step.now.wall);
        let _ = step.put(Keyspace::HeldInput, key.to_bytes(), item.input.clone());
        let written = step.put(Keyspace::Held, key.to_bytes(), record.to_row());
        let held = Held {
            record,
            input: item.input,
            outcome: None,
            phase: Phase::Tombstone,
            deadline: step.now.mono + remaining_ms,
            lease_until: None,
            written,
        };
        if let Some(old) = self.held.insert(key, held) {
            self.tombstones.remove(&(old.record.since.0, key));
        }
        self.run(key, step.now.mono);
        self.renew_at
            .entry(key.requester)
            .or_insert(step.now.mono + self.config.renew_ms);
    }

    /// The requester assigned it to us once more (our first answer was lost): the same run goes
    /// on under the new token.
    fn adopt(&mut self, key: HeldKey, token: FencingToken, step: &mut Step<'_>) {
        let held = self.held.get_mut(&key).expect("judged as held");
        held.record.token = token;
        held.lease_until = None;
        held.written = step.put(Keyspace::Held, key.to_bytes(), held.record.to_row());
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

/// What to do with an offer.
enum Judgement {
    Refuse(RefuseReason),
    /// Accepted before under this token.
    Known,
    /// Held under an older token.
    Adopt,
    Take,
}
