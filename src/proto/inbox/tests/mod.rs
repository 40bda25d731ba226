//! The inbox by itself: facts, and laws over many histories.

mod laws;

use std::collections::BTreeMap;

use rand::SeedableRng;

use super::*;
use crate::crypto::Rng;
use crate::types::{Priority, WriteBatch, WriteOp};

const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// An inbox with its clock and its disk.
struct Host {
    inbox: Inbox,
    now_ms: u64,
    rng: Rng,
    rows: BTreeMap<(Keyspace, Vec<u8>), Vec<u8>>,
    batch: u64,
}

fn host() -> Host {
    Host {
        inbox: Inbox::default(),
        now_ms: 1,
        rng: Rng::seed_from_u64(1),
        rows: BTreeMap::new(),
        batch: 1,
    }
}

fn entity(n: u8) -> EntityId {
    EntityId([n; 32])
}

fn id(n: u64) -> MessageId {
    MessageId(uuid::Uuid::from_u128(u128::from(n)))
}

fn message(n: u64, bytes: usize) -> Received {
    Received {
        id: id(n),
        kind: if n.is_multiple_of(2) {
            MessageKind::Talk
        } else {
            MessageKind::Report
        },
        priority: Priority::Normal,
        durable: n.is_multiple_of(3),
        sent: Wall(5),
        body: vec![7; bytes],
        proof: vec![8; bytes.min(100)],
    }
}

impl Host {
    fn note(&mut self, from: u8) -> Option<BatchId> {
        self.step(|inbox, step| inbox.note(entity(from), MessageKind::File, vec![7; 100], step))
    }

    fn now(&self) -> Now {
        Now {
            mono: Mono::from_micros(self.now_ms * 1_000),
            wall: Wall(1_700_000_000_000 + self.now_ms),
        }
    }

