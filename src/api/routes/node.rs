//! The node itself, and those it knows.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::ApiState;
use super::named::peer_named;
use crate::api::body::{
    AliveBody, HealthView, PING_COUNT_MAX, PingBody, RegistryParams, StatsView,
};
use crate::api::extract::{JsonBody, Params};
use crate::api::openapi::NoSuchPeer;
use crate::api::problem::{PROBLEM_JSON, Problem, Refused};
use crate::proto::node::{
    Command, CommandErrorCode, EntryView, IdentityView, NodeStats, PeerRef, PeerStatusView,
    PeerView, PongView, Reply, StatusView,
};
use crate::runtime::AliveView;

/// After so long no further ping is started: the request must end within its own limit.
const PING_BUDGET: Duration = Duration::from_secs(30);

/// Whether the API answers
///
/// Needs no token.
#[utoipa::path(get, path = "/health", tag = "node", security(()),
    responses((status = 200, description = "It does", body = HealthView)))]
pub(super) async fn health() -> Json<HealthView> {
    Json(HealthView {
        status: "ok".to_owned(),
    })
}

/// Who this node is
///
/// Needs no token.
#[utoipa::path(get, path = "/public-key", tag = "node", security(()),
    responses((status = 200, description = "Its identities", body = IdentityView)))]
pub(super) async fn public_key(
    State(state): State<ApiState>,
) -> Result<Json<IdentityView>, Refused> {
    match state.call(Command::Identity).await? {
        Reply::Identity(identity) => Ok(Json(*identity)),
        _ => Err(Refused::unexpected_reply("identity")),
    }
}

/// This description
#[utoipa::path(get, path = "/openapi.json", tag = "node",
    responses((status = 200, description = "OpenAPI", body = Object)))]
pub(super) async fn openapi(State(state): State<ApiState>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "application/json")],
        state.description.as_ref().to_owned(),
    )
}

/// The node as a whole
#[utoipa::path(get, path = "/v1/status", tag = "node",
    responses((status = 200, description = "Its state", body = StatusView)))]
pub(super) async fn status(State(state): State<ApiState>) -> Result<Json<StatusView>, Refused> {
    status_of(&state).await.map(Json)
}

/// The node in numbers
#[utoipa::path(get, path = "/stats", tag = "node",
    responses((status = 200, description = "Counts", body = StatsView)))]
pub(super) async fn stats(State(state): State<ApiState>) -> Result<Json<StatsView>, Refused> {
    let status = status_of(&state).await?;
    Ok(Json(StatsView::new(status, stats_of(&state).await?)))
}

/// The peers it knows, itself not among them
#[utoipa::path(get, path = "/peers", tag = "node",
    responses((status = 200, description = "All peers", body = [PeerView])))]
pub(super) async fn peers(State(state): State<ApiState>) -> Result<Json<Vec<PeerView>>, Refused> {
    match state.call(Command::Peers).await? {
        Reply::Peers(peers) => Ok(Json(peers)),
        _ => Err(Refused::unexpected_reply("peers")),
    }
}

/// The peers it knows, itself not among them
///
/// The same as `GET /peers`.
#[utoipa::path(get, path = "/v1/peers", tag = "node",
    responses((status = 200, description = "All peers", body = [PeerView])))]
pub(super) async fn peers_v1(state: State<ApiState>) -> Result<Json<Vec<PeerView>>, Refused> {
    peers(state).await
}

/// The registry's entries, its own included
#[utoipa::path(get, path = "/v1/registry", tag = "node", params(RegistryParams),
    responses((status = 200, description = "The entries", body = [EntryView])))]
pub(super) async fn registry(
    State(state): State<ApiState>,
    Params(params): Params<RegistryParams>,
) -> Result<Json<Vec<EntryView>>, Refused> {
    let offering = params.capability.map(|text| text.parse()).transpose();
    let offering = offering.map_err(|error| Refused::invalid("the query", error))?;
    match state.call(Command::Registry { offering }).await? {
        Reply::Registry(entries) => Ok(Json(entries)),
        _ => Err(Refused::unexpected_reply("registry")),
    }
}

