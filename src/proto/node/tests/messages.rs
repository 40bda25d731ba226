//! Messages for the agent: promises wait for the disk, and nothing that was promised is lost.

use super::*;
use crate::proto::inbox::MessageState;
use crate::types::limits::TALK_MAX_BYTES;
use crate::types::{DeliveryId, MessageId, MessageKind, Wall};
use crate::wire::{
    BatchContext, BatchHead, ChannelMessage, ChannelType, Evidence, EvidenceError, MessageProof,
    ProofParties, WireError, decode_batch, encode_batch,
};

fn id(n: u64) -> MessageId {
    MessageId(uuid::Uuid::from_u128(u128::from(n)))
}

fn message(n: u64, kind: MessageKind, durable: bool) -> Received {
    Received {
        id: id(n),
        kind,
        priority: Priority::Normal,
        durable,
        sent: Wall(1_700_000_000_000),
        body: format!("message {n}").into_bytes(),
        proof: b"proof".to_vec(),
    }
}

impl Wires {
    /// Hands node 1 a message of node 0's, under a delivery number.
    fn hand_in(&mut self, delivery: u64, message: Received) {
        let input = Input::Received {
            delivery: DeliveryId(delivery),
            peer: self.hosts[0].identity.peer_id,
            from: self.hosts[0].identity.entity_id,
            message,
        };
        self.input(1, input);
    }

    fn settled(&self) -> Vec<(u64, Settled)> {
        let settled = self.hosts[1].settled.iter();
        settled
            .map(|(delivery, outcome)| (delivery.0, *outcome))
            .collect()
    }

    fn listed(&mut self) -> Vec<MessageView> {
        let all = InboxFilter {
            limit: 100,
            ..InboxFilter::default()
        };
        match self.ask(1, Command::Inbox(all)) {
            Ok(Reply::Inbox { messages, .. }) => messages,
            other => panic!("{other:?}"),
        }
    }

    fn shown(&mut self, n: u64) -> Option<Vec<u8>> {
        match self.ask(1, Command::Message(id(n))) {
            Ok(Reply::Message { body, .. }) => Some(body),
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!(error.code, CommandErrorCode::NotFound);
                None
            }
        }
    }
}

#[test]
fn a_durable_message_is_received_only_when_it_is_on_disk() {
    let mut wires = pair();
    wires.hosts[1].disk_waits = true;
    wires.hand_in(1, message(1, MessageKind::Report, true));
    wires.hand_in(2, message(2, MessageKind::Report, false));
    // The same again, before the first is on disk.
    wires.hand_in(3, message(1, MessageKind::Report, true));
    assert_eq!(wires.settled(), [(2, Settled::Kept)]);
    wires.flush(1);
    let kept = Settled::Kept;
    assert_eq!(wires.settled(), [(2, kept), (1, kept), (3, kept)]);
    assert_eq!(wires.node(1).inbox().len(), 2);
}

#[test]
fn what_is_shown_is_on_disk() {
    let mut wires = pair();
    wires.hosts[1].disk_waits = true;
    wires.hand_in(1, message(1, MessageKind::Report, false));
    let all = InboxFilter {
        limit: 9,
        ..InboxFilter::default()
    };
    let list = wires.command(1, Command::Inbox(all));
    let show = wires.command(1, Command::Message(id(1)));
    assert!(wires.reply(1, list).is_none() && wires.reply(1, show).is_none());
    wires.flush(1);
    assert!(wires.reply(1, list).is_some() && wires.reply(1, show).is_some());
}

