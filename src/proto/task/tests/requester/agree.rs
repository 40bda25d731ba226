//! Work that several workers do (A1–A4), from the requester's side.

mod parts;

use std::collections::BTreeMap;

use serde_bytes::ByteArray;

use super::*;
use crate::types::{Compare, Prefix};
use crate::wire::{AgreePart, Promised, RevealAnswer, RevealItem};

/// A part that a worker has.
#[derive(Debug, Clone, Copy)]
struct Part {
    of: Offered,
    round: u32,
}

fn replicated(replicas: u8, agree: u8) -> NewTask {
    let compare = Compare::Bytes;
    NewTask {
        agreement: Some(Agreement {
            replicas,
            agree,
            compare,
        }),
        ..new_task(1)
    }
}

fn salt(part: Part) -> [u8; 32] {
    part.of.0.0
}

fn agree(part: Part) -> AgreePart {
    AgreePart {
        parent: task_id(1),
        round: part.round,
    }
}

fn commitment(part: Part, result: &[u8]) -> [u8; 32] {
    let (worker, task, token) = part.of;
    let promised = Promised {
        requester: US,
        worker,
        task,
        token,
        agree: agree(part),
    };
    promised.commitment(&salt(part), result)
}

impl Side<Requester> {
    /// Hands it over, and has as many workers as it asks for take its parts.
    fn shared_out(&mut self, replicas: u8, agree: u8) -> Vec<Part> {
        self.submit(replicated(replicas, agree));
        self.kept(Requester::tick);
        let workers: Vec<EntityId> = (1..=replicas).map(entity).collect();
        self.taken_by(&workers)
    }

    /// What these workers take of it now.
    fn taken_by(&mut self, workers: &[EntityId]) -> Vec<Part> {
        let offers = self.assign(workers);
        let part = |of: Offered| {
            self.answer(of, boot(1), AcceptAnswer::Accepted);
            let round = self.core.agree_part(of.1).expect("a part").round;
            Part { of, round }
        };
        let mut parts: Vec<Part> = offers.into_iter().map(part).collect();
        parts.sort_by_key(|part| part.of.0);
        parts
    }

    fn commits(&mut self, part: Part, result: &[u8]) -> AckAnswer {
        let (commitment, agree) = (commitment(part, result), agree(part));
        let answer = self.result(part.of, TaskOutcome::Committed { commitment, agree });
        self.kept(Requester::tick);
        answer
    }

    fn reveals(&mut self, part: Part, result: &[u8]) -> AckAnswer {
        let (salt, result) = (salt(part), result.to_vec());
        let answer = self.result(part.of, TaskOutcome::Revealed { salt, result });
        self.kept(Requester::tick);
        answer
    }

    /// Who is asked for a result, and the batch that this rests on.
    fn asked(&mut self) -> Vec<(EntityId, RevealItem, BatchId)> {
        let asks = |effect| match effect {
            RequesterEffect::Reveal {
                worker,
                items,
                after,
            } => items
                .into_iter()
                .map(|item| (worker, item, after))
                .collect(),
            _ => Vec::new(),
        };
        self.core.effects().into_iter().flat_map(asks).collect()
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let record = self.record(task_id(1));
        let agreement = record.agreement.expect("a whole");
        agreement.votes.iter().map(|vote| vote.verdict).collect()
    }

    fn dissent(&self) -> Vec<EntityId> {
        let record = self.record(task_id(1));
        record.agreement.expect("a whole").dissent().collect()
    }

    fn state_of_whole(&self) -> TaskState {
        self.core.check().expect("T4, T7, A2 and A4");
        self.record(task_id(1)).state
    }
}

