//! Every reader of bytes that come from outside or from the disk.
//!
//! - None panics, whatever it is given.
//! - What one accepts, it writes again byte for byte (map keys that are hints apart).
//! - What `wire::cbor` accepts, an independent CBOR library reads as the same value, and writes, by
//!   its own rules for the deterministic encoding, as the same bytes.

use std::fmt::Debug;

use junto::crypto::{Identity, Inception, KdfCost, KeyFile, Keys, Rng, Seeds};
use junto::proto::inbox::MessageRecord;
use junto::proto::session::{Opening, Sessions};
use junto::proto::task::{HeldRecord, TaskRecord, held_key};
use junto::proto::transfer::{Manifest, safe_name};
use junto::types::limits::FRAME_MAX_BYTES;
use junto::types::{Capability, EntityId, Mono, NodeName, Nonce, Now, Wall};
use junto::wire::cbor;
use junto::wire::{
    CapabilityQuery, CapabilityResponse, ChunkAnswer, ChunkCancel, ChunkCancelAck, ChunkOffer,
    Confirm, Discovery, EntryBody, Envelope, ErrorBody, Evidence, Handshake, HandshakeAck, Header,
    Heartbeat, HeartbeatAck, JsonMessage, MessageProof, PeerBinding, Ping, Pong, Ready,
    RegistryEntries, RegistrySync, SealedPlain, SignedEntry, StatusReport, TaskAccept, TaskCancel,
    TaskCancelAck, TaskDelegate, TaskEvidence, TaskProgress, TaskProgressAck, TaskRenew,
    TaskRenewAck, TaskResult, TaskResultAck, TaskReveal, TaskRevealAck, WakeUp, WakeUpAck,
    WakeUpdate, WireError,
};
use rand::SeedableRng as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_cbor_2::Value;

use super::members;

/// A reader of one kind of bytes; it says whether it accepted them.
pub type Reader = fn(&[u8]) -> bool;

