//! What the two sides settle on: a version and a suite, and that nobody can make it less.

use super::*;
use crate::crypto::suite::{ONE, OTHER};
use crate::wire::{EntryBody, Handshake, HandshakeAck, SignedEntry};

const NEWER: &str = "1.2";

fn numbers(side: &Side, of: &Side) -> (&'static str, u16) {
    let id = side.sessions.newest[&of.peer];
    let live = &side.sessions.live[&id];
    (live.terms().version, live.terms().suite.number())
}

/// Both speak both, and announce what they speak.
fn modern_pair() -> (Side, Side) {
    let (mut a, mut b) = pair();
    for side in [&mut a, &mut b] {
        side.sessions.versions = vec![NEWER, PROTOCOL_VERSION];
        announce(side, &[NEWER, PROTOCOL_VERSION]);
    }
    (a, b)
}

/// Has the side announce these versions.
fn announce(side: &mut Side, versions: &[&str]) {
    let (mut body, _): (EntryBody, _) = SignedEntry::parse(&side.entry).expect("our own");
    body.versions = versions.iter().map(|v| String::from(*v)).collect();
    side.entry = SignedEntry::sign(&body, side.identity.key()).to_bytes();
}

#[test]
fn the_best_common_suite_is_taken_whichever_side_knows_more() {
    type Known = &'static [&'static dyn crate::crypto::suite::Suite];
    let cases: [(Known, Known, u16); 4] = [
        (&[OTHER, ONE], &[OTHER, ONE], 0xffff),
        (&[OTHER, ONE], &[ONE], 1),
        (&[ONE], &[OTHER, ONE], 1),
        // What the responder holds to be best decides; the list is part of the transcript.
        (&[ONE, OTHER], &[OTHER, ONE], 0xffff),
    ];
    for (of_a, of_b, expected) in cases {
        let (mut a, mut b) = pair();
        a.sessions.suites = of_a.to_vec();
        b.sessions.suites = of_b.to_vec();
        shake(&mut a, &mut b);
        assert_eq!(numbers(&a, &b).1, expected);
        assert_eq!(numbers(&b, &a).1, expected);
        let sealed = a.seal(b.peer, b"x").0;
        assert_eq!(b.open(a.peer, &sealed).expect("sealed by a").body, b"x");
    }
}

#[test]
fn without_a_common_suite_or_version_there_is_no_session() {
    let (mut a, mut b) = pair();
    a.sessions.suites = vec![OTHER];
    let (_, m1) = a.m1(&b);
    assert_eq!(b.on_m1(a.peer, &m1), Err(WireError::InvalidVersion));
    let (mut a, mut b) = modern_pair();
    a.sessions.versions = vec![NEWER];
    b.sessions.versions = vec![PROTOCOL_VERSION];
    let (_, m1) = a.m1(&b);
    assert_eq!(b.on_m1(a.peer, &m1), Err(WireError::InvalidVersion));
}

#[test]
fn suites_and_shares_that_do_not_match_are_malformed() {
    let (mut a, mut b) = pair();
    a.sessions.suites = vec![OTHER, ONE];
    for bend in [
        |body: &mut Handshake| body.suites.truncate(1),
        |body: &mut Handshake| body.shares.clear(),
        |body: &mut Handshake| body.suites.extend([7; 20]),
        |body: &mut Handshake| body.versions = vec!["9.9".into(); 20],
    ] {
        let bent = bent_m1(&mut a, &b, bend);
        assert_eq!(b.on_m1(a.peer, &bent), Err(WireError::Malformed));
    }
    // A share of another length than its suite's.
    let bent = bent_m1(&mut a, &b, |body| {
        body.share.pop();
        body.shares[0].pop();
    });
    assert_eq!(b.on_m1(a.peer, &bent), Err(WireError::Malformed));
}

#[test]
fn an_empty_list_of_further_shares_is_another_encoding_and_refused() {
    let (mut a, b) = pair();
    let (_, m1) = a.m1(&b);
    let (envelope, _) = parse(&m1).expect("our own");
    let mut tree: ciborium::Value = ciborium::from_reader(&envelope.data[..]).expect("our own");
    let pairs = tree.as_map_mut().expect("a map");
    pairs.push(("shares".into(), ciborium::Value::Array(Vec::new())));
    let bent = cbor::encode(&tree);
    assert!(matches!(
        cbor::decode::<Handshake>(&bent, 8_192),
        Err(cbor::CborError::Unexpected(_))
    ));
}

