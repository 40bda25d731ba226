//! Failed tasks keep what is needed to try once more.

use super::*;
use crate::types::FileRef;
use crate::types::limits::{
    ATTEMPTS_MAX, DEAD_MAX_BYTES, INPUT_MAX_BYTES, LAPSES_MAX, RELEASES_MAX,
};

impl Side<Requester> {
    /// A task that failed as often as it may.
    fn failed(&mut self, new: NewTask, worker: EntityId) -> TaskId {
        let id = self.submit(new);
        for _ in 0..5 {
            self.wait(30_000);
            let offer = self.assign(&[worker])[0];
            self.answer(offer, boot(1), AcceptAnswer::Accepted);
            self.result(offer, super::super::failed());
        }
        assert_eq!(self.record(id).state, TaskState::Failed);
        id
    }

    fn resubmit(&mut self, id: TaskId, as_id: TaskId) -> ResubmitOutcome {
        self.resubmit_as(id, as_id, Change::default())
    }

    fn resubmit_as(&mut self, id: TaskId, as_id: TaskId, change: Change) -> ResubmitOutcome {
        let outcome = self.kept(|core, step| core.resubmit(id, as_id, change, step));
        self.core.check().expect("T7 and T9");
        outcome
    }
}

#[test]
fn a_failed_task_keeps_its_input_and_its_attempts_over_restarts_and_time() {
    let (mut ours, a) = (ours(), entity(1));
    let id = ours.failed(new_task(1), a);
    ours.restart();
    ours.wait(2 * TERMINAL_KEEP_MS);
    ours.restart();
    let record = ours.record(id);
    assert!(record.dead, "T9");
    assert_eq!((record.attempts.len(), ours.core.dead()), (5, 1));
    assert_eq!(ours.core.input(id), Some(&b"some words"[..]));
    ours.core.check().expect("T9");
}

#[test]
fn what_was_canceled_or_completed_is_no_dead_letter() {
    let (mut ours, a) = (ours(), entity(1));
    let held = ours.working(new_task(1), a);
    ours.result(held, completed());
    let canceled = ours.submit(new_task(2));
    ours.kept(|core, step| core.cancel(canceled, step));
    assert_eq!(ours.core.dead(), 0);
    for id in [held.1, canceled] {
        assert!(matches!(
            ours.resubmit(id, task_id(9)),
            ResubmitOutcome::NotDead(_)
        ));
        assert_eq!(ours.core.input(id), Some(&[][..]));
    }
    assert_eq!(
        ours.resubmit(task_id(8), task_id(9)),
        ResubmitOutcome::Unknown
    );
}

#[test]
fn a_failed_task_is_handed_over_again_once() {
    let (mut ours, a) = (ours(), entity(1));
    let key = Some("k".parse().expect("a key"));
    let id = ours.failed(
        NewTask {
            key: key.clone(),
            priority: Priority::High,
            ..new_task(1)
        },
        a,
    );
    let other = ours.submit(new_task(2));
    assert_eq!(ours.resubmit(id, other), ResubmitOutcome::Conflict(other));
    ours.kept(|core, step| core.cancel(other, step));
    let again = task_id(3);
    for as_id in [again, task_id(4)] {
        let outcome = ours.resubmit(id, as_id);
        assert!(
            matches!(outcome, ResubmitOutcome::Again(id, _) if id == again),
            "{outcome:?}"
        );
        ours.restart();
    }
    let (old, new) = (ours.record(id), ours.record(again));
    assert_eq!((old.dead, old.again), (false, Some(again)));
    assert_eq!((new.prior, new.priority), (Some(id), Priority::High));
    assert_eq!((new.failures, new.attempts.len()), (0, 0));
    assert_eq!((old.key, new.key), (key, None));
    assert_eq!(ours.core.input(again), Some(&b"some words"[..]));
    assert_eq!(ours.disk.count(Keyspace::TaskInput), 1, "it is there once");
    assert_eq!(ours.assign(&[a]), [(a, again, token(1))]);
    ours.wait(TERMINAL_KEEP_MS + 1);
    assert!(ours.core.task(id).is_none(), "forgotten like any other");
}

