//! The secrets of one session, computed from outside: the other side's secret is ours to choose,
//! and the key schedule (docs/protocol.md) does the rest.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use junto::crypto::suite::ONE;
use junto::crypto::{EphemeralSecret, Prk, Rng, hash, hmac};
use junto::proto::session::parse;
use junto::wire::{Envelope, Handshake, HandshakeAck, cbor};
use rand::SeedableRng as _;

use super::liar::{Answer, Liar};
use super::support::eventually;

const BODY_MAX: usize = 64 * 1024;
/// What our share of the handshake is drawn from.
const SEED: u64 = 0x5eed;

fn signed(envelope: &Envelope) -> [&[u8]; 3] {
    let signature = &envelope.signature.as_ref().unwrap().0;
    [&envelope.header, &envelope.data, signature]
}

/// Shakes hands, and returns every secret that the other side holds now: of the agreement, of the
/// key confirmation, and of both directions of the lane. They are the session's own: its key
/// confirmation and its first sealed message say so.
pub fn shake_and_tell(liar: &mut Liar, tokio: &tokio::runtime::Runtime) -> Vec<Vec<u8>> {
    eventually("a session", Duration::from_secs(90), || {
        tokio.block_on(shake_once(liar))
    })
}

/// None when the other side is busy, or its own handshake wins.
async fn shake_once(liar: &mut Liar) -> Option<Vec<Vec<u8>>> {
    let ours = EphemeralSecret::generate(&mut Rng::seed_from_u64(SEED));
    liar.rng = Rng::seed_from_u64(SEED);
    let (id, m1) = liar.m1();
    let Answer::Message(m2, _) = liar.ask(&m1).await else {
        return None;
    };
    let m3 = liar.m3(id, &m2).ok()?;
    let Answer::Message(ready, _) = liar.ask(&m3).await else {
        return None;
    };
    let now = liar.now();
    liar.sessions
        .on_ready(liar.victim, id, &ready, now)
        .unwrap();

    let [m1, m2, m3, ready] = [m1, m2, m3, ready].map(|bytes| parse(&bytes).unwrap().0);
    let body: Handshake = cbor::decode(&m1.data, BODY_MAX).unwrap();
    assert_eq!(body.share, ours.share(), "the share is the one we drew");
    let answer: HandshakeAck = cbor::decode(&m2.data, BODY_MAX).unwrap();
    let theirs: [u8; 32] = answer.share[..].try_into().unwrap();
    let shared = ours.diffie_hellman(&theirs).unwrap();

    let th1 = hash("th1", &signed(&m1));
    let th2 = hash("th2", &[&th1, &m2.header, &m2.data]);
    let extracted = ONE.extract(&th2, &shared);
    let prk = Prk::extract(ONE, &th2, &shared);
    let [confirm_i, confirm_r, master] =
        ["conf i", "conf r", "master"].map(|label| prk.expand(label, &[]));
    let (signature, tag) = (m2.signature.unwrap().0, m2.tag.unwrap());
    assert_eq!(hmac(&confirm_r, &[&th2[..], &signature].concat()), tag);
    let th3 = hash("th3", &[&th2, &signature, &tag, &m3.header, &m3.data]);
    let (signature, tag) = (m3.signature.unwrap().0, m3.tag.unwrap());
    let th4 = hash("th4", &[&th3, &signature, &tag]);
    let lane = prk.derive("master", &[]);
    let traffic = |side: &str| lane.derive(&format!("traffic exchange {side}"), &th4);
    let first = traffic("r").aead();
    let aad = [&ready.header[..], &th4].concat();
    assert!(
        first.open(0, &aad, &ready.data).is_ok(),
        "these are its keys"
    );

    let mut secrets = vec![shared.to_vec()];
    secrets.extend([extracted, confirm_i, confirm_r, master].map(|secret| secret.to_vec()));
    for side in ["i", "r"] {
        let label = format!("traffic exchange {side}");
        secrets.push(lane.expand(&label, &th4).to_vec());
        secrets.push(traffic(side).expand("key", &[]).to_vec());
    }
    Some(secrets)
}
