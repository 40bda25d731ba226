//! What happened to a task, in order and numbered, for those who watch it.
//!
//! The events are in memory: what must survive is in the task's record, and after a start the log
//! is told anew from there. A log begins with what the record says as soon as something new
//! happens, so a task that only waits costs nothing.
//!
//! # Invariants
//! - **E1** Numbers of a task rise by one from event to event, and an event never changes, but that
//!   what a run wrote is let go. An offer that comes to nothing as the last one to the same worker
//!   did takes its place, counted: the numbers of that one are told no more. A life of the node begins
//!   at its wall clock in milliseconds, far above what the life before has told.
//! - **E2** Whoever asks for what came after a number that is not known (cut off, of another life)
//!   is told so, and gets all that is kept.
//!
//! # Bounds
//! [`EVENTS_KEPT`] a task, the oldest go; [`EVENT_NOTE_MAX_BYTES`] of each reason;
//! [`PROGRESS_TASK_MAX_BYTES`] of what runs write, until their task has ended.

use std::collections::VecDeque;

use super::record::TaskRecord;
use crate::types::limits::{EVENT_NOTE_MAX_BYTES, EVENTS_KEPT, PROGRESS_TASK_MAX_BYTES};
use crate::types::{EntityId, FencingToken, TaskState, Wall};

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// The task was handed over.
    Submitted,
    /// A worker was chosen; the offer may have left.
    Offered,
    /// The worker refused the offer: the attempt is taken back.
    Refused,
    /// The offer never left: likewise.
    NotSent,
    /// The worker accepted, and has no slot free for it yet.
    Waiting,
    /// The worker accepted, or came back with the task it was thought to have lost.
    Working,
    /// The worker gave it back without having tried.
    Released,
    /// The same, because others have slots free.
    HandedOver,
    /// The worker was lost, or did not answer the offer.
    Lost,
    /// The worker ran it and failed.
    AttemptFailed,
    /// The run says how far it is.
    Progress,
    /// The run has written something.
    Output,
    /// One of several workers committed to its result.
    Committed,
    /// The round takes no more commitments: the results are asked for.
    Closed,
    /// One of several workers told its result.
    Revealed,
    Completed,
    Failed,
    Canceled,
}

impl EventKind {
    /// Every one of them.
    pub const ALL: [EventKind; 18] = [
        EventKind::Submitted,
        EventKind::Offered,
        EventKind::Refused,
        EventKind::NotSent,
        EventKind::Waiting,
        EventKind::Working,
        EventKind::Released,
        EventKind::HandedOver,
        EventKind::Lost,
        EventKind::AttemptFailed,
        EventKind::Progress,
        EventKind::Output,
        EventKind::Committed,
        EventKind::Closed,
        EventKind::Revealed,
        EventKind::Completed,
        EventKind::Failed,
        EventKind::Canceled,
    ];

    /// The kind as programs see it.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Submitted => "submitted",
            EventKind::Offered => "offered",
            EventKind::Refused => "refused",
            EventKind::NotSent => "not_sent",
            EventKind::Waiting => "waiting",
            EventKind::Working => "working",
            EventKind::Released => "released",
            EventKind::HandedOver => "handed_over",
            EventKind::Lost => "lost",
            EventKind::AttemptFailed => "attempt_failed",
            EventKind::Progress => "progress",
            EventKind::Output => "output",
            EventKind::Committed => "committed",
            EventKind::Closed => "closed",
            EventKind::Revealed => "revealed",
            EventKind::Completed => "completed",
            EventKind::Failed => "failed",
            EventKind::Canceled => "canceled",
        }
    }

    /// The kind that is called so.
    pub fn named(name: &str) -> Option<EventKind> {
        EventKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }

    /// Whether nothing follows.
    pub(super) fn is_end(self) -> bool {
        matches!(
            self,
            EventKind::Completed | EventKind::Failed | EventKind::Canceled
        )
    }

    /// An offer came to nothing, and the worker has done nothing.
    fn is_in_vain(self) -> bool {
        matches!(self, EventKind::Refused | EventKind::NotSent)
    }

    /// What an attempt's outcome tells. An attempt that ends its task has the task's event alone.
    pub(super) fn of_outcome(outcome: &str) -> Option<(EventKind, Option<&str>)> {
        let (word, note) = match outcome.split_once(": ") {
            Some((word, note)) => (word, Some(note)),
            None => (outcome, None),
        };
        let kind = match word {
            "waiting" => EventKind::Waiting,
            "working" => EventKind::Working,
            "released" => EventKind::Released,
            "handed over" => EventKind::HandedOver,
            "lost" => EventKind::Lost,
            "failed" => EventKind::AttemptFailed,
            _ => return None,
        };
        Some((kind, note))
    }

    /// How a task ends.
    pub(super) fn of_end(state: TaskState) -> Option<EventKind> {
        match state {
            TaskState::Completed => Some(EventKind::Completed),
            TaskState::Failed => Some(EventKind::Failed),
            TaskState::Canceled => Some(EventKind::Canceled),
            _ => None,
        }
    }
}

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place among the task's; in the log without what the life counts from.
    pub number: u64,
    pub kind: EventKind,
    pub at: Wall,
    /// Of the attempt it belongs to, if it does.
    pub attempt: Option<(EntityId, FencingToken)>,
    pub note: Option<Box<str>>,
    pub said: Option<Box<Said>>,
    /// How many like it, one behind the other, it stands for.
    pub times: u32,
}

