//! What a worker says of its result before it says the result.

use super::AgreePart;
use crate::crypto::{Digest, hash, sha256};
use crate::types::{EntityId, FencingToken, TaskId};

/// Whose result a commitment is of, in which attempt at which part of which agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promised {
    pub requester: EntityId,
    pub worker: EntityId,
    pub task: TaskId,
    pub token: FencingToken,
    pub agree: AgreePart,
}

impl Promised {
    /// The commitment to `result`, blinded by `salt`: it fits no other result, and nobody else's.
    pub fn commitment(&self, salt: &[u8; 32], result: &[u8]) -> Digest {
        self.commitment_to(salt, &sha256(result))
    }

    /// The same of a result with this SHA-256.
    pub fn commitment_to(&self, salt: &[u8; 32], result: &Digest) -> Digest {
        hash(
            "task commitment",
            &[
                &self.requester.0,
                &self.worker.0,
                self.agree.parent.0.as_bytes(),
                &self.agree.round.to_be_bytes(),
                self.task.0.as_bytes(),
                &self.token.0.to_be_bytes(),
                salt,
                result,
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_fits_one_result_of_one_worker_in_one_place() {
        let id = |n| TaskId(uuid::Uuid::from_u128(n));
        let place = Promised {
            requester: EntityId([1; 32]),
            worker: EntityId([2; 32]),
            task: id(3),
            token: FencingToken(4),
            agree: AgreePart {
                parent: id(5),
                round: 6,
            },
        };
        let salt = [7; 32];
        let mut all = vec![
            place.commitment(&salt, b"result"),
            place.commitment(&salt, b"other"),
            place.commitment(&[8; 32], b"result"),
        ];
        let (parent, round) = (place.agree.parent, place.agree.round);
        for other in [
            Promised {
                requester: EntityId([9; 32]),
                ..place
            },
            Promised {
                worker: EntityId([9; 32]),
                ..place
            },
            Promised {
                task: id(9),
                ..place
            },
            Promised {
                token: FencingToken(9),
                ..place
            },
            Promised {
                agree: AgreePart {
                    parent: id(9),
                    round,
                },
                ..place
            },
            Promised {
                agree: AgreePart { parent, round: 9 },
                ..place
            },
        ] {
            all.push(other.commitment(&salt, b"result"));
        }
        assert_eq!(place.commitment(&salt, b"result"), all[0]);
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
