//! What happens, of all tasks at once.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Part of what happened, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventsView {
    /// Not all that came after the number asked for is known any more: `events` begins with the
    /// oldest that is kept, and `GET /v1/tasks` says what became of the rest.
    pub reset: bool,
    /// The number of the oldest that is kept, or of the one that is to come.
    pub first: u64,
    pub events: Vec<EventView>,
    /// What to ask for next, as `after`.
    pub next: u64,
    /// The newest number, whether its event is among `events` or not.
    pub last: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Rises from event to event of this node, also over restarts; by one, but where an event was
    /// replaced by a later one of its run (`progress`, `output`) or was not asked for.
    pub number: u64,
    /// `task`. There may be others later, which are left out unless asked for.
    pub topic: String,
    /// The id of the task.
    pub id: String,
    pub capability: String,
    /// The task that this one is a part of, where several workers do one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<String>,
    /// The event's number among those of its task.
    pub task_number: u64,
    /// As with `GET /v1/tasks/{id}/events`. Of `progress` and `output` the newest of a run is told.
    pub kind: String,
    /// RFC 3339.
    pub at: String,
    /// The entity id of the worker it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Of the attempt it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// Why, in words; with `progress` what the run says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// With `refused` and `not_sent`: how many of these, one behind the other, the task has had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// With `progress`: how far the run is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// With `output`: where in what the run writes the newest piece begins, and its bytes. The
    /// piece itself is among the events of its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
}
