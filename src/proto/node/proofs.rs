//! Results that are signed: whose signature is taken, and what shows an outcome to others.

use super::Node;
use super::command::{CommandError, CommandErrorCode, CommandResult, Reply};
use super::tasks::no_task;
use crate::types::{BatchId, EntityId, TaskId};
use crate::wire::{ResultParties, SignedItem, TaskEvidence, TaskResult, WireError};

impl Node {
    /// Takes a worker's list apart, if it is signed as the worker signs at present; and the entry
    /// that says so.
    ///
    /// # Errors
    /// `INVALID_STATE` for a key that is not known as the worker's, perhaps not yet or not any
    /// more: an honest worker sends its list again. `INVALID_SIGNATURE`.
    pub(super) fn open_results(
        &self,
        from: EntityId,
        list: TaskResult,
    ) -> Result<(Vec<SignedItem>, &[u8]), WireError> {
        let entry = self.registry.entry(&from).ok_or(WireError::InvalidState)?;
        if entry.body.key != list.proof.key {
            return Err(WireError::InvalidState);
        }
        let told = list.open(&ResultParties {
            requester: self.identity.entity_id,
            worker: from,
        })?;
        Ok((told, &entry.bytes))
    }

    /// What shows a task's outcome to a third party.
    pub(super) fn proof_reply(&self, id: TaskId) -> (CommandResult, BatchId) {
        let Some((record, mut after)) = self.requester.task(id) else {
            return (Err(no_task(id)), BatchId::NONE);
        };
        let votes = record.agreement.iter().flat_map(|of| &of.votes);
        for part in votes.filter_map(|vote| self.requester.task(vote.part)) {
            after = after.max(part.1);
        }
        let proofs = match record.state.is_terminal() {
            true => self.requester.proofs(id),
            false => Vec::new(),
        };
        let reply = match proofs.is_empty() {
            false => Ok(Reply::TaskProof(Box::new(TaskEvidence {
                agree: record.agreement.as_ref().map(|of| of.asked.agree),
                ..TaskEvidence::new(proofs)
            }))),
            true => Err(CommandError::new(
                CommandErrorCode::Conflict,
                format!(
                    "nothing shows task {id} to others: it is {}, and what is kept is what a worker \
                     signed of a result, or of the failure that was the last",
                    record.state.as_str()
                ),
            )),
        };
        (reply, after)
    }
}
