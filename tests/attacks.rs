//! A peer that lies, over real sockets, against the real program. After each attack the victim
//! serves an honest peer, has panicked nowhere, and holds no more memory than it should
//! ([`Victim::is_unharmed`]).
//!
//! A liar is banned at 100 points, so each identity tells a few lies and another goes on. What
//! needs millions of messages, or clocks that are moved by hand, is tested at the session core
//! (`src/proto/session/tests`).

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/liar.rs"]
mod liar;
#[path = "support/mutants.rs"]
mod mutants;
mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use junto::crypto::{PublicKey, Signature};
use junto::proto::session::parse;
use junto::types::{FencingToken, Nonce, PeerId, SessionId, TaskId, Wall};
use junto::wire::{
    CancelItem, Confirm, DelegateItem, EntryBody, Envelope, Handshake, Header, MsgType,
    PROTOCOL_VERSION, RegistryHave, RegistrySync, RenewItem, ResultItem, Seal, SignedEntry,
    TaskCancel, TaskDelegate, TaskOutcome, TaskRenew, TaskResult, WakeStatus, WakeUp, WakeUpdate,
    WireError, cbor,
};
use liar::{Answer, Liar, Victim, entry, now};
use mutants::mutants;
use support::eventually;

/// A seed for each identity of this process.
fn seed() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    (u64::from(std::process::id()) << 32) | NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn liar(victim: &Victim) -> Liar {
    Liar::connect(victim, seed()).await
}

/// A liar with a session.
async fn insider(victim: &Victim) -> Liar {
    let mut liar = liar(victim).await;
    liar.shake_patiently().await;
    liar
}

