//! Webhooks that were heard or given up: how that came, for who looks at the task.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Stage, Standing};
use crate::proto::Step;
use crate::types::limits::{TERMINAL_KEEP_MS, WEBHOOKS_MAX};
use crate::types::{BatchId, Keyspace, TaskId, Wall};

/// How a webhook came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    pub(super) at: Wall,
    pub(super) heard: bool,
    pub(super) tries: u32,
    /// What the last try came to, if it was not heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<String>,
}

/// Those that are over, and the batch that wrote each.
#[derive(Debug, Default)]
pub(super) struct Over {
    ends: BTreeMap<TaskId, (End, BatchId)>,
    oldest: BTreeSet<(Wall, TaskId)>,
}

impl Over {
    pub(super) fn insert(&mut self, task: TaskId, end: End, written: BatchId) {
        self.remove(task);
        self.oldest.insert((end.at, task));
        self.ends.insert(task, (end, written));
    }

    /// Forgets one. Returns whether it was there.
    pub(super) fn remove(&mut self, task: TaskId) -> bool {
        let end = self.ends.remove(&task);
        if let Some((end, _)) = &end {
            self.oldest.remove(&(end.at, task));
        }
        end.is_some()
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = &TaskId> {
        self.ends.keys()
    }

    pub(super) fn standing(&self, task: TaskId) -> Option<(Standing<'_>, BatchId)> {
        let (end, written) = self.ends.get(&task)?;
        let standing = Standing {
            stage: match end.heard {
                true => Stage::Heard(end.at),
                false => Stage::GivenUp(end.at),
            },
            tries: end.tries,
            answer: end.answer.as_deref(),
        };
        Some((standing, *written))
    }

    /// Forgets those whose tasks are, and the oldest of too many.
    pub(super) fn trim(&mut self, step: &mut Step<'_>) {
        while let Some((at, task)) = self.oldest.first().copied() {
            let is_old = step.now.wall > at + TERMINAL_KEEP_MS;
            if !is_old && self.ends.len() <= WEBHOOKS_MAX {
                return;
            }
            self.remove(task);
            step.delete(Keyspace::Webhook, task.0.as_bytes().to_vec());
        }
    }
}
