//! Files sent and received.

use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use uuid::Uuid;

use super::ApiState;
use super::named::peer_named;
use crate::api::body::{TransferBody, TransferParams};
use crate::api::extract::{JsonBody, Params, PathId};
use crate::api::openapi::NoSuchPeer;
use crate::api::problem::{PROBLEM_JSON, Problem, Refused};
use crate::api::waits::News;
use crate::proto::node::{Command, NewTransfer, Reply, TransferView};
use crate::types::TransferId;

/// Send a file
///
/// The path is one on the node's machine. Answered once the order is durable; follow it with
/// `GET /v1/transfers/{id}`. To repeat a request whose answer was lost, send the same `id` again.
/// The same file sent to the same peer again, under the same name, goes on where an unfinished
/// transfer stopped.
#[utoipa::path(post, path = "/v1/transfers", tag = "transfers", request_body = TransferBody,
    responses(
        (status = 202, description = "It is on its way", body = TransferView,
            headers(("Location" = String, description = "Where to follow it"))),
        NoSuchPeer,
        (status = 503, description = "Try again after `Retry-After` (`queue_full`, `busy`), or \
            the node is stopping (`stopping`)", body = Problem, content_type = PROBLEM_JSON),
        (status = 507, description = "The disk refuses writes (`storage`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn send(
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<TransferBody>,
) -> Result<impl IntoResponse, Refused> {
    let id = TransferId(body.id.unwrap_or_else(Uuid::now_v7));
    let location = HeaderValue::try_from(format!("/v1/transfers/{id}")).expect("a UUID is ASCII");
    let new = NewTransfer {
        id,
        peer: peer_named("peer", &body.peer)?,
        path: body.path,
        name: body.name,
    };
    let view = transfer_of(state.call(Command::SendFile(new)).await?)?;
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(view)))
}

/// Files sent and received, the oldest first
#[utoipa::path(get, path = "/v1/transfers", tag = "transfers",
    responses((status = 200, description = "The transfers", body = [TransferView])))]
pub(super) async fn list(
    State(state): State<ApiState>,
) -> Result<Json<Vec<TransferView>>, Refused> {
    match state.call(Command::Transfers).await? {
        Reply::Transfers(transfers) => Ok(Json(transfers)),
        _ => Err(Refused::unexpected_reply("transfers")),
    }
}

/// One transfer, now or at its next change
#[utoipa::path(get, path = "/v1/transfers/{id}", tag = "transfers",
    params(("id" = Uuid, Path, description = "The transfer's id"), TransferParams),
    responses(
        (status = 200, description = "The transfer", body = TransferView),
        (status = 404, description = "No such transfer (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn show(
    State(state): State<ApiState>,
    PathId(id): PathId<TransferId>,
    Params(params): Params<TransferParams>,
) -> Result<Json<TransferView>, Refused> {
    if params.seen.is_some() && params.wait_ms.is_some_and(|wait_ms| wait_ms > 0) {
        let news = state.waits.answer(News::Transfer(id, params.seen));
        if let Some(changed) = state.wait(params.wait_ms, news).await {
            return transfer_of(changed?).map(Json);
        }
    }
    let now = Command::AwaitTransfer { id, seen: None };
    transfer_of(state.call(now).await?).map(Json)
}

/// Give a transfer up
///
/// The other side is told. What had arrived is deleted; a file that is complete stays.
#[utoipa::path(post, path = "/v1/transfers/{id}/cancel", tag = "transfers",
    params(("id" = Uuid, Path, description = "The transfer's id")),
    responses(
        (status = 200, description = "The transfer", body = TransferView),
        (status = 404, description = "No such transfer (`not_found`)",
            body = Problem, content_type = PROBLEM_JSON),
        (status = 507, description = "The disk refuses writes (`storage`)",
            body = Problem, content_type = PROBLEM_JSON),
    ))]
pub(super) async fn cancel(
    State(state): State<ApiState>,
    PathId(id): PathId<TransferId>,
) -> Result<Json<TransferView>, Refused> {
    transfer_of(state.call(Command::CancelTransfer(id)).await?).map(Json)
}

fn transfer_of(reply: Reply) -> Result<TransferView, Refused> {
    match reply {
        Reply::Transfer(view) => Ok(*view),
        _ => Err(Refused::unexpected_reply("transfer")),
    }
}
