//! What the log tells those who watch all tasks.

use super::{Phase, Requester};
use crate::proto::task::events::{Event, EventKind};
use crate::proto::task::feed::{EventFilter, Fed, Page};
use crate::proto::{Step, Violation};
use crate::types::{BatchId, TaskId};

impl Requester {
    /// Events of all tasks. `written` is the newest batch that was handed to the disk.
    pub fn feed(&self, filter: &EventFilter, written: BatchId) -> Page<'_> {
        #[cfg(test)]
        if self.planted == Some(crate::proto::task::Planted::TellAllAtOnce) {
            return self.feed.page(filter, BatchId::NONE);
        }
        self.feed.page(filter, written)
    }

    /// The number of the newest of them.
    pub fn feed_last(&self) -> u64 {
        self.feed.last()
    }

    /// An event's number among its task's.
    pub fn task_number(&self, fed: &Fed) -> u64 {
        self.first_event.saturating_add(fed.event.number)
    }

    /// The task's log has noted something.
    pub(super) fn feed_event(&mut self, id: TaskId, step: &Step<'_>) {
        let task = &self.tasks[&id];
        if let Some(newest) = task.events.newest() {
            self.feed.tell(&task.record, newest, step.batch);
        }
    }

    /// A task is new: its record says so, and its log is empty until something happens to it.
    pub(super) fn feed_submitted(&mut self, id: TaskId, step: &Step<'_>) {
        let record = &self.tasks[&id].record;
        let event = Event::new(EventKind::Submitted, record.submitted, None, None);
        self.feed.tell(record, &event, step.batch);
    }

    /// Checks E6: what was noted of an open task in this life was told to all.
    pub(super) fn check_feed(&self) -> Result<(), Violation> {
        let is_open = |id: TaskId| {
            let task = self.tasks.get(&id);
            task.is_some_and(|task| task.phase != Phase::Over)
        };
        let open = self.tasks.iter().filter(|(id, _)| is_open(**id));
        for (id, newest) in open.filter_map(|(id, task)| Some((*id, task.events.newest()?))) {
            self.feed.check(id, newest)?;
        }
        self.feed.check_places(is_open)
    }
}
