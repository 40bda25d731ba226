//! One machine of the world: a core, its disk, its clocks, and the runs it has going.

use std::collections::BTreeMap;

use super::clock::Clock;
use super::disk::Disk;
use super::faults::Moment;
use super::room::Room;
use super::stage::{Event, Incarnation, Stage};
use crate::crypto::{Identity, Keys, Rng, Seeds};
use crate::proto::node::{Node, NodeConfig, RunOutcome, RunSpec};
use crate::types::{Now, RunId, TaskId};

/// Input that begins so always fails: such a task must end as failed.
pub(super) const DOOMED: &[u8] = b"doomed";
/// Input that begins so is several workers': their results are to be equal.
pub(super) const SHARED: &[u8] = b"shared";
/// The executor ends a run that hangs after this time, or at its own timeout if that is sooner.
const HANG_MAX_MS: u64 = 45_000;

/// A machine.
pub(super) struct Host {
    pub(super) index: usize,
    keys: Keys,
    /// What a node that runs has of them.
    pub(super) identity: Identity,
    pub(super) config: NodeConfig,
    /// None while it is down.
    pub(super) core: Option<Node>,
    pub(super) boot: u32,
    pub(super) clock: Clock,
    pub(super) disk: Disk,
    /// What its disk has room for, while that is little.
    pub(super) room: Option<Room>,
    pub(super) runs: BTreeMap<RunId, TaskId>,
    /// It gives wrong results where others do the same work.
    pub(super) cheats: bool,
    /// It handles nothing before then.
    pub(super) paused_until_us: u64,
    /// It is to crash.
    pub(super) doom: Option<Moment>,
    pub(super) down_us: u64,
    deadline_us: Option<u64>,
    deadline_version: u64,
}

impl Host {
    pub(super) fn new(index: usize, config: NodeConfig, rng: &mut Rng) -> Host {
        let keys = Keys::found(Seeds::generate(rng));
        Host {
            index,
            identity: keys.identity(),
            keys,
            config,
            core: None,
            boot: 0,
            clock: Clock::draw(rng),
            disk: Disk::default(),
            room: None,
            runs: BTreeMap::new(),
            cheats: false,
            paused_until_us: 0,
            doom: None,
            down_us: 0,
            deadline_us: None,
            deadline_version: 0,
        }
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        Incarnation {
            host: self.index,
            boot: self.boot,
        }
    }

    /// Its next key comes into use: that is on its disk before its node is told.
    pub(super) fn rotate(&mut self, rng: &mut Rng) {
        self.keys = self
            .keys
            .rotate(rng)
            .expect("a world is too short for all rotations");
        self.identity = self.keys.identity();
    }

    /// Whether this very start of it is running.
    pub(super) fn is_up(&self, as_of: Incarnation) -> bool {
        self.core.is_some() && self.boot == as_of.boot
    }

    pub(super) fn now(&self, stage: &Stage) -> Now {
        self.clock.read(stage.now_us)
    }

    /// Puts the core's next deadline on the agenda where it changed. A timer is a little late,
    /// as timers are.
    pub(super) fn schedule(&mut self, stage: &mut Stage) {
        let Some(core) = &self.core else { return };
        let due = core.next_deadline().map(|mono| self.clock.when(mono));
        if due == self.deadline_us {
            return;
        }
        self.deadline_us = due;
        self.deadline_version += 1;
        if let Some(due) = due {
            let at_us = due.max(stage.now_us) + stage.span_us(0, 2) + 100;
            let version = self.deadline_version;
            stage.at(
                at_us,
                Event::Deadline {
                    to: self.incarnation(),
                    version,
                },
            );
        }
    }

    /// Whether this is the deadline last asked for. It is then done with.
    pub(super) fn deadline_came(&mut self, version: u64) -> bool {
        let current = version == self.deadline_version;
        if current {
            self.deadline_us = None;
        }
        current
    }

    /// Starts a run: a function of its input, most of the time.
    pub(super) fn run(&mut self, run: RunId, spec: &RunSpec, stage: &mut Stage) {
        let needed_us = if stage.chance(0.8) {
            stage.span_us(200, 3_000)
        } else {
            stage.span_us(3_000, 8_000)
        };
        let timeout_us = spec.timeout_ms.min(HANG_MAX_MS) * 1000;
        let failed = |reason: &str| RunOutcome::Failed {
            reason: reason.into(),
        };
        let (after_us, outcome) = if spec.input.starts_with(DOOMED) {
            (needed_us.min(timeout_us), failed("exit status 1"))
        } else if stage.strikes(stage.rates.run_hangs) {
            stage.counts.runs_hung += 1;
            (timeout_us, failed("it ran out of time"))
        } else if stage.strikes(stage.rates.run_fails) {
            stage.counts.runs_failed += 1;
            (needed_us.min(timeout_us), failed("exit status 1"))
        } else if needed_us > timeout_us {
            (timeout_us, failed("it ran out of time"))
        } else {
            let shared = spec.input.starts_with(SHARED);
            stage.counts.results_wrong += u64::from(shared && self.cheats);
            let result = match (shared, self.cheats) {
                (true, true) => b"whatever".to_vec(),
                (true, false) => answer_to(&spec.input).into_bytes(),
                (false, _) => result_of(&spec.input, self.index, run),
            };
            (needed_us, RunOutcome::Completed { result })
        };
        self.runs.insert(run, spec.task_id);
        stage.after(
            after_us,
            Event::RunOver {
                to: self.incarnation(),
                run,
                outcome,
            },
        );
    }

    /// The machine stops. What it had going is gone.
    pub(super) fn stop(&mut self, stage: &mut Stage) {
        self.core = None;
        self.forgets_room();
        self.doom = None;
        self.paused_until_us = 0;
        self.deadline_us = None;
        self.deadline_version += 1;
        stage.counts.runs_died += self.runs.len() as u64;
        self.runs.clear();
    }
}

/// What every worker must make of `input`.
pub(super) fn answer_to(input: &[u8]) -> String {
    let digest = crate::crypto::hash("simulated run", &[input]);
    data_encoding::HEXLOWER.encode(&digest)
}

/// The answer, and behind it who gave it in which run: two runs are told apart.
fn result_of(input: &[u8], host: usize, run: RunId) -> Vec<u8> {
    format!("{} {host} {run}", answer_to(input)).into_bytes()
}

/// The parts of a result: the answer and the machine.
pub(super) fn read_result(result: &[u8]) -> Option<(&str, usize)> {
    let mut parts = std::str::from_utf8(result).ok()?.split(' ');
    Some((parts.next()?, parts.next()?.parse().ok()?))
}
