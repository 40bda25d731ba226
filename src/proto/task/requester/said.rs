//! What runs say before they have ended. It is told to whoever watches and written nowhere: what is
//! lost on the way, or in a restart, is made up for by the result.

use super::Requester;
use crate::proto::Step;
use crate::proto::task::events::Event;
use crate::types::limits::{
    PROGRESS_DATA_MAX_BYTES, PROGRESS_KEPT_MAX_BYTES, PROGRESS_NOTE_MAX_BYTES,
};
use crate::types::{EntityId, TaskId};
use crate::wire::{ProgressAnswer, ProgressItem};

impl Requester {
    /// A worker tells how far runs are. Returns the answers.
    pub fn said(
        &mut self,
        worker: EntityId,
        items: Vec<ProgressItem>,
        step: &Step<'_>,
    ) -> Vec<ProgressAnswer> {
        let one = |item: ProgressItem| {
            let wanted = self.is_current(item.task_id, item.token, worker)
                && self.tasks[&item.task_id].record.stream;
            if !wanted {
                return ProgressAnswer::Fenced;
            }
            self.note_said(worker, item, step);
            ProgressAnswer::Ok
        };
        items.into_iter().map(one).collect()
    }

    fn note_said(&mut self, worker: EntityId, item: ProgressItem, step: &Step<'_>) {
        let (id, attempt) = (item.task_id, Some((worker, item.token)));
        let at = step.now.wall;
        if item.percent.is_some() || item.note.is_some() {
            let percent = item.percent.map(|percent| percent.min(100));
            let mut note = item.note.unwrap_or_default();
            note.truncate(note.floor_char_boundary(PROGRESS_NOTE_MAX_BYTES));
            self.told_event(id, Event::progress(at, attempt, percent, &note), step);
        }
        let fits = |bytes: usize| {
            bytes <= PROGRESS_DATA_MAX_BYTES && self.said_bytes + bytes <= PROGRESS_KEPT_MAX_BYTES
        };
        // What does not fit is a gap, as what was lost on the way.
        if let Some(part) = item.output.filter(|part| fits(part.data.len())) {
            self.told_event(id, Event::output(at, attempt, part.offset, part.data), step);
        }
    }

    fn told_event(&mut self, id: TaskId, event: Event, step: &Step<'_>) {
        let task = self.tasks.get_mut(&id).expect("the caller found it");
        let before = task.events.said_bytes();
        task.events.push(&task.record, event);
        self.said_bytes = self.said_bytes - before + task.events.said_bytes();
        self.feed_event(id, step);
        self.stir(id);
    }

    /// The result says it all.
    pub(super) fn forget_said(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id) {
            self.said_bytes -= task.events.said_bytes();
            task.events.forget_output();
        }
    }
}
