//! Who may come in. Every request passes here before any route sees it.
//!
//! Invariants
//! 1. Without the token nothing but [`OPEN_PATHS`] is answered; a run that has a pass is answered what
//!    concerns the parts of its task (`parts`).
//! 2. A request whose `Host` is not this machine is refused: a web page that points its own name
//!    at 127.0.0.1 (DNS rebinding) gets nothing, not even the open paths.
//! 3. A request from a web page of another origin is refused, and no CORS header is ever sent.
//!
//! Bounds: a body of [`BODY_MAX_BYTES`]; [`REQUEST_TIMEOUT`] for a request, [`WAIT_TIMEOUT`] for
//! one that waits for news. A handler that panics costs one request, not the node.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use tower_http::catch_panic::CatchPanicLayer;

use super::extract::body_too_large;
use super::parts::{OfRun, admit_run};
use super::problem::{Refusal, Refused};
use super::token::ApiToken;
use crate::runtime::Handle;

/// The largest body: one task's input in base64, with room to spare.
pub(super) const BODY_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Where payloads are put.
const PAYLOADS_PATH: &str = "/v1/payloads";
/// What answers without a token.
pub(super) const OPEN_PATHS: [&str; 3] = ["/health", "/public-key", "/message"];
/// For requests that are answered at once.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// For requests that wait for news: the longest wait, and time to answer after it.
pub(super) const WAIT_TIMEOUT: Duration = Duration::from_secs(80);

/// A refused body of up to this size is read to its end, so that its sender, who may read nothing
/// before it has written everything, gets the answer rather than a broken connection.
const DRAIN_MAX_BYTES: u64 = 16 * 1024 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What a request is measured against.
pub(super) struct Guard {
    token: ApiToken,
    bound: SocketAddr,
    /// The node that knows which runs have a pass.
    runs: Option<Handle>,
}

impl Guard {
    /// A guard for the API that listens at `bound`.
    pub(super) fn new(token: ApiToken, bound: SocketAddr) -> Guard {
        Guard {
            token,
            bound,
            runs: None,
        }
    }

    /// Runs of this node come in, too, with their passes.
    pub(super) fn for_runs(self, node: Handle) -> Guard {
        Guard {
            runs: Some(node),
            ..self
        }
    }

    /// Puts the guard around everything in `routes`.
    pub(super) fn around(self, routes: Router) -> Router {
        routes
            .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(middleware::from_fn_with_state(Arc::new(self), admit))
    }

    /// Whose run it is that asks, if it is one.
    async fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<OfRun, Refused> {
        let host = self.check_host(uri, headers)?;
        check_origin(host, headers)?;
        if OPEN_PATHS.contains(&uri.path()) {
            return Ok(OfRun(None));
        }
        if let Some(node) = &self.runs
            && let Some(key) =
                bearer(headers).and_then(|pass| node.passes().bearer(pass.as_bytes()))
        {
            admit_run(node, key, method, uri.path()).await?;
            return Ok(OfRun(Some(key)));
        }
        self.check_token(headers).map(|()| OfRun(None))
    }

    /// The `Host` header, when it names this machine.
    fn check_host<'a>(&self, uri: &Uri, headers: &'a HeaderMap) -> Result<&'a str, Refused> {
        let host = only(headers, header::HOST)
            .flatten()
            .filter(|host| host.parse().is_ok_and(|host| self.is_here(&host)));
        match (host, uri.authority()) {
            (Some(host), None) => Ok(host),
            (Some(host), Some(target)) if self.is_here(target) => Ok(host),
            _ => Err(Refusal::HostNotAllowed.because(
                "the Host header does not name this machine: use 127.0.0.1, localhost, [::1] or \
                 the address that the API listens on",
            )),
        }
    }

    /// Only a *name* can be made to point here by somebody else, so an address is safe as soon as
    /// we listen on it. The port is free: it may be forwarded.
    fn is_here(&self, authority: &Authority) -> bool {
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(ip) => {
                let (ip, bound) = (ip.to_canonical(), self.bound.ip().to_canonical());
                ip.is_loopback() || ip == bound || bound.is_unspecified()
            }
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refused> {
        match bearer(headers) {
            Some(token) if self.token.matches(token.as_bytes()) => Ok(()),
            Some(_) => Err(Refusal::Unauthorized
                .because("the token is wrong: take the one in the node's api.token file")),
            None => Err(Refusal::Unauthorized.because(
                "send the header Authorization: Bearer TOKEN, with the token in the node's \
                 api.token file",
            )),
        }
    }
}