#[test]
fn enough_equal_results_complete_a_task_and_the_other_is_named() {
    let mut ours = ours();
    let parts = ours.shared_out(3, 2);
    let who: Vec<EntityId> = parts.iter().map(|part| part.of.0).collect();
    assert_eq!(who, [entity(1), entity(2), entity(3)], "A2");
    for part in &parts {
        assert_eq!(ours.core.input(part.of.1), Some(&b"some words"[..]));
        let result: &[u8] = if part.of.0 == entity(3) { b"9" } else { b"2" };
        assert_eq!(ours.commits(*part, result), AckAnswer::Kept);
    }
    let asked = ours.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(ours.reveals(parts[0], b"2"), AckAnswer::Kept);
    assert_eq!(ours.reveals(parts[1], b"2"), AckAnswer::Kept);
    assert_eq!(ours.state_of_whole(), TaskState::Working, "one may follow");
    assert_eq!(ours.reveals(parts[2], b"9"), AckAnswer::Kept);
    assert_eq!(ours.state_of_whole(), TaskState::Completed);
    assert_eq!(ours.core.result(task_id(1)), Some(&b"2"[..]));
    assert_eq!(ours.dissent(), [entity(3)]);
    assert_eq!(ours.core.result(parts[2].of.1), Some(&b"9"[..]), "evidence");
    let ends: BTreeMap<EntityId, AttemptEnd> = ours.core.take_ends().into_iter().collect();
    let (done, lied) = (AttemptEnd::Completed, AttemptEnd::Lied);
    let judged = [(entity(1), done), (entity(2), done), (entity(3), lied)];
    assert_eq!(ends, judged.into());
    assert_eq!(ours.core.result(parts[0].of.1), None, "kept once");
    assert_eq!(ours.disk.count(Keyspace::TaskInput), 0);
    assert_eq!(
        ours.reveals(parts[0], b"2"),
        AckAnswer::Fenced,
        "it is over"
    );
    ours.restart();
    assert_eq!(ours.dissent(), [entity(3)]);
    assert_eq!(ours.core.result(task_id(1)), Some(&b"2"[..]));
}

#[test]
fn a_result_is_asked_for_behind_the_close_and_no_sooner() {
    let mut ours = ours();
    let parts = ours.shared_out(2, 2);
    ours.commits(parts[0], b"2");
    assert_eq!(ours.asked(), []);
    assert_eq!(
        ours.reveals(parts[0], b"2"),
        AckAnswer::Fenced,
        "nobody asked"
    );
    let commitment = commitment(parts[1], b"2");
    let item = ResultItem {
        task_id: parts[1].of.1,
        token: parts[1].of.2,
        outcome: TaskOutcome::Committed {
            commitment,
            agree: agree(parts[1]),
        },
        spent: 0,
    };
    let (said, entry) = (told(entity(2), vec![item]), entry_of(entity(2)));
    let (_, kept) = ours.step(|core, step| {
        let answered = core.ended(entity(2), said, &entry, step);
        core.tick(step);
        answered
    });
    let closing = ours.core.task(task_id(1)).expect("the whole").1;
    assert!(!ours.disk.is_durable(kept), "A3");
    let asked = ours.asked();
    assert_eq!(asked.len(), 2);
    let rests = asked.iter().all(|(_, _, after)| *after == closing);
    assert!(rests && !ours.disk.is_durable(closing), "A1");
}

#[test]
fn a_result_that_does_not_fit_its_commitment_counts_for_nothing() {
    let mut ours = ours();
    let parts = ours.shared_out(3, 2);
    for part in &parts {
        ours.commits(*part, b"2");
    }
    assert_eq!(ours.reveals(parts[0], b"3"), AckAnswer::Kept);
    assert_eq!(ours.verdicts()[..], {
        let mut all = vec![Verdict::Committed; 3];
        let at = ours.record(task_id(1)).agreement.expect("a whole");
        let at = at.votes.iter().position(|vote| vote.part == parts[0].of.1);
        all[at.expect("its vote")] = Verdict::FalseReveal;
        all
    });
    ours.reveals(parts[1], b"2");
    ours.reveals(parts[2], b"2");
    assert_eq!(ours.state_of_whole(), TaskState::Completed);
    assert_eq!(ours.dissent(), [entity(1)]);
}

#[test]
fn who_never_tells_its_result_is_named_and_waited_for_no_longer_than_needed() {
    let mut ours = ours();
    let parts = ours.shared_out(3, 2);
    for part in &parts {
        ours.commits(*part, b"2");
    }
    ours.reveals(parts[0], b"2");
    ours.wait(4_000);
    ours.reveals(parts[1], b"2");
    assert_eq!(ours.state_of_whole(), TaskState::Working);
    let again: Vec<EntityId> = ours.asked().into_iter().map(|(who, ..)| who).collect();
    assert!(
        again.ends_with(&[entity(2), entity(3)]),
        "asked again: {again:?}"
    );
    ours.wait(1_100);
    assert_eq!(ours.state_of_whole(), TaskState::Completed);
    assert_eq!(ours.dissent(), [entity(3)]);
}

