//! Waiting for news without leaving abandoned questions behind.
//!
//! A long poll ends after a while, but the node keeps a question until it can answer it. So
//! each question is asked once and kept here: polls for the same news share it, and the next poll
//! takes up where the last one gave up. At most [`WAITS_MAX`] questions are open.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::proto::node::{Command, CommandError, CommandErrorCode, CommandResult};
use crate::runtime::Handle;
use crate::types::{TaskId, TransferId, WakeId};
use crate::wire::WakeStatus;

/// Half of what the node holds, so that other commands always find room.
const WAITS_MAX: usize = crate::types::limits::COMMANDS_MAX / 2;

/// What can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    /// The task's end.
    Task(TaskId),
    /// An event of the task after this number.
    Events(TaskId, Option<u64>),
    /// Another event than this one as the newest of all tasks.
    Feed(u64),
    /// Another phase of the wake-up than this one.
    Wake(WakeId, Option<WakeStatus>),
    /// A message that arrived after this number.
    Inbox(u64),
    /// Another revision of the transfer than this one.
    Transfer(TransferId, Option<u64>),
}

impl News {
    fn command(self) -> Command {
        match self {
            News::Task(id) => Command::AwaitTask(id),
            News::Events(id, after) => Command::AwaitTaskEvents { id, after },
            News::Feed(after) => Command::AwaitEvents { after },
            News::Inbox(seen) => Command::AwaitInbox { seen },
            News::Wake(id, seen) => Command::AwaitWake { id, seen },
            News::Transfer(id, seen) => Command::AwaitTransfer { id, seen },
        }
    }
}

type Answer = Shared<BoxFuture<'static, CommandResult>>;

/// The questions that are open.
pub(super) struct Waits {
    handle: Handle,
    open: Mutex<BTreeMap<News, Answer>>,
}

impl Waits {
    /// Asks through `handle`.
    pub(super) fn new(handle: Handle) -> Waits {
        Waits {
            handle,
            open: Mutex::new(BTreeMap::new()),
        }
    }

    /// The node's answer, however long it takes. Dropping the future keeps the question open.
    ///
    /// # Errors
    /// The node's own; `busy` when too many questions are open.
    pub(super) async fn answer(&self, news: News) -> CommandResult {
        let answer = self.join(news)?;
        let result = answer.await;
        let mut open = self.open();
        // Another may have asked anew meanwhile: that question is still open.
        if open.get(&news).is_some_and(|kept| kept.peek().is_some()) {
            open.remove(&news);
        }
        result
    }

    fn join(&self, news: News) -> Result<Answer, CommandError> {
        let mut open = self.open();
        if let Some(kept) = open.get(&news) {
            if is_pending(kept) {
                return Ok(kept.clone());
            }
            // Answered while nobody listened: the answer may be old by now.
            open.remove(&news);
        }
        if open.len() >= WAITS_MAX {
            open.retain(|_, kept| is_pending(kept));
        }
        if open.len() >= WAITS_MAX {
            let message = "too many requests wait for news: try again, or without wait_ms";
            return Err(CommandError::new(CommandErrorCode::Busy, message));
        }
        let handle = self.handle.clone();
        let asked = async move { handle.call(news.command()).await };
        let answer = asked.boxed().shared();
        open.insert(news, answer.clone());
        Ok(answer)
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<News, Answer>> {
        // The map is whole between any two statements: a panic elsewhere leaves it usable.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_pending(answer: &Answer) -> bool {
    answer.clone().now_or_never().is_none()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;
    use uuid::Uuid;

    use super::*;
    use crate::proto::node::Reply;

    const SOON: std::time::Duration = std::time::Duration::from_secs(60);

    fn counted() -> (Waits, Arc<AtomicUsize>, Arc<Semaphore>) {
        let (asked, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (count, gate) = (Arc::clone(&asked), Arc::clone(&release));
        let handle = Handle::stub_async(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(Reply::Done)
            }
        });
        (Waits::new(handle), asked, release)
    }

    #[tokio::test]
    async fn polls_for_the_same_news_ask_the_node_once() {
        let (waits, asked, release) = counted();
        let news = News::Task(TaskId(Uuid::now_v7()));
        for _ in 0..5 {
            assert!(waits.answer(news).now_or_never().is_none());
        }
        release.add_permits(1);
        let both = futures::future::join(waits.answer(news), waits.answer(news));
        let both = tokio::time::timeout(SOON, both).await.unwrap();
        assert_eq!(both, (Ok(Reply::Done), Ok(Reply::Done)));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert!(waits.open().is_empty());
    }

    #[tokio::test]
    async fn an_answer_that_nobody_heard_is_asked_for_again() {
        let (waits, asked, release) = counted();
        let news = News::Task(TaskId(Uuid::now_v7()));
        assert!(waits.answer(news).now_or_never().is_none());
        release.add_permits(2);
        let unheard = || waits.open().get(&news).is_some_and(is_pending);
        let answered = async {
            while unheard() {
                tokio::task::yield_now().await
            }
        };
        tokio::time::timeout(SOON, answered).await.unwrap();
        let again = tokio::time::timeout(SOON, waits.answer(news))
            .await
            .unwrap();
        assert_eq!(again, Ok(Reply::Done));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn past_the_limit_the_answer_is_busy() {
        let (waits, _, _release) = counted();
        let open = futures::future::pending::<CommandResult>().boxed().shared();
        for _ in 0..WAITS_MAX {
            waits
                .open()
                .insert(News::Task(TaskId(Uuid::now_v7())), open.clone());
        }
        let refused = waits
            .answer(News::Task(TaskId(Uuid::now_v7())))
            .await
            .unwrap_err();
        assert_eq!(refused.code, CommandErrorCode::Busy);
    }
}
