//! Who was looked at when a worker was chosen, and what spoke for or against each.

use serde::{Deserialize, Serialize};

use crate::types::EntityId;

/// Why a worker was chosen or not: in this order they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It was offered the task.
    Chosen,
    /// It could take the task, which is offered to somebody at any moment.
    Free,
    /// It was drawn as well, and weighed less.
    Lighter,
    /// It could have had the task; two others were drawn.
    NotDrawn,
    /// It has tried this task more often than others.
    Tried,
    /// Others stand better: there is a live connection to them, and they answer.
    Standing,
    /// The task would have to wait there; others have a slot free.
    Queue,
    /// All its slots, and places to wait at, hold tasks of ours.
    Full,
    /// It handed the task over a moment ago.
    HandedOver,
    /// It refused, or did not answer, a moment ago.
    PassedOver,
    /// The task names another.
    NotNamed,
    /// It lacks a label that the task demands.
    Label,
    /// It has not come to the tier that the task demands.
    Tier,
    /// It asks for more than the task's reward.
    Price,
    /// The task must stay apart from what it, or a neighbour of its, does.
    Apart,
    /// It is about to stop and takes nothing.
    Draining,
    /// It has no agent at the moment that would fetch the task.
    Unattended,
    /// Nothing was heard of it for long.
    Unreachable,
    /// Too many requests to it failed lately.
    CircuitOpen,
    /// It misbehaved and is shunned for a while.
    Banned,
}

impl Why {
    /// The reason as programs see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Chosen => "chosen",
            Why::Free => "free",
            Why::Lighter => "lighter",
            Why::NotDrawn => "not_drawn",
            Why::Tried => "tried",
            Why::Standing => "standing",
            Why::Queue => "queue",
            Why::Full => "full",
            Why::HandedOver => "handed_over",
            Why::PassedOver => "passed_over",
            Why::NotNamed => "not_named",
            Why::Label => "label",
            Why::Tier => "tier",
            Why::Price => "price",
            Why::Apart => "apart",
            Why::Draining => "draining",
            Why::Unattended => "unattended",
            Why::Unreachable => "unreachable",
            Why::CircuitOpen => "circuit_open",
            Why::Banned => "banned",
        }
    }

    /// What so many workers do or are, in a sentence.
    pub fn in_words(self) -> &'static str {
        match self {
            Why::Chosen => "chosen",
            Why::Free => "free",
            Why::Lighter => "weighed less",
            Why::NotDrawn => "not drawn",
            Why::Tried => "tried it before",
            Why::Standing => "out of easy reach",
            Why::Queue => "with a queue only",
            Why::Full => "full",
            Why::HandedOver => "handing it over",
            Why::PassedOver => "passed over for a moment",
            Why::NotNamed => "not the one it names",
            Why::Label => "without a label that it needs",
            Why::Tier => "below the tier that it needs",
            Why::Price => "dearer than its reward",
            Why::Apart => "at work on another part of it",
            Why::Draining => "draining",
            Why::Unattended => "without an agent that fetches it",
            Why::Unreachable => "unreachable",
            Why::CircuitOpen => "failing too often",
            Why::Banned => "banned",
        }
    }
}

/// One worker as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub struct Considered {
    pub worker: EntityId,
    pub why: Why,
    /// Slots that were free for our tasks.
    pub room: u32,
    /// Round trip, if it is known.
    pub rtt_us: Option<u32>,
    /// From what became of earlier tasks, if there were any.
    pub score: Option<u16>,
    /// What it asked for.
    pub price: u64,
    /// What it was worth against others: the more, the rather it is chosen.
    pub weight: u64,
}

/// A list without names: there may be several in every row of a task. No round trip takes 0 µs; a
/// score is one more than it is, or 0 for none.
type Row = (EntityId, Why, u32, u32, u16, u64, u64);

impl From<Row> for Considered {
    fn from((worker, why, room, rtt_us, score, price, weight): Row) -> Considered {
        Considered {
            worker,
            why,
            room,
            rtt_us: Some(rtt_us).filter(|us| *us > 0),
            score: score.checked_sub(1),
            price,
            weight,
        }
    }
}

impl From<Considered> for Row {
    fn from(one: Considered) -> Row {
        let rtt_us = one.rtt_us.unwrap_or(0);
        let score = one.score.map_or(0, |score| score.saturating_add(1));
        let (price, weight) = (one.price, one.weight);
        (one.worker, one.why, one.room, rtt_us, score, price, weight)
    }
}
