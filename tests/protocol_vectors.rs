//! The bytes of the peer protocol stay what they are: the files of `docs/vectors/` against this
//! implementation, and against `docs/vectors/check.py`, a second one that was written from
//! `docs/protocol.md` alone. A vector that changes is a change of the protocol, and needs a new
//! version.
//!
//! The secrets that are drawn during the handshake come from generators with the seeds below.
#![allow(clippy::unwrap_used)]

mod vectors;

use std::process::Command;

use junto::crypto::{ChunkHasher, EphemeralSecret, Identity, KeyPair, Rng, Seeds, SigCheck, hash};
use junto::proto::Step;
use junto::proto::registry::{Announcement, Registry};
use junto::proto::session::{
    AckOutcome, HandshakeOutcome, Sealer, Sessions, parse, parse_opening, record_layer,
};
use junto::proto::transfer::Manifest;
use junto::types::limits::EPOCH_MAX_MS;
use junto::types::{
    BatchId, BootId, Capability, EntityId, FencingToken, Mono, Multiaddr, Nonce, Now, Priority,
    SessionId, StreamKind, TaskId, Wall, WriteBatch,
};
use junto::wire::{
    AcceptAnswer, AckAnswer, AgentPresence, BatchContext, BatchHead, CancelItem, CapabilityQuery,
    CapabilityResponse, ChannelMessage, ChannelType, DelegateItem, Discovery, FreeSlots, Heartbeat,
    HeartbeatAck, Load, MessageProof, MsgType, NodeStatus, Offer, Ping, ProofParties, RefuseReason,
    RegistryEntries, RegistryHave, RegistrySync, RenewAnswer, RenewItem, ResultItem, SignedEntry,
    StatusReport, TaskAccept, TaskCancel, TaskDelegate, TaskOutcome, TaskRenew, TaskRenewAck,
    TaskResult, TaskResultAck, WakeStatus, WakeUp, WakeUpAck, WakeUpdate, WireError, cbor,
    decode_batch, encode_batch,
};
use junto::wire::{EntryBody, PeerBinding};
use junto::wire::{ErrorBody, JsonMessage};
use rand::SeedableRng as _;
use serde::Serialize;
use serde_json::{Value, json};
use vectors::{folder, hex, hold, shown};

const ISSUED: Wall = Wall(1_800_000_000_000);
const ALICE: u8 = 1;
const BOB: u8 = 11;
const ADDRESS: &str = "/ip4/192.0.2.7/tcp/4001";

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
        addresses: vec![ADDRESS.parse().unwrap()],
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

/// The whole handshake and its messages.
struct Shaken {
    alice: Side,
    bob: Side,
    session: SessionId,
    messages: Value,
    nonces: Value,
}

fn nonce_of(message: &[u8]) -> String {
    hex(&parse(message).unwrap().1.nonce.0)
}

fn shake_hands() -> Shaken {
    let (mut alice, mut bob) = (side(ALICE, "alice"), side(BOB, "bob"));
    let (to_alice, to_bob) = (alice.identity.peer_id, bob.identity.peer_id);
    let begun = alice
        .sessions
        .initiate(to_bob, None, &alice.entry, now(), &mut alice.rng);
    let (session, m1) = begun.unwrap();

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

    let outcome = alice.sessions.on_ack(to_bob, session, &m2, now());
    let AckOutcome::Verify { ticket, checks } = outcome else {
        panic!("{outcome:?}")
    };
    let good = all_hold(&checks);
    let confirmed = alice
        .sessions
        .ack_verified(ticket, good, now(), Nonce([0x33; 32]));
    let m3 = confirmed.unwrap().m3;

    let (envelope, header) = parse(&m3).unwrap();
    let nonce = Nonce([0x44; 32]);
    let live = bob
        .sessions
        .on_confirm(to_alice, &envelope, &header, now(), nonce);
    let (_, ready) = live.unwrap();
    alice
        .sessions
        .on_ready(to_bob, session, &ready, now())
        .unwrap();
    Shaken {
        messages: json!({ "m1": hex(&m1), "m2": hex(&m2), "m3": hex(&m3), "ready": hex(&ready) }),
        nonces: json!({
            "m1_nonce": nonce_of(&m1), "m2_nonce": nonce_of(&m2),
            "m3_nonce": nonce_of(&m3), "ready_nonce": nonce_of(&ready),
        }),
        alice,
        bob,
        session,
    }
}