    /// One step, whose writes are on disk when it ends.
    fn step<T>(&mut self, act: impl FnOnce(&mut Inbox, &mut Step<'_>) -> T) -> T {
        let mut writes = WriteBatch::default();
        let now = self.now();
        let mut step = Step {
            now,
            rng: &mut self.rng,
            batch: BatchId(self.batch),
            writes: &mut writes,
        };
        let result = act(&mut self.inbox, &mut step);
        self.batch += 1;
        for op in writes.ops {
            match op {
                WriteOp::Put { space, key, value } => self.rows.insert((space, key), value),
                WriteOp::Delete { space, key } => self.rows.remove(&(space, key)),
            };
        }
        self.inbox
            .check()
            .expect("every invariant holds after every step");
        result
    }

    fn receive(&mut self, from: u8, message: Received) -> Receipt {
        let entry = [from; 40];
        self.step(|inbox, step| {
            inbox.receive(entity(from), DeliveryId(1), message, Some(&entry), step)
        })
    }

    fn acknowledge(&mut self, n: u64) -> bool {
        self.step(|inbox, step| inbox.acknowledge(id(n), step))
            .is_some()
    }

    fn tick(&mut self) {
        self.step(|inbox, step| inbox.tick(step));
    }

    fn restart(&mut self) {
        let now = self.now();
        self.inbox = Inbox::default();
        for ((space, key), value) in &self.rows {
            let row = Row {
                space: *space,
                key: key.clone(),
                value: value.clone(),
            };
            self.inbox.load(&row, now).expect("our own rows");
        }
        self.inbox.check().expect("what was loaded is whole");
    }

    fn ids(&self) -> Vec<MessageId> {
        self.inbox.messages(0).map(|(id, _)| id).collect()
    }
}

#[test]
fn one_sender_cannot_fill_the_inbox() {
    let mut host = host();
    for n in 0..INBOX_PER_SENDER_MAX_MESSAGES as u64 {
        assert_eq!(host.inbox_only(1, n, 1), Settled::Kept);
    }
    let last = INBOX_PER_SENDER_MAX_MESSAGES as u64;
    let busy = Settled::Refused(WireError::Busy);
    assert_eq!(host.inbox_only(1, last, 1), busy);
    assert_eq!(host.inbox_only(2, last, 1), Settled::Kept);
    // A resend of what is there is no new message.
    assert_eq!(host.inbox_only(1, 3, 1), Settled::Kept);
    // What is acknowledged makes room.
    assert!(host.acknowledge(0));
    assert_eq!(host.inbox_only(1, last + 1, 1), Settled::Kept);
    host.inbox.check().expect("within bounds");
}

#[test]
fn a_message_that_the_disk_has_no_room_for_is_refused_until_there_is_some() {
    let mut host = host();
    let busy = Settled::Refused(WireError::Busy);
    assert_eq!(host.inbox_only(1, 1, 1_000), Settled::Kept);
    let each = host.inbox.bytes as u64;
    host.inbox.disk_has(2 * each - 1);
    assert_eq!(host.inbox_only(1, 2, 1_000), Settled::Kept);
    // The one before has taken its part.
    assert_eq!(host.inbox_only(1, 3, 1_000), busy);
    // A resend takes nothing, and what is acknowledged may always be.
    assert_eq!(host.inbox_only(1, 2, 1_000), Settled::Kept);
    assert!(host.acknowledge(1));
    host.inbox.disk_has(0);
    assert_eq!(host.inbox_only(2, 4, 1), busy);
    host.inbox.disk_has(each);
    assert_eq!(host.inbox_only(1, 3, 1_000), Settled::Kept);
    host.inbox.check().expect("within bounds");
}

#[test]
fn bytes_are_bounded_for_each_sender_and_in_all() {
    let mut host = host();
    let each = INBOX_PER_SENDER_MAX_BYTES / (TALK_MAX_BYTES + OVERHEAD_BYTES + 100);
    let mut taken = 0;
    for from in 1..=6 {
        for n in 0..=each as u64 {
            let number = u64::from(from) * 1_000 + n;
            taken += usize::from(host.inbox_only(from, number, TALK_MAX_BYTES) == Settled::Kept);
        }
    }
    let fit = INBOX_MAX_BYTES / (TALK_MAX_BYTES + OVERHEAD_BYTES + 100);
    assert_eq!(taken, fit.min(6 * each));
    host.inbox.check().expect("within bounds");
}

impl Host {
    /// As `receive`, without a look at every invariant: for tests that fill it.
    fn inbox_only(&mut self, from: u8, n: u64, bytes: usize) -> Settled {
        let mut writes = WriteBatch::default();
        let now = self.now();
        let mut step = Step {
            now,
            rng: &mut self.rng,
            batch: BatchId(self.batch),
            writes: &mut writes,
        };
        let message = message(n, bytes);
        let receipt = self
            .inbox
            .receive(entity(from), DeliveryId(1), message, None, &mut step);
        receipt.outcome
    }
}

#[test]
fn an_id_that_another_has_used_is_refused() {
    let mut host = host();
    assert_eq!(host.receive(1, message(1, 9)).outcome, Settled::Kept);
    let refused = Settled::Refused(WireError::InvalidState);
    assert_eq!(host.receive(2, message(1, 9)).outcome, refused);
    assert!(host.acknowledge(1));
    assert_eq!(host.receive(2, message(1, 9)).outcome, refused);
}

#[test]
fn a_message_expires_after_a_week_and_its_tombstone_after_eight_days_more() {
    let mut host = host();
    host.receive(1, message(1, 9));
    host.now_ms += 6 * DAY_MS;
    host.receive(1, message(3, 9));
    host.tick();
    assert_eq!(host.ids(), [id(1), id(3)]);
    host.restart();
    host.now_ms += DAY_MS;
    host.tick();
    assert_eq!(host.inbox.expired(), [(id(1), entity(1))]);
    assert_eq!(host.ids(), [id(3)]);
    assert_eq!(host.receive(1, message(1, 9)).outcome, Settled::Kept);
    assert_eq!(host.ids(), [id(3)]);
    assert!(host.acknowledge(3));
    host.restart();
    host.now_ms += 8 * DAY_MS;
    host.tick();
    assert!(host.rows.is_empty(), "{:?}", host.rows.keys());
    assert!(host.inbox.next_deadline().is_none());
}

#[test]
fn a_sender_is_remembered_as_long_as_a_message_of_its_is_kept() {
    let mut host = host();
    host.receive(1, message(1, 9));
    host.receive(1, message(3, 9));
    host.restart();
    assert_eq!(host.inbox.sender_entry(&entity(1)), Some(&[1; 40][..]));
    host.acknowledge(1);
    assert!(host.inbox.sender_entry(&entity(1)).is_some());
    host.acknowledge(3);
    assert_eq!(host.inbox.sender_entry(&entity(1)), None);
    assert!(
        !host
            .rows
            .keys()
            .any(|(space, _)| *space == Keyspace::InboxSender)
    );
}

#[test]
fn numbers_ascend_even_when_nothing_that_bore_one_is_left() {
    let mut host = host();
    host.receive(1, message(1, 9));
    let first = host.inbox.last_number();
    host.rows.clear();
    host.now_ms += 1;
    host.restart();
    host.receive(1, message(3, 9));
    host.receive(1, message(5, 9));
    let numbers: Vec<u64> = host
        .inbox
        .messages(0)
        .map(|(_, m)| m.record.number)
        .collect();
    assert!(
        first < numbers[0] && numbers[0] < numbers[1],
        "{first} {numbers:?}"
    );
    assert_eq!(host.inbox.messages(numbers[0]).count(), 1);
}

#[test]
fn a_sender_that_buries_much_forgets_its_own_oldest() {
    let mut host = host();
    host.receive(2, message(1_000_000, 1));
    host.acknowledge(1_000_000);
    for n in 0..=INBOX_TOMBSTONES_PER_SENDER_MAX as u64 {
        host.inbox_only(1, n, 1);
        let now = host.now();
        let mut writes = WriteBatch::default();
        let mut step = Step {
            now,
            rng: &mut host.rng,
            batch: BatchId(1),
            writes: &mut writes,
        };
        host.inbox
            .acknowledge(id(n), &mut step)
            .expect("it is there");
        host.now_ms += 1;
    }
    host.inbox.check().expect("within bounds");
    assert!(host.acknowledge(1_000_000), "another's tombstone stays");
    assert!(!host.acknowledge(0), "its own oldest is forgotten");
    assert!(host.acknowledge(1));
}

#[test]
fn a_row_of_another_version_says_so() {
    let mut host = host();
    host.receive(1, message(1, 9));
    let row = host
        .rows
        .iter()
        .find(|((space, _), _)| *space == Keyspace::Inbox);
    let ((_, key), value) = row.expect("written");
    let at = value
        .windows(2)
        .position(|w| w == [b'v', 1])
        .expect("the version");
    let mut newer = value.clone();
    newer[at + 1] = 9;
    let load = |value: &[u8]| {
        let row = Row {
            space: Keyspace::Inbox,
            key: key.clone(),
            value: value.to_vec(),
        };
        Inbox::default().load(&row, host.now())
    };
    assert_eq!(load(value), Ok(()));
    assert!(
        load(&newer)
            .expect_err("newer")
            .to_string()
            .contains("version 9")
    );
    assert!(load(&value[1..]).is_err());
    let orphan = Row {
        space: Keyspace::InboxBody,
        key: key.clone(),
        value: vec![1],
    };
    assert!(Inbox::default().load(&orphan, host.now()).is_err());
}

#[test]
fn a_note_is_kept_like_a_message_of_whoever_it_is_on_and_answers_nobody() {
    let mut host = host();
    assert!(host.note(1).is_some());
    host.restart();
    let (id, kept) = host.inbox.messages(0).next().expect("it is kept");
    assert_eq!(kept.record.kind, MessageKind::File);
    assert_eq!((kept.record.from, kept.body.len()), (entity(1), 100));
    assert!(!kept.waits(Mono::from_micros(0)));
    let reply = host.step(|inbox, step| inbox.reply(id, b"thanks", step));
    assert_eq!(reply, Err(ReplyError::NoTalk));
    assert!(
        host.step(|inbox, step| inbox.acknowledge(id, step))
            .is_some()
    );
    assert!(host.inbox.is_empty());
}

#[test]
fn a_reply_finds_nobody_once_the_asker_has_given_up_or_its_time_is_over() {
    let mut host = host();
    let late = Err(ReplyError::Late);
    let reply = |host: &mut Host, n| {
        let reply = host.step(|inbox, step| inbox.reply(id(n), b"re", step));
        reply.map(|(delivery, _)| delivery)
    };
    host.receive(1, message(2, 10));
    host.step(|inbox, _| inbox.withdraw(entity(9), id(2)));
    let waits = |host: &Host, n| {
        let kept = host.inbox.message(&id(n)).expect("it is kept");
        kept.waits(host.now().mono)
    };
    assert!(waits(&host, 2), "another's word counts for nothing");
    host.step(|inbox, _| inbox.withdraw(entity(1), id(2)));
    assert!(!waits(&host, 2));
    assert_eq!(reply(&mut host, 2), late);
    // What was withdrawn before it came, or never came, is nothing.
    host.step(|inbox, _| inbox.withdraw(entity(1), id(8)));
    host.receive(1, message(4, 10));
    host.receive(1, message(6, 10));
    host.now_ms += TALK_TIMEOUT_MS - 1;
    assert_eq!(reply(&mut host, 4), Ok(DeliveryId(1)));
    // Sent again it is waited for no longer.
    host.receive(1, message(6, 10));
    host.now_ms += 1;
    assert!(!waits(&host, 6));
    assert_eq!(reply(&mut host, 6), late);
}

#[test]
fn notes_take_of_their_sender_s_share_and_of_no_other() {
    let mut host = host();
    for _ in 0..INBOX_PER_SENDER_MAX_MESSAGES {
        assert!(host.note(1).is_some());
    }
    assert_eq!(host.note(1), None);
    let refused = host.receive(1, message(1, 10));
    assert_eq!(refused.outcome, Settled::Refused(WireError::Busy));
    assert!(host.note(2).is_some());
}