#[test]
fn a_received_message_outlives_its_node_until_it_is_acknowledged_for_good() {
    let mut wires = pair();
    wires.hand_in(1, message(1, MessageKind::Report, true));
    wires.hand_in(2, message(2, MessageKind::Talk, true));
    assert_eq!(wires.shown(1).as_deref(), Some(&b"message 1"[..]));
    wires.stop(1);
    wires.start(1);
    let states: Vec<_> = wires
        .listed()
        .into_iter()
        .map(|m| (m.state, m.provable))
        .collect();
    assert_eq!(states, [("read".into(), true), ("new".into(), true)]);
    wires.granted(1, Command::Acknowledge(id(1)));
    wires.stop(1);
    wires.start(1);
    assert_eq!(wires.shown(1), None);
    // Its sender missed the word and sends it again: known, and not delivered again.
    wires.hand_in(7, message(1, MessageKind::Report, true));
    assert_eq!(wires.settled().last(), Some(&(7, Settled::Kept)));
    assert_eq!(wires.listed().len(), 1);
    wires.granted(1, Command::Acknowledge(id(1)));
}

#[test]
fn a_talk_is_answered_once_and_its_answer_waits_for_the_disk() {
    let mut wires = pair();
    wires.hand_in(1, message(1, MessageKind::Talk, false));
    assert!(wires.listed()[0].awaits_reply);
    wires.hosts[1].disk_waits = true;
    let reply = Command::ReplyTo {
        id: id(1),
        body: b"yes".to_vec(),
    };
    let answered = wires.command(1, reply.clone());
    assert!(wires.hosts[1].answers.is_empty() && wires.reply(1, answered).is_none());
    wires.flush(1);
    assert_eq!(wires.hosts[1].answers, [(DeliveryId(1), b"yes".to_vec())]);
    assert_eq!(wires.reply(1, answered), Some(Ok(Reply::Done)));
    let again = wires.ask(1, reply).expect_err("it is answered");
    assert_eq!(again.code, CommandErrorCode::NotFound);
    // The answer was lost on its way, and the talk comes again.
    wires.hosts[1].disk_waits = false;
    wires.hand_in(2, message(1, MessageKind::Talk, false));
    assert_eq!(
        wires.hosts[1].answers.last(),
        Some(&(DeliveryId(2), b"yes".to_vec()))
    );
}

#[test]
fn a_reply_that_nobody_awaits_is_refused_with_a_reason() {
    let mut wires = pair();
    wires.hand_in(1, message(1, MessageKind::Report, false));
    wires.hand_in(2, message(2, MessageKind::Talk, false));
    let reply = |n| Command::ReplyTo {
        id: id(n),
        body: Vec::new(),
    };
    let error = wires.ask(1, reply(1)).expect_err("a report");
    assert!(error.message.contains("report"), "{error}");
    wires.stop(1);
    wires.start(1);
    let error = wires.ask(1, reply(2)).expect_err("an earlier run's");
    assert_eq!(error.code, CommandErrorCode::NobodyWaits);
    wires.hand_in(3, message(3, MessageKind::Talk, false));
    let from = wires.hosts[0].identity.entity_id;
    wires.input(1, Input::Withdrawn { from, talk: id(3) });
    let error = wires.ask(1, reply(3)).expect_err("it was given up");
    assert_eq!(error.code, CommandErrorCode::NobodyWaits);
    wires.granted(1, Command::Acknowledge(id(3)));
    let long = Command::ReplyTo {
        id: id(2),
        body: vec![0; TALK_MAX_BYTES + 1],
    };
    let error = wires.ask(1, long).expect_err("too long");
    assert_eq!(error.code, CommandErrorCode::TooLarge);
    assert_eq!(wires.listed().len(), 2);
}

#[test]
fn a_message_that_is_too_large_is_refused_and_held_against_its_sender() {
    let mut wires = pair();
    let mut large = message(1, MessageKind::Report, false);
    large.body = vec![0; TALK_MAX_BYTES + 1];
    for delivery in 0..7 {
        wires.hand_in(delivery, large.clone());
    }
    let refused = Settled::Refused(WireError::PayloadTooLarge);
    assert!(
        wires
            .settled()
            .iter()
            .all(|(_, outcome)| *outcome == refused)
    );
    let banned = |note: &Note| matches!(note, Note::PeerBanned { .. });
    assert!(wires.hosts[1].notes.iter().any(banned));
}