/// How a peer is, asked for now
///
/// PEER is a unique name, a peer id or an entity id, or a part of either.
#[utoipa::path(get, path = "/v1/peers/{peer}/status", tag = "node",
    params(("peer" = String, Path, description = "The peer")),
    responses(
        (status = 200, description = "What it answered", body = PeerStatusView),
        NoSuchPeer,
        (status = 503, description = "It failed too often lately and is left alone for a while \
            (`circuit_open`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 504, description = "No answer (`unreachable`, `timeout`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn peer_status(
    State(state): State<ApiState>,
    Path(peer): Path<String>,
) -> Result<Json<PeerStatusView>, Refused> {
    let peer = peer_named("peer", &peer)?;
    match state.call(Command::PeerStatus(peer)).await? {
        Reply::PeerStatus(view) => Ok(Json(view)),
        _ => Err(Refused::unexpected_reply("peer status")),
    }
}

/// Ask a peer for a sign of life
///
/// Pings one after the other. A lost one ends it: `rtt_us` has those that were answered, and none
/// at all is the error `unreachable`.
#[utoipa::path(post, path = "/v1/ping", tag = "node", request_body = PingBody,
    responses(
        (status = 200, description = "It answered", body = PongView),
        NoSuchPeer,
        (status = 502, description = "It refused (`peer_refused`, with its `peer_code`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 504, description = "No answer (`unreachable`, `timeout`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn ping(
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<PingBody>,
) -> Result<Json<PongView>, Refused> {
    if !(1..=PING_COUNT_MAX).contains(&body.count) {
        let why = format!("{} is not within 1 and {PING_COUNT_MAX}", body.count);
        return Err(Refused::invalid("count", why));
    }
    let peer = peer_named("peer", &body.peer)?;
    let started = Instant::now();
    let mut pong = ping_once(&state, &peer).await??;
    for _ in 1..body.count {
        if started.elapsed() > PING_BUDGET {
            break;
        }
        match ping_once(&state, &peer).await? {
            Ok(next) => pong.rtt_us.extend(next.rtt_us),
            Err(Lost(_)) => break,
        }
    }
    Ok(Json(pong))
}

/// Whether a peer is there
///
/// What is known of it, and a ping that is sent now. That it does not answer is no error.
#[utoipa::path(post, path = "/v1/alive", tag = "node", request_body = AliveBody,
    responses(
        (status = 200, description = "Whether it answered", body = AliveView),
        NoSuchPeer,
    ))]
pub(super) async fn alive(
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<AliveBody>,
) -> Result<Json<AliveView>, Refused> {
    let peer = peer_named("peer", &body.peer)?;
    Ok(Json(state.handle.check_peer_alive(peer).await?))
}

/// A ping without an answer: after others with one it is a result, not an error.
struct Lost(Refused);

impl From<Lost> for Refused {
    fn from(Lost(refused): Lost) -> Refused {
        refused
    }
}

fn is_lost(code: CommandErrorCode) -> bool {
    matches!(
        code,
        CommandErrorCode::Unreachable | CommandErrorCode::PeerRefused
    )
}

async fn ping_once(state: &ApiState, peer: &PeerRef) -> Result<Result<PongView, Lost>, Refused> {
    match state.handle.call(Command::Ping(peer.clone())).await {
        Ok(Reply::Pong(pong)) => Ok(Ok(pong)),
        Ok(_) => Err(Refused::unexpected_reply("ping")),
        Err(error) if is_lost(error.code) => Ok(Err(Lost(error.into()))),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn status_of(state: &ApiState) -> Result<StatusView, Refused> {
    match state.call(Command::Status).await? {
        Reply::Status(status) => Ok(*status),
        _ => Err(Refused::unexpected_reply("status")),
    }
}

pub(super) async fn stats_of(state: &ApiState) -> Result<NodeStats, Refused> {
    match state.call(Command::Stats).await? {
        Reply::Stats(stats) => Ok(*stats),
        _ => Err(Refused::unexpected_reply("stats")),
    }
}
