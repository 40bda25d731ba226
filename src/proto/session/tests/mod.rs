//! Two sides of a session, by hand: what must succeed, and everything that must not.

mod channel;
mod known;
mod load;
mod machine;
mod negotiation;
mod streams;

use proptest::prelude::*;
use rand::SeedableRng;

use super::*;
use crate::crypto::{Rng, Seeds, SigCheck};
use crate::proto::Step;
use crate::proto::registry::{Announcement, Registry};
use crate::types::limits::{
    CLOCK_SKEW_MAX_MS, HALF_OPEN_PER_PEER_MAX, HANDSHAKE_TIMEOUT_MS, SESSION_LIFE_MS,
};
use crate::types::{BatchId, Mono, Multiaddr, Nonce, Now, Wall, WriteBatch};
use crate::wire::{Envelope, Header, MsgType, PROTOCOL_VERSION, WireError, cbor};

struct Side {
    sessions: Sessions,
    peer: PeerId,
    entity: EntityId,
    identity: Identity,
    entry: Vec<u8>,
    rng: Rng,
    now: Now,
    /// The last challenge it answered with.
    challenge: Option<Vec<u8>>,
    /// Takes the signatures of handshakes for good.
    trusts: bool,
}

fn side(seed: u64) -> Side {
    let mut rng = Rng::seed_from_u64(seed);
    let identity = Identity::from_seeds(&Seeds::generate(&mut rng));
    let now = Now {
        mono: Mono::from_micros(1),
        wall: Wall(1_700_000_000_000),
    };
    Side {
        sessions: Sessions::new(&identity),
        peer: identity.peer_id,
        entity: identity.entity_id,
        entry: entry(now, &identity, &mut rng),
        identity,
        rng,
        now,
        challenge: None,
        trusts: false,
    }
}

/// What `identity` says of itself now.
fn entry(now: Now, identity: &Identity, rng: &mut Rng) -> Vec<u8> {
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
        now,
        rng,
        batch: BatchId(1),
        writes: &mut writes,
    });
    registry.own().expect("issued").0.bytes.clone()
}

fn pair() -> (Side, Side) {
    (side(1), side(2))
}

fn all_good(checks: &[SigCheck]) -> bool {
    checks.iter().all(SigCheck::verify)
}

impl Side {
    fn nonce(&mut self) -> Nonce {
        use rand::RngExt as _;
        Nonce(self.rng.random())
    }

    fn m1(&mut self, to: &Side) -> (SessionId, Vec<u8>) {
        self.sessions
            .initiate(to.peer, None, &self.entry.clone(), self.now, &mut self.rng)
            .expect("none is under way")
    }

    fn on_m1(&mut self, from: PeerId, bytes: &[u8]) -> Result<Vec<u8>, WireError> {
        let (envelope, header) = parse(bytes)?;
        match self.sessions.on_handshake(from, envelope, header, self.now) {
            HandshakeOutcome::Refused(code) => Err(code),
            HandshakeOutcome::Challenge(attempt) => {
                let challenge = self.sessions.challenge(&attempt, self.now, &mut self.rng);
                self.challenge = Some(challenge);
                Err(WireError::Busy)
            }
            HandshakeOutcome::Verify { ticket, checks } => self
                .sessions
                .handshake_verified(
                    ticket,
                    self.trusts || all_good(&checks),
                    &self.entry.clone(),
                    self.now,
                    &mut self.rng,
                )
                .map(|(m2, _)| m2)
                .map_err(|code| code.expect("somebody waits")),
        }
    }

    fn on_m2(&mut self, from: PeerId, id: SessionId, bytes: &[u8]) -> Result<Vec<u8>, WireError> {
        let nonce = self.nonce();
        match self.sessions.on_ack(from, id, bytes, self.now) {
            AckOutcome::Failed(code) => Err(code),
            AckOutcome::Again(_) => Err(WireError::Busy),
            AckOutcome::Stale => Err(WireError::InvalidState),
            AckOutcome::Verify { ticket, checks } => self
                .sessions
                .ack_verified(ticket, all_good(&checks), self.now, nonce)
                .map(|confirmed| confirmed.m3)
                .map_err(|error| error.expect("it is ours").code),
        }
    }