/// The X25519 secret that the generator of one side gives first.
fn drawn_secret(first: u8) -> String {
    use rand::Rng as _;
    let mut bytes = [0; 32];
    Rng::seed_from_u64(u64::from(first)).fill_bytes(&mut bytes);
    let again = EphemeralSecret::generate(&mut Rng::seed_from_u64(u64::from(first)));
    let share = x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(bytes));
    assert_eq!(share.to_bytes(), again.share());
    hex(&bytes)
}

#[test]
fn identities_follow_from_their_secrets() {
    let identity = |first| {
        let secrets = seeds(first);
        let identity = Identity::from_seeds(&secrets);
        json!({
            "seeds": {
                "entity": hex(&secrets.entity),
                "next": hex(&secrets.next),
                "transport": hex(&secrets.transport),
            },
            "inception": hex(&identity.inception.to_bytes()),
            "entity_id": hex(&identity.entity_id.0),
            "entity_id_text": identity.entity_id.to_string(),
            "peer_id": identity.peer_id.to_string(),
            "peer_id_bytes": hex(&identity.peer_id.to_bytes()),
            "binding": hex(&identity.binding.0),
            "fingerprint": Identity::fingerprint(&identity.entity_id),
        })
    };
    hold(
        "identity.json",
        &json!({
            "about": "Section 4: two identities from their secrets.",
            "identities": { "alice": identity(ALICE), "bob": identity(BOB) },
        }),
    );
}

#[test]
fn entries_are_issued_byte_for_byte_and_hold() {
    let address: Multiaddr = ADDRESS.parse().unwrap();
    let entry = |first, name: &str| {
        let entry = side(first, name).entry;
        let (body, checks) = SignedEntry::parse(&entry).unwrap();
        assert_eq!(
            checks.len(),
            3,
            "the founder's, the entity's, one peer id's"
        );
        assert!(all_hold(&checks));
        json!({
            "fields": {
                "issued": body.issued.0, "expires": body.expires.0, "seq": body.seq,
                "name": name, "capabilities": [{ "name": "wc", "slots": 4 }],
                "addresses": [{ "hex": hex(&address.to_vec()) }],
            },
            "entry": hex(&entry),
        })
    };
    hold(
        "entry.json",
        &json!({
            "about": "Section 6: the registry entries of the two of identity.json.",
            "entries": { "alice": entry(ALICE, "alice"), "bob": entry(BOB, "bob") },
        }),
    );
}

#[test]
fn a_key_is_rotated_as_it_was() {
    let first = Identity::from_seeds(&seeds(ALICE));
    let keys = [ALICE, ALICE + 1, 0x21, 0x22].map(|seed| KeyPair::from_seed(&[seed; 32]));
    let mut chain = first.chain().clone();
    let mut rotations = Vec::new();
    for key in 0..2 {
        let (old, new, after) = (&keys[key], &keys[key + 1], keys[key + 2].public());
        chain = chain.rotate(old, new, &after).unwrap();
        let carried = chain.rotations()[key].to_bytes();
        rotations.push(json!({ "rotation": hex(&carried), "link": hex(&chain.head().link) }));
    }
    let address: Multiaddr = ADDRESS.parse().unwrap();
    let body = EntryBody {
        entity_id: first.entity_id,
        inception: first.inception.to_bytes(),
        rotations: chain
            .rotations()
            .iter()
            .map(|rotation| rotation.to_bytes().into())
            .collect(),
        key: keys[2].public(),
        seq: 1,
        issued: ISSUED,
        expires: Wall(ISSUED.0 + 1000),
        name: "alice".parse().unwrap(),
        capabilities: Vec::new(),
        addresses: vec![address.clone()],
        peers: vec![PeerBinding {
            peer_id: first.peer_id,
            signature: first.binding,
        }],
        versions: vec!["1.1".into()],
    };
    let entry = SignedEntry::sign(&body, &keys[2]).to_bytes();
    let (_, checks) = SignedEntry::parse(&entry).unwrap();
    assert_eq!(
        checks.len(),
        7,
        "the founder's, two a rotation, two as ever"
    );
    assert!(all_hold(&checks));
    hold(
        "rotation.json",
        &json!({
            "about": "Sections 4 and 6: alice's key is followed by her next one and by that of the first seed here; the second seed's is committed to.",
            "seeds": [hex(&[0x21; 32]), hex(&[0x22; 32])],
            "rotations": rotations,
            "fields": {
                "issued": body.issued.0, "expires": body.expires.0, "seq": 1, "name": "alice",
                "capabilities": [], "addresses": [{ "hex": hex(&address.to_vec()) }],
            },
            "entry": hex(&entry),
        }),
    );
}

