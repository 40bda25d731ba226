//! What waits to be sent on a channel: four queues, the most urgent first. Whoever sends waits for
//! room in the queue of its priority, so a slow peer slows down who talks to it and nobody else.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};

use crate::types::Priority;
use crate::types::limits::{
    ANSWERS_PER_PEER_MAX, BATCH_MAX_MESSAGES, BATCH_SOFT_MAX_BYTES, CHANNEL_QUEUE_BYTES,
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
    answers: usize,
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
            if queues.answers >= ANSWERS_PER_PEER_MAX {
                return false;
            }
            queues.answers += 1;
        }
        self.enqueue(message, 0);
        true
    }

    fn enqueue(&self, message: ChannelMessage, units: u32) {
        let lane = message.priority as usize;
        self.queues().waiting[lane].push_back((message, units));
        self.ready.notify_one();
    }

    /// Puts back, in front, what was sent and not acknowledged.
    pub(super) fn push_again(&self, messages: Vec<ChannelMessage>) {
        let mut queues = self.queues();
        for message in messages.into_iter().rev() {
            queues.waiting[message.priority as usize].push_front((message, 0));
            queues.answers += 1;
        }
        drop(queues);
        self.ready.notify_one();
    }

    /// The messages of the next record: all of one priority, the highest there is. Those of high
    /// priority go whatever is under way; the others only as far as `room_bytes` reaches.
    pub(super) fn pop(&self, room_bytes: usize, room_messages: usize) -> Vec<ChannelMessage> {
        let mut queues = self.queues();
        let Some(lane) = (0..4).rev().find(|lane| !queues.waiting[*lane].is_empty()) else {
            return Vec::new();
        };
        let urgent = lane >= Priority::High as usize;
        let mut taken = Vec::new();
        let (mut bytes, mut units_freed) = (0, 0);
        while taken.len() < BATCH_MAX_MESSAGES.min(room_messages) && (urgent || bytes < room_bytes)
        {
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
            }
            units_freed += units as usize;
            taken.push(message);
        }
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
        queues.waiting = Default::default();
        drop(queues);
        for room in &self.room {
            room.close();
        }
    }
}
