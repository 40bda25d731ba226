//! Tasks that take their node down.

use super::*;

fn begins(effects: &[WorkerEffect], n: u64) -> bool {
    let begins =
        |effect: &WorkerEffect| matches!(effect, WorkerEffect::Run { key: k, .. } if *k == key(n));
    effects.iter().any(begins)
}

#[test]
fn a_task_that_took_its_node_down_three_times_has_failed() {
    let mut theirs = theirs(4);
    theirs.running(1, 1);
    for crash in 1..3 {
        let effects = theirs.restart(worker_config(4, 1_000 * crash));
        assert!(begins(&effects, 1), "after crash {crash}");
        assert_ne!(theirs.core.resumed_in(), BatchId::NONE);
    }
    let effects = theirs.restart(worker_config(4, 9_000));
    assert!(!begins(&effects, 1), "{effects:?}");
    let Some(TaskOutcome::Failed { reason, poison }) = theirs.core.outcome(key(1)) else {
        panic!("it goes on")
    };
    assert!(poison, "{reason}");
    assert!(reason.contains("went down 3 times"), "{reason}");
    theirs.core.check().expect("whole");
    // A later attempt at it begins to count anew.
    theirs.told(1, 1, Some(AckAnswer::Kept));
    theirs.running(1, 2);
    let effects = theirs.restart(worker_config(4, 10_000));
    assert!(begins(&effects, 1));
}

#[test]
fn a_disk_that_refuses_a_write_counts_for_nothing() {
    let mut theirs = theirs(4);
    theirs.running(1, 1);
    for refusal in 1..10 {
        let effects = theirs.restart(WorkerConfig {
            goes_on: true,
            ..worker_config(4, 1_000 * refusal)
        });
        assert!(begins(&effects, 1), "after refusal {refusal}");
    }
    for crash in 1..3 {
        let effects = theirs.restart(worker_config(4, 100_000 * crash));
        assert!(begins(&effects, 1), "after crash {crash}");
    }
}

#[test]
fn a_node_that_is_stopped_counts_for_nothing() {
    let mut theirs = theirs(4);
    theirs.running(1, 1);
    for stop in 1..10 {
        theirs.kept(Worker::stopping);
        let effects = theirs.restart(worker_config(4, 1_000 * stop));
        assert!(begins(&effects, 1), "after stop {stop}");
    }
    // But what comes between is counted.
    for crash in 1..3 {
        let effects = theirs.restart(worker_config(4, 100_000 * crash));
        assert!(begins(&effects, 1), "after crash {crash}");
        theirs.kept(Worker::stopping);
        let effects = theirs.restart(worker_config(4, 200_000 * crash));
        assert!(begins(&effects, 1));
    }
    theirs.restart(worker_config(4, 900_000));
    let outcome = theirs.core.outcome(key(1));
    assert!(matches!(
        outcome,
        Some(TaskOutcome::Failed { poison: true, .. })
    ));
}

#[test]
fn a_start_is_counted_on_the_disk_before_the_run_begins() {
    let mut theirs = theirs(4);
    theirs.running(1, 1);
    // The node goes down before the count is written: the run had not begun either.
    theirs.disk.crash();
    theirs.core = Worker::new(worker_config(4, 500));
    for row in theirs.disk.rows() {
        theirs.core.load(&row, theirs.now).expect("our own rows");
    }
    theirs.kept(Worker::resume);
    let counted = theirs.disk.rows().into_iter().any(|row| {
        row.space == Keyspace::Held && HeldRecord::from_row(&row.value).expect("ours").crashes == 1
    });
    assert!(counted);
    assert_ne!(theirs.core.resumed_in(), BatchId::NONE);
}
