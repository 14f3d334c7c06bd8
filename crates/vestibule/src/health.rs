//! `/healthz`: the process answers. `/readyz`: it can do its work; says what it is waiting for.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Map, json};

use crate::House;
use crate::authorization_server::json as respond;
use crate::provider::{Provider, ProviderError};
use crate::store::{Key, Space, StoreError};

/// The longest that the store may take to say that it is there.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// Liveness: restarting would help only if this fails.
pub async fn healthz() -> Response {
    respond(StatusCode::OK, &json!({ "status": "ok" }))
}

/// Readiness: a provider's discovery document is known (with several providers, one of them is enough), and what was
/// revoked lately has been read from the store once. A provider or store that goes away later does not make the house
/// unready, because tokens that were issued keep working; nor does a new configuration that could not be taken, because
/// the one before serves.
pub async fn readyz(State(house): State<Arc<House>>) -> Response {
    let asked = house.providers().iter().map(async |provider| {
        let ready = provider.ready().await;
        let state = ready.as_ref().map_or_else(ProviderError::slug, |()| "ok");
        (provider.id().to_owned(), json!(state))
    });
    let providers: Map<_, _> = join_all(asked).await.into_iter().collect();
    let store = store(&house).await;
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
    body["keys"] = house.key_ages().report(house.now());
    if let Some(store) = store {
        let unread = store == "ok" && !followed;
        body["store"] = json!(if unread { "revocations_unread" } else { store });
    }
    respond(status, &body)
}

/// How the store is now, in a word; `None` when there is none.
async fn store(house: &House) -> Option<&'static str> {
    let store = house.store()?;
    // It need not be there: the answer counts.
    let nothing = Key::hashed(Space::Once, "readyz");
    let asked = tokio::time::timeout(STORE_PATIENCE, store.get(&nothing)).await;
    let word = match asked {
        Ok(Ok(_)) => "ok",
        Ok(Err(StoreError::Misconfigured(_))) => "misconfigured",
        Ok(Err(StoreError::Corrupt(_))) => "corrupt",
        Ok(Err(StoreError::Unavailable(_))) | Err(_) => "unavailable",
    };
    Some(word)
}
