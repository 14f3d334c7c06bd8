//! How endpoints answer: JSON, JSON errors and refused requests with a reference id (law 12), bodies within limits.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use thiserror::Error;

use vestibule_oauth::error::{ErrorBody, ErrorCode, safe_description};

use crate::House;
use crate::telemetry::{ReferenceId, Told};

/// What a client may know of a refusal. The cause stays in the log, under the reference.
#[derive(Debug)]
pub(crate) struct Outside {
    /// The RFC code.
    pub(crate) code: ErrorCode,
    /// What happened and what to do.
    pub(crate) description: String,
    /// A stable slug for the log.
    pub(crate) slug: &'static str,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after: Option<u64>,
    /// Answer a failed HTTP Basic with a Basic challenge (RFC 6749 §5.2).
    pub(crate) basic_challenge: bool,
}

impl Outside {
    pub(crate) fn new(code: ErrorCode, slug: &'static str, description: impl Into<String>) -> Self {
        Self {
            code,
            description: description.into(),
            slug,
            retry_after: None,
            basic_challenge: false,
        }
    }
}

/// A JSON answer that nobody may keep.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    json_within(500, status, body)
}

/// The same for one that may be as large as `room`: what grows while it is written leaves copies behind.
pub(super) fn json_within(room: usize, status: StatusCode, body: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(room);
    if serde_json::to_writer(&mut bytes, body).is_err() {
        bytes.clear();
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Refuses as RFC 6749 §5.2 says, and logs the cause under the reference that the answer carries.
pub(crate) fn refuse(house: &House, outside: &Outside, cause: &dyn std::fmt::Display) -> Response {
    let reference = ReferenceId::new(house.random());
    tracing::warn!(%reference, reason = outside.slug, error = outside.code.as_str(), %cause, "refused");
    let description = safe_description(&outside.description);
    let body = ErrorBody {
        error: outside.code.as_str(),
        error_description: &description,
        reference: &reference.to_string(),
    };
    let status = StatusCode::from_u16(outside.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = Told::new(reference, outside.slug).on(json(status, &body));
    if let Some(seconds) = outside.retry_after {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if outside.basic_challenge {
        response.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"vestibule\""),
        );
    }
    response
}

/// A path that nobody serves: JSON, never HTML, because clients parse what they find below `/.well-known`.
pub fn not_found(path: &str) -> Response {
    #[derive(Serialize)]
    struct NotFound<'a> {
        error: &'static str,
        error_description: String,
        path: &'a str,
    }
    let error_description =
        "nothing is served here; the MCP endpoints and discovery documents have fixed paths"
            .to_owned();
    json(
        StatusCode::NOT_FOUND,
        &NotFound {
            error: "not_found",
            error_description,
            path,
        },
    )
}

/// How long a client may take to send the few kilobytes of a form or registration.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// Why a body was not read.
#[derive(Debug, Error)]
pub(crate) enum BodyError {
    /// Larger than the endpoint allows.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// Another media type.
    #[error("the content type must be {0}")]
    ContentType(&'static str),
    /// The connection broke.
    #[error("the body could not be read")]
    Broken,
    /// A client that stalls would hold its connection for ever.
    #[error("the body did not arrive within {} seconds", BODY_DEADLINE.as_secs())]
    Slow,
}

impl BodyError {
    /// 413, 415 or 400, in the shape of an OAuth error.
    pub(crate) fn respond(&self, house: &House) -> Response {
        let outside = Outside::new(ErrorCode::InvalidRequest, "body", self.to_string());
        let mut response = refuse(house, &outside, self);
        *response.status_mut() = match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
        };
        response
    }
}

/// Reads a body of one media type, up to `limit` bytes.
pub(crate) async fn body(
    request: Request,
    media_type: &'static str,
    limit: usize,
) -> Result<(HeaderMap, Bytes), BodyError> {
    let (parts, body) = request.into_parts();
    let given = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !given
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case(media_type)
    {
        return Err(BodyError::ContentType(media_type));
    }
    let announced = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(BodyError::TooLarge(limit));
    }
    match tokio::time::timeout(BODY_DEADLINE, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok((parts.headers, bytes)),
        Ok(Err(error)) if is_length_limit(&error) => Err(BodyError::TooLarge(limit)),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::Slow),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    let source = std::error::Error::source(error);
    source.is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}
