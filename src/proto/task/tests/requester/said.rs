//! What runs say before they have ended.

use super::*;
use crate::types::limits::{EVENTS_KEPT, PROGRESS_DATA_MAX_BYTES, PROGRESS_TASK_MAX_BYTES};
use crate::wire::{OutputPart, ProgressAnswer, ProgressItem};

fn talking(n: u64) -> NewTask {
    NewTask {
        stream: true,
        ..new_task(n)
    }
}

impl Side<Requester> {
    fn hear(
        &mut self,
        of: Offered,
        percent: Option<u8>,
        output: Option<(u64, usize)>,
    ) -> ProgressAnswer {
        let (worker, task_id, token) = of;
        let part = |(offset, bytes)| OutputPart {
            offset,
            data: vec![b'x'; bytes],
        };
        let items = vec![ProgressItem {
            task_id,
            token,
            percent,
            note: None,
            output: output.map(part),
        }];
        self.kept(|core, step| core.said(worker, items, step))[0]
    }

    fn heard(&self, id: TaskId) -> Vec<Option<Said>> {
        let told = self.core.events(id, None).expect("a known task");
        let said = told
            .events
            .into_iter()
            .filter(|event| matches!(event.kind, EventKind::Progress | EventKind::Output));
        said.map(|event| event.said.map(|said| *said)).collect()
    }
}

#[test]
fn what_a_run_says_is_an_event_and_writes_nothing() {
    let mut ours = ours();
    let held = ours.working(talking(1), entity(1));
    let rows = ours.disk.rows();
    assert_eq!(ours.hear(held, Some(40), Some((0, 3))), ProgressAnswer::Ok);
    let data = Some(b"xxx".to_vec());
    let said = [Said::Percent(40), Said::Output { offset: 0, data }];
    assert_eq!(ours.heard(held.1), said.map(Some));
    assert_eq!(ours.disk.rows(), rows);
    assert_eq!(ours.result(held, completed()), AckAnswer::Kept);
    let data = None;
    let left = [Said::Percent(40), Said::Output { offset: 0, data }];
    assert_eq!(ours.heard(held.1), left.map(Some), "the result says it all");
}

#[test]
fn only_the_worker_that_has_it_is_heard_and_only_if_somebody_asked() {
    let mut ours = ours();
    let held = ours.working(talking(1), entity(1));
    let stranger = (entity(2), held.1, held.2);
    assert_eq!(ours.hear(stranger, Some(1), None), ProgressAnswer::Fenced);
    let older = (held.0, held.1, token(7));
    assert_eq!(ours.hear(older, Some(1), None), ProgressAnswer::Fenced);
    assert!(ours.heard(held.1).is_empty());
    let silent = ours.working(new_task(2), entity(1));
    assert_eq!(ours.hear(silent, Some(1), None), ProgressAnswer::Fenced);
    assert_eq!(ours.result(held, completed()), AckAnswer::Kept);
    assert_eq!(ours.hear(held, Some(1), None), ProgressAnswer::Fenced);
}

#[test]
fn a_run_that_writes_without_end_takes_no_more_than_its_room() {
    let mut ours = ours();
    let held = ours.working(talking(1), entity(1));
    let piece = PROGRESS_DATA_MAX_BYTES;
    for n in 0..100 {
        let output = Some((n * piece as u64, piece));
        assert_eq!(ours.hear(held, None, output), ProgressAnswer::Ok);
    }
    let too_much = Some((0, piece + 1));
    assert_eq!(ours.hear(held, None, too_much), ProgressAnswer::Ok);
    let heard = ours.heard(held.1);
    assert_eq!(heard.len(), EVENTS_KEPT);
    let kept = heard
        .iter()
        .filter(|said| matches!(said, Some(Said::Output { data: Some(_), .. })));
    assert_eq!(kept.count(), PROGRESS_TASK_MAX_BYTES / piece);
}
