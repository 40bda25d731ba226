//! Streams beside the exchanges: channels, files (section 8).

use junto::crypto::ChunkHasher;
use junto::proto::session::{Sealer, parse_opening, record_layer};
use junto::proto::transfer::Manifest;
use junto::types::limits::EPOCH_MAX_MS;
use junto::types::{Priority, StreamKind};
use junto::wire::{
    BatchContext, BatchHead, ChannelMessage, ChannelType, MessageProof, ProofParties, decode_batch,
    encode_batch,
};
use serde_json::{Value, json};

use super::files::{hex, hold};
use super::sides::{Shaken, now, shake_hands};

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
