//! What waits to be sent to one peer: by priority, and in order within one.
//!
//! # Invariants
//! - **O1** Nothing leaves while something of a higher priority waits; of one priority the oldest
//!   leaves first.
//! - **O2** At most `OUTBOX_PER_PEER_MAX` wait. When all places are taken, the newest of the
//!   lowest priority has none. (What comes back from under way to be sent once more has its place.)
//! - **O3** Requests under way may take [`window`] of the peer's places: the last ones are for
//!   what is urgent, so that a peer that answers slowly is still asked it at once.

use std::collections::VecDeque;

use super::exchange::{Kind, Message};
use crate::types::limits::{OUTBOUND_PER_PEER_MAX, OUTBOX_PER_PEER_MAX};
use crate::types::{CommandId, EntityId, Priority};

/// How many requests may be under way for one of this priority to join them.
pub(super) fn window(priority: Priority) -> usize {
    match priority {
        Priority::Critical => OUTBOUND_PER_PEER_MAX,
        Priority::High => OUTBOUND_PER_PEER_MAX * 15 / 16,
        Priority::Normal => OUTBOUND_PER_PEER_MAX * 3 / 4,
        Priority::Low => OUTBOUND_PER_PEER_MAX / 2,
    }
}

/// The queues of one peer.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// By priority, the lowest first.
    queues: [VecDeque<Message>; 4],
}

impl Outbox {
    /// Lets a message wait. Once what can leave has left, [`Outbox::shed`] keeps the bound.
    pub(super) fn push(&mut self, message: Message) {
        self.queues[place(&message)].push_back(message);
    }

    /// Takes the newest of the lowest priority out, if more wait than may.
    #[must_use = "a message without a place has failed"]
    pub(super) fn shed(&mut self) -> Option<Message> {
        if self.len() <= OUTBOX_PER_PEER_MAX {
            return None;
        }
        self.queues.iter_mut().find_map(VecDeque::pop_back)
    }

    /// Puts a message back that was taken a moment ago: it stays the first of its priority.
    pub(super) fn push_front(&mut self, message: Message) {
        self.queues[place(&message)].push_front(message);
    }

    /// The priority of what leaves next.
    pub(super) fn first(&self) -> Option<Priority> {
        let queue = self.queues.iter().rev().find(|queue| !queue.is_empty());
        queue?.front().map(|message| message.msg_type.priority())
    }

    /// Takes what leaves next.
    pub(super) fn pop(&mut self) -> Option<Message> {
        self.queues.iter_mut().rev().find_map(VecDeque::pop_front)
    }

    /// Takes out who waits for a session and nothing else.
    pub(super) fn take_reaches(&mut self) -> Vec<(CommandId, EntityId)> {
        let mut reaches = Vec::new();
        for queue in &mut self.queues {
            queue.retain(|message| match message.kind {
                Kind::Reach { command, entity } => {
                    reaches.push((command, entity));
                    false
                }
                _ => true,
            });
        }
        reaches
    }

    fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// Everything that waits, in the order in which it would have left.
    pub(super) fn into_messages(self) -> impl Iterator<Item = Message> {
        self.queues.into_iter().rev().flatten()
    }
}

fn place(message: &Message) -> usize {
    message.msg_type.priority() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MsgType;

    /// A message that is known again by `n`.
    fn message(msg_type: MsgType, n: usize) -> Message {
        Message::new(msg_type, n.to_be_bytes().to_vec(), Kind::Cancel)
    }

    fn drain(outbox: Outbox) -> Vec<(MsgType, usize)> {
        let number = |m: &Message| {
            let bytes: [u8; 8] = m.body[..].try_into().expect("8 bytes");
            usize::from_be_bytes(bytes)
        };
        outbox
            .into_messages()
            .map(|m| (m.msg_type, number(&m)))
            .collect()
    }

    #[test]
    fn the_urgent_leaves_first_and_equals_in_order() {
        let mut outbox = Outbox::default();
        let sent = [
            (MsgType::RegistrySync, 0),
            (MsgType::Ping, 1),
            (MsgType::WakeUp, 2),
            (MsgType::RegistrySync, 3),
            (MsgType::TaskRenew, 4),
        ];
        for (msg_type, n) in sent {
            outbox.push(message(msg_type, n));
        }
        assert_eq!(outbox.first(), Some(Priority::High), "O1");
        let order: Vec<usize> = drain(outbox).into_iter().map(|(_, n)| n).collect();
        assert_eq!(order, [2, 4, 0, 1, 3], "O1");
    }

    #[test]
    fn a_full_outbox_refuses_the_newest_of_the_lowest_and_no_urgent_one() {
        let mut outbox = Outbox::default();
        let mut add = |msg_type, n| {
            outbox.push(message(msg_type, n));
            outbox.shed()
        };
        for n in 0..OUTBOX_PER_PEER_MAX {
            assert!(add(MsgType::RegistrySync, n).is_none());
        }
        let refused = add(MsgType::Ping, 0).expect("no place");
        assert_eq!(refused.msg_type, MsgType::Ping, "O2: not below what waits");
        for n in 0..OUTBOX_PER_PEER_MAX {
            let evicted = add(MsgType::WakeUp, n).expect("full");
            let last = OUTBOX_PER_PEER_MAX - 1 - n;
            assert_eq!(evicted.msg_type, MsgType::RegistrySync);
            assert_eq!(evicted.body, last.to_be_bytes(), "O2: the newest goes");
        }
        let refused = add(MsgType::WakeUp, 9).expect("no place");
        assert_eq!(refused.msg_type, MsgType::WakeUp);
        assert_eq!(drain(outbox).len(), OUTBOX_PER_PEER_MAX);
    }

    #[test]
    fn the_urgent_has_places_of_its_own() {
        let order = [
            Priority::Low,
            Priority::Normal,
            Priority::High,
            Priority::Critical,
        ];
        assert!(order.is_sorted_by_key(|p| window(*p)), "O3");
        assert_eq!(window(Priority::Critical), OUTBOUND_PER_PEER_MAX);
    }
}
