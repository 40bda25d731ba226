//! Results are signed: what is not as it should be is taken by nobody, and the rest can be shown.

use super::*;
use crate::crypto::KeyPair;
use crate::types::{EntityId, FencingToken, Keyspace};
use crate::wire::{
    EvidenceError, MsgType, ResultItem, ResultParties, Stated, TaskEvidence, TaskOutcome,
    TaskResult, WireError, cbor,
};

fn evidence(wires: &mut Wires, n: usize) -> TaskEvidence {
    match wires.ask(n, Command::TaskProof(task(1))) {
        Ok(Reply::TaskProof(evidence)) => *evidence,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_result_can_be_shown_to_others_also_after_a_restart() {
    let mut wires = pair();
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    let ids = [0, 1].map(|n| wires.hosts[n].identity.entity_id);
    let first = evidence(&mut wires, 0);
    let shown = first.verify().expect("it holds");
    let [of] = &shown[..] else {
        panic!("{shown:?}")
    };
    assert_eq!([of.proof.requester, of.proof.worker], ids);
    assert_eq!((of.proof.task, of.name.as_str()), (task(1), "node-1"));
    let result = b"SOME WORDS".to_vec();
    let said = Stated::of(&TaskOutcome::Completed { result });
    assert_eq!(of.proof.outcome, said);
    wires.stop(1);
    wires.stop(0);
    wires.start(0);
    assert_eq!(evidence(&mut wires, 0), first);
}

#[test]
fn a_proof_with_any_byte_changed_shows_nothing() {
    let mut wires = pair();
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    let good = evidence(&mut wires, 0);
    let text = good.to_text();
    assert_eq!(TaskEvidence::from_text(&text), Ok(good.clone()));
    let bytes = cbor::encode(&good);
    for at in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[at] ^= 0x10;
        let read = cbor::decode::<TaskEvidence>(&bent, bytes.len());
        assert!(
            read.is_ok_and(|of| of.verify().is_ok()).eq(&false),
            "byte {at}"
        );
    }
    let nobody = TaskEvidence {
        entries: Vec::new(),
        ..good.clone()
    };
    assert_eq!(nobody.verify(), Err(EvidenceError::OtherSender));
    let nothing = TaskEvidence {
        outcomes: Vec::new(),
        ..good
    };
    assert_eq!(nothing.verify(), Err(EvidenceError::Unreadable));
}

/// Hands `list` to node 0 as what node 1 said, and returns the code it was refused with.
fn says(wires: &mut Wires, list: &TaskResult) -> Option<WireError> {
    let (peer, from) = (
        wires.hosts[1].identity.peer_id,
        wires.hosts[1].identity.entity_id,
    );
    let (now, body) = (wires.now(), cbor::encode(list));
    let node = wires.hosts[0].node.as_mut().expect("it is up");
    let mut code = None;
    node.step(now, |node, step| {
        code = node
            .answer(peer, from, MsgType::TaskResult, &body, step)
            .err();
    });
    code
}

#[test]
fn a_list_that_is_not_signed_by_its_worker_is_refused_and_nothing_of_it_taken() {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    let early = wires.ask(0, Command::TaskProof(task(1)));
    let code = early.expect_err("it runs").code;
    assert_eq!(code, CommandErrorCode::Conflict, "nothing to show yet");
    let [requester, worker] = [0, 1].map(|n| wires.hosts[n].identity.entity_id);
    let key = wires.hosts[1].identity.key().clone();
    let list = |requester: EntityId, key: &KeyPair| {
        let item = ResultItem {
            task_id: task(1),
            token: FencingToken(1),
            outcome: TaskOutcome::Completed {
                result: b"forged".to_vec(),
            },
            spent: 0,
        };
        let parties = ResultParties { requester, worker };
        TaskResult::sign(vec![item], &parties, key, [1; 32])
    };
    let mut altered = list(requester, &key);
    altered.items[0].outcome = TaskOutcome::Completed {
        result: b"another".to_vec(),
    };
    let bad = Some(WireError::InvalidSignature);
    assert_eq!(says(&mut wires, &altered), bad);
    let elsewhere = list(EntityId([9; 32]), &key);
    assert_eq!(says(&mut wires, &elsewhere), bad, "for somebody else");
    let stranger = KeyPair::from_seed(&[3; 32]);
    let unknown = says(&mut wires, &list(requester, &stranger));
    assert_eq!(unknown, Some(WireError::InvalidState), "another key");
    assert!(WireError::InvalidSignature.penalty() > WireError::InvalidState.penalty());
    let (record, _) = wires.node(0).requester().task(task(1)).expect("it is open");
    assert!(!record.state.is_terminal() && record.proof.is_none());
    let kept = |wires: &Wires| {
        let rows = wires.hosts[0].rows.keys();
        rows.filter(|(space, _)| *space == Keyspace::TaskResult)
            .count()
    };
    assert_eq!(kept(&wires), 0);
    assert_eq!(says(&mut wires, &list(requester, &key)), None);
    let (record, _) = wires
        .node(0)
        .requester()
        .task(task(1))
        .expect("it is known");
    assert_eq!(record.state, TaskState::Completed);
}
