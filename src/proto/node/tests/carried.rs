//! Messages over HTTP and in clear: answered in the same way, kept apart, held against nobody.

use rand::SeedableRng;
use serde_bytes::ByteBuf;

use super::*;
use crate::crypto::{Keys, Seeds, SigCheck, hash};
use crate::proto::clear::Allowed;
use crate::proto::session::{AckOutcome, SealedRef, Sessions};
use crate::types::limits::ENTRY_MAX_LIFE_MS;
use crate::types::{Nonce, SessionId, Wall};
use crate::wire::{
    EntryBody, Envelope, ErrorBody, Header, MsgType, PeerBinding, Ping, RegistrySync, Seal,
    SignedEntry, VERSION_1_0, WakeStatus, WakeUp, WakeUpAck, WireError, cbor,
};

/// Keys of somebody, or of node `seed`, as the wires draw them.
fn keys(seed: u64) -> Keys {
    Keys::found(Seeds::generate(&mut Rng::seed_from_u64(seed)))
}

fn rotated(keys: &Keys) -> Keys {
    keys.rotate(&mut Rng::seed_from_u64(50)).expect("room")
}

/// Somebody who is not on the network.
struct Stranger {
    identity: Identity,
    sessions: Sessions,
    entry: Vec<u8>,
    rng: Rng,
}

impl Stranger {
    fn new(seed: u64, now: Now) -> Stranger {
        Stranger::with(&keys(seed), Vec::new(), now)
    }

    fn with(keys: &Keys, addresses: Vec<Multiaddr>, now: Now) -> Stranger {
        let identity = keys.identity();
        let rotations = identity.chain().rotations().iter();
        let body = EntryBody {
            entity_id: identity.entity_id,
            inception: identity.inception.to_bytes(),
            rotations: rotations
                .map(|rotation| ByteBuf::from(rotation.to_bytes()))
                .collect(),
            key: identity.key().public(),
            seq: 1,
            issued: now.wall,
            expires: now.wall + ENTRY_MAX_LIFE_MS,
            name: "stranger".parse().expect("a name"),
            capabilities: Vec::new(),
            labels: Vec::new(),
            addresses,
            peers: vec![PeerBinding {
                peer_id: identity.peer_id,
                signature: identity.binding,
            }],
            versions: vec!["1.1".into()],
        };
        Stranger {
            sessions: Sessions::new(&identity),
            entry: SignedEntry::sign(&body, identity.key()).to_bytes(),
            identity,
            rng: Rng::seed_from_u64(90),
        }
    }

    fn m1(&mut self, wires: &Wires) -> (SessionId, Vec<u8>) {
        let to = wires.hosts[0].identity.peer_id;
        let begun = self
            .sessions
            .initiate(to, None, &self.entry, wires.now(), &mut self.rng);
        begun.expect("none under way")
    }

    /// Shakes hands with node 0.
    fn meet(&mut self, wires: &mut Wires) {
        let to = wires.hosts[0].identity.peer_id;
        let (session, m1) = self.m1(wires);
        let m2 = post(wires, m1);
        let AckOutcome::Verify { ticket, checks } =
            self.sessions.on_ack(to, session, &m2, wires.now())
        else {
            panic!("an M2 comes back: {:?}", code_of(&m2));
        };
        assert!(checks.iter().all(|check| check.verify()));
        let confirmed = self
            .sessions
            .ack_verified(ticket, true, wires.now(), Nonce([1; 32]));
        let ready = post(wires, confirmed.expect("the tag holds").m3);
        let live = self.sessions.on_ready(to, session, &ready, wires.now());
        live.expect("the session is live");
    }

    fn seal(&mut self, wires: &Wires, msg_type: MsgType, body: &[u8]) -> (Vec<u8>, SealedRef) {
        let to = wires.hosts[0].identity.peer_id;
        let sealed = self
            .sessions
            .seal_request(&to, msg_type, body, wires.now(), Nonce([2; 32]));
        sealed.expect("a live session")
    }