#[test]
fn a_handshake_is_what_it_was() {
    let Shaken {
        session,
        messages,
        nonces,
        ..
    } = shake_hands();
    let mut inputs = nonces;
    inputs["session_id"] = json!(hex(session.0.as_bytes()));
    inputs["timestamp"] = json!(now().wall.0);
    inputs["alice_x25519_secret"] = json!(drawn_secret(ALICE));
    inputs["bob_x25519_secret"] = json!(drawn_secret(BOB));
    hold(
        "handshake.json",
        &json!({
            "about": "Section 5: alice initiates, bob responds, each with the entry of entry.json.",
            "inputs": inputs,
            "messages": messages,
        }),
    );
}

#[test]
fn a_sealed_request_and_its_response_are_what_they_were() {
    let Shaken {
        mut alice, mut bob, ..
    } = shake_hands();
    let (to_alice, to_bob) = (alice.identity.peer_id, bob.identity.peer_id);

    let asks = cbor::encode(&delegate());
    let nonce = Nonce([0x66; 32]);
    let sealed = alice
        .sessions
        .seal_request(&to_bob, MsgType::TaskDelegate, &asks, now(), nonce);
    let (request, asked) = sealed.unwrap();

    let (envelope, header) = parse(&request).unwrap();
    let opened = bob
        .sessions
        .open_request(&to_alice, &envelope, &header, now())
        .unwrap();
    assert_eq!(
        (opened.msg_type, &opened.body),
        (MsgType::TaskDelegate, &asks)
    );

    let answers = cbor::encode(&accept());
    let nonce = Nonce([0x77; 32]);
    let response = bob
        .sessions
        .seal_response(
            opened.reference,
            MsgType::TaskAccept,
            &answers,
            now(),
            nonce,
        )
        .unwrap();
    let opened = alice
        .sessions
        .open_response(&to_bob, asked, &response, now())
        .unwrap();
    assert_eq!(opened.body, answers);
    let message = |from: &str, bytes: &[u8], body: &[u8]| {
        let (_, header) = parse(bytes).unwrap();
        let mut message = json!({
            "from": from,
            "msg_type": header.msg_type,
            "timestamp": header.timestamp,
            "nonce": hex(&header.nonce.0),
            "sequence_num": header.sequence_num,
            "body": hex(body),
            "message": hex(bytes),
        });
        if let Some(re) = header.re {
            message["re"] = json!(re);
        }
        message
    };
    hold(
        "sealed.json",
        &json!({
            "about": "Section 3: a request and its response in the session of handshake.json.",
            "messages": [message("alice", &request, &asks), message("bob", &response, &answers)],
        }),
    );
}

/// Three messages of alice's to bob, one sent before.
fn messages() -> Vec<ChannelMessage> {
    let message = |kind, priority, flags: u8, re: u8, body: &'static str| ChannelMessage {
        kind,
        priority,
        durable: flags & 1 == 1,
        again: flags & 2 == 2,
        confirm: flags & 4 == 4,
        id: [body.len() as u8; 16],
        re: [re; 16],
        body: bytes::Bytes::from_static(body.as_bytes()),
    };
    vec![
        message(ChannelType::Talk, Priority::Normal, 0, 0, "how are you?"),
        message(ChannelType::Report, Priority::Normal, 7, 0, "done"),
        message(ChannelType::Reply, Priority::High, 0, 9, ""),
    ]
}

