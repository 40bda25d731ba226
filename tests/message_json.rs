//! `POST /message` of the real program, spoken to by a client that shares no code with it: JSON,
//! Ed25519, X25519, HKDF, AES-GCM and the little CBOR that a header needs, all by hand.
#![allow(clippy::unwrap_used, reason = "a test may end where it stands")]

#[path = "message_json/node.rs"]
mod node;
#[path = "message_json/protocol.rs"]
mod protocol;
#[path = "message_json/stranger.rs"]
mod stranger;
mod support;

use std::time::Duration;

use ciborium::Value as Cbor;
use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::VerifyingKey;
use node::start;
use protocol::{
    Hash, bytes, entity_bytes, entity_text, field, hash, map, now_ms, number, random, rfc3339,
    signed, text,
};
use serde_json::{Value, json};
use stranger::{Header, Stranger, data_of, hex};

fn empty() -> Cbor {
    map(Vec::new())
}

fn wake_up(nonce: &Hash) -> Cbor {
    map(vec![("nonce", bytes(nonce)), ("reason", text("work"))])
}

#[tokio::test]
async fn a_stranger_with_http_alone_shakes_hands_pings_wakes_and_hands_over_work() {
    let home = tempfile::tempdir().unwrap();
    let node = start(home.path());
    let stranger = Stranger::new(&node.api());
    let who = stranger.public_key().await;
    let mut session = stranger.meet().await;
    assert_eq!(who["entity_id"], entity_text(&session.to));
    assert_eq!(
        who["public_key"],
        HEXLOWER.encode(session.their_key.as_bytes())
    );
    for _ in 0..3 {
        let pong = stranger.ask(&mut session, "ping", &empty()).await;
        assert_eq!(pong, ("pong".into(), empty()));
    }
    let nonce = random();
    let (msg_type, ack) = stranger
        .ask(&mut session, "wake_up", &wake_up(&nonce))
        .await;
    assert_eq!(msg_type, "wake_up_ack");
    assert_eq!(field(&ack, "nonce"), &bytes(&nonce));
    assert_eq!(field(&ack, "status"), &text("delivered"));
    node.await_wakes(1);
    let task = map(vec![
        ("task_id", bytes(uuid::Uuid::now_v7().as_bytes())),
        ("token", number(1)),
        ("capability", text("wc")),
        ("input", bytes(b"one two three")),
        ("lease_ms", number(20_000)),
        ("remaining_ms", number(60_000)),
    ]);
    let offer = map(vec![("items", Cbor::Array(vec![task]))]);
    let (msg_type, accept) = stranger.ask(&mut session, "task_delegate", &offer).await;
    assert_eq!(msg_type, "task_accept");
    assert_eq!(
        field(&accept, "answers"),
        &Cbor::Array(vec![text("accepted")])
    );
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_the_protocols_code() {
    let home = tempfile::tempdir().unwrap();
    let node = start(home.path());
    let stranger = Stranger::new(&node.api());
    let refused = async |message: &Value| stranger.refused(message).await;
    let coded = |status: u16, code: &str| (status, code.to_owned());

    let (header, body, signature, _) = stranger.m1(&random()).await;
    let m1 = header.json(&body, Some(signature), None);
    let with = |name: &str, value: Value| {
        let mut bent = m1.clone();
        bent[name] = value;
        bent
    };
    assert_eq!(
        refused(&with("version", "2.0".into())).await,
        coded(400, "INVALID_VERSION")
    );
    assert_eq!(
        refused(&with("nonce", HEXLOWER.encode(&random::<32>()).into())).await,
        coded(403, "INVALID_SIGNATURE")
    );
    let another = entity_text(&random());
    assert_eq!(
        refused(&with("recipient_id", another.clone().into())).await,
        coded(421, "WRONG_RECIPIENT")
    );
    assert_eq!(
        refused(&with("sender_id", another.into())).await,
        coded(403, "UNKNOWN_SENDER")
    );
    assert_eq!(
        refused(&with("timestamp", rfc3339(now_ms() - 121_000).into())).await,
        coded(400, "HANDSHAKE_TIMEOUT")
    );
    assert_eq!(
        refused(&with("seal", "hpke".into())).await,
        coded(400, "MALFORMED")
    );
    assert_eq!(refused(&json!({"hello": 1})).await, coded(400, "MALFORMED"));

    // A moment, so that refusals do not add up to too many.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut session = stranger.meet().await;
    let ping = session.seal(&stranger, "ping", &empty());
    let mut cut = ping.clone();
    cut["payload"]["data"] = BASE64.encode(b"no ciphertext").into();
    assert_eq!(refused(&cut).await, coded(400, "DECRYPTION_FAILED"));
    let (status, _) = stranger.post(&ping).await;
    assert_eq!(status, 200, "what did not open used up no number");
    assert_eq!(refused(&ping).await, coded(409, "REPLAY_DETECTED"));
    session.next += 5_000;
    let ahead = session.seal(&stranger, "ping", &empty());
    assert_eq!(stranger.post(&ahead).await.0, 200);
    session.next -= 3_000;
    let behind = session.seal(&stranger, "ping", &empty());
    assert_eq!(refused(&behind).await, coded(409, "SEQUENCE_ERROR"));
    session.id = uuid::Uuid::new_v4().as_bytes().to_vec();
    let elsewhere = session.seal(&stranger, "ping", &empty());
    assert_eq!(refused(&elsewhere).await, coded(404, "SESSION_NOT_FOUND"));
    let (clear, _) = stranger.clear(session.to, "ping", &empty());
    assert_eq!(refused(&clear).await, coded(403, "ENCRYPTION_REQUIRED"));

    // However slow this machine is, it asks more often than is allowed.
    let mut last = refused(&json!({})).await;
    for _ in 0..400 {
        if last == coded(429, "RATE_LIMITED") {
            break;
        }
        last = refused(&json!({})).await;
    }
    assert_eq!(last, coded(429, "RATE_LIMITED"));
}

#[tokio::test]
async fn version_1_0_is_answered_where_it_is_allowed_and_once_also_across_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let first = start(home.path());
    let mut bob = Stranger::new(&first.api());
    let settings = format!(
        "[protocol]\nallow_v1_0 = [\"{}\"]\n",
        BASE64.encode(&bob.inception)
    );
    let who = bob.public_key().await;
    let to = entity_bytes(who["entity_id"].as_str().unwrap());
    let (asked, _) = bob.clear(to, "ping", &empty());
    assert_eq!(
        bob.refused(&asked).await,
        (403, "ENCRYPTION_REQUIRED".to_owned())
    );
    drop(first);
    std::fs::write(home.path().join("junto.toml"), settings).unwrap();

    let node = start(home.path());
    bob.api = node.api();
    let (asked, digest) = bob.clear(to, "ping", &empty());
    let (status, pong) = bob.post(&asked).await;
    assert_eq!(
        (status, pong["msg_type"].as_str()),
        (200, Some("pong")),
        "{pong}"
    );
    assert_eq!(
        (pong["version"].as_str(), pong["seal"].as_str()),
        (Some("1.0"), Some("none"))
    );
    let key: Hash = hex(&who["public_key"]);
    let answered = hash(
        "clear answer",
        &[&digest, &Header::of_json(&pong).cbor(), &data_of(&pong)],
    );
    let signature: [u8; 64] = hex(&pong["signature"]);
    VerifyingKey::from_bytes(&key)
        .unwrap()
        .verify_strict(&signed("clear answer", &answered), &signature.into())
        .expect("the answer is the node's, and to this question");
    let (wake, _) = bob.clear(to, "wake_up", &wake_up(&random()));
    let (status, ack) = bob.post(&wake).await;
    assert_eq!(
        (status, ack["msg_type"].as_str()),
        (200, Some("wake_up_ack")),
        "{ack}"
    );
    node.await_wakes(1);
    // kill -9, and the same message again.
    drop(node);
    let node = start(home.path());
    bob.api = node.api();
    assert_eq!(
        bob.refused(&wake).await,
        (409, "REPLAY_DETECTED".to_owned())
    );
    assert_eq!(node.wakes(), 1, "nobody was woken by an echo");
    let (task, _) = bob.clear(to, "task_delegate", &empty());
    assert_eq!(
        bob.refused(&task).await,
        (403, "ENCRYPTION_REQUIRED".to_owned())
    );
}
