//! What an unauthenticated or insufficient request gets: status, challenge and a JSON body (RFC 6750 §3, facts/mcp-authorization.md §3.3).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// Seconds after which a client may ask again when tokens cannot be checked.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");
/// API gateways rename `WWW-Authenticate`; the same value under this name survives and can be mapped back
/// (facts/deployment-and-operations.md, "HTTP API").
const X_MCP_CHALLENGE: HeaderName = HeaderName::from_static("x-mcp-challenge");

/// A refusal that is ready to be sent. Never a 400, 404 or 405: to a dual-era client those mean "legacy server"
/// (facts/mcp-authorization.md §2.1). Only well-known documents that are not there are a 404.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) challenge: Option<HeaderValue>,
    pub(crate) error: &'static str,
    pub(crate) description: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) reference: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    error_description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
}

impl Refusal {
    /// 403 that no other token of the same user would mend.
    pub(crate) fn denied(description: &'static str, reason: &'static str) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            challenge: None,
            error: "access_denied",
            description,
            reason,
            reference: None,
        }
    }

    /// 404 for a well-known document that is not ours.
    pub(crate) fn no_document() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            challenge: None,
            error: "not_found",
            description: "there is no such document",
            reason: "no_such_document",
            reference: None,
        }
    }

    /// 500: a handler or layer that needs a `Caller` stands where no guard is in front of it.
    pub(crate) fn no_guard() -> Self {
        tracing::error!(
            "a handler asks for a Caller, but no guard is in front of it: add the GuardLayer"
        );
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            challenge: None,
            error: "server_error",
            description: "this server is set up wrongly",
            reason: "no_guard",
            reference: None,
        }
    }

    /// 401, 403 or 503; 404 for a well-known document that is not there; 500 when a handler asks for a caller where no
    /// guard is.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// A stable word for logs and metrics.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// What the sender is told, in a sentence.
    pub fn description(&self) -> &'static str {
        self.description
    }

    /// The `WWW-Authenticate` value, when signing in again can help.
    pub fn challenge(&self) -> Option<&HeaderValue> {
        self.challenge.as_ref()
    }

    /// The same with a reference id in the body, under which the log has the cause.
    #[must_use]
    pub fn referenced(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }

    /// The response, the same for every method.
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let body = Body {
            error: self.error,
            error_description: self.description,
            reference: self.reference.as_deref(),
        };
        let mut bytes = Vec::with_capacity(192);
        // Texts always serialise.
        if serde_json::to_writer(&mut bytes, &body).is_err() {
            bytes.clear();
        }
        let mut response = Response::new(B::from(Bytes::from(bytes)));
        *response.status_mut() = self.status;
        // Room for these and what is put to them on the way out.
        *response.headers_mut() = HeaderMap::with_capacity(12);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge {
            headers.insert(X_MCP_CHALLENGE, challenge.clone());
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.description)
    }
}

impl std::error::Error for Refusal {}