/// What a run said before it had ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Percent(u8),
    /// What it wrote, and where that begins. The bytes go when the task has ended, or when newer
    /// ones need their room.
    Output {
        offset: u64,
        data: Option<Vec<u8>>,
    },
}

impl Event {
    /// How far a run is.
    pub(super) fn progress(
        at: Wall,
        attempt: Option<(EntityId, FencingToken)>,
        percent: Option<u8>,
        note: &str,
    ) -> Event {
        let note = Some(note).filter(|note| !note.is_empty());
        Event {
            said: percent.map(|percent| Box::new(Said::Percent(percent))),
            ..Event::new(EventKind::Progress, at, attempt, note)
        }
    }

    /// What a run wrote.
    pub(super) fn output(
        at: Wall,
        attempt: Option<(EntityId, FencingToken)>,
        offset: u64,
        data: Vec<u8>,
    ) -> Event {
        let data = Some(data);
        Event {
            said: Some(Box::new(Said::Output { offset, data })),
            ..Event::new(EventKind::Output, at, attempt, None)
        }
    }

    fn take_output(&mut self) -> usize {
        match self.said.as_deref_mut() {
            Some(Said::Output { data, .. }) => data.take().map_or(0, |data| data.len()),
            _ => 0,
        }
    }

    fn output_bytes(&self) -> usize {
        match self.said.as_deref() {
            Some(Said::Output { data, .. }) => data.as_ref().map_or(0, Vec::len),
            _ => 0,
        }
    }
    /// An event; of a long note it keeps the beginning.
    pub(super) fn new(
        kind: EventKind,
        at: Wall,
        attempt: Option<(EntityId, FencingToken)>,
        note: Option<&str>,
    ) -> Event {
        let note = note.map(|note| &note[..note.floor_char_boundary(EVENT_NOTE_MAX_BYTES)]);
        Event {
            number: 0,
            kind,
            at,
            attempt,
            note: note.map(Into::into),
            said: None,
            times: 1,
        }
    }
}

/// Part of a task's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What came after the number asked for is not known any more: these are all that are kept.
    pub reset: bool,
    /// The number of the first of `events`, or of the one that is to come.
    pub first: u64,
    pub events: Vec<Event>,
    /// The newest number, whether its event is among `events` or not.
    pub last: u64,
}

/// A task's events. Empty until something happens in this life: then the record says it all.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    /// The number of the first that was not cut off.
    cut: u64,
    /// The number of the next.
    next: u64,
    kept: VecDeque<Event>,
    /// Of the output in it.
    said_bytes: usize,
}

impl Log {
    /// The bytes of output in it.
    pub(super) fn said_bytes(&self) -> usize {
        self.said_bytes
    }

    /// Lets the output go; that there was some stays.
    pub(super) fn forget_output(&mut self) {
        for event in &mut self.kept {
            event.take_output();
        }
        self.said_bytes = 0;
    }

