//! The task cores without a network: facts about each side, the stored rows, and a state machine
//! of both sides under random faults.

mod commands;
mod feed;
mod laws;
mod machine;
mod requester;
mod rows;
mod shell;
mod worker;
mod world;

use std::collections::BTreeMap;

use self::shell::Side;
use super::*;
use crate::crypto::KeyPair;
use crate::types::{BootId, Capability, EntityId, FencingToken, Marks, Priority, TaskId};
use crate::wire::{Offer, ResultItem, ResultParties, SignedItem, TaskOutcome, TaskResult};

/// The requester of every test.
const US: EntityId = EntityId([0; 32]);
const HOUR_MS: u64 = 3_600_000;

fn entity(n: u8) -> EntityId {
    EntityId([n; 32])
}

fn boot(n: u64) -> BootId {
    BootId(n)
}

fn token(n: u64) -> FencingToken {
    FencingToken(n)
}

fn wc() -> Capability {
    "wc".parse().expect("a capability")
}

/// Ids ascend with `n`, as those of later submissions do.
fn task_id(n: u64) -> TaskId {
    TaskId(uuid::Uuid::from_u128(u128::from(n)))
}

fn new_task(n: u64) -> NewTask {
    NewTask {
        id: task_id(n),
        capability: wc(),
        input_file: None,
        stream: false,
        input: b"some words".to_vec(),
        to: None,
        priority: Priority::Normal,
        start: Start::Now,
        deadline_ms: HOUR_MS,
        key: None,
        orphan: None,
        agreement: None,
        delegation: Delegation::default(),
        marks: Marks::default(),
        told: None,
    }
}

fn requester_config() -> RequesterConfig {
    RequesterConfig {
        entity: US,
        lease_ms: 20_000,
        offer_lapse_ms: 10_000,
        failures_max: 5,
        losses_max: 20,
        backoff_ms: 500,
        backoff_max_ms: 30_000,
        dead_files_max_bytes: 10_000_000,
        keep: Keep::default(),
        bounds: Bounds::default(),
    }
}

fn worker_config(slots: u32, first_run: u64) -> WorkerConfig {
    let capabilities = vec![Offer {
        name: wc(),
        slots,
        price: 0,
    }];
    WorkerConfig {
        entity: entity(1),
        payload_max_bytes: 1 << 30,
        capabilities,
        serving: BTreeMap::new(),
        renew_ms: 5_000,
        first_run,
        goes_on: false,
        bounds: Bounds::default(),
    }
}

/// What `worker` says under its signature.
fn told(worker: EntityId, items: Vec<ResultItem>) -> Vec<SignedItem> {
    let parties = ResultParties {
        requester: US,
        worker,
    };
    let list = TaskResult::sign(items, &parties, &key_of(worker), [0; 32]);
    list.open(&parties).expect("it is signed")
}

fn key_of(worker: EntityId) -> KeyPair {
    KeyPair::from_seed(&worker.0)
}

/// What stands for the entry of `worker`: the core looks at no more of it than its key.
fn entry_of(worker: EntityId) -> Vec<u8> {
    [&b"entry of "[..], &worker.0].concat()
}

fn completed() -> TaskOutcome {
    let result = b"2".to_vec();
    TaskOutcome::Completed { result }
}

fn failed() -> TaskOutcome {
    let reason = "no such file".into();
    TaskOutcome::Failed {
        reason,
        poison: false,
    }
}
