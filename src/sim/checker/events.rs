//! **E5**: what readers are told of all tasks is on disk.

use super::{Checked, Checker};
use crate::proto::Violation;
use crate::proto::node::{EventView, TaskState};
use crate::types::TaskId;

impl Checker {
    /// A reader of all events of `host` was told this.
    pub(in crate::sim) fn told_event(&self, host: usize, event: &EventView) -> Checked {
        let id: TaskId = event.id.parse().map_err(|_| Violation {
            invariant: "E5",
            detail: format!("{:?} is no task", event.id),
        })?;
        let ended = match event.kind.as_str() {
            "completed" => Some(TaskState::Completed),
            "failed" => Some(TaskState::Failed),
            "canceled" => Some(TaskState::Canceled),
            _ => None,
        };
        let durable = self.durable[host].tasks.get(&id);
        let holds = durable.is_some_and(|record| match ended {
            Some(state) => record.state == state,
            // The events of a whole have tokens of its parts.
            None if event.kind == "offered" => {
                event.token.is_some_and(|token| token <= record.token.0)
            }
            None => true,
        });
        Violation::unless(holds, "E5", || {
            let durable = durable.map(|record| (record.state, record.token));
            format!("a reader of node {host} was told {event:?}, its disk has {durable:?}")
        })
    }
}
