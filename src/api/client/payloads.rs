//! Inputs and results that are too large for a message: streamed.

use std::fmt::Display;
use std::path::Path;

use reqwest::{Body, Method, Response};

use super::http::{accepted, failed, json};
use super::{ApiClient, ClientError};
use crate::api::{ATTEMPTS_HEADER, WORKER_HEADER};
use crate::proto::node::PayloadView;
use crate::runtime::payloads::PayloadBody;

/// A result that is on its way.
#[derive(Debug)]
pub struct ResultStream {
    /// The worker's entity id.
    pub worker: Option<String>,
    pub attempts: usize,
    /// How long it is, if that is said.
    pub bytes: Option<u64>,
    response: Response,
}

impl ResultStream {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        let piece = self
            .response
            .chunk()
            .await
            .map_err(|error| failed(&error))?;
        Ok(piece.map(|piece| piece.to_vec()))
    }
}

impl ApiClient {
    /// Hands over a file's content; `seen` hears the length of each piece that has left.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn upload(
        &self,
        path: &Path,
        seen: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<PayloadView, ClientError> {
        let unread =
            |error| ClientError::Other(format!("{} cannot be read: {error}", path.display()));
        let body = PayloadBody::open(path).await.map_err(unread)?.told_to(seen);
        let url = self.url(&["v1", "payloads"], &[]);
        let request = self.http.request(Method::PUT, url).body(Body::wrap(body));
        json(request.send().await.map_err(|error| failed(&error))?).await
    }

    /// What a completed task came to, as it comes.
    ///
    /// # Errors
    /// See [`ClientError`]; the code `conflict` when it is not completed.
    pub async fn result_stream(&self, id: impl Display) -> Result<ResultStream, ClientError> {
        self.stream_of(id, "result").await
    }

    /// What a task of this node was handed over with, as it comes.
    ///
    /// # Errors
    /// See [`ClientError`]; the code `conflict` when it is kept no more.
    pub async fn input_stream(&self, id: impl Display) -> Result<ResultStream, ClientError> {
        self.stream_of(id, "input").await
    }

    async fn stream_of(&self, id: impl Display, what: &str) -> Result<ResultStream, ClientError> {
        let url = self.url(&["v1", "tasks", &id.to_string(), what], &[]);
        let request = self.http.request(Method::GET, url);
        let response = accepted(request.send().await.map_err(|error| failed(&error))?).await?;
        let text = |name| response.headers().get(name)?.to_str().ok();
        Ok(ResultStream {
            worker: text(WORKER_HEADER).map(str::to_owned),
            attempts: text(ATTEMPTS_HEADER)
                .and_then(|count| count.parse().ok())
                .unwrap_or(0),
            bytes: response.content_length(),
            response,
        })
    }
}
