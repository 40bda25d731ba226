//! Two nodes and a network that loses, repeats and reorders, while either may restart, forget, or
//! begin handshakes: whatever happens, nothing opens twice, every invariant holds, and once the
//! network is good again the two talk.

use std::collections::BTreeSet;

use super::*;

/// What is under way, from which end (0 or 1).
#[derive(Debug, Clone)]
enum Parcel {
    M1(Vec<u8>),
    M2(SessionId, Vec<u8>),
    M3(SessionId, Vec<u8>),
    Ready(SessionId, Vec<u8>),
    /// A sealed request, and what was said.
    Sealed(SealedRef, u64, Vec<u8>),
    /// The answer to one of ours.
    Answer(SealedRef, u64, Vec<u8>),
}

#[derive(Debug, Clone)]
enum Act {
    Begin(usize),
    Say(usize),
    Deliver(prop::sample::Index),
    Repeat(prop::sample::Index),
    Lose(prop::sample::Index),
    Bend(prop::sample::Index, prop::sample::Index),
    Wait(u64),
    Restart(usize),
    Forget(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => (0..2usize).prop_map(Act::Begin),
        8 => (0..2usize).prop_map(Act::Say),
        16 => index().prop_map(Act::Deliver),
        4 => index().prop_map(Act::Repeat),
        2 => index().prop_map(Act::Lose),
        2 => (index(), index()).prop_map(|(which, at)| Act::Bend(which, at)),
        3 => (0..40_000u64).prop_map(Act::Wait),
        1 => (0..2usize).prop_map(Act::Restart),
        1 => (0..2usize).prop_map(Act::Forget),
    ]
}

struct World {
    ends: [Side; 2],
    seeds: [u64; 2],
    under_way: Vec<(usize, Parcel)>,
    said: u64,
    /// Each saying by whether it was an answer: opened at most once.
    heard: BTreeSet<(bool, u64)>,
}

impl World {
    fn new() -> World {
        let mut ends = [side(1), side(2)];
        for end in &mut ends {
            configure(end);
        }
        World {
            ends,
            seeds: [1, 2],
            under_way: Vec::new(),
            said: 0,
            heard: BTreeSet::new(),
        }
    }

