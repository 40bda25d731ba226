//! Work that several workers do: asking for the results, and what of it the API shows.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;

use super::Node;
use super::command::{CommandError, CommandErrorCode};
use super::exchange::Kind;
use super::views::{AgreementView, VoteView};
use crate::proto::Step;
use crate::proto::task::{Agreement, AgreementRecord, Verdict, VoteRecord};
use crate::types::limits::{LIST_MAX_ITEMS, REPLICAS_MAX};
use crate::types::{BatchId, EntityId, FencingToken, TaskId};
use crate::wire::{MsgType, RevealItem, TaskReveal, cbor};

impl Node {
    /// Asks for results, now that the disk says that their rounds are closed.
    pub(super) fn send_reveals(
        &mut self,
        worker: EntityId,
        items: &BTreeSet<(TaskId, FencingToken)>,
        step: &mut Step<'_>,
    ) {
        let item = |(task_id, token): &(TaskId, FencingToken)| RevealItem {
            task_id: *task_id,
            token: *token,
        };
        let items: Vec<RevealItem> = items.iter().map(item).collect();
        for items in items.chunks(LIST_MAX_ITEMS) {
            let items = items.to_vec();
            let body = cbor::encode(&TaskReveal {
                items: items.clone(),
            });
            let (kind, after) = (Kind::Reveal { worker, items }, BatchId::NONE);
            // To whom it cannot be sent now it is sent again.
            self.send_to(worker, MsgType::TaskReveal, body, kind, after, step);
        }
    }
}

/// What nobody could keep, or what would let two results win, is refused.
pub(super) fn check(asked: Agreement, named: bool) -> Result<(), CommandError> {
    let Agreement {
        replicas, agree, ..
    } = asked;
    let invalid = |why: String| Err(CommandError::new(CommandErrorCode::Invalid, why));
    if named {
        return invalid("a task that several workers do cannot name one of them".into());
    }
    if !(2..=REPLICAS_MAX).contains(&replicas) {
        return invalid(format!("replicas must be 2 to {REPLICAS_MAX}"));
    }
    if agree > replicas || u16::from(agree) * 2 <= u16::from(replicas) {
        return invalid(format!(
            "agree must be more than half of the {replicas} replicas, and no more than all"
        ));
    }
    Ok(())
}

pub(super) fn agreement_view(record: &AgreementRecord) -> AgreementView {
    AgreementView {
        replicas: record.asked.replicas,
        agree: record.asked.agree,
        compare: record.asked.compare,
        round: record.round,
        closed: record.closed,
        hash: record.chosen.map(|hash| HEXLOWER.encode(&*hash)),
        votes: record
            .votes
            .iter()
            .map(|vote| vote_view(record, vote))
            .collect(),
    }
}

fn vote_view(record: &AgreementRecord, vote: &VoteRecord) -> VoteView {
    let verdict = match vote.verdict {
        Verdict::Open => "open",
        Verdict::Committed => "committed",
        Verdict::Revealed if record.chosen.is_none() => "revealed",
        Verdict::Revealed if vote.hash == record.chosen => "agreed",
        Verdict::Revealed => "differs",
        Verdict::FalseReveal => "false_reveal",
        Verdict::Unrevealed => "unrevealed",
        Verdict::Failed => "failed",
        Verdict::Late => "late",
    };
    let promise = vote.promise.as_ref();
    VoteView {
        part: vote.part.to_string(),
        round: vote.round,
        verdict: verdict.into(),
        worker: promise.map(|of| of.worker.to_string()),
        commitment: promise.map(|of| HEXLOWER.encode(&*of.commitment)),
        hash: vote.hash.map(|hash| HEXLOWER.encode(&*hash)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Compare;

    #[test]
    fn an_agreement_has_one_winner_at_most_and_names_no_worker() {
        let judged = |replicas, agree, named| {
            let compare = Compare::Bytes;
            let asked = Agreement {
                replicas,
                agree,
                compare,
            };
            check(asked, named).is_ok()
        };
        for (replicas, agree) in [(2, 2), (3, 2), (3, 3), (16, 9), (16, 16)] {
            assert!(judged(replicas, agree, false), "{agree} of {replicas}");
            assert!(!judged(replicas, agree, true), "of one worker");
        }
        for (replicas, agree) in [(0, 0), (1, 1), (2, 1), (3, 1), (3, 4), (4, 2), (17, 9)] {
            assert!(!judged(replicas, agree, false), "{agree} of {replicas}");
        }
    }
}
