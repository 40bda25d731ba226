//! The API from the other side: what the command line and the testnet ask a running node with.
//!
//! Every call ends: connecting is bounded by `CONNECT_TIMEOUT`, an answer by its route's time,
//! its size by `ANSWER_MAX_BYTES`. No proxy and no redirect is ever followed with the token.

mod http;
mod messages;
mod node;
mod payloads;
mod tasks;
mod transfers;
mod wakes;

use std::fmt::Display;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use reqwest::Url;

pub use self::payloads::ResultStream;
pub use self::tasks::TaskOutput;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than the server's patience with silent connections.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the address.
    #[error("no node is running here: start one with `junto up`")]
    NotRunning,
    /// The node refused.
    #[error("{detail}")]
    Problem {
        code: String,
        detail: String,
        status: u16,
    },
    /// No answer in time.
    #[error("the node did not answer in time: see `junto doctor`")]
    Timeout,
    /// Something else answers there, or the connection broke.
    #[error("{0}")]
    Other(String),
}

/// A running node, as its API shows it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ApiClient {
    http: reqwest::Client,
    base: Url,
}

impl ApiClient {
    /// A client for the API at `base`: `127.0.0.1:4001` or `http://127.0.0.1:4001`.
    ///
    /// # Errors
    /// When `base` is no HTTP address or `token` cannot stand in a header.
    pub fn new(base: impl Display, token: &str) -> Result<ApiClient, ClientError> {
        let base = base_url(&base.to_string())?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| ClientError::Other("the API token is damaged".to_owned()))?;
        bearer.set_sensitive(true);
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .default_headers(HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]))
            .build()
            .map_err(|error| ClientError::Other(format!("no HTTP client: {error}")))?;
        Ok(ApiClient { http, base })
    }
}

fn base_url(text: &str) -> Result<Url, ClientError> {
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let url = Url::parse(&full)
        .ok()
        .filter(|url| url.scheme() == "http" && url.has_host());
    url.ok_or_else(|| {
        ClientError::Other(format!(
            "{text:?} is no API address: use the form 127.0.0.1:4001"
        ))
    })
}