#[test]
fn the_inbox_is_listed_by_state_kind_sender_and_number() {
    let mut wires = pair();
    for n in 1..=6 {
        let kind = if n % 2 == 0 {
            MessageKind::Talk
        } else {
            MessageKind::Report
        };
        wires.hand_in(n, message(n, kind, false));
    }
    wires.shown(1);
    let count = |wires: &mut Wires, filter| match wires.ask(1, Command::Inbox(filter)) {
        Ok(Reply::Inbox { messages, last }) => {
            assert!(messages.iter().all(|m| m.number <= last));
            messages.len()
        }
        other => panic!("{other:?}"),
    };
    let all = InboxFilter {
        limit: 100,
        ..InboxFilter::default()
    };
    let new = InboxFilter {
        state: Some(MessageState::New),
        ..all.clone()
    };
    let talks = InboxFilter {
        kind: Some(MessageKind::Talk),
        ..all.clone()
    };
    let ours = InboxFilter {
        from: Some(name_of(0)),
        ..all.clone()
    };
    let few = InboxFilter {
        limit: 4,
        ..all.clone()
    };
    let third = wires.listed()[2].number;
    let later = InboxFilter {
        after: third,
        ..all.clone()
    };
    for (filter, expected) in [
        (all, 6),
        (new, 5),
        (talks, 3),
        (ours, 6),
        (few, 4),
        (later, 3),
    ] {
        assert_eq!(count(&mut wires, filter.clone()), expected, "{filter:?}");
    }
    let stranger = InboxFilter {
        from: Some(name_of(7)),
        ..InboxFilter::default()
    };
    assert!(wires.ask(1, Command::Inbox(stranger)).is_err());
}

#[test]
fn whoever_waits_for_messages_is_told_when_one_arrives() {
    let mut wires = pair();
    let waits = wires.command(1, Command::AwaitInbox { seen: 0 });
    assert_eq!(wires.reply(1, waits), None);
    wires.hand_in(1, message(1, MessageKind::Report, false));
    assert_eq!(wires.reply(1, waits), Some(Ok(Reply::Done)));
    // What is there already is told at once; a resend is no arrival.
    wires.granted(1, Command::AwaitInbox { seen: 0 });
    let number = wires.listed()[0].number;
    let waits = wires.command(1, Command::AwaitInbox { seen: number });
    wires.hand_in(2, message(1, MessageKind::Report, false));
    assert_eq!(wires.reply(1, waits), None);
}

/// What node 0 says on a channel to node 1, as node 1 hands it on.
fn spoken(wires: &Wires, n: u64) -> Received {
    let (us, them) = (&wires.hosts[0].identity, &wires.hosts[1].identity);
    let session = crate::types::SessionId(uuid::Uuid::from_u128(3));
    let context = BatchContext::new(&us.entity_id, &them.entity_id, session, &[4; 32]);
    let say = |n: u64| ChannelMessage {
        kind: ChannelType::Report,
        priority: Priority::Normal,
        durable: true,
        again: false,
        confirm: true,
        id: *id(n).0.as_bytes(),
        re: [0; 16],
        body: format!("message {n}").into(),
    };
    let head = BatchHead {
        have: 0,
        sent: Wall(1_700_000_000_000),
        first: 0,
        seed: [8; 32],
    };
    let mut buffer = Vec::new();
    let said = [say(n), say(n + 1), say(n + 2)];
    encode_batch(&head, &said, &context, us.key(), &mut buffer);
    let batch = decode_batch(&buffer.into(), &context).expect("it reads");
    let parties = ProofParties {
        sender: us.entity_id,
        recipient: them.entity_id,
        session,
        transcript: [4; 32],
        key: us.key().public(),
    };
    let proof = MessageProof::cut(&batch, 0, &parties).expect("it is there");
    Received {
        proof: proof.to_bytes(),
        ..message(n, MessageKind::Report, true)
    }
}