#[test]
fn who_knows_nothing_of_its_commitment_is_replaced_in_a_new_round() {
    let mut ours = ours();
    let parts = ours.shared_out(2, 2);
    for part in &parts {
        ours.commits(*part, b"2");
    }
    ours.reveals(parts[0], b"2");
    let (worker, id, token) = parts[1].of;
    let item = RevealItem { task_id: id, token };
    ours.kept(|core, step| core.reveal_answered(worker, &[item], &[RevealAnswer::Unknown], step));
    ours.kept(Requester::tick);
    assert_eq!(ours.state_of_whole(), TaskState::Working);
    assert_eq!(
        ours.taken_by(&[entity(1), entity(2)]).len(),
        0,
        "they had theirs"
    );
    let fresh = ours.taken_by(&[entity(1), entity(2), entity(3)]);
    assert_eq!(
        (fresh.len(), fresh[0].of.0, fresh[0].round),
        (1, entity(3), 2)
    );
    ours.commits(fresh[0], b"2");
    ours.reveals(fresh[0], b"2");
    assert_eq!(ours.state_of_whole(), TaskState::Completed);
    assert_eq!(ours.dissent(), [entity(2)]);
}

#[test]
fn a_silent_round_is_over_after_half_a_minute() {
    let mut ours = ours();
    let parts = ours.shared_out(2, 2);
    for part in &parts {
        ours.commits(*part, b"2");
    }
    ours.wait(29_900);
    assert_eq!(ours.verdicts(), [Verdict::Committed; 2]);
    ours.wait(200);
    let silent = Verdict::Unrevealed;
    assert_eq!(
        ours.verdicts(),
        [silent, silent, Verdict::Open, Verdict::Open]
    );
}

#[test]
fn three_rounds_without_agreement_fail_with_every_hash_on_record() {
    let mut ours = ours();
    let first = ours.shared_out(2, 2);
    let mut parts = first;
    for (round, worker) in [(1, 0), (2, 3), (3, 4)] {
        if round > 1 {
            parts = ours.taken_by(&[entity(worker)]);
            assert_eq!(parts.len(), 1, "what agreement still needs");
        }
        for part in &parts {
            ours.commits(*part, &part.of.0.0);
        }
        for part in &parts {
            ours.reveals(*part, &part.of.0.0);
        }
    }
    assert_eq!(ours.state_of_whole(), TaskState::Failed);
    let record = ours.record(task_id(1));
    let reason = record.reason.expect("a reason");
    assert!(reason.contains("of 4 in 3 rounds 1 were equal"), "{reason}");
    let agreement = record.agreement.expect("a whole");
    let hashes: std::collections::BTreeSet<_> =
        agreement.votes.iter().map(|vote| vote.hash).collect();
    assert_eq!((hashes.len(), hashes.contains(&None)), (4, false));
}

#[test]
fn a_round_with_enough_commitments_ends_at_its_time_without_the_others() {
    let mut ours = ours();
    let parts = ours.shared_out(3, 2);
    ours.commits(parts[0], b"2");
    let held = [parts[1].of, parts[2].of];
    // The round lasts half of what is left until the deadline.
    for _ in 0..HOUR_MS / 2 / 5_000 {
        ours.wait(5_000);
        ours.renew(entity(2), boot(1), &held[..1]);
        ours.renew(entity(3), boot(1), &held[1..]);
    }
    assert_eq!(ours.asked(), [], "one of two");
    ours.commits(parts[1], b"2");
    assert_eq!(ours.asked().len(), 2);
    ours.reveals(parts[0], b"2");
    ours.reveals(parts[1], b"2");
    assert_eq!(ours.state_of_whole(), TaskState::Completed);
    assert_eq!(ours.dissent(), [], "who was slow told nothing wrong");
    assert_eq!(ours.commits(parts[2], b"2"), AckAnswer::Fenced);
}

#[test]
fn every_restart_of_the_requester_goes_on_where_its_disk_says() {
    let mut ours = ours();
    let parts = ours.shared_out(3, 2);
    ours.restart();
    ours.kept(Requester::tick);
    for part in &parts {
        assert_eq!(
            ours.renew(part.of.0, boot(1), &[part.of]),
            [RenewAnswer::Renewed { lease_ms: 20_000 }]
        );
        ours.commits(*part, b"2");
        ours.restart();
        ours.kept(Requester::tick);
        assert_eq!(ours.commits(*part, b"2"), AckAnswer::Kept, "told again");
        assert_eq!(
            ours.commits(*part, b"3"),
            AckAnswer::Fenced,
            "it has another"
        );
    }
    let asked: Vec<EntityId> = ours.asked().into_iter().map(|(who, ..)| who).collect();
    assert_eq!(asked, [entity(1), entity(2), entity(3)], "asked anew");
    for part in &parts {
        ours.reveals(*part, b"2");
        ours.restart();
        ours.kept(Requester::tick);
    }
    assert_eq!(ours.state_of_whole(), TaskState::Completed);
    assert_eq!(ours.dissent(), []);
    assert_eq!(ours.core.tasks().count(), 4);
}

