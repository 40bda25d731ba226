//! Calls to a program on this machine that speaks HTTP: the wake hook, or the agent itself.

use std::time::Duration;

use reqwest::Client;
use reqwest::header::CONTENT_TYPE;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Posts JSON documents. No proxy and no redirect is followed: the call goes where the
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
    /// What went wrong, for the log: no answer in time, a status other than 2xx, too long a body.
    pub(super) async fn post(
        &self,
        url: &str,
        document: &serde_json::Value,
        limit: Duration,
        max_bytes: usize,
    ) -> Result<Vec<u8>, String> {
        let call = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(document.to_string())
            .timeout(limit)
            .send();
        let mut response = call.await.map_err(|error| root_cause(&error))?;
        if !response.status().is_success() {
            return Err(format!("{url} answered with {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| root_cause(&error))? {
            if body.len() + chunk.len() > max_bytes {
                return Err(format!("the answer of {url} is over {max_bytes} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// The innermost error says what happened; those around it say where in the client.
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return String::from("there was no answer in time");
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