    fn other(&self, end: usize) -> PeerId {
        self.ends[1 - end].peer
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Begin(end) => self.begin(end),
            Act::Say(end) => self.say(end),
            Act::Deliver(which) if !self.under_way.is_empty() => {
                let (from, parcel) = self.under_way.remove(which.index(self.under_way.len()));
                self.deliver(1 - from, parcel);
            }
            Act::Repeat(which) if !self.under_way.is_empty() => {
                let (from, parcel) = which.get(&self.under_way).clone();
                self.deliver(1 - from, parcel);
            }
            Act::Lose(which) if !self.under_way.is_empty() => {
                let (from, parcel) = self.under_way.remove(which.index(self.under_way.len()));
                // An exchange that gets no answer ends for who began it.
                if let Parcel::M2(id, _) | Parcel::Ready(id, _) = parcel {
                    let (to, peer) = (1 - from, self.ends[from].peer);
                    self.ends[to].sessions.abandon(&peer, id);
                }
            }
            Act::Bend(which, at) if !self.under_way.is_empty() => {
                let which = which.index(self.under_way.len());
                let (_, parcel) = &mut self.under_way[which];
                let (Parcel::M1(bytes)
                | Parcel::M2(_, bytes)
                | Parcel::M3(_, bytes)
                | Parcel::Ready(_, bytes)
                | Parcel::Sealed(_, _, bytes)
                | Parcel::Answer(_, _, bytes)) = parcel;
                let at = at.index(bytes.len());
                bytes[at] ^= 1;
            }
            Act::Wait(ms) => self.wait(ms),
            Act::Restart(end) => self.restart(end),
            Act::Forget(end) => {
                let peer = self.other(end);
                self.ends[end].sessions.forget_newest(&peer);
            }
            _ => {}
        }
        for end in &self.ends {
            end.sessions.check().expect("every invariant holds");
        }
    }

    fn begin(&mut self, end: usize) {
        let peer = self.other(end);
        let Side {
            sessions,
            entry,
            rng,
            now,
            ..
        } = &mut self.ends[end];
        if let Some((_, m1)) = sessions.initiate(peer, None, entry, *now, rng) {
            self.under_way.push((end, Parcel::M1(m1)));
        }
    }

    fn say(&mut self, end: usize) {
        let (peer, said) = (self.other(end), self.said);
        let side = &mut self.ends[end];
        let nonce = side.nonce();
        let body = said.to_be_bytes();
        let sealed = side
            .sessions
            .seal_request(&peer, MsgType::Ping, &body, side.now, nonce);
        if let Some((bytes, reference)) = sealed {
            self.said += 1;
            self.under_way
                .push((end, Parcel::Sealed(reference, said, bytes)));
        }
    }

    fn hear(&mut self, is_answer: bool, said: u64, body: &[u8]) {
        assert_eq!(body, said.to_be_bytes(), "what opens is what was sealed");
        assert!(
            self.heard.insert((is_answer, said)),
            "S2: {said} opened twice"
        );
    }

    fn deliver(&mut self, to: usize, parcel: Parcel) {
        let from = self.other(to);
        let side = &mut self.ends[to];
        match parcel {
            Parcel::M1(bytes) => {
                if let Ok(m2) = side.on_m1(from, &bytes) {
                    let id = parse(&bytes)
                        .ok()
                        .and_then(|(m1, _)| {
                            cbor::decode::<crate::wire::Handshake>(&m1.data, 8_192).ok()
                        })
                        .expect("it was taken")
                        .session_id;
                    self.under_way.push((to, Parcel::M2(id, m2)));
                }
            }
            Parcel::M2(id, bytes) => {
                if let Ok(m3) = side.on_m2(from, id, &bytes) {
                    self.under_way.push((to, Parcel::M3(id, m3)));
                }
            }
            Parcel::M3(id, bytes) => {
                if let Ok(ready) = side.on_m3(from, &bytes) {
                    self.under_way.push((to, Parcel::Ready(id, ready)));
                }
            }
            Parcel::Ready(id, bytes) => {
                let _ = side.sessions.on_ready(from, id, &bytes, side.now);
            }
            Parcel::Sealed(asked, said, bytes) => {
                if let Ok(opened) = side.open(from, &bytes) {
                    self.hear(false, said, &opened.body);
                    self.answer(to, asked, opened.reference, said);
                }
            }
            Parcel::Answer(asked, said, bytes) => {
                let answer = side.sessions.open_response(&from, asked, &bytes, side.now);
                if let Ok(opened) = answer {
                    self.hear(true, said, &opened.body);
                }
            }
        }
    }

    fn answer(&mut self, end: usize, asked: SealedRef, to: SealedRef, said: u64) {
        let side = &mut self.ends[end];
        let nonce = side.nonce();
        let body = said.to_be_bytes();
        let sealed = side
            .sessions
            .seal_response(to, MsgType::Pong, &body, side.now, nonce);
        if let Some(bytes) = sealed {
            self.under_way
                .push((end, Parcel::Answer(asked, said, bytes)));
        }
    }

    fn wait(&mut self, ms: u64) {
        for end in &mut self.ends {
            end.now.mono = end.now.mono + ms;
            end.now.wall = end.now.wall + ms;
            end.sessions.tick(end.now);
            end.entry = entry(end.now, &end.identity, &mut end.rng);
        }
    }

    /// Keys and numbers are gone; what is under way still arrives.
    fn restart(&mut self, end: usize) {
        self.seeds[end] += 100;
        let side = &mut self.ends[end];
        side.sessions = Sessions::new(&side.identity);
        side.rng = Rng::seed_from_u64(self.seeds[end]);
        configure(side);
    }

    /// The network is good again.
    fn heal(&mut self) {
        self.under_way.clear();
        self.wait(SESSION_LIFE_MS);
        for end in 0..2 {
            let peer = self.other(end);
            assert!(self.ends[end].sessions.with(&peer).is_none(), "expired");
        }
        self.begin(0);
        self.deliver_all();
        for end in 0..2 {
            let before = self.heard.len();
            self.say(end);
            self.deliver_all();
            assert_eq!(self.heard.len(), before + 2, "asked and answered");
        }
    }

    fn deliver_all(&mut self) {
        while !self.under_way.is_empty() {
            let (from, parcel) = self.under_way.remove(0);
            self.deliver(1 - from, parcel);
        }
    }
}

/// Short epochs, so that they meet everything else.
fn configure(side: &mut Side) {
    side.sessions.config.epochs = EpochLimits {
        records: 3,
        bytes: 1 << 20,
        age_ms: 60_000,
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_the_network_does_nothing_opens_twice_and_the_two_talk_again(
        acts in prop::collection::vec(act(), 1..120)
    ) {
        let mut world = World::new();
        for act in acts {
            world.act(act);
        }
        world.heal();
    }
}

/// A good network with every delivery in random order: all that was sealed by a live session opens,
/// exactly once.
#[test]
fn what_a_live_session_seals_opens_exactly_once_in_whatever_order() {
    use rand::RngExt as _;
    for seed in 0..20 {
        let mut rng = Rng::seed_from_u64(seed);
        let mut world = World::new();
        for end in &mut world.ends {
            end.sessions.config.epochs.records = 20;
        }
        world.begin(0);
        world.deliver_all();
        for _ in 0..100 {
            let end = rng.random_range(0..2);
            world.say(end);
            while world.under_way.len() > 2 {
                let at = rng.random_range(0..world.under_way.len());
                let (from, parcel) = world.under_way.remove(at);
                world.deliver(1 - from, parcel.clone());
                world.deliver(1 - from, parcel);
            }
        }
        world.deliver_all();
        let expected = (0..world.said).flat_map(|n| [(false, n), (true, n)]);
        assert_eq!(world.heard, expected.collect(), "seed {seed}");
        assert_eq!(world.said, 100);
    }
}
