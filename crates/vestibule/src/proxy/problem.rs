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
/// The same to a client and to a proxy that asks for one.
pub(super) const NO_PATH: &str = "there is no such path here";

/// A document below a resource that is ours to publish, and that we do not: clients look for it as a matter of course.
pub(super) fn no_document() -> Response {
    let message = "nothing is published here";
    json_rpc(StatusCode::NOT_FOUND, INVALID_REQUEST, message)
}

/// A refusal that is the sender's to mend, with the reference under which the log has the cause.
pub(super) fn refused(status: StatusCode, message: &str, reference: ReferenceId) -> Response {
    referenced(status, INVALID_REQUEST, message, reference)
}

pub(super) fn forbidden_origin(reference: ReferenceId) -> Response {
    let message = "web pages of this origin may not use this server; the operator can allow it";
    refused(StatusCode::FORBIDDEN, message, reference)
}

/// A proxy asks about a request that only the gateway can judge or forward.
pub(super) fn forbidden_here(reference: ReferenceId) -> Response {
    let message = "this server must be reached through its gateway; its operator must mend this";
    refused(StatusCode::FORBIDDEN, message, reference)
}

/// A proxy asks about a path that is not there: to it a 404 is no answer.
pub(super) fn forbidden_path(reference: ReferenceId) -> Response {
    refused(StatusCode::FORBIDDEN, NO_PATH, reference)
}

/// A 429: the user asks too often.
pub(super) fn too_many(retry_after: u64, reference: ReferenceId) -> Response {
    let message = format!("too many requests for this user; try again in {retry_after} s");
    let status = StatusCode::TOO_MANY_REQUESTS;
    let mut response = referenced(status, INTERNAL_ERROR, &message, reference);
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    response
}

/// A 502, 503 or 504 with the reference under which the log has the cause.
pub(super) fn failed(status: StatusCode, message: &str, reference: ReferenceId) -> Response {
    let mut response = referenced(status, INTERNAL_ERROR, message, reference);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

fn referenced(status: StatusCode, code: i32, message: &str, reference: ReferenceId) -> Response {
    json_rpc(status, code, &reference.behind(message))
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
