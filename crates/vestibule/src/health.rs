//! `/healthz`: the process answers. `/readyz`: it can do its work; says what it is waiting for.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use crate::House;
use crate::authorization_server::json as respond;

/// Liveness: restarting would help only if this fails.
pub async fn healthz() -> Response {
    respond(StatusCode::OK, &json!({ "status": "ok" }))
}

/// Readiness: the provider's discovery document is known. A provider that goes away later does not make the house
/// unready, because tokens that were issued keep working.
pub async fn readyz(State(house): State<Arc<House>>) -> Response {
    match house.provider().ready().await {
        Ok(()) => respond(
            StatusCode::OK,
            &json!({ "status": "ready", "provider": "ok" }),
        ),
        Err(error) => {
            let body = json!({ "status": "waiting", "provider": error.slug() });
            respond(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}
