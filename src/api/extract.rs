//! Reads requests strictly: what is not understood is refused with what and where, never guessed.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::guard::BODY_MAX_BYTES;
use super::problem::{Refusal, Refused};
use super::words;

/// A JSON body. A request that names no content type is taken for JSON.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        if !may_be_json(request.headers()) {
            return Err(not_json());
        }
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|error| unread(&error))?;
        read(&body).map(JsonBody)
    }
}

/// The same, where no body says nothing.
pub(super) struct MaybeBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeBody<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let json = may_be_json(request.headers());
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|error| unread(&error))?;
        match body.is_empty() {
            true => Ok(MaybeBody(T::default())),
            false if json => read(&body).map(MaybeBody),
            false => Err(not_json()),
        }
    }
}

fn not_json() -> Refused {
    Refusal::UnsupportedMediaType
        .because("send the body as JSON, with the header Content-Type: application/json")
}

/// One document and nothing behind it.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    let mut document = serde_json::Deserializer::from_slice(body);
    let refused = |path: &str, error: &serde_json::Error| {
        let what = words::plain(path, &error.to_string());
        Refusal::InvalidJson.because(format!("the body: {what}"))
    };
    let value = serde_path_to_error::deserialize(&mut document)
        .map_err(|error| refused(&error.path().to_string(), error.inner()))?;
    document.end().map_err(|error| refused("", &error))?;
    Ok(value)
}

fn may_be_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let Ok(text) = value.to_str() else {
        return false;
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn unread(error: &BytesRejection) -> Refused {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return body_too_large();
    }
    Refusal::InvalidJson.because("the body ended before it was whole: send it again")
}

/// The body is over the limit of every route.
pub(super) fn body_too_large() -> Refused {
    Refusal::BodyTooLarge.because(format!(
        "the body is over {BODY_MAX_BYTES} bytes: send less"
    ))
}

/// The query part of the URL.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Params(value)),
            Err(error) => Err(Refused::invalid("the query", unread_query(&error))),
        }
    }
}

fn unread_query(error: &QueryRejection) -> String {
    let said = error.body_text();
    let of_ours = said.split_once("query string: ");
    words::plain_query(of_ours.map_or(&said, |(_, said)| said))
}

/// The one identifier in the path.
pub(super) struct PathId<T>(pub(super) T);

impl<S: Send + Sync, T> FromRequestParts<S> for PathId<T>
where
    T: FromStr<Err: Display>,
{
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Refused::invalid("the path", "it is not UTF-8"))?;
        text.parse()
            .map(PathId)
            .map_err(|error| Refused::invalid("the path", error))
    }
}