/// An M1 of `a` with another body, signed by `a`: it lies, and stands by it.
fn bent_m1(a: &mut Side, b: &Side, bend: impl Fn(&mut Handshake)) -> Vec<u8> {
    let (id, m1) = a.m1(b);
    a.sessions.abandon(&b.peer, id);
    let (mut envelope, _) = parse(&m1).expect("our own");
    let mut body: Handshake = cbor::decode(&envelope.data, 8_192).expect("our own");
    bend(&mut body);
    envelope.data = cbor::encode(&body);
    envelope.signature = Some(a.sessions.key.sign("m1", &envelope.digest()));
    envelope.to_bytes()
}

#[test]
fn the_best_common_version_is_taken() {
    let (mut a, mut b) = modern_pair();
    shake(&mut a, &mut b);
    assert_eq!((numbers(&a, &b).0, numbers(&b, &a).0), (NEWER, NEWER));
    let sealed = a.seal(b.peer, b"x").0;
    assert_eq!(parse(&sealed).expect("well formed").1.version, NEWER);
    assert!(b.open(a.peer, &sealed).is_ok());
}

#[test]
fn an_older_peer_that_says_so_is_spoken_to_in_its_version() {
    let (mut a, mut b) = modern_pair();
    b.sessions.versions = vec![PROTOCOL_VERSION];
    announce(&mut b, &[PROTOCOL_VERSION]);
    shake(&mut a, &mut b);
    assert_eq!(numbers(&a, &b).0, PROTOCOL_VERSION);
    // And the session holds its messages to it.
    let sealed = a.seal(b.peer, b"x").0;
    let (envelope, header) = parse(&sealed).expect("well formed");
    let header = Header {
        version: NEWER.into(),
        ..header
    };
    let other = Envelope {
        header: cbor::encode(&header),
        ..envelope
    };
    assert_eq!(
        b.open(a.peer, &other.to_bytes()),
        Err(WireError::InvalidVersion)
    );
    assert!(b.open(a.peer, &sealed).is_ok());
}

#[test]
fn a_peer_is_held_to_the_versions_its_entry_announces() {
    // M1 offers less than its sender's signed entry.
    let (mut a, mut b) = modern_pair();
    let stripped = bent_m1(&mut a, &b, |body| {
        body.versions.retain(|version| version == PROTOCOL_VERSION);
    });
    assert_eq!(b.on_m1(a.peer, &stripped), Err(WireError::InvalidVersion));
    // M2 takes less than its sender's signed entry.
    let (mut a, mut b) = modern_pair();
    let (id, m1) = a.m1(&b);
    b.sessions.versions = vec![PROTOCOL_VERSION];
    let m2 = b.on_m1(a.peer, &m1).expect("it knows no better");
    assert_eq!(
        a.on_m2(b.peer, id, &m2),
        Err(WireError::InvalidVersion),
        "b announced more"
    );
    assert!(!a.sessions.is_opening(&b.peer));
}

#[test]
fn what_was_not_on_offer_is_not_taken() {
    let answer = |bend: fn(&mut HandshakeAck)| {
        let (mut a, mut b) = pair();
        let (id, m1) = a.m1(&b);
        let m2 = b.on_m1(a.peer, &m1).expect("an honest M1");
        let (mut envelope, _) = parse(&m2).expect("well formed");
        let mut body: HandshakeAck = cbor::decode(&envelope.data, 8_192).expect("well formed");
        bend(&mut body);
        envelope.data = cbor::encode(&body);
        a.on_m2(b.peer, id, &envelope.to_bytes())
    };
    let code = Err(WireError::InvalidVersion);
    assert_eq!(answer(|body| body.version = NEWER.into()), code);
    assert_eq!(answer(|body| body.version = "1.0".into()), code);
    assert_eq!(answer(|body| body.suite = 2), code);
    // The lists are in the transcript: who changes them in between breaks the signature.
    let (mut a, mut b) = modern_pair();
    let (_, m1) = a.m1(&b);
    let (mut envelope, _) = parse(&m1).expect("our own");
    let mut body: Handshake = cbor::decode(&envelope.data, 8_192).expect("our own");
    body.versions.push("1.0".into());
    envelope.data = cbor::encode(&body);
    assert_eq!(
        b.on_m1(a.peer, &envelope.to_bytes()),
        Err(WireError::InvalidSignature)
    );
}
