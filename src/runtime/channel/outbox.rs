//! What waits to be sent on a channel: four queues, the most urgent first. Whoever sends waits for
//! room in the queue of its priority, so a slow peer slows down who talks to it and nobody else.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};

use crate::proto::session::Room;
use crate::types::Priority;
use crate::types::limits::{
    ANSWERS_PER_PEER_MAX, ANSWERS_PER_PEER_MAX_BYTES, BATCH_MAX_MESSAGES, BATCH_SOFT_MAX_BYTES,
    CHANNEL_QUEUE_BYTES,
};
use crate::wire::ChannelMessage;

/// Room is counted in units of so many bytes; the smallest message takes one.
const UNIT_BYTES: usize = 1024;
const UNITS: usize = CHANNEL_QUEUE_BYTES / UNIT_BYTES;

/// See the module's header.
pub(super) struct Outbox {
    queues: Mutex<Queues>,
    room: [Semaphore; 4],
    /// Something is to be done: a message, an acknowledgement, room.
    ready: Notify,
}

#[derive(Default)]
struct Queues {
    /// By priority, lowest first. With each message the units of room it holds.
    waiting: [VecDeque<(ChannelMessage, u32)>; 4],
    bytes: [usize; 4],
    answers: usize,
    answer_bytes: usize,
}

/// The channel is gone.
#[derive(Debug)]
pub(super) struct Closed;

