//! Inputs and results that are files: who takes them, when a run begins, when a result counts.

use rand::SeedableRng as _;

use super::*;
use crate::proto::node::payloads::{Part, part_id};
use crate::proto::transfer::{Manifest, NewFile, Submitted};
use crate::types::{FencingToken, FileRef, PayloadFile};
use crate::wire::{Purpose, RefusedFile};

const INPUT: FileRef = FileRef {
    root: [1; 32],
    size: 5 << 20,
};
const RESULT: FileRef = FileRef {
    root: [2; 32],
    size: 6 << 20,
};

fn file(n: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(n)
}

fn keep(wires: &mut Wires, n: usize, content: FileRef, name: u128) {
    let file = file(name);
    let kept = wires.ask(n, Command::KeepPayload { content, file });
    assert!(matches!(kept, Ok(Reply::Payload(_))), "{kept:?}");
}

fn submit_large(n: u64) -> Command {
    Command::Submit(Submission {
        input_file: Some(INPUT.root),
        ..Submission::new(task(n), wc(), Vec::new())
    })
}

/// A worker that has accepted a task with a large input.
fn accepted() -> Wires {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    keep(&mut wires, 0, INPUT, 10);
    wires.granted(0, submit_large(1));
    wires.run(SECOND_MS);
    assert_eq!(wires.node(1).worker().len(), 1);
    assert!(wires.hosts[1].runs.is_empty(), "its input is not here");
    wires
}

/// The requester and the worker.
fn entities(wires: &Wires) -> (EntityId, EntityId) {
    let entity = |n: usize| wires.hosts[n].identity.entity_id;
    (entity(0), entity(1))
}

fn input_of(n: u64, token: u64) -> Purpose {
    Purpose::TaskInput {
        task_id: task(n),
        token: FencingToken(token),
    }
}

fn result_of(n: u64, token: u64) -> Purpose {
    Purpose::TaskResult {
        task_id: task(n),
        token: FencingToken(token),
    }
}

#[test]
fn a_task_whose_input_nobody_handed_over_is_refused() {
    let mut wires = pair();
    let refused = wires.ask(0, submit_large(1)).expect_err("no payload");
    assert_eq!(refused.code, CommandErrorCode::NotFound);
}

#[test]
fn a_part_of_a_task_is_taken_only_of_a_task_that_is_held() {
    let wires = accepted();
    let (us, them) = entities(&wires);
    let worker = wires.node(1);
    assert!(matches!(
        worker.judge_part(us, input_of(1, 1), INPUT),
        Part::Wanted
    ));
    let unexpected = |part: Part| matches!(part, Part::Refused(RefusedFile::Unexpected));
    for (from, purpose, content) in [
        (them, input_of(1, 1), INPUT),
        (us, input_of(1, 2), INPUT),
        (us, input_of(2, 1), INPUT),
        (us, input_of(1, 1), RESULT),
        (us, result_of(1, 1), INPUT),
    ] {
        let judged = worker.judge_part(from, purpose, content);
        assert!(unexpected(judged), "{purpose:?}");
    }
    // Nor does a requester take a result that it did not ask for.
    let requester = wires.node(0);
    assert!(unexpected(requester.judge_part(
        them,
        result_of(1, 1),
        RESULT
    )));
}

#[test]
fn a_run_begins_with_its_input_and_its_result_counts_once_its_file_is_here() {
    let mut wires = accepted();
    keep(&mut wires, 1, INPUT, 11);
    wires.run(SECOND_MS);
    let (run, spec) = wires.hosts[1].runs.remove(0);
    let at = PayloadFile {
        file: file(11),
        size: INPUT.size,
    };
    assert_eq!(spec.input_file, Some(at));
    let outcome = RunOutcome::CompletedFile {
        content: RESULT,
        file: Some(file(12)),
    };
    wires.input(1, Input::RunEnded { run, outcome });
    wires.run(SECOND_MS);
    let (_, them) = entities(&wires);
    let requester = wires.node(0);
    let (record, _) = requester.requester().task(task(1)).expect("ours");
    assert_eq!(record.state, TaskState::Working, "the file is not here");
    let wanted = requester.judge_part(them, result_of(1, 1), RESULT);
    assert!(matches!(wanted, Part::Wanted));
    let other = requester.judge_part(them, result_of(1, 1), INPUT);
    assert!(matches!(other, Part::Refused(RefusedFile::Unexpected)));

    keep(&mut wires, 0, RESULT, 13);
    wires.run(61 * SECOND_MS);
    let expected = Reply::TaskResultFile {
        worker: Some(them),
        attempts: 1,
        file: PayloadFile {
            file: file(13),
            size: RESULT.size,
        },
    };
    assert_eq!(wires.ask(0, Command::TaskResult(task(1))), Ok(expected));
    assert!(wires.node(1).worker().is_empty(), "acknowledged");
    wires.run(20 * SECOND_MS);
    assert!(wires.node(1).parts.payloads.is_empty(), "swept");
    let left: Vec<_> = wires.node(0).parts.payloads.files().collect();
    assert_eq!(left, [file(13)], "the result, and not the input");
}

