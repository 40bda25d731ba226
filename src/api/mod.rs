//! L5: the local HTTP API, the one door through which command line, agents and other programs
//! reach a running node.
//!
//! It decides nothing: a request becomes a [`Command`](crate::proto::node::Command), the reply
//! becomes JSON. It listens on loopback unless told otherwise, and lets in only who knows the
//! token in the node's home (`guard`).
//!
//! Bounds: connections and their silence (`listener`), body size and time per request
//! (`guard`), questions that wait for news (`waits`), and five seconds to end.

pub mod body;
mod callers;
pub mod client;
mod extract;
mod guard;
mod listener;
mod openapi;
mod parts;
pub mod problem;
mod routes;
mod token;
mod waits;
mod words;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use tokio_util::sync::CancellationToken;

pub use client::{ApiClient, ClientError, TaskOutput};
pub use token::{ApiToken, TokenError};

use guard::Guard;
use listener::{BoundedListener, Remote};

use crate::runtime::Handle;

/// The worker of a result, beside its bytes.
const WORKER_HEADER: &str = "x-junto-worker";
/// How many attempts a result took, beside its bytes.
const ATTEMPTS_HEADER: &str = "x-junto-attempts";
/// Where the next page of a list begins.
const NEXT_HEADER: &str = "x-junto-next";
/// The number of the last event that a reader saw.
const LAST_EVENT_HEADER: &str = "last-event-id";
/// What a reader of a stream of events accepts.
const EVENT_STREAM: &str = "text/event-stream";
/// A task's id, for callers that send one with every kind of request.
const IDEMPOTENCY_HEADER: &str = "idempotency-key";

/// How long requests under way may take to end at shutdown.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no API.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Another program listens there.
    #[error(
        "the API address {0} is in use by another program: choose another with --api, or port 0 \
         for a free one"
    )]
    InUse(SocketAddr),
    /// Other machines could reach it, and nobody asked for that.
    #[error(
        "the API address {0} can be reached from other machines: use 127.0.0.1, or allow remote \
         access explicitly"
    )]
    NotLoopback(SocketAddr),
    /// The system refuses the address.
    #[error("the API cannot listen on {addr}: {source}")]
    Bind { addr: SocketAddr, source: io::Error },
    /// The system took the address back.
    #[error("the API stopped listening: {0}")]
    Serve(io::Error),
}

/// The API, with its address but not yet answering.
#[derive(Debug)]
pub struct ApiServer {
    listener: TcpListener,
    addr: SocketAddr,
}

impl ApiServer {
    /// Takes the address; port 0 takes a free one. Connections queue up until
    /// [`ApiServer::serve`].
    ///
    /// # Errors
    /// When the address is in use, refused by the system, or open to other machines without
    /// `allow_remote`.
    pub fn bind(listen: SocketAddr, allow_remote: bool) -> Result<ApiServer, ApiError> {
        if !allow_remote && !listen.ip().to_canonical().is_loopback() {
            return Err(ApiError::NotLoopback(listen));
        }
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ApiError::InUse(listen),
            _ => ApiError::Bind {
                addr: listen,
                source,
            },
        };
        let listener = TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(ApiServer { listener, addr })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers requests until `shutdown`, then lets those under way end, for
    /// five seconds at most; whoever waits for news is answered at once.
    ///
    /// # Errors
    /// When the system takes the address back.
    pub async fn serve(
        self,
        handle: Handle,
        token: ApiToken,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ApiError> {
        let stop = CancellationToken::new();
        let private = self.addr.ip().to_canonical().is_loopback();
        let routes = routes::router(handle.clone(), private, stop.clone());
        let guarded = Guard::new(token, self.addr).for_runs(handle).around(routes);
        self.serve_routes(guarded, stop, shutdown, SHUTDOWN_LIMIT)
            .await
    }

    async fn serve_routes(
        self,
        routes: Router,
        stop: CancellationToken,
        shutdown: impl Future<Output = ()> + Send,
        limit: Duration,
    ) -> Result<(), ApiError> {
        let listener = tokio::net::TcpListener::from_std(self.listener).map_err(ApiError::Serve)?;
        // Should this future be dropped, nothing waits on behind it.
        let _stop_at_drop = stop.clone().drop_guard();
        let routes = routes.into_make_service_with_connect_info::<Remote>();
        let serving = axum::serve(BoundedListener::new(listener), routes)
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        let mut serving = pin!(serving.into_future());
        tokio::select! {
            ended = &mut serving => return ended.map_err(ApiError::Serve),
            () = shutdown => stop.cancel(),
        }
        match tokio::time::timeout(limit, serving).await {
            Ok(ended) => ended.map_err(ApiError::Serve),
            Err(_) => {
                tracing::warn!("the API ended with requests still under way");
                Ok(())
            }
        }
    }
}
