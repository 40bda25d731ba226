//! What happens to all tasks, in one row, for who watches many of them.
//!
//! Each task has a log of its own (`events`), which is whole as long as the task is kept; this is
//! the newest of all tasks, each event with the task that it is of. It is in memory: who reads it
//! and finds that he has missed something looks at the tasks themselves.
//!
//! Of what runs say the newest is enough here: `progress` and `output` take the place of what the
//! same run said before, and of the output only its place and length are told. Its bytes are in
//! the task's log.
//!
//! # Invariants
//! - **E3** Numbers rise by one from event to event of all tasks, and an event never changes. A
//!   life of the node begins at its wall clock in microseconds: faster than that nothing happens,
//!   so numbers rise from life to life. What is replaced is told no more under its number.
//! - **E4** Who goes on behind a number is told each event that is kept once, in order, and that
//!   some are gone if they are, or if the number is of another life.
//! - **E5** An event rests on all that was written up to the step in which it happened, and is told
//!   only once that is durable.
//! - **E6** What it tells of a task is what the task's log tells.
//!
//! # Bounds
//! `FEED_MAX_EVENTS` and `FEED_MAX_BYTES`, the oldest go; [`FEED_PAGE_MAX`] in an answer.
//! Readers cost nothing while they do not read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::events::{Event, EventKind, Said};
use super::record::TaskRecord;
use crate::proto::Violation;
use crate::types::limits::FEED_PAGE_MAX;
use crate::types::{BatchId, Capability, Label, TaskId, Wall};

/// Numbers for each millisecond of a life.
const NUMBERS_PER_MS: u64 = 1_000;

/// Which task an event is of.
#[derive(Debug, PartialEq, Eq)]
pub struct About {
    pub id: TaskId,
    pub capability: Capability,
    pub labels: BTreeSet<Label>,
    /// The task that it is a part of, where several workers do one.
    pub part_of: Option<TaskId>,
}

impl About {
    fn new(record: &TaskRecord) -> About {
        About {
            id: record.id,
            capability: record.capability.clone(),
            labels: record.marks.labels.clone(),
            part_of: record.part.as_ref().map(|part| part.parent),
        }
    }

    fn bytes(&self) -> usize {
        let label = |label: &Label| size_of::<Label>() + label.as_str().len();
        let labels: usize = self.labels.iter().map(label).sum();
        size_of::<About>() + self.capability.as_str().len() + labels
    }
}

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fed {
    pub number: u64,
    pub about: Arc<About>,
    /// As the task's log has it, without what a run wrote.
    pub event: Event,
    /// How much it wrote.
    pub length: Option<usize>,
    /// The newest batch of the step, if that wrote any.
    rests: BatchId,
}

impl Fed {
    /// What is counted for it. Tasks are shared, and counted each time all the same.
    fn bytes(&self) -> usize {
        let note = self.event.note.as_ref().map_or(0, |note| note.len());
        let said = self.event.said.as_ref().map_or(0, |_| size_of::<Said>());
        size_of::<Fed>() + note + said + self.about.bytes()
    }
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those behind this number; all that are kept without it.
    pub after: Option<u64>,
    pub capability: Option<Capability>,
    /// Only those of tasks with this label.
    pub label: Option<Label>,
    /// Only these kinds; all if there is none.
    pub kinds: BTreeSet<EventKind>,
    /// Those of parts of tasks that several workers do, too.
    pub parts: bool,
    /// At most so many, and no more than [`FEED_PAGE_MAX`].
    pub limit: usize,
}

impl EventFilter {
    fn wants(&self, fed: &Fed) -> bool {
        (self.parts || fed.about.part_of.is_none())
            && (self.kinds.is_empty() || self.kinds.contains(&fed.event.kind))
            && (self.capability.as_ref()).is_none_or(|wanted| fed.about.capability == *wanted)
            && (self.label.as_ref()).is_none_or(|wanted| fed.about.labels.contains(wanted))
    }
}

/// Part of what happened.
#[derive(Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// What came after the number asked for is not known any more, or not all of it.
    pub reset: bool,
    /// The number of the oldest that is kept, or of the one that is to come.
    pub first: u64,
    pub events: Vec<&'a Fed>,
    /// What to ask for next: nothing before it is kept that was wanted and is not among `events`.
    pub next: u64,
    /// The newest number of all.
    pub last: u64,
    /// What the answer rests on.
    pub rests: BatchId,
}

/// Where a task stands in the feed, as long as it is open.
#[derive(Debug)]
struct Place {
    about: Arc<About>,
    /// The numbers of its newest events of what runs say, which the next ones replace.
    progress: u64,
    output: u64,
    newest: u64,
}

/// The newest events of all tasks.
#[derive(Debug)]
pub(super) struct Feed {
    max_events: usize,
    max_bytes: usize,
    /// The number of the first that was not cut off.
    cut: u64,
    /// The number of the next.
    next: u64,
    kept: BTreeMap<u64, Fed>,
    bytes: usize,
    places: BTreeMap<TaskId, Place>,
}