    fn say(
        &mut self,
        wires: &mut Wires,
        msg_type: MsgType,
        body: &[u8],
    ) -> Result<(MsgType, Vec<u8>), WireError> {
        let (bytes, sealed) = self.seal(wires, msg_type, body);
        let answer = post(wires, bytes);
        if let Some(code) = code_of(&answer) {
            return Err(code);
        }
        let to = wires.hosts[0].identity.peer_id;
        let opened = self
            .sessions
            .open_response(&to, sealed, &answer, wires.now())
            .expect("it opens");
        Ok((opened.msg_type, opened.body))
    }

    /// A message of version 1.0.
    fn clear(&self, wires: &Wires, nonce: u8, msg_type: MsgType, data: Vec<u8>) -> Envelope {
        let header = Header {
            version: VERSION_1_0.into(),
            msg_type,
            sender_id: self.identity.entity_id,
            recipient_id: Some(wires.hosts[0].identity.entity_id),
            session_id: None,
            epoch: None,
            sequence_num: None,
            re: None,
            timestamp: wires.now().wall,
            nonce: Nonce([nonce; 32]),
            seal: Seal::None,
        };
        let mut envelope = Envelope {
            header: cbor::encode(&header),
            data,
            signature: None,
            tag: None,
        };
        let signature = self
            .identity
            .key()
            .sign("clear message", &envelope.digest());
        envelope.signature = Some(signature);
        envelope
    }
}

fn post(wires: &mut Wires, bytes: Vec<u8>) -> Vec<u8> {
    match wires.ask(0, Command::Envelope(bytes)) {
        Ok(Reply::Envelope(bytes)) => bytes,
        other => panic!("an envelope comes back: {other:?}"),
    }
}

fn code_of(bytes: &[u8]) -> Option<WireError> {
    let (envelope, header) = Envelope::from_bytes(bytes).expect("an envelope");
    (header.msg_type == MsgType::Error).then(|| {
        cbor::decode::<ErrorBody>(&envelope.data, 256)
            .expect("an error")
            .code
    })
}

fn type_of(bytes: &[u8]) -> MsgType {
    Envelope::from_bytes(bytes).expect("an envelope").1.msg_type
}

fn ping() -> Vec<u8> {
    cbor::encode(&Ping {})
}

fn alone(wake: WakePolicy, allow_v1_0: Vec<Allowed>) -> Wires {
    let config = NodeConfig {
        wake,
        allow_v1_0,
        ..config(0, None, 1)
    };
    Wires::new(vec![config])
}

#[test]
fn a_stranger_shakes_hands_and_is_answered_over_http() {
    let mut wires = alone(WakePolicy::default(), Vec::new());
    let mut stranger = Stranger::new(90, wires.now());
    stranger.meet(&mut wires);
    let pong = stranger.say(&mut wires, MsgType::Ping, &ping());
    assert_eq!(pong.map(|(msg_type, _)| msg_type), Ok(MsgType::Pong));
    let wake = WakeUp {
        nonce: Nonce([4; 32]),
        reason: "work".into(),
        priority: None,
        request: None,
    };
    let (_, ack) = stranger
        .say(&mut wires, MsgType::WakeUp, &cbor::encode(&wake))
        .expect("answered");
    let ack: WakeUpAck = cbor::decode(&ack, 1024).expect("an ack");
    assert_eq!((ack.nonce, ack.status), (wake.nonce, WakeStatus::Delivered));
}

#[test]
fn a_session_over_http_is_not_one_that_messages_go_through() {
    let mut wires = alone(WakePolicy::default(), Vec::new());
    let mut stranger = Stranger::new(90, wires.now());
    stranger.meet(&mut wires);
    let Ok(Reply::Status(status)) = wires.ask(0, Command::Status) else {
        panic!("a status");
    };
    assert_eq!((status.sessions, status.registry), (0, 1));
    let peer = PeerRef::Peer(stranger.identity.peer_id);
    let pinged = wires.ask(0, Command::Ping(peer));
    let error = pinged.expect_err("nobody we know");
    assert_eq!(error.code, CommandErrorCode::NotFound);
    let sync = cbor::encode(&RegistrySync {
        have: None,
        entries: Vec::new(),
    });
    assert_eq!(
        stranger.say(&mut wires, MsgType::RegistrySync, &sync),
        Err(WireError::NotAllowed)
    );
}

