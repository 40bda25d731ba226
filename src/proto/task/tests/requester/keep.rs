//! What is kept of tasks that have ended is as the settings say.

use super::*;

const MINUTE_MS: u64 = 60_000;

fn keeping(keep: Keep) -> Side<Requester> {
    Side::new(Requester::new(config(keep)), 1)
}

fn config(keep: Keep) -> RequesterConfig {
    RequesterConfig {
        keep,
        ..requester_config()
    }
}

impl Side<Requester> {
    fn completes(&mut self, n: u64) -> TaskId {
        let held = self.working(new_task(n), entity(1));
        self.result(held, completed());
        held.1
    }

    /// One that nobody took in time.
    fn fails_late(&mut self, n: u64) -> TaskId {
        self.submit(NewTask {
            deadline_ms: 1_000,
            ..new_task(n)
        });
        self.wait(1_000);
        self.core.check().expect("T9");
        task_id(n)
    }

    fn restart_as(&mut self, keep: Keep) {
        self.disk.crash();
        self.core = Requester::new(config(keep));
        for row in self.disk.rows() {
            self.core.load(&row, self.now).expect("our own rows");
        }
        self.core.resume(self.now);
        self.wait(0);
        self.core.check().expect("T7 after a restart");
    }

    fn are_known(&self, ids: &[TaskId]) -> Vec<bool> {
        { ids.iter() }
            .map(|id| self.core.task(*id).is_some())
            .collect()
    }

    fn forgotten(&mut self) -> Vec<TaskId> {
        let effects = self.core.effects().into_iter();
        let forgotten = effects.filter_map(|effect| match effect {
            RequesterEffect::Forgot { task } => Some(task),
            _ => None,
        });
        forgotten.collect()
    }
}

#[test]
fn ended_tasks_are_kept_for_as_long_as_is_set_also_over_restarts() {
    let keep = Keep {
        ended_ms: 10 * MINUTE_MS,
        ..Keep::default()
    };
    let mut ours = keeping(keep);
    let first = ours.completes(1);
    ours.wait(6 * MINUTE_MS);
    let second = ours.completes(2);
    ours.restart_as(keep);
    ours.wait(4 * MINUTE_MS - 1);
    assert_eq!(ours.are_known(&[first, second]), [true, true]);
    ours.wait(1);
    assert_eq!(ours.are_known(&[first, second]), [false, true]);
    // Another setting holds for what is there.
    let longer = Keep::default();
    ours.restart_as(longer);
    ours.wait(60 * MINUTE_MS);
    assert_eq!(ours.are_known(&[second]), [true]);
    ours.restart_as(keep);
    assert_eq!(ours.are_known(&[second]), [false]);
    assert!(ours.disk.rows().is_empty());
}

#[test]
fn of_more_ended_tasks_or_results_than_are_set_the_oldest_goes() {
    let two = Keep {
        tasks: 2,
        ..Keep::default()
    };
    let of_results = Keep {
        result_bytes: 2 * 300,
        ..Keep::default()
    };
    for keep in [two, of_results] {
        let mut ours = keeping(keep);
        let mut ids = Vec::new();
        for n in 1..=3 {
            let held = ours.working(new_task(n), entity(1));
            let result = vec![b'x'; 300];
            ours.result(held, TaskOutcome::Completed { result });
            ours.wait(0);
            ids.push(held.1);
        }
        assert_eq!(ours.are_known(&ids), [false, true, true]);
        ours.restart_as(keep);
        assert_eq!(ours.are_known(&ids), [false, true, true]);
    }
}

#[test]
fn failed_tasks_keep_their_input_for_as_long_as_is_set_and_it_is_told() {
    let keep = Keep {
        ended_ms: 60 * MINUTE_MS,
        failed_ms: 10 * MINUTE_MS,
        ..Keep::default()
    };
    let mut ours = keeping(keep);
    let id = ours.fails_late(1);
    ours.wait(10 * MINUTE_MS - 1);
    ours.restart_as(keep);
    assert_eq!((ours.core.dead(), ours.forgotten()), (1, Vec::new()));
    ours.wait(1);
    assert_eq!((ours.core.dead(), ours.forgotten()), (0, vec![id]));
    ours.core.check().expect("T9");
    // From then on it is as others that have ended, from its end on.
    assert_eq!(ours.are_known(&[id]), [true]);
    ours.wait(50 * MINUTE_MS);
    assert_eq!(ours.are_known(&[id]), [false]);
}

#[test]
fn of_more_failed_tasks_than_are_set_the_oldest_loses_its_input() {
    let one = Keep {
        failed_tasks: 1,
        ..Keep::default()
    };
    // Each has ten bytes.
    let of_inputs = Keep {
        failed_bytes: 19,
        ..Keep::default()
    };
    for keep in [one, of_inputs] {
        let mut ours = keeping(keep);
        let (first, second) = (ours.fails_late(1), ours.fails_late(2));
        assert_eq!((ours.core.dead(), ours.forgotten()), (1, vec![first]));
        assert!(!ours.record(first).dead && ours.record(second).dead);
    }
    let none = Keep {
        failed_tasks: 0,
        ..Keep::default()
    };
    let mut ours = keeping(none);
    let id = ours.fails_late(1);
    assert_eq!((ours.core.dead(), ours.forgotten()), (0, vec![id]));
}
