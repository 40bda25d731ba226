//! How a call is made, and what becomes of its answer.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ApiClient, ClientError};
use crate::api::body::WAIT_MAX_MS;
use crate::api::problem::Problem;

/// Longer than the server's own limit, so that its answer comes first.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// The same for requests that take as long as a peer needs.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(85);
/// What a request that waits may take beyond its wait.
pub(super) const WAIT_SLACK: Duration = Duration::from_secs(20);
/// The largest answer is the list of all tasks.
const ANSWER_MAX_BYTES: usize = 256 * 1024 * 1024;

impl ApiClient {
    pub(super) async fn fetch<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        json(self.got(self.url(path, query), ANSWER_TIMEOUT).await?).await
    }

    pub(super) async fn wait_at<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        wait: Duration,
    ) -> Result<T, ClientError> {
        let wait = wait.min(Duration::from_millis(WAIT_MAX_MS));
        let mut url = self.url(path, query);
        url.query_pairs_mut()
            .append_pair("wait_ms", &wait.as_millis().to_string());
        json(self.got(url, wait + WAIT_SLACK).await?).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: Option<&impl Serialize>,
        limit: Duration,
    ) -> Result<T, ClientError> {
        json(self.posted(path, body, limit).await?).await
    }

    /// Posts what is answered without content.
    pub(super) async fn tell(
        &self,
        path: &[&str],
        body: Option<&impl Serialize>,
        limit: Duration,
    ) -> Result<(), ClientError> {
        let response = self.posted(path, body, limit).await?;
        accepted(response).await.map(drop)
    }

    async fn posted(
        &self,
        path: &[&str],
        body: Option<&impl Serialize>,
        limit: Duration,
    ) -> Result<Response, ClientError> {
        let request = self.http.request(Method::POST, self.url(path, &[]));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        send(request, limit).await
    }

    /// What is answered by something else than JSON.
    pub(super) async fn fetch_raw(&self, path: &[&str]) -> Result<Response, ClientError> {
        accepted(self.got(self.url(path, &[]), ANSWER_TIMEOUT).await?).await
    }

    /// What is text.
    pub(super) async fn text(&self, path: &[&str]) -> Result<String, ClientError> {
        String::from_utf8(read(self.fetch_raw(path).await?).await?)
            .map_err(|_| ClientError::Other("the node gave a text that is none".into()))
    }

    pub(super) async fn got(&self, url: Url, limit: Duration) -> Result<Response, ClientError> {
        send(self.http.request(Method::GET, url), limit).await
    }

    pub(super) fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an http URL has a path")
            .clear()
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

async fn send(request: RequestBuilder, limit: Duration) -> Result<Response, ClientError> {
    request
        .timeout(limit)
        .send()
        .await
        .map_err(|error| failed(&error))
}

pub(super) fn failed(error: &reqwest::Error) -> ClientError {
    if error.is_timeout() {
        ClientError::Timeout
    } else if error.is_connect() {
        ClientError::NotRunning
    } else {
        ClientError::Other(format!(
            "the connection to the node broke: {}",
            root_cause(error)
        ))
    }
}

/// The innermost error says what happened; those around it say where in the client.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The response, unless it is a refusal.
pub(super) async fn accepted(response: Response) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = read(response).await?;
    Err(match serde_json::from_slice::<Problem>(&body) {
        Ok(Problem { code, detail, .. }) => ClientError::Problem {
            code,
            detail,
            status: status.as_u16(),
        },
        Err(_) => not_a_node(status),
    })
}

fn not_a_node(status: StatusCode) -> ClientError {
    ClientError::Other(format!(
        "something that is not a Junto node answered with {status}"
    ))
}

pub(super) async fn json<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let response = accepted(response).await?;
    let status = response.status();
    serde_json::from_slice(&read(response).await?).map_err(|_| not_a_node(status))
}

pub(super) async fn read(mut response: Response) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
        if body.len() + chunk.len() > ANSWER_MAX_BYTES {
            let text = format!("the node's answer is over {ANSWER_MAX_BYTES} bytes");
            return Err(ClientError::Other(text));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
