//! Handshakes that are well-formed lies: replayed, spliced, downgraded, out of order, out of time,
//! with points and keys that are worth nothing.

use std::time::Duration;

use junto::crypto::{PublicKey, Signature};
use junto::proto::session::parse;
use junto::types::{Nonce, PeerId, SessionId, Wall};
use junto::wire::{
    Confirm, EntryBody, Envelope, Handshake, Header, MsgType, PROTOCOL_VERSION, RegistrySync, Seal,
    SignedEntry, WireError, cbor,
};

use super::liar::{Answer, Liar, Victim, entry, now};
use super::{insider, liar, seed};

/// An M1 with another body, which its sender stands by.
fn bent_m1(liar: &mut Liar, bend: impl FnOnce(&mut Header, &mut Handshake)) -> Vec<u8> {
    let (_, m1) = liar.m1();
    let (envelope, mut header) = parse(&m1).unwrap();
    let mut body: Handshake = cbor::decode(&envelope.data, 8_192).unwrap();
    bend(&mut header, &mut body);
    liar.clear(&header, cbor::encode(&body), "m1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replayed_reflected_spliced_and_misbound_handshakes_are_refused() {
    let mut victim = Victim::start();
    // Replayed: by its own sender, and by another over another connection.
    let (mut a, mut b) = (liar(&victim).await, liar(&victim).await);
    let (_, m1) = a.m1();
    let Answer::Message(m2, _) = a.ask(&m1).await else {
        panic!("an honest M1")
    };
    assert_eq!(a.ask(&m1).await.code(), Some(WireError::ReplayDetected));
    let (_, other) = a.m1();
    assert_eq!(b.ask(&other).await.code(), Some(WireError::UnknownSender));
    // Reflected: the victim's own M2, its own entry and entity, as if they were ours.
    assert_eq!(a.ask(&m2).await.code(), Some(WireError::EncryptionRequired));
    let (envelope, header) = parse(&m2).unwrap();
    let ack: junto::wire::HandshakeAck = cbor::decode(&envelope.data, 8_192).unwrap();
    let victims = (header.sender_id, ack.entry.clone());
    let m1 = bent_m1(&mut a, |header, body| {
        header.sender_id = victims.0;
        body.entry = victims.1.clone();
    });
    assert_eq!(a.ask(&m1).await.code(), Some(WireError::InvalidState));
    // Addressed to somebody else.
    let mut c = liar(&victim).await;
    let m1 = bent_m1(&mut c, |_, body| body.to_peer = PeerId::random());
    assert_eq!(c.ask(&m1).await.code(), Some(WireError::WrongRecipient));
    // Misbound: another's entry; and one's own that names another's PeerId without its word.
    let of_b = b.entry.clone();
    let mut d = liar(&victim).await;
    let m1 = bent_m1(&mut d, |_, body| body.entry = of_b);
    assert_eq!(d.ask(&m1).await.code(), Some(WireError::UnknownSender));
    let mut thief = liar(&victim).await;
    let identity = thief.identity.clone();
    let (key, own) = (identity.key(), identity.peer_id);
    let m1 = bent_m1(&mut thief, |_, body| {
        let (mut of_entry, _): (EntryBody, _) = SignedEntry::parse(&body.entry).unwrap();
        // The binding is a signature of the wrong key.
        of_entry.peers[0].signature = key.sign("peer binding", &[7; 32]);
        assert_eq!(of_entry.peers[0].peer_id, own);
        body.entry = SignedEntry::sign(&of_entry, key).to_bytes();
    });
    assert_eq!(
        thief.ask(&m1).await.code(),
        Some(WireError::InvalidSignature)
    );
    // Spliced: M3 of one handshake for another.
    let mut e = liar(&victim).await;
    let (first, m2) = e.half_shake().await.unwrap();
    let m3 = e.m3(first, &m2).unwrap();
    let (second, m2) = e.half_shake().await.unwrap();
    let (envelope, header) = parse(&m3).unwrap();
    let body: Confirm = cbor::decode(&envelope.data, 256).unwrap();
    let spliced = Envelope {
        data: cbor::encode(&Confirm {
            session_id: second,
            ..body
        }),
        ..envelope
    };
    assert_eq!(header.msg_type, MsgType::HandshakeConfirm);
    let code = e.ask(&spliced.to_bytes()).await.code();
    assert_eq!(code, Some(WireError::DecryptionFailed));
    let m3 = e.m3(second, &m2).unwrap();
    assert!(matches!(e.ask(&m3).await, Answer::Message(..)), "unharmed");
    victim.is_unharmed(seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_strips_versions_or_offers_nothing_known_is_refused() {
    let mut victim = Victim::start();
    let refused = |versions: Vec<&'static str>, suites: Vec<u16>| {
        let victim = &victim;
        async move {
            let mut liar = liar(victim).await;
            let m1 = bent_m1(&mut liar, |_, body| {
                body.versions = versions.iter().map(|v| String::from(*v)).collect();
                body.shares = vec![serde_bytes::ByteBuf::from([9; 32]); suites.len() - 1];
                body.suites = suites;
            });
            liar.ask(&m1).await.code()
        }
    };
    let code = Some(WireError::InvalidVersion);
    assert_eq!(refused(vec!["1.0"], vec![1]).await, code);
    assert_eq!(refused(vec![], vec![1]).await, code);
    assert_eq!(refused(vec!["9.9", "1.0"], vec![1]).await, code);
    assert_eq!(refused(vec!["1.1"], vec![0xffff, 7]).await, code);
    // An M1 that says 1.0 in its header is none of ours either.
    let mut liar = liar(&victim).await;
    let m1 = bent_m1(&mut liar, |header, _| header.version = "1.0".into());
    assert_eq!(liar.ask(&m1).await.code(), code);
    // None of it is held against anybody: what follows is served.
    liar.shake_patiently().await;
    victim.is_unharmed(seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m3_early_twice_and_late_and_data_before_it_are_refused() {
    let mut victim = Victim::start();
    // Early: for a session that was never begun.
    let mut liar = liar(&victim).await;
    let header = Header {
        version: PROTOCOL_VERSION.into(),
        msg_type: MsgType::HandshakeConfirm,
        sender_id: liar.identity.entity_id,
        recipient_id: Some(liar.identity.entity_id),
        session_id: None,
        epoch: None,
        sequence_num: None,
        re: None,
        timestamp: now().wall,
        nonce: Nonce([1; 32]),
        seal: Seal::None,
    };
    let body = Confirm {
        session_id: SessionId(uuid::Uuid::from_u128(1)),
        answers: Nonce([2; 32]),
    };
    let early = liar.clear(&header, cbor::encode(&body), "m3");
    let not_found = Some(WireError::SessionNotFound);
    assert_eq!(liar.ask(&early).await.code(), not_found);
    // Data before M3: whatever it holds, there is no such session yet.
    let (id, m2) = liar.half_shake().await.unwrap();
    let victims = parse(&m2).unwrap().1.sender_id;
    let data = Envelope {
        header: cbor::encode(&Header {
            msg_type: MsgType::Ping,
            recipient_id: Some(victims),
            session_id: Some(id),
            epoch: Some(0),
            sequence_num: Some(0),
            seal: Seal::Session,
            ..header.clone()
        }),
        data: vec![7; 64],
        signature: None,
        tag: None,
    };
    assert_eq!(liar.ask(&data.to_bytes()).await.code(), not_found);
    // Twice.
    let m3 = liar.m3(id, &m2).unwrap();
    let Answer::Message(ready, _) = liar.ask(&m3).await else {
        panic!("an honest M3")
    };
    assert_eq!(liar.ask(&m3).await.code(), not_found);
    let at = liar.now();
    liar.sessions.on_ready(victim.peer, id, &ready, at).unwrap();
    assert_eq!(liar.ping().await, Ok(MsgType::Pong), "unharmed");
    // Late: a half-open handshake is kept for 10 s, looked through every 2 s.
    let (id, m2) = liar.half_shake().await.unwrap();
    let m3 = liar.m3(id, &m2).unwrap();
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(liar.ask(&m3).await.code(), not_found);
    victim.is_unharmed(seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_are_an_hour_or_a_century_off_open_no_session_and_break_nothing() {
    const HOUR_MS: u64 = 3_600_000;
    let mut victim = Victim::start();
    let real = now().wall.0;
    for wall in [
        real + HOUR_MS,
        real - HOUR_MS,
        0,
        u64::from(u32::MAX) * 1000,
        u64::MAX,
    ] {
        let mut liar = liar(&victim).await;
        let m1 = bent_m1(&mut liar, |header, _| header.timestamp = Wall(wall));
        let code = liar.ask(&m1).await.code();
        assert_eq!(code, Some(WireError::HandshakeTimeout), "M1 of {wall}");
        // The hour's own entry in a handshake of now, and in a session's sync.
        let identity = liar.identity.clone();
        let of_then = match wall {
            u64::MAX => Wall(u64::MAX - 13 * HOUR_MS),
            wall => Wall(wall),
        };
        let old = entry(&identity, of_then, &mut liar.rng);
        let m1 = bent_m1(&mut liar, |_, body| body.entry = old.clone());
        let _ = liar.ask(&m1).await;
        let mut insider = insider(&victim).await;
        let sync = RegistrySync {
            have: None,
            entries: vec![serde_bytes::ByteBuf::from(old)],
        };
        let said = insider
            .say(MsgType::RegistrySync, &cbor::encode(&sync))
            .await;
        assert_eq!(said, Ok(MsgType::RegistryEntries), "an entry of {wall}");
    }
    victim.is_unharmed(seed()).await;
}

/// Points of order 1, 2, 4 and 8 on Curve25519 and its twist, and forms of them that are not
/// reduced (RFC 7748, and cr.yp.to/ecdh.html).
const LOW_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn points_and_keys_of_small_order_open_no_session() {
    let mut victim = Victim::start();
    for point in LOW_ORDER {
        let share = data_encoding::HEXLOWER.decode(point.as_bytes()).unwrap();
        let mut liar = liar(&victim).await;
        let m1 = bent_m1(&mut liar, |_, body| body.share = share);
        let code = liar.ask(&m1).await.code();
        assert_eq!(code, Some(WireError::InvalidSignature), "{point}");
    }
    // An entity whose key is of small order: a lax verifier takes R = A, S = 0 for any message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    for point in [neutral, [0; 32]] {
        let mut lax = [0; 64];
        lax[..32].copy_from_slice(&point);
        let mut liar = liar(&victim).await;
        let identity = liar.identity.clone();
        let mut inception = identity.inception;
        inception.key = PublicKey(point);
        inception.signature = Signature(lax);
        let entity = inception.entity_id();
        let m1 = bent_m1(&mut liar, |header, body| {
            let (mut of_entry, _): (EntryBody, _) = SignedEntry::parse(&body.entry).unwrap();
            of_entry.entity_id = entity;
            of_entry.inception = inception.to_bytes();
            of_entry.key = PublicKey(point);
            let forged = SignedEntry {
                body: cbor::encode(&of_entry),
                signature: Signature(lax),
            };
            body.entry = forged.to_bytes();
            header.sender_id = entity;
        });
        let (mut envelope, _) = parse(&m1).unwrap();
        envelope.signature = Some(Signature(lax));
        let code = liar.ask(&envelope.to_bytes()).await.code();
        assert_eq!(code, Some(WireError::InvalidSignature));
    }
    victim.is_unharmed(seed()).await;
}
