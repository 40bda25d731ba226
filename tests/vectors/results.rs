//! Results under one signature, and what shows one of them (section 7).

use junto::crypto::KeyPair;
use junto::types::{EntityId, FencingToken, FileRef, TaskId};
use junto::wire::{AgreePart, ResultItem, ResultParties, ResultProof, TaskOutcome, TaskResult};
use serde_json::{Value, json};
use uuid::Uuid;

use super::files::{hex, hold};

fn task(n: u128) -> TaskId {
    TaskId(Uuid::from_u128(
        0x0198_0000_0000_7000_8000_0000_0000_0000 + n,
    ))
}

/// One outcome of each kind.
fn outcomes() -> Vec<TaskOutcome> {
    let failed = |poison| TaskOutcome::Failed {
        reason: "no such file".into(),
        poison,
    };
    let result = b"144".to_vec();
    vec![
        TaskOutcome::Completed {
            result: result.clone(),
        },
        TaskOutcome::CompletedFile {
            file: FileRef {
                root: [0x77; 32],
                size: 5_000_000,
            },
        },
        failed(false),
        failed(true),
        TaskOutcome::Released,
        TaskOutcome::HandedOver {
            suggest: vec![EntityId([0x88; 32]), EntityId([0x99; 32])],
        },
        TaskOutcome::Committed {
            commitment: [0x57; 32],
            agree: AgreePart {
                parent: task(99),
                round: 2,
            },
        },
        TaskOutcome::Revealed {
            salt: [0x33; 32],
            result,
        },
    ]
}

#[test]
fn signed_results_and_their_proofs_are_those_of_the_vectors() {
    let parties = ResultParties {
        requester: EntityId([0x11; 32]),
        worker: EntityId([0x22; 32]),
    };
    let (key_seed, seed) = ([0x44; 32], [0x66; 32]);
    let items = (1..).zip(outcomes()).map(|(n, outcome)| ResultItem {
        task_id: task(n),
        token: FencingToken(n as u64),
        outcome,
        spent: 100 * (n as u64 % 2),
    });
    let list = TaskResult::sign(
        items.collect(),
        &parties,
        &KeyPair::from_seed(&key_seed),
        seed,
    );
    let signature = list.proof.signature;
    let body = junto::wire::cbor::encode(&list);
    let told = list.open(&parties).unwrap();
    let proof = |index: usize| {
        let bytes = told[index].proof.to_bytes();
        let proof = ResultProof::from_bytes(&bytes).unwrap();
        assert_eq!(proof.verify(), Ok(()));
        json!({ "index": index, "proof": hex(&bytes) })
    };
    let proofs: Vec<Value> = (0..told.len()).map(proof).collect();
    let computed = json!({
        "requester": hex(&parties.requester.0),
        "worker": hex(&parties.worker.0),
        "key_seed": hex(&key_seed),
        "seed": hex(&seed),
        "body": hex(&body),
        "signature": hex(&signature.0),
        "proofs": proofs,
    });
    hold("results.json", &computed);
}
