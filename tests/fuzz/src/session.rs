//! Two session machines, and between them somebody who delivers, delays, repeats, bends and splices
//! what they say, under a script of bytes.
//!
//! - Neither panics, and their own invariants (`Sessions::check`) hold after every step.
//! - Nothing opens that the other side did not seal, as what it was sealed, and nothing opens twice.
//! - A live session is with the other side's entity, whatever came over whosoever's connection.
//! - Once the attacker is gone and its traces have expired, an honest handshake succeeds and a
//!   message arrives.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use junto::crypto::{Identity, Rng, Seeds, SigCheck};
use junto::proto::session::{
    AckOutcome, EpochLimits, HandshakeOutcome, Opened, SealedRef, SessionConfig, Sessions, Ticket,
    parse,
};
use junto::types::{EntityId, Mono, Nonce, Now, PeerId, SessionId, Wall};
use junto::wire::{
    EntryBody, Envelope, MsgType, PROTOCOL_VERSION, PeerBinding, SignedEntry, WireError, cbor,
};
use rand::{RngExt as _, SeedableRng as _};

const POOL_MAX: usize = 48;
const STEPS_MAX: usize = 200;
const LIFE_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;

/// Small, so that a script of two hundred steps reaches the next one.
const EPOCHS: EpochLimits = EpochLimits {
    records: 3,
    bytes: 4_096,
    age_ms: 20_000,
};

/// Two who talk and one who only has an identity.
fn identities() -> &'static [Identity; 3] {
    static MADE: OnceLock<[Identity; 3]> = OnceLock::new();
    MADE.get_or_init(|| {
        [1, 2, 3].map(|seed| Identity::from_seeds(&Seeds::generate(&mut Rng::seed_from_u64(seed))))
    })
}

fn entry(identity: &Identity, issued: Wall) -> Vec<u8> {
    let body = EntryBody {
        entity_id: identity.entity_id,
        inception: identity.inception.to_bytes(),
        rotations: Vec::new(),
        key: identity.key().public(),
        seq: 1,
        issued,
        expires: Wall(issued.0 + 24 * HOUR_MS),
        name: "a".parse().expect("a name"),
        capabilities: Vec::new(),
        labels: Vec::new(),
        addresses: Vec::new(),
        peers: vec![PeerBinding {
            peer_id: identity.peer_id,
            signature: identity.binding,
        }],
        versions: vec![PROTOCOL_VERSION.into()],
    };
    SignedEntry::sign(&body, identity.key()).to_bytes()
}

enum Waiting {
    M1(Ticket, Vec<SigCheck>),
    M2(Ticket, Vec<SigCheck>),
}

struct Side {
    identity: &'static Identity,
    sessions: Sessions,
    entry: Vec<u8>,
    rng: Rng,
    /// Our handshakes, the newest last.
    began: Vec<SessionId>,
    waiting: Vec<Waiting>,
    asked: Vec<SealedRef>,
    /// Requests that were opened and not answered.
    to_answer: Vec<SealedRef>,
}

impl Side {
    fn new(identity: &'static Identity, seed: u64, now: Now) -> Side {
        Side {
            identity,
            sessions: fresh(identity),
            entry: entry(identity, now.wall),
            rng: Rng::seed_from_u64(seed),
            began: Vec::new(),
            waiting: Vec::new(),
            asked: Vec::new(),
            to_answer: Vec::new(),
        }
    }

    fn nonce(&mut self) -> Nonce {
        Nonce(self.rng.random())
    }
}

fn fresh(identity: &Identity) -> Sessions {
    Sessions::new(identity).configured(SessionConfig {
        life_ms: LIFE_MS,
        epochs: EPOCHS,
    })
}

/// One body that was sealed.
struct Said {
    by: usize,
    msg_type: MsgType,
    opened: bool,
}