#[test]
fn a_result_on_its_way_goes_on_after_a_restart_of_its_worker() {
    let mut wires = accepted();
    keep(&mut wires, 1, INPUT, 11);
    wires.run(SECOND_MS);
    let outcome = RunOutcome::CompletedFile {
        content: RESULT,
        file: Some(file(12)),
    };
    wires.end_run(1, outcome);
    wires.run(SECOND_MS);
    let parts = |wires: &Wires| {
        let sends = wires.node(1).sends.files();
        sends
            .filter(|sent| sent.record.purpose == Some(result_of(1, 1)))
            .count()
    };
    assert_eq!(parts(&wires), 1);
    // Nobody has asked for it again in this life.
    wires.stop(1);
    wires.start(1);
    assert_eq!(parts(&wires), 1);
    wires.granted(0, Command::CancelTask(task(1)));
    wires.run(60 * SECOND_MS);
    assert_eq!(parts(&wires), 0, "nobody wants it any more");
}

#[test]
fn a_result_that_was_not_kept_by_the_runtime_is_a_failure() {
    let mut wires = accepted();
    keep(&mut wires, 1, INPUT, 11);
    wires.run(SECOND_MS);
    let outcome = RunOutcome::CompletedFile {
        content: RESULT,
        file: None,
    };
    wires.end_run(1, outcome);
    wires.run(SECOND_MS);
    let (record, _) = wires.node(0).requester().task(task(1)).expect("ours");
    assert_eq!(record.failures, 1);
}

#[test]
fn a_large_task_that_is_canceled_while_its_input_comes_never_runs() {
    let mut wires = accepted();
    wires.granted(0, Command::CancelTask(task(1)));
    wires.run(SECOND_MS);
    keep(&mut wires, 1, INPUT, 11);
    wires.run(SECOND_MS);
    assert!(wires.hosts[1].runs.is_empty());
    let (us, _) = entities(&wires);
    let judged = wires.node(1).judge_part(us, input_of(1, 1), INPUT);
    assert!(matches!(judged, Part::Refused(RefusedFile::Unexpected)));
}

/// A file of one chunk.
fn manifest() -> Manifest {
    Manifest::new(3, 1 << 20, vec![[7; 32]]).expect("it fits")
}

/// A worker that has a large result, for which it was asked.
fn asked_for() -> Wires {
    let mut wires = accepted();
    keep(&mut wires, 1, INPUT, 11);
    wires.run(SECOND_MS);
    let Manifest { root, size, .. } = manifest();
    let outcome = RunOutcome::CompletedFile {
        content: FileRef { root, size },
        file: Some(file(12)),
    };
    wires.end_run(1, outcome);
    wires.run(SECOND_MS);
    wires
}

/// Node 1 offers a file as somebody would who keeps no rules.
fn offer_as(wires: &mut Wires, id: TransferId, purpose: Option<Purpose>) {
    let (to, _) = entities(wires);
    let (now, mut rng) = (wires.now(), Rng::seed_from_u64(1));
    let mut step = Step {
        now,
        rng: &mut rng,
        batch: BatchId::NONE,
        writes: &mut WriteBatch::default(),
    };
    let new = NewFile {
        id,
        to,
        path: format!("/{id}"),
        name: "task".into(),
    };
    let sends = &mut wires.hosts[1].node.as_mut().expect("it is up").sends;
    let taken = match purpose {
        Some(purpose) => sends.submit_part(new, purpose, &mut step),
        None => sends.submit(new, &mut step),
    };
    assert!(matches!(taken, Submitted::Taken(_)));
    hashed(wires, id);
}

fn hashed(wires: &mut Wires, id: TransferId) {
    let hashed = Ok((manifest(), 1));
    wires.input(1, Input::File(FileNews::Hashed { id, hashed }));
    wires.run(SECOND_MS);
}

/// For how many files node 0 made room.
fn rooms(wires: &Wires) -> usize {
    let room = |line: &&String| line.starts_with("0: File(Prepare");
    wires.transcript.iter().filter(room).count()
}

#[test]
fn a_part_comes_under_the_id_that_is_its_own_and_nothing_else_does() {
    let mut wires = asked_for();
    let (us, them) = entities(&wires);
    let own = part_id(them, us, result_of(1, 1));
    for (id, purpose) in [
        (TransferId(file(20)), Some(result_of(1, 1))),
        (part_id(us, them, result_of(1, 1)), Some(result_of(1, 1))),
        (part_id(them, us, result_of(2, 1)), Some(result_of(1, 1))),
        (part_id(them, us, result_of(2, 1)), None),
    ] {
        offer_as(&mut wires, id, purpose);
        assert_eq!(rooms(&wires), 0, "{id} {purpose:?}");
    }
    // Its own part of it waits for the hash.
    hashed(&mut wires, own);
    assert_eq!(rooms(&wires), 1);
    offer_as(&mut wires, TransferId(file(21)), None);
    assert_eq!(rooms(&wires), 2, "other files come under any other");
    let send = NewTransfer {
        id: own,
        peer: name_of(0),
        path: "/file".into(),
        name: None,
    };
    let refused = wires.ask(1, Command::SendFile(send)).expect_err("a part's");
    assert_eq!(refused.code, CommandErrorCode::Invalid);
}