    fn on_m3(&mut self, from: PeerId, bytes: &[u8]) -> Result<Vec<u8>, WireError> {
        let nonce = self.nonce();
        let (envelope, header) = parse(bytes)?;
        self.sessions
            .on_confirm(from, &envelope, &header, self.now, nonce)
            .map(|(_, ready)| ready)
    }

    fn seal(&mut self, to: PeerId, body: &[u8]) -> (Vec<u8>, SealedRef) {
        let nonce = self.nonce();
        self.sessions
            .seal_request(&to, MsgType::Ping, body, self.now, nonce)
            .expect("a live session")
    }

    fn open(&mut self, from: PeerId, bytes: &[u8]) -> Result<Opened, WireError> {
        let (envelope, header) = parse(bytes)?;
        self.sessions
            .open_request(&from, &envelope, &header, self.now)
    }
}

/// A whole handshake, `a` the initiator.
fn shake(a: &mut Side, b: &mut Side) {
    let (id, m1) = a.m1(b);
    let m2 = b.on_m1(a.peer, &m1).expect("an honest M1");
    let m3 = a.on_m2(b.peer, id, &m2).expect("an honest M2");
    let ready = b.on_m3(a.peer, &m3).expect("an honest M3");
    a.sessions
        .on_ready(b.peer, id, &ready, a.now)
        .expect("an honest ready");
}

#[test]
fn after_three_messages_both_sides_talk_and_know_each_other() {
    let (mut a, mut b) = pair();
    shake(&mut a, &mut b);
    let (sealed, reference) = a.seal(b.peer, b"hello");
    let opened = b.open(a.peer, &sealed).expect("sealed by a");
    assert_eq!((opened.entity, &opened.body[..]), (a.entity, &b"hello"[..]));
    let nonce = b.nonce();
    let response = b
        .sessions
        .seal_response(opened.reference, MsgType::Pong, b"there", b.now, nonce)
        .expect("live");
    let answer = a
        .sessions
        .open_response(&b.peer, reference, &response, a.now)
        .expect("sealed");
    assert_eq!((answer.entity, &answer.body[..]), (b.entity, &b"there"[..]));
    a.sessions.check().expect("invariants");
    b.sessions.check().expect("invariants");
}

#[test]
fn a_message_opens_once_and_in_any_order() {
    let (mut a, mut b) = pair();
    shake(&mut a, &mut b);
    let first = a.seal(b.peer, b"1").0;
    let second = a.seal(b.peer, b"2").0;
    assert_eq!(b.open(a.peer, &second).expect("early").body, b"2");
    assert_eq!(b.open(a.peer, &first).expect("late").body, b"1");
    assert_eq!(b.open(a.peer, &first), Err(WireError::ReplayDetected));
    assert_eq!(b.open(a.peer, &second), Err(WireError::ReplayDetected));
}

#[test]
fn a_message_of_another_peer_or_direction_does_not_open() {
    let (mut a, mut b) = pair();
    shake(&mut a, &mut b);
    let sealed = a.seal(b.peer, b"x").0;
    let stranger = side(3).peer;
    assert_eq!(b.open(stranger, &sealed), Err(WireError::SessionNotFound));
    // Reflected to its own sender: addressed to somebody else.
    assert_eq!(a.open(b.peer, &sealed), Err(WireError::WrongRecipient));
    assert!(b.open(a.peer, &sealed).is_ok());
}

#[test]
fn the_responder_is_not_live_before_m3() {
    let (mut a, mut b) = pair();
    let (_, m1) = a.m1(&b);
    b.on_m1(a.peer, &m1).expect("an honest M1");
    assert!(b.sessions.with(&a.peer).is_none());
    assert!(b.sessions.is_empty());
}

