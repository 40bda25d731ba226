//! A task that runs here hands parts of itself on: within what it was given, and no further (G1).

use proptest::prelude::*;

use super::*;
use crate::types::limits::INPUT_MAX_BYTES;
use crate::types::{Amount, Compare};

/// The key of task `n` of node 0, as node 1 holds it.
fn parent(wires: &Wires, n: u64) -> HeldKey {
    HeldKey {
        requester: wires.hosts[0].identity.entity_id,
        task: task(n),
    }
}

fn wish(depth: Option<u8>, reward: u64) -> Wish {
    Wish { depth, reward }
}

/// A pair whose second node runs task 1, which may hand on so much.
fn running(depth: u8, reward: u64) -> Wires {
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    let whole = Submission {
        wish: wish(Some(depth), reward),
        deadline_ms: 60_000,
        ..Submission::new(task(1), wc(), Vec::new())
    };
    wires.granted(0, Command::Submit(whole));
    wires.run(SECOND_MS);
    assert_eq!(wires.hosts[1].runs.len(), 1);
    wires
}

/// Part `n` of task 1, for which there is no worker.
fn part(wires: &Wires, n: u64, wish: Wish) -> Submission {
    Submission {
        wish,
        parent: Some(parent(wires, 1)),
        ..Submission::new(task(n), "rare".parse().expect("a capability"), Vec::new())
    }
}

fn hand_on(wires: &mut Wires, n: u64, wish: Wish) -> CommandResult {
    let part = part(wires, n, wish);
    let answer = wires.ask(1, Command::Submit(part));
    wires.node(1).check().expect("G1");
    answer
}

fn refused(answer: CommandResult) -> String {
    let error = answer.expect_err("beyond what it was given");
    assert_eq!(error.code, CommandErrorCode::NotAllowed);
    error.message
}

fn shown(answer: CommandResult) -> TaskView {
    match answer {
        Ok(Reply::Task(view)) => *view,
        other => panic!("{other:?}"),
    }
}

#[test]
fn parts_of_a_task_have_less_depth_and_share_its_reward_and_its_deadline() {
    let mut wires = running(2, 10);
    wires.run(20 * SECOND_MS);
    let one = shown(hand_on(&mut wires, 11, wish(None, 6)));
    let budget = BudgetView {
        depth: 1,
        reward: Amount(6),
        spent: Amount(0),
    };
    assert_eq!(one.budget, Some(budget));
    let left = |wires: &Wires| {
        let core = wires.node(1).requester();
        core.remaining_ms(task(11), wires.now().mono)
            .expect("it is known")
    };
    assert!(left(&wires) <= 40_000, "it ends with its parent");
    let too_deep = hand_on(&mut wires, 12, wish(Some(2), 1));
    assert!(refused(too_deep).contains("a depth of 2 is more than the 1"));
    let too_much = hand_on(&mut wires, 12, wish(None, 5));
    assert!(refused(too_much).contains("a reward of 5 is more than the 4"));
    let late = Submission {
        start: Start::In(50_000),
        ..part(&wires, 12, wish(None, 1))
    };
    assert!(refused(wires.ask(1, Command::Submit(late))).contains("deadline"));
    let again = shown(hand_on(&mut wires, 11, wish(None, 6)));
    assert_eq!(again.id, one.id, "a repetition takes nothing more");
    shown(hand_on(&mut wires, 12, wish(Some(0), 4)));
    // What comes to nothing gives its part back.
    wires.granted(1, Command::CancelTask(task(11)));
    shown(hand_on(&mut wires, 13, wish(None, 6)));
    let empty = hand_on(&mut wires, 14, wish(None, 1));
    assert!(refused(empty).contains("the 0 that are left"));
    wires.stop(1);
    wires.start(1);
    let list = [
        part(&wires, 15, wish(None, 0)),
        part(&wires, 16, wish(None, 1)),
    ];
    let error = wires.ask(1, Command::SubmitMany(list.to_vec()));
    assert!(
        refused(error).starts_with("tasks[1]"),
        "also after a restart"
    );
}

#[test]
fn parts_end_with_the_task_that_they_are_of() {
    let mut wires = running(1, 0);
    shown(hand_on(&mut wires, 11, Wish::default()));
    wires.granted(0, Command::CancelTask(task(1)));
    wires.run(SECOND_MS);
    let part = shown(wires.ask(1, Command::Task(task(11))));
    assert_eq!(part.state, TaskState::Canceled);
    assert!(part.reason.expect("a reason").contains("has ended"));
    wires.node(1).check().expect("G1");
    let late = hand_on(&mut wires, 12, Wish::default());
    assert!(refused(late).contains("does not run here any more"));
}

#[test]
fn what_nothing_was_said_of_is_not_handed_on() {
    for (depth, reward) in [(0, 0), (0, 9)] {
        let mut wires = running(depth, reward);
        let answer = hand_on(&mut wires, 11, Wish::default());
        assert!(refused(answer).contains("depth is 0"));
    }
    let mut wires = pair();
    wires.hosts[1].runs_hang = true;
    wires.granted(0, submit(1));
    wires.run(SECOND_MS);
    assert!(refused(hand_on(&mut wires, 11, Wish::default())).contains("depth is 0"));
    assert!(refused(hand_on(&mut wires, 11, wish(Some(0), 1))).contains("depth is 0"));
}

