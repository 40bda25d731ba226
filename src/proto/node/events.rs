//! Watching tasks: what happened to one, now or as soon as something does.

use super::Node;
use super::command::{CommandError, CommandErrorCode, CommandResult, Reply};
use super::tasks::{no_task, task_view};
use super::views::{ProgressView, TaskEventView, TaskEventsView};
use crate::proto::task::{Event, Said, Told};
use crate::types::limits::COMMANDS_MAX;
use crate::types::{BatchId, CommandId, TaskId};

impl Node {
    pub(super) fn events_reply(&self, id: TaskId, after: Option<u64>) -> CommandResult {
        let told = self.requester.events(id, after);
        let (told, (record, _)) = told
            .zip(self.requester.task(id))
            .ok_or_else(|| no_task(id))?;
        let Told {
            reset,
            events,
            last,
            ..
        } = told;
        Ok(Reply::TaskEvents(Box::new(TaskEventsView {
            task: task_view(record, self.waits_for(record)),
            reset,
            events: events.iter().map(event_view).collect(),
            last,
            over: record.state.is_terminal(),
        })))
    }

    /// Answers now if there is something to tell or nothing will follow.
    pub(super) fn await_events(
        &mut self,
        command: CommandId,
        id: TaskId,
        after: Option<u64>,
    ) -> Option<(CommandResult, BatchId)> {
        let (Some(told), Some((record, _))) =
            (self.requester.events(id, after), self.requester.task(id))
        else {
            return Some((Err(no_task(id)), BatchId::NONE));
        };
        if told.reset || !told.events.is_empty() || record.state.is_terminal() {
            return Some(self.rested(id, self.events_reply(id, after)));
        }
        if self.await_events.values().map(Vec::len).sum::<usize>() >= COMMANDS_MAX {
            let error = CommandError::new(CommandErrorCode::Busy, "too many watch tasks");
            return Some((Err(error), BatchId::NONE));
        }
        self.await_events
            .entry(id)
            .or_default()
            .push((command, after));
        self.requester.watch(id);
        None
    }

    /// Answers who waits for an event of a task that had one, once the task's row is durable.
    pub(super) fn tell_events(&mut self) {
        for id in self.requester.stirred() {
            for (command, after) in self.await_events.remove(&id).unwrap_or_default() {
                let (result, written) = self.rested(id, self.events_reply(id, after));
                self.reply_after(command, result, written);
            }
        }
    }
}

/// How far a run is, as it last said.
pub(super) fn progress_view(event: &Event) -> ProgressView {
    let percent = match event.said.as_deref() {
        Some(Said::Percent(percent)) => Some(*percent),
        _ => None,
    };
    ProgressView {
        at: event.at.to_rfc3339(),
        percent,
        note: event.note.as_deref().map(str::to_owned),
    }
}

pub(super) fn event_view(event: &Event) -> TaskEventView {
    let (percent, offset, data) = match event.said.as_deref() {
        Some(Said::Percent(percent)) => (Some(*percent), None, None),
        Some(Said::Output { offset, data }) => (None, Some(*offset), data.as_deref()),
        None => (None, None, None),
    };
    TaskEventView {
        number: event.number,
        kind: event.kind.as_str().to_owned(),
        at: event.at.to_rfc3339(),
        worker: event.attempt.map(|(worker, _)| worker.to_string()),
        token: event.attempt.map(|(_, token)| token.0),
        note: event.note.as_deref().map(str::to_owned),
        times: Some(event.times).filter(|times| *times > 1),
        percent,
        offset,
        text: data.and_then(|data| std::str::from_utf8(data).ok().map(str::to_owned)),
        data: data.map(|data| data_encoding::BASE64.encode(data)),
    }
}