#[test]
fn a_replayed_handshake_is_refused() {
    let (mut a, mut b) = pair();
    let (_, m1) = a.m1(&b);
    b.on_m1(a.peer, &m1).expect("the first time");
    assert_eq!(b.on_m1(a.peer, &m1), Err(WireError::ReplayDetected));
}

#[test]
fn a_handshake_for_somebody_else_or_from_another_connection_is_refused() {
    let (mut a, mut b) = pair();
    let mut c = side(3);
    let (_, m1) = a.m1(&c);
    assert_eq!(b.on_m1(a.peer, &m1), Err(WireError::WrongRecipient));
    // C forwards A's M1 over its own connection: the entry does not name C's peer id.
    let (_, m1) = a.m1(&b);
    assert_eq!(b.on_m1(c.peer, &m1), Err(WireError::UnknownSender));
    assert!(c.sessions.is_empty() && c.on_m1(b.peer, &m1).is_err());
}

#[test]
fn an_old_or_future_handshake_is_refused() {
    let (mut a, mut b) = pair();
    let (_, m1) = a.m1(&b);
    b.now.wall = Wall(a.now.wall.0 + CLOCK_SKEW_MAX_MS + 1);
    assert_eq!(b.on_m1(a.peer, &m1), Err(WireError::HandshakeTimeout));
    b.now.wall = Wall(a.now.wall.0 - CLOCK_SKEW_MAX_MS - 1);
    assert_eq!(b.on_m1(a.peer, &m1), Err(WireError::HandshakeTimeout));
}

#[test]
fn of_two_handshakes_at_once_the_lower_entitys_wins() {
    let (mut a, mut b) = pair();
    if b.entity < a.entity {
        std::mem::swap(&mut a, &mut b);
    }
    let (id, m1_of_a) = a.m1(&b);
    let (_, m1_of_b) = b.m1(&a);
    assert_eq!(a.on_m1(b.peer, &m1_of_b), Err(WireError::InvalidState));
    let m2 = b.on_m1(a.peer, &m1_of_a).expect("the lower wins");
    assert!(!b.sessions.is_opening(&a.peer));
    let m3 = a.on_m2(b.peer, id, &m2).expect("an honest M2");
    b.on_m3(a.peer, &m3).expect("an honest M3");
}

#[test]
fn half_open_handshakes_of_one_peer_are_bounded_and_time_out() {
    let (mut a, mut b) = pair();
    for _ in 0..HALF_OPEN_PER_PEER_MAX {
        let (id, m1) = a.m1(&b);
        b.on_m1(a.peer, &m1).expect("within the bound");
        a.sessions.abandon(&b.peer, id);
    }
    // One more takes the place of the oldest, which is its own.
    let (_, m1) = a.m1(&b);
    assert!(b.on_m1(a.peer, &m1).is_ok());
    assert_eq!(b.sessions.half_open.len(), HALF_OPEN_PER_PEER_MAX);
    b.now.mono = b.now.mono + HANDSHAKE_TIMEOUT_MS;
    b.sessions.tick(b.now);
    assert_eq!(b.sessions.half_open.len(), 0);
}

#[test]
fn m3_twice_or_for_no_handshake_is_refused_and_harms_nothing() {
    let (mut a, mut b) = pair();
    let (id, m1) = a.m1(&b);
    let m2 = b.on_m1(a.peer, &m1).expect("an honest M1");
    let m3 = a.on_m2(b.peer, id, &m2).expect("an honest M2");
    let ready = b.on_m3(a.peer, &m3).expect("the first M3");
    assert_eq!(b.on_m3(a.peer, &m3), Err(WireError::SessionNotFound));
    a.sessions
        .on_ready(b.peer, id, &ready, a.now)
        .expect("still good");
    let sealed = a.seal(b.peer, b"x").0;
    assert!(b.open(a.peer, &sealed).is_ok());
}

