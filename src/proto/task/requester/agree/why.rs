//! What an agreement is at its deadline, and who told which result, in words.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use serde_bytes::ByteArray;

use super::Requester;
use crate::proto::Step;
use crate::proto::task::record::{AgreementRecord, Verdict, VoteRecord};
use crate::types::TaskId;

/// So much of a hash is shown in listings.
const HASH_SHOWN_BYTES: usize = 8;
/// So many different results are told,
const RESULTS_TOLD_MAX: usize = 4;
/// and so many workers of each.
const WORKERS_TOLD_MAX: usize = 4;

impl Requester {
    /// The deadline has come: what was told until then may be enough, though others may follow.
    pub(in crate::proto::task::requester) fn agreed_in_time(
        &mut self,
        id: TaskId,
        step: &mut Step<'_>,
    ) -> bool {
        let agreement = self.tasks[&id].record.agreement.as_deref();
        let enough = agreement.is_some_and(|of| of.best().1 >= usize::from(of.asked.agree));
        if enough {
            self.conclude(id, step);
        }
        enough
    }

    /// Why a whole has no result at its deadline, if its workers told any.
    pub(in crate::proto::task::requester) fn told_by_deadline(&self, id: TaskId) -> Option<String> {
        let agreement = self.tasks[&id].record.agreement.as_deref()?;
        at_deadline(agreement).filter(|_| !self.hides_who_differed())
    }

    #[cfg(test)]
    fn hides_who_differed(&self) -> bool {
        self.planted == Some(crate::proto::task::Planted::BlameDeadline)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "a planted defect of the tests")]
    fn hides_who_differed(&self) -> bool {
        false
    }
}

/// Why it has no result at its deadline; none where nobody told one.
fn at_deadline(of: &AgreementRecord) -> Option<String> {
    let results = results(of);
    let (need, best) = (of.asked.agree, of.best().1);
    let said = told(of)?;
    Some(match results.len() {
        1 => format!(
            "the deadline passed with {best} of the {need} equal results that were asked for: {said}"
        ),
        _ => format!(
            "the workers came to different results, and no {need} were equal before the deadline: \
             {said}"
        ),
    })
}

/// Who told which result, those that most told first; none where nobody told one.
pub(super) fn told(of: &AgreementRecord) -> Option<String> {
    let mut all: Vec<_> = results(of).into_iter().collect();
    all.sort_by_key(|(hash, votes)| (Reverse(votes.len()), *hash));
    let (first, rest) = all.split_at(all.len().min(RESULTS_TOLD_MAX));
    let mut said: Vec<String> = first
        .iter()
        .map(|(hash, votes)| {
            let hash = HEXLOWER.encode(&hash[..HASH_SHOWN_BYTES]);
            format!("{} told {hash} ({})", votes.len(), workers(votes))
        })
        .collect();
    if said.is_empty() {
        return None;
    }
    let others: usize = rest.iter().map(|(_, votes)| votes.len()).sum();
    if others > 0 {
        said.push(format!("{others} told others"));
    }
    for (verdict, what) in [
        (Verdict::FalseReveal, "told another than it committed to"),
        (Verdict::Unrevealed, "told none"),
    ] {
        let votes: Vec<_> = { of.votes.iter() }
            .filter(|vote| vote.verdict == verdict)
            .collect();
        if !votes.is_empty() {
            said.push(format!("{} {what} ({})", votes.len(), workers(&votes)));
        }
    }
    Some(said.join(", "))
}

fn results(of: &AgreementRecord) -> BTreeMap<ByteArray<32>, Vec<&VoteRecord>> {
    let mut results: BTreeMap<_, Vec<&VoteRecord>> = BTreeMap::new();
    for vote in &of.votes {
        if let Some(hash) = vote.hash {
            results.entry(hash).or_default().push(vote);
        }
    }
    results
}

fn workers(votes: &[&VoteRecord]) -> String {
    let promises = votes.iter().filter_map(|vote| vote.promise.as_ref());
    let mut told: Vec<String> = promises
        .take(WORKERS_TOLD_MAX)
        .map(|promise| promise.worker.end())
        .collect();
    if votes.len() > WORKERS_TOLD_MAX {
        told.push(format!("{} more", votes.len() - WORKERS_TOLD_MAX));
    }
    told.join(", ")
}
