//! Every refusal of the API: an RFC 9457 problem document with a stable `code`.
//!
//! The codes are part of the interface and never change their meaning; the `detail` is one
//! sentence for a person and may. Nothing here shows how the node is made inside.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::DecodeError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::proto::node::{CommandError, CommandErrorCode};
use crate::wire::{JsonMessage, WireError};

/// The media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A detail may quote what was sent; it is cut here.
const DETAIL_MAX_CHARS: usize = 1_000;

/// Why a request was refused, as sent to the caller (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:junto:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the code means, the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong this time and what to do.
    pub detail: String,
    /// Stable, for programs: `not_found`, `queue_full`, …
    pub code: String,
    /// The peer protocol's error code, where one is behind the refusal: `INVALID_SIGNATURE`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_code: Option<String>,
    /// The node's signed `error`, where a message was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Box<JsonMessage>>,
}

/// Everything the API refuses for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The node's own answer.
    Command(CommandErrorCode),
    Unauthorized,
    HostNotAllowed,
    OriginNotAllowed,
    NoSuchRoute,
    MethodNotAllowed,
    InvalidJson,
    UnsupportedMediaType,
    BodyTooLarge,
    /// What came to `POST /message` was not taken.
    Message(WireError),
    Timeout,
    /// What the caller works on was taken away.
    Gone,
    Internal,
}

impl Refusal {
    /// Its status, code and title: the one table of all of them.
    pub(super) fn parts(self) -> (StatusCode, &'static str, &'static str) {
        use CommandErrorCode as Code;
        let (status, title) = match self {
            Refusal::Command(Code::NotFound) => (StatusCode::NOT_FOUND, "There is no such thing"),
            Refusal::Command(Code::Ambiguous) => (StatusCode::CONFLICT, "The name is not unique"),
            Refusal::Command(Code::TooLarge) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "A value is over its limit")
            }
            Refusal::Command(Code::Invalid) => (StatusCode::BAD_REQUEST, "A value is not allowed"),
            Refusal::Command(Code::Conflict) => {
                (StatusCode::CONFLICT, "The state does not allow it")
            }
            Refusal::Command(Code::NotServed) => {
                (StatusCode::NOT_FOUND, "No tasks of it are fetched here")
            }
            Refusal::Command(Code::NobodyWaits) => {
                (StatusCode::GONE, "Nobody waits for it any more")
            }
            Refusal::Command(Code::QueueFull) => {
                (StatusCode::SERVICE_UNAVAILABLE, "The queue is full")
            }
            Refusal::Command(Code::Busy) => (StatusCode::SERVICE_UNAVAILABLE, "The node is busy"),
            Refusal::Command(Code::Unreachable) => {
                (StatusCode::GATEWAY_TIMEOUT, "The peer cannot be reached")
            }
            Refusal::Command(Code::NotAllowed) => (
                StatusCode::FORBIDDEN,
                "It is more than the task may hand on",
            ),
            Refusal::Command(Code::CircuitOpen) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The peer is left alone for a while",
            ),
            Refusal::Command(Code::PeerRefused) => (StatusCode::BAD_GATEWAY, "The peer refused it"),
            Refusal::Command(Code::Storage) => {
                (StatusCode::INSUFFICIENT_STORAGE, "The disk refuses writes")
            }
            Refusal::Command(Code::Stopping) => {
                (StatusCode::SERVICE_UNAVAILABLE, "The node is stopping")
            }
            Refusal::Unauthorized => (StatusCode::UNAUTHORIZED, "The API token is needed"),
            Refusal::HostNotAllowed => (
                StatusCode::MISDIRECTED_REQUEST,
                "The Host header names another server",
            ),
            Refusal::OriginNotAllowed => (
                StatusCode::FORBIDDEN,
                "Web pages of other origins are refused",
            ),
            Refusal::NoSuchRoute => (StatusCode::NOT_FOUND, "There is no such route"),
            Refusal::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "The route does not know this method",
            ),
            Refusal::InvalidJson => (StatusCode::BAD_REQUEST, "The body is not the JSON expected"),
            Refusal::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is not JSON")
            }
            Refusal::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Refusal::Message(code) => (message_status(code), "The message was refused"),
            Refusal::Timeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "The node did not answer in time",
            ),
            Refusal::Gone => (StatusCode::GONE, "It was taken away"),
            Refusal::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "The node made a mistake"),
        };
        (status, self.code(), title)
    }

    fn code(self) -> &'static str {
        match self {
            Refusal::Command(code) => code.as_str(),
            Refusal::Unauthorized => "unauthorized",
            Refusal::HostNotAllowed => "host_not_allowed",
            Refusal::OriginNotAllowed => "origin_not_allowed",
            Refusal::NoSuchRoute => "no_such_route",
            Refusal::MethodNotAllowed => "method_not_allowed",
            Refusal::InvalidJson => "invalid_json",
            Refusal::UnsupportedMediaType => "unsupported_media_type",
            Refusal::BodyTooLarge => "body_too_large",
            Refusal::Message(_) => "message_refused",
            Refusal::Timeout => "timeout",
            Refusal::Gone => "gone",
            Refusal::Internal => "internal",
        }
    }

    /// Whether the same request may well succeed a moment later.
    fn passes(self) -> bool {
        matches!(
            self,
            Refusal::Command(
                CommandErrorCode::QueueFull
                    | CommandErrorCode::Busy
                    | CommandErrorCode::CircuitOpen
            ) | Refusal::Message(WireError::RateLimited | WireError::Busy)
        )
    }

    /// This refusal with its sentence.
    pub(super) fn because(self, detail: impl Into<String>) -> Refused {
        let peer_code = match self {
            Refusal::Message(code) => Some(code),
            _ => None,
        };
        Refused {
            refusal: self,
            detail: detail.into(),
            peer_code,
            message: None,
        }
    }
}

