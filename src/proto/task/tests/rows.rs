//! The stored rows: what was written once must read for ever, and what does not read says so.

use data_encoding::HEXLOWER;

use super::*;
use crate::proto::task::record::PartRecord;
use crate::types::{Keyspace, Mono, Now, Row, TaskState, Wall};
use crate::wire::cbor;

const NOW: Now = Now {
    mono: Mono::from_micros(1),
    wall: Wall(1_700_000_000_000),
};

/// A task that one worker lost and another completed.
const TASK_ROW: &str = "\
    b16176016269645000000000000000000123456789abcdef62746f58200202020202020202020202020202020202\
    02020202020202020202020202020265656e6465641b0000018bcfe5dd3065737461746569636f6d706c65746564\
    65746f6b656e02666c6f737365730166776f726b6572582002020202020202020202020202020202020202020202\
    0202020202020202020268617474656d70747382a565656e6465641b0000018bcfe5b62065746f6b656e0166776f\
    726b657258200202020202020202020202020202020202020202020202020202020202020202676f7574636f6d65\
    776c6f73743a20697473206c656173652072616e206f757467737461727465641b0000018bcfe56800a565656e64\
    65641b0000018bcfe5dd3065746f6b656e0266776f726b6572582002020202020202020202020202020202020202\
    02020202020202020202020202676f7574636f6d6569636f6d706c6574656467737461727465641b0000018bcfe5\
    b62068646561646c696e651b0000018bd01c5680686661696c7572657300687072696f7269747964686967686973\
    75626d69747465641b0000018bcfe568006a6361706162696c6974796277636b696e7075745f62797465730a6c72\
    6573756c745f6279746573016c726573756c745f746f6b656e02";

/// A task that waits; what is absent takes no room.
const WAITING_ROW: &str = "\
    ac6176016269645000000000000000000000000000000001657374617465697375626d697474656465746f6b656e\
    00666c6f737365730068617474656d7074738068646561646c696e651b0000018bd01c5680686661696c75726573\
    00687072696f72697479666e6f726d616c697375626d69747465641b0000018bcfe568006a6361706162696c6974\
    796277636b696e7075745f62797465730a";

/// A task a worker has accepted.
const HELD_ROW: &str = "\
    a66176016573696e63651b0000018bcfe5680065737461746568616363657074656465746f6b656e076864656164\
    6c696e651b0000018bd01c56806a6361706162696c697479627763";

/// One that waits there for a slot, and since a minute and a half.
const WAITING_HELD_ROW: &str = "\
    a961760265706c616365036573696e63651b0000018bcfe5680065737461746568616363657074656465746f6b65\
    6e07667175657565641b0000018bcfe4087068646561646c696e651b0000018bd01c5680687072696f7269747964\
    686967686a6361706162696c697479627763";

/// An outcome that waits for its acknowledgement.
const OUTCOME_ROW: &str = "\
    a169636f6d706c65746564a166726573756c744132";

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).expect("hex")
}

/// The same row as this program writes it.
fn raised(hex: &str) -> Vec<u8> {
    with_version(hex, 2)
}

fn with_version(hex: &str, version: u8) -> Vec<u8> {
    let mut row = bytes(hex);
    let key = [0x61, b'v', 1];
    let at = row.windows(3).position(|w| w == key).expect("version 1");
    row[at + 2] = version;
    row
}

fn row(space: Keyspace, key: &[u8], value: Vec<u8>) -> Row {
    let key = key.to_vec();
    Row { space, key, value }
}