#[test]
fn a_replayed_or_forged_handshake_over_http_is_refused_and_held_against_nobody() {
    let mut wires = Wires::new(vec![config(0, None, 0), config(1, Some(0), 0)]);
    wires.run(3 * SECOND_MS);
    let mut stranger = Stranger::new(90, wires.now());
    let (_, m1) = stranger.m1(&wires);
    assert_eq!(
        type_of(&post(&mut wires, m1.clone())),
        MsgType::HandshakeAck
    );
    let again = post(&mut wires, m1.clone());
    assert_eq!(code_of(&again), Some(WireError::ReplayDetected));
    wires.stop(0);
    wires.start(0);
    let again = post(&mut wires, m1);
    assert_eq!(
        code_of(&again),
        Some(WireError::ReplayDetected),
        "a restart forgets no nonce"
    );
    // A forger that writes node 1's name over and over.
    let victim = wires.hosts[1].identity.clone();
    let mut forger = Stranger::new(91, wires.now());
    forger.identity = victim.clone();
    forger.sessions = Sessions::new(&victim);
    let body = SignedEntry::parse(&Stranger::new(90, wires.now()).entry).expect("an entry");
    let body = EntryBody {
        entity_id: victim.entity_id,
        inception: victim.inception.to_bytes(),
        key: victim.key().public(),
        peers: vec![PeerBinding {
            peer_id: victim.peer_id,
            signature: victim.binding,
        }],
        ..body.0
    };
    let forged = SignedEntry::sign(&body, stranger.identity.key());
    forger.entry = forged.to_bytes();
    for _ in 0..40 {
        let (session, m1) = forger.m1(&wires);
        let answer = post(&mut wires, m1);
        assert_eq!(code_of(&answer), Some(WireError::InvalidSignature));
        forger
            .sessions
            .abandon(&wires.hosts[0].identity.peer_id, session);
    }
    let banned = |note: &Note| matches!(note, Note::PeerBanned { .. });
    assert!(!wires.hosts[0].notes.iter().any(banned));
    wires.run(5 * SECOND_MS);
    assert!(
        wires.ask(1, Command::Ping(name_of(0))).is_ok(),
        "node 1 is as welcome as before"
    );
}

fn name_of(n: usize) -> PeerRef {
    format!("node-{n}").parse().expect("a name")
}

#[test]
fn version_1_0_is_answered_in_clear_only_where_it_is_allowed() {
    let now = Now {
        mono: Mono::from_micros(1),
        wall: Wall(1_700_000_000_000),
    };
    let (bob, carol) = (Stranger::new(90, now), Stranger::new(91, now));
    let allowed = vec![Allowed::Inception(Box::new(bob.identity.inception))];
    let mut wires = alone(WakePolicy::default(), allowed);
    let asked = bob.clear(&wires, 1, MsgType::Ping, ping()).to_bytes();
    let answer = post(&mut wires, asked.clone());
    let (envelope, header) = Envelope::from_bytes(&answer).expect("an envelope");
    assert_eq!(
        (header.version.as_str(), header.msg_type, header.seal),
        (VERSION_1_0, MsgType::Pong, Seal::None)
    );
    assert!(envelope.signature.is_some());
    let again = post(&mut wires, asked.clone());
    assert_eq!(code_of(&again), Some(WireError::ReplayDetected));
    let other = carol.clear(&wires, 1, MsgType::Ping, ping()).to_bytes();
    let answer = post(&mut wires, other);
    assert_eq!(code_of(&answer), Some(WireError::EncryptionRequired));
    let task = bob.clear(&wires, 2, MsgType::TaskDelegate, vec![0xa0]);
    let answer = post(&mut wires, task.to_bytes());
    assert_eq!(code_of(&answer), Some(WireError::EncryptionRequired));
    let mut bent = bob.clear(&wires, 3, MsgType::Ping, ping());
    bent.data = vec![0xa0, 0];
    let answer = post(&mut wires, bent.to_bytes());
    assert_eq!(code_of(&answer), Some(WireError::InvalidSignature));
    // Nothing was taken in bob's name for that: the same nonce, rightly signed, is good.
    let right = bob.clear(&wires, 3, MsgType::Ping, ping()).to_bytes();
    assert_eq!(type_of(&post(&mut wires, right)), MsgType::Pong);
    wires.stop(0);
    wires.start(0);
    let again = post(&mut wires, asked);
    assert_eq!(
        code_of(&again),
        Some(WireError::ReplayDetected),
        "a restart forgets no nonce"
    );
}

