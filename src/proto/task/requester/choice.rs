//! Which worker gets a task: who is known, what speaks against each, and the draw.
//!
//! Of those that fit and have room it is those with a slot free, of these whom the worker named that
//! handed the task over, then those that stand best, of these the least tried for this task; of two of these, drawn at random, the one that weighs more. A weight is credit × free
//! capacity ÷ expected delay.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::queue::Class;
use super::super::record::{AttemptRecord, Considered, TaskRecord, Why};
use crate::proto::Step;
use crate::types::{EntityId, Label, Prefix, Tier};

/// How far away a worker is taken to be where no round trip is known of anybody.
const UNKNOWN_RTT_US: u64 = 10_000;
/// What every offer takes, however near the worker is.
const OFFER_US: u64 = 1_000;
/// The weight of one free slot and one point of credit at a delay of one microsecond.
const SLOT_WEIGHT: u64 = 10_000_000;
/// The credit of whom nothing is known.
pub const CREDIT_UNKNOWN: u16 = 100;

/// What keeps a worker from being offered anything at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bar {
    Draining,
    Unattended,
    Unreachable,
    CircuitOpen,
    Banned,
}

impl Bar {
    fn why(self) -> Why {
        match self {
            Bar::Draining => Why::Draining,
            Bar::Unattended => Why::Unattended,
            Bar::Unreachable => Why::Unreachable,
            Bar::CircuitOpen => Why::CircuitOpen,
            Bar::Banned => Why::Banned,
        }
    }
}

/// A worker that offers a capability, as the caller knows it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub worker: EntityId,
    pub slots: u32,
    /// How many tasks may wait there for a slot.
    pub queue: u32,
    /// Work goes to the lowest that has room.
    pub standing: u8,
    pub rtt_us: Option<u64>,
    /// From what became of earlier tasks, 0 to 1000; none if there were none.
    pub score: Option<u16>,
    /// What it says of itself.
    pub labels: Arc<[Label]>,
    /// What it asks for one task.
    pub price: u64,
    /// How far it is preferred to others for that, 1 to 1000.
    pub credit: u16,
    /// The networks that its public addresses are in.
    pub prefixes: Arc<[Prefix]>,
    pub bar: Option<Bar>,
}

impl Candidate {
    /// One of whom nothing else is known.
    pub fn new(worker: EntityId, slots: u32) -> Candidate {
        Candidate {
            worker,
            slots,
            queue: 0,
            standing: 0,
            rtt_us: None,
            score: None,
            labels: Arc::default(),
            price: 0,
            credit: CREDIT_UNKNOWN,
            prefixes: Arc::default(),
            bar: None,
        }
    }
}

/// Whom a task must not go to: who does another part of the same work, and their neighbours.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Apart {
    pub workers: BTreeSet<EntityId>,
    pub prefixes: BTreeSet<Prefix>,
}

impl Apart {
    fn keeps_from(&self, candidate: &Candidate) -> bool {
        self.workers.contains(&candidate.worker)
            || candidate
                .prefixes
                .iter()
                .any(|prefix| self.prefixes.contains(prefix))
    }
}

/// What is in the middle of what the candidates are known to be: who is compared with that, or
/// taken to be like that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usual {
    /// Of those who ask for something; 0 if nobody does.
    price: u64,
    rtt_us: u64,
}

impl Usual {
    pub(super) fn of(candidates: &[Candidate]) -> Usual {
        let prices = candidates.iter().map(|one| one.price);
        let round_trips = candidates.iter().filter_map(|one| one.rtt_us);
        Usual {
            price: middle(prices.filter(|price| *price > 0)).unwrap_or(0),
            rtt_us: middle(round_trips).unwrap_or(UNKNOWN_RTT_US),
        }
    }
}

fn middle(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// A candidate in one round of assignment.
pub(super) struct Stand<'a> {
    pub(super) of: &'a Candidate,
    /// Slots that hold no task of ours, as long as none of ours waits there.
    pub(super) free: u32,
    /// Slots and places to wait at that hold no task of ours.
    pub(super) room: u32,
    /// What its runs take on average.
    pub(super) run_ms: u64,
    pub(super) passed_over: bool,
    pub(super) usual: Usual,
}

/// A task for which somebody is looked for.
pub(super) struct Asked<'a> {
    pub(super) record: &'a TaskRecord,
    pub(super) class: &'a Class,
    /// Who is said to have a slot free.
    pub(super) suggested: &'a [EntityId],
    /// Who handed it over a moment ago: it does not go there to wait once more.
    pub(super) from: Vec<EntityId>,
}

