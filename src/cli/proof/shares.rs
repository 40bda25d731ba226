//! How many of the workers of an agreement told a result.
//!
//! Each of them signed what it told, the one that lied too. So that a proof is genuine says nothing
//! of a result that a file has beside it; how many told it does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::types::{EntityId, TaskId};
use crate::wire::{ProvenOutcome, Stated};

/// An agreement is one of two at least, whatever a file says.
const AGREE_MIN: usize = 2;

/// Who told a result, of all who committed to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Shares {
    pub(super) told_by: usize,
    pub(super) of: usize,
    /// How many have to.
    pub(super) needed: usize,
}

impl Shares {
    pub(super) fn are_enough(&self) -> bool {
        self.told_by >= self.needed
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} workers told this result",
            self.told_by, self.of
        )
    }
}

/// The workers of one agreement.
#[derive(Default)]
struct Agreement {
    committed: BTreeSet<EntityId>,
    told: BTreeSet<EntityId>,
    told_this: BTreeSet<EntityId>,
}

/// How many told the result that `is_this` knows; none if several were not to agree. Without
/// `agree` more than half of those that told one are enough. What does not fit its commitment was
/// not told in time, and each worker counts once.
pub(super) fn shares(
    outcomes: &[ProvenOutcome],
    agree: Option<u8>,
    is_this: impl Fn(&ProvenOutcome) -> bool,
) -> Option<Shares> {
    let mut parts = BTreeMap::new();
    let mut agreements: BTreeMap<(EntityId, TaskId), Agreement> = BTreeMap::new();
    let mut several = false;
    for of in outcomes {
        let proof = &of.proof;
        let part = (proof.requester, proof.worker, proof.task, proof.token);
        match proof.outcome {
            Stated::Committed { agree, .. } => {
                several = true;
                let whole = (proof.requester, agree.parent);
                // What is told is held against the first commitment.
                parts.entry(part).or_insert(whole);
                let agreement = agreements.entry(whole).or_default();
                agreement.committed.insert(proof.worker);
            }
            Stated::Revealed { .. } => {
                several = true;
                let Some(whole) = parts.get(&part).filter(|_| of.opens == Some(true)) else {
                    continue;
                };
                let agreement = agreements.entry(*whole).or_default();
                agreement.told.insert(proof.worker);
                if is_this(of) {
                    agreement.told_this.insert(proof.worker);
                }
            }
            _ => {}
        }
    }
    if !several {
        return None;
    }
    // A proof is of one task. Of a file that was put together from several the best one counts.
    let best = agreements.into_values();
    let best = best.max_by_key(|of| (of.told_this.len(), of.committed.len()));
    let best = best.unwrap_or_default();
    let needed = agree.map_or(best.told.len() / 2 + 1, usize::from);
    Some(Shares {
        told_by: best.told_this.len(),
        of: best.committed.len(),
        needed: needed.max(AGREE_MIN),
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::crypto::{KeyPair, sha256};
    use crate::types::FencingToken;
    use crate::wire::{AgreePart, Promised, ResultItem, ResultParties, TaskOutcome, TaskResult};

    const REQUESTER: EntityId = EntityId([9; 32]);

    /// What worker `n` signed of its part of `whole`: its commitment, and what it told then.
    fn words(n: u8, whole: u128, committed: &[u8], told: Option<&[u8]>) -> Vec<ProvenOutcome> {
        let (worker, token) = (EntityId([n; 32]), FencingToken(1));
        let task = TaskId(Uuid::from_u128(whole + u128::from(n)));
        let agree = AgreePart {
            parent: TaskId(Uuid::from_u128(whole)),
            round: 1,
        };
        let promised = Promised {
            requester: REQUESTER,
            worker,
            task,
            token,
            agree,
        };
        let salt = [n; 32];
        let commitment = promised.commitment(&salt, committed);
        let told = told.map(|result| TaskOutcome::Revealed {
            salt,
            result: result.to_vec(),
        });
        let outcomes = [TaskOutcome::Committed { commitment, agree }].into_iter();
        let mut shown: Vec<ProvenOutcome> = Vec::new();
        for outcome in outcomes.chain(told) {
            let item = ResultItem {
                task_id: task,
                token,
                outcome,
                spent: 0,
            };
            let parties = ResultParties {
                requester: REQUESTER,
                worker,
            };
            let key = KeyPair::from_seed(&[n; 32]);
            let list = TaskResult::sign(vec![item], &parties, &key, [n; 32]);
            let proof = list.open(&parties).expect("our own").remove(0).proof;
            shown.push(ProvenOutcome {
                opens: shown.first().and_then(|before| proof.opens(&before.proof)),
                name: String::from("w"),
                proof,
            });
        }
        shown
    }

    fn counted(
        all: &[Vec<ProvenOutcome>],
        agree: Option<u8>,
        result: &[u8],
    ) -> (usize, usize, bool) {
        let is_this = |of: &ProvenOutcome| match of.proof.outcome {
            Stated::Completed { hash, .. } | Stated::Revealed { hash, .. } => {
                hash == sha256(result)
            }
            _ => false,
        };
        let shares = shares(&all.concat(), agree, is_this).expect("an agreement");
        (shares.told_by, shares.of, shares.are_enough())
    }

    fn honest(n: u8) -> Vec<ProvenOutcome> {
        words(n, 0x100, b"144", Some(b"144"))
    }

    fn cheat(n: u8) -> Vec<ProvenOutcome> {
        words(n, 0x100, b"666", Some(b"666"))
    }

    #[test]
    fn a_result_counts_by_how_many_told_it() {
        let all = [honest(1), cheat(2), honest(3)];
        for agree in [None, Some(2)] {
            assert_eq!(counted(&all, agree, b"144"), (2, 3, true));
            assert_eq!(counted(&all, agree, b"666"), (1, 3, false));
        }
        assert_eq!(counted(&all, Some(3), b"144"), (2, 3, false));
        assert_eq!(counted(&all, None, b"7"), (0, 3, false));
        // Who told none is no vote for anything.
        let silent = words(4, 0x100, b"144", None);
        let all = [honest(1), cheat(2), honest(3), silent];
        assert_eq!(counted(&all, None, b"144"), (2, 4, true));
        assert_eq!(counted(&all, None, b"666"), (1, 4, false));
    }

    #[test]
    fn a_file_that_was_put_together_makes_no_agreement() {
        let alone = [cheat(1)];
        for agree in [None, Some(0), Some(1)] {
            assert_eq!(counted(&alone, agree, b"666"), (1, 1, false), "{agree:?}");
        }
        let told_late = words(3, 0x100, b"144", Some(b"666"));
        let all = [cheat(1), cheat(1), told_late, honest(2)];
        assert_eq!(
            counted(&all, None, b"666"),
            (1, 3, false),
            "the same twice, a false one"
        );
        let elsewhere = words(3, 0x200, b"666", Some(b"666"));
        let all = [cheat(1), elsewhere, honest(2)];
        assert_eq!(counted(&all, None, b"666"), (1, 2, false), "another task");
        let unbound = cheat(1).split_off(1);
        assert_eq!(counted(&[unbound], None, b"666"), (0, 0, false));
    }

    #[test]
    fn what_one_worker_did_is_no_agreement() {
        let mut plain = cheat(1).split_off(1);
        plain[0].proof.outcome = Stated::Completed {
            size: 3,
            hash: sha256(b"666"),
        };
        assert_eq!(shares(&plain, None, |_| true), None);
    }
}
