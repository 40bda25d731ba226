//! Signatures, sealing, and a batch of messages under one signature.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use junto::crypto::{AeadKey, KeyPair, SigCheck, hash, merkle_path, merkle_root};
use junto::types::{EntityId, Priority, SessionId, Wall};
use junto::wire::{
    BatchContext, BatchHead, ChannelMessage, ChannelType, decode_batch, encode_batch,
};

fn signatures(c: &mut Criterion) {
    let key = KeyPair::from_seed(&[7; 32]);
    let digest = hash("bench", &[&[0x5a; 256]]);
    let check = SigCheck {
        key: key.public(),
        purpose: "bench",
        digest,
        signature: key.sign("bench", &digest),
    };
    let mut group = c.benchmark_group("ed25519");
    group.bench_function("sign", |bench| {
        bench.iter(|| key.sign("bench", black_box(&digest)));
    });
    group.bench_function("verify strictly", |bench| {
        bench.iter(|| assert!(black_box(&check).verify()));
    });
    group.finish();
}

fn sealing(c: &mut Criterion) {
    let key = AeadKey::new(&[1; 32], &[2; 12]);
    for bytes in [256, 64 * 1024] {
        let plain = vec![0x5a; bytes];
        let sealed = key.seal(1, b"header", &plain);
        let mut group = c.benchmark_group(format!("aes-256-gcm, {bytes} bytes"));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function("seal", |bench| {
            bench.iter(|| key.seal(1, b"header", black_box(&plain)));
        });
        group.bench_function("open", |bench| {
            bench.iter(|| key.open(1, b"header", black_box(&sealed)).is_ok());
        });
        group.finish();
    }
}

fn messages(count: u8) -> Vec<ChannelMessage> {
    (0..count)
        .map(|n| ChannelMessage {
            kind: ChannelType::Report,
            priority: Priority::Normal,
            durable: false,
            again: false,
            confirm: false,
            id: [n; 16],
            re: [0; 16],
            body: Bytes::from(vec![n; 256]),
        })
        .collect()
}

fn merkle(c: &mut Criterion) {
    let leaves: Vec<_> = (0..64_u8).map(|n| hash("leaf", &[&[n]])).collect();
    let mut group = c.benchmark_group("merkle, 64 leaves");
    group.bench_function("root", |bench| {
        bench.iter(|| merkle_root(black_box(&leaves)));
    });
    group.bench_function("path", |bench| {
        bench.iter(|| merkle_path(black_box(&leaves), 17));
    });
    group.finish();

    let key = KeyPair::from_seed(&[7; 32]);
    let public = key.public().prepare().expect("a valid key");
    let session = SessionId(uuid::Uuid::from_bytes([3; 16]));
    let context = BatchContext::new(&EntityId([1; 32]), &EntityId([2; 32]), session, &[4; 32]);
    let head = BatchHead {
        have: 0,
        sent: Wall(1_700_000_000_000),
        first: 0,
        seed: [5; 32],
    };
    let batch = messages(64);
    let mut written = Vec::new();
    encode_batch(&head, &batch, &context, &key, &mut written);
    let written = Bytes::from(written);
    let mut group = c.benchmark_group("batch of 64 messages of 256 bytes");
    group.throughput(Throughput::Elements(64));
    group.bench_function("sign and encode", |bench| {
        let mut buffer = Vec::new();
        bench.iter(|| {
            buffer.clear();
            encode_batch(&head, black_box(&batch), &context, &key, &mut buffer);
        });
    });
    group.bench_function("decode and verify", |bench| {
        bench.iter(|| {
            let batch = decode_batch(black_box(&written), &context).expect("ours");
            assert!(batch.verify(&context, &public));
        });
    });
    group.finish();
}

criterion_group!(benches, signatures, sealing, merkle);
criterion_main!(benches);