struct World {
    now: Now,
    sides: [Side; 2],
    /// What the attacker has seen or made.
    pool: Vec<Vec<u8>>,
    said: BTreeMap<u64, Said>,
}

struct Script<'a>(std::slice::Iter<'a, u8>);

impl Script<'_> {
    fn byte(&mut self) -> usize {
        self.0.next().copied().map_or(0, usize::from)
    }

    /// One of `items`, if there is any.
    fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        let at = self.byte();
        items.get(at % items.len().max(1)).cloned()
    }
}

/// Runs the script.
pub fn run(data: &[u8]) {
    opened_by(data);
}

/// Runs the script; how many messages opened under it.
pub fn opened_by(data: &[u8]) -> usize {
    let now = Now {
        mono: Mono::from_micros(1),
        wall: Wall(1_700_000_000_000),
    };
    let [a, b, _] = identities();
    let mut world = World {
        now,
        sides: [Side::new(a, 1, now), Side::new(b, 2, now)],
        pool: Vec::new(),
        said: BTreeMap::new(),
    };
    let mut script = Script(data.iter());
    for _ in 0..STEPS_MAX {
        if script.0.len() == 0 {
            break;
        }
        world.step(&mut script);
        world.check();
    }
    let opened = world.said.values().filter(|said| said.opened).count();
    world.all_is_well_at_last();
    opened
}

impl World {
    fn step(&mut self, script: &mut Script<'_>) {
        let what = script.byte();
        let at = what & 1;
        match (what >> 1) % 16 {
            0 => drop(self.initiate(at, script.byte() & 1 == 1)),
            1..=3 => {
                let from = script.byte();
                if let Some(bytes) = script.pick(&self.pool) {
                    self.deliver(at, from, &bytes);
                }
            }
            4 => {
                let from = script.byte();
                self.deliver_newest(at, from);
            }
            5 => self.verdict(at, script.byte()),
            6 | 7 => self.ask(at),
            8 => self.answer(at, script),
            9 => self.bend(script),
            10 => self.splice(script),
            11 => self.pass_time([1, 1_000, 2_000, 10_000, 30_000, 60_000][script.byte() % 6]),
            12 => self.forget(at, script),
            13 => {
                let nonce = self.sides[at].nonce();
                let error = self.sides[at]
                    .sessions
                    .error(WireError::Busy, self.now, nonce);
                self.put(error);
            }
            14 => self.sides[at].sessions.tick(self.now),
            _ => self.restart(at, script.byte()),
        }
    }

    fn put(&mut self, message: Vec<u8>) {
        if self.pool.len() == POOL_MAX {
            self.pool.remove(0);
        }
        self.pool.push(message);
    }