#[test]
fn a_task_row_of_version_1_keeps_reading() {
    let record = TaskRecord::from_row(&bytes(TASK_ROW)).expect("version 1");
    assert_eq!(record.id, task_id(0x0123_4567_89ab_cdef));
    assert_eq!((&record.capability, record.to), (&wc(), Some(entity(2))));
    assert_eq!(
        (record.priority, record.state),
        (Priority::High, TaskState::Completed)
    );
    assert_eq!(
        (record.submitted, record.deadline),
        (NOW.wall, NOW.wall + HOUR_MS)
    );
    assert_eq!(
        (record.ended, record.token),
        (Some(NOW.wall + 30_000), token(2))
    );
    assert_eq!(
        (record.worker, record.result_token),
        (Some(entity(2)), Some(token(2)))
    );
    assert_eq!((record.failures, record.losses), (0, 1));
    assert_eq!((record.input_bytes, record.result_bytes), (10, Some(1)));
    assert_eq!(record.attempts.len(), 2);
    assert_eq!(record.attempts[0].outcome, "lost: its lease ran out");
    assert_eq!(record.attempts[0].ended, Some(NOW.wall + 20_000));
    assert_eq!(record.to_row(), raised(TASK_ROW), "and is written as 2");
}

/// What shows results stands in rows of version 2 as bytes that are read when they are asked for.
const PROOF_ROW_FIELDS: &str = "6570726f6f664470726f6f";
const COMMITMENT_FIELDS: &str = "6a636f6d6d69746d656e744470726f6f";

#[test]
fn what_shows_a_result_stands_in_the_tasks_row_where_it_always_did() {
    let mut record = TaskRecord::from_row(&bytes(TASK_ROW)).expect("version 1");
    record.proof = Some(serde_bytes::ByteBuf::from(*b"proo"));
    record.part = Some(Box::new(PartRecord {
        parent: task_id(2),
        round: 1,
        networks: Vec::new(),
        commitment: record.proof.clone(),
    }));
    let row = record.to_row();
    for fields in [PROOF_ROW_FIELDS, COMMITMENT_FIELDS] {
        let fields = bytes(fields);
        assert!(row.windows(fields.len()).any(|at| at == fields));
    }
    assert_eq!(TaskRecord::from_row(&row).expect("its own"), record);
}

#[test]
fn a_waiting_task_row_of_version_1_keeps_reading() {
    let record = TaskRecord::from_row(&bytes(WAITING_ROW)).expect("version 1");
    assert_eq!(
        (record.state, record.worker, record.ended),
        (TaskState::Submitted, None, None)
    );
    assert_eq!((record.token, record.attempts.len()), (token(0), 0));
    assert_eq!(record.to_row(), raised(WAITING_ROW));
}

#[test]
fn a_held_row_of_version_1_keeps_reading() {
    let record = HeldRecord::from_row(&bytes(HELD_ROW)).expect("version 1");
    assert_eq!(
        (record.state, record.token),
        (HeldState::Accepted, token(7))
    );
    assert_eq!(
        (&record.capability, record.deadline),
        (&wc(), NOW.wall + HOUR_MS)
    );
    assert_eq!(record.since, NOW.wall);
    assert_eq!(record.to_row(), raised(HELD_ROW));
}

#[test]
fn a_held_row_that_waits_keeps_reading() {
    let row = bytes(WAITING_HELD_ROW);
    let record = HeldRecord::from_row(&row).expect("version 2");
    assert_eq!((record.place, record.priority), (Some(3), Priority::High));
    assert_eq!(record.queued, Some(Wall(NOW.wall.0 - 90_000)));
    assert_eq!(record.to_row(), row);
}

#[test]
fn a_stored_outcome_keeps_reading() {
    let outcome: TaskOutcome = cbor::decode(&bytes(OUTCOME_ROW), 1024).expect("an outcome");
    assert_eq!(outcome, completed());
    assert_eq!(cbor::encode(&outcome), bytes(OUTCOME_ROW));
}

#[test]
fn a_held_key_is_the_requester_and_the_task() {
    let key = HeldKey {
        requester: entity(7),
        task: task_id(9),
    };
    assert_eq!(key.to_bytes(), [&[7; 32][..], &[0; 15], &[9]].concat());
    assert_eq!(held_key(&key.to_bytes()), Ok(key));
}

