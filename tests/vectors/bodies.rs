//! One body of each kind (section 7).

use junto::crypto::KeyPair;
use junto::types::{
    BootId, Capability, EntityId, FencingToken, FileRef, Nonce, Priority, TaskId, TransferId,
};
use junto::wire::{
    AcceptAnswer, AckAnswer, AgentPresence, AgreePart, Budget, CancelItem, CapabilityQuery,
    CapabilityResponse, ChunkAnswer, ChunkOffer, DelegateItem, Discovery, FreeSlots, Heartbeat,
    HeartbeatAck, Load, NodeStatus, OfferAnswer, Orphan, OutputPart, Ping, ProgressAnswer,
    ProgressItem, Purpose, RefuseReason, RefusedFile, RegistryEntries, RegistryHave, RegistrySync,
    RenewAnswer, RenewItem, ResultItem, ResultParties, RevealAnswer, RevealItem, StatusReport,
    TaskAccept, TaskCancel, TaskDelegate, TaskOutcome, TaskProgress, TaskProgressAck, TaskRenew,
    TaskRenewAck, TaskResult, TaskResultAck, TaskReveal, TaskRevealAck, WakeStatus, WakeUp,
    WakeUpAck, WakeUpdate, cbor,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::files::{hex, hold, shown};

#[test]
fn bodies_are_what_they_were() {
    hold(
        "bodies.json",
        &json!({
            "about": "Section 7: bodies as they are sealed. {\"hex\": ...} stands for a byte string.",
            "bodies": bodies(),
        }),
    );
}

fn task_id() -> TaskId {
    TaskId(uuid::Uuid::from_bytes([0x55; 16]))
}

fn capability() -> Capability {
    "wc".parse().unwrap()
}

pub fn delegate() -> TaskDelegate {
    TaskDelegate {
        items: vec![DelegateItem {
            task_id: task_id(),
            token: FencingToken(1),
            capability: capability(),
            input: b"a b".to_vec(),
            input_file: None,
            lease_ms: 20_000,
            remaining_ms: 600_000,
            orphan: None,
            stream: false,
            budget: None,
            spent: 0,
            agree: None,
            stay: false,
            priority: Priority::Normal,
            waited_ms: 0,
        }],
    }
}

fn large() -> FileRef {
    FileRef {
        root: [0x59; 32],
        size: 5_000_000,
    }
}

/// An offer that asks for everything that one can ask for.
fn demanding() -> TaskDelegate {
    let mut delegate = delegate();
    let item = &mut delegate.items[0];
    item.input = Vec::new();
    item.input_file = Some(large());
    item.orphan = Some(Orphan::Stop);
    item.stream = true;
    item.stay = true;
    item.priority = Priority::Critical;
    item.waited_ms = 1_500;
    item.budget = Some(Budget {
        depth: 2,
        reward: 1_000,
    });
    item.spent = 300;
    item.agree = Some(AgreePart {
        parent: TaskId(uuid::Uuid::from_bytes([0x56; 16])),
        round: 1,
    });
    delegate
}

pub fn accept() -> TaskAccept {
    TaskAccept {
        boot: BootId(7),
        answers: vec![
            AcceptAnswer::Accepted,
            AcceptAnswer::Queued,
            AcceptAnswer::Refused(RefuseReason::UnknownCapability),
        ],
    }
}

fn body<T: Serialize>(rule: &str, value: &T) -> Value {
    let bytes = cbor::encode(value);
    let tree: ciborium::Value = ciborium::from_reader(&bytes[..]).unwrap();
    json!({ "rule": rule, "value": shown(&tree), "cbor": hex(&bytes) })
}

/// One body of each kind: the rule of the specification, the value, its bytes.
fn bodies() -> Vec<Value> {
    let (task_id, token) = (task_id(), FencingToken(1));
    let ended = |outcome| ResultItem {
        task_id,
        token,
        outcome,
        spent: 0,
    };
    let results = vec![
        ended(TaskOutcome::Completed {
            result: b"2".to_vec(),
        }),
        ended(TaskOutcome::CompletedFile { file: large() }),
        ended(TaskOutcome::Failed {
            reason: "x".into(),
            poison: false,
        }),
        ended(TaskOutcome::Failed {
            reason: "x".into(),
            poison: true,
        }),
        ended(TaskOutcome::Released),
        ResultItem {
            spent: 300,
            ..ended(TaskOutcome::Released)
        },
        ended(TaskOutcome::HandedOver {
            suggest: vec![EntityId([8; 32])],
        }),
        ended(TaskOutcome::Committed {
            commitment: [0x57; 32],
            agree: AgreePart {
                parent: task_id,
                round: 1,
            },
        }),
        ended(TaskOutcome::Revealed {
            salt: [0x58; 32],
            result: b"2".to_vec(),
        }),
    ];
    let (nonce, entity_id) = (Nonce([9; 32]), EntityId([8; 32]));
    let sync = RegistrySync {
        have: Some(vec![RegistryHave {
            entity_id,
            seq: 3,
            rotations: 0,
        }]),
        entries: Vec::new(),
    };
    let entries = RegistryEntries {
        entries: Vec::new(),
        want: vec![entity_id],
        more: false,
    };
    let wake = WakeUp {
        nonce,
        reason: "look at your inbox".into(),
        priority: None,
        request: None,
    };
    let woken = WakeUpAck {
        nonce,
        status: WakeStatus::Delivered,
    };
    let update = WakeUpdate {
        nonce,
        status: WakeStatus::HookStarted,
    };
    let renew = TaskRenew {
        boot: BootId(7),
        items: [0, 300]
            .map(|spent| RenewItem {
                task_id,
                token,
                spent,
                waiting: spent == 0,
            })
            .to_vec(),
    };
    let renewed = TaskRenewAck {
        answers: vec![
            RenewAnswer::Renewed { lease_ms: 20_000 },
            RenewAnswer::Fenced,
        ],
    };
    let kept = TaskResultAck {
        answers: vec![AckAnswer::Kept, AckAnswer::Fenced, AckAnswer::Pending],
    };
    let cancel = TaskCancel {
        items: vec![CancelItem { task_id, token }],
    };
    let refusing = TaskAccept {
        boot: BootId(7),
        answers: [RefuseReason::Draining, RefuseReason::Price]
            .map(AcceptAnswer::Refused)
            .to_vec(),
    };
    vec![
        body("ping", &Ping {}),
        body("registry-sync", &sync),
        body("registry-entries", &entries),
        body("wake-up", &wake),
        body("wake-up-ack", &woken),
        body("wake-update", &update),
        body("task-delegate", &delegate()),
        body("task-delegate", &demanding()),
        body("task-accept", &accept()),
        body("task-accept", &refusing),
        body("task-renew", &renew),
        body("task-renew-ack", &renewed),
        body("task-result", &signed(results)),
        body("task-result-ack", &kept),
        body("task-cancel", &cancel),
    ]
    .into_iter()
    .chain(reveals_and_progress())
    .chain(offers_of_files())
    .chain(signs_of_life())
    .collect()
}

/// A part of a task as a file, in both directions.
fn offers_of_files() -> [Value; 3] {
    let (task_id, token) = (task_id(), FencingToken(1));
    let offer = |purpose| ChunkOffer {
        transfer_id: TransferId(uuid::Uuid::from_bytes([0x5a; 16])),
        name: "task".into(),
        size: 5,
        chunk_bytes: 1 << 20,
        root: [0x59; 32],
        chunks: Vec::new(),
        purpose: Some(purpose),
    };
    let unexpected = ChunkAnswer {
        transfer_id: TransferId(uuid::Uuid::from_bytes([0x5a; 16])),
        answer: OfferAnswer::Refused(RefusedFile::Unexpected),
    };
    [
        body("chunk-offer", &offer(Purpose::TaskInput { task_id, token })),
        body(
            "chunk-offer",
            &offer(Purpose::TaskResult { task_id, token }),
        ),
        body("chunk-answer", &unexpected),
    ]
}

fn signed(items: Vec<ResultItem>) -> TaskResult {
    let parties = ResultParties {
        requester: EntityId([0x11; 32]),
        worker: EntityId([0x22; 32]),
    };
    TaskResult::sign(
        items,
        &parties,
        &KeyPair::from_seed(&[0x44; 32]),
        [0x66; 32],
    )
}

fn reveals_and_progress() -> [Value; 4] {
    let (task_id, token) = (task_id(), FencingToken(1));
    let reveal = TaskReveal {
        items: vec![RevealItem { task_id, token }],
    };
    let noted = TaskRevealAck {
        answers: vec![RevealAnswer::Noted, RevealAnswer::Unknown],
    };
    let silent = ProgressItem {
        task_id,
        token,
        percent: None,
        note: None,
        output: None,
    };
    let progress = TaskProgress {
        items: vec![
            ProgressItem {
                percent: Some(50),
                note: Some("half".into()),
                output: Some(OutputPart {
                    offset: 3,
                    data: b"a b".to_vec(),
                }),
                ..silent.clone()
            },
            silent,
        ],
    };
    let heard = TaskProgressAck {
        answers: vec![ProgressAnswer::Ok, ProgressAnswer::Fenced],
    };
    [
        body("task-reveal", &reveal),
        body("task-reveal-ack", &noted),
        body("task-progress", &progress),
        body("task-progress-ack", &heard),
    ]
}

/// Heartbeats, status, capabilities, discovery.
fn signs_of_life() -> [Value; 8] {
    let wc: Capability = "wc".parse().unwrap();
    let status = NodeStatus {
        uptime_ms: 90_000,
        load: Load {
            held: 1,
            slots: 4,
            free: 3,
            ..Load::default()
        },
        agent: AgentPresence::Wakeable,
    };
    let free = FreeSlots {
        name: wc.clone(),
        slots: 4,
        free: 3,
        waiting: 0,
        queue: 0,
        unattended: false,
    };
    let full = FreeSlots {
        free: 0,
        waiting: 5,
        queue: 8,
        unattended: true,
        ..free.clone()
    };
    let capable = CapabilityResponse {
        capabilities: vec![free],
    };
    let queueing = CapabilityResponse {
        capabilities: vec![full],
    };
    let load = Load {
        held: 9,
        slots: 4,
        free: 0,
        waiting: 5,
        draining: true,
    };
    let stopping = StatusReport {
        status: NodeStatus { load, ..status },
    };
    let asked = CapabilityQuery {
        capability: Some(wc.clone()),
    };
    let wanted = Discovery {
        capability: wc,
        limit: 64,
    };
    [
        body("heartbeat", &Heartbeat { seq: 7, status }),
        body("heartbeat-ack", &HeartbeatAck { seq: 7 }),
        body("status-report", &StatusReport { status }),
        body("capability-query", &asked),
        body("status-report", &stopping),
        body("capability-response", &capable),
        body("capability-response", &queueing),
        body("discovery", &wanted),
    ]
}
