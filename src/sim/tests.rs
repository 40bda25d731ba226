use super::*;
use crate::proto::task::Planted;

fn run_planted(seed: u64, bug: Planted) -> Option<Failure> {
    let mut world = World::new(seed, &WorldConfig::default());
    world.planted = Some(bug);
    world.run().err()
}

/// The invariant that catches `bug` first, and how many seeds that took.
fn caught(bug: Planted, within: u64) -> Option<(&'static str, u64)> {
    (0..within)
        .find_map(|seed| run_planted(seed, bug).map(|failure| (failure.violation.invariant, seed)))
}

#[test]
fn the_same_seed_gives_the_same_world() {
    for seed in 0..3 {
        let config = WorldConfig::default();
        assert_eq!(run(seed, &config), run(seed, &config));
    }
}

#[test]
fn another_seed_gives_another_world() {
    let config = WorldConfig::default();
    let traces = [1, 2].map(|seed| run(seed, &config).expect("a good world").trace);
    assert_ne!(traces[0], traces[1]);
}

#[test]
fn a_requester_that_skips_fencing_is_caught() {
    assert_eq!(
        caught(Planted::SkipFencing, 100).map(|(invariant, _)| invariant),
        Some("T4")
    );
}

#[test]
fn a_worker_that_acknowledges_before_its_flush_is_caught() {
    assert_eq!(
        caught(Planted::AckBeforeFlush, 100).map(|(invariant, _)| invariant),
        Some("T5")
    );
}

#[test]
fn seeds_that_once_failed_hold() {
    let listed = include_str!("regressions.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next());
    for seed in listed {
        let seed = seed.parse().expect("a regression begins with its seed");
        if let Err(failure) = run(seed, &WorldConfig::default()) {
            panic!("{failure}");
        }
    }
}

#[test]
fn a_failure_says_how_to_replay_it() {
    let violation = Violation {
        invariant: "T1",
        detail: String::from("it went"),
    };
    let failure = Failure {
        seed: 7,
        at_ms: 1,
        step: 2,
        violation,
        history: Vec::new(),
    };
    assert!(failure.to_string().contains("JUNTO_SIM_SEED=7 cargo test"));
}
