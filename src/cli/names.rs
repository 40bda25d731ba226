//! What peers and tasks are called: for listings, and back from what a person gives.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::client::connect;
use super::exit::Failure;
use super::output::short;
use crate::api::client::ApiClient;
use crate::config::Home;
use crate::proto::node::EntryView;
use crate::types::{IdError, IdPart, TaskId};

/// The names that tell one peer from all others, by its ids.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    /// Asks the node; without an answer nobody has a name.
    pub(super) async fn ask(client: &ApiClient) -> Names {
        Names::of(client.registry(None).await.unwrap_or_default())
    }

    fn of(entries: Vec<EntryView>) -> Names {
        let mut called: BTreeMap<String, Vec<EntryView>> = BTreeMap::new();
        for entry in entries {
            called.entry(entry.name.clone()).or_default().push(entry);
        }
        let only = called.into_iter().filter(|(_, all)| all.len() == 1);
        let by_id = only.flat_map(|(name, all)| {
            let ids = |entry: EntryView| [entry.entity_id, entry.peer_id];
            all.into_iter()
                .flat_map(ids)
                .map(move |id| (id, name.clone()))
        });
        Names(by_id.collect())
    }

    /// The name if that is enough, or the id's end: a command takes either.
    pub(super) fn show(&self, id: &str) -> String {
        self.0.get(id).cloned().unwrap_or_else(|| short(id))
    }
}

/// A task as a person names it: its id, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TaskRef {
    Id(TaskId),
    Part(String),
}

impl TaskRef {
    /// Which task that is, as far as the node knows.
    pub(super) async fn id(&self, home: &Home) -> Result<TaskId, Failure> {
        let text = match self {
            TaskRef::Id(id) => return Ok(*id),
            TaskRef::Part(text) => text,
        };
        let view = connect(home)?.task(text).await?;
        let none = || Failure::failed("the node named a task without an id");
        view.id.parse().map_err(|_| none())
    }

    /// The same of several.
    pub(super) async fn ids(all: &[TaskRef], home: &Home) -> Result<Vec<TaskId>, Failure> {
        let mut ids = Vec::with_capacity(all.len());
        for one in all {
            ids.push(one.id(home).await?);
        }
        Ok(ids)
    }
}

impl FromStr for TaskRef {
    type Err = IdError;

    fn from_str(text: &str) -> Result<TaskRef, IdError> {
        if let Ok(id) = text.parse() {
            return Ok(TaskRef::Id(id));
        }
        let _: IdPart = text.parse().map_err(|_| {
            IdError(
                "a task id is a UUID; of a part of it give 4 characters or more, such as 0198c2a4",
            )
        })?;
        Ok(TaskRef::Part(text.to_owned()))
    }
}

impl fmt::Display for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskRef::Id(id) => id.fmt(f),
            TaskRef::Part(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, entity_id: &str, peer_id: &str) -> EntryView {
        EntryView {
            peer_id: peer_id.into(),
            entity_id: entity_id.into(),
            name: name.into(),
            state: "connected".into(),
            capabilities: Vec::new(),
            labels: Vec::new(),
            addresses: Vec::new(),
            key: String::new(),
            rotations: 0,
            seq: 1,
            expires: String::new(),
        }
    }

    #[test]
    fn a_name_is_shown_where_it_tells_who_is_meant() {
        let long = "ent1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        let names = Names::of(vec![
            entry("alice", "ent1alice", "12D3alice"),
            entry("bob", long, "12D3bob"),
            entry("bob", "ent1other", "12D3other"),
        ]);
        assert_eq!(names.show("ent1alice"), "alice");
        assert_eq!(names.show("12D3alice"), "alice");
        assert_eq!(names.show(long), "…aaaaaaaaaaaa", "two are called bob");
        assert_eq!(names.show("-"), "-");
    }

    #[test]
    fn a_task_is_named_by_its_id_or_a_part_of_it() {
        let id = "01980000-0000-7000-8000-00000000c0de";
        assert_eq!(id.parse(), Ok(TaskRef::Id(id.parse().expect("an id"))));
        for part in ["0198", "…c0de", "0198...c0de"] {
            assert_eq!(part.parse(), Ok(TaskRef::Part(part.to_owned())), "{part}");
        }
        for wrong in ["7", "bob", "a b c d"] {
            assert!(wrong.parse::<TaskRef>().is_err(), "{wrong}");
        }
    }
}
