//! Handing over: what the tasks of a map want handed over at one moment goes in one request.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;

use tokio::sync::{Notify, oneshot};

use crate::api::body::{SubmitBody, SubmitManyBody};
use crate::cli::client::connect;
use crate::config::Home;
use crate::proto::node::TaskView;
use crate::types::limits::SUBMIT_MAX_TASKS;

/// What the inputs of one request may come to in base64, below what the node takes as one body.
const LIST_MAX_BYTES: usize = 1_500_000;

/// Tasks that wait to be handed over, and where their views go.
#[derive(Default)]
pub(super) struct Desk {
    waiting: RefCell<VecDeque<(SubmitBody, oneshot::Sender<TaskView>)>>,
    brought: Notify,
}

impl Desk {
    /// Has a task handed over with others; none if that did not work: then it is tried alone.
    pub(super) async fn hand_over(&self, body: &SubmitBody) -> Option<TaskView> {
        let (answer, answered) = oneshot::channel();
        self.waiting.borrow_mut().push_back((body.clone(), answer));
        self.brought.notify_one();
        answered.await.ok()
    }

    /// Hands over what comes, one list after the other.
    pub(super) async fn serve(&self, home: &Home) -> Infallible {
        loop {
            self.brought.notified().await;
            // Those that are brought at the same moment come along.
            tokio::task::yield_now().await;
            loop {
                let (tasks, answers): (Vec<_>, Vec<_>) = self.next_list().into_iter().unzip();
                if tasks.is_empty() {
                    break;
                }
                let handed = match connect(home) {
                    Ok(client) => client.submit_many(&SubmitManyBody { tasks }).await.ok(),
                    Err(_) => None,
                };
                for (answer, view) in answers.into_iter().zip(handed.unwrap_or_default()) {
                    // Whoever does not wait any more has given the map up.
                    let _ = answer.send(view);
                }
            }
        }
    }

    fn next_list(&self) -> Vec<(SubmitBody, oneshot::Sender<TaskView>)> {
        let mut waiting = self.waiting.borrow_mut();
        let (mut list, mut bytes) = (Vec::new(), 0);
        while list.len() < SUBMIT_MAX_TASKS
            && let Some((body, _)) = waiting.front()
        {
            bytes += body.input.as_ref().map_or(0, String::len);
            if bytes > LIST_MAX_BYTES && !list.is_empty() {
                break;
            }
            list.extend(waiting.pop_front());
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_bounded_by_count_and_bytes_and_never_empty_while_some_wait() {
        let desk = Desk::default();
        let bring = |bytes: usize| {
            let mut body = SubmitBody::new("wc", &[]);
            body.input = Some("x".repeat(bytes));
            let (answer, _) = oneshot::channel();
            desk.waiting.borrow_mut().push_back((body, answer));
        };
        for bytes in [2_000_000, 1_000_000, 500_000, 1] {
            bring(bytes);
        }
        (0..300).for_each(|_| bring(0));
        let lists: Vec<usize> = std::iter::repeat_with(|| desk.next_list().len())
            .take_while(|n| *n > 0)
            .collect();
        assert_eq!(lists, [1, 2, 256, 45]);
    }
}