fn shown_message(message: &ChannelMessage) -> Value {
    let kinds = ["talk", "report", "reply", "kept", "error", "ping", "pong"];
    let kind = kinds.iter().position(|kind| *kind == message.kind.as_str());
    let flag = |set: bool, value: u8| u8::from(set) * value;
    json!({
        "type": kind.unwrap() + 1,
        "priority": message.priority as u8,
        "flags": flag(message.durable, 1) + flag(message.again, 2) + flag(message.confirm, 4),
        "id": { "hex": hex(&message.id) },
        "re": { "hex": hex(&message.re) },
        "body": { "hex": hex(&message.body) },
    })
}

#[test]
fn a_stream_with_a_batch_in_its_records_is_what_it_was() {
    let Shaken { alice, bob, .. } = shake_hands();
    let mut ours = alice
        .sessions
        .stream_secrets(&bob.identity.peer_id)
        .unwrap();
    let mut theirs = bob
        .sessions
        .stream_secrets(&alice.identity.peer_id)
        .unwrap();
    let (frame, opened) = ours.open(StreamKind::Channel, 0);
    let opening = parse_opening(&frame).unwrap();
    let (_, answer, _) = theirs.accept(StreamKind::Channel, &opening, 5).unwrap();
    let (keys, have) = opened.answered(&answer).unwrap();
    assert_eq!(have, 5);

    let parties = ProofParties {
        sender: alice.identity.entity_id,
        recipient: bob.identity.entity_id,
        session: ours.session,
        transcript: keys.transcript,
        key: alice.identity.key().public(),
    };
    let context = BatchContext::new(
        &parties.sender,
        &parties.recipient,
        parties.session,
        &parties.transcript,
    );
    let head = BatchHead {
        have: 3,
        sent: now().wall,
        first: 5,
        seed: [0x99; 32],
    };
    let messages = messages();
    let mut content = Vec::new();
    encode_batch(
        &head,
        &messages,
        &context,
        alice.identity.key(),
        &mut content,
    );
    let batch = decode_batch(&content.clone().into(), &context).unwrap();
    let proof = |index| {
        let proof = MessageProof::cut(&batch, index, &parties).unwrap();
        assert_eq!(proof.verify(), Ok(()));
        json!({ "index": index, "proof": hex(&proof.to_bytes()) })
    };

    let (mut sealer, _) = record_layer(keys, now().mono);
    let mut record = |epoch: u64| {
        let mut buffer = Vec::new();
        Sealer::begin(&mut buffer);
        buffer.extend_from_slice(&content);
        // Time enough, and something was acknowledged: the second record is of the next epoch.
        sealer.seal(&mut buffer, now().mono + epoch * EPOCH_MAX_MS);
        sealer.acknowledged();
        json!({ "epoch": epoch, "seq": epoch, "frame": hex(&buffer) })
    };
    let records = [record(0), record(1)];
    hold(
        "stream.json",
        &json!({
            "about": "Section 8: alice opens a channel in the session of handshake.json.",
            "opening": {
                "kind": "channel", "number": 1, "have": 0, "opening": hex(&frame),
                "answer_have": 5, "answer": hex(&answer),
            },
            "batch": {
                "fields": {
                    "have": head.have, "sent": head.sent.0, "first": head.first,
                    "seed": { "hex": hex(&head.seed) },
                    "messages": messages.iter().map(shown_message).collect::<Vec<_>>(),
                },
                "content": hex(&content),
            },
            "records": records,
            "proofs": [proof(0), proof(1), proof(2)],
        }),
    );
}

#[test]
fn a_cookie_is_put_into_the_first_message() {
    let (mut alice, bob) = (side(ALICE, "alice"), side(BOB, "bob"));
    let to_bob = bob.identity.peer_id;
    let begun = alice
        .sessions
        .initiate(to_bob, None, &alice.entry, now(), &mut alice.rng);
    let (session, _) = begun.unwrap();
    // What bob would say under load.
    let busy = bob
        .sessions
        .error(WireError::Busy, now(), Nonce([0x88; 32]));
    let (mut envelope, _) = parse(&busy).unwrap();
    envelope.data = cbor::encode(&ErrorBody {
        code: WireError::Busy,
        cookie: Some([0xcc; 32]),
    });
    let digest = hash("message", &[&envelope.header, &envelope.data]);
    envelope.signature = Some(bob.identity.key().sign("error", &digest));
    let error = envelope.to_bytes();
    let AckOutcome::Again(m1) = alice.sessions.on_ack(to_bob, session, &error, now()) else {
        panic!("a cookie is taken")
    };
    hold(
        "cookie.json",
        &json!({
            "about": "Section 5: bob, under load, asks for a cookie; alice sends the M1 of handshake.json again.",
            "error": hex(&error),
            "m1": hex(&m1),
        }),
    );
}

