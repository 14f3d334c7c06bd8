//! `/healthz`: the process answers. `/readyz`: it can do its work; says what it is waiting for.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Map, json};

use crate::House;
use crate::authorization_server::json as respond;
use crate::provider::{Provider, ProviderError};

/// Liveness: restarting would help only if this fails.
pub async fn healthz() -> Response {
    respond(StatusCode::OK, &json!({ "status": "ok" }))
}

/// Readiness: a provider's discovery document is known; with several providers, one of them is enough. A provider that
/// goes away later does not make the house unready, because tokens that were issued keep working; nor does a new
/// configuration that could not be taken, because the one before serves. With a store, what was revoked lately must have
/// been read once.
pub async fn readyz(State(house): State<Arc<House>>) -> Response {
    let asked = house.providers().iter().map(async |provider| {
        let ready = provider.ready().await;
        let state = ready.as_ref().map_or_else(ProviderError::slug, |()| "ok");
        (provider.id().to_owned(), json!(state))
    });
    let providers: Map<_, _> = join_all(asked).await.into_iter().collect();
    let followed = house.has_followed();
    let ready = followed && providers.values().any(|state| state == "ok");
    let (status, word) = if ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "waiting")
    };
    let default = house.providers().first().map(Provider::id);
    let mut body = json!({
        "status": word,
        "provider": default.and_then(|id| providers.get(id)),
        "config": house.config().shown(),
    });
    if providers.len() > 1 {
        body["providers"] = providers.into();
    }
    if !followed {
        body["store"] = json!("revocations_unread");
    }
    body["keys"] = house.key_ages().report(house.now());
    respond(status, &body)
}