/// A refusal on its way out of a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    refusal: Refusal,
    detail: String,
    peer_code: Option<WireError>,
    message: Option<Box<JsonMessage>>,
}

/// The status that goes with a refused message.
fn message_status(code: WireError) -> StatusCode {
    match code {
        WireError::InvalidSignature
        | WireError::UnknownSender
        | WireError::EncryptionRequired
        | WireError::NotAllowed => StatusCode::FORBIDDEN,
        WireError::SessionNotFound | WireError::SessionExpired => StatusCode::NOT_FOUND,
        WireError::ReplayDetected | WireError::SequenceError | WireError::InvalidState => {
            StatusCode::CONFLICT
        }
        WireError::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        WireError::WrongRecipient => StatusCode::MISDIRECTED_REQUEST,
        WireError::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        WireError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl Refused {
    /// A value of the request that makes no sense: `what` names it.
    pub(super) fn invalid(what: &str, why: impl std::fmt::Display) -> Refused {
        Refusal::Command(CommandErrorCode::Invalid).because(format!("{what}: {why}"))
    }

    /// A value that is to be base64 and is not; `instead` takes it as text.
    pub(super) fn no_base64(what: &str, instead: &str, error: &DecodeError) -> Refused {
        let at = error.position;
        let why = format!(
            "it is no base64 from character {at} on: send it in the standard alphabet and padded, \
             or as text in {instead}"
        );
        Refused::invalid(what, why)
    }

    /// It was this part of the request.
    pub(super) fn at(self, part: &str) -> Refused {
        Refused {
            detail: format!("{part}: {}", self.detail),
            ..self
        }
    }

    /// The node's reply is not one of the command's.
    pub(super) fn unexpected_reply(command: &str) -> Refused {
        tracing::error!(
            command,
            "the node gave a reply that does not belong to the command"
        );
        Refusal::Internal.because("the node gave an unexpected reply: please report this")
    }

    /// A body that is no message: the same refusal, with the protocol's name for it.
    pub(super) fn malformed(self) -> Refused {
        let code = match self.refusal {
            Refusal::BodyTooLarge => WireError::PayloadTooLarge,
            _ => WireError::Malformed,
        };
        Refused {
            peer_code: Some(code),
            ..self
        }
    }

    /// With the signed error that says it.
    pub(super) fn with(self, message: JsonMessage) -> Refused {
        Refused {
            message: Some(Box::new(message)),
            ..self
        }
    }

    /// What the caller gets to read.
    pub(super) fn problem(&self) -> Problem {
        let (status, code, title) = self.refusal.parts();
        Problem {
            kind: format!("urn:junto:problem:{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.chars().take(DETAIL_MAX_CHARS).collect(),
            code: code.to_owned(),
            peer_code: self.peer_code.map(WireError::name),
            message: self.message.clone(),
        }
    }
}

impl From<CommandError> for Refused {
    fn from(error: CommandError) -> Refused {
        Refused {
            peer_code: error.peer_code,
            ..Refusal::Command(error.code).because(error.message)
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, _, _) = self.refusal.parts();
        // A struct of strings and a number always has a JSON form.
        let body = serde_json::to_vec(&self.problem()).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.refusal.passes() {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.refusal == Refusal::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_error_has_its_status_and_keeps_its_code() {
        use CommandErrorCode as Code;
        let table = [
            (Code::NotFound, 404),
            (Code::Ambiguous, 409),
            (Code::TooLarge, 413),
            (Code::Invalid, 400),
            (Code::Conflict, 409),
            (Code::NotServed, 404),
            (Code::NobodyWaits, 410),
            (Code::QueueFull, 503),
            (Code::Busy, 503),
            (Code::Unreachable, 504),
            (Code::CircuitOpen, 503),
            (Code::PeerRefused, 502),
            (Code::Storage, 507),
            (Code::Stopping, 503),
        ];
        for (code, status) in table {
            let refused = Refused::from(CommandError::new(code, "because"));
            let problem = refused.problem();
            assert_eq!(
                (problem.status, problem.code.as_str()),
                (status, code.as_str())
            );
            assert_eq!(problem.detail, "because");
            assert_eq!(problem.kind, format!("urn:junto:problem:{}", code.as_str()));
            let response = refused.into_response();
            let retry = response.headers().contains_key(RETRY_AFTER);
            assert_eq!(
                retry,
                matches!(code, Code::QueueFull | Code::Busy | Code::CircuitOpen),
                "{code:?}"
            );
        }
    }

    #[test]
    fn a_long_detail_is_cut() {
        let problem = Refusal::InvalidJson.because("é".repeat(5_000)).problem();
        assert_eq!(problem.detail.chars().count(), DETAIL_MAX_CHARS);
    }
}