    fn other(&self, at: usize) -> &'static Identity {
        self.sides[1 - at].identity
    }

    fn initiate(&mut self, at: usize, knows: bool) -> Option<()> {
        let other = self.other(at);
        let known = knows.then_some(other.entity_id);
        let side = &mut self.sides[at];
        let (id, m1) =
            side.sessions
                .initiate(other.peer_id, known, &side.entry, self.now, &mut side.rng)?;
        side.began.push(id);
        self.put(m1);
        Some(())
    }

    fn deliver_newest(&mut self, at: usize, from: usize) {
        if let Some(bytes) = self.pool.last().cloned() {
            self.deliver(at, from, &bytes);
        }
    }

    /// `bytes` reach a side over the connection of the other, of itself, or of a third; as a request
    /// or as the response to what it may be one to.
    fn deliver(&mut self, at: usize, from: usize, bytes: &[u8]) {
        let from_peer = match from % 8 {
            6 => self.sides[at].identity.peer_id,
            7 => identities()[2].peer_id,
            _ => self.other(at).peer_id,
        };
        let parsed = parse(bytes);
        let msg_type = parsed.as_ref().ok().map(|(_, header)| header.msg_type);
        match (msg_type, from & 0x40) {
            (Some(MsgType::HandshakeAck), _) => self.acknowledged(at, from_peer, bytes),
            (Some(MsgType::Ready), 0) => self.ready(at, from_peer, bytes),
            (Some(MsgType::Error), 0) => {
                self.acknowledged(at, from_peer, bytes);
                self.ready(at, from_peer, bytes);
            }
            (_, 0) => {
                if let Ok((envelope, header)) = parsed {
                    self.request(at, from_peer, envelope, header);
                }
            }
            _ => self.response(at, from_peer, bytes),
        }
    }

    fn request(
        &mut self,
        at: usize,
        from: PeerId,
        envelope: Envelope,
        header: junto::wire::Header,
    ) {
        let now = self.now;
        let side = &mut self.sides[at];
        match header.msg_type {
            MsgType::Handshake => match side.sessions.on_handshake(from, envelope, header, now) {
                HandshakeOutcome::Verify { ticket, checks } => {
                    side.waiting.push(Waiting::M1(ticket, checks));
                }
                HandshakeOutcome::Challenge(attempt) => {
                    let error = side.sessions.challenge(&attempt, now, &mut side.rng);
                    self.put(error);
                }
                HandshakeOutcome::Refused(_) => {}
            },
            MsgType::HandshakeConfirm => {
                let nonce = side.nonce();
                let live = side
                    .sessions
                    .on_confirm(from, &envelope, &header, now, nonce);
                if let Ok((info, ready)) = live {
                    assert_eq!((info.peer, info.entity), self.expected(at));
                    self.put(ready);
                }
            }
            _ => {
                let opened = side.sessions.open_request(&from, &envelope, &header, now);
                if let Ok(opened) = opened {
                    side.to_answer.push(opened.reference);
                    self.opened(at, &opened);
                }
            }
        }
    }

    fn acknowledged(&mut self, at: usize, from: PeerId, bytes: &[u8]) {
        for id in self.sides[at].began.clone() {
            let side = &mut self.sides[at];
            match side.sessions.on_ack(from, id, bytes, self.now) {
                AckOutcome::Verify { ticket, checks } => {
                    side.waiting.push(Waiting::M2(ticket, checks));
                }
                AckOutcome::Again(m1) => self.put(m1),
                AckOutcome::Failed(_) | AckOutcome::Stale => {}
            }
        }
    }

    fn ready(&mut self, at: usize, from: PeerId, bytes: &[u8]) {
        let expected = self.expected(at);
        let side = &mut self.sides[at];
        for id in side.began.clone() {
            if let Ok(info) = side.sessions.on_ready(from, id, bytes, self.now) {
                assert_eq!((info.peer, info.entity), expected);
            }
        }
    }

    fn response(&mut self, at: usize, from: PeerId, bytes: &[u8]) {
        let side = &mut self.sides[at];
        for asked in side.asked.clone() {
            if let Ok(opened) = side.sessions.open_response(&from, asked, bytes, self.now) {
                side.asked.retain(|one| *one != asked);
                self.opened(at, &opened);
                return;
            }
        }
    }

    fn expected(&self, at: usize) -> (PeerId, EntityId) {
        let other = self.other(at);
        (other.peer_id, other.entity_id)
    }

    /// It must have been said by the other side, as this, and not be known yet.
    fn opened(&mut self, at: usize, opened: &Opened) {
        assert_eq!(opened.entity, self.other(at).entity_id);
        if opened.msg_type == MsgType::Ready {
            return;
        }
        let number: u64 = cbor::decode(&opened.body, 16).expect("we sealed nothing else");
        let said = self.said.get_mut(&number).expect("it was said");
        assert_eq!(said.by, 1 - at, "a message came back to its sender");
        assert_eq!(said.msg_type, opened.msg_type);
        assert!(!said.opened, "a message opened twice");
        said.opened = true;
    }

    /// The verdict on signatures; now and then it is *no* though they hold, never *yes* otherwise.
    fn verdict(&mut self, at: usize, which: usize) {
        let side = &mut self.sides[at];
        if side.waiting.is_empty() {
            return;
        }
        let waiting = side.waiting.remove(which % side.waiting.len());
        let good = |checks: &[SigCheck]| which < 250 && checks.iter().all(SigCheck::verify);
        let made = match waiting {
            Waiting::M1(ticket, checks) => {
                let good = good(&checks);
                let Side {
                    sessions,
                    entry,
                    rng,
                    ..
                } = side;
                sessions
                    .handshake_verified(ticket, good, entry, self.now, rng)
                    .map(|(m2, _)| m2)
                    .ok()
            }
            Waiting::M2(ticket, checks) => {
                let (good, nonce) = (good(&checks), side.nonce());
                side.sessions
                    .ack_verified(ticket, good, self.now, nonce)
                    .map(|confirmed| confirmed.m3)
                    .ok()
            }
        };
        if let Some(message) = made {
            self.put(message);
        }
    }

    fn say(&mut self, by: usize, msg_type: MsgType) -> Vec<u8> {
        let number = self.said.len() as u64;
        let said = Said {
            by,
            msg_type,
            opened: false,
        };
        self.said.insert(number, said);
        cbor::encode(&number)
    }

    fn ask(&mut self, at: usize) {
        let other = self.other(at).peer_id;
        let body = self.say(at, MsgType::Ping);
        let side = &mut self.sides[at];
        let nonce = side.nonce();
        let sealed = side
            .sessions
            .seal_request(&other, MsgType::Ping, &body, self.now, nonce);
        if let Some((bytes, asked)) = sealed {
            side.asked.push(asked);
            self.put(bytes);
        }
    }

    fn answer(&mut self, at: usize, script: &mut Script<'_>) {
        let waiting = &mut self.sides[at].to_answer;
        if waiting.is_empty() {
            return;
        }
        let to = waiting.remove(script.byte() % waiting.len());
        let body = self.say(at, MsgType::Pong);
        let side = &mut self.sides[at];
        let nonce = side.nonce();
        let sealed = side
            .sessions
            .seal_response(to, MsgType::Pong, &body, self.now, nonce);
        if let Some(bytes) = sealed {
            self.put(bytes);
        }
    }

    fn bend(&mut self, script: &mut Script<'_>) {
        let bytes = script.pick(&self.pool);
        let Some(mut bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        let at = (script.byte() << 8 | script.byte()) % bytes.len();
        match script.byte() {
            0 => bytes.truncate(at),
            change => bytes[at] ^= change as u8,
        }
        self.put(bytes);
    }

    /// The parts of one message in another's place.
    fn splice(&mut self, script: &mut Script<'_>) {
        let (Some(one), Some(other)) = (script.pick(&self.pool), script.pick(&self.pool)) else {
            return;
        };
        let which = script.byte();
        let (Ok((mut one, _)), Ok((other, _))) = (parse(&one), parse(&other)) else {
            return;
        };
        if which & 1 == 1 {
            one.header = other.header;
        }
        if which & 2 == 2 {
            one.data = other.data;
        }
        if which & 4 == 4 {
            one.signature = other.signature;
        }
        if which & 8 == 8 {
            one.tag = other.tag;
        }
        self.put(one.to_bytes());
    }

    fn pass_time(&mut self, ms: u64) {
        self.now.mono = self.now.mono + ms;
        self.now.wall = Wall(self.now.wall.0 + ms);
    }

    fn forget(&mut self, at: usize, script: &mut Script<'_>) {
        let other = self.other(at).peer_id;
        let side = &mut self.sides[at];
        match script.byte() % 5 {
            0 => side.sessions.forget_newest(&other),
            1 => side.sessions.forget_all(&other),
            2 => {
                if let Some(asked) = side.asked.last() {
                    side.sessions.forget(&other, asked.session);
                }
            }
            3 => drop(side.sessions.wanting_acknowledgement(self.now.mono)),
            _ => {
                if let Some(id) = side.began.last() {
                    side.sessions.abandon(&other, *id);
                }
            }
        }
    }

    fn restart(&mut self, at: usize, how: usize) {
        // Rarely: a session must grow older than a few steps.
        if how < 32 {
            self.sides[at].sessions = fresh(self.sides[at].identity);
            self.sides[at].waiting.clear();
        }
    }

    fn check(&self) {
        for (at, side) in self.sides.iter().enumerate() {
            side.sessions.check().expect("an invariant");
            for info in side.sessions.peers() {
                assert_eq!((info.peer, info.entity), self.expected(at));
            }
        }
    }

    /// An honest handshake.
    fn shake(&mut self) {
        self.initiate(0, true).expect("no handshake is under way");
        for at in [1, 0] {
            self.deliver_newest(at, 0);
            self.verdict(at, 0);
        }
        self.deliver_newest(1, 0);
        self.deliver_newest(0, 0);
    }

    /// Time passes, and then the two shake hands and talk.
    fn all_is_well_at_last(&mut self) {
        for _ in 0..20 {
            self.pass_time(LIFE_MS);
            for side in &mut self.sides {
                side.sessions.tick(self.now);
            }
        }
        for side in &mut self.sides {
            side.entry = entry(side.identity, self.now.wall);
            side.waiting.clear();
            assert!(side.sessions.is_empty(), "a session outlived its time");
        }
        self.shake();
        let before = self.said.len() as u64;
        for at in [0, 1] {
            self.ask(at);
            self.deliver_newest(1 - at, 0);
        }
        for number in [before, before + 1] {
            assert!(
                self.said[&number].opened,
                "an honest message did not arrive"
            );
        }
        self.check();
    }
}