#[test]
fn a_key_that_was_rotated_away_is_not_taken_in_clear_when_the_entry_has_expired() {
    let now = Now {
        mono: Mono::from_micros(1),
        wall: Wall(1_700_000_000_000),
    };
    let first = keys(90);
    let thief = Stranger::with(&first, Vec::new(), now);
    let allowed = vec![Allowed::Inception(Box::new(thief.identity.inception))];
    let mut wires = alone(WakePolicy::default(), allowed);
    let mut bob = Stranger::with(&rotated(&first), vec![addr(9)], wires.now());
    bob.meet(&mut wires);
    let entity = bob.identity.entity_id;
    assert!(wires.node(0).registry().entry(&entity).is_some());
    wires.run(ENTRY_MAX_LIFE_MS + 60 * SECOND_MS);
    wires.stop(0);
    wires.start(0);
    assert!(wires.node(0).registry().entry(&entity).is_none());
    let said = thief.clear(&wires, 1, MsgType::Ping, ping()).to_bytes();
    assert_eq!(
        code_of(&post(&mut wires, said)),
        Some(WireError::UnknownSender)
    );
}

#[test]
fn a_key_that_a_stranger_gave_up_is_refused_over_http_also_after_a_restart() {
    let now = Now {
        mono: Mono::from_micros(1),
        wall: Wall(1_700_000_000_000),
    };
    let first = keys(90);
    let mut wires = alone(WakePolicy::default(), Vec::new());
    Stranger::with(&first, Vec::new(), now).meet(&mut wires);
    let mut anew = Stranger::with(&rotated(&first), Vec::new(), now);
    anew.rng = Rng::seed_from_u64(91);
    anew.meet(&mut wires);
    for seed in 0..2 {
        let mut thief = Stranger::with(&first, Vec::new(), wires.now());
        thief.rng = Rng::seed_from_u64(seed);
        let (_, m1) = thief.m1(&wires);
        assert_eq!(
            code_of(&post(&mut wires, m1)),
            Some(WireError::InvalidState)
        );
        wires.stop(0);
        wires.start(0);
    }
    let mut right = Stranger::with(&rotated(&first), Vec::new(), wires.now());
    right.rng = Rng::seed_from_u64(7);
    right.meet(&mut wires);
}

#[test]
fn after_a_rotation_of_ours_the_new_key_signs_in_clear_too() {
    let now = Now {
        mono: Mono::from_micros(1),
        wall: Wall(1_700_000_000_000),
    };
    let bob = Stranger::new(90, now);
    let allowed = vec![Allowed::Inception(Box::new(bob.identity.inception))];
    let mut wires = alone(WakePolicy::default(), allowed);
    let identity = rotated(&keys(0)).identity();
    wires.hosts[0].identity = identity.clone();
    let rotated = Command::KeyRotated(Box::new(identity.clone()));
    assert!(wires.ask(0, rotated).is_ok());
    let asked = bob.clear(&wires, 1, MsgType::Ping, ping());
    let answer = post(&mut wires, asked.to_bytes());
    let (answer, _) = Envelope::from_bytes(&answer).expect("an envelope");
    let parts: [&[u8]; 3] = [&asked.digest(), &answer.header, &answer.data];
    let check = SigCheck {
        key: identity.key().public(),
        purpose: "clear answer",
        digest: hash("clear answer", &parts),
        signature: answer.signature.expect("signed"),
    };
    assert!(check.verify());
}

