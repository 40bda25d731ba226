//! The API from the other side: what the command line and the testnet ask a running node with.
//!
//! Every call ends: connecting is bounded by `CONNECT_TIMEOUT`, an answer by its route's time,
//! its size by `ANSWER_MAX_BYTES`. No proxy and no redirect is ever followed with the token.

use std::fmt::Display;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, header};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body::{
    AliveBody, BenchBody, HealthView, InboxParams, MessageBody, PingBody, ReplyBody, ReportBody,
    RotateBody, SpokenBody, StatsView, SubmitBody, TalkBody, TransferBody, WAIT_MAX_MS, WakeBody,
};
use super::problem::Problem;
use super::{ATTEMPTS_HEADER, WORKER_HEADER};
use crate::proto::node::{
    EntryView, FingerprintView, IdentityView, MessageView, PeerStatusView, PeerView, PongView,
    StatusView, TaskView, TransferView, WakeView,
};
use crate::runtime::AliveView;
use crate::runtime::bench::Measured;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the server's own limit, so that its answer comes first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// The same for requests that take as long as a peer needs.
const PING_TIMEOUT: Duration = Duration::from_secs(85);
/// What a request that waits may take beyond its wait.
const WAIT_SLACK: Duration = Duration::from_secs(20);
/// Shorter than the server's patience with silent connections.
const POOL_IDLE: Duration = Duration::from_secs(30);
/// The largest answer is the list of all tasks.
const ANSWER_MAX_BYTES: usize = 256 * 1024 * 1024;

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

