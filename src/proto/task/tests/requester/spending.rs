//! What workers hand on, over all attempts of a task (G1).

use super::*;
use crate::proto::task::Wish;
use crate::wire::Budget;

/// A task that is worth so much.
fn worth(reward: u64) -> NewTask {
    let wish = Wish {
        depth: Some(1),
        reward,
    };
    NewTask {
        delegation: Delegation {
            wish,
            granted: Some(Budget { depth: 1, reward }),
            ..Delegation::default()
        },
        ..new_task(1)
    }
}

impl Side<Requester> {
    /// A worker says what its parts cost, and is answered.
    fn tells(&mut self, of: Offered, spent: u64) -> RenewAnswer {
        let (worker, task_id, token) = of;
        let item = RenewItem {
            task_id,
            token,
            spent,
            waiting: false,
        };
        let (answers, after) = self.kept(|core, step| core.renewed(worker, boot(1), &[item], step));
        assert!(self.disk.is_durable(after), "answered behind the flush");
        self.core.check().expect("T7");
        answers[0]
    }

    /// An attempt fails, and this is what its parts have cost.
    fn fails(&mut self, of: Offered, spent: u64) -> AckAnswer {
        let (worker, task_id, token) = of;
        let item = ResultItem {
            task_id,
            token,
            outcome: failed(),
            spent,
        };
        let (said, entry) = (told(worker, vec![item]), entry_of(worker));
        let answer = self
            .kept(|core, step| core.ended(worker, said, &entry, step))
            .0[0];
        self.core.check().expect("T7");
        answer
    }

    /// What an offer to this worker would say: what is there, and what it had before.
    fn there_for(&self, worker: EntityId) -> (u64, u64) {
        let (budget, spent) = { &self.core }
            .budget_for(task_id(1), worker)
            .expect("it has a budget");
        assert_eq!(budget.depth, 1);
        (budget.reward, spent)
    }
}

#[test]
fn what_a_lost_worker_has_told_is_not_there_for_the_next() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let held = ours.working(worth(10), a);
    assert!(matches!(ours.tells(held, 6), RenewAnswer::Renewed { .. }));
    assert_eq!(ours.there_for(a), (10, 6), "the same worker goes on");
    ours.restart();
    ours.wait(20_000);
    assert_eq!(ours.there_for(b), (4, 0), "also after a restart");
    let asks = |n, price| Candidate {
        price,
        ..Candidate::new(entity(n), 4)
    };
    assert!(ours.assign_to(&[asks(2, 5)]).is_empty(), "for what is left");
    let offers = ours.assign_to(&[asks(2, 4)]);
    assert_eq!(offers[0].0, b);
    ours.answer(offers[0], boot(1), AcceptAnswer::Accepted);
    assert_eq!(ours.tells(held, 9), RenewAnswer::Fenced, "it has no say");
    assert_eq!(ours.there_for(b), (4, 0));
    // More than it was given is not counted.
    ours.tells(offers[0], 50);
    assert_eq!(ours.there_for(entity(3)), (0, 0));
    assert_eq!(ours.record(task_id(1)).spent(), 10);
}

#[test]
fn what_an_attempt_came_to_says_what_its_parts_have_cost() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let held = ours.working(worth(10), a);
    ours.tells(held, 6);
    assert_eq!(ours.fails(held, 2), AckAnswer::Kept);
    assert_eq!(ours.there_for(b), (8, 0));
    assert_eq!(ours.there_for(a), (10, 2));
    ours.restart();
    assert_eq!(ours.there_for(b), (8, 0));
}

#[test]
fn a_worker_thought_lost_that_says_how_it_ended_gives_back_what_it_did_not_use() {
    let (mut ours, a, b) = (ours(), entity(1), entity(2));
    let held = ours.working(worth(10), a);
    ours.tells(held, 6);
    ours.wait(20_000);
    let offers = ours.assign(&[b]);
    assert_eq!(ours.there_for(b), (4, 0));
    assert_eq!(ours.fails(held, 1), AckAnswer::Fenced);
    assert_eq!(ours.there_for(b), (9, 0));
    // Another attempt of it runs: an older word says nothing of what that may hand on.
    ours.answer(offers[0], boot(1), AcceptAnswer::Accepted);
    ours.tells(offers[0], 3);
    ours.wait(20_000);
    let again = ours.assign(&[b]);
    ours.answer(again[0], boot(1), AcceptAnswer::Accepted);
    assert_eq!(ours.fails(offers[0], 0), AckAnswer::Fenced);
    assert_eq!(ours.there_for(a), (7, 1));
}

#[test]
fn a_task_that_waits_is_found_again_when_what_is_left_of_its_reward_changes() {
    let (mut ours, a) = (ours(), entity(1));
    let held = ours.working(worth(10), a);
    ours.wait(20_000);
    assert_eq!(ours.record(task_id(1)).state, TaskState::Submitted);
    // It is not lost after all.
    ours.tells(held, 6);
    assert_eq!(ours.record(task_id(1)).state, TaskState::Working);
    ours.wait(20_000);
    assert_eq!(ours.fails(held, 3), AckAnswer::Kept);
    ours.wait(40_000);
    assert_eq!(ours.assign(&[entity(2)]).len(), 1);
    assert_eq!(ours.there_for(entity(2)), (7, 0));
}
