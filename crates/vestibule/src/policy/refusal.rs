//! What the gate answers instead of the server: JSON-RPC errors, and 403 challenges for what consent could mend
//! (facts/mcp-authorization.md §2.1 and §2.3).

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use vestibule_guard::Refusal;

use super::rule::{Kind, Target};
use crate::metrics::labels::PolicyDecision;
use crate::telemetry::{ReferenceId, Told};

pub(super) const PARSE_ERROR: i32 = -32700;
pub(super) const INVALID_REQUEST: i32 = -32600;
pub(super) const METHOD_NOT_FOUND: i32 = -32601;
pub(super) const INVALID_PARAMS: i32 = -32602;
pub(super) const INTERNAL_ERROR: i32 = -32603;
/// Until 2025-11-25; later it is [`INVALID_PARAMS`].
const RESOURCE_NOT_FOUND: i32 = -32002;
/// MCP 2026-07-28: headers and body disagree.
pub(super) const HEADER_MISMATCH: i32 = -32020;

/// Why a request does not reach the server.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The request itself cannot be taken.
    Unfit {
        /// The status.
        status: StatusCode,
        /// The JSON-RPC error.
        code: i32,
        /// The request's id, as far as known.
        id: Value,
        /// What is wrong.
        message: String,
        /// A stable word for the log.
        reason: &'static str,
    },
    /// The caller is not entitled: the answer is that of a server that has no such thing.
    Unknown {
        /// One answer, or one for each request of a batch; nothing for a notification.
        answer: Option<Value>,
        /// The status.
        status: StatusCode,
        /// What was asked for, for the log.
        what: String,
        /// Why, for the log.
        why: String,
    },
    /// The user could consent to more.
    Scopes {
        /// The 403.
        refusal: Box<Refusal>,
        /// What was asked for, for the log.
        what: String,
    },
}

impl Refused {
    /// Something is wrong with the request.
    pub(super) fn unfit(
        status: StatusCode,
        code: i32,
        id: Value,
        message: impl Into<String>,
        reason: &'static str,
    ) -> Self {
        let message = message.into();
        Self::Unfit {
            status,
            code,
            id,
            message,
            reason,
        }
    }

    /// What the request names is not the caller's: the answer is that of a server that does not know it.
    pub(crate) fn not_theirs(id: &Value, message: &str, why: &str) -> Self {
        Self::Unknown {
            answer: (!id.is_null()).then(|| error(id, INVALID_PARAMS, message, None)),
            status: StatusCode::OK,
            what: message.to_owned(),
            why: why.to_owned(),
        }
    }

    /// A stable word for why.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unfit { reason, .. } => reason,
            Self::Unknown { .. } => "not_entitled",
            Self::Scopes { refusal, .. } => refusal.reason(),
        }
    }

    /// What was asked for, as far as it was understood: `tools/call:echo`. A stranger chose the words.
    pub(crate) fn what(&self) -> Option<&str> {
        match self {
            Self::Unfit { .. } => None,
            Self::Unknown { what, .. } | Self::Scopes { what, .. } => Some(what),
        }
    }

    /// The same for the metrics.
    pub(crate) fn decision(&self) -> PolicyDecision {
        match self {
            Self::Unfit { .. } => PolicyDecision::Unfit,
            Self::Unknown { .. } => PolicyDecision::NotEntitled,
            Self::Scopes { .. } => PolicyDecision::NeedsScopes,
        }
    }

    /// The response, after a line in the log.
    pub(crate) fn into_response(
        self,
        reference: ReferenceId,
        path: &str,
        subject: &str,
    ) -> Response {
        let told = Told::new(reference, self.reason());
        told.on(match self {
            Self::Unfit {
                status,
                code,
                id,
                message,
                reason,
            } => {
                tracing::warn!(%reference, reason, path, subject, cause = %message, "request refused");
                let message = reference.behind(&message);
                json_response(status, Some(&error(&id, code, &message, None)))
            }
            Self::Unknown {
                answer,
                status,
                what,
                why,
            } => {
                // No reference in the answer: it must look like that of a server that has no such thing.
                tracing::info!(%reference, reason = "not_entitled", path, subject, ?what, cause = %why, "request refused");
                json_response(status, answer.as_ref())
            }
            Self::Scopes { refusal, what } => {
                tracing::info!(%reference, reason = refusal.reason(), path, subject, ?what, "request refused");
                refusal.referenced(reference).into_response()
            }
        })
    }
}

/// The answer of a server that does not have what `target` asks for, and its status.
pub(super) fn unknown(id: &Value, target: Target<'_>, modern: bool) -> (StatusCode, Value) {
    let (code, message, data) = match target.thing {
        Some((Kind::Tool, name)) => (INVALID_PARAMS, format!("Unknown tool: {name}"), None),
        Some((Kind::Prompt, name)) => (INVALID_PARAMS, format!("Unknown prompt: {name}"), None),
        Some((Kind::Resource | Kind::Template, uri)) => {
            let code = if modern {
                INVALID_PARAMS
            } else {
                RESOURCE_NOT_FOUND
            };
            (
                code,
                "Resource not found".to_owned(),
                Some(json!({ "uri": uri })),
            )
        }
        None => (METHOD_NOT_FOUND, "Method not found".to_owned(), None),
    };
    // A method that a modern server does not know is a 404 (MCP 2026-07-28, transports).
    let status = if modern && target.thing.is_none() {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::OK
    };
    (status, error(id, code, &message, data))
}

/// A JSON-RPC error.
pub(super) fn error(id: &Value, code: i32, message: &str, data: Option<Value>) -> Value {
    let mut error = json!({ "code": code, "message": message });
    if let Some(data) = data {
        error["data"] = data;
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

fn json_response(status: StatusCode, body: Option<&Value>) -> Response {
    let Some(body) = body else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::ACCEPTED;
        return response;
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The JSON-RPC error for a list that cannot be filtered.
pub(super) fn list_failed(id: &Value, message: &str) -> Value {
    json!(error(id, INTERNAL_ERROR, message, None))
}
