//! Tasks that a worker handed over before they had begun, because others have slots free.
//!
//! Nobody has failed: it costs the task no attempt and the worker no credit. Whom the worker named
//! is preferred where it is a candidate in any case; of work that several do it is no matter, or a
//! cheat could choose its fellows. So that a task does not go to and fro it is handed over
//! [`HANDOVERS_MAX`] times at most, which its offers say, and does not go back for a while to wait
//! where it came from.

use super::assign::state_at;
use super::choice::Asked;
use super::{Class, Requester};
use crate::proto::Step;
use crate::types::limits::{HANDOVERS_MAX, SUGGESTED_MAX};
use crate::types::{EntityId, Mono, TaskId};

/// How long it does not go back.
const AWAY_MS: u64 = 10_000;

/// What workers said that handed a task over. Not stored.
#[derive(Default)]
pub(super) struct Handed {
    suggested: Vec<EntityId>,
    /// Who did, and until when it does not go back to wait there.
    from: Vec<(EntityId, Mono)>,
}

impl Handed {
    /// Whom the worker named has had its chance.
    pub(super) fn answered(&mut self) {
        self.suggested.clear();
    }
}

impl Requester {
    /// The worker of a task's newest attempt says that others have slots free.
    pub(super) fn handed_over(
        &mut self,
        id: TaskId,
        mut suggest: Vec<EntityId>,
        step: &mut Step<'_>,
    ) {
        suggest.truncate(SUGGESTED_MAX);
        let idle: Vec<String> = suggest.iter().map(EntityId::to_string).collect();
        let newest = self.tasks[&id].record.attempts.last();
        let waited = newest.is_some_and(|attempt| attempt.outcome == state_at(true));
        let why = match waited {
            true => "it waited there for a slot",
            false => "no agent fetches it there",
        };
        let outcome = match &idle[..] {
            [] => format!("handed over: {why}"),
            [one] => format!("handed over: {why} while {one} is idle"),
            more => format!("handed over: {why} while {} are idle", more.join(", ")),
        };
        self.set_outcome(id, &outcome, true, step);
        let stayed = self.stays(id);
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        let (worker, part) = (task.record.worker, task.record.part.is_some());
        let now = step.now.mono;
        task.handed.from.retain(|(_, until)| *until > now);
        task.handed
            .from
            .extend(worker.map(|from| (from, now + AWAY_MS)));
        task.handed.suggested = if part { Vec::new() } else { suggest };
        if stayed {
            // It was asked to keep it: so it is given back like any other, and not for ever.
            self.given_back(id, step);
            return;
        }
        task.record.handovers += 1;
        self.dismiss(id);
        self.rest(id, 0, step);
    }

    /// Whether a worker is not to hand the task over.
    pub fn stays(&self, id: TaskId) -> bool {
        self.tasks
            .get(&id)
            .is_some_and(|task| task.record.to.is_some() || task.record.handovers >= HANDOVERS_MAX)
    }

    /// The task as one for which somebody is looked for.
    pub(super) fn asked<'a>(&'a self, id: TaskId, class: &'a Class, now: Mono) -> Asked<'a> {
        let task = &self.tasks[&id];
        let away = task.handed.from.iter().filter(|(_, until)| *until > now);
        Asked {
            record: &task.record,
            class,
            suggested: &task.handed.suggested,
            from: away.map(|(from, _)| *from).collect(),
        }
    }
}