#[test]
fn json_is_the_envelope_it_was() {
    let Shaken {
        mut alice,
        bob,
        messages,
        ..
    } = shake_hands();
    let bytes = |text: &Value| {
        data_encoding::HEXLOWER
            .decode(text.as_str().unwrap().as_bytes())
            .unwrap()
    };
    let nonce = Nonce([0x66; 32]);
    let sealed = alice.sessions.seal_request(
        &bob.identity.peer_id,
        MsgType::Ping,
        &cbor::encode(&Ping {}),
        now(),
        nonce,
    );
    let form = |bytes: &[u8]| {
        let (envelope, header) = parse(bytes).unwrap();
        let json = JsonMessage::from_envelope(&envelope, &header);
        assert_eq!(json.to_envelope().unwrap().to_bytes(), bytes);
        json!({ "json": json, "envelope": hex(bytes) })
    };
    hold(
        "json.json",
        &json!({
            "about": "Section 11: M1 and M3 of handshake.json and a sealed ping, as JSON and as they are on libp2p.",
            "messages": [
                form(&bytes(&messages["m1"])), form(&bytes(&messages["m3"])),
                form(&sealed.unwrap().0),
            ],
        }),
    );
}

#[test]
fn files_are_cut_and_hashed_as_they_were() {
    const MIB: u64 = 1 << 20;
    let file = |size: u64| {
        let data: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let only = size <= MIB;
        let mut chunks = Vec::new();
        for (at, chunk) in (0..).step_by(MIB as usize).zip(data.chunks(MIB as usize)) {
            let mut hasher = ChunkHasher::new(at, only);
            hasher.update(chunk);
            chunks.push(hasher.finish());
        }
        if chunks.is_empty() {
            chunks.push(ChunkHasher::new(0, true).finish());
        }
        let manifest = Manifest::new(size, MIB, chunks).unwrap();
        assert_eq!(manifest.root, *blake3::hash(&data).as_bytes());
        json!({
            "size": size, "chunk_bytes": MIB,
            "root": hex(&manifest.root), "chunks": hex(&manifest.list()),
        })
    };
    hold(
        "transfer.json",
        &json!({
            "about": "Section 8: files whose byte n is n modulo 251.",
            "files": [file(0), file(5), file(3000), file(MIB + 1), file(2 * MIB + 2000)],
        }),
    );
}

fn task_id() -> TaskId {
    TaskId(uuid::Uuid::from_bytes([0x55; 16]))
}

fn capability() -> Capability {
    "wc".parse().unwrap()
}

fn delegate() -> TaskDelegate {
    TaskDelegate {
        items: vec![DelegateItem {
            task_id: task_id(),
            token: FencingToken(1),
            capability: capability(),
            input: b"a b".to_vec(),
            lease_ms: 20_000,
            remaining_ms: 600_000,
        }],
    }
}

fn accept() -> TaskAccept {
    TaskAccept {
        boot: BootId(7),
        answers: vec![
            AcceptAnswer::Accepted,
            AcceptAnswer::Refused(RefuseReason::UnknownCapability),
        ],
    }
}

fn body<T: Serialize>(rule: &str, value: &T) -> Value {
    let bytes = cbor::encode(value);
    let tree: ciborium::Value = ciborium::from_reader(&bytes[..]).unwrap();
    json!({ "rule": rule, "value": shown(&tree), "cbor": hex(&bytes) })
}