impl Outbox {
    pub(super) fn new() -> Outbox {
        Outbox {
            queues: Mutex::default(),
            room: [(); 4].map(|()| Semaphore::new(UNITS)),
            ready: Notify::new(),
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message as soon as there is room for it.
    pub(super) async fn push(&self, message: ChannelMessage) -> Result<(), Closed> {
        let units = 1 + (message.body.len() / UNIT_BYTES) as u32;
        let lane = message.priority as usize;
        let permit = self.room[lane].acquire_many(units).await;
        permit.map_err(|_| Closed)?.forget();
        self.enqueue(message, units);
        Ok(())
    }

    /// Queues an answer at once. Returns false when the peer has more questions open than it may.
    pub(super) fn push_answer(&self, message: ChannelMessage) -> bool {
        {
            let mut queues = self.queues();
            let bytes = queues.answer_bytes + message.body.len();
            if queues.answers >= ANSWERS_PER_PEER_MAX || bytes > ANSWERS_PER_PEER_MAX_BYTES {
                return false;
            }
            queues.answers += 1;
            queues.answer_bytes = bytes;
        }
        self.enqueue(message, 0);
        true
    }

    fn enqueue(&self, message: ChannelMessage, units: u32) {
        let lane = message.priority as usize;
        let mut queues = self.queues();
        queues.bytes[lane] += message.body.len();
        queues.waiting[lane].push_back((message, units));
        drop(queues);
        self.ready.notify_one();
    }

    /// Puts back, in front, what was sent and not acknowledged.
    pub(super) fn push_again(&self, messages: Vec<ChannelMessage>) {
        let mut queues = self.queues();
        for message in messages.into_iter().rev() {
            queues.bytes[message.priority as usize] += message.body.len();
            queues.answer_bytes += message.body.len();
            queues.waiting[message.priority as usize].push_front((message, 0));
            queues.answers += 1;
        }
        drop(queues);
        self.ready.notify_one();
    }

    /// The messages of the next record: all of one priority, the highest there is, as far as there
    /// is room. With `only_full` those below high priority stay until they fill a whole record.
    pub(super) fn pop(&self, room: Room, only_full: bool) -> Vec<ChannelMessage> {
        let mut queues = self.queues();
        let Some(lane) = (0..4).rev().find(|lane| !queues.waiting[*lane].is_empty()) else {
            return Vec::new();
        };
        let urgent = lane >= Priority::High as usize;
        let full = queues.waiting[lane].len() >= BATCH_MAX_MESSAGES
            || queues.bytes[lane] >= BATCH_SOFT_MAX_BYTES;
        if only_full && !urgent && !full {
            return Vec::new();
        }
        let mut taken = Vec::new();
        let (mut bytes, mut units_freed) = (0, 0);
        let room_bytes = if urgent {
            room.urgent_bytes
        } else {
            room.bytes
        };
        while taken.len() < BATCH_MAX_MESSAGES.min(room.messages) && bytes < room_bytes {
            let Some((next, _)) = queues.waiting[lane].front() else {
                break;
            };
            if !taken.is_empty() && bytes + next.body.len() > BATCH_SOFT_MAX_BYTES {
                break;
            }
            bytes += next.body.len();
            let (message, units) = queues.waiting[lane].pop_front().expect("there is a front");
            if units == 0 {
                queues.answers -= 1;
                queues.answer_bytes -= message.body.len();
            }
            units_freed += units as usize;
            taken.push(message);
        }
        queues.bytes[lane] -= bytes;
        drop(queues);
        self.room[lane].add_permits(units_freed);
        taken
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queues().waiting.iter().all(VecDeque::is_empty)
    }

    /// Something other than a message is to be done.
    pub(super) fn wake(&self) {
        self.ready.notify_one();
    }

    /// Until something is to be done.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Nobody sends any more: who waits for room hears so.
    pub(super) fn close(&self) {
        let mut queues = self.queues();
        *queues = Queues::default();
        drop(queues);
        for room in &self.room {
            room.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::types::limits::TALK_MAX_BYTES;
    use crate::wire::ChannelType;

    const ROOM: Room = Room {
        bytes: 1 << 20,
        urgent_bytes: 1 << 20,
        messages: 4_096,
    };

    fn message(n: u8, priority: Priority, bytes: usize) -> ChannelMessage {
        ChannelMessage {
            kind: ChannelType::Report,
            priority,
            durable: false,
            again: false,
            confirm: false,
            id: [n; 16],
            re: [0; 16],
            body: Bytes::from(vec![n; bytes]),
        }
    }

    fn pop(outbox: &Outbox) -> Vec<u8> {
        let taken = outbox.pop(ROOM, false);
        taken.iter().map(|message| message.id[0]).collect()
    }

    #[tokio::test]
    async fn the_most_urgent_leaves_first_and_alone() {
        let outbox = Outbox::new();
        for (n, priority) in [
            (1, Priority::Low),
            (2, Priority::Normal),
            (3, Priority::Low),
            (4, Priority::Critical),
            (5, Priority::High),
            (6, Priority::Normal),
        ] {
            outbox
                .push(message(n, priority, 10))
                .await
                .expect("there is room");
        }
        let order: Vec<_> = (0..5).map(|_| pop(&outbox)).collect();
        assert_eq!(order, [vec![4], vec![5], vec![2, 6], vec![1, 3], vec![]]);
        assert!(outbox.is_empty());
    }

    #[tokio::test]
    async fn high_priority_goes_however_much_is_under_way() {
        let outbox = Outbox::new();
        outbox
            .push(message(1, Priority::Normal, 10))
            .await
            .expect("there is room");
        assert!(outbox.pop(Room { bytes: 0, ..ROOM }, false).is_empty());
        outbox
            .push(message(2, Priority::High, 10))
            .await
            .expect("there is room");
        assert_eq!(outbox.pop(Room { bytes: 0, ..ROOM }, true).len(), 1);
    }

    #[tokio::test]
    async fn while_enough_is_under_way_only_a_full_record_leaves() {
        let outbox = Outbox::new();
        for n in 0..BATCH_MAX_MESSAGES as u8 {
            assert!(outbox.pop(ROOM, true).is_empty());
            outbox
                .push(message(n, Priority::Normal, 10))
                .await
                .expect("there is room");
        }
        assert_eq!(outbox.pop(ROOM, true).len(), BATCH_MAX_MESSAGES);
    }

    #[tokio::test]
    async fn a_full_queue_makes_its_senders_wait_and_no_others() {
        let outbox = Outbox::new();
        let large = CHANNEL_QUEUE_BYTES / 4 - UNIT_BYTES;
        for n in 0..4 {
            outbox
                .push(message(n, Priority::Low, large))
                .await
                .expect("there is room");
        }
        let next = outbox.push(message(4, Priority::Low, 1));
        let next = tokio::time::timeout(std::time::Duration::from_millis(10), next);
        assert!(next.await.is_err(), "the queue is full");
        outbox
            .push(message(5, Priority::Normal, 1))
            .await
            .expect("there is room");
        pop(&outbox);
        pop(&outbox);
        outbox
            .push(message(6, Priority::Low, 1))
            .await
            .expect("there is room again");
        outbox.close();
        assert!(outbox.push(message(7, Priority::Low, 1)).await.is_err());
    }

    #[test]
    fn answers_wait_for_nothing_and_are_bounded() {
        let outbox = Outbox::new();
        for _ in 0..ANSWERS_PER_PEER_MAX {
            assert!(outbox.push_answer(message(1, Priority::Normal, 10)));
        }
        assert!(!outbox.push_answer(message(1, Priority::Normal, 10)));
        assert_eq!(pop(&outbox).len(), BATCH_MAX_MESSAGES);
        assert!(outbox.push_answer(message(1, Priority::Normal, 10)));
    }

    #[test]
    fn answers_are_bounded_by_their_bytes_too() {
        let outbox = Outbox::new();
        for _ in 0..ANSWERS_PER_PEER_MAX_BYTES / TALK_MAX_BYTES {
            assert!(outbox.push_answer(message(1, Priority::Normal, TALK_MAX_BYTES)));
        }
        assert!(!outbox.push_answer(message(1, Priority::Normal, 1)));
        pop(&outbox);
        assert!(outbox.push_answer(message(1, Priority::Normal, 1)));
    }
}