#[test]
fn what_a_clear_message_asks_for_waits_until_its_nonce_is_durable() {
    let now = Now {
        mono: Mono::from_micros(1),
        wall: Wall(1_700_000_000_000),
    };
    let bob = Stranger::new(90, now);
    let wake = WakePolicy {
        hook: true,
        ..WakePolicy::default()
    };
    let mut wires = alone(
        wake,
        vec![Allowed::Inception(Box::new(bob.identity.inception))],
    );
    wires.hosts[0].disk_waits = true;
    let body = cbor::encode(&WakeUp {
        nonce: Nonce([4; 32]),
        reason: "work".into(),
        priority: None,
        request: None,
    });
    let asked = bob.clear(&wires, 1, MsgType::WakeUp, body).to_bytes();
    let id = wires.command(0, Command::Envelope(asked));
    assert!(wires.reply(0, id).is_none() && wires.hosts[0].hooks.is_empty());
    wires.flush(0);
    assert!(matches!(wires.reply(0, id), Some(Ok(Reply::Envelope(_)))));
    assert_eq!(wires.hosts[0].hooks.len(), 1);
}

#[test]
fn a_peer_on_the_network_that_offers_1_1_is_not_answered_in_clear_even_if_allowed() {
    let configs = vec![config(0, None, 0), config(1, Some(0), 0)];
    let probe = Wires::new(configs.clone());
    let peer = probe.hosts[1].identity.entity_id;
    let mut configs = configs;
    configs[0].allow_v1_0 = vec![Allowed::Entity(peer)];
    let mut wires = Wires::new(configs);
    wires.run(3 * SECOND_MS);
    assert!(wires.have_session(0, 1));
    let mut downgraded = Stranger::new(90, wires.now());
    downgraded.identity = wires.hosts[1].identity.clone();
    let asked = downgraded
        .clear(&wires, 1, MsgType::Ping, ping())
        .to_bytes();
    let answer = wires.request(1, 0, asked.clone()).expect("answered");
    assert_eq!(code_of(&answer), Some(WireError::EncryptionRequired));
    assert_eq!(
        code_of(&post(&mut wires, asked)),
        Some(WireError::EncryptionRequired)
    );
}

#[test]
fn version_1_0_is_answered_on_an_exchange_too_and_once_on_whichever_way() {
    let now = Now {
        mono: Mono::from_micros(1),
        wall: Wall(1_700_000_000_000),
    };
    let bob = Stranger::new(90, now);
    let allowed = vec![Allowed::Inception(Box::new(bob.identity.inception))];
    let first = NodeConfig {
        allow_v1_0: allowed,
        ..config(0, None, 0)
    };
    let mut wires = Wires::new(vec![first, config(1, None, 0)]);
    let asked = bob.clear(&wires, 1, MsgType::Ping, ping()).to_bytes();
    let answer = wires.request(1, 0, asked.clone()).expect("answered");
    assert_eq!(type_of(&answer), MsgType::Pong);
    assert_eq!(
        code_of(&post(&mut wires, asked)),
        Some(WireError::ReplayDetected)
    );
}

#[test]
fn a_peer_that_refuses_is_quoted_and_one_that_is_away_is_not() {
    let mut wires = pair();
    for _ in 0..20 {
        // Enough of these and node 0 is banned at node 1.
        wires.request(0, 1, vec![0xff]);
    }
    let refused = wires.command(0, Command::Ping(name_of(1)));
    wires.run(15 * SECOND_MS);
    let error = wires.reply(0, refused).expect("answered").expect_err("no");
    assert_eq!(error.code, CommandErrorCode::PeerRefused);
    assert_eq!(error.peer_code, Some(WireError::NotAllowed));
    wires.stop(1);
    let away = wires.command(0, Command::Ping(name_of(1)));
    wires.run(30 * SECOND_MS);
    let error = wires.reply(0, away).expect("answered").expect_err("no");
    assert_eq!(
        (error.code, error.peer_code),
        (CommandErrorCode::Unreachable, None)
    );
}