/// One body of each kind: the rule of the specification, the value, its bytes.
fn bodies() -> Vec<Value> {
    let (task_id, token) = (task_id(), FencingToken(1));
    let ended = |outcome| ResultItem {
        task_id,
        token,
        outcome,
    };
    let results = vec![
        ended(TaskOutcome::Completed {
            result: b"2".to_vec(),
        }),
        ended(TaskOutcome::Failed { reason: "x".into() }),
        ended(TaskOutcome::Released),
    ];
    let (nonce, entity_id) = (Nonce([9; 32]), EntityId([8; 32]));
    let sync = RegistrySync {
        have: Some(vec![RegistryHave {
            entity_id,
            seq: 3,
            rotations: 0,
        }]),
        entries: Vec::new(),
    };
    let entries = RegistryEntries {
        entries: Vec::new(),
        want: vec![entity_id],
        more: false,
    };
    let wake = WakeUp {
        nonce,
        reason: "look at your inbox".into(),
        priority: None,
        request: None,
    };
    let woken = WakeUpAck {
        nonce,
        status: WakeStatus::Delivered,
    };
    let update = WakeUpdate {
        nonce,
        status: WakeStatus::HookStarted,
    };
    let renew = TaskRenew {
        boot: BootId(7),
        items: vec![RenewItem { task_id, token }],
    };
    let renewed = TaskRenewAck {
        answers: vec![
            RenewAnswer::Renewed { lease_ms: 20_000 },
            RenewAnswer::Fenced,
        ],
    };
    let kept = TaskResultAck {
        answers: vec![AckAnswer::Kept, AckAnswer::Fenced],
    };
    let cancel = TaskCancel {
        items: vec![CancelItem { task_id, token }],
    };
    vec![
        body("ping", &Ping {}),
        body("registry-sync", &sync),
        body("registry-entries", &entries),
        body("wake-up", &wake),
        body("wake-up-ack", &woken),
        body("wake-update", &update),
        body("task-delegate", &delegate()),
        body("task-accept", &accept()),
        body("task-renew", &renew),
        body("task-renew-ack", &renewed),
        body("task-result", &TaskResult { items: results }),
        body("task-result-ack", &kept),
        body("task-cancel", &cancel),
    ]
    .into_iter()
    .chain(signs_of_life())
    .collect()
}

/// Heartbeats, status, capabilities, discovery.
fn signs_of_life() -> [Value; 6] {
    let wc: Capability = "wc".parse().unwrap();
    let status = NodeStatus {
        uptime_ms: 90_000,
        load: Load {
            held: 1,
            slots: 4,
            free: 3,
        },
        agent: AgentPresence::Wakeable,
    };
    let free = FreeSlots {
        name: wc.clone(),
        slots: 4,
        free: 3,
    };
    let capable = CapabilityResponse {
        capabilities: vec![free],
    };
    let asked = CapabilityQuery {
        capability: Some(wc.clone()),
    };
    let wanted = Discovery {
        capability: wc,
        limit: 64,
    };
    [
        body("heartbeat", &Heartbeat { seq: 7, status }),
        body("heartbeat-ack", &HeartbeatAck { seq: 7 }),
        body("status-report", &StatusReport { status }),
        body("capability-query", &asked),
        body("capability-response", &capable),
        body("discovery", &wanted),
    ]
}

#[test]
fn bodies_are_what_they_were() {
    hold(
        "bodies.json",
        &json!({
            "about": "Section 7: bodies as they are sealed. {\"hex\": ...} stands for a byte string.",
            "bodies": bodies(),
        }),
    );
}

#[test]
fn an_error_is_what_it_was_and_is_signed() {
    let bob = side(BOB, "bob");
    let nonce = Nonce([0x88; 32]);
    let error = bob.sessions.error(WireError::Busy, now(), nonce);
    let (envelope, _) = parse(&error).unwrap();
    let check = SigCheck {
        key: KeyPair::from_seed(&[BOB; 32]).public(),
        purpose: "error",
        digest: hash("message", &[&envelope.header, &envelope.data]),
        signature: envelope.signature.unwrap(),
    };
    assert!(check.verify());
    hold(
        "error.json",
        &json!({
            "about": "Section 8: bob says BUSY.",
            "timestamp": now().wall.0,
            "nonce": hex(&nonce.0),
            "code": "BUSY",
            "message": hex(&error),
        }),
    );
}

