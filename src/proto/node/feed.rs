//! Watching all tasks: what happened to any of them, now or as soon as something does.
//!
//! Who waits is told that there is news, and asks for it then: with his filter, and behind what
//! the news rests on.

use super::Node;
use super::command::{CommandError, CommandErrorCode, CommandResult, Reply};
use super::events::event_view;
use super::views::{EventView, EventsView};
use crate::proto::Step;
use crate::proto::task::{EventFilter, Fed};
use crate::types::limits::COMMANDS_MAX;
use crate::types::{BatchId, CommandId};

/// What this node tells events of so far.
pub const TOPIC_TASK: &str = "task";

impl Node {
    pub(super) fn feed_reply(
        &self,
        filter: &EventFilter,
        step: &Step<'_>,
    ) -> (CommandResult, BatchId) {
        // This step has written nothing yet.
        let written = BatchId(step.batch.0.saturating_sub(1));
        let page = self.requester.feed(filter, written);
        let view = EventsView {
            reset: page.reset,
            first: page.first,
            events: page.events.iter().map(|fed| self.fed_view(fed)).collect(),
            next: page.next,
            last: page.last,
        };
        (Ok(Reply::Events(Box::new(view))), page.rests)
    }

    fn fed_view(&self, fed: &Fed) -> EventView {
        let about = &fed.about;
        let event = event_view(&fed.event);
        EventView {
            number: fed.number,
            topic: TOPIC_TASK.into(),
            id: about.id.to_string(),
            capability: about.capability.to_string(),
            part_of: about.part_of.map(|whole| whole.to_string()),
            task_number: self.requester.task_number(fed),
            kind: event.kind,
            at: event.at,
            worker: event.worker,
            token: event.token,
            note: event.note,
            times: event.times,
            percent: event.percent,
            offset: event.offset,
            length: fed.length,
        }
    }

    /// Answers now if there is news.
    pub(super) fn await_feed(&mut self, command: CommandId, after: u64) -> Option<CommandResult> {
        if self.requester.feed_last() != after {
            return Some(Ok(Reply::Done));
        }
        if self.await_feed.len() >= COMMANDS_MAX {
            let error = CommandError::new(CommandErrorCode::Busy, "too many wait for events");
            return Some(Err(error));
        }
        self.await_feed.push((command, after));
        None
    }

    /// Who waits for an event looks again, if there was one.
    pub(super) fn tell_feed(&mut self) {
        let last = self.requester.feed_last();
        if self.await_feed.iter().all(|(_, after)| *after == last) {
            return;
        }
        for (command, _) in std::mem::take(&mut self.await_feed) {
            self.reply(command, Ok(Reply::Done));
        }
    }
}
