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
    ours.core.is_here(CONTENT);
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

#[test]
fn a_result_whose_file_is_not_here_completes_nothing() {
    let mut ours = ours();
    let held = ours.working(new_task(1), A);
    let other = FileRef {
        size: CONTENT.size + 1,
        ..CONTENT
    };
    ours.core.is_here(other);
    let result = TaskOutcome::CompletedFile { file: CONTENT };
    assert_eq!(ours.result(held, result.clone()), AckAnswer::Kept);
    let record = ours.record(held.1);
    assert_eq!((record.failures, record.result_file), (1, None));
    assert_eq!(
        record.attempts[0].outcome,
        "failed: the result is too large"
    );
    // What was said to be here holds for one list.
    ours.core.is_here(CONTENT);
    ours.kept(|core, step| core.ended(A, Vec::new(), &[], step));
    ours.wait(30_000);
    let again = ours.assign(&[A])[0];
    ours.answer(again, boot(1), AcceptAnswer::Accepted);
    ours.result(again, result);
    assert_eq!(ours.record(held.1).failures, 2);
}

#[test]
fn the_oldest_result_makes_room_and_then_the_input_that_failed_first() {
    let mut ours = ours();
    let file = |n: u8| FileRef {
        root: [n; 32],
        size: 1 << 20,
    };
    // The second ends first, and the third has the same file as the first.
    for (n, content) in [(2, 2), (1, 1), (3, 1)] {
        let held = ours.working(new_task(n), A);
        ours.core.is_here(file(content));
        let result = TaskOutcome::CompletedFile {
            file: file(content),
        };
        assert_eq!(ours.result(held, result), AckAnswer::Kept);
        ours.wait(1_000);
    }
    ours.submit(NewTask {
        deadline_ms: 1_000,
        ..large(4)
    });
    ours.wait(1_000);
    assert_eq!(ours.core.dead(), 1);
    assert_eq!(ours.core.spare_bytes(), 2 * (1 << 20) + CONTENT.size);
    let mut gone = |left: usize| {
        let any = ours.kept(Requester::let_oldest_file_go);
        ours.core.check().expect("T7 and T9");
        ours.restart();
        assert_eq!(named(&ours), left);
        any
    };
    assert!(gone(3) && gone(2) && gone(1), "the results");
    assert!(gone(0), "the input");
    assert!(!gone(0));
    let known = |n| ours.core.task(task_id(n)).is_some();
    assert_eq!([1, 2, 3, 4].map(known), [false, false, false, true]);
}