/// What a completed task came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskOutput {
    /// The worker's entity id.
    pub worker: Option<String>,
    pub attempts: usize,
    pub result: Vec<u8>,
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

    /// Whether the API answers.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn health(&self) -> Result<HealthView, ClientError> {
        self.fetch(&["health"], &[]).await
    }

    /// Who the node is.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn public_key(&self) -> Result<IdentityView, ClientError> {
        self.fetch(&["public-key"], &[]).await
    }

    /// The description of the API.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn openapi(&self) -> Result<serde_json::Value, ClientError> {
        self.fetch(&["openapi.json"], &[]).await
    }

    /// The node as a whole.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<StatusView, ClientError> {
        self.fetch(&["v1", "status"], &[]).await
    }

    /// The node in numbers.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stats(&self) -> Result<StatsView, ClientError> {
        self.fetch(&["stats"], &[]).await
    }

    /// The peers it knows.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn peers(&self) -> Result<Vec<PeerView>, ClientError> {
        self.fetch(&["v1", "peers"], &[]).await
    }

    /// The registry's entries; only those offering `capability` if one is named.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn registry(&self, capability: Option<&str>) -> Result<Vec<EntryView>, ClientError> {
        let query: Vec<_> = capability
            .map(|name| ("capability", name))
            .into_iter()
            .collect();
        self.fetch(&["v1", "registry"], &query).await
    }

    /// How a peer is, asked for now.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn peer_status(&self, peer: &str) -> Result<PeerStatusView, ClientError> {
        self.fetch(&["v1", "peers", peer, "status"], &[]).await
    }

    /// Puts the node's next key into use. `passphrase` is the key file's, if it has one.
    ///
    /// # Errors
    /// See [`ClientError`]; the code `invalid` when the passphrase is wrong.
    pub async fn rotate_key(
        &self,
        passphrase: Option<&str>,
    ) -> Result<FingerprintView, ClientError> {
        let body = RotateBody {
            passphrase: passphrase.map(str::to_owned),
        };
        self.post(&["v1", "key", "rotate"], Some(&body), ANSWER_TIMEOUT)
            .await
    }

    /// Whose key is whose: a peer's, or the node's own.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn fingerprint(&self, peer: Option<&str>) -> Result<FingerprintView, ClientError> {
        let query: Vec<_> = peer.map(|peer| ("peer", peer)).into_iter().collect();
        self.fetch(&["v1", "key", "fingerprint"], &query).await
    }

    /// Pings a peer `count` times.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn ping(&self, peer: &str, count: u8) -> Result<PongView, ClientError> {
        let body = PingBody {
            peer: peer.to_owned(),
            count,
        };
        self.post(&["v1", "ping"], Some(&body), PING_TIMEOUT).await
    }

    /// Has the node measure the way to a peer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn bench(&self, order: &BenchBody) -> Result<Measured, ClientError> {
        self.post(&["v1", "bench"], Some(order), PING_TIMEOUT).await
    }

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
        let url = self.url(&["v1", "tasks", &id.to_string(), "result"], &[]);
        let request = self.http.request(Method::GET, url);
        let response = accepted(send(request, ANSWER_TIMEOUT).await?).await?;
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

    /// Wakes a peer's agent.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn wake(&self, wake: &WakeBody) -> Result<WakeView, ClientError> {
        self.post(&["v1", "wake"], Some(wake), ANSWER_TIMEOUT).await
    }

    /// Whether a peer is there.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn alive(&self, peer: &str) -> Result<AliveView, ClientError> {
        let body = AliveBody {
            peer: peer.to_owned(),
        };
        self.post(&["v1", "alive"], Some(&body), PING_TIMEOUT).await
    }

    /// Says something to a peer's agent and awaits its reply.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn talk(&self, talk: &TalkBody) -> Result<SpokenBody, ClientError> {
        let limit = Duration::from_millis(talk.timeout_ms) + WAIT_SLACK;
        self.post(&["v1", "talk"], Some(talk), limit).await
    }

    /// Tells a peer's agent something.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn report(&self, report: &ReportBody) -> Result<(), ClientError> {
        let limit = Duration::from_millis(report.timeout_ms) + WAIT_SLACK;
        self.tell(&["v1", "report"], Some(report), limit).await
    }

    /// What shows a message to a third party.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn proof(&self, id: impl Display) -> Result<String, ClientError> {
        let url = self.url(&["v1", "inbox", &id.to_string(), "proof"], &[]);
        let request = self.http.request(Method::GET, url);
        let response = accepted(send(request, ANSWER_TIMEOUT).await?).await?;
        String::from_utf8(read(response).await?)
            .map_err(|_| ClientError::Other("the node gave a proof that is no text".into()))
    }

    /// The messages for our agent that `params` asks for.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn inbox(&self, params: &InboxParams) -> Result<Vec<MessageView>, ClientError> {
        let wait = Duration::from_millis(params.wait_ms.unwrap_or(0).min(WAIT_MAX_MS));
        let mut url = self.url(&["v1", "inbox"], &[]);
        url.query_pairs_mut().extend_pairs(params.pairs());
        let request = self.http.request(Method::GET, url);
        json(send(request, wait + ANSWER_TIMEOUT).await?).await
    }

    /// One message with its body.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn message(&self, id: impl Display) -> Result<MessageBody, ClientError> {
        self.fetch(&["v1", "inbox", &id.to_string()], &[]).await
    }

    /// Answers a talk.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn reply(&self, id: impl Display, reply: &ReplyBody) -> Result<(), ClientError> {
        let path = ["v1", "inbox", &id.to_string(), "reply"];
        self.tell(&path, Some(reply), ANSWER_TIMEOUT).await
    }

    /// Acknowledges a message.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn acknowledge(&self, id: impl Display) -> Result<(), ClientError> {
        let path = ["v1", "inbox", &id.to_string(), "ack"];
        self.tell(&path, None::<&()>, ANSWER_TIMEOUT).await
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

    /// Posts what is answered without content.
    async fn tell(
        &self,
        path: &[&str],
        body: Option<&impl Serialize>,
        limit: Duration,
    ) -> Result<(), ClientError> {
        let request = self.http.request(Method::POST, self.url(path, &[]));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        accepted(send(request, limit).await?).await.map(drop)
    }

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

    async fn fetch<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        let request = self.http.request(Method::GET, self.url(path, query));
        json(send(request, ANSWER_TIMEOUT).await?).await
    }

    async fn wait_at<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        wait: Duration,
    ) -> Result<T, ClientError> {
        let wait = wait.min(Duration::from_millis(WAIT_MAX_MS));
        let mut url = self.url(path, query);
        url.query_pairs_mut()
            .append_pair("wait_ms", &wait.as_millis().to_string());
        json(send(self.http.request(Method::GET, url), wait + WAIT_SLACK).await?).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: Option<&impl Serialize>,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let request = self.http.request(Method::POST, self.url(path, &[]));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        json(send(request, limit).await?).await
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
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

async fn send(request: RequestBuilder, limit: Duration) -> Result<Response, ClientError> {
    request
        .timeout(limit)
        .send()
        .await
        .map_err(|error| failed(&error))
}

fn failed(error: &reqwest::Error) -> ClientError {
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
async fn accepted(response: Response) -> Result<Response, ClientError> {
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

async fn json<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let response = accepted(response).await?;
    let status = response.status();
    serde_json::from_slice(&read(response).await?).map_err(|_| not_a_node(status))
}

async fn read(mut response: Response) -> Result<Vec<u8>, ClientError> {
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