#[test]
fn a_message_that_overtakes_the_ready_makes_the_session_live() {
    let (mut a, mut b) = pair();
    let (id, m1) = a.m1(&b);
    let m2 = b.on_m1(a.peer, &m1).expect("an honest M1");
    let m3 = a.on_m2(b.peer, id, &m2).expect("an honest M2");
    let ready = b.on_m3(a.peer, &m3).expect("an honest M3");
    let early = b.seal(a.peer, b"early").0;
    let opened = a.open(b.peer, &early).expect("it proves that M3 arrived");
    assert_eq!(opened.established.map(|info| info.entity), Some(b.entity));
    // The ready finds its work done.
    assert_eq!(a.sessions.on_ready(b.peer, id, &ready, a.now), Err(None));
    let sealed = a.seal(b.peer, b"x").0;
    assert!(b.open(a.peer, &sealed).is_ok());
}

#[test]
fn forgetting_one_session_leaves_its_successor_and_a_handshake_under_way() {
    let (mut a, mut b) = pair();
    shake(&mut a, &mut b);
    let old = a.seal(b.peer, b"x").1.session;
    shake(&mut a, &mut b);
    let (id, m1) = a.m1(&b);
    a.sessions.forget(&b.peer, old);
    assert!(a.sessions.with(&b.peer).is_some());
    let m2 = b.on_m1(a.peer, &m1).expect("an honest M1");
    assert!(a.on_m2(b.peer, id, &m2).is_ok());
}

#[test]
fn an_expired_session_seals_and_opens_nothing() {
    let (mut a, mut b) = pair();
    shake(&mut a, &mut b);
    let sealed = a.seal(b.peer, b"x").0;
    b.now.mono = b.now.mono + SESSION_LIFE_MS;
    assert_eq!(b.open(a.peer, &sealed), Err(WireError::SessionExpired));
    b.sessions.tick(b.now);
    assert!(b.sessions.is_empty());
}

#[test]
fn a_new_session_replaces_the_old_which_opens_what_was_under_way() {
    let (mut a, mut b) = pair();
    shake(&mut a, &mut b);
    let under_way = a.seal(b.peer, b"old").0;
    shake(&mut a, &mut b);
    assert_eq!(
        b.open(a.peer, &under_way).expect("still opens").body,
        b"old"
    );
    let fresh = a.seal(b.peer, b"new").0;
    assert_eq!(b.open(a.peer, &fresh).expect("the new one").body, b"new");
    assert_eq!(a.sessions.len(), 1);
}

#[test]
fn every_bent_bit_of_a_sealed_message_is_refused_and_the_message_still_opens() {
    let (mut a, mut b) = pair();
    shake(&mut a, &mut b);
    let sealed = a.seal(b.peer, b"precious").0;
    for at in 0..sealed.len() {
        let mut bent = sealed.clone();
        bent[at] ^= 1 << (at % 8);
        assert!(b.open(a.peer, &bent).is_err(), "byte {at}");
    }
    assert_eq!(b.open(a.peer, &sealed).expect("unharmed").body, b"precious");
    b.sessions.check().expect("invariants");
}

#[test]
fn a_session_lives_as_long_as_it_is_configured_and_is_replaced_before() {
    let (mut a, mut b) = pair();
    let life_ms = 60_000;
    let config = SessionConfig {
        life_ms,
        ..SessionConfig::default()
    };
    a.sessions = a.sessions.configured(config);
    b.sessions = b.sessions.configured(config);
    shake(&mut a, &mut b);
    let at = |ms: u64| Mono::from_micros(1) + ms;
    assert!(!a.sessions.wants_renewal(&b.peer, at(49_999)));
    assert!(a.sessions.wants_renewal(&b.peer, at(50_000)), "five sixths");
    assert!(!b.sessions.wants_renewal(&a.peer, at(54_999)));
    assert!(
        b.sessions.wants_renewal(&a.peer, at(55_000)),
        "the initiator has not"
    );
    let sealed = a.seal(b.peer, b"x").0;
    b.now.mono = at(life_ms);
    assert_eq!(b.open(a.peer, &sealed), Err(WireError::SessionExpired));
}