#[test]
fn parts_that_wait_for_the_requester_of_their_task_are_bounded() {
    let mut wires = running(1, 100);
    wires.stop(0);
    let large = |wires: &Wires, n| Submission {
        input: vec![0; INPUT_MAX_BYTES],
        ..part(wires, n, wish(None, 1))
    };
    for n in 100..164 {
        let one = large(&wires, n);
        let asked = wires.command(1, Command::Submit(one));
        assert_eq!(wires.reply(1, asked), None);
    }
    let one = large(&wires, 164);
    let full = wires.ask(1, Command::Submit(one));
    assert_eq!(full.expect_err("64 MiB wait").code, CommandErrorCode::Busy);
}

#[test]
fn a_part_with_a_reward_begins_once_the_requester_of_its_task_knows_what_it_costs() {
    let mut wires = running(1, 10);
    let spent = |wires: &Wires| {
        let (record, _) = wires.node(0).requester().task(task(1)).expect("its own");
        record.spent()
    };
    wires.stop(0);
    let one = part(&wires, 11, wish(None, 6));
    let asked = wires.command(1, Command::Submit(one));
    assert_eq!(wires.reply(1, asked), None, "nobody knows of it");
    assert!(wires.ask(1, Command::Task(task(11))).is_err());
    shown(hand_on(&mut wires, 12, wish(None, 0)));
    wires.run(11 * SECOND_MS);
    let away = wires.reply(1, asked).expect("nobody waits for ever");
    let away = away.expect_err("the requester is away");
    assert_eq!(away.code, CommandErrorCode::Unreachable);
    assert!(
        away.message.contains("requester of the task is away"),
        "{away}"
    );
    wires.start(0);
    wires.run(5 * SECOND_MS);
    // The disk of the requester comes first.
    wires.hosts[0].disk_waits = true;
    let before = spent(&wires);
    let two = part(&wires, 13, wish(None, 10));
    let asked = wires.command(1, Command::Submit(two));
    wires.run(SECOND_MS);
    assert_eq!(wires.reply(1, asked), None, "{before}");
    wires.hosts[0].disk_waits = false;
    wires.flush(0);
    wires.run(2 * SECOND_MS);
    let answer = wires.reply(1, asked).expect("it is known now");
    assert_eq!(shown(answer).id, task(13).to_string());
    assert_eq!(spent(&wires), 10);
    wires.node(1).check().expect("G1");
}

#[test]
fn several_workers_share_the_reward_and_hand_nothing_on() {
    let mut wires = pair();
    let several = |wish: Wish, parent| Submission {
        wish,
        parent,
        agreement: Some(Agreement {
            replicas: 3,
            agree: 2,
            compare: Compare::Bytes,
        }),
        ..Submission::new(task(1), wc(), Vec::new())
    };
    let refused = |wires: &mut Wires, of: Submission| {
        let error = wires.ask(0, Command::Submit(of)).expect_err("not so");
        assert_eq!(error.code, CommandErrorCode::Invalid);
        error.message
    };
    let deep = several(wish(Some(1), 0), None);
    assert!(refused(&mut wires, deep).contains("is not handed on"));
    let poor = several(wish(None, 2), None);
    assert!(refused(&mut wires, poor).contains("a reward of 2 leaves nothing"));
    let part = several(wish(None, 3), Some(parent(&wires, 9)));
    assert!(refused(&mut wires, part).contains("is no part of another"));
    wires.granted(0, Command::Submit(several(wish(None, 10), None)));
    wires.run(SECOND_MS);
    let parts = wires.node(0).requester().tasks();
    let parts: Vec<_> = parts.filter(|(of, _)| of.part.is_some()).collect();
    assert_eq!(parts.len(), 3);
    for (of, _) in parts {
        assert_eq!(of.budget.map(|of| (of.depth, of.reward)), Some((0, 3)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a tree of tasks asks for, and whichever of them come to nothing.
    #[test]
    fn no_tree_of_parts_costs_more_or_reaches_deeper_than_its_root(
        depth in 0_u8..4,
        reward in 0_u64..50,
        asks in prop::collection::vec((any::<prop::sample::Index>(), 0_u64..20, prop::option::of(0_u8..4), any::<bool>()), 1..60),
    ) {
        use crate::proto::task::Allowance;
        let mut tree = vec![(Allowance { left_ms: 1_000, depth, reward }, None::<usize>, reward, true)];
        for (at, reward, depth, ends) in asks {
            let parent = at.index(tree.len());
            let left = tree[parent].0;
            let child = left.child(Wish { depth, reward });
            if tree[parent].0.take(child, 0).is_ok() {
                prop_assert!(child.depth < left.depth);
                let allowance = Allowance { left_ms: left.left_ms, depth: child.depth, reward: child.reward };
                tree.push((allowance, Some(parent), child.reward, true));
            } else {
                prop_assert_eq!(tree[parent].0, left, "a refusal takes nothing");
            }
            // A leaf of the tree comes to nothing.
            let leaf = tree.len() - 1;
            if ends && tree[leaf].3 && let Some(parent) = tree[leaf].1 {
                tree[leaf].3 = false;
                let given = tree[leaf].2;
                tree[parent].0.reward += given;
            }
        }
        for at in 0..tree.len() {
            let parts = tree.iter().filter(|one| one.1 == Some(at) && one.3);
            let cost: u64 = parts.map(|one| one.2).sum();
            prop_assert_eq!(cost + tree[at].0.reward, tree[at].2);
        }
    }
}
