//! Runs that end where their lease does.

use super::*;

fn stopping(n: u64, under: u64) -> DelegateItem {
    DelegateItem {
        orphan: Some(Orphan::Stop),
        ..offer(n, under)
    }
}

impl Side<Worker> {
    /// The runs that were killed since the last call.
    fn killed(&mut self) -> Vec<RunId> {
        let effects = self.core.effects().into_iter();
        let kill = |effect| match effect {
            WorkerEffect::Kill { run } => Some(run),
            _ => None,
        };
        effects.filter_map(kill).collect()
    }

    fn later(&mut self, ms: u64) -> Vec<RunId> {
        self.pass(ms);
        self.kept(Worker::tick);
        self.core.check().expect("T7");
        self.killed()
    }
}

#[test]
fn a_run_that_is_to_stop_ends_before_its_lease_and_is_given_back() {
    let mut theirs = theirs(8);
    let goes_on = theirs.running(2, 1);
    assert_eq!(theirs.offered(stopping(1, 1)), AcceptAnswer::Accepted);
    let run = RunId(goes_on.0 + 1);
    assert_eq!(theirs.later(17_000), []);
    let sent = theirs.now.mono;
    assert_eq!(theirs.later(500), []);
    theirs.renewed(1, 1, RenewAnswer::Renewed { lease_ms: 20_000 }, sent);
    assert_eq!(
        theirs.later(17_400),
        [],
        "counted from the renewal's sending"
    );
    assert_eq!(theirs.core.next_deadline(), Some(sent + 18_000));
    assert_eq!(theirs.later(100), [run]);
    assert_eq!(theirs.core.outcome(key(1)), Some(TaskOutcome::Released));
    assert_eq!(theirs.core.outcome(key(2)), None, "the other goes on");
    assert_eq!(theirs.later(HOUR_MS), []);
}

#[test]
fn a_run_that_is_to_stop_runs_again_after_a_restart_and_stops_then() {
    let mut theirs = theirs(8);
    assert_eq!(theirs.offered(stopping(1, 1)), AcceptAnswer::Accepted);
    theirs.pass(17_000);
    let _ = theirs.restart(worker_config(8, FIRST_RUN + 100));
    assert_eq!(theirs.later(17_000), []);
    assert_eq!(theirs.later(1_000).len(), 1);
    assert_eq!(theirs.core.outcome(key(1)), Some(TaskOutcome::Released));
    assert_eq!(theirs.offered(stopping(1, 2)), AcceptAnswer::Accepted);
    assert_eq!(theirs.core.outcome(key(1)), None, "it runs once more");
}

#[test]
fn a_run_that_ended_or_was_canceled_is_stopped_no_more() {
    let mut theirs = theirs(8);
    for n in [1, 2] {
        assert_eq!(theirs.offered(stopping(n, 1)), AcceptAnswer::Accepted);
    }
    theirs.ended(RunId(FIRST_RUN), completed());
    let items = [CancelItem {
        task_id: task_id(2),
        token: token(1),
    }];
    theirs.kept(|core, step| core.canceled(US, &items, step));
    assert_eq!(theirs.killed(), [RunId(FIRST_RUN + 1)]);
    assert_eq!(theirs.later(60_000), []);
    assert_eq!(theirs.core.outcome(key(1)), Some(completed()));
}
