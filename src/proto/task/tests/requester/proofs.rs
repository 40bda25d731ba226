//! What shows results to others (T11): kept with them, as long as them, and nothing else.

use super::*;
use crate::wire::{AgreePart, Promised, ResultProof, Stated};

impl Side<Requester> {
    /// What shows a task, checked.
    fn shown(&self, id: TaskId) -> Vec<ResultProof> {
        self.core.check().expect("T11");
        let proofs = self.core.proofs(id).into_iter();
        let shown = proofs.map(|(proof, entry)| {
            assert_eq!(proof.verify(), Ok(()));
            assert_eq!(
                (proof.requester, proof.key),
                (US, key_of(proof.worker).public())
            );
            assert_eq!(entry, entry_of(proof.worker));
            proof
        });
        shown.collect()
    }

    fn said(&mut self, of: &[(Offered, TaskOutcome)]) {
        let worker = of[0].0.0;
        let item = |((_, task_id, token), outcome): &(Offered, TaskOutcome)| ResultItem {
            task_id: *task_id,
            token: *token,
            outcome: outcome.clone(),
            spent: 0,
        };
        let (said, entry) = (
            told(worker, of.iter().map(item).collect()),
            entry_of(worker),
        );
        self.kept(|core, step| core.ended(worker, said, &entry, step));
    }
}

#[test]
fn a_completed_task_keeps_what_shows_its_result_as_long_as_it_is_known() {
    let (mut ours, a) = (ours(), entity(1));
    let offers = [1, 2, 3].map(|n| ours.working(new_task(n), a));
    let outcomes = [completed(), failed(), completed()];
    let all: Vec<_> = offers.into_iter().zip(outcomes).collect();
    ours.said(&all);
    for life in 0..2 {
        for n in [1, 3] {
            let shown = ours.shown(task_id(n));
            let [proof] = &shown[..] else {
                panic!("one of task {n} in life {life}: {shown:?}")
            };
            let (worker, id, token) = offers[n as usize - 1];
            assert_eq!((proof.worker, proof.task), (worker, id));
            assert_eq!((proof.token, proof.count), (token, 3));
            assert_eq!(proof.outcome, Stated::of(&completed()));
        }
        assert_eq!(ours.shown(task_id(2)), [], "it has not completed");
        assert_eq!(ours.disk.count(Keyspace::TaskWorker), 1, "said once");
        ours.restart();
    }
    ours.wait(TERMINAL_KEEP_MS);
    assert_eq!(ours.shown(task_id(1)), []);
    assert_eq!(ours.disk.count(Keyspace::TaskWorker), 0);
}

#[test]
fn what_shows_a_result_costs_no_row_of_its_own() {
    let (mut ours, a) = (ours(), entity(1));
    let offers = [1, 2].map(|n| ours.working(new_task(n), a));
    ours.result(offers[0], completed());
    let (said, entry) = (
        told(
            a,
            vec![ResultItem {
                task_id: offers[1].1,
                token: offers[1].2,
                outcome: completed(),
                spent: 0,
            }],
        ),
        entry_of(a),
    );
    let rows = ours.step(|core, step| {
        core.ended(a, said, &entry, step);
        step.writes.ops.len()
    });
    assert_eq!(rows, 3, "the task, its result, its input let go");
}

#[test]
fn a_result_under_another_token_leaves_what_shows_the_first() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let old = ours.working(new_task(1), a);
    ours.wait(30_000);
    let new = ours.assign(&[b])[0];
    ours.answer(new, boot(1), AcceptAnswer::Accepted);
    assert_eq!(ours.result(new, completed()), AckAnswer::Kept);
    let first = ours.shown(old.1);
    assert_eq!((first.len(), first[0].worker), (1, b));
    assert_eq!(ours.result(old, completed()), AckAnswer::Fenced);
    assert_eq!(ours.result(new, completed()), AckAnswer::Kept, "repeated");
    assert_eq!(ours.shown(old.1), first);
    assert_eq!(
        ours.disk.count(Keyspace::TaskWorker),
        1,
        "a has shown nothing"
    );
}