#[test]
fn a_worker_thought_lost_gets_no_second_part_and_may_still_commit() {
    let mut ours = ours();
    ours.submit(replicated(2, 2));
    ours.kept(Requester::tick);
    let lost = ours.taken_by(&[entity(1)]);
    assert_eq!(lost.len(), 1, "A2");
    ours.wait(21_000);
    let others = ours.taken_by(&[entity(1), entity(2)]);
    let workers: Vec<EntityId> = others.iter().map(|part| part.of.0).collect();
    assert_eq!(workers, [entity(1), entity(2)]);
    ours.state_of_whole();
}

#[test]
fn a_canceled_task_takes_its_parts_along() {
    let mut ours = ours();
    let parts = ours.shared_out(3, 2);
    ours.commits(parts[0], b"2");
    ours.core.effects();
    ours.kept(|core, step| core.cancel(task_id(1), step));
    let cancels = |effect: &RequesterEffect| matches!(effect, RequesterEffect::Cancel { .. });
    assert_eq!(
        ours.core.effects().iter().filter(|of| cancels(of)).count(),
        3
    );
    assert_eq!(ours.state_of_whole(), TaskState::Canceled);
    let open = ours.core.tasks().filter(|(of, _)| !of.state.is_terminal());
    assert_eq!(open.count(), 0);
    assert_eq!(ours.commits(parts[1], b"2"), AckAnswer::Fenced);
    ours.wait(TERMINAL_KEEP_MS + 1);
    assert_eq!(
        ours.core.tasks().count(),
        0,
        "and the parts are forgotten with it"
    );
}

#[test]
fn a_part_is_not_canceled_for_itself() {
    let mut ours = ours();
    let parts = ours.shared_out(3, 2);
    for part in &parts {
        ours.commits(*part, b"2");
    }
    let part = parts[2].of.1;
    let (_, stopped) = ours
        .kept(|core, step| core.cancel(part, step))
        .expect("known");
    assert!(!stopped);
    for part in &parts {
        assert_eq!(ours.reveals(*part, b"2"), AckAnswer::Kept);
    }
    assert_eq!(ours.state_of_whole(), TaskState::Completed);
    assert_eq!(ours.verdicts(), [Verdict::Revealed; 3]);
    assert!(ours.dissent().is_empty());
}

#[test]
fn the_deadline_of_the_task_ends_its_parts() {
    let mut ours = ours();
    ours.submit(NewTask {
        deadline_ms: 10_000,
        ..replicated(3, 2)
    });
    ours.kept(Requester::tick);
    let parts = ours.taken_by(&[entity(1)]);
    assert_eq!(parts.len(), 1);
    ours.wait(10_001);
    assert_eq!(ours.state_of_whole(), TaskState::Failed);
    assert_eq!(
        ours.record(task_id(1)).reason.as_deref(),
        Some("the deadline passed")
    );
    let open = ours.core.tasks().filter(|(of, _)| !of.state.is_terminal());
    assert_eq!(open.count(), 0);
}

/// Workers that differ were told of as a deadline that passed.
#[test]
fn workers_that_differ_are_what_the_reason_tells_of() {
    let mut ours = ours();
    ours.submit(NewTask {
        deadline_ms: 60_000,
        ..replicated(3, 3)
    });
    ours.kept(Requester::tick);
    let parts = ours.taken_by(&[entity(1), entity(2), entity(3)]);
    for part in &parts {
        let result: &[u8] = if part.of.0 == entity(3) { b"9" } else { b"2" };
        ours.commits(*part, result);
    }
    for part in &parts {
        let result: &[u8] = if part.of.0 == entity(3) { b"9" } else { b"2" };
        ours.reveals(*part, result);
    }
    assert_eq!(ours.state_of_whole(), TaskState::Working, "another round");
    ours.wait(60_001);
    assert_eq!(ours.state_of_whole(), TaskState::Failed);
    let record = ours.record(task_id(1));
    let reason = record.reason.expect("a reason");
    let agreement = record.agreement.expect("a whole");
    let hash = |worker: u8| {
        let mut votes = agreement.votes.iter();
        let vote = votes.find(|vote| {
            let promise = vote.promise.as_ref();
            promise.is_some_and(|of| of.worker == entity(worker))
        });
        data_encoding::HEXLOWER.encode(&vote.expect("it voted").hash.expect("a hash")[..8])
    };
    assert!(reason.contains("different results"), "{reason}");
    let both = [1, 2].map(|worker| entity(worker).end());
    let (two, one) = (
        format!("2 told {} (", hash(1)),
        format!(", 1 told {} ({})", hash(3), entity(3).end()),
    );
    assert!(reason.contains(&two) && reason.ends_with(&one), "{reason}");
    assert!(both.iter().all(|who| reason.contains(who)), "{reason}");
    assert!(record.dead, "and so of the dead letter");
}

