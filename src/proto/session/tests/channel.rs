//! Both sides of a channel over streams that break.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::channel::{ChannelIn, ChannelOut};
use crate::crypto::{KeyPair, PreparedKey, Signature};
use crate::types::limits::{TALK_MAX_BYTES, UNACKED_MAX_MESSAGES, WINDOW_BYTES};
use crate::types::{EntityId, Priority, SessionId, Wall};
use crate::wire::{
    Batch, BatchContext, BatchHead, ChannelMessage, ChannelType, MessageProof, ProofError,
    ProofParties, WireError, decode_batch, encode_batch,
};

fn message(id: u64) -> ChannelMessage {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&id.to_be_bytes());
    ChannelMessage {
        kind: ChannelType::Report,
        priority: Priority::Normal,
        durable: id.is_multiple_of(2),
        again: false,
        confirm: id.is_multiple_of(3),
        id: bytes,
        re: [0; 16],
        body: Bytes::from(format!("message {id}")),
    }
}

fn context() -> BatchContext {
    BatchContext::new(
        &EntityId([1; 32]),
        &EntityId([2; 32]),
        SessionId(uuid::Uuid::from_u128(3)),
        &[4; 32],
    )
}

fn head(first: u64) -> BatchHead {
    BatchHead {
        have: 9,
        sent: Wall(1_700_000_000_000),
        first,
        seed: [8; 32],
    }
}

fn key() -> KeyPair {
    KeyPair::from_seed(&[7; 32])
}

fn prepared() -> PreparedKey {
    key().public().prepare().expect("it is a key")
}

fn encoded(messages: &[ChannelMessage]) -> Bytes {
    let mut buffer = Vec::new();
    encode_batch(&head(5), messages, &context(), &key(), &mut buffer);
    Bytes::from(buffer)
}

fn unsigned(first: u64, messages: Vec<ChannelMessage>) -> Batch {
    Batch {
        head: head(first),
        messages,
        leaves: Vec::new(),
        signature: Signature([0; 64]),
    }
}

#[test]
fn a_batch_reads_as_it_was_written_and_its_signature_holds() {
    for count in [0, 1, 2, 3, 63, 64] {
        let messages: Vec<_> = (1..=count).map(message).collect();
        let batch = decode_batch(&encoded(&messages), &context()).expect("it reads");
        assert_eq!(batch.messages, messages);
        assert!(batch.verify(&context(), &prepared()));
        let other = BatchContext::new(
            &EntityId([1; 32]),
            &EntityId([2; 32]),
            SessionId(uuid::Uuid::from_u128(3)),
            &[5; 32],
        );
        let elsewhere = decode_batch(&encoded(&messages), &other).expect("it reads");
        assert_eq!(elsewhere.verify(&other, &prepared()), count == 0);
    }
}

#[test]
fn every_bent_bit_of_a_batch_is_refused_or_says_something_unsigned() {
    let good = encoded(&[message(1), message(2), message(3)]);
    let whole = decode_batch(&good, &context()).expect("it reads");
    for bit in 0..good.len() * 8 {
        let mut bent = good.to_vec();
        bent[bit / 8] ^= 1 << (bit % 8);
        let Ok(batch) = decode_batch(&Bytes::from(bent), &context()) else {
            continue;
        };
        let only_unsigned = batch.head.have != whole.head.have
            || batch.messages.iter().any(|message| message.again)
            || batch.messages.is_empty();
        assert!(
            only_unsigned || !batch.verify(&context(), &prepared()),
            "bit {bit}"
        );
    }
}

#[test]
fn a_message_over_its_limit_is_refused_before_it_is_copied() {
    let mut large = message(1);
    large.body = Bytes::from(vec![0; TALK_MAX_BYTES]);
    assert!(decode_batch(&encoded(&[large.clone()]), &context()).is_ok());
    large.body = Bytes::from(vec![0; TALK_MAX_BYTES + 1]);
    let refused = decode_batch(&encoded(&[large]), &context()).err();
    assert_eq!(refused, Some(WireError::PayloadTooLarge));
}

#[test]
fn each_message_of_a_batch_is_shown_to_a_third_party_by_its_proof() {
    let messages: Vec<_> = (1..=11).map(message).collect();
    let batch = decode_batch(&encoded(&messages), &context()).expect("it reads");
    let parties = ProofParties {
        sender: EntityId([1; 32]),
        recipient: EntityId([2; 32]),
        session: SessionId(uuid::Uuid::from_u128(3)),
        transcript: [4; 32],
        key: key().public(),
    };
    assert_eq!(MessageProof::cut(&batch, 11, &parties), None);
    for at in 0..11 {
        let proof = MessageProof::cut(&batch, at, &parties).expect("it is there");
        let bytes = proof.to_bytes();
        let read = MessageProof::from_bytes(&bytes).expect("it reads");
        assert_eq!(read.verify(), Ok(()));
        assert_eq!(read.body, messages[at as usize].body);
        assert_eq!(read.sequence_num, 5 + u64::from(at));
        for place in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[place] ^= 1;
            let shown = MessageProof::from_bytes(&bent).map(|proof| proof.verify());
            assert!(!matches!(shown, Ok(Ok(()))), "byte {place}");
        }
        let mut moved = read.clone();
        moved.index = (moved.index + 1) % 11;
        assert!(matches!(
            moved.verify(),
            Err(ProofError::Path | ProofError::Signature)
        ));
    }
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused() {
    let mut outgoing = ChannelOut::default();
    outgoing.number(&[message(1)]);
    assert_eq!(outgoing.acknowledged(2), Err(WireError::SequenceError));
    assert_eq!(outgoing.acknowledged(1), Ok(true));
    assert_eq!(outgoing.acknowledged(1), Ok(false));
}

