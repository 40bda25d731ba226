//! What goes wrong: a schedule drawn from the seed, rates for what may strike at any time, and a
//! tally of what did.

use std::fmt;

use rand::RngExt as _;

use crate::crypto::Rng;

/// A fault with a time of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The node stops, and starts again from what its disk kept.
    Crash {
        host: usize,
        moment: Moment,
        down_us: u64,
    },
    /// Nothing passes between this side and the rest.
    Partition { side: Vec<usize>, for_us: u64 },
    /// Nothing passes in this direction.
    OneWay { from: usize, to: usize, for_us: u64 },
    /// The node stands still (`SIGSTOP`, a suspended laptop) and then goes on as if nothing had
    /// been.
    Pause { host: usize, for_us: u64 },
    /// The wall clock jumps, and is set right again later.
    Jump {
        host: usize,
        by_ms: i64,
        for_us: u64,
    },
    /// The node's key is followed by its next one, also while it is down.
    Rotate { host: usize },
    /// Every connection between the two breaks.
    Reset { a: usize, b: usize },
    /// Something else fills the node's disk: of what is to stay free so much is missing, or so
    /// much is there beyond it.
    DiskShort { host: usize, left: i64, for_us: u64 },
}

/// When a crash strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Between two outputs of the next step that asks for any.
    AnyStep,
    /// Between two outputs of the next step that writes.
    Writing,
    /// So long after the next step that writes.
    Written { after_us: u64 },
}

/// How often what may strike at any time does strike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rates {
    pub(super) loss: f64,
    pub(super) duplicate: f64,
    pub(super) slow: f64,
    pub(super) disk_stall: f64,
    pub(super) run_fails: f64,
    pub(super) run_hangs: f64,
    pub(super) stale_hint: f64,
}

impl Rates {
    pub(super) fn draw(rng: &mut Rng) -> Rates {
        let mut up_to = |most: f64| rng.random_range(0.0..most);
        Rates {
            loss: up_to(0.12),
            duplicate: up_to(0.06),
            slow: up_to(0.15),
            disk_stall: up_to(0.15),
            run_fails: up_to(0.20),
            run_hangs: up_to(0.08),
            stale_hint: 0.3,
        }
    }
}

const SECOND_US: u64 = 1_000_000;

/// The schedule of one seed. Every fault is over at `calm_us`.
pub(super) fn plan(rng: &mut Rng, hosts: usize, calm_us: u64) -> Vec<(u64, Fault)> {
    let mut plan = Plan {
        rng,
        hosts,
        calm_us,
        faults: Vec::new(),
    };
    for _ in 0..plan.rng.random_range(2..=5) {
        let at_us = plan.moment();
        plan.crash(at_us);
    }
    for _ in 0..plan.rng.random_range(1..=2) {
        plan.partition();
    }
    for _ in 0..plan.rng.random_range(0..=2) {
        plan.one_way();
    }
    for _ in 0..plan.rng.random_range(0..=2) {
        let at_us = plan.moment();
        let for_us = plan.span(at_us, SECOND_US / 2, 25 * SECOND_US);
        let host = plan.host();
        plan.faults.push((at_us, Fault::Pause { host, for_us }));
    }
    if plan.rng.random_bool(0.3) {
        plan.jump();
    }
    for _ in 0..plan.rng.random_range(0..=3) {
        let (at_us, (a, b)) = (plan.moment(), plan.pair());
        plan.faults.push((at_us, Fault::Reset { a, b }));
    }
    for _ in 0..plan.rng.random_range(0..=2) {
        let (at_us, host) = (plan.moment(), plan.host());
        plan.faults.push((at_us, Fault::Rotate { host }));
    }
    plan.faults
}

/// When disks are short of room. Thrown with dice of its own: the worlds of older seeds stay as they
/// were where no disk is.
pub(super) fn short_disks(rng: &mut Rng, hosts: usize, calm_us: u64) -> Vec<(u64, Fault)> {
    let mut plan = Plan {
        rng,
        hosts,
        calm_us,
        faults: Vec::new(),
    };
    if plan.rng.random_bool(0.5) {
        for _ in 0..plan.rng.random_range(1..=3) {
            plan.disk_short();
        }
    }
    plan.faults
}

struct Plan<'a> {
    rng: &'a mut Rng,
    hosts: usize,
    calm_us: u64,
    faults: Vec<(u64, Fault)>,
}

