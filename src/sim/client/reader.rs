//! Who reads the events of all tasks of a node, in pages and over its crashes.
//!
//! Read without a `reset` they have no gap: numbers rise by one, over all tasks and among those of
//! each. Here no run says anything, so none is replaced.

use std::collections::BTreeMap;

use super::{Asked, ClientEvent, Clients};
use crate::proto::Violation;
use crate::proto::node::{Command, EventFilter, EventsView, Input};
use crate::sim::checker::Checker;
use crate::sim::host::Host;
use crate::sim::stage::{Event, Stage};

/// It looks so often, and takes so many at a time: fewer than there may be.
const READ_US: u64 = 400_000;
const PAGE: usize = 16;

/// How far one reader is.
#[derive(Default)]
pub(super) struct Reader {
    after: Option<u64>,
    /// The number of each task's newest event among its own.
    tasks: BTreeMap<String, u64>,
}

impl Reader {
    pub(super) fn for_each(hosts: &[Host], stage: &mut Stage) -> Vec<Reader> {
        let one = |host: &Host| {
            let read = ClientEvent::Read { host: host.index };
            stage.at(READ_US, Event::Client(read));
            Reader::default()
        };
        hosts.iter().map(one).collect()
    }
}

impl Clients {
    pub(super) fn read(
        &mut self,
        host: usize,
        hosts: &[Host],
        stage: &mut Stage,
    ) -> Option<(usize, Input)> {
        stage.after(READ_US, Event::Client(ClientEvent::Read { host }));
        let after = self.readers[host].after;
        let filter = EventFilter {
            after,
            parts: true,
            limit: PAGE,
            ..EventFilter::default()
        };
        self.ask(host, Asked::Read { after }, Command::Events(filter), hosts)
    }

    pub(super) fn has_read(
        &mut self,
        host: usize,
        after: Option<u64>,
        page: &EventsView,
        checker: &Checker,
    ) -> Result<(), Violation> {
        let reader = &mut self.readers[host];
        // The answer to another question has come first.
        if reader.after != after {
            return Ok(());
        }
        let mut before = after.filter(|_| !page.reset);
        if before.is_none() {
            reader.tasks.clear();
        }
        for event in &page.events {
            let follows = before.is_none_or(|before| event.number == before + 1);
            Violation::unless(follows, "E4", || {
                format!("a reader of node {host} was told {event:?} behind {before:?}")
            })?;
            before = Some(event.number);
            let own = reader.tasks.insert(event.id.clone(), event.task_number);
            let follows = own.is_none_or(|own| event.task_number == own + 1);
            Violation::unless(follows, "E6", || {
                format!("a reader of node {host} was told {event:?} behind its task's {own:?}")
            })?;
            checker.told_event(host, event)?;
        }
        reader.after = Some(page.next);
        Ok(())
    }
}
