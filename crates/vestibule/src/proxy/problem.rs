//! Refusals of our own, with a JSON-RPC body: without one, a dual-era client takes a 404 for an old server and starts to
//! speak the legacy protocol (facts/mcp-authorization.md §2.1).

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::telemetry::ReferenceId;

/// JSON-RPC: the request is not one we pass on.
const INVALID_REQUEST: i32 = -32600;
/// JSON-RPC: our side failed.
const INTERNAL_ERROR: i32 = -32603;

pub(super) fn not_found(message: &str) -> Response {
    json_rpc(StatusCode::NOT_FOUND, INVALID_REQUEST, message)
}

pub(super) fn method_not_allowed() -> Response {
    let message = "this method is not passed on";
    json_rpc(StatusCode::METHOD_NOT_ALLOWED, INVALID_REQUEST, message)
}

pub(super) fn forbidden_origin() -> Response {
    let message = "web pages of this origin may not use this server; the operator can allow it";
    json_rpc(StatusCode::FORBIDDEN, INVALID_REQUEST, message)
}

/// A proxy asks about a request whose body decides.
pub(super) fn forbidden_here() -> Response {
    let message = "this server must be reached through its gateway; its operator must mend this";
    json_rpc(StatusCode::FORBIDDEN, INVALID_REQUEST, message)
}

/// The same as [`not_found`] for a proxy that asks: to it a 404 is no answer.
pub(super) fn forbidden_path() -> Response {
    let message = "there is no such path here";
    json_rpc(StatusCode::FORBIDDEN, INVALID_REQUEST, message)
}

pub(super) fn too_large(limit: usize) -> Response {
    let message = format!("the request is larger than {limit} bytes");
    json_rpc(StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST, &message)
}

/// A 429: the user asks too often.
pub(super) fn too_many(retry_after: u64, reference: ReferenceId) -> Response {
    let message = format!(
        "too many requests for this user; try again in {retry_after} s (reference {reference})"
    );
    let mut response = json_rpc(StatusCode::TOO_MANY_REQUESTS, INTERNAL_ERROR, &message);
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    response
}

/// A 502, 503 or 504 with the reference under which the log has the cause.
pub(super) fn failed(status: StatusCode, message: &str, reference: ReferenceId) -> Response {
    let message = format!("{message} (reference {reference})");
    let mut response = json_rpc(status, INTERNAL_ERROR, &message);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

fn json_rpc(status: StatusCode, code: i32, message: &str) -> Response {
    let error = json!({ "code": code, "message": message });
    let body = json!({ "jsonrpc": "2.0", "id": null, "error": error });
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
