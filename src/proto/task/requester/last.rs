//! What a task waited for, or failed of, last: it is kept with a task that failed, and in its reason.
//!
//! # Bounds
//! [`CONSIDERED_MAX`] workers are kept of a task, [`REASON_MAX_BYTES`] of its reason. Who is against
//! tasks of one class is asked once a step, however many of them end in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Candidate, Phase, Requester};
use crate::proto::Step;
use crate::proto::task::queue::Class;
use crate::proto::task::record::{Considered, TaskRecord, Why};
use crate::types::limits::{CONSIDERED_MAX, REASON_MAX_BYTES};
use crate::types::{Capability, Mono, TaskId, TaskState};

impl Requester {
    /// Keeps, with each task whose deadline has come while it waits, what keeps `candidates` from
    /// it. Call it before [`Requester::tick`].
    pub fn note_waits(
        &mut self,
        now: Mono,
        mut candidates: impl FnMut(&Capability) -> Arc<[Candidate]>,
    ) {
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        let waiting = due.filter_map(|(_, id)| Some((*id, self.waiting_at_its_end(*id, now)?)));
        let waiting: Vec<(TaskId, TaskId)> = waiting.collect();
        let mut known: BTreeMap<(Capability, Class), Unmet> = BTreeMap::new();
        for (id, part) in waiting {
            let capability = self.tasks[&id].record.capability.clone();
            let mut unmet = || {
                let candidates = candidates(&capability);
                Unmet::new(&capability, self.considered(part, &candidates, now))
            };
            let class = self.demands(part);
            // Who handed it over a moment ago is of this task alone.
            let unmet = match self.asked(part, &class, now).from.is_empty() {
                true => {
                    let class = (capability.clone(), class);
                    known.entry(class).or_insert_with(unmet).clone()
                }
                false => unmet(),
            };
            let record = &mut self.tasks.get_mut(&id).expect("it is due").record;
            (record.considered, record.others) = (unmet.considered, unmet.others);
            if let Some(why) = unmet.why {
                self.unmet.insert(id, why);
            }
        }
    }

    /// Its deadline has come and nobody has it: it, or a part of it that waits.
    fn waiting_at_its_end(&self, id: TaskId, now: Mono) -> Option<TaskId> {
        let task = &self.tasks[&id];
        let record = &task.record;
        if task.deadline > now || record.part.is_some() || record.state.is_terminal() {
            return None;
        }
        let waits = |of: &TaskId| {
            let task = self.tasks.get(of);
            task.is_some_and(|task| task.phase == Phase::Waiting)
        };
        let votes = record.agreement.iter().flat_map(|of| of.votes.iter());
        std::iter::once(id)
            .chain(votes.map(|vote| vote.part))
            .find(waits)
    }

    /// A task has not come to an end before its deadline.
    pub(super) fn out_of_time(&mut self, id: TaskId, step: &mut Step<'_>) {
        let unmet = self.unmet.remove(&id);
        if self.agreed_in_time(id, step) {
            return;
        }
        let mut runs = self.with_parts(id);
        let untried = runs.all(|record| record.attempts.is_empty());
        drop(runs);
        let why = match (untried, unmet) {
            (true, Some(unmet)) => {
                format!("no worker was found before the deadline; last: {unmet}")
            }
            (true, None) => String::from("no worker was found before the deadline"),
            (false, _) => match self.told_by_deadline(id) {
                Some(told) => told,
                None => self.with_last(id, "the deadline passed"),
            },
        };
        self.set_outcome(id, "lost: the deadline passed", true, step);
        self.finish(id, TaskState::Failed, Some(why), step);
    }

    /// Why a task ends, and what its last run failed of, if one did.
    pub(super) fn with_last(&self, id: TaskId, why: &str) -> String {
        let attempts = self.with_parts(id).flat_map(|record| &record.attempts);
        let failed = attempts.filter_map(|attempt| {
            let reason = attempt.outcome.strip_prefix("failed: ")?;
            Some((attempt.ended, reason))
        });
        let Some((_, reason)) = failed.max_by_key(|(ended, _)| *ended) else {
            return why.to_owned();
        };
        let mut text = format!("{why}; last: {reason}");
        text.truncate(text.floor_char_boundary(REASON_MAX_BYTES));
        text
    }

    /// The record of a task, and those of its parts.
    fn with_parts(&self, id: TaskId) -> impl Iterator<Item = &TaskRecord> {
        let record = self.tasks.get(&id).map(|task| &task.record);
        let agreement = record.and_then(|record| record.agreement.as_deref());
        let votes = agreement.into_iter().flat_map(|of| &of.votes);
        let parts = votes.filter_map(|vote| Some(&self.tasks.get(&vote.part)?.record));
        record.into_iter().chain(parts)
    }
}

/// What kept everybody from a task.
#[derive(Clone)]
struct Unmet {
    considered: Vec<Considered>,
    others: u32,
    why: Option<String>,
}

impl Unmet {
    fn new(capability: &Capability, (mut considered, others): (Vec<Considered>, u32)) -> Unmet {
        let why = match considered.is_empty() {
            true => Some(format!("no known peer offers {capability}")),
            false => nobody_fits(capability, &considered),
        };
        let cut = considered.len().saturating_sub(CONSIDERED_MAX);
        considered.truncate(CONSIDERED_MAX);
        let others = others.saturating_add(u32::try_from(cut).unwrap_or(u32::MAX));
        Unmet {
            considered,
            others,
            why,
        }
    }
}

/// Why none of those who offer it has a task, if so.
pub fn nobody_fits(capability: &Capability, considered: &[Considered]) -> Option<String> {
    let mut against: BTreeMap<Why, usize> = BTreeMap::new();
    for one in considered {
        *against.entry(one.why).or_default() += 1;
    }
    if against.is_empty() || against.contains_key(&Why::Free) {
        return None;
    }
    let against = against
        .iter()
        .map(|(why, n)| format!("{n} {}", why.in_words()));
    let against: Vec<String> = against.collect();
    let n = considered.len();
    Some(format!(
        "of {n} that offer {capability} {}",
        against.join(", ")
    ))
}
