//! Calls to a program on this machine that speaks HTTP: the wake hook, the agent itself, or whoever
//! does tasks.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Client, Response, StatusCode};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of a refusal's body is read.
const REFUSAL_MAX_BYTES: usize = 64 * 1024;

/// What came of posting a task's input.
#[derive(Debug)]
pub(super) enum Answer {
    /// It was taken: the body is the result.
    Result(Response),
    /// No connection could be made: nothing of it arrived.
    NotReached(String),
    /// It arrived, or may have; there is no whole answer.
    Broken(String),
    Refused {
        status: StatusCode,
        tail: Vec<u8>,
    },
}

/// Posts documents. No proxy and no redirect is followed: the call goes where the
/// configuration says, and nowhere else. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct HttpCaller {
    client: Client,
}

impl HttpCaller {
    pub(super) fn new() -> Result<HttpCaller, String> {
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| format!("there is no HTTP client: {error}"))?;
        Ok(HttpCaller { client })
    }

    /// Posts `document` and returns the body of the answer, at most `max_bytes` of it.
    ///
    /// # Errors
    /// What went wrong, for the log: no answer in time, a status other than 2xx, too long a body. It
    /// is told without the address, which may hold what only the other end should know.
    pub(super) async fn post(
        &self,
        url: &str,
        document: &serde_json::Value,
        limit: Duration,
        max_bytes: usize,
    ) -> Result<Vec<u8>, String> {
        let response = self.said(url, document.to_string(), &[], limit).await?;
        match read_body(response, max_bytes).await {
            Ok((body, true)) => Ok(body),
            Ok(_) => Err(format!("the answer is over {max_bytes} bytes")),
            Err(error) => Err(root_cause(&error.without_url())),
        }
    }

    /// Posts a JSON text that only wants to be heard: what is answered beside the status is not
    /// looked at.
    ///
    /// # Errors
    /// As [`HttpCaller::post`].
    pub(super) async fn tell(
        &self,
        url: &str,
        document: String,
        headers: &[(&'static str, String)],
        limit: Duration,
    ) -> Result<(), String> {
        self.said(url, document, headers, limit).await.map(drop)
    }

    /// The answer, once its status says that it was taken.
    async fn said(
        &self,
        url: &str,
        document: String,
        headers: &[(&'static str, String)],
        limit: Duration,
    ) -> Result<Response, String> {
        let call = self.client.post(url);
        let call = headers
            .iter()
            .fold(call, |call, (name, value)| call.header(*name, value));
        let call = call
            .header(CONTENT_TYPE, "application/json")
            .body(document)
            .timeout(limit)
            .send();
        let response = call
            .await
            .map_err(|error| root_cause(&error.without_url()))?;
        if !response.status().is_success() {
            return Err(format!("the answer was {}", response.status()));
        }
        Ok(response)
    }

    /// Posts a task's input as it is. Dropping the future closes the connection.
    pub(super) async fn post_input(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        input: Body,
    ) -> Answer {
        let mut call = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(input);
        for (name, value) in headers {
            let Ok(mut value) = HeaderValue::from_str(value) else {
                return Answer::Broken(format!("{name} cannot be a header"));
            };
            // No log of the client's is to have it.
            value.set_sensitive(name.ends_with("-token"));
            call = call.header(*name, value);
        }
        let response = match call.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Answer::NotReached(root_cause(&error)),
            Err(error) => return Answer::Broken(root_cause(&error)),
        };
        let status = response.status();
        if !status.is_success() {
            // A refusal without a whole body is still one.
            let read = read_body(response, REFUSAL_MAX_BYTES).await;
            let tail = read.map(|(body, _)| body).unwrap_or_default();
            return Answer::Refused { status, tail };
        }
        Answer::Result(response)
    }
}

/// The body up to `max_bytes`, and whether that is all of it.
async fn read_body(
    mut response: Response,
    max_bytes: usize,
) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > max_bytes {
            return Ok((body, false));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, true))
}

/// The innermost error says what happened; those around it say where in the client.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return String::from("there was no answer in time");
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