#[test]
fn too_few_equal_results_at_the_deadline_are_counted() {
    let mut ours = ours();
    ours.submit(NewTask {
        deadline_ms: 60_000,
        ..replicated(2, 2)
    });
    ours.kept(Requester::tick);
    let parts = ours.taken_by(&[entity(1), entity(2)]);
    for part in &parts {
        ours.commits(*part, b"2");
    }
    ours.reveals(parts[0], b"2");
    ours.wait(31_000);
    ours.wait(30_000);
    assert_eq!(ours.state_of_whole(), TaskState::Failed);
    let reason = ours.record(task_id(1)).reason.expect("a reason");
    assert!(reason.contains("1 of the 2 equal results"), "{reason}");
    let silent = format!("1 told none ({})", entity(2).end());
    assert!(reason.ends_with(&silent), "{reason}");
}

#[test]
fn enough_equal_results_at_the_deadline_are_an_agreement() {
    let mut ours = ours();
    ours.submit(NewTask {
        deadline_ms: 6_000,
        ..replicated(3, 2)
    });
    ours.kept(Requester::tick);
    let parts = ours.taken_by(&[entity(1), entity(2), entity(3)]);
    ours.wait(2_000);
    for part in &parts {
        ours.commits(*part, b"2");
    }
    ours.reveals(parts[0], b"2");
    ours.reveals(parts[1], b"2");
    assert_eq!(ours.state_of_whole(), TaskState::Working, "one may follow");
    ours.wait(4_001);
    assert_eq!(ours.state_of_whole(), TaskState::Completed);
    assert_eq!(ours.dissent(), [entity(3)]);
}

#[test]
fn a_work_that_fails_everywhere_fails_with_its_reason() {
    let mut ours = ours();
    let mut parts = ours.shared_out(2, 2);
    for _ in 0..5 {
        for part in &parts {
            ours.result(part.of, failed());
        }
        ours.wait(31_000);
        parts = ours.taken_by(&[entity(1), entity(2)]);
    }
    assert_eq!(ours.state_of_whole(), TaskState::Failed);
    let reason = ours.record(task_id(1)).reason.expect("a reason");
    assert!(reason.contains("no such file"), "{reason}");
}

#[test]
fn a_worker_that_does_not_commit_first_has_failed() {
    let mut ours = ours();
    let parts = ours.shared_out(2, 2);
    assert_eq!(ours.result(parts[0].of, completed()), AckAnswer::Kept);
    let attempt = ours.record(parts[0].of.1).attempts.pop().expect("one");
    assert!(
        attempt.outcome.contains("before it was asked"),
        "{attempt:?}"
    );
}

#[test]
fn results_are_equal_by_the_form_that_was_asked_for() {
    let mut ours = ours();
    ours.submit(NewTask {
        agreement: Some(Agreement {
            replicas: 2,
            agree: 2,
            compare: Compare::Json,
        }),
        ..new_task(1)
    });
    ours.kept(Requester::tick);
    let parts = ours.taken_by(&[entity(1), entity(2)]);
    let results: [&[u8]; 2] = [br#"{"a": 1, "b": 2}"#, br#"{"b":2,"a":1.0}"#];
    for (part, result) in parts.iter().zip(results) {
        ours.commits(*part, result);
    }
    for (part, result) in parts.iter().zip(results) {
        ours.reveals(*part, result);
    }
    assert_eq!(ours.state_of_whole(), TaskState::Completed);
    let result = ours.core.result(task_id(1)).expect("a result").to_vec();
    assert!(results.contains(&&result[..]), "as somebody wrote it");
}
