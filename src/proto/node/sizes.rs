//! How much a node keeps in memory, for checkers.

use super::Node;
use crate::proto::Size;

impl Node {
    /// What there is of everything that the cores of tasks keep, and of what waits for them here,
    /// beside what there may be.
    pub fn sizes(&self) -> Vec<Size> {
        let (tasks, runs) = (self.requester.tasks().count(), self.worker.sizes());
        let held = self.worker.len();
        let under_way = self.in_flight.values().sum::<usize>();
        let mut sizes = self.requester.sizes();
        sizes.extend(runs);
        sizes.extend([
            Size::new(
                "tasks that somebody waits for",
                self.await_task.len(),
                tasks,
            ),
            Size::new("requests under way", self.exchanges.len(), under_way),
            Size::new(
                "runs that wait for their input",
                self.parts.parked.len(),
                held,
            ),
        ]);
        sizes.extend(self.parked_sizes());
        sizes
    }

    /// What waits for a flush.
    fn parked_sizes(&self) -> [Size; 3] {
        let (offers, cancels, results) = self.flush.sizes();
        let tasks = self.requester.tasks().count();
        [
            Size::new("offers behind a flush", offers, tasks),
            Size::new("cancels behind a flush", cancels, tasks),
            // Of some nothing may be kept any more but that they were held.
            Size::new("results behind a flush", results, self.worker.known()),
        ]
    }
}
