//! T7, and what else must hold of the worker after every step.

use super::{Phase, Worker};
use crate::proto::Violation;

impl Worker {
    /// Checks that every index agrees with the held tasks.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<(), Violation> {
        for key in self.runs.values() {
            let open = self.held[key].outcome.is_none();
            Violation::unless(open, "B2", || format!("{} runs, and has ended", key.task))?;
        }
        for (key, held) in &self.held {
            let holds = match held.phase {
                Phase::Waiting { .. } => held.outcome.is_none(),
                Phase::Running { run } => {
                    self.runs.get(&run) == Some(key) && held.outcome.is_none()
                }
                Phase::Ended { resend, .. } => {
                    self.resend.contains(&(resend, *key)) && held.outcome.is_some()
                }
                Phase::Tombstone => self.tombstones.contains(&(held.keep_until, *key)),
            };
            Violation::unless(holds, "T7", || {
                format!(
                    "held task {} does not fit its phase {:?}",
                    key.task, held.phase
                )
            })?;
            let watched = match (held.phase, held.stops_at) {
                (Phase::Running { .. } | Phase::Waiting { .. }, at) => {
                    at.is_some() == held.record.stops_after_ms.is_some()
                }
                (_, at) => at.is_none(),
            };
            let watched = watched
                && held
                    .stops_at
                    .is_none_or(|at| self.orphans.contains(&(at, *key)));
            Violation::unless(watched, "T7", || {
                format!("nobody looks after the lease of {}", key.task)
            })?;
            let lives = held.phase != Phase::Tombstone;
            let indexed = self
                .live
                .get(&key.requester)
                .is_some_and(|live| live.contains(&key.task));
            Violation::unless(lives == indexed, "T7", || {
                format!("task {} lives: {lives}, indexed: {indexed}", key.task)
            })?;
            let told = held.phase == Phase::Tombstone || self.renew_at.contains_key(&key.requester);
            Violation::unless(told, "T7", || format!("task {} is never renewed", key.task))?;
        }
        self.check_waiting()?;
        self.check_places()
    }
}
