//! What a worker commits to before it tells its result (section 7).

use junto::types::{EntityId, FencingToken, TaskId};
use junto::wire::{AgreePart, Promised};
use serde_json::{Value, json};
use uuid::Uuid;

use super::files::{hex, hold};

#[test]
fn commitments_are_those_of_the_vectors() {
    let place = Promised {
        requester: EntityId([0x11; 32]),
        worker: EntityId([0x22; 32]),
        task: TaskId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001)),
        token: FencingToken(3),
        agree: AgreePart {
            parent: TaskId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0002)),
            round: 1,
        },
    };
    let later = Promised {
        token: FencingToken(4),
        agree: AgreePart {
            round: 2,
            ..place.agree
        },
        ..place
    };
    let cases = [(place, &b"144"[..]), (place, b""), (later, b"144")];
    let commitments: Vec<Value> = cases
        .iter()
        .map(|(of, result)| {
            let salt = [0x33; 32];
            json!({
                "requester": hex(&of.requester.0),
                "worker": hex(&of.worker.0),
                "parent": hex(of.agree.parent.0.as_bytes()),
                "round": of.agree.round,
                "task": hex(of.task.0.as_bytes()),
                "token": of.token.0,
                "salt": hex(&salt),
                "result": hex(result),
                "commitment": hex(&of.commitment(&salt, result)),
            })
        })
        .collect();
    hold("commitment.json", &json!({ "commitments": commitments }));
}
