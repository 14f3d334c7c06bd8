//! `/healthz`: the process answers. `/readyz`: it can do its work; says what it is waiting for.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use crate::House;
use crate::authorization_server::json as respond;
use crate::provider::{Provider, ProviderError};

/// Liveness: restarting would help only if this fails.
pub async fn healthz() -> Response {
    respond(StatusCode::OK, &json!({ "status": "ok" }))
}

/// Readiness: a provider's discovery document is known; with several providers, one of them is enough. A provider that goes away later does not make the house
/// unready, because tokens that were issued keep working.
pub async fn readyz(State(house): State<Arc<House>>) -> Response {
    let mut states = serde_json::Map::new();
    for provider in house.providers() {
        let ready = provider.ready().await;
        let state = ready.as_ref().map_or_else(ProviderError::slug, |()| "ok");
        states.insert(provider.id().to_owned(), json!(state));
    }
    let ready = states.values().any(|state| state == "ok");
    let (status, word) = if ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "waiting")
    };
    let default = house.providers().first().map(Provider::id);
    let mut body = json!({ "status": word, "provider": default.and_then(|id| states.get(id)) });
    if states.len() > 1 {
        body["providers"] = states.into();
    }
    respond(status, &body)
}