#[test]
fn golden_rows_load() {
    let mut ours = Requester::new(requester_config());
    let id = TaskRecord::from_row(&bytes(TASK_ROW))
        .expect("version 1")
        .id;
    ours.load(&row(Keyspace::Task, id.0.as_bytes(), bytes(TASK_ROW)), NOW)
        .expect("reads");
    ours.load(
        &row(Keyspace::TaskResult, id.0.as_bytes(), b"2".to_vec()),
        NOW,
    )
    .expect("reads");
    ours.resume(NOW);
    ours.check().expect("T4 and T7");
    assert_eq!(ours.result(id), Some(&b"2"[..]));
    let mut theirs = Side::new(Worker::new(worker_config(1, 1)), 1);
    let key = HeldKey {
        requester: US,
        task: id,
    };
    for (space, value) in [
        (Keyspace::Held, HELD_ROW),
        (Keyspace::HeldResult, OUTCOME_ROW),
    ] {
        theirs
            .core
            .load(&row(space, &key.to_bytes(), bytes(value)), NOW)
            .expect("reads");
    }
    theirs.kept(Worker::resume);
    assert_eq!(theirs.core.outcome(key), Some(completed()));
}

#[test]
fn rows_that_do_not_read_are_errors_that_say_what_and_why() {
    let mut newer: ciborium::Value =
        ciborium::from_reader(&with_version(WAITING_ROW, 3)[..]).expect("our own");
    let pairs = newer.as_map_mut().expect("a map");
    pairs.push(("nobody_knows_this_yet".into(), 1.into()));
    let error = TaskRecord::from_row(&cbor::encode(&newer)).expect_err("a newer version");
    let said = "a stored task does not read: it has version 3, this program reads up to 2";
    assert_eq!(error.to_string(), said);
    let held = HeldRecord::from_row(&with_version(HELD_ROW, 3)).expect_err("a newer version");
    assert!(held.to_string().contains("version 3"), "{held}");
    assert!(TaskRecord::from_row(&with_version(WAITING_ROW, 0)).is_err());
    for cut in 0..bytes(TASK_ROW).len() {
        assert!(
            TaskRecord::from_row(&bytes(TASK_ROW)[..cut]).is_err(),
            "cut at {cut}"
        );
    }
    for cut in 0..bytes(HELD_ROW).len() {
        assert!(
            HeldRecord::from_row(&bytes(HELD_ROW)[..cut]).is_err(),
            "cut at {cut}"
        );
    }
    assert!(
        HeldRecord::from_row(&bytes(TASK_ROW)).is_err(),
        "a row of another kind"
    );
    for len in [0, 31, 32, 47, 49] {
        assert!(held_key(&vec![0; len]).is_err(), "a key of {len} bytes");
    }
}

#[test]
fn a_damaged_store_is_refused_row_by_row() {
    let mut ours = Requester::new(requester_config());
    let mut theirs = Worker::new(worker_config(1, 1));
    let (good, short) = ([0; 48], [0; 5]);
    for damaged in [
        row(Keyspace::Task, &good[..16], b"garbage".to_vec()),
        row(Keyspace::Task, &short, bytes(WAITING_ROW)),
        row(Keyspace::TaskInput, &short, Vec::new()),
        row(Keyspace::TaskResult, &short, Vec::new()),
    ] {
        assert!(ours.load(&damaged, NOW).is_err(), "{damaged:?}");
        assert!(theirs.load(&damaged, NOW).is_ok(), "not the worker's");
    }
    for damaged in [
        row(Keyspace::Held, &good, b"garbage".to_vec()),
        row(Keyspace::Held, &short, bytes(HELD_ROW)),
        row(Keyspace::HeldInput, &short, Vec::new()),
        row(Keyspace::HeldResult, &good, b"garbage".to_vec()),
    ] {
        assert!(theirs.load(&damaged, NOW).is_err(), "{damaged:?}");
        assert!(ours.load(&damaged, NOW).is_ok(), "not the requester's");
    }
}

#[test]
fn a_payload_whose_task_is_gone_is_left_alone() {
    let mut ours = Requester::new(requester_config());
    let orphan = row(Keyspace::TaskInput, task_id(1).0.as_bytes(), b"x".to_vec());
    assert_eq!(ours.load(&orphan, NOW), Ok(()));
    assert_eq!(ours.input(task_id(1)), None);
}