/// The token that a request came with.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    only(headers, header::AUTHORIZATION)
        .flatten()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
}

/// A page of the same origin is all that may call from a browser: the origin is that of `host`.
fn check_origin(host: &str, headers: &HeaderMap) -> Result<(), Refused> {
    let same = match only(headers, header::ORIGIN) {
        Some(None) => true,
        Some(Some(origin)) => origin
            .split_once("://")
            .is_some_and(|(scheme, rest)| scheme == "http" && rest.eq_ignore_ascii_case(host)),
        None => false,
    };
    if same {
        return Ok(());
    }
    Err(Refusal::OriginNotAllowed.because("a web page of another origin may not use this API"))
}

/// A header that may stand once: `None` when it stands twice or is not text, `Some(None)` when it
/// is not there.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<Option<&str>> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Some(None),
        (Some(value), None) => Some(Some(value.to_str().ok()?)),
        (Some(_), Some(_)) => None,
    }
}

async fn admit(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let checked = guard.check(&method, request.uri(), request.headers());
    let mut response = match checked.await {
        Err(refused) => refused.into_response(),
        // A payload is no document: it goes to the disk as it comes, up to a limit of its own.
        Ok(_) if method == Method::PUT && path == PAYLOADS_PATH => next.run(request).await,
        Ok(_) if announced_bytes(request.headers()) > BODY_MAX_BYTES as u64 => {
            drain(request).await;
            body_too_large().into_response()
        }
        Ok(run) => {
            request.extensions_mut().insert(run);
            next.run(request).await
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    tracing::debug!(%method, path, status = response.status().as_u16(), "api request");
    response
}

fn announced_bytes(headers: &HeaderMap) -> u64 {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse().ok()).unwrap_or(0)
}

async fn drain(request: Request<Body>) {
    let headers = request.headers();
    // Who expects 100-continue waits for our answer before the body: there is nothing to read.
    if headers.contains_key(header::EXPECT) || announced_bytes(headers) > DRAIN_MAX_BYTES {
        return;
    }
    let mut body = request.into_body().into_data_stream();
    let read = async { while let Some(Ok(_)) = body.next().await {} };
    // Cut or not, the answer is the same.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, read).await;
}

/// Ends a request that takes longer than `limit`.
pub(super) async fn limit_time(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::Timeout
            .because(format!("no answer within {} s: try again", limit.as_secs()))
            .into_response(),
    }
}

/// The panic itself was already reported by the panic hook.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Refusal::Internal
        .because("the node made a mistake while it answered: its log says more")
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(bound: &str) -> Guard {
        Guard::new(ApiToken::generate().unwrap(), bound.parse().unwrap())
    }

    fn is_here(bound: &str, host: &str) -> bool {
        host.parse().is_ok_and(|host| guard(bound).is_here(&host))
    }

    #[test]
    fn loopback_and_the_bound_address_are_here_and_names_are_not() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:80",
            "localhost:9",
            "LOCALHOST",
            "[::1]:9",
            "[::1]",
        ] {
            assert!(is_here("127.0.0.1:9", host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "localhost.",
            "192.168.1.2",
            "127.0.0.1.nip.io",
            "user@127.0.0.1",
            "127.0.0.1@evil.example",
            "[::2]",
            "",
        ] {
            assert!(!is_here("127.0.0.1:9", host), "{host}");
        }
        assert!(is_here("192.168.1.2:9", "192.168.1.2:9"));
        assert!(!is_here("192.168.1.2:9", "192.168.1.3:9"));
        assert!(is_here("0.0.0.0:9", "192.168.1.3:9"));
        assert!(!is_here("0.0.0.0:9", "node.example:9"));
        assert!(is_here("[::]:9", "[fe80::1]:9"));
    }

    #[test]
    fn a_header_that_stands_twice_counts_as_wrong() {
        let mut headers = HeaderMap::new();
        assert_eq!(only(&headers, header::ORIGIN), Some(None));
        headers.append(
            header::ORIGIN,
            HeaderValue::from_static("http://127.0.0.1:9"),
        );
        assert!(check_origin("127.0.0.1:9", &headers).is_ok());
        assert!(check_origin("127.0.0.1:8", &headers).is_err());
        headers.append(
            header::ORIGIN,
            HeaderValue::from_static("http://127.0.0.1:9"),
        );
        assert_eq!(only(&headers, header::ORIGIN), None);
        assert!(check_origin("127.0.0.1:9", &headers).is_err());
    }
}
