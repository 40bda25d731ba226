//! Results under one signature: a worker signs the Merkle root of a list, and each outcome in it
//! can be shown to a third party without the others.
//!
//! A leaf says who ran what for whom under which token, and what it came to; a large or private
//! part of that as its hash. Its salt, `H(seed, place)`, blinds it, so that a sibling on the path
//! says nothing of the outcome that it stands for. No path travels: the receiver has every leaf.

use serde::{Deserialize, Serialize};

use super::proof::ProofError;
use super::{AgreePart, Promised, ResultItem, TaskOutcome, TaskResult, WireError, cbor, left_out};
use crate::crypto::{
    Digest, KeyPair, MerkleTree, PublicKey, SigCheck, Signature, hash, merkle_climb, sha256,
};
use crate::types::limits::{LIST_MAX_ITEMS, RESULT_PROOF_MAX_BYTES};
use crate::types::{EntityId, FencingToken, FileRef, Nonce, TaskId};

/// The purpose of a list's signature.
const ROOT: &str = "task results";
/// The siblings of a leaf in the largest list.
const PATH_MAX: usize = LIST_MAX_ITEMS.ilog2() as usize;

/// What signs a list of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListProof {
    /// The worker's key at the time.
    pub key: PublicKey,
    /// What the salts of the leaves are made of; new with each sending.
    #[serde(with = "serde_bytes")]
    pub seed: [u8; 32],
    /// Over the root of the leaves, and how many they are.
    pub signature: Signature,
}

/// Between whom results pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultParties {
    pub requester: EntityId,
    pub worker: EntityId,
}

/// What of an outcome is signed: all of it that is short, and hashes of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Stated {
    /// A result of `size` bytes with this SHA-256.
    Completed {
        size: u64,
        #[serde(with = "serde_bytes")]
        hash: Digest,
    },
    CompletedFile {
        file: FileRef,
    },
    /// The SHA-256 of the reason.
    Failed {
        #[serde(with = "serde_bytes")]
        reason: Digest,
        poison: bool,
    },
    Released,
    /// The SHA-256 of the entity ids that are suggested, one behind the other.
    HandedOver {
        #[serde(with = "serde_bytes")]
        suggest: Digest,
    },
    Committed {
        #[serde(with = "serde_bytes")]
        commitment: Digest,
        agree: AgreePart,
    },
    Revealed {
        #[serde(with = "serde_bytes")]
        salt: [u8; 32],
        size: u64,
        #[serde(with = "serde_bytes")]
        hash: Digest,
    },
}

impl Stated {
    /// What of `outcome` is signed.
    pub fn of(outcome: &TaskOutcome) -> Stated {
        match outcome {
            TaskOutcome::Completed { result } => Stated::Completed {
                size: result.len() as u64,
                hash: sha256(result),
            },
            TaskOutcome::CompletedFile { file } => Stated::CompletedFile { file: *file },
            TaskOutcome::Failed { reason, poison } => Stated::Failed {
                reason: sha256(reason.as_bytes()),
                poison: *poison,
            },
            TaskOutcome::Released => Stated::Released,
            TaskOutcome::HandedOver { suggest } => {
                let ids: Vec<u8> = suggest.iter().flat_map(|of| of.0).collect();
                Stated::HandedOver {
                    suggest: sha256(&ids),
                }
            }
            TaskOutcome::Committed { commitment, agree } => Stated::Committed {
                commitment: *commitment,
                agree: *agree,
            },
            TaskOutcome::Revealed { salt, result } => Stated::Revealed {
                salt: *salt,
                size: result.len() as u64,
                hash: sha256(result),
            },
        }
    }

    /// The name of the outcome.
    pub fn as_str(&self) -> &'static str {
        match self {
            Stated::Completed { .. } => "completed",
            Stated::CompletedFile { .. } => "completed_file",
            Stated::Failed { .. } => "failed",
            Stated::Released => "released",
            Stated::HandedOver { .. } => "handed_over",
            Stated::Committed { .. } => "committed",
            Stated::Revealed { .. } => "revealed",
        }
    }

    fn digest(&self) -> Digest {
        let of = |parts: &[&[u8]]| {
            let all = [&[self.as_str().as_bytes()], parts].concat();
            hash("task outcome", &all)
        };
        match self {
            Stated::Completed { size, hash } => of(&[&size.to_be_bytes(), hash]),
            Stated::CompletedFile { file } => of(&[&file.size.to_be_bytes(), &file.root]),
            Stated::Failed { reason, poison } => of(&[reason, &[u8::from(*poison)]]),
            Stated::Released => of(&[]),
            Stated::HandedOver { suggest } => of(&[suggest]),
            Stated::Committed { commitment, agree } => {
                let (parent, round) = (agree.parent.0.as_bytes(), agree.round.to_be_bytes());
                of(&[commitment, parent, &round])
            }
            Stated::Revealed { salt, size, hash } => of(&[salt, &size.to_be_bytes(), hash]),
        }
    }
}

/// An outcome with all that its worker's signature covers, and the way to the signed root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultProof {
    pub requester: EntityId,
    pub worker: EntityId,
    pub task: TaskId,
    pub token: FencingToken,
    /// What it says that its parts cost.
    #[serde(
        default,
        skip_serializing_if = "left_out::is_default",
        deserialize_with = "left_out::number"
    )]
    pub spent: u64,
    pub outcome: Stated,
    pub salt: Nonce,
    pub index: u32,
    pub count: u32,
    pub path: Vec<Nonce>,
    /// The key that signed; that it is the worker's is shown by the worker's entry.
    pub key: PublicKey,
    pub signature: Signature,
}

