//! Many tasks handed over at once: all of them, or none.

use std::collections::BTreeSet;

use super::{NewTask, Requester, SubmitOutcome};
use crate::crypto::Digest;
use crate::proto::Step;
use crate::types::{BatchId, TaskId};

impl Requester {
    /// Queues all of these, or none.
    ///
    /// Returns the task of each, new or from before, and what an acknowledgement of all rests on.
    ///
    /// # Errors
    /// The first that could not be queued, by its place, and why.
    pub fn submit_many(
        &mut self,
        news: Vec<NewTask>,
        step: &mut Step<'_>,
    ) -> Result<(Vec<TaskId>, BatchId), (usize, SubmitOutcome)> {
        let specs: Vec<Digest> = news.iter().map(NewTask::spec).collect();
        self.judge_all(&news, &specs)?;
        let mut ids = Vec::with_capacity(news.len());
        let mut after = BatchId::NONE;
        for (new, spec) in news.into_iter().zip(specs) {
            let (id, written) = match self.repeated(&new, spec) {
                Some(SubmitOutcome::Known(id, written)) => (id, written),
                _ => (new.id, self.admit(new, spec, None, step)),
            };
            ids.push(id);
            after = after.max(written);
        }
        Ok((ids, after))
    }

    fn judge_all(&self, news: &[NewTask], specs: &[Digest]) -> Result<(), (usize, SubmitOutcome)> {
        let (mut ids, mut keys) = (BTreeSet::new(), BTreeSet::new());
        let (mut tasks, mut bytes) = (0, 0);
        for (at, (new, spec)) in news.iter().zip(specs).enumerate() {
            let twice =
                !ids.insert(new.id) || new.key.as_ref().is_some_and(|key| !keys.insert(key));
            if twice {
                return Err((at, SubmitOutcome::Conflict(new.id)));
            }
            match self.repeated(new, *spec) {
                Some(SubmitOutcome::Known(..)) => {}
                Some(refused) => return Err((at, refused)),
                None => {
                    tasks += new.tasks();
                    bytes += new.input.len();
                    let room = self.room_for(tasks, bytes);
                    room.map_err(|full| (at, SubmitOutcome::Full(full)))?;
                }
            }
        }
        Ok(())
    }
}
