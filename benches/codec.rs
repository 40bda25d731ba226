//! Deterministic CBOR of a typical message: writing, and reading with all its checks.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use junto::types::{EntityId, Nonce, SessionId, Wall};
use junto::wire::{Envelope, Header, MsgType, PROTOCOL_VERSION, Seal, cbor};

fn header() -> Header {
    Header {
        version: PROTOCOL_VERSION.into(),
        msg_type: MsgType::Ping,
        sender_id: EntityId([1; 32]),
        recipient_id: Some(EntityId([2; 32])),
        session_id: Some(SessionId(uuid::Uuid::from_bytes([3; 16]))),
        epoch: Some(0),
        sequence_num: Some(1_234),
        re: None,
        timestamp: Wall(1_700_000_000_000),
        nonce: Nonce([4; 32]),
        seal: Seal::Session,
    }
}

fn codec(c: &mut Criterion) {
    let header = header();
    let header_bytes = cbor::encode(&header);
    let envelope = Envelope {
        header: header_bytes.clone(),
        data: vec![0x5a; 256],
        signature: None,
        tag: None,
    };
    let envelope_bytes = cbor::encode(&envelope);
    let mut group = c.benchmark_group("cbor");
    group.bench_function("encode a header", |bench| {
        bench.iter(|| cbor::encode(black_box(&header)));
    });
    group.bench_function("decode a header", |bench| {
        bench.iter(|| cbor::decode::<Header>(black_box(&header_bytes), 1_024).is_ok());
    });
    group.bench_function("encode an envelope of 256 bytes", |bench| {
        bench.iter(|| cbor::encode(black_box(&envelope)));
    });
    group.bench_function("decode an envelope of 256 bytes", |bench| {
        bench.iter(|| cbor::decode::<Envelope>(black_box(&envelope_bytes), 8_192).is_ok());
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
