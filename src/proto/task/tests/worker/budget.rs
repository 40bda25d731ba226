//! What a held task may hand on.

use super::*;
use crate::wire::Budget;

fn left(theirs: &Side<Worker>) -> Option<u64> {
    let allowance = theirs.core.allowance(key(1), theirs.now.mono);
    allowance.map(|allowance| allowance.reward)
}

#[test]
fn what_one_attempt_has_paid_for_is_not_there_for_the_next() {
    let mut theirs = theirs(8);
    let item = |under| DelegateItem {
        budget: Some(Budget {
            depth: 1,
            reward: 10,
        }),
        ..offer(1, under)
    };
    assert_eq!(theirs.offered(item(1)), AcceptAnswer::Accepted);
    theirs.kept(|core, step| core.spend(key(1), 6, step));
    theirs.kept(|core, step| core.spend(key(1), 3, step));
    assert_eq!(left(&theirs), Some(1));
    theirs.ended(RunId(FIRST_RUN), failed());
    assert_eq!(left(&theirs), None, "it does not run");
    theirs.told(1, 1, Some(AckAnswer::Kept));
    // A part comes to nothing after its task was let go.
    theirs.kept(|core, step| core.refund(key(1), 3, step));
    assert_eq!(theirs.offered(item(2)), AcceptAnswer::Accepted);
    assert_eq!(left(&theirs), Some(4));
    let _ = theirs.restart(worker_config(8, FIRST_RUN + 100));
    assert_eq!(left(&theirs), Some(4), "it is on disk");
    let effects = theirs.core.effects();
    assert_eq!(effects, []);
}

#[test]
fn a_part_waits_until_the_requester_knows_what_it_costs() {
    let mut theirs = theirs(8);
    let item = |under, reward, spent| DelegateItem {
        budget: Some(Budget { depth: 1, reward }),
        spent,
        ..offer(1, under)
    };
    assert_eq!(theirs.offered(item(1, 10, 0)), AcceptAnswer::Accepted);
    assert!(theirs.core.is_unheard(key(1), 6));
    assert!(!theirs.core.is_unheard(key(1), 0), "it costs nothing");
    assert!(!theirs.core.is_unheard(key(1), 11), "it is refused at once");
    let tells = |theirs: &mut Side<Worker>| {
        let renewals = |effect| match effect {
            WorkerEffect::Renew { items, .. } => Some(items[0]),
            _ => None,
        };
        theirs.tick(0).into_iter().find_map(renewals)
    };
    theirs.kept(|core, step| core.tell_of(key(1), 6, step.now.mono));
    let told = tells(&mut theirs).expect("at once");
    assert_eq!(told.spent, 6);
    assert!(theirs.core.is_unheard(key(1), 6), "no answer yet");
    let renewed = [RenewAnswer::Renewed { lease_ms: 20_000 }];
    let sent = theirs.now.mono;
    theirs.kept(|core, step| core.renewed(US, &[told], &renewed, sent, step));
    assert!(!theirs.core.is_unheard(key(1), 6));
    theirs.kept(|core, step| core.spend(key(1), 6, step));
    assert!(
        theirs.core.is_unheard(key(1), 1),
        "of that it knows nothing"
    );
    theirs.kept(|core, step| core.refund(key(1), 2, step));
    assert!(!theirs.core.is_unheard(key(1), 2));
    // Under another token, with less to hand on, it begins again; what it has stays counted.
    assert_eq!(theirs.offered(item(2, 7, 6)), AcceptAnswer::Accepted);
    assert_eq!(left(&theirs), Some(3));
    assert!(theirs.core.is_unheard(key(1), 3));
    assert!(!theirs.core.is_unheard(key(1), 4), "beyond what is left");
}

#[test]
fn a_worker_that_forgot_a_task_is_told_what_its_parts_have() {
    let mut theirs = theirs(8);
    let item = DelegateItem {
        budget: Some(Budget {
            depth: 1,
            reward: 10,
        }),
        spent: 4,
        ..offer(1, 3)
    };
    assert_eq!(theirs.offered(item), AcceptAnswer::Accepted);
    assert_eq!(left(&theirs), Some(6));
}
