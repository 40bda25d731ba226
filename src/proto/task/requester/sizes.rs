//! How much of what a requester keeps.

use std::collections::{BTreeMap, BTreeSet};

use super::Requester;
use crate::proto::Size;
use crate::types::limits::AGREE_ROUNDS_MAX;

impl Requester {
    /// What there is of everything that is kept, beside what there may be. That tasks that ended, and
    /// the attempts and events of each, keep within their limits is told by their own tests.
    pub fn sizes(&self) -> Vec<Size> {
        let (bounds, keep) = (self.config.bounds, self.config.keep);
        let open = self.tasks.len() - self.over.len() - self.dead.len();
        let parts = self.tasks.iter().filter(|(id, task)| {
            let ended = task.record.state.is_terminal();
            task.record.part.is_some() && (!ended || self.open_whole(**id).is_some())
        });
        let parts = parts.count();
        let wholes = { self.tasks.values() }.filter(|task| !task.record.state.is_terminal());
        let asked = wholes.filter_map(|task| task.record.agreement.as_ref());
        let asked = asked.map(|of| usize::from(of.asked.replicas) * AGREE_ROUNDS_MAX as usize);
        let at_workers = self.at_worker.values().flat_map(BTreeMap::values);
        let at_workers = at_workers.chain(self.promised.values());
        let at_workers: usize = at_workers.map(BTreeSet::len).sum();
        let children: usize = self.children.values().map(BTreeSet::len).sum();
        vec![
            Size::new("tasks in a queue", open - parts, bounds.queue_tasks),
            Size::new(
                "bytes of their inputs",
                self.input_bytes,
                bounds.queue_bytes,
            ),
            Size::new("parts of tasks that several do", parts, asked.sum()),
            Size::new("tasks at workers", at_workers, open),
            Size::new("moments at which tasks are due", self.due.len(), open),
            Size::new("parts of held tasks", children, open),
            Size::new("dead letters", self.dead.len(), keep.failed_tasks as usize),
            Size::new(
                "bytes of the inputs of dead letters",
                self.dead_bytes,
                keep.failed_bytes as usize,
            ),
        ]
    }
}
