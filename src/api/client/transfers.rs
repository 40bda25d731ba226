//! Files sent and received.

use std::fmt::Display;
use std::time::Duration;

use super::http::ANSWER_TIMEOUT;
use super::{ApiClient, ClientError};
use crate::api::body::TransferBody;
use crate::proto::node::TransferView;

impl ApiClient {
    /// Sends a file. With an id in `transfer` this may be repeated.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn send_file(&self, transfer: &TransferBody) -> Result<TransferView, ClientError> {
        self.post(&["v1", "transfers"], Some(transfer), ANSWER_TIMEOUT)
            .await
    }

    /// Files sent and received, the oldest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn transfers(&self) -> Result<Vec<TransferView>, ClientError> {
        self.fetch(&["v1", "transfers"], &[]).await
    }

    /// One transfer, as it is.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn transfer(&self, id: impl Display) -> Result<TransferView, ClientError> {
        self.fetch(&["v1", "transfers", &id.to_string()], &[]).await
    }

    /// One transfer once its revision is another than `seen`, or as it is when `limit` (at most a
    /// minute) has passed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn transfer_news(
        &self,
        id: impl Display,
        seen: u64,
        limit: Duration,
    ) -> Result<TransferView, ClientError> {
        let (id, seen) = (id.to_string(), seen.to_string());
        self.wait_at(&["v1", "transfers", &id], &[("seen", &seen)], limit)
            .await
    }

    /// Gives a transfer up.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cancel_transfer(&self, id: impl Display) -> Result<TransferView, ClientError> {
        let path = ["v1", "transfers", &id.to_string(), "cancel"];
        self.post(&path, None::<&()>, ANSWER_TIMEOUT).await
    }
}
