//! What a handshake costs: M1 to the ready between two session cores, both sides together, on one
//! core; beside it the bare cost of its signatures and key agreements.
//!
//! M1, M2, M3 and the ready are each signed and verified once, and each
//! side makes one share and uses the other's. `first meeting` also verifies the three signatures of
//! each entry, which are remembered by the entry's hash; `later` is every other handshake.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use junto::crypto::{EphemeralSecret, Identity, Rng, Seeds, SigCheck, hash};
use junto::proto::Step;
use junto::proto::registry::{Announcement, Registry};
use junto::proto::session::{AckOutcome, HandshakeOutcome, Sessions, parse};
use junto::types::{BatchId, Mono, Nonce, Now, Wall, WriteBatch};
use rand::{RngExt, SeedableRng};

struct Side {
    identity: Identity,
    entry: Vec<u8>,
    sessions: Sessions,
    rng: Rng,
}

const NOW: Now = Now {
    mono: Mono::from_micros(1),
    wall: Wall(1_700_000_000_000),
};

fn side(seed: u64) -> Side {
    let mut rng = Rng::seed_from_u64(seed);
    let identity = Identity::from_seeds(&Seeds::generate(&mut rng));
    let mut registry = Registry::new(Announcement {
        identity: identity.clone(),
        name: "node".parse().expect("a name"),
        capabilities: Vec::new(),
        labels: Default::default(),
        addresses: Vec::new(),
        seq: 0,
    });
    let mut writes = WriteBatch::default();
    registry.issue(&mut Step {
        now: NOW,
        rng: &mut rng,
        batch: BatchId(1),
        writes: &mut writes,
    });
    Side {
        entry: registry.own().expect("it was issued").0.bytes.clone(),
        sessions: Sessions::new(&identity),
        identity,
        rng,
    }
}

fn holds(checks: &[SigCheck]) -> bool {
    checks.iter().all(SigCheck::verify)
}

/// M1, M2, M3 and the ready.
fn shake(a: &mut Side, b: &mut Side) {
    let (from, to) = (a.identity.peer_id, b.identity.peer_id);
    let (id, m1) = a
        .sessions
        .initiate(to, None, &a.entry, NOW, &mut a.rng)
        .expect("none is under way");
    let (envelope, header) = parse(&m1).expect("ours");
    let HandshakeOutcome::Verify { ticket, checks } =
        b.sessions.on_handshake(from, envelope, header, NOW)
    else {
        panic!("an honest M1");
    };
    let good = holds(&checks);
    let (m2, _) = b
        .sessions
        .handshake_verified(ticket, good, &b.entry, NOW, &mut b.rng)
        .expect("an honest M1");
    let AckOutcome::Verify { ticket, checks } = a.sessions.on_ack(to, id, &m2, NOW) else {
        panic!("an honest M2");
    };
    let good = holds(&checks);
    let nonce = Nonce(a.rng.random());
    let Ok(confirmed) = a.sessions.ack_verified(ticket, good, NOW, nonce) else {
        panic!("an honest M2");
    };
    let (envelope, header) = parse(&confirmed.m3).expect("ours");
    let nonce = Nonce(b.rng.random());
    let (_, ready) = b
        .sessions
        .on_confirm(from, &envelope, &header, NOW, nonce)
        .expect("an honest M3");
    a.sessions
        .on_ready(to, id, &ready, NOW)
        .expect("an honest ready");
}

/// The same node with sessions that remember nothing.
fn forgetful(side: &Side) -> Side {
    Side {
        identity: side.identity.clone(),
        entry: side.entry.clone(),
        sessions: Sessions::new(&side.identity),
        rng: Rng::from_rng(&mut rand::rng()),
    }
}

fn handshake(c: &mut Criterion) {
    let mut group = c.benchmark_group("handshake");
    let (a, b) = (side(1), side(2));
    group.bench_function("first meeting", |bench| {
        bench.iter_batched_ref(
            || (forgetful(&a), forgetful(&b)),
            |(a, b)| shake(a, b),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("later", |bench| {
        bench.iter_batched_ref(
            || {
                let (mut a, mut b) = (forgetful(&a), forgetful(&b));
                shake(&mut a, &mut b);
                (a, b)
            },
            |(a, b)| shake(a, b),
            BatchSize::SmallInput,
        );
    });
    let bare = side(3);
    let key = bare.identity.key();
    let digest = hash("bench", &[b"x"]);
    let check = SigCheck {
        key: key.public(),
        purpose: "bench",
        digest,
        signature: key.sign("bench", &digest),
    };
    let mut rng = Rng::seed_from_u64(4);
    group.bench_function("its 4 signatures, 4 verifications, 4 X25519", |bench| {
        bench.iter(|| {
            for _ in 0..4 {
                std::hint::black_box(key.sign("bench", std::hint::black_box(&digest)));
                assert!(std::hint::black_box(&check).verify());
            }
            let (ours, theirs) = (
                EphemeralSecret::generate(&mut rng),
                EphemeralSecret::generate(&mut rng),
            );
            let (our_share, their_share) = (ours.share(), theirs.share());
            let shared = (
                ours.diffie_hellman(&their_share).is_ok(),
                theirs.diffie_hellman(&our_share).is_ok(),
            );
            assert_eq!(shared, (true, true));
        });
    });
    group.finish();
}

criterion_group!(benches, handshake);
criterion_main!(benches);
