//! The handshake, what is sealed in its session, and errors (sections 3, 5, 8 and 11).

use junto::crypto::{KeyPair, SigCheck, hash};
use junto::proto::session::{AckOutcome, parse};
use junto::types::Nonce;
use junto::wire::{ErrorBody, JsonMessage, MsgType, Ping, WireError, cbor};
use serde_json::{Value, json};

use super::bodies::{accept, delegate};
use super::files::{hex, hold};
use super::sides::{ALICE, BOB, Shaken, drawn_secret, now, shake_hands, side};

#[test]
fn a_handshake_is_what_it_was() {
    let Shaken {
        session,
        messages,
        nonces,
        ..
    } = shake_hands();
    let mut inputs = nonces;
    inputs["session_id"] = json!(hex(session.0.as_bytes()));
    inputs["timestamp"] = json!(now().wall.0);
    inputs["alice_x25519_secret"] = json!(drawn_secret(ALICE));
    inputs["bob_x25519_secret"] = json!(drawn_secret(BOB));
    hold(
        "handshake.json",
        &json!({
            "about": "Section 5: alice initiates, bob responds, each with the entry of entry.json.",
            "inputs": inputs,
            "messages": messages,
        }),
    );
}

#[test]
fn a_cookie_is_put_into_the_first_message() {
    let (mut alice, bob) = (side(ALICE, "alice"), side(BOB, "bob"));
    let to_bob = bob.identity.peer_id;
    let begun = alice
        .sessions
        .initiate(to_bob, None, &alice.entry, now(), &mut alice.rng);
    let (session, _) = begun.unwrap();
    // What bob would say under load.
    let busy = bob
        .sessions
        .error(WireError::Busy, now(), Nonce([0x88; 32]));
    let (mut envelope, _) = parse(&busy).unwrap();
    envelope.data = cbor::encode(&ErrorBody {
        code: WireError::Busy,
        cookie: Some([0xcc; 32]),
    });
    let digest = hash("message", &[&envelope.header, &envelope.data]);
    envelope.signature = Some(bob.identity.key().sign("error", &digest));
    let error = envelope.to_bytes();
    let AckOutcome::Again(m1) = alice.sessions.on_ack(to_bob, session, &error, now()) else {
        panic!("a cookie is taken")
    };
    hold(
        "cookie.json",
        &json!({
            "about": "Section 5: bob, under load, asks for a cookie; alice sends the M1 of handshake.json again.",
            "error": hex(&error),
            "m1": hex(&m1),
        }),
    );
}

#[test]
fn a_sealed_request_and_its_response_are_what_they_were() {
    let Shaken {
        mut alice, mut bob, ..
    } = shake_hands();
    let (to_alice, to_bob) = (alice.identity.peer_id, bob.identity.peer_id);

    let asks = cbor::encode(&delegate());
    let nonce = Nonce([0x66; 32]);
    let sealed = alice
        .sessions
        .seal_request(&to_bob, MsgType::TaskDelegate, &asks, now(), nonce);
    let (request, asked) = sealed.unwrap();

    let (envelope, header) = parse(&request).unwrap();
    let opened = bob
        .sessions
        .open_request(&to_alice, &envelope, &header, now())
        .unwrap();
    assert_eq!(
        (opened.msg_type, &opened.body),
        (MsgType::TaskDelegate, &asks)
    );

    let answers = cbor::encode(&accept());
    let nonce = Nonce([0x77; 32]);
    let response = bob
        .sessions
        .seal_response(
            opened.reference,
            MsgType::TaskAccept,
            &answers,
            now(),
            nonce,
        )
        .unwrap();
    let opened = alice
        .sessions
        .open_response(&to_bob, asked, &response, now())
        .unwrap();
    assert_eq!(opened.body, answers);
    let message = |from: &str, bytes: &[u8], body: &[u8]| {
        let (_, header) = parse(bytes).unwrap();
        let mut message = json!({
            "from": from,
            "msg_type": header.msg_type,
            "timestamp": header.timestamp,
            "nonce": hex(&header.nonce.0),
            "sequence_num": header.sequence_num,
            "body": hex(body),
            "message": hex(bytes),
        });
        if let Some(re) = header.re {
            message["re"] = json!(re);
        }
        message
    };
    hold(
        "sealed.json",
        &json!({
            "about": "Section 3: a request and its response in the session of handshake.json.",
            "messages": [message("alice", &request, &asks), message("bob", &response, &answers)],
        }),
    );
}

#[test]
fn json_is_the_envelope_it_was() {
    let Shaken {
        mut alice,
        bob,
        messages,
        ..
    } = shake_hands();
    let bytes = |text: &Value| {
        data_encoding::HEXLOWER
            .decode(text.as_str().unwrap().as_bytes())
            .unwrap()
    };
    let nonce = Nonce([0x66; 32]);
    let sealed = alice.sessions.seal_request(
        &bob.identity.peer_id,
        MsgType::Ping,
        &cbor::encode(&Ping {}),
        now(),
        nonce,
    );
    let form = |bytes: &[u8]| {
        let (envelope, header) = parse(bytes).unwrap();
        let json = JsonMessage::from_envelope(&envelope, &header);
        assert_eq!(json.to_envelope().unwrap().to_bytes(), bytes);
        json!({ "json": json, "envelope": hex(bytes) })
    };
    hold(
        "json.json",
        &json!({
            "about": "Section 11: M1 and M3 of handshake.json and a sealed ping, as JSON and as they are on libp2p.",
            "messages": [
                form(&bytes(&messages["m1"])), form(&bytes(&messages["m3"])),
                form(&sealed.unwrap().0),
            ],
        }),
    );
}

#[test]
fn an_error_is_what_it_was_and_is_signed() {
    let bob = side(BOB, "bob");
    let nonce = Nonce([0x88; 32]);
    let error = bob.sessions.error(WireError::Busy, now(), nonce);
    let (envelope, _) = parse(&error).unwrap();
    let check = SigCheck {
        key: KeyPair::from_seed(&[BOB; 32]).public(),
        purpose: "error",
        digest: hash("message", &[&envelope.header, &envelope.data]),
        signature: envelope.signature.unwrap(),
    };
    assert!(check.verify());
    hold(
        "error.json",
        &json!({
            "about": "Section 8: bob says BUSY.",
            "timestamp": now().wall.0,
            "nonce": hex(&nonce.0),
            "code": "BUSY",
            "message": hex(&error),
        }),
    );
}
