//! Inputs and results that are files.

use super::*;
use crate::types::FileRef;
use crate::wire::Purpose;

const A: EntityId = EntityId([11; 32]);
const B: EntityId = EntityId([12; 32]);
const CONTENT: FileRef = FileRef {
    root: [5; 32],
    size: 5 << 20,
};

fn large(n: u64) -> NewTask {
    NewTask {
        input: Vec::new(),
        input_file: Some(CONTENT),
        ..new_task(n)
    }
}

fn named(ours: &Side<Requester>) -> usize {
    ours.core.named_files().count()
}

#[test]
fn an_input_is_to_be_brought_from_the_acceptance_on_and_named_until_the_end() {
    let mut ours = ours();
    let held = ours.working(large(1), A);
    let purpose = Purpose::TaskInput {
        task_id: held.1,
        token: held.2,
    };
    let out = [(A, purpose, CONTENT)];
    assert_eq!(ours.core.inputs_out().collect::<Vec<_>>(), out);
    ours.restart();
    assert_eq!(ours.core.inputs_out().collect::<Vec<_>>(), out);
    assert_eq!(
        (named(&ours), ours.record(held.1).input_bytes),
        (1, 5 << 20)
    );
    assert_eq!(ours.result(held, completed()), AckAnswer::Kept);
    assert_eq!((named(&ours), ours.core.inputs_out().count()), (0, 0));
}

#[test]
fn a_large_result_is_named_as_long_as_its_task_is_kept() {
    let mut ours = ours();
    let held = ours.working(new_task(1), A);
    let result = TaskOutcome::CompletedFile { file: CONTENT };
    assert!(ours.core.awaits_result(held.0, held.1, held.2));
    assert_eq!(ours.result(held, result.clone()), AckAnswer::Kept);
    assert!(!ours.core.awaits_result(held.0, held.1, held.2));
    let ends = ours.core.take_ends();
    assert_eq!(ends, [(A, AttemptEnd::Completed)], "it speaks for A");
    ours.restart();
    assert_eq!(named(&ours), 1);
    assert_eq!(ours.record(held.1).result_file, Some(CONTENT));
    assert_eq!(ours.result(held, result), AckAnswer::Kept, "told twice");
    ours.wait(TERMINAL_KEEP_MS);
    assert_eq!(named(&ours), 0);
}

#[test]
fn an_input_that_is_not_brought_sends_the_task_elsewhere() {
    let mut ours = ours();
    let held = ours.working(large(1), A);
    let (worker, id, token) = held;
    ours.kept(|core, step| core.not_brought(worker, id, token, step));
    assert_eq!(ours.record(id).losses, 1);
    assert_eq!(ours.result(held, completed()), AckAnswer::Fenced);
    let again = ours.assign(&[A, B]);
    assert_eq!(again[0].0, B);
    // A late word on the first attempt is about nothing.
    ours.kept(|core, step| core.not_brought(worker, id, token, step));
    assert_eq!(ours.record(id).losses, 1);
}