/// An M1 with another body, which its sender stands by.
fn bent_m1(liar: &mut Liar, bend: impl FnOnce(&mut Header, &mut Handshake)) -> Vec<u8> {
    let (_, m1) = liar.m1();
    let (envelope, mut header) = parse(&m1).unwrap();
    let mut body: Handshake = cbor::decode(&envelope.data, 8_192).unwrap();
    bend(&mut header, &mut body);
    liar.clear(&header, cbor::encode(&body), "m1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_with_any_field_bent_opens_no_session() {
    let mut victim = Victim::start();
    let count = mutants(&liar(&victim).await.m1().1).len();
    assert!(count > 150, "{count}");
    for from in (0..count).step_by(2) {
        let mut liar = liar(&victim).await;
        let all = mutants(&liar.m1().1);
        for (what, bent) in all.into_iter().skip(from).take(2) {
            let answer = liar.ask(&bent).await;
            assert!(!matches!(answer, Answer::Message(..)), "{what}");
        }
    }
    victim.is_unharmed(seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_with_any_field_bent_and_signed_again_harms_nothing() {
    let mut victim = Victim::start();
    let (_, m1) = liar(&victim).await.m1();
    let (envelope, _) = parse(&m1).unwrap();
    let count = mutants(&envelope.data).len();
    for from in (0..count).step_by(2) {
        let mut liar = liar(&victim).await;
        for n in from..(from + 2).min(count) {
            let (envelope, header) = parse(&liar.m1().1).unwrap();
            let (_, data) = mutants(&envelope.data).swap_remove(n);
            let bent = liar.clear(&header, data, "m1");
            // Some are good handshakes of another kind (another session id); none is silence.
            let answer = liar.ask(&bent).await;
            assert!(!matches!(answer, Answer::Nothing));
        }
    }
    victim.is_unharmed(seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m2_with_any_field_bent_is_not_followed_by_m3() {
    let mut victim = Victim::start();
    // The victim begins by itself with whoever is connected and does not; all at once.
    let honest = liar(&victim).await.answer_m1(|m2| m2).await;
    assert_eq!(honest, Some(MsgType::HandshakeConfirm));
    let (counted, count) = tokio::sync::oneshot::channel();
    let mut first = liar(&victim).await;
    first
        .answer_m1(|m2| {
            counted.send(mutants(&m2).len()).unwrap();
            Vec::new()
        })
        .await;
    let count = count.await.unwrap();
    assert!(count > 100, "{count}");
    let mut liars = Vec::new();
    for n in 0..count {
        let mut liar = liar(&victim).await;
        liars.push(tokio::spawn(async move {
            let next = liar.answer_m1(|m2| mutants(&m2).swap_remove(n).1).await;
            (n, next)
        }));
    }
    for liar in liars {
        let (n, next) = liar.await.unwrap();
        assert_ne!(next, Some(MsgType::HandshakeConfirm), "mutant {n}");
    }
    victim.is_unharmed(seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m3_with_any_field_bent_is_refused_and_the_honest_one_still_taken() {
    let mut victim = Victim::start();
    let mut at = 0;
    loop {
        let mut liar = liar(&victim).await;
        let (id, m2) = liar.half_shake().await.unwrap();
        let m3 = liar.m3(id, &m2).unwrap();
        let all = mutants(&m3);
        for (what, bent) in all.iter().skip(at).take(2) {
            let answer = liar.ask(bent).await;
            assert!(!matches!(answer, Answer::Message(..)), "{what}");
        }
        let answer = liar.ask(&m3).await;
        assert!(matches!(answer, Answer::Message(..)), "{answer:?}");
        at += 2;
        if at >= all.len() {
            break;
        }
    }
    victim.is_unharmed(seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_message_with_any_field_bent_is_refused_and_the_session_lives() {
    let mut victim = Victim::start();
    let mut at = 0;
    loop {
        let mut liar = insider(&victim).await;
        let (sealed, _) = liar.seal(MsgType::Ping, &cbor::encode(&junto::wire::Ping {}));
        let all = mutants(&sealed);
        for (what, bent) in all.iter().skip(at).take(3) {
            let answer = liar.ask(bent).await;
            // `tag` and the like may be there without meaning; the rest must not be answered.
            assert!(!matches!(answer, Answer::Message(..)), "{what}");
        }
        // The honest one, late.
        assert!(matches!(liar.ask(&sealed).await, Answer::Message(..)));
        assert_eq!(liar.ping().await, Ok(MsgType::Pong));
        at += 3;
        if at >= all.len() {
            break;
        }
    }
    victim.is_unharmed(seed()).await;
}

fn bodies(liar: &Liar) -> Vec<(MsgType, Vec<u8>)> {
    let (task_id, token) = (TaskId(uuid::Uuid::from_u128(7)), FencingToken(1));
    let outcome = TaskOutcome::Failed { reason: "x".into() };
    let id = liar.identity.entity_id;
    vec![
        (MsgType::Ping, cbor::encode(&junto::wire::Ping {})),
        (
            MsgType::RegistrySync,
            cbor::encode(&RegistrySync {
                have: Some(vec![RegistryHave {
                    entity_id: id,
                    seq: 1,
                    rotations: 0,
                }]),
                entries: vec![serde_bytes::ByteBuf::from(liar.entry.clone())],
            }),
        ),
        (
            MsgType::WakeUp,
            cbor::encode(&WakeUp {
                nonce: Nonce([1; 32]),
                reason: "why".into(),
                priority: None,
                request: None,
            }),
        ),
        (
            MsgType::WakeUpdate,
            cbor::encode(&WakeUpdate {
                nonce: Nonce([1; 32]),
                status: WakeStatus::Resumed,
            }),
        ),
        (
            MsgType::TaskDelegate,
            cbor::encode(&TaskDelegate {
                items: vec![DelegateItem {
                    task_id,
                    token,
                    capability: "wc".parse().unwrap(),
                    input: b"a b".to_vec(),
                    lease_ms: 20_000,
                    remaining_ms: 60_000,
                }],
            }),
        ),
        (
            MsgType::TaskRenew,
            cbor::encode(&TaskRenew {
                boot: junto::types::BootId(1),
                items: vec![RenewItem { task_id, token }],
            }),
        ),
        (
            MsgType::TaskResult,
            cbor::encode(&TaskResult {
                items: vec![ResultItem {
                    task_id,
                    token,
                    outcome,
                }],
            }),
        ),
        (
            MsgType::TaskCancel,
            cbor::encode(&TaskCancel {
                items: vec![CancelItem { task_id, token }],
            }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_with_any_field_bent_harms_nothing_although_it_is_sealed() {
    let mut victim = Victim::start();
    let template = liar(&victim).await;
    let all: Vec<(MsgType, Vec<u8>)> = bodies(&template)
        .into_iter()
        .flat_map(|(msg_type, body)| {
            let bent = mutants(&body).into_iter();
            bent.map(move |(_, body)| (msg_type, body))
        })
        .collect();
    assert!(all.len() > 100, "{}", all.len());
    for few in all.chunks(5) {
        let mut liar = insider(&victim).await;
        for (msg_type, body) in few {
            // Refused or, where the field may be anything, answered: never silence.
            let _ = liar.say(*msg_type, body).await;
        }
    }
    // Types that are no requests, and those that only travel in clear.
    for few in [
        [MsgType::Pong, MsgType::Ready, MsgType::Handshake],
        [
            MsgType::Error,
            MsgType::TaskAccept,
            MsgType::HandshakeConfirm,
        ],
    ] {
        let mut liar = insider(&victim).await;
        for msg_type in few {
            assert!(liar.say(msg_type, b"\xa0").await.is_err(), "{msg_type:?}");
        }
    }
    victim.is_unharmed(seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_and_other_forms_are_refused_and_who_goes_on_is_banned() {
    let mut victim = Victim::start();
    let deep = |byte: u8, levels: usize| vec![byte; levels];
    let m1 = liar(&victim).await.m1().1;
    let indefinite = [&[0xbf], &m1[1..], &[0xff]].concat();
    let trailing = [&m1[..], &[0]].concat();
    let longer_head = [&[0xb8, m1[0] & 0x1f], &m1[1..]].concat();
    let cut = m1[..m1.len() / 2].to_vec();
    let claims_much = vec![0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for form in [
        deep(0x81, 10_000),
        deep(0xa1, 10_000),
        deep(0xd8, 10_000),
        deep(0x5f, 10_000),
        indefinite,
        trailing,
        longer_head,
        cut,
        claims_much,
        Vec::new(),
        vec![0xff; 2 << 20],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        let mut liar = liar(&victim).await;
        let code = liar.ask(&form).await.code();
        assert_eq!(
            code,
            Some(WireError::Malformed),
            "{:02x?}",
            &form[..form.len().min(8)]
        );
    }
    // Lengths that are not kept, or are too much: nothing is allocated for them.
    for prefix in [
        [0xff; 4],
        [0, 0x20, 0, 1],
        [0x7f, 0xff, 0xff, 0xff],
        [0, 0x20, 0, 0],
    ] {
        let mut liar = liar(&victim).await;
        let answer = liar.raw(&[&prefix[..], b"short"].concat()).await;
        assert!(matches!(answer, Answer::Nothing), "{answer:?}");
        assert!(victim.rss_mib() < 256);
    }
    // And streams that are no exchanges.
    for protocol in ["/junto/junto/channel/1", "/junto/junto/bulk/1"] {
        let mut liar = insider(&victim).await;
        for noise in [&[][..], &[0xff; 4], &[0; 65_536], &[0xff; 65_536]] {
            let _ = liar.raw_on(protocol, noise).await;
        }
    }
    let mut liar = liar(&victim).await;
    let peer = liar.identity.peer_id;
    for _ in 0..7 {
        liar.ask(b"noise").await;
    }
    eventually("the liar is banned", Duration::from_secs(5), || {
        (victim.state_of(&peer)? == "banned").then_some(())
    });
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
    tokio::time::sleep(Duration::from_millis(12_500)).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_corrupt_frames_of_a_stranger_do_not_keep_a_good_one_back() {
    const FRAMES: usize = 10_000;
    let mut victim = Victim::start();
    let mut honest = insider(&victim).await;
    // Of the class of which a peer may send most in a second.
    let nothing = cbor::encode(&TaskCancel { items: Vec::new() });
    let (sealed, _) = honest.seal(MsgType::TaskCancel, &nothing);
    // Strangers say it before its sender does, bent and as it is: it is no session of theirs.
    let mut strangers = Vec::new();
    for n in 0..8 {
        let mut stranger = liar(&victim).await;
        let (sealed, _) = parse(&sealed).unwrap();
        strangers.push(tokio::spawn(async move {
            for i in 0..FRAMES / 8 {
                let mut bent = sealed.clone();
                let at = (i + n) % bent.data.len();
                bent.data[at] ^= u8::from(i % 8 != 0);
                let code = stranger.ask(&bent.to_bytes()).await.code();
                assert_eq!(code, Some(WireError::SessionNotFound));
            }
        }));
    }
    for stranger in strangers {
        stranger.await.unwrap();
    }
    assert!(matches!(honest.ask(&sealed).await, Answer::Message(..)));
    let replayed = honest.ask(&sealed).await.code();
    assert_eq!(replayed, Some(WireError::ReplayDetected));
    assert_eq!(honest.ping().await, Ok(MsgType::Pong));
    victim.is_unharmed(seed()).await;
}

/// As many PeerIds as the victim takes connections of, each with handshakes that it never ends; an
/// honest peer gets in within two seconds all the while. (20,000 of them at once are tested at the
/// session core, in virtual time.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_peer_gets_in_while_hundreds_leave_their_handshakes_half_open() {
    const PEERS: usize = 280;
    const EACH: usize = 5;
    let mut victim = Victim::start();
    let mut liars = Vec::new();
    for _ in 0..PEERS {
        liars.push(liar(&victim).await);
    }
    let flood: Vec<_> = liars
        .into_iter()
        .map(|mut liar| {
            tokio::spawn(async move {
                let mut begun = 0;
                for _ in 0..EACH {
                    begun += usize::from(liar.half_shake().await.is_ok());
                }
                (liar, begun)
            })
        })
        .collect();
    let begin = Instant::now();
    let mut honest = 0;
    while begin.elapsed() < Duration::from_secs(3) {
        victim.is_unharmed(seed()).await;
        honest += 1;
    }
    assert!(honest >= 2, "{honest} were served");
    let (mut begun, mut cookies) = (0, 0);
    let mut kept = Vec::new();
    for task in flood {
        let (liar, of_it) = task.await.unwrap();
        cookies += liar.cookies;
        kept.push(liar);
        begun += of_it;
    }
    assert!(begun > 1_024, "more than the table holds: {begun}");
    assert!(cookies > 0, "it was under load");
    victim.is_unharmed(seed()).await;
}