/// Two with a live session, each with the other's PeerId.
pub fn shaken() -> [(Sessions, PeerId); 2] {
    let now = Now {
        mono: Mono::from_micros(1),
        wall: Wall(1_700_000_000_000),
    };
    let [a, b, _] = identities();
    let mut world = World {
        now,
        sides: [Side::new(a, 1, now), Side::new(b, 2, now)],
        pool: Vec::new(),
        said: BTreeMap::new(),
    };
    world.shake();
    let [first, second] = world.sides;
    [(first.sessions, b.peer_id), (second.sessions, a.peer_id)]
}

/// Scripts that get far: a handshake and messages, both initiate, renewal through several epochs.
pub fn samples() -> Vec<Vec<u8>> {
    const INITIATE: u8 = 0;
    const NEWEST: u8 = 4 << 1;
    const VERDICT: u8 = 5 << 1;
    const ASK: u8 = 6 << 1;
    const ANSWER: u8 = 8 << 1;
    const TIME: u8 = 11 << 1;
    let handshake = |a: u8| {
        let b = 1 - a;
        let m1 = [INITIATE | a, 1, NEWEST | b, 0, VERDICT | b, 0];
        let m2 = [NEWEST | a, 0, VERDICT | a, 0];
        [&m1[..], &m2, &[NEWEST | b, 0, NEWEST | a, 0]].concat()
    };
    // The response reaches its asker as such: 0x40.
    let talk = |a: u8| {
        let b = 1 - a;
        vec![ASK | a, NEWEST | b, 0, ANSWER | b, 0, NEWEST | a, 0x40]
    };
    let epochs: Vec<u8> = (0..12).flat_map(|n| talk(n & 1)).collect();
    let aged = [TIME, 4];
    vec![
        handshake(0),
        handshake(1),
        [handshake(0), talk(0), talk(1)].concat(),
        [handshake(0), epochs.clone(), aged.to_vec(), epochs].concat(),
        [handshake(0), handshake(1), talk(0), talk(1)].concat(),
        [&[INITIATE, 1, INITIATE | 1, 1][..], &handshake(0)].concat(),
    ]
}