/// `a` asks and `b` answers; the epochs that the two sealed in.
fn ask(a: &mut Side, b: &mut Side) -> (u32, u32) {
    let (request, asked) = a.seal(b.peer, b"?");
    let opened = b.open(a.peer, &request).expect("sealed by a");
    let nonce = b.nonce();
    let response = b
        .sessions
        .seal_response(opened.reference, MsgType::Pong, b"!", b.now, nonce)
        .expect("live");
    a.sessions
        .open_response(&b.peer, asked, &response, a.now)
        .expect("sealed by b");
    let epoch = |bytes: &[u8]| parse(bytes).expect("well formed").1.epoch.expect("sealed");
    (epoch(&request), epoch(&response))
}

fn short_epochs(side: &mut Side) {
    let epochs = EpochLimits {
        records: 4,
        ..EpochLimits::default()
    };
    side.sessions.config.epochs = epochs;
}

#[test]
fn who_asks_goes_from_epoch_to_epoch_and_who_only_answers_is_to_ask_something() {
    let (mut a, mut b) = pair();
    short_epochs(&mut a);
    short_epochs(&mut b);
    shake(&mut a, &mut b);
    let epochs: Vec<_> = (0..12).map(|_| ask(&mut a, &mut b)).collect();
    assert_eq!(epochs[11], (2, 0), "nothing of the answers is acknowledged");
    assert_eq!(b.sessions.wanting_acknowledgement(b.now.mono), [a.peer]);
    assert_eq!(b.sessions.wanting_acknowledgement(b.now.mono), [], "asked");
    ask(&mut b, &mut a);
    assert_eq!(ask(&mut a, &mut b).1, 1);
    assert!(a.sessions.wanting_acknowledgement(a.now.mono).is_empty());
    a.sessions.check().expect("invariants");
    b.sessions.check().expect("invariants");
}

#[test]
fn a_message_of_the_epoch_before_opens_late_and_only_once() {
    let (mut a, mut b) = pair();
    short_epochs(&mut a);
    shake(&mut a, &mut b);
    let late = a.seal(b.peer, b"late").0;
    for _ in 0..4 {
        ask(&mut a, &mut b);
    }
    assert_eq!(ask(&mut a, &mut b).0, 1);
    assert_eq!(b.open(a.peer, &late).expect("of epoch 0").body, b"late");
    assert_eq!(b.open(a.peer, &late), Err(WireError::ReplayDetected));
}

#[test]
fn a_forged_epoch_is_refused_and_harms_nothing() {
    let (mut a, mut b) = pair();
    shake(&mut a, &mut b);
    let sealed = a.seal(b.peer, b"x").0;
    let (envelope, header) = parse(&sealed).expect("well formed");
    for (epoch, code) in [
        (1, WireError::DecryptionFailed),
        (2, WireError::SequenceError),
        (u32::MAX, WireError::SequenceError),
    ] {
        let header = Header {
            epoch: Some(epoch),
            ..header.clone()
        };
        let forged = Envelope {
            header: cbor::encode(&header),
            ..envelope.clone()
        };
        for _ in 0..100 {
            assert_eq!(b.open(a.peer, &forged.to_bytes()), Err(code));
        }
    }
    assert!(b.open(a.peer, &sealed).is_ok());
}

#[test]
fn a_session_that_is_never_answered_wears_out() {
    let (mut a, mut b) = pair();
    short_epochs(&mut a);
    shake(&mut a, &mut b);
    for _ in 0..4 * 16 {
        a.seal(b.peer, b"x");
    }
    let nonce = a.nonce();
    let worn = a
        .sessions
        .seal_request(&b.peer, MsgType::Ping, b"x", a.now, nonce);
    assert!(worn.is_none(), "L3");
}

