//! Who and what a person means that gives a name, or a part of an id as listings show it.
//!
//! A name and a part count alike: whoever calls himself like the beginning of somebody's id makes
//! it ambiguous, and is not taken in his place.

use super::Node;
use super::command::{CommandError, CommandErrorCode, CommandResult, Reply};
use crate::types::{EntityId, IdPart, NodeName, TaskId};

/// So many of several are told.
const TOLD_MAX: usize = 5;

impl Node {
    /// The one known entity of this name, or with this part of its entity id or peer id.
    pub(super) fn entity_named(&self, name: &NodeName) -> Result<Option<EntityId>, CommandError> {
        let part = IdPart::of_peer(name.as_str());
        let has_part = |entity: &EntityId, peer: &_| {
            let part = part.as_ref();
            part.is_some_and(|part| part.is_of_entity(entity) || part.is_of_peer(peer))
        };
        let found = self.registry.entries().filter(|entry| {
            let body = &entry.body;
            body.name == *name || has_part(&body.entity_id, &body.peer_id())
        });
        let found: Vec<_> = found
            .map(|entry| (entry.body.entity_id, &entry.body.name))
            .collect();
        match &found[..] {
            [] => Ok(None),
            [(entity, _)] => Ok(Some(*entity)),
            all => {
                let who = |(entity, called): &(EntityId, &NodeName)| format!("{called} ({entity})");
                let who = several(all.iter().map(who), all.len());
                let text = format!("{name} may be {who}: use an entity id or more of it");
                Err(CommandError::new(CommandErrorCode::Ambiguous, text))
            }
        }
    }

    /// The one task of ours whose id has this part.
    pub(super) fn find_task(&self, part: &IdPart) -> CommandResult {
        let tasks = self.requester.tasks_from(None, true);
        let found = tasks.filter(|(record, _)| part.is_of_task(record.id));
        let found: Vec<TaskId> = found.map(|(record, _)| record.id).collect();
        match found[..] {
            [id] => Ok(Reply::Found(id)),
            [] => {
                let text = format!("no task's id is {part}: `junto task list` shows them");
                Err(CommandError::new(CommandErrorCode::NotFound, text))
            }
            _ => {
                let which = several(found.iter(), found.len());
                let text = format!("{part} may be {which}: use more of the id");
                Err(CommandError::new(CommandErrorCode::Ambiguous, text))
            }
        }
    }
}

/// The first of them, and how many there are beside.
fn several(all: impl Iterator<Item = impl ToString>, count: usize) -> String {
    let told: Vec<String> = all.take(TOLD_MAX).map(|one| one.to_string()).collect();
    let told = told.join(" or ");
    match count.saturating_sub(TOLD_MAX) {
        0 => told,
        more => format!("{told} or one of {more} more"),
    }
}
