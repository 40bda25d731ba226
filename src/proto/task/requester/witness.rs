//! What shows our tasks' outcomes to others: the proofs stand in the tasks' own rows, and here is
//! who signed them.
//!
//! A proof names a key. That the key is the worker's is shown by the worker's entry, which is kept
//! as long as a task is that has a proof of that worker: the network forgets it after hours. It is
//! written once a worker, and again when its key was rotated, not with each task.
//!
//! # Invariants
//! - **T11** A proof is stored in the batch of the outcome that it shows, and of every worker of
//!   whom there is one there is the entry. A worker of whom there is none has no entry here.
//!
//! # Bounds
//! One entry a worker of a task that is remembered.

use std::collections::BTreeMap;

use serde_bytes::ByteBuf;

use super::Requester;
use crate::crypto::PublicKey;
use crate::proto::task::record::TaskRecord;
use crate::proto::{Step, Violation};
use crate::types::{EntityId, Keyspace, TaskId};
use crate::wire::{ResultProof, SignedEntry};

/// What was signed, and the entry of who did.
#[derive(Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) proof: &'a ResultProof,
    pub(super) entry: &'a [u8],
}

/// One worker's entry.
#[derive(Debug, Default)]
struct Witness {
    /// The key that it names; none of one that does not read.
    key: Option<PublicKey>,
    entry: Vec<u8>,
    /// Tasks with a proof of the worker's.
    tasks: usize,
}

/// Everybody whose word is kept.
#[derive(Debug, Default)]
pub(super) struct Witnesses(BTreeMap<EntityId, Witness>);

impl Witnesses {
    /// Takes a stored entry back. Its signatures were checked before it was stored, and are
    /// checked again by whom it is shown to.
    pub(super) fn load(&mut self, worker: EntityId, entry: &[u8]) {
        let body = SignedEntry::parse(entry).ok();
        let witness = self.0.entry(worker).or_default();
        witness.key = body.map(|(body, _)| body.key);
        witness.entry = entry.to_vec();
    }

    /// A task has its first proof.
    pub(super) fn took(&mut self, worker: EntityId) {
        self.0.entry(worker).or_default().tasks += 1;
    }

    fn keep(&mut self, worker: EntityId, key: PublicKey, entry: &[u8], step: &mut Step<'_>) {
        let witness = self.0.entry(worker).or_default();
        if witness.key != Some(key) {
            witness.key = Some(key);
            witness.entry = entry.to_vec();
            let _ = step.put(Keyspace::TaskWorker, worker.0, entry.to_vec());
        }
    }

    fn gave_back(&mut self, worker: &EntityId, step: &mut Step<'_>) {
        if let Some(witness) = self.0.get_mut(worker) {
            witness.tasks = witness.tasks.saturating_sub(1);
            if witness.tasks == 0 {
                self.0.remove(worker);
                step.delete(Keyspace::TaskWorker, worker.0);
            }
        }
    }
}

/// Whose proof a task has.
pub(super) fn witness_of(record: &TaskRecord) -> Option<EntityId> {
    let part = record.part.as_deref();
    let committed = part.is_some_and(|part| part.commitment.is_some());
    // What failed is nobody's any more, and was its last worker's.
    let last = || record.attempts.last().map(|attempt| attempt.worker);
    let worker = match record.proof {
        Some(_) => record.worker.or_else(last),
        None => record.worker,
    };
    worker.filter(|_| record.proof.is_some() || committed)
}

impl Requester {
    /// Keeps what shows the outcome that is taken in this step: of a commitment beside what will
    /// show the result.
    pub(super) fn keep_proof(&mut self, id: TaskId, signed: Signed<'_>, step: &mut Step<'_>) {
        if self.forgets_proofs() {
            return;
        }
        let record = &mut self.tasks.get_mut(&id).expect("the caller found it").record;
        let first = witness_of(record).is_none();
        let bytes = Some(ByteBuf::from(signed.proof.to_bytes()));
        let open = record.part.as_deref_mut();
        match open.filter(|part| part.commitment.is_none()) {
            Some(part) => part.commitment = bytes,
            None => record.proof = bytes,
        }
        let Some(worker) = witness_of(record) else {
            return;
        };
        if first {
            self.witnesses.took(worker);
        }
        let key = signed.proof.key;
        self.witnesses.keep(worker, key, signed.entry, step);
    }

    /// The same of a failure that is the last one: it shows what the task has failed of. That of a
    /// part is its whole's matter.
    pub(super) fn keep_last_failure(
        &mut self,
        id: TaskId,
        signed: Signed<'_>,
        step: &mut Step<'_>,
    ) {
        let record = &self.tasks[&id].record;
        let last = record.failures + 1 >= self.config.failures_max;
        if last && record.part.is_none() {
            self.keep_proof(id, signed, step);
        }
    }

    #[cfg(test)]
    fn forgets_proofs(&self) -> bool {
        self.planted == Some(crate::proto::task::Planted::ForgetProof)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "a planted defect of the tests")]
    fn forgets_proofs(&self) -> bool {
        false
    }

    /// A task is forgotten, and what shows it.
    pub(super) fn drop_proof(&mut self, record: &TaskRecord, step: &mut Step<'_>) {
        if let Some(worker) = witness_of(record) {
            self.witnesses.gave_back(&worker, step);
        }
    }

    /// What shows a task's outcome: its proofs, each with the entry of who signed it. Of work that
    /// several do all that its parts were told, what was committed to first.
    pub fn proofs(&self, id: TaskId) -> Vec<(ResultProof, &[u8])> {
        let Some(task) = self.tasks.get(&id) else {
            return Vec::new();
        };
        let votes = task.record.agreement.iter().flat_map(|of| &of.votes);
        let parts = votes.filter_map(|vote| self.tasks.get(&vote.part));
        let records = std::iter::once(task).chain(parts).map(|task| &task.record);
        let proofs = records.flat_map(|record| {
            let part = record.part.as_deref();
            let committed = part.and_then(|part| part.commitment.as_ref());
            committed.into_iter().chain(&record.proof)
        });
        let shown = |bytes: &ByteBuf| {
            let proof = ResultProof::from_bytes(bytes).ok()?;
            let witness = self.witnesses.0.get(&proof.worker)?;
            Some((proof, &witness.entry[..]))
        };
        proofs.filter_map(shown).collect()
    }

    /// Checks T11 on this log.
    pub(super) fn check_witnesses(&self) -> Result<(), Violation> {
        let mut counted: BTreeMap<EntityId, usize> = BTreeMap::new();
        for task in self.tasks.values() {
            if let Some(worker) = witness_of(&task.record) {
                *counted.entry(worker).or_default() += 1;
            }
        }
        let kept = self.witnesses.0.iter();
        let kept: BTreeMap<EntityId, usize> = kept
            .filter(|(_, witness)| !witness.entry.is_empty())
            .map(|(worker, witness)| (*worker, witness.tasks))
            .collect();
        Violation::unless(
            kept == counted && kept.len() == self.witnesses.0.len(),
            "T11",
            || {
                format!(
                    "entries of {} workers are kept, proofs of {}",
                    kept.len(),
                    counted.len()
                )
            },
        )
    }
}
