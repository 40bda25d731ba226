use super::*;
use crate::proto::task::Planted;

fn run_planted(seed: u64, bug: Planted) -> Option<Failure> {
    let mut world = World::new(seed, &WorldConfig::default());
    world.planted = Some(bug);
    world.run().err()
}

/// Whether `invariant` catches `bug` in one of so many worlds.
fn is_caught(bug: Planted, invariant: &str, within: u64) -> bool {
    (0..within)
        .filter_map(|seed| run_planted(seed, bug))
        .any(|failure| failure.violation.invariant == invariant)
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
    assert!(is_caught(Planted::SkipFencing, "T4", 100));
}

#[test]
fn a_worker_that_acknowledges_before_its_flush_is_caught() {
    assert!(is_caught(Planted::AckBeforeFlush, "T5", 100));
}

#[test]
fn a_requester_that_forgets_the_input_of_what_failed_is_caught() {
    assert!(is_caught(Planted::ForgetInput, "T9", 10));
}

#[test]
fn a_requester_that_blames_the_deadline_where_workers_differ_is_caught() {
    assert!(is_caught(Planted::BlameDeadline, "A6", 300));
}

#[test]
fn a_worker_that_begins_what_it_has_handed_over_is_caught() {
    assert!(is_caught(Planted::BeginHandedOver, "B2", 100));
}

#[test]
fn a_worker_that_begins_what_came_first_is_caught() {
    assert!(is_caught(Planted::FirstCome, "B5", 20));
}

#[test]
fn a_worker_that_gives_nobody_else_a_turn_is_caught() {
    assert!(is_caught(Planted::NoTurns, "B5", 200));
}

#[test]
fn a_requester_that_forgets_what_a_task_demands_is_caught() {
    assert!(is_caught(Planted::ForgetDemands, "T10", 20));
}

#[test]
fn a_requester_that_tells_of_all_tasks_what_is_not_on_its_disk_is_caught() {
    assert!(is_caught(Planted::TellAllAtOnce, "E5", 20));
}

#[test]
fn a_requester_that_keeps_nothing_that_shows_a_result_is_caught() {
    assert!(is_caught(Planted::ForgetProof, "T11", 3));
}

#[test]
fn a_requester_that_asks_for_results_in_an_open_round_is_caught() {
    assert!(is_caught(Planted::RevealBeforeClose, "A1", 100));
}

/// Worlds in which one machine does this; what came of the work that several did.
fn among_honest(cheat: Planted) -> (u64, u64) {
    let reports = (0..30).map(|seed| {
        let mut world = World::new(seed, &WorldConfig::default());
        world.planted = Some(cheat);
        world.run().unwrap_or_else(|failure| panic!("{failure}"))
    });
    reports.fold((0, 0), |(agreed, named), of| {
        (agreed + of.outcomes.agreed, named + of.outcomes.named)
    })
}

#[test]
fn a_worker_that_tells_another_result_than_it_committed_to_changes_none() {
    let (agreed, named) = among_honest(Planted::FalseReveal);
    assert!(agreed > 0 && named > 0, "{agreed} agreed, {named} named");
}

#[test]
fn a_worker_that_tells_no_result_holds_up_none() {
    let (agreed, named) = among_honest(Planted::NoReveal);
    assert!(agreed > 0 && named > 0, "{agreed} agreed, {named} named");
}

#[test]
fn a_worker_that_does_not_count_what_its_tasks_hand_on_is_caught() {
    assert!(is_caught(Planted::ForgetSpending, "G1", 10));
}

#[test]
fn a_worker_that_begins_parts_that_nobody_heard_of_is_caught() {
    assert!(is_caught(Planted::TellNobody, "G1", 20));
}

#[test]
fn a_requester_that_offers_each_attempt_the_whole_reward_is_caught() {
    assert!(is_caught(Planted::ForgetAttempts, "G1", 200));
}

#[test]
fn a_worker_that_runs_on_another_input_is_caught() {
    assert!(is_caught(Planted::AnyInput, "P3", 40));
}

#[test]
fn a_worker_that_runs_on_what_another_has_sent_is_caught() {
    assert!(is_caught(Planted::OthersInput, "P6", 60));
}

#[test]
fn a_requester_that_passes_a_worker_over_for_good_is_caught() {
    assert!(is_caught(Planted::AvoidForGood, "L3", 40));
}

#[test]
fn a_requester_that_takes_a_result_without_its_file_is_caught() {
    assert!(is_caught(Planted::KeptWithoutFile, "P4", 40));
}

#[test]
fn a_node_that_deletes_what_a_task_names_is_caught() {
    assert!(is_caught(Planted::SweepNamed, "P2", 40));
}

#[test]
fn a_node_that_never_lets_a_payload_go_is_caught() {
    assert!(is_caught(Planted::NeverSweep, "P5", 10));
}

#[test]
fn a_node_that_takes_tasks_without_room_is_caught() {
    assert!(is_caught(Planted::AskNoRoom, "D1", 40));
}

#[test]
fn a_node_that_does_not_see_that_there_is_room_again_is_caught() {
    assert!(is_caught(Planted::ShortForGood, "D2", 40));
}

#[test]
fn a_queue_without_a_limit_is_caught() {
    assert!(is_caught(Planted::QueueAll, "M1", 20));
}

#[test]
fn a_worker_that_forgets_no_task_that_it_had_is_caught() {
    assert!(is_caught(Planted::ForgetNothing, "M1", 20));
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