#[test]
fn signatures_are_judged_as_the_vectors_say() {
    use junto::crypto::{PublicKey, Signature};
    let key = KeyPair::from_seed(&[ALICE; 32]);
    let digest = [5; 32];
    let good = key.sign("error", &digest);
    let other = KeyPair::from_seed(&[BOB; 32]).public();
    let neutral = PublicKey(std::array::from_fn(|at| u8::from(at == 0)));
    let of_nobody = Signature(std::array::from_fn(|at| u8::from(at == 0)));
    // S and the group's order together: the same number to a lax reader.
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let order = data_encoding::HEXLOWER.decode(order.as_bytes()).unwrap();
    let mut beyond = good;
    let mut carry = 0;
    for (byte, more) in beyond.0[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(more);
        *byte = carry as u8;
        carry >>= 8;
    }
    let cases = [
        ("a good signature", key.public(), "error", good, true),
        ("under another purpose", key.public(), "m1", good, false),
        ("under another key", other, "error", good, false),
        ("S out of range", key.public(), "error", beyond, false),
        ("a key of small order", neutral, "error", of_nobody, false),
        ("R of small order", key.public(), "error", of_nobody, false),
    ];
    let case = |(what, key, purpose, signature, holds): (&str, _, _, Signature, bool)| {
        let check = SigCheck {
            key,
            purpose,
            digest,
            signature,
        };
        assert_eq!(check.verify(), holds, "{what}");
        json!({
            "what": what, "key": hex(&key.0), "purpose": purpose, "digest": hex(&digest),
            "signature": hex(&signature.0), "holds": holds,
        })
    };
    hold(
        "signature.json",
        &json!({
            "about": "Section 2: what holds under the strict check, and what does not.",
            "cases": cases.map(case),
        }),
    );
}

#[test]
fn cbor_is_judged_as_the_vectors_say() {
    let accepted = [
        "00",
        "17",
        "1818",
        "1bffffffffffffffff",
        "40",
        "4100",
        "60",
        "6161",
        "80",
        "820102",
        "a0",
        "a16161f5",
        "a2616101616202",
        "a261620162616102",
    ];
    let refused = [
        ("1800", "a longer integer than needed"),
        ("1900ff", "a longer integer than needed"),
        ("5800", "a longer length than needed"),
        ("5f4100ff", "an indefinite length"),
        ("9f01ff", "an indefinite length"),
        ("bf616101ff", "an indefinite length"),
        ("f6", "null"),
        ("f7", "undefined"),
        ("e0", "a simple value"),
        ("f93c00", "a float"),
        ("fb3ff0000000000000", "a float"),
        ("c000", "a tag"),
        ("a10001", "a key that is not text"),
        ("a2616201616101", "keys not in order"),
        ("a262616101616202", "a longer key before a shorter one"),
        ("a2616101616102", "a key twice"),
        ("0000", "bytes behind the end"),
        ("", "nothing"),
        ("4200", "cut"),
        ("8201", "cut"),
        ("61ff", "text that is not UTF-8"),
        ("5affffffff00", "a length that nobody sent"),
        ("9b7fffffffffffffff", "a count that nobody sent"),
        ("818181818181818181818181818181818100", "17 levels"),
        ("8181818181818181818181818181818180", "17 levels"),
        ("1c", "a reserved length"),
    ];
    let bytes = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
    let read = |text: &str| cbor::decode::<ciborium::Value>(&bytes(text), 4096);
    let accepted: Vec<Value> = accepted
        .iter()
        .map(|text| json!({ "cbor": text, "value": shown(&read(text).unwrap()) }))
        .collect();
    let case = |(text, why): &(&str, &str)| {
        assert!(read(text).is_err(), "{text}: {why}");
        json!({ "cbor": hex(&bytes(text)), "why": why })
    };
    let refused: Vec<Value> = refused.iter().map(case).collect();
    hold(
        "cbor.json",
        &json!({
            "about": "Section 2: the deterministic encoding, and what must be refused.",
            "accepted": accepted,
            "refused": refused,
        }),
    );
}

/// A Python that has what the script needs.
fn python() -> Option<&'static str> {
    let ready = |python: &&str| {
        Command::new(python)
            .args(["-c", "import cryptography"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    ["python3", "/usr/bin/python3"].into_iter().find(ready)
}

#[test]
fn a_second_implementation_computes_the_same() {
    let Some(python) = python() else {
        assert!(
            std::env::var_os("JUNTO_REQUIRE_PYTHON").is_none(),
            "python3 with the package cryptography is missing"
        );
        eprintln!("SKIPPED: docs/vectors/check.py needs python3 with the package cryptography");
        return;
    };
    let output = Command::new(python)
        .arg(folder().join("check.py"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    println!("{}", said.trim());
}
