//! Inputs and results that are files: who takes them, when a run begins, when a result counts.

use rand::SeedableRng as _;

use super::*;
use crate::proto::node::parked::STALLED_MS;
use crate::proto::node::payloads::Part;
use crate::proto::transfer::{Manifest, NewFile, Submitted};
use crate::types::{FencingToken, FileRef, Keyspace, PayloadFile};
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

/// A part of a task that `from` has sent is whole in a file of node `n`.
fn arrive(wires: &mut Wires, n: usize, purpose: Purpose, content: FileRef, name: u128) {
    let (now, from) = (wires.now(), wires.hosts[1 - n].identity.entity_id);
    let host = &mut wires.hosts[n];
    let node = host.node.as_mut().expect("it is up");
    let outputs = node.step(now, |node, step| {
        node.part_arrived(from, purpose, content, file(name), step);
    });
    let outputs = outputs.into_iter();
    let outputs = outputs.map(|output| wiring::Event::Output(n, host.life, output));
    wires.queue.extend(outputs);
    wires.run(SECOND_MS);
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
    arrive(&mut wires, 1, input_of(1, 1), INPUT, 11);
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

    arrive(&mut wires, 0, result_of(1, 1), RESULT, 13);
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
    arrive(&mut wires, 1, input_of(1, 1), INPUT, 11);
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
    arrive(&mut wires, 1, input_of(1, 1), INPUT, 11);
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
    arrive(&mut wires, 1, input_of(1, 1), INPUT, 11);
    assert!(wires.hosts[1].runs.is_empty());
    let (us, _) = entities(&wires);
    let judged = wires.node(1).judge_part(us, input_of(1, 1), INPUT);
    assert!(matches!(judged, Part::Refused(RefusedFile::Unexpected)));
}

/// A file of one chunk.
fn manifest(n: u64) -> Manifest {
    Manifest::new(3, 1 << 20, vec![[n as u8; 32]]).expect("it fits")
}

fn content_of(manifest: &Manifest) -> FileRef {
    let (root, size) = (manifest.root, manifest.size);
    FileRef { root, size }
}

