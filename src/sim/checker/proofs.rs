//! **T11** on the disks: what completed, or failed for good, can be shown to somebody else.

use super::durable::unreadable;
use super::{Checked, Checker};
use crate::proto::Violation;
use crate::proto::node::TaskState;
use crate::proto::task::TaskRecord;
use crate::sim::host::Host;
use crate::types::{EntityId, TaskId};
use crate::wire::{ResultProof, Stated, TaskEvidence, TaskOutcome};

impl Checker {
    /// The entry of a worker was written, or let go.
    pub(super) fn take_worker(
        &mut self,
        host: usize,
        key: &[u8],
        entry: Option<&Vec<u8>>,
    ) -> Checked {
        let worker = EntityId(key.try_into().map_err(unreadable)?);
        let workers = &mut self.durable[host].workers;
        match entry {
            Some(entry) => workers.insert(worker, entry.clone()),
            None => workers.remove(&worker),
        };
        Ok(())
    }

    /// A batch wrote the task's row: how it was before, and how it is.
    pub(super) fn check_proof(&self, host: usize, id: TaskId, was: Option<&TaskRecord>) -> Checked {
        let durable = &self.durable[host];
        let Some(record) = durable.tasks.get(&id) else {
            return Ok(());
        };
        let at_last = record.reason.as_deref().unwrap_or_default();
        if record.dead && at_last.starts_with("failed ") {
            return self.check_failure(host, record);
        }
        let before = was.is_some_and(|was| was.state == TaskState::Completed);
        // What several agreed on is shown by its parts.
        if record.state != TaskState::Completed || record.agreement.is_some() || before {
            return Ok(());
        }
        let shown = self.shown(host, record);
        Violation::unless(shown.is_some(), "T11", || {
            format!("nothing on the disk of node {host} shows what {id} came to")
        })
    }

    fn check_failure(&self, host: usize, record: &TaskRecord) -> Checked {
        let shown = || {
            let proof = ResultProof::from_bytes(record.proof.as_ref()?).ok()?;
            let entry = self.durable[host].workers.get(&proof.worker)?;
            let failed = matches!(proof.outcome, Stated::Failed { .. });
            let last = record.attempts.last()?;
            let fits = (proof.task, proof.token, proof.worker)
                == (record.id, record.token, last.worker)
                && proof.requester == self.entities[host];
            let evidence = TaskEvidence::new([(proof, &entry[..])]);
            evidence.verify().ok()?;
            (fits && failed).then_some(())
        };
        Violation::unless(shown().is_some(), "T11", || {
            let id = record.id;
            format!("nothing on the disk of node {host} shows how {id} failed at last")
        })
    }

    /// In the end everything is still shown, whatever keys were rotated since. Returns how many
    /// results are signed by a key that another followed, and how many by one that followed another.
    pub(in crate::sim) fn check_proofs(&self, hosts: &[Host]) -> Result<(u64, u64), Violation> {
        let (mut old, mut new) = (0, 0);
        for (host, durable) in self.durable.iter().enumerate() {
            for id in durable.tasks.keys() {
                self.check_proof(host, *id, None)?;
            }
            let kept = durable
                .tasks
                .values()
                .filter_map(|record| read(record.proof.as_ref()));
            for proof in kept {
                let Some(worker) = self.host_of(&proof.worker) else {
                    continue;
                };
                let identity = &hosts[worker].identity;
                old += u64::from(proof.key != identity.key().public());
                new += u64::from(proof.key != identity.chain().inception().key);
            }
        }
        Ok((old, new))
    }

    fn shown(&self, host: usize, record: &TaskRecord) -> Option<()> {
        let durable = &self.durable[host];
        let proof = read(record.proof.as_ref())?;
        let entry = durable.workers.get(&proof.worker)?;
        let evidence = TaskEvidence::new([(proof.clone(), &entry[..])]);
        evidence.verify().ok()?;
        let result = durable.results.get(&record.id).cloned();
        let right = match (record.result_file, result) {
            (Some(file), _) => Some(Stated::CompletedFile { file }),
            (None, Some(result)) if record.part.is_none() => {
                Some(Stated::of(&TaskOutcome::Completed { result }))
            }
            // The result of a part that agrees is its whole's.
            _ => None,
        };
        let fits = right.is_none_or(|right| right == proof.outcome)
            && (proof.task, Some(proof.token)) == (record.id, record.result_token)
            && proof.requester == self.entities[host]
            && Some(proof.worker) == record.worker;
        let part = record.part.as_deref();
        let opens = match part {
            Some(part) => proof.opens(&read(part.commitment.as_ref())?)?,
            None => true,
        };
        (fits && opens).then_some(())
    }
}

fn read(proof: Option<&serde_bytes::ByteBuf>) -> Option<ResultProof> {
    ResultProof::from_bytes(proof?).ok()
}
