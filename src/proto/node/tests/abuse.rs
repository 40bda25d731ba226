//! Requests that break a rule: each gets its code, and who goes on with it is banned.

use super::*;
use crate::types::limits::{FRAME_MAX_BYTES, LIST_MAX_ITEMS};
use crate::types::{FencingToken, Nonce, SessionId, Wall};
use crate::wire::{
    CancelItem, Envelope, ErrorBody, Header, MsgType, PROTOCOL_VERSION, Ping, Seal, TaskCancel,
    WireError, cbor,
};

/// A node and somebody whose messages are made by hand.
fn victim() -> Wires {
    let mut wires = Wires::new(vec![config(0, None, 0), config(1, None, 0)]);
    wires.run(SECOND_MS);
    wires
}

fn header(wires: &Wires, seal: Seal, to: EntityId) -> Header {
    let sealed = seal == Seal::Session;
    Header {
        version: PROTOCOL_VERSION.into(),
        msg_type: MsgType::Ping,
        sender_id: wires.hosts[1].identity.entity_id,
        recipient_id: Some(to),
        session_id: sealed.then(|| SessionId(uuid::Uuid::from_u128(7))),
        epoch: sealed.then_some(0),
        sequence_num: sealed.then_some(0),
        re: None,
        timestamp: Wall(1_700_000_000_000),
        nonce: Nonce([5; 32]),
        seal,
    }
}

/// An honest signature, but in clear.
fn unsealed(wires: &Wires) -> Vec<u8> {
    let to = wires.hosts[0].identity.entity_id;
    let mut envelope = envelope(&header(wires, Seal::None, to));
    let key = wires.hosts[1].identity.key();
    envelope.signature = Some(key.sign("message", &envelope.digest()));
    envelope.to_bytes()
}

fn sealed_for(wires: &Wires, to: EntityId) -> Vec<u8> {
    envelope(&header(wires, Seal::Session, to)).to_bytes()
}

fn envelope(header: &Header) -> Envelope {
    let (header, data) = (cbor::encode(header), cbor::encode(&Ping {}));
    Envelope {
        header,
        data,
        signature: None,
        tag: None,
    }
}

fn refused(answer: Option<Vec<u8>>) -> WireError {
    let bytes = answer.expect("answered at once");
    let (envelope, header) = Envelope::from_bytes(&bytes).expect("an envelope");
    assert_eq!(header.msg_type, MsgType::Error);
    cbor::decode::<ErrorBody>(&envelope.data, 256)
        .expect("an error")
        .code
}

fn is_banned(wires: &Wires) -> bool {
    let banned = |note: &Note| matches!(note, Note::PeerBanned { .. });
    wires.hosts[0].notes.iter().any(banned)
}

/// Repeats a request until it leads to a ban. Returns its code, and whether it came to that.
fn repeated(make: impl Fn(&Wires) -> Vec<u8>) -> (WireError, bool) {
    let mut wires = victim();
    wires.connect(1, 0);
    let bytes = make(&wires);
    let code = refused(wires.request(1, 0, bytes.clone()));
    for times in 1..200 {
        if is_banned(&wires) {
            let expected = 100_u32.div_ceil(code.penalty());
            assert_eq!(times, expected, "as its penalty says");
            assert!(!wires.are_connected(0, 1), "its connections are closed");
            assert_eq!(refused(wires.request(1, 0, bytes)), WireError::NotAllowed);
            return (code, true);
        }
        assert_eq!(refused(wires.request(1, 0, bytes.clone())), code);
    }
    (code, false)
}

#[test]
fn a_malformed_request_is_refused_and_leads_to_a_ban() {
    for bytes in [Vec::new(), b"GET / HTTP/1.1".to_vec(), vec![0xff; 1_000]] {
        assert_eq!(repeated(|_| bytes.clone()), (WireError::Malformed, true));
    }
}

#[test]
fn an_oversized_request_is_refused_and_leads_to_a_ban() {
    let bytes = vec![0; FRAME_MAX_BYTES + 1];
    assert_eq!(
        repeated(|_| bytes.clone()),
        (WireError::PayloadTooLarge, true)
    );
}

#[test]
fn an_unsealed_request_is_refused_and_leads_to_a_ban() {
    assert_eq!(repeated(unsealed), (WireError::EncryptionRequired, true));
}

#[test]
fn a_request_for_somebody_else_is_refused_and_leads_to_a_ban() {
    let misaddressed = |wires: &Wires| sealed_for(wires, EntityId([9; 32]));
    assert_eq!(repeated(misaddressed), (WireError::WrongRecipient, true));
}

#[test]
fn what_a_restart_or_another_version_explains_is_held_against_nobody() {
    let forgotten = |wires: &Wires| sealed_for(wires, wires.hosts[0].identity.entity_id);
    assert_eq!(repeated(forgotten), (WireError::SessionNotFound, false));
    let newer = |wires: &Wires| {
        let to = wires.hosts[0].identity.entity_id;
        let header = Header {
            version: "9.0".into(),
            ..header(wires, Seal::Session, to)
        };
        envelope(&header).to_bytes()
    };
    assert_eq!(repeated(newer), (WireError::InvalidVersion, false));
}

