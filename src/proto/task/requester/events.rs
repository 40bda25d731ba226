//! What the log tells those who watch a task. Each event is noted before the record changes.

use super::Requester;
use crate::proto::Step;
use crate::proto::task::events::{Event, EventKind, Told};
use crate::types::{EntityId, FencingToken, TaskId, TaskState};
use crate::wire::RefuseReason;

impl Requester {
    /// A task's events after number `after`, or all that are kept.
    pub fn events(&self, id: TaskId, after: Option<u64>) -> Option<Told> {
        let task = self.tasks.get(&id)?;
        Some(task.events.told(&task.record, self.first_event, after))
    }

    /// Have [`Requester::stirred`] name the task at its next event.
    pub fn watch(&mut self, id: TaskId) {
        self.watched.insert(id);
    }

    /// The watched tasks that had an event since the last call; they are watched no more.
    pub fn stirred(&mut self) -> Vec<TaskId> {
        std::mem::take(&mut self.stirred)
    }

    /// The task is about to end.
    pub(super) fn end_event(
        &mut self,
        id: TaskId,
        state: TaskState,
        reason: Option<&str>,
        step: &Step<'_>,
    ) {
        let kind = EventKind::of_end(state).expect("a task ends in a terminal state");
        let record = &self.tasks[&id].record;
        let completed = state == TaskState::Completed;
        let worker = record.worker.filter(|_| completed);
        let attempt = worker.map(|worker| (worker, record.token));
        self.event(id, kind, attempt, reason, step);
    }

    /// The newest attempt is about to get an outcome. The one it has, which every renewal repeats,
    /// is no event.
    pub(super) fn attempt_event(&mut self, id: TaskId, outcome: &str, step: &Step<'_>) {
        let open = self.tasks[&id].record.attempts.last();
        let open = open.filter(|attempt| attempt.ended.is_none() && attempt.outcome != outcome);
        let attempt = open.map(|attempt| (attempt.worker, attempt.token));
        if let (Some(_), Some((kind, note))) = (attempt, EventKind::of_outcome(outcome)) {
            self.event(id, kind, attempt, note, step);
        }
    }

    /// The task is about to be offered to `worker`.
    pub(super) fn offered_event(&mut self, id: TaskId, worker: EntityId, step: &Step<'_>) {
        let token = FencingToken(self.tasks[&id].record.token.0 + 1);
        self.event(id, EventKind::Offered, Some((worker, token)), None, step);
    }

    /// The newest attempt is about to be taken back: it was refused, or never left.
    pub(super) fn in_vain_event(
        &mut self,
        id: TaskId,
        refused: Option<RefuseReason>,
        step: &Step<'_>,
    ) {
        let newest = self.tasks[&id].record.attempts.last();
        let attempt = newest.map(|attempt| (attempt.worker, attempt.token));
        let (kind, why) = match refused {
            Some(reason) => (EventKind::Refused, in_words(reason)),
            None => (EventKind::NotSent, "unreachable"),
        };
        self.event(id, kind, attempt, Some(why), step);
    }

    /// How far the newest run of an open task is, as it last said.
    pub fn progress(&self, id: TaskId) -> Option<&Event> {
        let task = self.tasks.get(&id)?;
        let said = task.events.progress()?;
        let running = task.record.state == TaskState::Working;
        let (_, token) = said.attempt?;
        (running && token == task.record.token).then_some(said)
    }

    pub(super) fn event(
        &mut self,
        id: TaskId,
        kind: EventKind,
        attempt: Option<(EntityId, FencingToken)>,
        note: Option<&str>,
        step: &Step<'_>,
    ) {
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        let event = Event::new(kind, step.now.wall, attempt, note);
        let before = task.events.said_bytes();
        task.events.push(&task.record, event);
        self.said_bytes = self.said_bytes - before + task.events.said_bytes();
        self.feed_event(id, step);
        self.stir(id);
    }

    /// Whoever watches the task is told.
    pub(super) fn stir(&mut self, id: TaskId) {
        if self.watched.remove(&id) {
            self.stirred.push(id);
        }
    }
}

fn in_words(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::Busy => "busy",
        RefuseReason::UnknownCapability => "it does not offer that any more",
        RefuseReason::TooLarge => "the input is too large",
        RefuseReason::Stale => "it knows of a later offer",
        RefuseReason::NotAllowed => "its rules, or its disk, do not allow it",
        RefuseReason::Draining => "draining",
        RefuseReason::Price => "it asks for more",
    }
}