#[test]
fn what_was_committed_to_and_told_then_names_a_cheat() {
    let mut ours = ours();
    let compare = crate::types::Compare::Bytes;
    let whole = ours.submit(NewTask {
        agreement: Some(Agreement {
            replicas: 3,
            agree: 2,
            compare,
        }),
        ..new_task(1)
    });
    ours.kept(Requester::tick);
    let offers = ours.assign(&[1, 2, 3].map(entity));
    let agree = AgreePart {
        parent: whole,
        round: 1,
    };
    let salt = [7; 32];
    for offer in &offers {
        ours.answer(*offer, boot(1), AcceptAnswer::Accepted);
        let (worker, task, token) = *offer;
        let promised = Promised {
            requester: US,
            worker,
            task,
            token,
            agree,
        };
        let commitment = promised.commitment(&salt, b"2");
        ours.result(*offer, TaskOutcome::Committed { commitment, agree });
        ours.kept(Requester::tick);
    }
    for offer in &offers {
        let result = if offer.0 == entity(3) { b"9" } else { b"2" }.to_vec();
        ours.result(*offer, TaskOutcome::Revealed { salt, result });
        ours.kept(Requester::tick);
    }
    assert_eq!(ours.record(whole).state, TaskState::Completed);
    for _ in 0..2 {
        let shown = ours.shown(whole);
        assert_eq!(shown.len(), 6, "what each committed to and told");
        let mut fits: Vec<(EntityId, bool)> = Vec::new();
        for pair in shown.chunks(2) {
            let opens = pair[1].opens(&pair[0]).expect("a pair");
            fits.push((pair[0].worker, opens));
        }
        fits.sort_unstable();
        let expected = [(entity(1), true), (entity(2), true), (entity(3), false)];
        assert_eq!(fits, expected);
        ours.restart();
    }
}

#[test]
fn a_commitment_to_a_part_of_something_else_is_a_failed_attempt() {
    let mut ours = ours();
    let compare = crate::types::Compare::Bytes;
    let whole = ours.submit(NewTask {
        agreement: Some(Agreement {
            replicas: 2,
            agree: 2,
            compare,
        }),
        ..new_task(1)
    });
    ours.kept(Requester::tick);
    let offer = ours.assign(&[entity(1)])[0];
    ours.answer(offer, boot(1), AcceptAnswer::Accepted);
    for agree in [
        AgreePart {
            parent: task_id(9),
            round: 1,
        },
        AgreePart {
            parent: whole,
            round: 2,
        },
    ] {
        let commitment = [3; 32];
        ours.result(offer, TaskOutcome::Committed { commitment, agree });
        assert_eq!(ours.record(offer.1).failures, 1);
    }
    assert_eq!(ours.shown(whole), []);
}

#[test]
fn a_task_that_failed_for_good_keeps_what_shows_its_last_failure() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let id = ours.submit(new_task(1));
    let mut last = None;
    for n in 0..5 {
        assert_eq!(ours.shown(id), [], "it may yet complete");
        ours.wait(30_000);
        let offer = ours.assign(&[if n == 4 { b } else { a }])[0];
        ours.answer(offer, boot(1), AcceptAnswer::Accepted);
        ours.result(offer, failed());
        last = Some(offer.2);
    }
    for _ in 0..2 {
        let shown = ours.shown(id);
        let [proof] = &shown[..] else {
            panic!("{shown:?}")
        };
        assert_eq!((proof.worker, proof.task), (b, id));
        assert_eq!(Some(proof.token), last);
        assert_eq!(proof.outcome, Stated::of(&failed()));
        assert_eq!(ours.disk.count(Keyspace::TaskWorker), 1);
        ours.restart();
    }
    ours.kept(|core, step| core.drop_dead(id, step));
    assert_eq!(ours.shown(id).len(), 1, "also without its input");
    ours.wait(TERMINAL_KEEP_MS + 1);
    assert_eq!(ours.shown(id), []);
    assert_eq!(ours.disk.count(Keyspace::TaskWorker), 0);
}