fn evidence(wires: &mut Wires, n: u64) -> Evidence {
    match wires.ask(1, Command::MessageProof(id(n))) {
        Ok(Reply::Proof(evidence)) => *evidence,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_is_shown_with_who_signed_it_also_after_a_restart() {
    let mut wires = pair();
    let said = spoken(&wires, 1);
    wires.hand_in(1, said);
    wires.stop(1);
    wires.start(1);
    let evidence = evidence(&mut wires, 1);
    let read = Evidence::from_text(&format!("Dear all,\n{}bye", evidence.to_text()));
    let proven = read.expect("it reads").verify().expect("it holds");
    assert_eq!(proven.from, wires.hosts[0].identity.entity_id);
    assert_eq!(proven.to, wires.hosts[1].identity.entity_id);
    assert_eq!((proven.id, proven.body), (id(1), b"message 1".to_vec()));
    let missing = wires.ask(1, Command::MessageProof(id(9)));
    assert_eq!(
        missing.expect_err("unknown").code,
        CommandErrorCode::NotFound
    );
}

#[test]
fn an_altered_proof_or_anothers_entry_shows_nothing() {
    let mut wires = pair();
    let said = spoken(&wires, 1);
    wires.hand_in(1, said);
    let good = evidence(&mut wires, 1);
    for part in 0..2 {
        let length = [good.entry.len(), good.message.len()][part];
        for bit in 0..length * 8 {
            let mut bent = good.clone();
            let bytes = [&mut bent.entry, &mut bent.message];
            let [entry, message] = bytes;
            let bytes = if part == 0 { entry } else { message };
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(bent.verify().is_err(), "part {part}, bit {bit}");
        }
    }
    let theirs = wires
        .node(1)
        .registry()
        .own()
        .expect("issued")
        .0
        .bytes
        .clone();
    let other = Evidence {
        entry: theirs,
        ..good
    };
    assert_eq!(other.verify(), Err(EvidenceError::OtherSender));
    assert_eq!(
        Evidence::from_text("a letter"),
        Err(EvidenceError::NotOne("-----BEGIN JUNTO MESSAGE PROOF-----"))
    );
}

#[test]
fn without_room_on_its_disk_a_node_takes_no_message_until_there_is_some() {
    const MIB: u64 = 1 << 20;
    let disk = |free: u64| {
        Input::Disk(DiskRoom {
            free_bytes: free,
            keep_bytes: 100 * MIB,
        })
    };
    let mut wires = pair();
    let busy = Settled::Refused(WireError::Busy);
    wires.hand_in(1, message(1, MessageKind::Report, true));
    wires.input(1, disk(100 * MIB));
    wires.hand_in(2, message(2, MessageKind::Report, true));
    // What is there is told, read and acknowledged all the same.
    wires.hand_in(3, message(1, MessageKind::Report, true));
    assert_eq!(wires.shown(1).as_deref(), Some(&b"message 1"[..]));
    wires.granted(1, Command::Acknowledge(id(1)));
    wires.input(1, disk(101 * MIB));
    wires.hand_in(4, message(2, MessageKind::Report, true));
    let told = [
        (1, Settled::Kept),
        (2, busy),
        (3, Settled::Kept),
        (4, Settled::Kept),
    ];
    assert_eq!(wires.settled(), told);
}

#[test]
fn the_results_of_what_a_worker_holds_come_before_messages() {
    const MIB: u64 = 1 << 20;
    let disk = |free_mib: u64| {
        Input::Disk(DiskRoom {
            free_bytes: free_mib * MIB,
            keep_bytes: 0,
        })
    };
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.input(1, disk(2));
    wires.granted(0, submit(1));
    wires.run(5 * SECOND_MS);
    assert_eq!(wires.node(1).worker().len(), 1);
    wires.input(1, disk(1));
    wires.input(1, disk(1));
    wires.hand_in(1, message(1, MessageKind::Report, true));
    wires.input(1, disk(2));
    wires.hand_in(2, message(1, MessageKind::Report, true));
    let busy = Settled::Refused(WireError::Busy);
    assert_eq!(wires.settled(), [(1, busy), (2, Settled::Kept)]);
}
