//! The core's news as log lines.

use tracing::{debug, error, info, warn};

use crate::proto::node::Note;
use crate::proto::registry::KeyNews;

/// Writes one line.
pub(super) fn note(note: &Note) {
    match note {
        Note::SessionUp { peer, entity, name } => {
            info!(%peer, %entity, name, "session established");
        }
        Note::HealthChanged { peer, state } => info!(%peer, state, "peer's health changed"),
        Note::BreakerOpened { peer } => {
            warn!(%peer, "no answers: nothing more is sent there for a while");
        }
        Note::SessionRefused { peer, why } => warn!(%peer, why, "no session came about"),
        Note::PeerBanned { peer, for_ms } => warn!(%peer, for_ms, "peer banned for misbehaviour"),
        Note::WrongNetwork { peer } => info!(%peer, "peer belongs to another network"),
        Note::BootstrapFailed { addr, why } => {
            warn!(addr, why, "bootstrap peer not reached, trying again");
        }
        Note::TaskAssigned {
            task,
            worker,
            token,
        } => {
            info!(%task, %worker, token, "task assigned");
        }
        Note::ResultLetGo { task, requester } => {
            warn!(%task, %requester, "a result that nobody acknowledged for long made room for others");
        }
        Note::DiskShort { why } => warn!("{why}: no new task is taken"),
        Note::DiskRoomAgain => info!("the disk has room again"),
        Note::TaskTaken { task, requester } => info!(%task, %requester, "task taken"),
        Note::DeadLetterForgotten { task } => {
            warn!(%task, "a failed task is kept no longer: its input was dropped");
        }
        Note::TaskEnded { task, state } => info!(%task, state, "task ended"),
        Note::LeaseLost { task, worker, why } => warn!(%task, %worker, why, "worker lost"),
        Note::WebhookGivenUp { task } => {
            warn!(%task, "nobody heard that the task has ended: its webhook is given up");
        }
        Note::MessageExpired { message, from } => {
            warn!(%message, %from, "a message in the inbox expired: nobody took it");
        }
        Note::FileArrived {
            from,
            name,
            size,
            noted: true,
        } => info!(%from, ?name, size, "file received"),
        Note::FileArrived {
            from, name, size, ..
        } => {
            warn!(%from, ?name, size, "file received, and the inbox has no room for a note of it");
        }
        Note::Keys(KeyNews::Rotated { entity, rotations }) => {
            info!(%entity, rotations, "an entity rotated its key");
        }
        Note::Keys(KeyNews::Forked { entity }) => warn!(
            %entity,
            "two different rotations of one key exist, the first seen stays: somebody has a copy \
             of this entity's secrets"
        ),
        Note::Keys(KeyNews::Outdated) => error!(
            "the network knows newer keys of this entity than this home has, so nobody listens to \
             it: the key was rotated elsewhere; restore the newest backup"
        ),
        // The reason is somebody else's text: for the API to show, not for the log to trust.
        Note::Woken { from, reason } => {
            info!(%from, "woken");
            debug!(%from, ?reason, "woken because");
        }
    }
}
