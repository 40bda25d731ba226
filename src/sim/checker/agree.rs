//! Work that several workers do: what must hold between its requester's disk and its workers.
//!
//! - **A1** A worker is asked for a result only once its round is closed on the requester's disk.
//! - **A3** What the requester takes for committed is on the worker's disk; a commitment that the
//!   worker takes for acknowledged is on the requester's.
//! - **A4** What completed has as many equal results that fit their commitments as were asked for,
//!   and they are right: fewer workers cheat than would be needed.
//! - **A5** Nobody is named for another result, or a false one, who gave none.
//! - **A6** What failed has fewer equal results than were asked for, and if any was told the reason
//!   names who told it.

use super::{Checked, Checker};
use crate::proto::Violation;
use crate::proto::node::{Node, TaskState};
use crate::proto::task::{AgreementRecord, HeldKey, TaskRecord, Verdict};
use crate::types::TaskId;

fn check_reason(id: TaskId, record: &TaskRecord, agreement: &AgreementRecord) -> Checked {
    let equal = agreement.best().1;
    let few = equal < usize::from(agreement.asked.agree);
    let reason = record.reason.as_deref().unwrap_or_default();
    let told = agreement.votes.iter().filter(|vote| vote.hash.is_some());
    let mut who = told.filter_map(|vote| vote.promise.as_ref());
    let named = equal == 0 || who.any(|of| reason.contains(&of.worker.end()));
    Violation::unless(few && named, "A6", || {
        format!("{id} failed with {equal} equal results: {reason}")
    })
}

impl Checker {
    /// The machine that may give wrong results, if there is one.
    pub(in crate::sim) fn cheats(&mut self, host: Option<usize>) {
        self.cheat = host;
    }

    /// How many agreements were reached, and how many workers were named in them.
    pub(in crate::sim) fn agreements(&self) -> (u64, u64) {
        let tasks = self
            .durable
            .iter()
            .flat_map(|durable| durable.tasks.values());
        let completed = tasks.filter(|of| of.state == TaskState::Completed);
        let agreed = completed.filter_map(|of| of.agreement.as_deref());
        agreed.fold((0, 0), |(agreed, named), of| {
            (agreed + 1, named + of.dissent().count() as u64)
        })
    }

    /// A batch wrote the row of work that several do.
    pub(super) fn check_agreement(&self, host: usize, id: TaskId) -> Checked {
        let record = self.durable[host].tasks.get(&id);
        let Some((record, agreement)) = record.and_then(|of| Some((of, of.agreement.as_ref()?)))
        else {
            return Ok(());
        };
        for vote in &agreement.votes {
            let other = agreement.chosen.is_some() && vote.hash != agreement.chosen;
            let accused = match vote.verdict {
                Verdict::FalseReveal => true,
                Verdict::Revealed => other,
                _ => false,
            };
            let who = vote
                .promise
                .as_ref()
                .and_then(|of| self.host_of(&of.worker));
            Violation::unless(!accused || who == self.cheat, "A5", || {
                format!("node {who:?} is named for its part {} of {id}", vote.part)
            })?;
        }
        if record.state == TaskState::Failed {
            return check_reason(id, record, agreement);
        }
        if record.state != TaskState::Completed {
            return Ok(());
        }
        let told = |verdict| verdict == Verdict::Revealed;
        let equal = agreement
            .votes
            .iter()
            .filter(|vote| told(vote.verdict) && vote.hash == agreement.chosen);
        let equal = equal.count();
        let result = self.durable[host].results.get(&id);
        let right = self.answers.get(&id).map(|answer| answer.as_bytes());
        let right = result.map(Vec::as_slice) == right;
        let enough = equal >= usize::from(agreement.asked.agree);
        Violation::unless(enough && right, "A4", || {
            format!("{id} completed with {equal} equal results, and right: {right}")
        })
    }

    /// A node took a step: what it takes for committed, and what it was asked for as a worker.
    pub(super) fn check_promises(&self, host: usize, core: &Node) -> Checked {
        for (record, _) in core.requester().tasks() {
            self.check_committed(host, record)?;
        }
        for (key, agree, asked) in core.worker().promises() {
            let whole = self.host_of(&key.requester).and_then(|at| {
                let whole = self.durable[at].tasks.get(&agree.parent)?;
                Some((whole, whole.agreement.as_deref()?))
            });
            let Some((whole, agreement)) = whole.filter(|(whole, _)| !whole.state.is_terminal())
            else {
                continue;
            };
            let closed = agreement.round > agree.round || agreement.closed;
            Violation::unless(closed || !asked, "A1", || {
                format!(
                    "node {host} was asked for its part {} of {} in an open round",
                    key.task, whole.id
                )
            })?;
            let known = agreement
                .vote(key.task)
                .is_some_and(|of| of.promise.is_some());
            Violation::unless(known, "A3", || {
                format!(
                    "the requester's disk has no commitment of node {host} to {}",
                    key.task
                )
            })?;
        }
        Ok(())
    }

    fn check_committed(&self, host: usize, record: &TaskRecord) -> Checked {
        let agreement = record.agreement.as_deref();
        let votes = agreement.into_iter().flat_map(|of| &of.votes);
        for vote in votes {
            let Some(promise) = &vote.promise else {
                continue;
            };
            let key = HeldKey {
                requester: self.entities[host],
                task: vote.part,
            };
            let worker = self.host_of(&promise.worker);
            let kept = worker.is_some_and(|at| self.durable[at].outcomes.contains_key(&key));
            Violation::unless(kept, "A3", || {
                format!("node {host} has a commitment of node {worker:?} that its disk has not")
            })?;
        }
        Ok(())
    }
}