#[test]
fn a_dropped_dead_letter_is_a_failed_task_like_any_other() {
    let (mut ours, a) = (ours(), entity(1));
    let id = ours.failed(new_task(1), a);
    let dropped = ours.kept(|core, step| core.drop_dead(id, step));
    assert!(dropped.is_some_and(|(_, dropped)| dropped));
    assert_eq!(ours.core.dead(), 0);
    assert_eq!(ours.disk.count(Keyspace::TaskInput), 0);
    let again = ours.kept(|core, step| core.drop_dead(id, step));
    assert!(again.is_some_and(|(_, dropped)| !dropped));
    ours.restart();
    assert!(matches!(
        ours.resubmit(id, task_id(2)),
        ResubmitOutcome::NotDead(_)
    ));
    ours.core.check().expect("T9");
}

#[test]
fn of_too_many_dead_letters_the_oldest_goes_and_it_is_told() {
    let mut ours = ours();
    let fit = DEAD_MAX_BYTES / INPUT_MAX_BYTES;
    let mut forgotten = Vec::new();
    for n in 0..=fit as u64 {
        ours.submit(NewTask {
            input: vec![7; INPUT_MAX_BYTES],
            deadline_ms: 1_000,
            ..new_task(n)
        });
        ours.wait(1_000);
        let effects = ours.core.effects().into_iter();
        forgotten.extend(effects.filter_map(|effect| match effect {
            RequesterEffect::Forgot { task } => Some(task),
            _ => None,
        }));
        ours.core.check().expect("T9");
    }
    assert_eq!((ours.core.dead(), forgotten), (fit, vec![task_id(0)]));
    assert!(!ours.record(task_id(0)).dead);
}

#[test]
fn dead_letters_leave_the_queue_room_for_others() {
    let mut ours = ours();
    for n in 0..QUEUE_MAX_BYTES / (4 * INPUT_MAX_BYTES) {
        ours.submit(NewTask {
            input: vec![7; INPUT_MAX_BYTES],
            deadline_ms: 1_000,
            ..new_task(n as u64)
        });
    }
    ours.wait(1_000);
    assert_eq!(ours.core.dead(), DEAD_MAX_BYTES / INPUT_MAX_BYTES);
    let large = NewTask {
        input: vec![7; QUEUE_MAX_BYTES],
        ..new_task(9_999)
    };
    ours.submit(large);
    let dead = task_id(1);
    assert_eq!(
        ours.resubmit(dead, task_id(10_000)),
        ResubmitOutcome::Full(Full::Bytes)
    );
    assert!(ours.record(dead).dead, "and it stays one");
}

#[test]
fn inputs_of_dead_letters_that_are_files_have_a_bound_of_their_own() {
    let mut ours = ours();
    let large = |n: u64, content: u8| NewTask {
        deadline_ms: 1_000 * n,
        input: Vec::new(),
        input_file: Some(FileRef {
            root: [content; 32],
            size: 4_000_000,
        }),
        ..new_task(n)
    };
    // The second and the third are the same file.
    for (n, content) in [(1, 1), (2, 2), (3, 2)] {
        ours.submit(large(n, content));
        ours.wait(1_000);
    }
    ours.wait(3_000);
    assert_eq!(ours.core.dead(), 3);
    ours.restart();
    ours.core.check().expect("T9");
    ours.submit(large(4, 4));
    ours.wait(4_000);
    ours.core.check().expect("T9");
    let forgot = RequesterEffect::Forgot { task: task_id(1) };
    assert!(ours.core.effects().contains(&forgot), "it failed first");
    assert_eq!(ours.core.dead(), 3);
    let named: Vec<_> = ours.core.named_files().collect();
    assert!(!named.contains(&[1; 32]), "its file is nobody's");
    assert!(named.contains(&[2; 32]) && named.contains(&[4; 32]));
    // One of the two that share a file goes: the file stays counted.
    ours.kept(|core, step| core.drop_dead(task_id(2), step));
    ours.core.check().expect("T9");
    assert!(ours.core.named_files().any(|root| root == [2; 32]));
}

