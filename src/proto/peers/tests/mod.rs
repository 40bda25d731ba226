//! The address book: whom it dials and when, and whom it leaves alone.

mod bounds;
mod dialling;

use rand::SeedableRng;

use super::*;
use crate::crypto::Rng;
use crate::types::{BatchId, Now, Wall, WriteBatch};

const MINUTE_MS: u64 = 60_000;

/// An address book with its clock and dice.
struct Book {
    peers: Peers,
    now: Mono,
    rng: Rng,
}

fn peer(n: u64) -> PeerId {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    let key = libp2p::identity::Keypair::ed25519_from_bytes(seed).expect("32 bytes");
    key.public().to_peer_id()
}

fn addr(n: u64) -> Multiaddr {
    let [.., a, b, c] = n.to_be_bytes();
    format!("/ip4/10.{a}.{b}.{c}/tcp/4001")
        .parse()
        .expect("an address")
}

fn book(bootstrap: Vec<Multiaddr>) -> Book {
    Book {
        peers: Peers::new(peer(0), bootstrap),
        now: Mono::from_micros(1),
        rng: Rng::seed_from_u64(1),
    }
}

impl Book {
    fn step<T>(&mut self, act: impl FnOnce(&mut Peers, &mut Step<'_>) -> T) -> T {
        let mut writes = WriteBatch::default();
        let now = Now {
            mono: self.now,
            wall: Wall(0),
        };
        let (rng, batch) = (&mut self.rng, BatchId(1));
        let out = act(
            &mut self.peers,
            &mut Step {
                now,
                rng,
                batch,
                writes: &mut writes,
            },
        );
        self.peers.check().expect("P3");
        out
    }

    fn dials(&mut self) -> Vec<Dial> {
        self.step(Peers::dials)
    }

    fn learned(&mut self, n: u64) {
        self.peers.learned(peer(n), &[addr(n)], self.now);
    }

    fn failed(&mut self, dial: &Dial) -> Option<Multiaddr> {
        self.step(|peers, step| peers.dial_failed(dial.peer, &dial.addrs, step))
    }

    fn connected(&mut self, n: u64) -> bool {
        self.peers.connected(peer(n), &addr(n), true, self.now)
    }

    fn disconnected(&mut self, n: u64) {
        self.step(|peers, step| peers.disconnected(&peer(n), step));
    }

    /// Waits for the next dial, fails it, and returns how long it was waited for.
    fn wait_and_fail(&mut self) -> u64 {
        let due = self
            .peers
            .next_deadline(self.now)
            .expect("it is tried again");
        let waited = self.now.until(due);
        self.now = due;
        let dials = self.dials();
        assert_eq!(dials.len(), 1, "due when the book says so");
        self.failed(&dials[0]);
        waited
    }
}

fn to(n: u64) -> Dial {
    Dial {
        peer: Some(peer(n)),
        addrs: vec![addr(n)],
    }
}
