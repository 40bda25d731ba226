//! What is said of a task beside its work.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::limits::LABELS_MAX;
use super::{Label, Tier};

/// What a task demands of its worker, and what it is labelled with itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// Labels that the worker must have, all of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub needs: BTreeSet<Label>,
    /// What the worker must have come to at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier_min: Option<Tier>,
    /// By which the task is found again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<Label>,
}

impl Marks {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Marks::default()
    }

    /// Whether there are no more labels than are allowed.
    pub fn fits(&self) -> bool {
        self.needs.len() <= LABELS_MAX && self.labels.len() <= LABELS_MAX
    }
}
