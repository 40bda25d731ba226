//! The two whose messages the vectors are, and their handshake.

use junto::crypto::{EphemeralSecret, Identity, Rng, Seeds, SigCheck};
use junto::proto::Step;
use junto::proto::registry::{Announcement, Registry};
use junto::proto::session::{AckOutcome, HandshakeOutcome, Sessions, parse};
use junto::types::{BatchId, Mono, Nonce, Now, SessionId, Wall, WriteBatch};
use junto::wire::Offer;
use rand::SeedableRng as _;
use serde_json::{Value, json};

use super::files::hex;

pub const ISSUED: Wall = Wall(1_800_000_000_000);
pub const ALICE: u8 = 1;
pub const BOB: u8 = 11;
pub const ADDRESS: &str = "/ip4/192.0.2.7/tcp/4001";

pub fn now() -> Now {
    Now {
        mono: Mono::from_micros(2),
        wall: Wall(ISSUED.0 + 500),
    }
}

pub fn seeds(first: u8) -> Seeds {
    Seeds {
        entity: [first; 32],
        next: [first + 1; 32],
        transport: [first + 2; 32],
    }
}

/// One end of a session.
pub struct Side {
    pub identity: Identity,
    pub entry: Vec<u8>,
    pub sessions: Sessions,
    pub rng: Rng,
}

pub fn side(first: u8, name: &str) -> Side {
    let identity = Identity::from_seeds(&seeds(first));
    let mut registry = Registry::new(Announcement {
        identity: identity.clone(),
        name: name.parse().unwrap(),
        capabilities: vec![Offer {
            name: "wc".parse().unwrap(),
            slots: 4,
            price: 0,
        }],
        labels: Default::default(),
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

pub fn all_hold(checks: &[SigCheck]) -> bool {
    checks.iter().all(SigCheck::verify)
}

/// The whole handshake and its messages.
pub struct Shaken {
    pub alice: Side,
    pub bob: Side,
    pub session: SessionId,
    pub messages: Value,
    pub nonces: Value,
}

fn nonce_of(message: &[u8]) -> String {
    hex(&parse(message).unwrap().1.nonce.0)
}

pub fn shake_hands() -> Shaken {
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
pub fn drawn_secret(first: u8) -> String {
    use rand::Rng as _;
    let mut bytes = [0; 32];
    Rng::seed_from_u64(u64::from(first)).fill_bytes(&mut bytes);
    let again = EphemeralSecret::generate(&mut Rng::seed_from_u64(u64::from(first)));
    let share = x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(bytes));
    assert_eq!(share.to_bytes(), again.share());
    hex(&bytes)
}