impl Plan<'_> {
    fn moment(&mut self) -> u64 {
        self.rng.random_range(SECOND_US..self.calm_us * 3 / 4)
    }

    fn host(&mut self) -> usize {
        self.rng.random_range(0..self.hosts)
    }

    fn pair(&mut self) -> (usize, usize) {
        let a = self.host();
        (a, (a + self.rng.random_range(1..self.hosts)) % self.hosts)
    }

    fn span(&mut self, at_us: u64, from_us: u64, to_us: u64) -> u64 {
        self.rng
            .random_range(from_us..=to_us)
            .min(self.calm_us - at_us)
    }

    fn crash(&mut self, at_us: u64) {
        // Mostly a quick restart, which finds the others' leases still running.
        let longest_s = if self.rng.random_bool(0.7) { 3 } else { 30 };
        let down_us = self.span(at_us, 50_000, longest_s * SECOND_US);
        let moment = match self.rng.random_range(0..4) {
            0 => Moment::AnyStep,
            1 | 2 => Moment::Writing,
            _ => Moment::Written {
                after_us: self.rng.random_range(0..60_000),
            },
        };
        let host = self.host();
        self.faults.push((
            at_us,
            Fault::Crash {
                host,
                moment,
                down_us,
            },
        ));
    }

    fn partition(&mut self) {
        let at_us = self.moment();
        let mut side: Vec<usize> = (0..self.hosts)
            .filter(|_| self.rng.random_bool(0.4))
            .collect();
        if side.is_empty() || side.len() == self.hosts {
            side = vec![self.host()];
        }
        let for_us = self.span(at_us, 2 * SECOND_US, 35 * SECOND_US);
        self.faults.push((at_us, Fault::Partition { side, for_us }));
        // Misfortunes come together: while the two sides still sort out who has what.
        let healed_us = at_us + for_us;
        let soon_us = healed_us + self.rng.random_range(0..8 * SECOND_US);
        if soon_us < self.calm_us && self.rng.random_bool(0.5) {
            self.crash(soon_us);
        }
    }

    fn one_way(&mut self) {
        let (at_us, (from, to)) = (self.moment(), self.pair());
        let for_us = self.span(at_us, SECOND_US, 25 * SECOND_US);
        self.faults
            .push((at_us, Fault::OneWay { from, to, for_us }));
    }

    fn disk_short(&mut self) {
        let at_us = self.moment();
        let for_us = self.span(at_us, 2 * SECOND_US, 30 * SECOND_US);
        let host = self.host();
        // Less than there is to be; or a little more, which a few tasks take.
        let left = match self.rng.random_bool(0.5) {
            true => self.rng.random_range(-(64 << 20)..=0),
            false => self.rng.random_range(0..4 << 20),
        };
        self.faults
            .push((at_us, Fault::DiskShort { host, left, for_us }));
    }

    fn jump(&mut self) {
        let at_us = self.moment();
        let by_ms = if self.rng.random_bool(0.5) {
            3_600_000
        } else {
            -3_600_000
        };
        let for_us = self.span(at_us, SECOND_US, 30 * SECOND_US);
        let host = self.host();
        self.faults.push((
            at_us,
            Fault::Jump {
                host,
                by_ms,
                for_us,
            },
        ));
    }
}

/// Declares a tally: counters with a line each.
macro_rules! tally {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = $label] pub $field: u64,)*
        }

        impl $name {
            /// Every counter with its label.
            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$(($label, self.$field),)*]
            }

            /// The labels of the counters that stand at zero.
            pub fn untouched(&self) -> Vec<&'static str> {
                self.rows().into_iter().filter(|(_, n)| *n == 0).map(|(label, _)| label).collect()
            }

            pub(super) fn add(&mut self, other: &$name) {
                $(self.$field += other.$field;)*
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (label, count) in self.rows() {
                    writeln!(f, "  {count:>9}  {label}")?;
                }
                Ok(())
            }
        }
    };
}

tally! {
    /// How often each kind of fault struck.
    FaultCounts {
        delayed: "messages delayed by up to 4 s",
        requests_lost: "requests lost",
        responses_lost: "responses lost",
        unknown_prompt: "losses the sender heard of at once, not knowing what was lost",
        cut_off: "messages into a partition or against a one-way link",
        duplicated: "requests delivered twice",
        gossip_lost: "gossip messages lost",
        not_sent: "requests for which no connection could be made",
        dials_failed: "dials that came to nothing",
        connections_broken: "connections broken",
        stale_hints: "discovery hints with a wrong address",
        partitions: "partitions",
        one_way: "one-way links",
        pauses: "nodes paused",
        rotations: "keys followed by their next ones",
        wall_jumps: "wall clocks set wrong by an hour",
        crashes: "crashes",
        crashes_between_outputs: "crashes between two outputs of one step",
        batches_forgotten: "written batches a crash took",
        batches_untold: "batches durable at a crash, the node not told",
        disk_stalls: "flushes that took up to 2 s",
        disks_short: "disks that something else filled for a while",
        runs_failed: "runs that failed",
        results_wrong: "wrong results where several do the work",
        runs_hung: "runs that hung until they were stopped",
        runs_died: "runs that died with their node",
        runs_killed: "runs killed",
        late_run_ends: "runs that ended although killed",
        resubmissions: "submissions repeated for want of an answer",
        watches_renewed: "watches renewed after a restart",
    }
}

tally! {
    /// What came of it.
    Outcomes {
        acknowledged: "tasks acknowledged",
        completed: "tasks completed",
        failed: "tasks failed",
        canceled: "tasks canceled",
        handed_over_again: "failed tasks handed over again",
        completed_then: "of these completed then",
        agreed: "results that enough of several workers came to",
        handed_over: "tasks handed to somebody idle",
        named: "workers that were named beside them",
        parts_taken: "parts of tasks handed on by their workers",
        inputs_brought: "files that were the inputs of runs",
        results_brought: "files that were the results of tasks",
        old_keys: "results signed by keys that others followed since",
        new_keys: "results signed by keys that followed others",
        parts_refused: "parts refused, most of them for the budget",
        assigned: "tasks offered to a worker",
        taken: "offers taken by a worker",
        leases_run_out: "leases that ran out",
        unclaimed: "tasks a worker came back without",
        sessions: "sessions made",
        wakes: "wake-ups seen by their node",
        flushes: "group commits",
        found_short: "disks found too short of room for a task by their nodes",
        room_again: "disks found to have room again",
        refused_for_room: "submissions refused for want of room on the disk",
        refused_for_limit: "submissions refused for want of a place in a queue",
        taken_while_short: "tasks taken in what little room there was",
    }
}