impl Stand<'_> {
    /// One more task of ours goes there.
    pub(super) fn give(&mut self) {
        self.room = self.room.saturating_sub(1);
        self.free = self.free.saturating_sub(1);
    }

    /// What keeps it from one task for a moment.
    fn held_off(&self, asked: &Asked<'_>) -> Option<Why> {
        let gave_back = self.free == 0 && asked.from.contains(&self.of.worker);
        gave_back.then_some(Why::HandedOver)
    }

    /// What keeps it from any task at the moment.
    fn bar(&self) -> Option<Why> {
        match self.of.bar {
            Some(bar) => Some(bar.why()),
            None if self.passed_over => Some(Why::PassedOver),
            None if self.room == 0 => Some(Why::Full),
            None => None,
        }
    }

    /// What keeps it from tasks of this class at any time.
    fn unfit(&self, class: &Class) -> Option<Why> {
        if class.to.is_some_and(|to| to != self.of.worker) {
            return Some(Why::NotNamed);
        }
        if !class
            .needs
            .iter()
            .all(|label| self.of.labels.contains(label))
        {
            return Some(Why::Label);
        }
        if Tier::of(self.of.score.unwrap_or(0)) < class.tier_min {
            return Some(Why::Tier);
        }
        if class.reward.is_some_and(|reward| self.of.price > reward) {
            return Some(Why::Price);
        }
        class.apart.keeps_from(self.of).then_some(Why::Apart)
    }

    /// Whether it takes anything at the moment.
    pub(super) fn takes(&self) -> bool {
        self.bar().is_none()
    }

    pub(super) fn fits(&self, class: &Class) -> bool {
        self.bar().is_none() && self.unfit(class).is_none()
    }

    /// What it is worth. Where a reward pays for it, a price within that is no matter.
    fn weight(&self, class: &Class) -> u64 {
        // The more of its slots work for us, the longer each takes: they share a machine.
        let busy = u64::from(self.of.slots.saturating_sub(self.free));
        let behind_us = self.run_ms * 1_000 * busy / u64::from(self.of.slots.max(1));
        let delay_us = self.of.rtt_us.unwrap_or(self.usual.rtt_us);
        let delay_us = delay_us.saturating_add(OFFER_US + behind_us);
        let room = u64::from(if self.free > 0 { self.free } else { self.room });
        let weight = u64::from(self.of.credit) * room * SLOT_WEIGHT / delay_us;
        let (price, usual) = (u128::from(self.of.price), u128::from(self.usual.price));
        let dear = price > 0 && class.reward.is_none();
        let weight = match dear {
            true => u128::from(weight) * usual / (usual + price),
            false => u128::from(weight),
        };
        u64::try_from(weight).unwrap_or(u64::MAX).max(1)
    }

    fn considered(&self, why: Why, class: &Class) -> Considered {
        let rtt_us = |us: u64| u32::try_from(us).unwrap_or(u32::MAX);
        Considered {
            worker: self.of.worker,
            why,
            room: self.free,
            rtt_us: self.of.rtt_us.map(rtt_us),
            score: self.of.score,
            price: self.of.price,
            weight: self.weight(class),
        }
    }
}

/// What was drawn.
pub(super) struct Choice {
    pub(super) at: usize,
    /// The other of the two.
    against: usize,
    best: Rank,
}

/// The lowest is chosen: slots before places to wait at, whom another worker named before others,
/// then how they stand and how often they have tried it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    waits: bool,
    unnamed: bool,
    standing: u8,
    tries: usize,
}

fn rank(asked: &Asked<'_>, stand: &Stand<'_>) -> Rank {
    let attempts = asked.record.attempts.iter();
    let here = |of: &&AttemptRecord| of.worker == stand.of.worker;
    // What was handed over was not tried.
    let tried = |of: &&AttemptRecord| !of.outcome.starts_with("handed over");
    Rank {
        waits: stand.free == 0,
        unnamed: !asked.suggested.contains(&stand.of.worker),
        standing: stand.of.standing,
        tries: attempts.filter(here).filter(tried).count(),
    }
}

/// Draws a worker for a task; none if nobody who fits has room.
pub(super) fn choose(
    asked: &Asked<'_>,
    stands: &[Stand<'_>],
    step: &mut Step<'_>,
) -> Option<Choice> {
    use rand::RngExt as _;
    let class = asked.class;
    let fit = |at: &usize| stands[*at].fits(class) && stands[*at].held_off(asked).is_none();
    let rank = |at: usize| rank(asked, &stands[at]);
    let best = (0..stands.len()).filter(fit).map(rank).min()?;
    let pool: Vec<usize> = (0..stands.len())
        .filter(|at| fit(at) && rank(*at) == best)
        .collect();
    let mut pick = || pool[step.rng.random_range(0..pool.len())];
    let (a, b) = (pick(), pick());
    let (at, against) = match stands[a].weight(class) >= stands[b].weight(class) {
        true => (a, b),
        false => (b, a),
    };
    Some(Choice { at, against, best })
}

/// Who was looked at for a task, the most telling first, and how many more than `max`.
pub(super) fn considered(
    asked: &Asked<'_>,
    stands: &[Stand<'_>],
    choice: Option<&Choice>,
    max: usize,
) -> (Vec<Considered>, u32) {
    let class = asked.class;
    let why = |at: usize, stand: &Stand<'_>| {
        let bar = stand.unfit(class).or(stand.bar());
        if let Some(why) = bar.or(stand.held_off(asked)) {
            return why;
        }
        let Some(choice) = choice else {
            return Why::Free;
        };
        let (rank, best) = (rank(asked, stand), choice.best);
        match () {
            () if at == choice.at => Why::Chosen,
            () if at == choice.against => Why::Lighter,
            () if rank.waits && !best.waits => Why::Queue,
            () if rank.unnamed && !best.unnamed => Why::NotDrawn,
            () if rank.standing > best.standing => Why::Standing,
            () if rank.tries > best.tries => Why::Tried,
            () => Why::NotDrawn,
        }
    };
    let mut told: Vec<Considered> = Vec::with_capacity(stands.len().min(max) + 1);
    for (at, stand) in stands.iter().enumerate() {
        let one = stand.considered(why(at, stand), class);
        let key = |one: &Considered| (one.why, Reverse(one.weight));
        let place = told.partition_point(|of| key(of) <= key(&one));
        if place < max {
            told.insert(place, one);
            told.truncate(max);
        }
    }
    let others = stands.len() - told.len();
    (told, u32::try_from(others).unwrap_or(u32::MAX))
}
