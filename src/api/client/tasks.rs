//! Work handed over, and what came of it.

use std::fmt::Display;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::http::{ANSWER_TIMEOUT, WAIT_SLACK, json, read};
use super::{ApiClient, ClientError};
use crate::api::body::{
    FeedParams, ResubmitBody, SubmitBody, SubmitManyBody, TaskListParams, WAIT_MAX_MS, WebhookBody,
};
use crate::api::{ATTEMPTS_HEADER, NEXT_HEADER, WORKER_HEADER};
use crate::proto::node::{EventsView, TaskEventsView, TaskView};

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

    /// Hands over tasks together: all or none. With an id in each this may be repeated.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn submit_many(&self, tasks: &SubmitManyBody) -> Result<Vec<TaskView>, ClientError> {
        let path = ["v1", "tasks", "batch"];
        self.post(&path, Some(tasks), ANSWER_TIMEOUT).await
    }

    /// A page of our tasks, and what to ask for behind it if more may follow.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tasks(
        &self,
        params: &TaskListParams,
    ) -> Result<(Vec<TaskView>, Option<Uuid>), ClientError> {
        let mut url = self.url(&["v1", "tasks"], &[]);
        url.query_pairs_mut().extend_pairs(params.pairs());
        let response = self.got(url, ANSWER_TIMEOUT).await?;
        let next = response.headers().get(NEXT_HEADER);
        let next = next.and_then(|value| value.to_str().ok()?.parse().ok());
        Ok((json(response).await?, next))
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

    /// A task's events after number `after`, as soon as there are any or nothing will follow, or
    /// when `limit` (at most a minute) has passed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn task_events(
        &self,
        id: impl Display,
        after: Option<u64>,
        limit: Duration,
    ) -> Result<TaskEventsView, ClientError> {
        let (id, after) = (id.to_string(), after.map(|number| number.to_string()));
        let query: Vec<_> = after.iter().map(|number| ("after", &number[..])).collect();
        self.wait_at(&["v1", "tasks", &id, "events"], &query, limit)
            .await
    }

    /// Events of all tasks, as soon as there are any that are asked for, or when `params.wait_ms`
    /// has passed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&self, params: &FeedParams) -> Result<EventsView, ClientError> {
        let pairs = params.pairs();
        let query: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (*name, &value[..]))
            .collect();
        let url = self.url(&["v1", "events"], &query);
        let wait = Duration::from_millis(params.wait_ms.unwrap_or(0).min(WAIT_MAX_MS));
        json(self.got(url, wait + WAIT_SLACK).await?).await
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

    /// Has an address told when a task has ended. May be repeated.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn webhook(
        &self,
        id: impl Display,
        webhook: &WebhookBody,
    ) -> Result<(), ClientError> {
        let path = ["v1", "tasks", &id.to_string(), "webhook"];
        self.tell(&path, Some(webhook), ANSWER_TIMEOUT).await
    }

    /// What shows a task's outcome to a third party.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn task_proof(&self, id: impl Display) -> Result<String, ClientError> {
        self.text(&["v1", "tasks", &id.to_string(), "proof"]).await
    }

    /// Gives a task up.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cancel(&self, id: impl Display) -> Result<TaskView, ClientError> {
        let path = ["v1", "tasks", &id.to_string(), "cancel"];
        self.post(&path, None::<&()>, ANSWER_TIMEOUT).await
    }

    /// Hands a failed task over again, changed as `body` says. May be repeated.
    ///
    /// # Errors
    /// See [`ClientError`]; the code `conflict` when it did not fail or its input was dropped.
    pub async fn resubmit(
        &self,
        id: impl Display,
        body: &ResubmitBody,
    ) -> Result<TaskView, ClientError> {
        let path = ["v1", "tasks", &id.to_string(), "resubmit"];
        self.post(&path, Some(body), ANSWER_TIMEOUT).await
    }

    /// Lets a failed task's input go.
    ///
    /// # Errors
    /// See [`ClientError`]; the code `conflict` when there is none to let go.
    pub async fn drop_task(&self, id: impl Display) -> Result<TaskView, ClientError> {
        let path = ["v1", "tasks", &id.to_string(), "drop"];
        self.post(&path, None::<&()>, ANSWER_TIMEOUT).await
    }
}