#[test]
fn a_million_corrupt_frames_do_not_keep_a_good_one_back() {
    let (mut a, mut b) = pair();
    shake(&mut a, &mut b);
    let sealed = a.seal(b.peer, b"good").0;
    let (good, of_good) = parse(&sealed).expect("well formed");
    let (mut envelope, mut header) = (good.clone(), of_good.clone());
    for n in 0..1_000_000_u64 {
        // What comes is corrupt, or claims another number or epoch.
        let at = n as usize % envelope.data.len();
        envelope.data[at] ^= 1 << (n % 8);
        header.sequence_num = Some(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (n % 64));
        header.epoch = Some((n % 4) as u32);
        let opened = b.sessions.open_request(&a.peer, &envelope, &header, b.now);
        assert!(opened.is_err());
        envelope.data[at] = good.data[at];
    }
    b.sessions.check().expect("invariants");
    let opened = b.sessions.open_request(&a.peer, &good, &of_good, b.now);
    assert_eq!(opened.expect("unharmed").body, b"good");
}

#[test]
fn numbers_open_up_to_the_last_but_one_and_within_the_window_only() {
    let (mut a, mut b) = pair();
    shake(&mut a, &mut b);
    let sealed_as = |a: &mut Side, seq: u64| {
        let id = a.sessions.newest[&b.peer];
        let live = a.sessions.live.get_mut(&id).expect("live");
        live.next_seq = seq;
        a.seal(b.peer, b"x").0
    };
    let (window, last) = (crate::types::limits::REPLAY_WINDOW, u64::MAX - 1);
    let edges = [0, 1, window, window - 1, window + 1, last - window, last].map(|seq| {
        let sealed = sealed_as(&mut a, seq);
        (seq, sealed)
    });
    let [zero, one, at, before, after, low, top] = edges;
    let mut open = |(_, sealed): &(u64, Vec<u8>)| b.open(a.peer, sealed).map(|_| ());
    assert_eq!(open(&zero), Ok(()));
    assert_eq!(open(&zero), Err(WireError::ReplayDetected));
    assert_eq!(open(&at), Ok(()), "as far ahead as it likes");
    assert_eq!(open(&one), Ok(()), "the last that is within the window");
    assert_eq!(open(&zero), Err(WireError::SequenceError), "out of it now");
    assert_eq!(open(&after), Ok(()));
    assert_eq!(open(&one), Err(WireError::SequenceError));
    assert_eq!(open(&before), Ok(()));
    assert_eq!(open(&top), Ok(()));
    assert_eq!(open(&top), Err(WireError::ReplayDetected));
    assert_eq!(open(&low), Err(WireError::SequenceError));
    // The number after the last is never sealed: the session is over.
    let nonce = a.nonce();
    let none = a
        .sessions
        .seal_request(&b.peer, MsgType::Ping, b"x", a.now, nonce);
    assert!(none.is_none(), "S1");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever is done to one handshake message, no session comes of it.
    #[test]
    fn a_bent_handshake_gives_no_session(which in 1..=3, at: prop::sample::Index, bit in 0u8..8) {
        let bend = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            bytes
        };
        let (mut a, mut b) = pair();
        let (id, m1) = a.m1(&b);
        if which == 1 {
            // A bent M1 may pass for an M1 of its own only where nothing signed was touched.
            prop_assert!(b.on_m1(a.peer, &bend(&m1)).is_err());
            return Ok(());
        }
        let m2 = b.on_m1(a.peer, &m1).expect("an honest M1");
        if which == 2 {
            prop_assert!(a.on_m2(b.peer, id, &bend(&m2)).is_err());
            return Ok(());
        }
        let m3 = a.on_m2(b.peer, id, &m2).expect("an honest M2");
        prop_assert!(b.on_m3(a.peer, &bend(&m3)).is_err());
        prop_assert!(b.sessions.is_empty());
        // And the honest one is still accepted.
        prop_assert!(b.on_m3(a.peer, &m3).is_ok());
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let mut b = side(2);
        let from = side(1).peer;
        prop_assert!(b.on_m1(from, &bytes).is_err());
        prop_assert!(b.open(from, &bytes).is_err());
    }
}