#[test]
fn whatever_was_under_way_when_a_stream_broke_goes_again() {
    let kinds = [
        ChannelType::Talk,
        ChannelType::Report,
        ChannelType::Reply,
        ChannelType::Kept,
        ChannelType::Error,
        ChannelType::Ping,
        ChannelType::Pong,
    ];
    let mut outgoing = ChannelOut::default();
    let messages = kinds.map(|kind| ChannelMessage { kind, ..message(1) });
    outgoing.number(&messages);
    let again = outgoing.again();
    assert_eq!(again.iter().map(|m| m.kind).collect::<Vec<_>>(), kinds);
    assert!(again.iter().all(|message| message.again));
    outgoing.check().expect("C2");
}

#[test]
fn what_is_under_way_is_bounded() {
    let mut outgoing = ChannelOut::default();
    let mut large = message(1);
    large.body = Bytes::from(vec![0; WINDOW_BYTES]);
    outgoing.number(&[large]);
    assert_eq!(outgoing.room().bytes, 0);
    assert!(outgoing.room().urgent_bytes > 0);
    assert_eq!(outgoing.room().messages, UNACKED_MAX_MESSAGES - 1);
    outgoing.check().expect("C2");
}

#[test]
fn numbers_that_were_given_before_are_refused() {
    let mut incoming = ChannelIn::default();
    assert_eq!(
        incoming.take(&unsigned(0, vec![message(1), message(2)])),
        Ok(vec![true; 2])
    );
    let again = incoming.take(&unsigned(1, vec![message(3)]));
    assert_eq!(again, Err(WireError::SequenceError));
    assert_eq!(incoming.have(), 2);
}

#[derive(Debug, Clone)]
enum Happens {
    Send(u8),
    /// So many of the records under way arrive, in order.
    Arrive(u8),
    Acknowledge,
    /// The stream breaks: what is under way is lost.
    Break,
    /// The session is replaced as well.
    Renew,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        (1_u8..20).prop_map(Happens::Send),
        (1_u8..10).prop_map(Happens::Arrive),
        Just(Happens::Acknowledge),
        Just(Happens::Break),
        Just(Happens::Renew),
    ]
}

proptest! {
    /// Whatever breaks: every message is handed on once, and in the order of its first sending
    /// where no stream broke.
    #[test]
    fn every_message_is_delivered_once(story in prop::collection::vec(happens(), 1..60)) {
        let (mut outgoing, mut incoming) = (ChannelOut::default(), ChannelIn::default());
        let mut wire: Vec<Batch> = Vec::new();
        let mut delivered: Vec<[u8; 16]> = Vec::new();
        let mut sent = 0_u64;
        let send = |outgoing: &mut ChannelOut, wire: &mut Vec<Batch>, messages: Vec<ChannelMessage>| {
            let first = outgoing.number(&messages);
            wire.push(unsigned(first, messages));
        };
        let arrive = |incoming: &mut ChannelIn, delivered: &mut Vec<[u8; 16]>, batch: Batch| {
            let fresh = incoming.take(&batch).expect("an honest sender counts up");
            let new = batch.messages.iter().zip(fresh).filter(|(_, fresh)| *fresh);
            delivered.extend(new.map(|(message, _)| message.id));
        };
        for event in story.into_iter().chain([Happens::Break, Happens::Arrive(255)]) {
            match event {
                Happens::Send(count) => {
                    let messages = (0..u64::from(count)).map(|n| message(sent + n)).collect();
                    sent += u64::from(count);
                    send(&mut outgoing, &mut wire, messages);
                }
                Happens::Arrive(count) => {
                    for batch in wire.drain(..usize::from(count).min(wire.len())) {
                        arrive(&mut incoming, &mut delivered, batch);
                    }
                }
                Happens::Acknowledge => {
                    outgoing.acknowledged(incoming.have()).expect("it was sent");
                }
                Happens::Break | Happens::Renew => {
                    wire.clear();
                    let renewed = matches!(event, Happens::Renew);
                    if !renewed {
                        outgoing.acknowledged(incoming.have()).expect("it was sent");
                    }
                    let again = outgoing.again();
                    if renewed {
                        outgoing.restart();
                        incoming.restart();
                    }
                    if !again.is_empty() {
                        send(&mut outgoing, &mut wire, again);
                    }
                }
            }
            outgoing.check().expect("C2");
        }
        delivered.sort_unstable();
        let expected: Vec<_> = (0..sent).map(|n| message(n).id).collect();
        prop_assert_eq!(delivered, expected);
    }
}
