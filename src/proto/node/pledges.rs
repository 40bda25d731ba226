//! Parts of a task that wait until its requester knows what they cost (G1).
//!
//! Who hands such a part on is answered only then: the requester counts it from there on, whatever
//! becomes of us.
//!
//! # Bounds
//! `COMMANDS_MAX` wait at once, with [`PLEDGED_MAX_BYTES`] of inputs, each for [`WAIT_MS`].

use std::collections::BTreeMap;

use super::Node;
use super::command::{CommandError, CommandErrorCode, CommandResult, Submission};
use crate::proto::Step;
use crate::proto::task::HeldKey;
use crate::types::limits::COMMANDS_MAX;
use crate::types::{BatchId, CommandId, Mono};

/// How long the requester may be away.
const WAIT_MS: u64 = 10_000;
/// What the inputs that wait may take together.
const PLEDGED_MAX_BYTES: usize = 64 * 1024 * 1024;

/// What is handed over.
#[derive(Debug)]
pub(super) enum Handing {
    One(Box<Submission>),
    Many(Vec<Submission>),
}

#[derive(Debug)]
struct Pledge {
    command: CommandId,
    handing: Handing,
    until: Mono,
}

/// The commands that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Pledges(Vec<Pledge>);

impl Pledges {
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.0.iter().map(|pledge| pledge.until).min()
    }
}

impl Handing {
    fn all(&self) -> &[Submission] {
        match self {
            Handing::One(one) => std::slice::from_ref(&**one),
            Handing::Many(all) => all,
        }
    }

    fn bytes(&self) -> usize {
        self.all().iter().map(|one| one.input.len()).sum()
    }
}

impl Node {
    /// Hands over what is no part, or what the requester of its whole knows of; the rest waits, and
    /// is answered later.
    pub(super) fn pledge(
        &mut self,
        command: CommandId,
        handing: Handing,
        step: &mut Step<'_>,
    ) -> Option<(CommandResult, BatchId)> {
        if !self.is_unheard(&handing) {
            return Some(self.hand_over(handing, step));
        }
        let bytes = self.pledges.0.iter().map(|pledge| pledge.handing.bytes());
        let bytes = bytes.sum::<usize>() + handing.bytes();
        if self.pledges.0.len() >= COMMANDS_MAX || bytes > PLEDGED_MAX_BYTES {
            let text = "too many parts wait for the requester of their task: try again";
            let error = CommandError::new(CommandErrorCode::Busy, text);
            return Some((Err(error), BatchId::NONE));
        }
        let until = step.now.mono + WAIT_MS;
        self.pledges.0.push(Pledge {
            command,
            handing,
            until,
        });
        None
    }

    fn hand_over(&mut self, handing: Handing, step: &mut Step<'_>) -> (CommandResult, BatchId) {
        match handing {
            Handing::One(one) => self.submit(*one, step),
            Handing::Many(all) => self.submit_many(all, step),
        }
    }

    /// Hands over what has been heard of, tells of the rest, and lets nobody wait for ever.
    pub(super) fn hand_on_pledged(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        for pledge in std::mem::take(&mut self.pledges.0) {
            if !self.is_unheard(&pledge.handing) {
                let (result, after) = self.hand_over(pledge.handing, step);
                self.reply_after(pledge.command, result, after);
            } else if pledge.until <= now {
                let text = "the requester of the task is away, and has to know what parts cost \
                            before they begin: try again, or hand on parts without a reward";
                let error = CommandError::new(CommandErrorCode::Unreachable, text);
                self.reply(pledge.command, Err(error));
            } else {
                self.pledges.0.push(pledge);
            }
        }
        let mut costs: BTreeMap<HeldKey, u64> = BTreeMap::new();
        for pledge in &self.pledges.0 {
            for (parent, cost) in self.costs(&pledge.handing) {
                let sum = costs.entry(parent).or_default();
                *sum = sum.saturating_add(cost);
            }
        }
        for (parent, cost) in costs {
            self.worker.tell_of(parent, cost, now);
        }
    }

    fn is_unheard(&self, handing: &Handing) -> bool {
        let mut costs = self.costs(handing).into_iter();
        costs.any(|(parent, cost)| self.worker.is_unheard(parent, cost))
    }

    /// What new parts of each task cost.
    fn costs(&self, handing: &Handing) -> BTreeMap<HeldKey, u64> {
        let mut costs: BTreeMap<HeldKey, u64> = BTreeMap::new();
        for one in handing.all() {
            let is_known = || self.requester.task(one.id).is_some();
            if let Some(parent) = one.parent
                && one.wish.reward > 0
                && !is_known()
            {
                let cost = costs.entry(parent).or_default();
                *cost = cost.saturating_add(one.wish.reward);
            }
        }
        costs
    }
}
