//! Random commands, and the laws after each; then the faults end, and so must every task.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};

use super::world::{Party, WORKERS, World};
use super::*;

#[derive(Debug, Clone)]
enum Command {
    Submit {
        priority: Priority,
        to: Option<usize>,
        deadline_ms: u64,
    },
    Cancel(usize),
    Deliver(usize),
    Drop {
        nth: usize,
        unsent: bool,
    },
    Duplicate(usize),
    Flush(Party, usize),
    Pass(u64),
    FinishRun {
        worker: usize,
        nth: usize,
        well: bool,
    },
    Reach([bool; WORKERS]),
    SessionUp(usize),
    /// A worker hears that these are idle.
    HandOver {
        worker: usize,
        idle: [bool; WORKERS],
    },
    Drain(usize, bool),
    Crash(Party),
}

fn party() -> impl Strategy<Value = Party> {
    prop_oneof![Just(Party::Requester), (0..WORKERS).prop_map(Party::Worker)]
}

fn submission() -> impl Strategy<Value = Command> {
    let priority = prop_oneof![Just(Priority::Normal), Just(Priority::High)];
    let to = proptest::option::weighted(0.2, 0..WORKERS);
    let deadline_ms = prop_oneof![4 => Just(HOUR_MS), 1 => 1_000..60_000u64];
    (priority, to, deadline_ms).prop_map(|(priority, to, deadline_ms)| Command::Submit {
        priority,
        to,
        deadline_ms,
    })
}

fn command() -> impl Strategy<Value = Command> {
    let nth = 0..16usize;
    prop_oneof![
        3 => submission(),
        1 => nth.clone().prop_map(Command::Cancel),
        14 => nth.clone().prop_map(Command::Deliver),
        2 => (nth.clone(), any::<bool>()).prop_map(|(nth, unsent)| Command::Drop { nth, unsent }),
        1 => nth.clone().prop_map(Command::Duplicate),
        10 => (party(), 1..8usize).prop_map(|(party, n)| Command::Flush(party, n)),
        5 => prop_oneof![1..600u64, 4_000..22_000u64].prop_map(Command::Pass),
        4 => (0..WORKERS, nth, proptest::bool::weighted(0.6))
            .prop_map(|(worker, nth, well)| Command::FinishRun { worker, nth, well }),
        2 => any::<[bool; WORKERS]>().prop_map(Command::Reach),
        1 => (0..WORKERS).prop_map(Command::SessionUp),
        2 => (0..WORKERS, any::<[bool; WORKERS]>())
            .prop_map(|(worker, idle)| Command::HandOver { worker, idle }),
        1 => (0..WORKERS, any::<bool>()).prop_map(|(at, on)| Command::Drain(at, on)),
        2 => party().prop_map(Command::Crash),
    ]
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    proptest::collection::vec(command(), 1..160)
}

impl World {
    fn apply(&mut self, command: &Command) {
        match *command {
            Command::Submit {
                priority,
                to,
                deadline_ms,
            } => self.submit(priority, to, deadline_ms),
            Command::Cancel(nth) => self.cancel(nth),
            Command::Deliver(nth) => self.deliver(nth),
            Command::Drop { nth, unsent } => self.drop_packet(nth, unsent),
            Command::Duplicate(nth) => self.duplicate(nth),
            Command::Flush(party, batches) => self.flush(party, batches),
            Command::Pass(ms) => self.pass(ms),
            Command::FinishRun { worker, nth, well } => self.finish_run(worker, nth, well),
            Command::Reach(reachable) => self.reach(reachable),
            Command::SessionUp(at) => self.session_up(at),
            Command::HandOver { worker, idle } => self.hand_over(worker, idle),
            Command::Drain(at, on) => self.drain(at, on),
            Command::Crash(party) => self.crash(party),
        }
    }

    /// No more faults: everything is flushed, delivered and run, second by second.
    fn heal_for_a_second(&mut self) {
        self.pass(1_000);
        for _ in 0..8 {
            self.flush(Party::Requester, usize::MAX);
            for at in 0..WORKERS {
                self.flush(Party::Worker(at), usize::MAX);
                while !self.running[at].is_empty() {
                    self.finish_run(at, 0, true);
                }
            }
            for _ in 0..self.net.len() {
                self.deliver(0);
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        let over = self
            .ours
            .side
            .core
            .tasks()
            .all(|(record, _)| record.state.is_terminal());
        let held = self
            .workers
            .iter()
            .any(|worker| !worker.side.core.is_empty());
        over && !held && self.net.is_empty()
    }
}

fn lawful(world: &mut World, when: &dyn std::fmt::Debug) -> TestCaseResult {
    world
        .check()
        .map_err(|broken| TestCaseError::fail(format!("{broken:?} after {when:?}")))
}

fn obeys_the_laws(planted: Option<Planted>, commands: &[Command]) -> TestCaseResult {
    let mut world = World::new(planted);
    for command in commands {
        world.apply(command);
        lawful(&mut world, command)?;
    }
    world.reach([true; WORKERS]);
    (0..WORKERS).for_each(|at| world.drain(at, false));
    for _ in 0..300 {
        world.heal_for_a_second();
        lawful(&mut world, &"the faults ended")?;
        if world.is_at_rest() {
            return Ok(());
        }
    }
    Err(TestCaseError::fail(
        "five minutes after the last fault work is still in hand",
    ))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_fault_breaks_a_law_and_every_task_ends(commands in commands()) {
        obeys_the_laws(None, &commands)?;
    }
}

/// What is said of the first law that a planted defect breaks; the same at every run.
fn found(planted: Planted) -> String {
    let config = Config {
        cases: 2_000,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, rng).run(&commands(), |commands| {
        obeys_the_laws(Some(planted), &commands)
    });
    let error = outcome.expect_err("the laws see a planted defect");
    error.to_string()
}

#[test]
fn taking_results_under_any_token_is_seen() {
    let seen = found(Planted::SkipFencing);
    let by_law = |law| seen.contains(&format!("invariant: \"{law}\""));
    assert!(["T2", "T4", "failures"].into_iter().any(by_law), "{seen}");
}

#[test]
fn beginning_what_was_handed_over_is_seen() {
    let seen = found(Planted::BeginHandedOver);
    assert!(seen.contains("invariant: \"B2\""), "{seen}");
}

#[test]
fn answering_before_the_flush_is_seen() {
    let seen = found(Planted::AckBeforeFlush);
    assert!(seen.contains("invariant: \"T5\""), "{seen}");
}