#[test]
fn a_list_over_its_bound_is_refused_although_it_is_sealed() {
    let mut wires = pair();
    let now = wires.now();
    let item = CancelItem {
        task_id: task(1),
        token: FencingToken(1),
    };
    let seal = |wires: &mut Wires, items: usize, nonce: u8| {
        let body = cbor::encode(&TaskCancel {
            items: vec![item; items],
        });
        let peer = wires.hosts[0].identity.peer_id;
        let node = wires.hosts[1].node.as_mut().expect("up");
        let nonce = Nonce([nonce; 32]);
        let sealed = node
            .sessions
            .seal_request(&peer, MsgType::TaskCancel, &body, now, nonce);
        sealed.expect("a session").0
    };
    let fits = seal(&mut wires, LIST_MAX_ITEMS, 1);
    let answer = wires.request(1, 0, fits).expect("answered at once");
    let (_, header) = Envelope::from_bytes(&answer).expect("an envelope");
    assert_eq!(header.seal, Seal::Session);
    let over = seal(&mut wires, LIST_MAX_ITEMS + 1, 2);
    assert_eq!(
        refused(wires.request(1, 0, over)),
        WireError::PayloadTooLarge
    );
}

#[test]
fn a_sealed_request_that_was_seen_is_a_replay_and_runs_nothing_again() {
    let mut wires = pair();
    let (now, peer) = (wires.now(), wires.hosts[0].identity.peer_id);
    let node = wires.hosts[1].node.as_mut().expect("up");
    let body = cbor::encode(&Ping {});
    let sealed = node
        .sessions
        .seal_request(&peer, MsgType::Ping, &body, now, Nonce([1; 32]));
    let bytes = sealed.expect("a session").0;
    assert!(wires.request(1, 0, bytes.clone()).is_some());
    assert_eq!(
        refused(wires.request(1, 0, bytes)),
        WireError::ReplayDetected
    );
}

#[test]
fn a_banned_peer_is_not_dialled_and_gets_no_work_until_its_time_is_over() {
    let mut wires = pair();
    while !is_banned(&wires) {
        wires.request(1, 0, b"noise".to_vec());
    }
    let dials = wires.hosts[0].dials;
    wires.granted(0, submit(1));
    wires.run(300 * SECOND_MS);
    assert_eq!(wires.hosts[0].dials, dials, "P1");
    assert!(wires.node(1).worker().is_empty() && !wires.have_session(0, 1));
    let Ok(Reply::Peers(peers)) = wires.ask(0, Command::Peers) else {
        panic!("a list")
    };
    assert_eq!(peers[0].state, "banned");
    wires.run(320 * SECOND_MS);
    assert!(
        wires.have_session(0, 1),
        "ten minutes later it is one of us again"
    );
}

#[test]
fn a_gossiped_entry_with_a_bent_signature_is_rejected_and_held_against_its_source() {
    let mut wires = victim();
    let source = wires.hosts[1].identity.peer_id;
    let mut bytes = wires
        .node(1)
        .registry()
        .own()
        .expect("issued")
        .0
        .bytes
        .clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    for n in 1..=3 {
        let id = crate::types::GossipId(n);
        wires.input(
            0,
            Input::Gossip {
                id,
                source,
                bytes: bytes.clone(),
            },
        );
    }
    let rejected = |line: &&String| line.contains("verdict: Reject");
    assert_eq!(wires.transcript.iter().filter(rejected).count(), 3);
    assert_eq!(wires.node(0).registry().len(), 1);
    assert!(matches!(
        wires.hosts[0].notes[..],
        [Note::PeerBanned { .. }]
    ));
}

#[test]
fn only_an_entry_under_its_own_key_is_kept_for_the_dht() {
    let mut wires = victim();
    let identity = wires.hosts[1].identity.clone();
    let value = wires
        .node(1)
        .registry()
        .own()
        .expect("issued")
        .0
        .bytes
        .clone();
    let source = identity.peer_id;
    let own_key = format!("/junto-entry/{}", identity.entity_id).into_bytes();
    let puts = |wires: &Wires| {
        wires
            .transcript
            .iter()
            .filter(|line| line.contains("local_only: true"))
            .count()
    };
    for key in [b"/junto-entry/".to_vec(), b"anything".to_vec()] {
        wires.input(
            0,
            Input::DhtRecord {
                source,
                key,
                value: value.clone(),
            },
        );
    }
    assert_eq!(puts(&wires), 0);
    wires.input(
        0,
        Input::DhtRecord {
            source,
            key: own_key,
            value,
        },
    );
    assert_eq!((puts(&wires), wires.node(0).registry().len()), (1, 2));
}
