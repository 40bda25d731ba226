//! Wake-ups sent and received.

use std::fmt::Display;
use std::time::Duration;

use super::http::ANSWER_TIMEOUT;
use super::{ApiClient, ClientError};
use crate::api::body::WakeBody;
use crate::proto::node::WakeView;

impl ApiClient {
    /// Wakes a peer's agent.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn wake(&self, wake: &WakeBody) -> Result<WakeView, ClientError> {
        self.post(&["v1", "wake"], Some(wake), ANSWER_TIMEOUT).await
    }

    /// A wake-up once its phase is another than `seen`, or as it is when `limit` (at most a
    /// minute) has passed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn wake_phase(
        &self,
        id: impl Display,
        seen: &str,
        limit: Duration,
    ) -> Result<WakeView, ClientError> {
        self.wait_at(&["v1", "wake", &id.to_string()], &[("seen", seen)], limit)
            .await
    }

    /// The wake-ups that others sent to the node, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn wakes_received(&self) -> Result<Vec<WakeView>, ClientError> {
        self.fetch(&["v1", "wake"], &[]).await
    }

    /// Says that the node's agent resumed, after the wake-up named or the newest.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn resumed(&self, id: Option<&str>) -> Result<(), ClientError> {
        let path = ["v1", "wake"].into_iter().chain(id).chain(["resumed"]);
        self.tell(&path.collect::<Vec<_>>(), None::<&()>, ANSWER_TIMEOUT)
            .await
    }
}
