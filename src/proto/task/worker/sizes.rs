//! How much of what a worker keeps.

use super::Worker;
use crate::proto::Size;

impl Worker {
    /// What there is of everything that is kept, beside what there may be.
    pub fn sizes(&self) -> Vec<Size> {
        let bounds = self.config.bounds;
        let (live, known) = (self.len(), self.held.len());
        let begun = self.running() + self.waiting();
        let slots = self.config.capabilities.iter().map(|of| of.slots);
        let queues = (self.config.capabilities.iter()).map(|of| self.queue(&of.name));
        vec![
            Size::new("tasks held", live, bounds.held_tasks),
            Size::new(
                "tasks that were held",
                self.tombstones.len(),
                bounds.tombstones,
            ),
            Size::new("runs", self.running(), slots.sum::<u32>() as usize),
            Size::new(
                "tasks that wait for a slot",
                self.waiting(),
                queues.sum::<u32>() as usize,
            ),
            Size::new("outcomes to be taken", self.resend.len(), live),
            Size::new("outcomes whose age is known", self.space.ended.len(), live),
            Size::new("requesters that are told", self.renew_at.len(), known),
            Size::new("runs that end with their lease", self.orphans.len(), begun),
            Size::new("results asked for", self.asked.len(), live),
        ]
    }

    #[cfg(test)]
    pub(super) fn forgets_nothing(&self) -> bool {
        self.planted == Some(crate::proto::task::Planted::ForgetNothing)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "a planted defect of the tests")]
    pub(super) fn forgets_nothing(&self) -> bool {
        false
    }
}
