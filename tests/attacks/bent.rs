//! Every message with every field bent, as it is and signed or sealed again.

use junto::proto::session::parse;
use junto::types::{EntityId, FencingToken, Nonce, TaskId};
use junto::wire::{
    CancelItem, DelegateItem, MsgType, OutputPart, ProgressItem, RegistryHave, RegistrySync,
    RenewItem, ResultItem, ResultParties, RevealItem, TaskCancel, TaskDelegate, TaskOutcome,
    TaskProgress, TaskRenew, TaskResult, TaskReveal, WakeStatus, WakeUp, WakeUpdate, cbor,
};

use super::liar::{Answer, Liar, Victim};
use super::mutants::mutants;
use super::{insider, liar, seed};

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
    let honest = liar(&victim).await.answer_m1().await;
    assert_eq!(honest, Some(MsgType::HandshakeConfirm));
    let (counted, count) = tokio::sync::oneshot::channel();
    let mut first = liar(&victim).await;
    first
        .answer_m1_bent(|m2| {
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
            let next = liar
                .answer_m1_bent(|m2| mutants(&m2).swap_remove(n).1)
                .await;
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

fn progress(task_id: TaskId, token: FencingToken) -> ProgressItem {
    ProgressItem {
        task_id,
        token,
        percent: Some(50),
        note: Some("half".into()),
        output: Some(OutputPart {
            offset: 3,
            data: b"a b".to_vec(),
        }),
    }
}

fn bodies(liar: &Liar) -> Vec<(MsgType, Vec<u8>)> {
    let (task_id, token) = (TaskId(uuid::Uuid::from_u128(7)), FencingToken(1));
    let outcome = TaskOutcome::Failed {
        reason: "x".into(),
        poison: false,
    };
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
                    input_file: None,
                    lease_ms: 20_000,
                    remaining_ms: 60_000,
                    orphan: None,
                    stream: false,
                    budget: None,
                    spent: 0,
                    agree: None,
                    stay: false,
                    priority: junto::types::Priority::Normal,
                    waited_ms: 0,
                }],
            }),
        ),
        (
            MsgType::TaskRenew,
            cbor::encode(&TaskRenew {
                boot: junto::types::BootId(1),
                items: vec![RenewItem {
                    task_id,
                    token,
                    spent: 0,
                    waiting: false,
                }],
            }),
        ),
        (
            MsgType::TaskResult,
            cbor::encode(&TaskResult::sign(
                vec![ResultItem {
                    task_id,
                    token,
                    outcome,
                    spent: 0,
                }],
                &ResultParties {
                    requester: EntityId([7; 32]),
                    worker: id,
                },
                liar.identity.key(),
                [9; 32],
            )),
        ),
        (
            MsgType::TaskCancel,
            cbor::encode(&TaskCancel {
                items: vec![CancelItem { task_id, token }],
            }),
        ),
        (
            MsgType::TaskReveal,
            cbor::encode(&TaskReveal {
                items: vec![RevealItem { task_id, token }],
            }),
        ),
        (
            MsgType::TaskProgress,
            cbor::encode(&TaskProgress {
                items: vec![progress(task_id, token)],
            }),
        ),
    ]
}
