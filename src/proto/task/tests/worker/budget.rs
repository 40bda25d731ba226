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
