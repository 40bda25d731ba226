//! Many tasks handed over at once.

use super::*;

type Handed = Result<(Vec<TaskId>, BatchId), (usize, SubmitOutcome)>;

impl Side<Requester> {
    fn submit_many(&mut self, news: Vec<NewTask>) -> Handed {
        let handed = self.kept(|core, step| core.submit_many(news, step));
        self.core.check().expect("T7");
        handed
    }

    fn known(&self) -> Vec<TaskId> {
        self.core.tasks().map(|(record, _)| record.id).collect()
    }
}

fn keyed(n: u64, key: &str) -> NewTask {
    NewTask {
        key: Some(key.parse().expect("a key")),
        ..new_task(n)
    }
}

#[test]
fn a_list_of_tasks_is_one_batch_and_those_that_are_there_are_found() {
    let mut ours = ours();
    ours.submit(new_task(2));
    ours.submit(keyed(7, "k"));
    let list = vec![new_task(1), new_task(2), new_task(3), keyed(8, "k")];
    let (ids, after) = ours.submit_many(list.clone()).expect("all fit");
    assert_eq!(ids, [1, 2, 3, 7].map(task_id));
    let written = |n| ours.core.task(task_id(n)).expect("it is there").1;
    assert_eq!([written(1), written(3)], [after, after], "one flush");
    assert!(written(2) < after);
    ours.restart();
    assert_eq!(ours.known(), [1, 2, 3, 7].map(task_id));
    let again = ours.submit_many(list).expect("a repetition");
    assert_eq!(again.0, ids);
    assert_eq!(ours.known().len(), 4);
}

#[test]
fn of_a_list_with_one_that_cannot_be_taken_none_is() {
    let mut ours = ours();
    ours.submit(new_task(2));
    let other = NewTask {
        priority: Priority::High,
        ..new_task(2)
    };
    let conflict = |place, n| Err((place, SubmitOutcome::Conflict(task_id(n))));
    let list = vec![new_task(1), other];
    assert_eq!(ours.submit_many(list), conflict(1, 2));
    let twice = vec![new_task(1), new_task(3), new_task(1)];
    assert_eq!(ours.submit_many(twice), conflict(2, 1));
    let same_key = vec![keyed(1, "k"), keyed(3, "k")];
    assert_eq!(ours.submit_many(same_key), conflict(1, 3));
    let half = |n| NewTask {
        input: vec![7; QUEUE_MAX_BYTES / 2],
        ..new_task(n)
    };
    let large = vec![half(4), half(5)];
    let full = Err((1, SubmitOutcome::Full(Full::Bytes)));
    assert_eq!(ours.submit_many(large), full, "beside what waits already");
    assert_eq!(ours.known(), [task_id(2)]);
    assert_eq!(ours.disk.count(Keyspace::Task), 1);
}