/// Each CBOR type that travels, by the name of its CDDL rule.
macro_rules! messages {
    ($($rule:literal: $type:ty,)*) => {
        pub const MESSAGES: &[(&str, Reader)] = &[$(($rule, agree::<$type>),)*];

        /// The names of the members that each type knows.
        pub fn fields() -> Vec<(&'static str, &'static [&'static str])> {
            vec![$(($rule, members::of::<$type>()),)*]
        }
    };
}

messages! {
    "envelope": Envelope,
    "header": Header,
    "sealed-plain": SealedPlain,
    "signed-entry": SignedEntry,
    "entry-body": EntryBody,
    "handshake": Handshake,
    "handshake-ack": HandshakeAck,
    "handshake-confirm": Confirm,
    "ready": Ready,
    "error": ErrorBody,
    "ping": Ping,
    "pong": Pong,
    "registry-sync": RegistrySync,
    "registry-entries": RegistryEntries,
    "wake-up": WakeUp,
    "wake-up-ack": WakeUpAck,
    "wake-update": WakeUpdate,
    "task-delegate": TaskDelegate,
    "task-accept": TaskAccept,
    "task-renew": TaskRenew,
    "task-renew-ack": TaskRenewAck,
    "task-result": TaskResult,
    "task-result-ack": TaskResultAck,
    "task-cancel": TaskCancel,
    "task-cancel-ack": TaskCancelAck,
    "heartbeat": Heartbeat,
    "heartbeat-ack": HeartbeatAck,
    "status-report": StatusReport,
    "capability-query": CapabilityQuery,
    "capability-response": CapabilityResponse,
    "discovery": Discovery,
    "opening": Opening,
    "proof": MessageProof,
    "chunk-offer": ChunkOffer,
    "chunk-answer": ChunkAnswer,
    "chunk-cancel": ChunkCancel,
    "chunk-cancel-ack": ChunkCancelAck,
    "task-reveal": TaskReveal,
    "task-reveal-ack": TaskRevealAck,
    "task-progress": TaskProgress,
    "task-progress-ack": TaskProgressAck,
}

/// Everything else that is read.
pub const OTHERS: &[Reader] = &[
    whole_envelope,
    entry,
    inception,
    key_file,
    task_row,
    held_row,
    texts,
    json_form,
    evidence,
    file_offer,
    message_row,
];

/// The first byte names the reader, the others are for it.
pub fn run(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    let mut readers = MESSAGES.iter().map(|(_, reader)| reader).chain(OTHERS);
    let count = MESSAGES.len() + OTHERS.len();
    if let Some(reader) = readers.nth(usize::from(*which) % count) {
        reader(bytes);
    }
}

/// The byte that names the reader of a rule.
pub fn selector(rule: &str) -> Option<u8> {
    let at = MESSAGES.iter().position(|(name, _)| *name == rule)?;
    u8::try_from(at).ok()
}

/// The bytes that name the readers without a rule, in their order.
pub fn other_selectors() -> impl Iterator<Item = u8> {
    (MESSAGES.len()..MESSAGES.len() + OTHERS.len()).filter_map(|at| u8::try_from(at).ok())
}

/// Our reader and an independent one agree on these bytes.
pub(super) fn agree<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> bool {
    let Ok(ours) = cbor::decode::<T>(bytes, FRAME_MAX_BYTES) else {
        return false;
    };
    let tree: Value = serde_cbor_2::from_slice(bytes).expect("the other library reads it");
    let again = serde_cbor_2::to_vec(&tree).expect("the other library writes it");
    assert_eq!(again, bytes, "the other library writes other bytes");
    if !has_hint(&tree) {
        let theirs: T = serde_cbor_2::from_slice(bytes).expect("the other library knows the type");
        assert_eq!(theirs, ours, "the other library reads another value");
        assert_eq!(cbor::encode(&ours), bytes, "it is written otherwise");
    }
    true
}

/// Whether a key somewhere may be ignored: the type does not keep it.
fn has_hint(tree: &Value) -> bool {
    match tree {
        Value::Array(items) => items.iter().any(has_hint),
        Value::Map(pairs) => pairs.iter().any(|(key, value)| {
            matches!(key, Value::Text(text) if text.starts_with('_')) || has_hint(value)
        }),
        _ => false,
    }
}

fn whole_envelope(bytes: &[u8]) -> bool {
    let Ok((envelope, header)) = Envelope::from_bytes(bytes) else {
        return false;
    };
    assert!(header.is_consistent());
    assert_eq!(
        junto::proto::session::parse(bytes).is_ok(),
        header.version == "1.1"
    );
    let json = JsonMessage::from_envelope(&envelope, &header);
    // What JSON cannot say: hints, and times beyond the year 9999.
    if let Ok(again) = json.to_envelope()
        && again.header == envelope.header
    {
        assert_eq!(again, envelope);
    }
    agree::<Envelope>(bytes) && agree::<Header>(&envelope.header)
}

fn entry(bytes: &[u8]) -> bool {
    let Ok((body, checks)) = SignedEntry::parse(bytes) else {
        return false;
    };
    assert!(body.issued < body.expires && checks.len() == 2 + body.peers.len());
    assert!(body.speaks_through(&body.peer_id()));
    agree::<SignedEntry>(bytes)
}

fn inception(bytes: &[u8]) -> bool {
    let Ok(inception) = Inception::from_bytes(bytes) else {
        return false;
    };
    assert_eq!(inception.to_bytes(), bytes);
    true
}

fn key_file(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Ok(file) = KeyFile::parse(text) else {
        return false;
    };
    let again = KeyFile::parse(&file.to_json()).expect("what it writes, it reads");
    assert_eq!(again.to_json(), file.to_json());
    true
}

fn task_row(bytes: &[u8]) -> bool {
    match TaskRecord::from_row(bytes) {
        Ok(_) => agree::<TaskRecord>(bytes),
        Err(_) => false,
    }
}

fn held_row(bytes: &[u8]) -> bool {
    if let Ok(key) = held_key(bytes) {
        assert_eq!(key.to_bytes(), bytes);
    }
    match HeldRecord::from_row(bytes) {
        Ok(_) => agree::<HeldRecord>(bytes),
        Err(_) => false,
    }
}

/// What is posted as JSON.
pub(super) fn json_form(bytes: &[u8]) -> bool {
    let Ok(message) = serde_json::from_slice::<JsonMessage>(bytes) else {
        return false;
    };
    let Ok(envelope) = message.to_envelope() else {
        return false;
    };
    let Ok((same, header)) = Envelope::from_bytes(&envelope.to_bytes()) else {
        return false;
    };
    assert_eq!(same, envelope);
    let again = JsonMessage::from_envelope(&envelope, &header);
    assert_eq!(again.to_envelope().as_ref(), Ok(&envelope));
    true
}

/// The proof of a message or a task as text.
pub(super) fn evidence(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    if let Ok(evidence) = TaskEvidence::from_text(text) {
        let again = TaskEvidence::from_text(&evidence.to_text());
        assert_eq!(again.as_ref(), Ok(&evidence));
        let _ = evidence.verify();
        return true;
    }
    let Ok(evidence) = Evidence::from_text(text) else {
        return false;
    };
    assert_eq!(
        Evidence::from_text(&evidence.to_text()).as_ref(),
        Ok(&evidence)
    );
    let _ = evidence.verify();
    true
}

/// A file on offer: its name made safe, its list of chunks judged.
pub(super) fn file_offer(bytes: &[u8]) -> bool {
    let Ok(offer) = cbor::decode::<ChunkOffer>(bytes, FRAME_MAX_BYTES) else {
        return false;
    };
    let name = safe_name(&offer.name);
    assert!(!name.is_empty() && !name.contains(['/', '\\', '\0']) && !name.starts_with('.'));
    assert_eq!(safe_name(&name), name, "a safe name is made safe again");
    if let Some(manifest) = Manifest::from_offer(&offer) {
        assert_eq!(manifest.list(), offer.chunks);
        let last = manifest.range(manifest.count() - 1);
        assert_eq!(last.end, offer.size);
    }
    true
}

fn message_row(bytes: &[u8]) -> bool {
    match MessageRecord::from_row(bytes) {
        Ok(_) => agree::<MessageRecord>(bytes),
        Err(_) => false,
    }
}

/// Ids and names as people write them.
fn texts(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    if let Ok(id) = text.parse::<EntityId>() {
        assert_eq!(id.to_string(), text.to_lowercase());
    }
    if let Ok(name) = text.parse::<Capability>() {
        assert_eq!(name.as_str(), text);
    }
    text.parse::<NodeName>()
        .is_ok_and(|name| name.as_str() == text)
}

/// One accepted input of each reader without a rule, in their order.
pub fn samples() -> Vec<Vec<u8>> {
    let mut rng = Rng::seed_from_u64(1);
    let seeds = Seeds::generate(&mut rng);
    let identity = Identity::from_seeds(&seeds);
    let signed = junto::crypto::Signature([7; 64]);
    let body = EntryBody {
        entity_id: identity.entity_id,
        inception: identity.inception.to_bytes(),
        rotations: Vec::new(),
        key: identity.key().public(),
        seq: 1,
        issued: Wall(1),
        expires: Wall(2),
        name: "a".parse().expect("a name"),
        capabilities: Vec::new(),
        labels: Vec::new(),
        addresses: vec!["/ip4/192.0.2.7/tcp/4001".parse().expect("an address")],
        peers: vec![PeerBinding {
            peer_id: identity.peer_id,
            signature: signed,
        }],
        versions: vec!["1.1".into()],
    };
    let now = Now {
        mono: Mono::from_micros(1),
        wall: Wall(1),
    };
    let error = Sessions::new(&identity).error(WireError::Busy, now, Nonce([1; 32]));
    let file = KeyFile::seal(&Keys::found(seeds.clone()), None, KdfCost::NONE, &mut rng);
    let json = serde_json::json!({
        "version": "1.1", "msg_type": "ping", "sender_id": identity.entity_id.to_string(),
        "recipient_id": identity.entity_id.to_string(), "timestamp": "2027-01-15T08:00:00.5Z",
        "session_id": "54e23bc1-eca8-4766-a61c-eaa8c60ddc65", "epoch": 0, "sequence_num": 3,
        "nonce": "05".repeat(32), "seal": "session",
        "payload": { "encrypted": true, "data": "oA==" },
    });
    let evidence = Evidence {
        entry: vec![1; 30],
        message: vec![2; 40],
    };
    let offer = ChunkOffer {
        transfer_id: "54e23bc1-eca8-4766-a61c-eaa8c60ddc65"
            .parse()
            .expect("a UUID"),
        name: "../..\\ a:b.txt".into(),
        size: 5,
        chunk_bytes: 1 << 20,
        root: [3; 32],
        chunks: Vec::new(),
        purpose: None,
    };
    vec![
        error,
        SignedEntry::sign(&body, identity.key()).to_bytes(),
        identity.inception.to_bytes(),
        file.to_json().into_bytes(),
        row(&[
            ("v", Value::Integer(1)),
            ("id", Value::Bytes(vec![1; 16])),
            ("capability", Value::Text("wc".into())),
            ("priority", Value::Text("high".into())),
            ("state", Value::Text("working".into())),
            ("submitted", Value::Integer(1)),
            ("deadline", Value::Integer(2)),
            ("token", Value::Integer(1)),
            ("worker", Value::Bytes(vec![2; 32])),
            ("failures", Value::Integer(0)),
            ("losses", Value::Integer(0)),
            ("attempts", Value::Array(Vec::new())),
            ("input_bytes", Value::Integer(3)),
        ]),
        row(&[
            ("v", Value::Integer(1)),
            ("state", Value::Text("accepted".into())),
            ("token", Value::Integer(1)),
            ("capability", Value::Text("wc".into())),
            ("deadline", Value::Integer(2)),
            ("since", Value::Integer(1)),
        ]),
        b"node-1".to_vec(),
        json.to_string().into_bytes(),
        evidence.to_text().into_bytes(),
        cbor::encode(&offer),
        row(&[
            ("v", Value::Integer(1)),
            ("number", Value::Integer(1)),
            ("from", Value::Bytes(vec![2; 32])),
            ("kind", Value::Text("talk".into())),
            ("priority", Value::Text("normal".into())),
            ("durable", Value::Bool(true)),
            ("sent", Value::Integer(1)),
            ("received", Value::Integer(2)),
            ("state", Value::Text("new".into())),
            ("since", Value::Integer(2)),
        ]),
    ]
}

fn row(members: &[(&str, Value)]) -> Vec<u8> {
    let named = |(name, value): &(&str, Value)| (Value::Text((*name).into()), value.clone());
    let map = Value::Map(members.iter().map(named).collect());
    serde_cbor_2::to_vec(&map).expect("plain data")
}
