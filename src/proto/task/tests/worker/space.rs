//! What a worker's disk has room for.

use super::*;
use crate::types::limits::RESULT_MAX_BYTES;

#[test]
fn an_offer_is_refused_while_the_disk_has_no_room_for_it_and_the_results_to_come() {
    let mut theirs = theirs(8);
    let busy = AcceptAnswer::Refused(RefuseReason::Busy);
    let input = offer(1, 1).input.len() as u64;
    let one = RESULT_MAX_BYTES as u64 + input;
    theirs.core.disk_has(one - 1);
    assert_eq!(theirs.offered(offer(1, 1)), busy);
    assert_eq!(theirs.disk.count(Keyspace::Held), 0);
    theirs.core.disk_has(one);
    let run = theirs.running(1, 1);
    // What is held is said to be held, whatever the disk has.
    theirs.core.disk_has(0);
    assert_eq!(theirs.offered(offer(1, 1)), AcceptAnswer::Accepted);
    assert_eq!(theirs.core.free_slots(theirs.now.mono)[0].free, 0);
    // The second needs room for the first one's result, too.
    theirs.core.disk_has(2 * one - input - 1);
    assert_eq!(theirs.offered(offer(2, 1)), busy);
    theirs.ended(run, completed());
    assert_eq!(theirs.core.free_slots(theirs.now.mono)[0].free, 8);
    assert_eq!(theirs.offered(offer(2, 1)), AcceptAnswer::Accepted);
}

#[test]
fn the_inputs_of_one_list_count_together() {
    let mut theirs = theirs(8);
    let large = |n| DelegateItem {
        input: vec![7; INPUT_MAX_BYTES],
        ..offer(n, 1)
    };
    let of_two = 2 * (RESULT_MAX_BYTES + INPUT_MAX_BYTES) as u64;
    theirs.core.disk_has(of_two);
    let items = (1..=3).map(large).collect();
    let (answers, _) = theirs.kept(|core, step| core.offered(US, items, step));
    let busy = AcceptAnswer::Refused(RefuseReason::Busy);
    let taken = AcceptAnswer::Accepted;
    assert_eq!(answers, [taken, taken, busy]);
}
