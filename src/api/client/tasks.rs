//! Work handed over, and what came of it.

use std::fmt::Display;
use std::time::{Duration, Instant};

use super::http::{ANSWER_TIMEOUT, read};
use super::{ApiClient, ClientError};
use crate::api::body::SubmitBody;
use crate::api::{ATTEMPTS_HEADER, WORKER_HEADER};
use crate::proto::node::TaskView;

/// What a completed task came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskOutput {
    /// The worker's entity id.
    pub worker: Option<String>,
    pub attempts: usize,
    pub result: Vec<u8>,
}

impl ApiClient {
    /// Hands over work. With an id in `task` ([`SubmitBody::new`] gives one) this may be repeated.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn submit(&self, task: &SubmitBody) -> Result<TaskView, ClientError> {
        self.post(&["v1", "tasks"], Some(task), ANSWER_TIMEOUT)
            .await
    }

    /// All tasks.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tasks(&self) -> Result<Vec<TaskView>, ClientError> {
        self.fetch(&["v1", "tasks"], &[]).await
    }

    /// One task, as it is.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn task(&self, id: impl Display) -> Result<TaskView, ClientError> {
        self.fetch(&["v1", "tasks", &id.to_string()], &[]).await
    }

    /// One task at its end, or as it is when `limit` has passed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn await_task(
        &self,
        id: impl Display,
        limit: Duration,
    ) -> Result<TaskView, ClientError> {
        let (id, started) = (id.to_string(), Instant::now());
        loop {
            let left = limit.saturating_sub(started.elapsed());
            let task: TaskView = self.wait_at(&["v1", "tasks", &id], &[], left).await?;
            if task.state.is_terminal() || started.elapsed() >= limit {
                return Ok(task);
            }
        }
    }

    /// What a completed task came to.
    ///
    /// # Errors
    /// See [`ClientError`]; the code `conflict` when it is not completed.
    pub async fn result(&self, id: impl Display) -> Result<TaskOutput, ClientError> {
        let path = ["v1", "tasks", &id.to_string(), "result"];
        let response = self.fetch_raw(&path).await?;
        let text = |name| response.headers().get(name)?.to_str().ok();
        let worker = text(WORKER_HEADER).map(str::to_owned);
        let attempts = text(ATTEMPTS_HEADER)
            .and_then(|count| count.parse().ok())
            .unwrap_or(0);
        Ok(TaskOutput {
            worker,
            attempts,
            result: read(response).await?,
        })
    }

    /// Gives a task up.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cancel(&self, id: impl Display) -> Result<TaskView, ClientError> {
        let path = ["v1", "tasks", &id.to_string(), "cancel"];
        self.post(&path, None::<&()>, ANSWER_TIMEOUT).await
    }
}