impl Feed {
    /// Nothing has happened; of what will, this much is kept.
    pub(super) fn new(max_events: usize, max_bytes: usize) -> Feed {
        Feed {
            max_events,
            max_bytes,
            cut: 1,
            next: 1,
            kept: BTreeMap::new(),
            bytes: 0,
            places: BTreeMap::new(),
        }
    }

    /// A life begins.
    pub(super) fn begin(&mut self, now: Wall) {
        self.next = now.0.max(1).saturating_mul(NUMBERS_PER_MS);
        self.cut = self.next;
    }

    /// The newest number.
    pub(super) fn last(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Adds what the task's log has just noted. `rests` is the batch of this step.
    pub(super) fn tell(&mut self, record: &TaskRecord, event: &Event, rests: BatchId) {
        let place = self.places.entry(record.id).or_insert_with(|| Place {
            about: Arc::new(About::new(record)),
            progress: 0,
            output: 0,
            newest: 0,
        });
        let number = self.next;
        self.next += 1;
        place.newest = number;
        let replaced = match event.kind {
            EventKind::Progress => std::mem::replace(&mut place.progress, number),
            EventKind::Output => std::mem::replace(&mut place.output, number),
            _ => 0,
        };
        let mut length = None;
        let said = event.said.as_deref().map(|said| match said {
            Said::Percent(percent) => Said::Percent(*percent),
            Said::Output { offset, data } => {
                length = Some(data.as_ref().map_or(0, Vec::len));
                Said::Output {
                    offset: *offset,
                    data: None,
                }
            }
        });
        let fed = Fed {
            number,
            about: Arc::clone(&place.about),
            event: Event {
                said: said.map(Box::new),
                note: event.note.clone(),
                ..*event
            },
            length,
            rests,
        };
        if event.kind.is_end() {
            self.places.remove(&record.id);
        }
        // Of another run it says nothing about this one.
        let same_run = |old: &Fed| old.event.attempt == event.attempt;
        if self.kept.get(&replaced).is_some_and(same_run) {
            self.remove(replaced);
        }
        self.bytes += fed.bytes();
        self.kept.insert(number, fed);
        while self.kept.len() > self.max_events || self.bytes > self.max_bytes {
            let Some((oldest, _)) = self.kept.first_key_value() else {
                break;
            };
            let oldest = *oldest;
            self.remove(oldest);
            self.cut = oldest + 1;
        }
    }

    fn remove(&mut self, number: u64) {
        if let Some(fed) = self.kept.remove(&number) {
            self.bytes -= fed.bytes();
        }
    }

    /// The events that are wanted. `written` is the newest batch there is.
    pub(super) fn page(&self, filter: &EventFilter, written: BatchId) -> Page<'_> {
        let last = self.last();
        let known = |after: u64| after.saturating_add(1) >= self.cut && after <= last;
        let reset = filter.after.is_some_and(|after| !known(after));
        let from = filter.after.filter(|after| known(*after));
        let from = from.map_or(self.cut, |after| after.saturating_add(1));
        let limit = filter.limit.clamp(1, FEED_PAGE_MAX);
        let behind = self.kept.range(from..).map(|(_, fed)| fed);
        let events: Vec<&Fed> = { behind.filter(|fed| filter.wants(fed)) }
            .take(limit)
            .collect();
        let newest = events.last();
        Page {
            reset,
            first: self.kept.keys().next().copied().unwrap_or(self.next),
            next: newest
                .filter(|_| events.len() >= limit)
                .map_or(last, |fed| fed.number),
            last,
            // A step that wrote nothing has told of a batch that may never come.
            rests: newest.map_or(BatchId::NONE, |fed| fed.rests.min(written)),
            events,
        }
    }

    /// Checks E6 on an open task: `newest` is the newest event of its log.
    ///
    /// # Errors
    /// The violation.
    pub(super) fn check(&self, id: TaskId, newest: &Event) -> Result<(), Violation> {
        let known = self.places.get(&id).map(|place| place.newest);
        let told = known.and_then(|number| self.kept.get(&number));
        let same = |told: &Fed| {
            let told = &told.event;
            (newest.number, newest.kind, newest.at) == (told.number, told.kind, told.at)
        };
        let gone = known.is_some_and(|number| number < self.cut);
        Violation::unless(told.map_or(gone, same), "E6", || {
            format!("of task {id} all are told {told:?} at last, its own {newest:?}")
        })
    }

    /// Checks the bounds, and that there is a place for open tasks only.
    ///
    /// # Errors
    /// The violation.
    pub(super) fn check_places(&self, is_open: impl Fn(TaskId) -> bool) -> Result<(), Violation> {
        let bytes: usize = self.kept.values().map(Fed::bytes).sum();
        let fits = bytes == self.bytes && bytes <= self.max_bytes;
        let fits = fits && self.kept.len() <= self.max_events;
        Violation::unless(fits, "E4", || {
            let (events, counted) = (self.kept.len(), self.bytes);
            format!("{events} events of {bytes} bytes are kept, {counted} are counted")
        })?;
        let over = self.places.keys().find(|id| !is_open(**id));
        Violation::unless(over.is_none(), "E6", || {
            format!("task {over:?} is over and has a place among the events")
        })
    }
}
