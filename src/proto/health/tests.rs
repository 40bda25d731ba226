//! From healthy to suspect to unreachable and back.

use super::*;
use crate::wire::{AgentPresence, Load};

fn peer() -> PeerId {
    let key = libp2p::identity::Keypair::ed25519_from_bytes([7; 32]).expect("32 bytes");
    key.public().to_peer_id()
}

fn at(ms: u64) -> Mono {
    Mono::from_micros(1 + ms * 1_000)
}

fn status(held: u32) -> NodeStatus {
    NodeStatus {
        uptime_ms: 1,
        load: Load {
            held,
            ..Load::default()
        },
        agent: AgentPresence::Absent,
    }
}

/// Health with one peer, whose session came up at 0.
struct Bench {
    health: Health,
    ms: u64,
    /// Whether the peer answers.
    alive: bool,
    beats: Vec<u64>,
    changes: Vec<HealthState>,
    wakes: usize,
}

fn bench(wake_on_suspect: bool) -> Bench {
    let mut health = Health::new(HealthRules {
        wake_on_suspect,
        ..HealthRules::default()
    });
    health.session_up(peer(), at(0));
    Bench {
        health,
        ms: 0,
        alive: true,
        beats: Vec::new(),
        changes: Vec::new(),
        wakes: 0,
    }
}

impl Bench {
    /// Lets time go by; answers take 20 ms.
    fn run(&mut self, ms: u64) {
        let end = self.ms + ms;
        while let Some(due) = self.health.next_deadline().filter(|due| *due <= at(end)) {
            self.health.tick(due);
            for effect in self.health.effects() {
                match effect {
                    HealthEffect::Beat { peer, seq } => {
                        self.beats.push(seq);
                        if self.alive {
                            self.health.seen(&peer, due + 20);
                            self.health.answered(&peer, seq, due, due + 20);
                        }
                    }
                    HealthEffect::Changed { state, .. } => self.changes.push(state),
                    HealthEffect::Wake { .. } => self.wakes += 1,
                }
            }
        }
        let told = self.health.effects();
        self.changes
            .extend(told.iter().filter_map(|effect| match effect {
                HealthEffect::Changed { state, .. } => Some(*state),
                _ => None,
            }));
        self.ms = end;
    }

    fn peer(&self) -> &PeerHealth {
        self.health.of(&peer()).expect("it is known")
    }
}

#[test]
fn who_answers_stays_healthy_and_is_asked_every_ten_seconds() {
    let mut bench = bench(true);
    bench.run(100_500);
    assert_eq!(bench.beats, (0..10).collect::<Vec<u64>>(), "H2");
    let peer = bench.peer();
    assert_eq!((peer.state, peer.missed), (HealthState::Healthy, 0), "H1");
    assert_eq!((peer.rtt_us, peer.loss()), (Some(20_000), 0.0));
    assert!(bench.changes.is_empty() && bench.wakes == 0);
}

#[test]
fn who_is_silent_becomes_suspect_then_unreachable_and_healthy_again_when_it_speaks() {
    let mut bench = bench(true);
    bench.run(30_500);
    bench.alive = false;
    bench.run(25_000);
    assert!(bench.changes.is_empty(), "one interval is nothing");
    bench.run(10_000);
    assert_eq!(bench.changes, [HealthState::Suspect]);
    assert_eq!(bench.wakes, 1, "it is told to wake up, once");
    bench.run(20_000);
    assert_eq!(bench.peer().state, HealthState::Suspect);
    bench.run(20_000);
    let expected = [HealthState::Suspect, HealthState::Unreachable];
    assert_eq!(bench.changes, expected);
    assert!(bench.peer().loss() > 0.5, "{}", bench.peer().loss());
    bench.health.not_woken(&peer());
    assert!(bench.peer().manual_check);
    bench.alive = true;
    bench.run(10_000);
    assert_eq!(bench.changes.last(), Some(&HealthState::Healthy));
    assert!(!bench.peer().manual_check, "it needs no look any more");
}

#[test]
fn without_a_connection_no_beat_is_sent_and_the_clock_runs_all_the_same() {
    let mut bench = bench(false);
    bench.health.disconnected(&peer());
    bench.run(90_000);
    assert!(bench.beats.is_empty());
    assert_eq!(bench.peer().state, HealthState::Unreachable);
    assert_eq!(bench.health.next_deadline(), None, "nothing to wait for");
    assert_eq!(bench.health.counts(), [0, 0, 1]);
    bench.health.connected(&peer(), at(90_000));
    bench.run(100);
    assert_eq!(bench.beats, [0], "it is asked at once");
    assert_eq!(bench.peer().state, HealthState::Healthy);
}

#[test]
fn any_sign_of_life_counts_though_the_beat_is_late() {
    let mut bench = bench(false);
    bench.alive = false;
    for _ in 0..20 {
        bench.run(10_000);
        bench.health.seen(&peer(), at(bench.ms));
    }
    assert!(bench.changes.is_empty(), "H1: {:?}", bench.changes);
    assert!(bench.peer().loss() > 0.9, "but the loss is told");
}

#[test]
fn an_older_beat_does_not_replace_what_a_newer_one_said() {
    let mut bench = bench(false);
    let held = |bench: &Bench| bench.peer().status.expect("it said").0.load.held;
    for (seq, load) in [(3, 30), (1, 10), (3, 31)] {
        bench.health.heard(&peer(), seq, status(load), at(1));
    }
    assert_eq!(held(&bench), 30, "H2");
    bench.health.session_up(peer(), at(2));
    bench.health.heard(&peer(), 0, status(5), at(2));
    assert_eq!(held(&bench), 5, "a new session counts anew");
}

#[test]
fn the_round_trip_is_smoothed() {
    let mut bench = bench(false);
    bench.run(60_000);
    bench.health.answered(&peer(), 99, at(0), at(820));
    assert_eq!(bench.peer().rtt_us, Some((20_000 * 7 + 820_000) / 8));
}

#[test]
fn who_leaves_the_address_book_is_forgotten() {
    let mut bench = bench(false);
    bench.health.retain(|_| false);
    assert!(bench.health.of(&peer()).is_none());
    bench.health.check().expect("H3");
}
