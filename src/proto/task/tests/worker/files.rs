//! Inputs and results that are files.

use super::*;
use crate::types::FileRef;
use crate::wire::Purpose;

const CONTENT: FileRef = FileRef {
    root: [5; 32],
    size: 5 << 20,
};

fn large(n: u64, under: u64) -> DelegateItem {
    DelegateItem {
        input: Vec::new(),
        input_file: Some(CONTENT),
        ..offer(n, under)
    }
}

fn begins(effects: &[WorkerEffect]) -> bool {
    let begins = |effect: &WorkerEffect| matches!(effect, WorkerEffect::Run { .. });
    effects.iter().any(begins)
}

#[test]
fn a_run_that_waits_for_its_input_does_not_count_if_the_node_goes_down() {
    let mut theirs = theirs(4);
    assert_eq!(theirs.offered(large(1, 1)), AcceptAnswer::Accepted);
    for crash in 1..10 {
        let effects = theirs.restart(worker_config(4, 1_000 * crash));
        assert!(begins(&effects), "after crash {crash}");
        assert_eq!(theirs.core.input_file(key(1)), Some(CONTENT));
    }
    // Once it has begun it counts as any other.
    for crash in 1..3 {
        theirs.kept(|core, step| core.begun(key(1), step));
        let effects = theirs.restart(worker_config(4, 100_000 * crash));
        assert!(begins(&effects), "after crash {crash}");
    }
    theirs.kept(|core, step| core.begun(key(1), step));
    theirs.restart(worker_config(4, 900_000));
    let outcome = theirs.core.outcome(key(1));
    let poison = matches!(outcome, Some(TaskOutcome::Failed { poison: true, .. }));
    assert!(poison, "{outcome:?}");
}

#[test]
fn an_input_over_the_limit_or_in_two_places_is_refused() {
    let mut theirs = theirs(4);
    let file = |size| FileRef { size, ..CONTENT };
    let over = DelegateItem {
        input_file: Some(file((1 << 30) + 1)),
        ..large(1, 1)
    };
    let refused = AcceptAnswer::Refused(RefuseReason::TooLarge);
    assert_eq!(theirs.offered(over), refused);
    let both = DelegateItem {
        input: b"words".to_vec(),
        ..large(2, 1)
    };
    let refused = AcceptAnswer::Refused(RefuseReason::NotAllowed);
    assert_eq!(theirs.offered(both), refused);
}

#[test]
fn a_large_result_is_sent_when_it_is_asked_for_and_said_again_when_it_is_there() {
    let mut theirs = theirs(4);
    let run = theirs.running(1, 1);
    theirs.ended(run, TaskOutcome::CompletedFile { file: CONTENT });
    assert_eq!(theirs.handed_over(0), [(task_id(1), token(1))]);
    assert_eq!(theirs.core.results_out().count(), 0);
    theirs.told(1, 1, Some(AckAnswer::Pending));
    let purpose = Purpose::TaskResult {
        task_id: task_id(1),
        token: token(1),
    };
    let out: Vec<_> = theirs.core.results_out().collect();
    assert_eq!(out, [(US, purpose, CONTENT)]);
    assert_eq!(
        theirs.core.named_files().collect::<Vec<_>>(),
        [CONTENT.root]
    );
    let now = theirs.now.mono;
    theirs.core.result_brought(US, task_id(1), true, now);
    assert_eq!(theirs.handed_over(0), [(task_id(1), token(1))]);
    theirs.told(1, 1, Some(AckAnswer::Kept));
    assert_eq!(theirs.core.named_files().count(), 0);
    assert!(theirs.core.is_empty());
}

#[test]
fn a_held_input_is_named_until_its_run_has_ended() {
    let mut theirs = theirs(4);
    assert_eq!(theirs.offered(large(1, 1)), AcceptAnswer::Accepted);
    let run = match &theirs.core.effects()[..] {
        [WorkerEffect::Run { run, .. }] => *run,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        theirs.core.awaits_input(US, task_id(1), token(1)),
        Some(CONTENT)
    );
    assert_eq!(theirs.core.awaits_input(US, task_id(1), token(2)), None);
    assert_eq!(theirs.core.named_files().count(), 1);
    theirs.ended(run, completed());
    assert_eq!(theirs.core.named_files().count(), 0);
}