/// A worker that has a large result, for which it was asked.
fn asked_for() -> Wires {
    let mut wires = accepted();
    arrive(&mut wires, 1, input_of(1, 1), INPUT, 11);
    let outcome = RunOutcome::CompletedFile {
        content: content_of(&manifest(7)),
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
    hashed(wires, id, 7);
}

fn hashed(wires: &mut Wires, id: TransferId, n: u64) {
    let hashed = Ok((manifest(n), 1));
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
    let own = result_of(1, 1).transfer_id(&them, &us);
    for (id, purpose) in [
        (TransferId(file(20)), Some(result_of(1, 1))),
        (
            result_of(1, 1).transfer_id(&us, &them),
            Some(result_of(1, 1)),
        ),
        (
            result_of(2, 1).transfer_id(&them, &us),
            Some(result_of(1, 1)),
        ),
        (result_of(2, 1).transfer_id(&them, &us), None),
    ] {
        offer_as(&mut wires, id, purpose);
        assert_eq!(rooms(&wires), 0, "{id} {purpose:?}");
    }
    // Its own part of it waits for the hash.
    hashed(&mut wires, own, 7);
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

/// A requester with such settings, and a worker whose runs hang.
fn bounded(set: impl FnOnce(&mut TaskConfig)) -> Wires {
    let mut requester = config(0, None, 0);
    set(&mut requester.task);
    let mut wires = Wires::new(vec![requester, config(1, Some(0), 2)]);
    wires.run(3 * SECOND_MS);
    wires.hosts[1].runs_hang = true;
    wires
}

/// Task `n` of node 0 is run by node 1, and its result is a file.
fn end_large(wires: &mut Wires, n: u64) {
    wires.granted(0, submit(n));
    wires.run(SECOND_MS);
    let outcome = RunOutcome::CompletedFile {
        content: content_of(&manifest(n)),
        file: Some(file(u128::from(100 + n))),
    };
    wires.end_run(1, outcome);
    wires.run(SECOND_MS);
}

#[test]
fn a_result_over_the_limit_of_its_requester_is_a_failure() {
    let mut wires = bounded(|task| task.payload_max_bytes = 2);
    end_large(&mut wires, 1);
    let (record, _) = wires.node(0).requester().task(task(1)).expect("ours");
    assert_eq!((record.failures, record.result_file), (1, None));
    assert_eq!(
        record.attempts[0].outcome,
        "failed: the result is too large"
    );
}

#[test]
fn a_result_without_room_takes_that_of_the_first_to_end() {
    let mut wires = bounded(|task| task.payload_space_bytes = 7);
    let (us, them) = entities(&wires);
    for n in 1..=3 {
        end_large(&mut wires, n);
        // The worker looks for what it is to bring now and then.
        wires.run(10 * SECOND_MS);
        hashed(&mut wires, result_of(n, 1).transfer_id(&them, &us), n);
        assert_eq!(rooms(&wires), n as usize, "of result {n}");
        let content = content_of(&manifest(n));
        arrive(&mut wires, 0, result_of(n, 1), content, n.into());
        wires.run(61 * SECOND_MS);
        let reply = wires.ask(0, Command::TaskResult(task(n)));
        assert!(
            matches!(reply, Ok(Reply::TaskResultFile { .. })),
            "{reply:?}"
        );
        if n == 2 {
            // What was here before a restart makes room, too.
            wires.stop(0);
            wires.start(0);
            wires.run(10 * SECOND_MS);
        }
    }
    let forgotten = wires.ask(0, Command::TaskResult(task(1)));
    let forgotten = forgotten.expect_err("the first to end");
    assert_eq!(forgotten.code, CommandErrorCode::NotFound);
    let left: BTreeSet<_> = wires.node(0).parts.payloads.files().collect();
    assert_eq!(left, [file(2), file(3)].into());
    let dropped = format!("0: File(DropPayload {{ file: {} }})", file(1));
    assert!(wires.transcript.contains(&dropped));
    // What is handed over finds room in the same way.
    keep(&mut wires, 0, content_of(&manifest(4)), 4);
    assert!(wires.ask(0, Command::TaskResult(task(2))).is_err());
    // What tasks that are not done need stays.
    let payload = Command::Submit(Submission {
        input_file: Some(manifest(4).root),
        ..Submission::new(task(4), wc(), Vec::new())
    });
    wires.granted(0, payload);
    let content = FileRef { size: 5, ..RESULT };
    let file = file(5);
    let full = wires.ask(0, Command::KeepPayload { content, file });
    assert_eq!(full.expect_err("full").code, CommandErrorCode::QueueFull);
    assert!(
        wires.ask(0, Command::TaskResult(task(3))).is_ok(),
        "in vain"
    );
}

#[test]
fn inputs_of_others_push_no_results_out() {
    let mut wires = bounded(|task| task.payload_space_bytes = 5);
    end_large(&mut wires, 1);
    let content = content_of(&manifest(1));
    arrive(&mut wires, 0, result_of(1, 1), content, 1);
    wires.run(61 * SECOND_MS);
    let (_, them) = entities(&wires);
    let now = wires.now();
    let node = wires.hosts[0].node.as_mut().expect("it is up");
    let content = content_of(&manifest(2));
    node.step(now, |node, step| {
        node.part_arrived(them, input_of(9, 1), content, file(2), step);
    });
    assert!(!node.parts.payloads.has(&content));
    assert!(wires.ask(0, Command::TaskResult(task(1))).is_ok());
}

#[test]
fn a_result_whose_file_is_lost_is_not_found() {
    let mut wires = bounded(|_| {});
    end_large(&mut wires, 1);
    arrive(&mut wires, 0, result_of(1, 1), content_of(&manifest(1)), 1);
    wires.run(61 * SECOND_MS);
    wires.stop(0);
    wires.hosts[0]
        .rows
        .retain(|(space, _), _| *space != Keyspace::Payload);
    wires.start(0);
    let lost = wires.ask(0, Command::TaskResult(task(1)));
    let lost = lost.expect_err("its file is gone");
    assert_eq!(lost.code, CommandErrorCode::NotFound);
    assert!(
        lost.message.contains("gone from this node's disk"),
        "{lost}"
    );
}

#[test]
fn a_run_whose_input_stands_still_is_given_back() {
    let mut wires = accepted();
    keep(&mut wires, 0, RESULT, 20);
    wires.granted(
        0,
        Command::Submit(Submission {
            input_file: Some(RESULT.root),
            ..Submission::new(task(2), wc(), Vec::new())
        }),
    );
    wires.run(SECOND_MS);
    let free = |wires: &Wires| wires.node(1).worker().free_slots(wires.now().mono)[0].free;
    assert_eq!(free(&wires), 0);
    // Nobody is there to send, or to hand over anew.
    wires.stop(0);
    wires.run(STALLED_MS - 10 * SECOND_MS);
    assert_eq!(free(&wires), 0);
    // What comes for one shows that the other may come, too.
    arrive(&mut wires, 1, input_of(1, 1), INPUT, 11);
    assert_eq!(wires.hosts[1].runs.len(), 1);
    wires.run(STALLED_MS - 10 * SECOND_MS);
    assert_eq!(free(&wires), 0);
    wires.run(10 * SECOND_MS);
    assert_eq!(free(&wires), 1, "that of the second");
    assert_eq!(wires.hosts[1].runs.len(), 1, "the first runs on");
    wires.start(0);
    wires.run(10 * SECOND_MS);
    let (record, _) = wires.node(0).requester().task(task(2)).expect("ours");
    assert_eq!((record.releases, record.failures, record.losses), (1, 0, 0));
}

#[test]
fn a_run_whose_time_is_over_before_its_input_came_is_no_failure() {
    let mut wires = accepted();
    keep(&mut wires, 0, RESULT, 20);
    wires.granted(
        0,
        Command::Submit(Submission {
            input_file: Some(RESULT.root),
            deadline_ms: 60_000,
            ..Submission::new(task(2), wc(), Vec::new())
        }),
    );
    wires.run(SECOND_MS);
    wires.stop(0);
    wires.run(70 * SECOND_MS);
    let free = wires.node(1).worker().free_slots(wires.now().mono)[0].free;
    assert_eq!(free, 1);
    wires.start(0);
    wires.run(10 * SECOND_MS);
    let (record, _) = wires.node(0).requester().task(task(2)).expect("ours");
    assert_eq!((record.releases, record.failures, record.losses), (1, 0, 0));
}

#[test]
fn a_run_begins_only_with_what_its_own_requester_has_sent() {
    let mut wires = accepted();
    let (us, _) = entities(&wires);
    // Its bytes are here, but not from there.
    keep(&mut wires, 1, INPUT, 30);
    wires.run(2 * SECOND_MS);
    assert!(wires.hosts[1].runs.is_empty());
    let judged = wires.node(1).judge_part(us, input_of(1, 1), INPUT);
    assert!(matches!(judged, Part::Wanted));
    arrive(&mut wires, 1, input_of(1, 1), INPUT, 31);
    assert_eq!(wires.hosts[1].runs.len(), 1);
    // The same for another task of theirs need not be sent again.
    let again = Command::Submit(Submission {
        input_file: Some(INPUT.root),
        ..Submission::new(task(2), wc(), Vec::new())
    });
    wires.granted(0, again);
    wires.run(SECOND_MS);
    let judged = wires.node(1).judge_part(us, input_of(2, 1), INPUT);
    assert!(matches!(judged, Part::Here(_)));
    // A restart knows from whom it has it.
    wires.stop(1);
    wires.start(1);
    wires.run(2 * SECOND_MS);
    assert!(!wires.hosts[1].runs.is_empty());
}

#[test]
fn two_results_that_fit_alone_and_not_together_are_not_both_accepted() {
    let size = content_of(&manifest(1)).size;
    for (space, accepted) in [(2 * size - 1, 1), (2 * size, 2)] {
        let mut wires = bounded(|task| task.payload_space_bytes = space);
        let (us, them) = entities(&wires);
        for n in 1..=2 {
            end_large(&mut wires, n);
            // The worker looks for what it is to bring now and then.
            wires.run(10 * SECOND_MS);
            hashed(&mut wires, result_of(n, 1).transfer_id(&them, &us), n);
        }
        assert_eq!(rooms(&wires), accepted, "of {space} bytes");
    }
}