#[test]
fn a_task_that_workers_give_back_ends_as_a_dead_letter_with_all_attempts() {
    let (mut ours, a) = (ours(), entity(1));
    let id = ours.submit(new_task(1));
    for _ in 0..4 {
        ours.wait(30_000);
        let offer = ours.assign(&[a])[0];
        ours.answer(offer, boot(1), AcceptAnswer::Accepted);
        ours.result(offer, super::super::failed());
    }
    for n in 0..RELEASES_MAX {
        let pause = if n < 4 { 0 } else { 30_000 };
        ours.wait(if n == 0 { 30_000 } else { pause });
        let offers = ours.assign(&[a]);
        assert_eq!(offers.len(), 1, "the first few times at once");
        assert_eq!(
            ours.result(offers[0], TaskOutcome::Released),
            AckAnswer::Kept
        );
    }
    let record = ours.record(id);
    assert!(record.dead, "T9: {record:?}");
    assert_eq!(
        record.reason.as_deref(),
        Some("32 workers gave it back; last: no such file")
    );
    assert_eq!((record.failures, record.releases), (4, RELEASES_MAX));
    let all = 4 + RELEASES_MAX as usize;
    assert_eq!((record.attempts.len(), record.attempts_cut), (all, 0));
    ours.core.check().expect("T9");
}

#[test]
fn a_task_whose_offers_nobody_answers_ends_as_a_dead_letter() {
    let (mut ours, a) = (ours(), entity(1));
    let id = ours.submit(NewTask {
        deadline_ms: 24 * HOUR_MS,
        ..new_task(1)
    });
    for _ in 0..LAPSES_MAX {
        ours.wait(30_000);
        assert_eq!(ours.assign(&[a]).len(), 1);
        ours.wait(10_000);
    }
    let record = ours.record(id);
    let reason = Some("32 offers of it went unanswered");
    assert_eq!((record.dead, record.reason.as_deref()), (true, reason));
    assert_eq!((record.lapses, record.losses), (LAPSES_MAX, 0));
    assert_eq!(record.attempts.len(), LAPSES_MAX as usize);
}

#[test]
fn all_attempts_are_kept_whatever_a_task_went_through() {
    let config = requester_config();
    let most = config.failures_max + config.losses_max + LAPSES_MAX + RELEASES_MAX;
    assert!((most as usize) < ATTEMPTS_MAX, "none is ever cut");
}

#[test]
fn of_too_many_attempts_those_go_that_nobody_ran() {
    let mut record = ours_with_one_task();
    let mut attempt = |outcome: &str| {
        record.push_attempt(AttemptRecord {
            worker: entity(1),
            token: token(1),
            started: Wall(1),
            ended: Some(Wall(2)),
            outcome: outcome.into(),
            considered: Vec::new(),
            others: 0,
        });
    };
    attempt("failed: no such file");
    for _ in 0..2 * ATTEMPTS_MAX {
        attempt("released");
    }
    attempt("lost: its lease ran out");
    let kept = |word: &str| {
        let attempts = record.attempts.iter();
        attempts.filter(|of| of.outcome.starts_with(word)).count()
    };
    assert_eq!(record.attempts.len(), ATTEMPTS_MAX);
    assert_eq!((kept("failed"), kept("lost")), (1, 1));
    assert_eq!(record.attempts_cut as usize, ATTEMPTS_MAX + 2);
}

fn ours_with_one_task() -> TaskRecord {
    let mut ours = ours();
    let id = ours.submit(new_task(1));
    ours.record(id)
}

#[test]
fn a_failed_task_is_handed_over_again_with_what_was_changed() {
    let mut ours = ours();
    let id = ours.failed(new_task(1), entity(1));
    let change = Change {
        deadline_ms: Some(7 * HOUR_MS),
        to: Some(entity(2)),
        priority: Some(Priority::Critical),
    };
    let again = ours.resubmit_as(id, task_id(2), change);
    assert!(matches!(again, ResubmitOutcome::Again(again, _) if again == task_id(2)));
    let record = ours.record(task_id(2));
    assert_eq!(
        (record.to, record.priority, record.deadline),
        (
            Some(entity(2)),
            Priority::Critical,
            ours.now.wall + 7 * HOUR_MS
        )
    );
    let other = ours.resubmit(id, task_id(3));
    assert!(
        matches!(other, ResubmitOutcome::Again(again, _) if again == task_id(2)),
        "it is the same task"
    );
    assert_eq!(ours.record(task_id(2)), record, "and stays as it was");
}
