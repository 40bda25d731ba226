//! The routes. Each turns a request into a command, and the reply into JSON; deciding is the
//! node's.

mod bench;
mod drain;
mod events;
mod feed;
mod inbox;
mod key;
mod message;
mod metrics;
mod named;
mod node;
mod payloads;
mod talk;
mod tasks;
mod transfers;
mod wake;
mod webhook;
mod work;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::WAIT_MAX_MS;
use super::callers::Callers;
use super::guard::{REQUEST_TIMEOUT, WAIT_TIMEOUT, limit_time};
use super::openapi::{Description, describe_refusals};
use super::problem::{Refusal, Refused};
use super::waits::Waits;
use crate::proto::node::{Command, Reply};

use crate::runtime::Handle;

/// What every route works with.
#[derive(Clone)]
pub(super) struct ApiState {
    handle: Handle,
    waits: Arc<Waits>,
    callers: Arc<Callers>,
    /// Room for streams of events.
    streams: Arc<Semaphore>,
    /// Room for payloads that are handed over.
    uploads: Arc<Semaphore>,
    /// Whether only this machine can reach the API.
    private: bool,
    /// The description of the API, as sent.
    description: Arc<str>,
    /// Cancelled when the server shuts down: whoever waits for news is answered then.
    stop: CancellationToken,
}

impl ApiState {
    /// Asks the node.
    async fn call(&self, command: Command) -> Result<Reply, Refused> {
        self.handle.call(command).await.map_err(Refused::from)
    }

    /// What `news` comes to, or nothing when it does not come in time.
    async fn wait<T>(&self, wait_ms: Option<u64>, news: impl Future<Output = T>) -> Option<T> {
        let limit = Duration::from_millis(wait_ms.unwrap_or(0).min(WAIT_MAX_MS));
        tokio::select! {
            biased;
            came = news => Some(came),
            () = self.stop.cancelled() => None,
            () = tokio::time::sleep(limit) => None,
        }
    }
}

/// All routes, answering through `handle` until `stop`.
pub(super) fn router(handle: Handle, private: bool, stop: CancellationToken) -> Router {
    let (routes, mut description) = described_routes().split_for_parts();
    describe_refusals(&mut description);
    // A description of strings and numbers always has a JSON form.
    let description = serde_json::to_string(&description)
        .unwrap_or_default()
        .into();
    let waits = Arc::new(Waits::new(handle.clone()));
    routes
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(ApiState {
            handle,
            waits,
            callers: Arc::default(),
            streams: Arc::new(Semaphore::new(events::STREAMS_MAX)),
            uploads: Arc::new(Semaphore::new(payloads::UPLOADS_MAX)),
            private,
            description,
            stop,
        })
}

fn described_routes() -> OpenApiRouter<ApiState> {
    let at_once = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(node::health))
        .routes(routes!(node::public_key))
        .routes(routes!(message::message))
        .routes(routes!(node::openapi))
        .routes(routes!(node::stats))
        .routes(routes!(metrics::metrics))
        .routes(routes!(node::peers))
        .routes(routes!(node::peers_v1))
        .routes(routes!(node::status))
        .routes(routes!(node::registry))
        .routes(routes!(tasks::submit, tasks::list))
        .routes(routes!(tasks::submit_many))
        .routes(routes!(tasks::result))
        .routes(routes!(tasks::proof))
        .routes(routes!(tasks::cancel))
        .routes(routes!(tasks::resubmit))
        .routes(routes!(tasks::drop_input))
        .routes(routes!(drain::drain, drain::drained))
        .routes(routes!(payloads::input))
        .routes(routes!(work::extend))
        .routes(routes!(work::complete))
        .routes(routes!(work::fail))
        .routes(routes!(webhook::webhook))
        .routes(routes!(transfers::send, transfers::list))
        .routes(routes!(transfers::cancel))
        .routes(routes!(wake::wake, wake::received))
        .routes(routes!(inbox::show))
        .routes(routes!(inbox::reply))
        .routes(routes!(inbox::acknowledge))
        .routes(routes!(inbox::proof))
        .routes(routes!(wake::resumed_newest))
        .routes(routes!(wake::resumed))
        .routes(routes!(key::rotate))
        .routes(routes!(key::fingerprint))
        .layer(middleware::from_fn_with_state(REQUEST_TIMEOUT, limit_time));
    let waiting = OpenApiRouter::new()
        .routes(routes!(node::ping))
        .routes(routes!(node::peer_status))
        .routes(routes!(bench::bench))
        .routes(routes!(node::alive))
        .routes(routes!(inbox::list))
        .routes(routes!(talk::talk))
        .routes(routes!(talk::report))
        .routes(routes!(tasks::show))
        .routes(routes!(events::events))
        .routes(routes!(feed::feed))
        .routes(routes!(work::claim))
        .routes(routes!(transfers::show))
        .routes(routes!(wake::phase))
        .layer(middleware::from_fn_with_state(WAIT_TIMEOUT, limit_time));
    // These take as long as their bytes, and are ended when none comes.
    let streaming = OpenApiRouter::new().routes(routes!(payloads::upload));
    at_once.merge(waiting).merge(streaming)
}

async fn no_such_route(uri: Uri) -> Refused {
    let path = uri.path();
    Refusal::NoSuchRoute.because(format!(
        "there is no {path}: GET /openapi.json lists all routes"
    ))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Refused {
    Refusal::MethodNotAllowed.because(format!(
        "{} does not take {method}: see the Allow header",
        uri.path()
    ))
}
