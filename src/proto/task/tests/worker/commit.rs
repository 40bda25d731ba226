//! Results that are committed to before they are told (A1, A3), from the worker's side.

use super::*;
use crate::wire::{Promised, RevealAnswer, RevealItem};

const AGREE: u128 = 900;

fn agree() -> AgreePart {
    AgreePart {
        parent: TaskId(uuid::Uuid::from_u128(AGREE)),
        round: 1,
    }
}

fn part(n: u64, under: u64) -> DelegateItem {
    DelegateItem {
        agree: Some(agree()),
        ..offer(n, under)
    }
}

impl Side<Worker> {
    /// Takes a part, runs it, and commits to "2".
    fn committed(&mut self) -> [u8; 32] {
        assert_eq!(self.offered(part(1, 1)), AcceptAnswer::Accepted);
        let run = match &self.core.effects()[..] {
            [WorkerEffect::Run { run, .. }] => *run,
            other => panic!("{other:?}"),
        };
        self.ended(run, completed());
        match self.core.outcome(key(1)) {
            Some(TaskOutcome::Committed { commitment, .. }) => commitment,
            other => panic!("{other:?}"),
        }
    }

    fn asked(&mut self, under: u64) -> RevealAnswer {
        let item = RevealItem {
            task_id: task_id(1),
            token: token(under),
        };
        let now = self.now;
        self.core.reveal(US, &[item], now)[0]
    }

    fn told_salt(&self) -> Option<[u8; 32]> {
        match self.core.outcome(key(1)) {
            Some(TaskOutcome::Revealed { salt, result }) if result == b"2" => Some(salt),
            _ => None,
        }
    }
}

#[test]
fn a_commitment_is_told_first_and_the_result_when_asked_for() {
    let mut theirs = theirs(1);
    let commitment = theirs.committed();
    assert_eq!(theirs.handed_over(0), [(task_id(1), token(1))]);
    theirs.told(1, 1, Some(AckAnswer::Kept));
    assert_eq!(theirs.handed_over(60_000), [], "it waits to be asked");
    assert_eq!(theirs.asked(2), RevealAnswer::Unknown, "another attempt's");
    assert_eq!(theirs.told_salt(), None, "A1");
    assert_eq!(theirs.asked(1), RevealAnswer::Noted);
    assert_eq!(theirs.handed_over(0), [(task_id(1), token(1))]);
    let salt = theirs.told_salt().expect("the result");
    let promised = Promised {
        requester: US,
        worker: entity(1),
        task: task_id(1),
        token: token(1),
        agree: agree(),
    };
    assert_eq!(promised.commitment(&salt, b"2"), commitment);
    theirs.told(1, 1, Some(AckAnswer::Fenced));
    assert!(theirs.core.is_empty());
    assert_eq!(theirs.asked(1), RevealAnswer::Unknown);
}

#[test]
fn a_late_acknowledgement_of_the_commitment_loses_no_result() {
    let mut theirs = theirs(1);
    theirs.committed();
    theirs.handed_over(0);
    theirs.asked(1);
    theirs.handed_over(0);
    theirs.told(1, 1, Some(AckAnswer::Kept));
    assert!(theirs.told_salt().is_some(), "whichever it was of");
    let renews = |effect: &WorkerEffect| matches!(effect, WorkerEffect::Renew { .. });
    assert!(
        theirs.tick(0).iter().any(renews),
        "so it asks whether it is over"
    );
    let sent = theirs.now.mono;
    theirs.renewed(1, 1, RenewAnswer::Fenced, sent);
    assert!(theirs.core.is_empty());
}

#[test]
fn a_restart_forgets_that_it_was_asked_and_nothing_else() {
    let mut theirs = theirs(1);
    let commitment = theirs.committed();
    theirs.told(1, 1, Some(AckAnswer::Kept));
    theirs.asked(1);
    theirs.restart(worker_config(1, FIRST_RUN + 100));
    let again = theirs.core.outcome(key(1));
    let same =
        matches!(again, Some(TaskOutcome::Committed { commitment: c, .. }) if c == commitment);
    assert!(same, "{again:?}");
    assert_eq!(
        theirs.handed_over(0),
        [(task_id(1), token(1))],
        "told again"
    );
    assert_eq!(theirs.asked(1), RevealAnswer::Noted);
    assert!(theirs.told_salt().is_some());
}

#[test]
fn a_commitment_leaves_once_its_result_is_on_disk() {
    let mut theirs = theirs(1);
    theirs.offered(part(1, 1));
    let run = match &theirs.core.effects()[..] {
        [WorkerEffect::Run { run, .. }] => *run,
        other => panic!("{other:?}"),
    };
    theirs.step(|core, step| core.run_ended(run, completed(), step));
    let effects = theirs.step(|core, step| {
        core.tick(step);
        core.effects()
    });
    let after = effects.iter().find_map(|effect| match effect {
        WorkerEffect::Results { after, .. } => Some(*after),
        _ => None,
    });
    assert!(!theirs.disk.is_durable(after.expect("handed over")), "A3");
    theirs.restart(worker_config(1, FIRST_RUN + 100));
    assert_eq!(theirs.core.outcome(key(1)), None, "it runs again");
}

#[test]
fn a_part_given_again_under_a_new_token_is_committed_to_anew() {
    let mut theirs = theirs(1);
    let first = theirs.committed();
    theirs.asked(1);
    assert_eq!(theirs.offered(part(1, 2)), AcceptAnswer::Accepted);
    match theirs.core.outcome(key(1)) {
        Some(TaskOutcome::Committed { commitment, .. }) => assert_ne!(commitment, first),
        other => panic!("not asked for under this token: {other:?}"),
    }
    assert_eq!(theirs.handed_over(0), [(task_id(1), token(2))]);
}

#[test]
fn a_part_that_failed_says_so_at_once() {
    let mut theirs = theirs(1);
    theirs.offered(part(1, 1));
    let run = match &theirs.core.effects()[..] {
        [WorkerEffect::Run { run, .. }] => *run,
        other => panic!("{other:?}"),
    };
    theirs.ended(run, failed());
    assert_eq!(theirs.core.outcome(key(1)), Some(failed()));
    theirs.told(1, 1, Some(AckAnswer::Kept));
    assert!(theirs.core.is_empty());
}
