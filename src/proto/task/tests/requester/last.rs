//! What a task that failed waited for, or failed of, last.

use super::*;
use crate::types::limits::{CONSIDERED_MAX, REASON_MAX_BYTES};

impl Side<Requester> {
    /// As [`Side::wait`], where these are known to offer it.
    fn wait_beside(&mut self, ms: u64, candidates: &[Candidate]) {
        self.pass(ms);
        self.core.note_waits(self.now.mono, |_| candidates.into());
        self.kept(Requester::tick);
    }

    fn reason(&self, id: TaskId) -> String {
        self.record(id).reason.expect("it ended for a reason")
    }
}

fn short(n: u64) -> NewTask {
    NewTask {
        deadline_ms: 5_000,
        ..new_task(n)
    }
}

fn barred(n: u8) -> Candidate {
    Candidate {
        bar: Some(Bar::Draining),
        ..Candidate::new(entity(n), 4)
    }
}

#[test]
fn a_task_that_nobody_took_keeps_who_was_looked_at_and_why_not() {
    let mut ours = ours();
    let (id, of_one) = (ours.submit(short(1)), entity(1));
    let named = ours.submit(NewTask {
        to: Some(of_one),
        ..short(2)
    });
    let open = ours.submit(new_task(3));
    let candidates: Vec<Candidate> = (1..=7).map(barred).collect();
    ours.wait_beside(4_999, &candidates);
    assert!(
        ours.record(id).considered.is_empty(),
        "it may find somebody"
    );
    ours.wait_beside(1, &candidates);
    let record = ours.record(id);
    assert_eq!(
        record.reason.as_deref(),
        Some("no worker was found before the deadline; last: of 7 that offer wc 7 draining")
    );
    let whys: Vec<Why> = record.considered.iter().map(|of| of.why).collect();
    assert_eq!(whys, [Why::Draining; CONSIDERED_MAX]);
    assert_eq!(record.others, 2);
    assert_eq!(
        ours.reason(named),
        "no worker was found before the deadline; last: of 7 that offer wc 6 not the one it names, \
         1 draining",
        "each by what it demands"
    );
    assert_eq!(ours.record(open).state, TaskState::Submitted);
    ours.restart();
    assert_eq!(ours.record(id), record, "it is on disk");
}

#[test]
fn a_task_that_nobody_offers_says_so() {
    let mut ours = ours();
    let id = ours.submit(short(1));
    ours.wait_beside(5_000, &[]);
    assert_eq!(
        ours.reason(id),
        "no worker was found before the deadline; last: no known peer offers wc"
    );
}

#[test]
fn a_deadline_tells_what_the_last_run_failed_of() {
    let mut ours = ours();
    let held = ours.working(short(1), entity(1));
    assert_eq!(ours.result(held, failed()), AckAnswer::Kept);
    ours.pass(2_000);
    ours.kept(Requester::tick);
    let again = ours.assign(&[entity(2)])[0];
    ours.answer(again, boot(1), AcceptAnswer::Accepted);
    let reason = "x".repeat(REASON_MAX_BYTES);
    let poison = false;
    let worse = TaskOutcome::Failed { reason, poison };
    assert_eq!(ours.result(again, worse), AckAnswer::Kept);
    ours.wait_beside(3_000, &[barred(1)]);
    let reason = ours.reason(held.1);
    assert!(
        reason.starts_with("the deadline passed; last: xxx"),
        "{reason}"
    );
    assert_eq!(reason.len(), REASON_MAX_BYTES);
}

#[test]
fn a_task_whose_workers_were_lost_tells_what_a_run_failed_of_before() {
    let mut ours = ours();
    let held = ours.working(new_task(1), entity(1));
    assert_eq!(ours.result(held, failed()), AckAnswer::Kept);
    for life in 2.. {
        ours.wait(30_000);
        let Some(offer) = ours.assign(&[entity(2)]).first().copied() else {
            break;
        };
        ours.answer(offer, boot(life), AcceptAnswer::Accepted);
    }
    assert_eq!(
        ours.reason(held.1),
        "20 workers were lost while they had it; last: no such file"
    );
}
