//! The offers of the requester; `candidates` says to whom.

use super::LIST_SOFT_MAX_BYTES;
use crate::proto::Step;
use crate::proto::node::Node;
use crate::proto::node::exchange::Kind;
use crate::proto::node::io::Note;
use crate::types::limits::LIST_MAX_ITEMS;
use crate::types::{BatchId, EntityId, FencingToken, TaskId};
use crate::wire::{CancelItem, DelegateItem, MsgType, TaskCancel, TaskDelegate, cbor};

impl Node {
    /// Sends the offers that still stand, now that the disk has their tokens.
    pub(in crate::proto::node) fn send_offers(
        &mut self,
        worker: EntityId,
        offers: &[(TaskId, FencingToken)],
        step: &mut Step<'_>,
    ) {
        let mut items: Vec<DelegateItem> = Vec::new();
        let mut bytes = 0;
        for (id, token) in offers {
            let Some(item) = self.delegate_item(*id, *token, step) else {
                continue;
            };
            self.note(Note::TaskAssigned {
                task: *id,
                worker,
                token: token.0,
            });
            bytes += item.input.len();
            items.push(item);
            if items.len() >= LIST_MAX_ITEMS || bytes >= LIST_SOFT_MAX_BYTES {
                self.send_offer_list(worker, std::mem::take(&mut items), step);
                bytes = 0;
            }
        }
        if !items.is_empty() {
            self.send_offer_list(worker, items, step);
        }
    }

    fn delegate_item(
        &self,
        id: TaskId,
        token: FencingToken,
        step: &Step<'_>,
    ) -> Option<DelegateItem> {
        if !self.requester.is_offered(id, token) {
            return None;
        }
        let (record, _) = self.requester.task(id)?;
        let budget = self.requester.budget_for(id, record.worker?);
        Some(DelegateItem {
            task_id: id,
            token,
            capability: record.capability.clone(),
            input: self.requester.input(id)?.to_vec(),
            input_file: record.input_file,
            lease_ms: self.requester.lease_ms(),
            remaining_ms: self.requester.remaining_ms(id, step.now.mono)?,
            orphan: record.orphan,
            stream: record.stream,
            budget: budget.map(|(budget, _)| budget),
            spent: budget.map_or(0, |(_, spent)| spent),
            agree: self.requester.agree_part(id),
            stay: self.requester.stays(id),
            priority: record.priority,
            waited_ms: step.now.wall.0.saturating_sub(record.queued_at().0),
        })
    }

    fn send_offer_list(&mut self, worker: EntityId, items: Vec<DelegateItem>, step: &mut Step<'_>) {
        let offers: Vec<(TaskId, FencingToken)> = items
            .iter()
            .map(|item| (item.task_id, item.token))
            .collect();
        self.requester.offers_left(&offers, step.now.mono);
        let body = cbor::encode(&TaskDelegate { items });
        let kind = Kind::Delegate {
            worker,
            offers: offers.clone(),
        };
        let after = BatchId::NONE;
        if !self.send_to(worker, MsgType::TaskDelegate, body, kind, after, step) {
            self.requester.offer_failed(worker, &offers, step, false);
        }
    }

    pub(in crate::proto::node) fn send_cancels(
        &mut self,
        worker: EntityId,
        items: Vec<CancelItem>,
        step: &mut Step<'_>,
    ) {
        for items in items.chunks(LIST_MAX_ITEMS) {
            let items = items.to_vec();
            let body = cbor::encode(&TaskCancel { items });
            let (kind, after) = (Kind::Cancel, BatchId::NONE);
            self.send_to(worker, MsgType::TaskCancel, body, kind, after, step);
        }
    }
}