    /// Adds what happens now. `record` is the task's before it happens.
    pub(super) fn push(&mut self, record: &TaskRecord, mut event: Event) {
        if self.next == 0 {
            *self = Log::from_record(record);
        }
        if event.kind.is_in_vain() {
            event.times += self.take_alike(&event);
        }
        self.said_bytes += event.output_bytes();
        let mut oldest = self.kept.iter_mut();
        while self.said_bytes > PROGRESS_TASK_MAX_BYTES
            && let Some(event) = oldest.next()
        {
            self.said_bytes -= event.take_output();
        }
        self.add(event);
        self.trim();
    }

    fn add(&mut self, event: Event) {
        let number = self.next;
        self.next += 1;
        self.kept.push_back(Event { number, ..event });
    }

    /// Takes out the last event like this one, with its offer, if nothing but offers in vain came
    /// since. Returns how many it stood for.
    fn take_alike(&mut self, event: &Event) -> u32 {
        let worker = |of: &Event| of.attempt.map(|(worker, _)| worker);
        let idle = |of: &&Event| of.kind.is_in_vain() || of.kind == EventKind::Offered;
        let lately = self.kept.iter().rev().take_while(idle).count();
        let alike = |of: &Event| {
            of.kind == event.kind && of.note == event.note && worker(of) == worker(event)
        };
        let from = self.kept.len() - lately;
        let found = (from..self.kept.len())
            .rev()
            .find(|at| alike(&self.kept[*at]));
        let Some(old) = found.and_then(|at| self.kept.remove(at)) else {
            return 0;
        };
        let offer = |of: &Event| of.kind == EventKind::Offered && of.attempt == old.attempt;
        self.kept.retain(|of| !offer(of));
        old.times
    }

    /// The newest event, if anything has happened in this life.
    pub(super) fn newest(&self) -> Option<&Event> {
        self.kept.back()
    }

    /// The newest event of a run that says how far it is.
    pub(super) fn progress(&self) -> Option<&Event> {
        let mut newest = self.kept.iter().rev();
        newest.find(|event| event.kind == EventKind::Progress)
    }

    /// What came after `after`, where the node's life counts from `base`.
    pub(super) fn told(&self, record: &TaskRecord, base: u64, after: Option<u64>) -> Told {
        let told;
        let log = if self.next == 0 {
            told = Log::from_record(record);
            &told
        } else {
            self
        };
        let first = base.saturating_add(log.cut);
        let last = base.saturating_add(log.next).saturating_sub(1);
        let after = after.unwrap_or_else(|| base.saturating_sub(1));
        let reset = after.saturating_add(1) < first || after > last;
        let from = if reset { first } else { after + 1 };
        let numbered = log.kept.iter().map(|event| Event {
            number: base.saturating_add(event.number),
            ..event.clone()
        });
        let events: Vec<Event> = numbered.filter(|event| event.number >= from).collect();
        Told {
            reset,
            first: events.first().map_or(from, |event| event.number),
            events,
            last,
        }
    }

    /// The events that a record tells of.
    fn from_record(record: &TaskRecord) -> Log {
        let submitted = Event::new(EventKind::Submitted, record.submitted, None, None);
        let mut log = Log::default();
        log.add(submitted);
        for attempt in &record.attempts {
            let named = Some((attempt.worker, attempt.token));
            log.add(Event::new(EventKind::Offered, attempt.started, named, None));
            if let Some((kind, note)) = EventKind::of_outcome(&attempt.outcome) {
                let at = attempt.ended.unwrap_or(attempt.started);
                log.add(Event::new(kind, at, named, note));
            }
        }
        if let Some(kind) = EventKind::of_end(record.state) {
            let at = record.ended.unwrap_or(record.submitted);
            let named = record.worker.map(|worker| (worker, record.token));
            log.add(Event::new(kind, at, named, record.reason.as_deref()));
        }
        log.trim();
        log
    }

    fn trim(&mut self) {
        while self.kept.len() > EVENTS_KEPT {
            if let Some(mut event) = self.kept.pop_front() {
                self.said_bytes -= event.take_output();
                self.cut = event.number + 1;
            }
        }
    }
}
