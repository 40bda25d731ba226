//! What everything in the simulated world shares: the time, the dice, and the list of what happens
//! next.
//!
//! Events are ordered by (time, number): the same seed pops them in the same order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::{RngExt as _, SeedableRng as _};

use super::client::ClientEvent;
use super::faults::{Fault, FaultCounts, Rates};
use super::network::NetEvent;
use crate::crypto::Rng;
use crate::proto::node::{Input, RunOutcome};
use crate::types::RunId;

/// One start of one node. What is meant for an earlier start is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Incarnation {
    pub(super) host: usize,
    pub(super) boot: u32,
}

/// What can happen in the world.
#[derive(Debug)]
pub(super) enum Event {
    Input {
        to: Incarnation,
        input: Box<Input>,
    },
    /// The node's deadline, if it is still the one that was asked for.
    Deadline {
        to: Incarnation,
        version: u64,
    },
    Net(NetEvent),
    /// The disk's group commit under way ends.
    Flushed {
        to: Incarnation,
    },
    RunOver {
        to: Incarnation,
        run: RunId,
        outcome: RunOutcome,
    },
    Fault(Fault),
    /// The node crashes now, if it was to crash and has not yet.
    CrashAtLast {
        to: Incarnation,
    },
    Restart {
        host: usize,
    },
    /// A disk that was short of room is looked at.
    DiskLook {
        host: usize,
    },
    /// A partition or one-way link heals.
    Heal {
        cut: Vec<(usize, usize)>,
    },
    Client(ClientEvent),
}

struct Entry {
    at_us: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.at_us, self.number).cmp(&(other.at_us, other.number))
    }
}

/// Time, dice, agenda and tallies.
pub(super) struct Stage {
    pub(super) now_us: u64,
    pub(super) rng: Rng,
    pub(super) counts: FaultCounts,
    pub(super) rates: Rates,
    /// From here on nothing goes wrong any more.
    pub(super) calm_us: u64,
    agenda: BinaryHeap<Reverse<Entry>>,
    next_number: u64,
}

impl Stage {
    pub(super) fn new(seed: u64, calm_us: u64) -> Stage {
        let mut rng = Rng::seed_from_u64(seed);
        let rates = Rates::draw(&mut rng);
        Stage {
            now_us: 0,
            rng,
            counts: FaultCounts::default(),
            rates,
            calm_us,
            agenda: BinaryHeap::new(),
            next_number: 0,
        }
    }

    /// Puts `event` on the agenda, `delay_us` from now.
    pub(super) fn after(&mut self, delay_us: u64, event: Event) {
        self.at(self.now_us + delay_us, event);
    }

    /// Puts `event` on the agenda at a time, now if that is past.
    pub(super) fn at(&mut self, at_us: u64, event: Event) {
        let number = self.next_number;
        self.next_number += 1;
        self.agenda.push(Reverse(Entry {
            at_us: at_us.max(self.now_us),
            number,
            event,
        }));
    }

    /// Goes on to the next event.
    pub(super) fn next(&mut self) -> Option<Event> {
        let Reverse(entry) = self.agenda.pop()?;
        self.now_us = entry.at_us;
        Some(entry.event)
    }

    /// Whether faults may still strike.
    pub(super) fn is_rough(&self) -> bool {
        self.now_us < self.calm_us
    }

    /// Throws the dice for a fault; never in calm times.
    pub(super) fn strikes(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability) && self.is_rough()
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    /// A duration between two numbers of milliseconds, in microseconds.
    pub(super) fn span_us(&mut self, from_ms: u64, to_ms: u64) -> u64 {
        self.rng.random_range(from_ms * 1000..=to_ms * 1000)
    }

    /// How long a message takes: mostly as in a good network, sometimes as in a bad one.
    pub(super) fn latency_us(&mut self) -> u64 {
        if self.strikes(self.rates.slow) {
            self.counts.delayed += 1;
            return self.span_us(50, 4_000);
        }
        self.span_us(1, 40)
    }
}
