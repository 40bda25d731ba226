//! The bytes of the peer protocol stay what they are: `docs/protocol-vectors.json` against this
//! implementation. A vector that changes is a change of the protocol, and needs a new version.
//!
//! The intermediate values in the file (`th1` to `iv_r`) were computed by a second implementation, in
//! another language; they are there for whoever writes a third. The secrets that are drawn during
//! the handshake come from generators with the seeds below, and stand in the file.
#![allow(clippy::unwrap_used)]

use junto::crypto::{Identity, KeyPair, Rng, Seeds, SigCheck, hash};
use junto::proto::Step;
use junto::proto::registry::{Announcement, Registry};
use junto::proto::session::{AckOutcome, HandshakeOutcome, SealedRef, Sessions, parse};
use junto::types::{
    BatchId, BootId, FencingToken, Mono, Nonce, Now, SessionId, TaskId, Wall, WriteBatch,
};
use junto::wire::{
    AcceptAnswer, DelegateItem, MsgType, Offer, RefuseReason, RenewAnswer, ResultItem, SignedEntry,
    TaskAccept, TaskDelegate, TaskOutcome, TaskRenewAck, TaskResult, WireError, cbor,
};
use rand::SeedableRng as _;
use serde_json::Value;

const ISSUED: Wall = Wall(1_800_000_000_000);
const ALICE: u8 = 1;
const BOB: u8 = 11;

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol-vectors.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn bytes(vector: &Value) -> Vec<u8> {
    data_encoding::HEXLOWER
        .decode(vector.as_str().unwrap().as_bytes())
        .unwrap()
}

fn now() -> Now {
    Now {
        mono: Mono::from_micros(2),
        wall: Wall(ISSUED.0 + 500),
    }
}

fn seeds(first: u8) -> Seeds {
    Seeds {
        entity: [first; 32],
        next: [first + 1; 32],
        transport: [first + 2; 32],
    }
}

/// One end of a session.
struct Side {
    identity: Identity,
    entry: Vec<u8>,
    sessions: Sessions,
    rng: Rng,
}

fn side(first: u8, name: &str) -> Side {
    let identity = Identity::from_seeds(&seeds(first));
    let mut registry = Registry::new(Announcement {
        identity: identity.clone(),
        name: name.parse().unwrap(),
        capabilities: vec![Offer {
            name: "wc".parse().unwrap(),
            slots: 4,
        }],
        addresses: vec!["/ip4/192.0.2.7/tcp/4001".parse().unwrap()],
        seq: 0,
    });
    let mut rng = Rng::seed_from_u64(u64::from(first));
    let mut writes = WriteBatch::default();
    registry.issue(&mut Step {
        now: Now {
            mono: Mono::from_micros(1),
            wall: ISSUED,
        },
        rng: &mut rng,
        batch: BatchId(1),
        writes: &mut writes,
    });
    let entry = registry.own().unwrap().0.bytes.clone();
    let sessions = Sessions::new(&identity);
    Side {
        identity,
        entry,
        sessions,
        rng,
    }
}

fn all_hold(checks: &[SigCheck]) -> bool {
    checks.iter().all(SigCheck::verify)
}

/// The whole handshake; each message is compared as it comes.
fn shake_hands(vectors: &Value) -> (Side, Side, SessionId) {
    let expected = &vectors["handshake"];
    let (mut alice, mut bob) = (side(ALICE, "alice"), side(BOB, "bob"));
    let (to_alice, to_bob) = (alice.identity.peer_id, bob.identity.peer_id);

    let begun = alice
        .sessions
        .initiate(to_bob, None, &alice.entry, now(), &mut alice.rng);
    let (session, m1) = begun.unwrap();
    assert_eq!(hex(&m1), expected["m1"]);

    let (envelope, header) = parse(&m1).unwrap();
    let outcome = bob.sessions.on_handshake(to_alice, envelope, header, now());
    let HandshakeOutcome::Verify { ticket, checks } = outcome else {
        panic!("{outcome:?}")
    };
    let good = all_hold(&checks);
    let verified = bob
        .sessions
        .handshake_verified(ticket, good, &bob.entry, now(), &mut bob.rng);
    let (m2, _) = verified.unwrap();
    assert_eq!(hex(&m2), expected["m2"]);

    let outcome = alice.sessions.on_ack(to_bob, session, &m2, now());
    let AckOutcome::Verify { ticket, checks } = outcome else {
        panic!("{outcome:?}")
    };
    let good = all_hold(&checks);
    let confirmed = alice
        .sessions
        .ack_verified(ticket, good, now(), Nonce([0x33; 32]));
    let m3 = confirmed.unwrap().m3;
    assert_eq!(hex(&m3), expected["m3"]);

    let (envelope, header) = parse(&m3).unwrap();
    let nonce = Nonce([0x44; 32]);
    let live = bob
        .sessions
        .on_confirm(to_alice, &envelope, &header, now(), nonce);
    let (_, ready) = live.unwrap();
    assert_eq!(hex(&ready), expected["ready"]);
    alice
        .sessions
        .on_ready(to_bob, session, &ready, now())
        .unwrap();
    (alice, bob, session)
}

