//! `POST /oauth2/revoke`: ends a refresh token's family for Cognito; JWT verifiers notice nothing (facts/cognito §2.5, S13).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::cognito::client_auth::{ClientAuthError, authenticate};
use crate::cognito::http::{Params, empty, json};
use crate::cognito::state::{Pool, sha256};

/// `POST /oauth2/revoke`. An unknown token, or one of another client, is an empty 200 without effect.
pub(crate) async fn handle(
    State(pool): State<Arc<Pool>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = Params::parse(&body);
    let client = match authenticate(&pool, &headers, &params) {
        Ok(client) => client,
        Err(ClientAuthError::Unnamed) => return refuse(StatusCode::BAD_REQUEST, "invalid_request"),
        Err(ClientAuthError::Invalid) => return refuse(StatusCode::UNAUTHORIZED, "invalid_client"),
    };
    let Some(token) = params
        .non_empty("token")
        .filter(|_| pool.options.revocation_enabled)
    else {
        return refuse(StatusCode::BAD_REQUEST, "invalid_request");
    };
    let mut guard = pool.lock();
    let state = &mut *guard;
    if state.keys.verify(token).is_some() {
        return refuse(StatusCode::BAD_REQUEST, "unsupported_token_type");
    }
    if let Some(known) = state.refresh_tokens.get(&sha256(token.as_bytes()))
        && let Some(family) = state.families.get_mut(&known.origin_jti)
        && family.client_id == client.client_id
    {
        family.revoked = true;
    }
    empty(StatusCode::OK)
}

fn refuse(status: StatusCode, error: &str) -> Response {
    json(status, &json!({ "error": error }))
}
