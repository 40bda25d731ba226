//! The ids of transfers that bring a task's input or result (section 7).

use junto::types::{EntityId, FencingToken, TaskId};
use junto::wire::{Purpose, cbor};
use serde_json::{Value, json};
use uuid::Uuid;

use super::files::{hex, hold, shown};

#[test]
fn ids_of_parts_are_those_of_the_vectors() {
    let [requester, worker] = [0x11, 0x22].map(|byte| EntityId([byte; 32]));
    let task_id = TaskId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001));
    let [first, second] = [3, 4].map(FencingToken);
    let input = |token| Purpose::TaskInput { task_id, token };
    let result = |token| Purpose::TaskResult { task_id, token };
    let cases = [
        (requester, worker, input(first)),
        (worker, requester, result(first)),
        // Of the next attempt.
        (requester, worker, input(second)),
    ];
    let parts: Vec<Value> = { cases.iter() }
        .map(|(from, to, purpose)| {
            let bytes = cbor::encode(purpose);
            let tree: ciborium::Value = ciborium::from_reader(&bytes[..]).unwrap();
            json!({
                "sender": hex(&from.0),
                "receiver": hex(&to.0),
                "purpose": shown(&tree),
                "transfer_id": hex(purpose.transfer_id(from, to).0.as_bytes()),
            })
        })
        .collect();
    hold("part.json", &json!({ "parts": parts }));
}
