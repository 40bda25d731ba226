//! What goes wrong: a schedule drawn from the seed, rates for what may strike at any time, and a
//! tally of what did.

use std::fmt;

use rand::RngExt as _;

use crate::crypto::Rng;

/// A fault with a time of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The node stops after it has applied so many more outputs, and starts again from what its
    /// disk kept.
    Crash {
        host: usize,
        after_outputs: u32,
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
    /// Every connection between the two breaks.
    Reset { a: usize, b: usize },
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
    let mut plan = Vec::new();
    let at = |rng: &mut Rng| rng.random_range(SECOND_US..calm_us * 3 / 4);
    let span = |rng: &mut Rng, at_us: u64, from_us: u64, to_us: u64| {
        rng.random_range(from_us..=to_us).min(calm_us - at_us)
    };
    for _ in 0..rng.random_range(2..=5) {
        let at_us = at(rng);
        // Mostly a quick restart, which finds the others' leases still running.
        let longest = if rng.random_bool(0.7) {
            3 * SECOND_US
        } else {
            30 * SECOND_US
        };
        let down_us = span(rng, at_us, 50_000, longest);
        let after_outputs = rng.random_range(0..12);
        let host = rng.random_range(0..hosts);
        plan.push((
            at_us,
            Fault::Crash {
                host,
                after_outputs,
                down_us,
            },
        ));
    }
    for _ in 0..rng.random_range(1..=2) {
        let at_us = at(rng);
        let mut side: Vec<usize> = (0..hosts).filter(|_| rng.random_bool(0.4)).collect();
        if side.is_empty() || side.len() == hosts {
            side = vec![rng.random_range(0..hosts)];
        }
        let for_us = span(rng, at_us, 2 * SECOND_US, 35 * SECOND_US);
        plan.push((at_us, Fault::Partition { side, for_us }));
    }
    for _ in 0..rng.random_range(0..=2) {
        let at_us = at(rng);
        let from = rng.random_range(0..hosts);
        let to = (from + rng.random_range(1..hosts)) % hosts;
        let for_us = span(rng, at_us, SECOND_US, 25 * SECOND_US);
        plan.push((at_us, Fault::OneWay { from, to, for_us }));
    }
    for _ in 0..rng.random_range(0..=2) {
        let at_us = at(rng);
        let for_us = span(rng, at_us, SECOND_US / 2, 25 * SECOND_US);
        plan.push((
            at_us,
            Fault::Pause {
                host: rng.random_range(0..hosts),
                for_us,
            },
        ));
    }
    if rng.random_bool(0.3) {
        let at_us = at(rng);
        let by_ms = if rng.random_bool(0.5) {
            3_600_000
        } else {
            -3_600_000
        };
        let for_us = span(rng, at_us, SECOND_US, 30 * SECOND_US);
        plan.push((
            at_us,
            Fault::Jump {
                host: rng.random_range(0..hosts),
                by_ms,
                for_us,
            },
        ));
    }
    for _ in 0..rng.random_range(0..=3) {
        let a = rng.random_range(0..hosts);
        let b = (a + rng.random_range(1..hosts)) % hosts;
        plan.push((at(rng), Fault::Reset { a, b }));
    }
    plan
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
        wall_jumps: "wall clocks set wrong by an hour",
        crashes: "crashes",
        crashes_between_outputs: "crashes between two outputs of one step",
        batches_forgotten: "written batches a crash took",
        batches_untold: "batches durable at a crash, the node not told",
        disk_stalls: "flushes that took up to 2 s",
        runs_failed: "runs that failed",
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
        taken: "offers taken by a worker",
        leases_lost: "assignments lost",
        sessions: "sessions made",
        bans: "peers banned",
        wakes: "wake-ups seen by their node",
        flushes: "group commits",
    }
}