#[test]
fn identities_follow_from_their_secrets() {
    let vectors = vectors();
    for (name, first) in [("alice", ALICE), ("bob", BOB)] {
        let expected = &vectors["identities"][name];
        let secrets = seeds(first);
        assert_eq!(hex(&secrets.entity), expected["seeds"]["entity"]);
        assert_eq!(hex(&secrets.next), expected["seeds"]["next"]);
        assert_eq!(hex(&secrets.transport), expected["seeds"]["transport"]);
        let identity = Identity::from_seeds(&secrets);
        assert_eq!(hex(&identity.inception.to_bytes()), expected["inception"]);
        assert_eq!(hex(&identity.entity_id.0), expected["entity_id"]);
        assert_eq!(identity.entity_id.to_string(), expected["entity_id_text"]);
        assert_eq!(identity.peer_id.to_string(), expected["peer_id"]);
        assert_eq!(hex(&identity.peer_id.to_bytes()), expected["peer_id_bytes"]);
        assert_eq!(hex(&identity.binding.0), expected["binding"]);
        let fingerprint = Identity::fingerprint(&identity.entity_id);
        assert_eq!(fingerprint, expected["fingerprint"]);
    }
}

#[test]
fn entries_are_issued_byte_for_byte_and_hold() {
    let vectors = vectors();
    for (name, first) in [("alice", ALICE), ("bob", BOB)] {
        let entry = bytes(&vectors["identities"][name]["entry"]);
        assert_eq!(hex(&side(first, name).entry), hex(&entry));
        let (body, checks) = SignedEntry::parse(&entry).unwrap();
        assert_eq!(body.name.as_str(), name);
        assert_eq!(
            checks.len(),
            3,
            "the founder's, the entity's, one peer id's"
        );
        assert!(all_hold(&checks));
    }
}

#[test]
fn a_handshake_is_what_it_was() {
    shake_hands(&vectors());
}

#[test]
fn a_sealed_request_and_its_response_are_what_they_were() {
    let vectors = vectors();
    let expected = &vectors["exchange"];
    let (mut alice, mut bob, _) = shake_hands(&vectors);
    let (to_alice, to_bob) = (alice.identity.peer_id, bob.identity.peer_id);

    let body = bytes(&expected["request_body"]);
    let nonce = Nonce([0x66; 32]);
    let sealed = alice
        .sessions
        .seal_request(&to_bob, MsgType::TaskDelegate, &body, now(), nonce);
    let (request, asked) = sealed.unwrap();
    assert_eq!(hex(&request), expected["request"]);

    let (envelope, header) = parse(&request).unwrap();
    let opened = bob
        .sessions
        .open_request(&to_alice, &envelope, &header, now())
        .unwrap();
    assert_eq!(
        (opened.msg_type, &opened.body),
        (MsgType::TaskDelegate, &body)
    );

    let body = bytes(&expected["response_body"]);
    let nonce = Nonce([0x77; 32]);
    let to: SealedRef = opened.reference;
    let response = bob
        .sessions
        .seal_response(to, MsgType::TaskAccept, &body, now(), nonce)
        .unwrap();
    assert_eq!(hex(&response), expected["response"]);
    let opened = alice
        .sessions
        .open_response(&to_bob, asked, &response, now())
        .unwrap();
    assert_eq!(opened.body, body);
}

#[test]
fn bodies_are_what_they_were() {
    let vectors = vectors();
    let task_id = TaskId(uuid::Uuid::from_bytes([0x55; 16]));
    let token = FencingToken(1);
    let delegate = TaskDelegate {
        items: vec![DelegateItem {
            task_id,
            token,
            capability: "wc".parse().unwrap(),
            input: b"a b".to_vec(),
            lease_ms: 20_000,
            remaining_ms: 600_000,
        }],
    };
    let accept = TaskAccept {
        boot: BootId(7),
        answers: vec![
            AcceptAnswer::Accepted,
            AcceptAnswer::Refused(RefuseReason::UnknownCapability),
        ],
    };
    let ended = |outcome| ResultItem {
        task_id,
        token,
        outcome,
    };
    let result = TaskResult {
        items: vec![
            ended(TaskOutcome::Completed {
                result: b"2".to_vec(),
            }),
            ended(TaskOutcome::Failed { reason: "x".into() }),
            ended(TaskOutcome::Released),
        ],
    };
    let renewed = TaskRenewAck {
        answers: vec![
            RenewAnswer::Renewed { lease_ms: 20_000 },
            RenewAnswer::Fenced,
        ],
    };
    let (exchange, bodies) = (&vectors["exchange"], &vectors["bodies"]);
    assert_eq!(hex(&cbor::encode(&delegate)), exchange["request_body"]);
    assert_eq!(hex(&cbor::encode(&accept)), exchange["response_body"]);
    assert_eq!(hex(&cbor::encode(&result)), bodies["task_result"]);
    assert_eq!(hex(&cbor::encode(&renewed)), bodies["task_renew_ack"]);
    let read: TaskResult = cbor::decode(&bytes(&bodies["task_result"]), 4096).unwrap();
    assert_eq!(read, result);
}

#[test]
fn an_error_is_what_it_was_and_is_signed() {
    let vectors = vectors();
    let bob = side(BOB, "bob");
    let error = bob
        .sessions
        .error(WireError::Busy, now(), Nonce([0x88; 32]));
    assert_eq!(hex(&error), vectors["error"]);
    let (envelope, _) = parse(&error).unwrap();
    let check = SigCheck {
        key: KeyPair::from_seed(&[BOB; 32]).public(),
        purpose: "error",
        digest: hash("message", &[&envelope.header, &envelope.data]),
        signature: envelope.signature.unwrap(),
    };
    assert!(check.verify());
}