/// An item of a list whose signature held, and what shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedItem {
    pub item: ResultItem,
    pub proof: ResultProof,
}

fn salt(seed: &[u8; 32], place: u32) -> Digest {
    hash("task outcome salt", &[seed, &place.to_be_bytes()])
}

fn leaf(
    parties: &ResultParties,
    task: TaskId,
    token: FencingToken,
    spent: u64,
    outcome: &Stated,
    salt: &Digest,
) -> Digest {
    let parts: [&[u8]; 7] = [
        &parties.requester.0,
        &parties.worker.0,
        task.0.as_bytes(),
        &token.0.to_be_bytes(),
        &spent.to_be_bytes(),
        &outcome.digest(),
        salt,
    ];
    hash("task outcome leaf", &parts)
}

fn signed(root: &Digest, count: u32) -> Digest {
    hash(ROOT, &[root, &count.to_be_bytes()])
}

/// The leaves of a list, and what each says.
fn leaves(
    items: &[ResultItem],
    parties: &ResultParties,
    seed: &[u8; 32],
) -> (Vec<Digest>, Vec<(Stated, Digest)>) {
    let said = (0_u32..).zip(items).map(|(place, item)| {
        let (stated, salt) = (Stated::of(&item.outcome), salt(seed, place));
        let (task, token) = (item.task_id, item.token);
        let leaf = leaf(parties, task, token, item.spent, &stated, &salt);
        (leaf, (stated, salt))
    });
    said.unzip()
}

impl TaskResult {
    /// Signs a list as `parties.worker`, whose key `key` is.
    pub fn sign(
        items: Vec<ResultItem>,
        parties: &ResultParties,
        key: &KeyPair,
        seed: [u8; 32],
    ) -> TaskResult {
        let (leaves, _) = leaves(&items, parties, &seed);
        let count = leaves.len() as u32;
        let root = MerkleTree::over(leaves).root();
        let proof = ListProof {
            key: key.public(),
            seed,
            signature: key.sign(ROOT, &signed(&root, count)),
        };
        TaskResult { items, proof }
    }

    /// Checks the signature and takes the list apart. Whether the key is the worker's is the
    /// caller's to know.
    ///
    /// # Errors
    /// `INVALID_SIGNATURE`.
    pub fn open(self, parties: &ResultParties) -> Result<Vec<SignedItem>, WireError> {
        let TaskResult { items, proof } = self;
        let (leaves, said) = leaves(&items, parties, &proof.seed);
        let count = leaves.len() as u32;
        let tree = MerkleTree::over(leaves);
        let check = SigCheck {
            key: proof.key,
            purpose: ROOT,
            digest: signed(&tree.root(), count),
            signature: proof.signature,
        };
        if !check.verify() {
            return Err(WireError::InvalidSignature);
        }
        let told = items.into_iter().zip(said).enumerate();
        let told = told.map(|(index, (item, (outcome, salt)))| {
            let path = tree.path(index).expect("it is a leaf of it");
            let proof = ResultProof {
                requester: parties.requester,
                worker: parties.worker,
                task: item.task_id,
                token: item.token,
                spent: item.spent,
                outcome,
                salt: Nonce(salt),
                index: index as u32,
                count,
                path: path.into_iter().map(Nonce).collect(),
                key: proof.key,
                signature: proof.signature,
            };
            SignedItem { item, proof }
        });
        Ok(told.collect())
    }
}

impl ResultProof {
    /// The bytes of this proof.
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a proof; it still has to be verified.
    ///
    /// # Errors
    /// `MALFORMED`.
    pub fn from_bytes(bytes: &[u8]) -> Result<ResultProof, WireError> {
        let proof: ResultProof =
            cbor::decode(bytes, RESULT_PROOF_MAX_BYTES).map_err(|_| WireError::Malformed)?;
        let sound = proof.count as usize <= LIST_MAX_ITEMS && proof.path.len() <= PATH_MAX;
        sound.then_some(proof).ok_or(WireError::Malformed)
    }

    /// Whether the holder of [`ResultProof::key`] signed this outcome of this task for this
    /// requester.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self) -> Result<(), ProofError> {
        let parties = ResultParties {
            requester: self.requester,
            worker: self.worker,
        };
        let (task, token) = (self.task, self.token);
        let leaf = leaf(
            &parties,
            task,
            token,
            self.spent,
            &self.outcome,
            &self.salt.0,
        );
        let path: Vec<Digest> = self.path.iter().map(|sibling| sibling.0).collect();
        let root = merkle_climb(leaf, self.index, self.count, &path).ok_or(ProofError::Path)?;
        let check = SigCheck {
            key: self.key,
            purpose: ROOT,
            digest: signed(&root, self.count),
            signature: self.signature,
        };
        check.verify().then_some(()).ok_or(ProofError::Signature)
    }

    /// Whether what this reveals is what `committed`, by the same worker in the same attempt,
    /// committed to; none if they are no such pair.
    pub fn opens(&self, committed: &ResultProof) -> Option<bool> {
        let of = |proof: &ResultProof| {
            let parties = (proof.requester, proof.worker);
            (parties, proof.task, proof.token)
        };
        match (self.outcome, committed.outcome) {
            (Stated::Revealed { salt, hash, .. }, Stated::Committed { commitment, agree })
                if of(self) == of(committed) =>
            {
                let promised = Promised {
                    requester: self.requester,
                    worker: self.worker,
                    task: self.task,
                    token: self.token,
                    agree,
                };
                Some(promised.commitment_to(&salt, &hash) == commitment)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
