//! The issuer host: OpenID discovery and JWKS exactly as far as Cognito serves them (facts/cognito §2.2, S1).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Router};
use http::StatusCode;
use serde_json::{Value, json};

use crate::cognito::endpoint;
use crate::cognito::faults::{Endpoint, Injected, wrong_issuer};
use crate::cognito::http::json;
use crate::cognito::state::Pool;

/// The routes of the issuer host. Everything else, RFC 8414's path included, is a 400.
pub(crate) fn routes(pool: &Arc<Pool>) -> Router {
    let pool_id = &pool.options.pool_id;
    Router::new()
        .route(
            &format!("/{pool_id}/.well-known/openid-configuration"),
            endpoint(pool, Endpoint::Discovery, axum::routing::get(document)),
        )
        .route(
            &format!("/{pool_id}/.well-known/jwks.json"),
            endpoint(pool, Endpoint::Jwks, axum::routing::get(jwks)),
        )
        .fallback(unknown)
        .with_state(Arc::clone(pool))
}

/// `GET <issuer>/.well-known/openid-configuration`. What is not listed here Cognito does not say:
/// no PKCE methods, no grant types, no `none`, no custom scopes, and no endpoints without a domain.
async fn document(
    State(pool): State<Arc<Pool>>,
    Extension(injected): Extension<Injected>,
) -> Response {
    let issuer = if injected.wrong_issuer {
        wrong_issuer(&pool.issuer)
    } else {
        pool.issuer.clone()
    };
    let mut document = json!({
        "id_token_signing_alg_values_supported": ["RS256"],
        "issuer": issuer,
        "jwks_uri": format!("{}/.well-known/jwks.json", pool.issuer),
        "response_types_supported": ["code", "token"],
        "scopes_supported": ["openid", "email", "phone", "profile"],
        "subject_types_supported": ["public"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    });
    if pool.options.pool_has_domain {
        for (name, path) in [
            ("authorization_endpoint", "/oauth2/authorize"),
            ("end_session_endpoint", "/logout"),
            ("revocation_endpoint", "/oauth2/revoke"),
            ("token_endpoint", "/oauth2/token"),
            ("userinfo_endpoint", "/oauth2/userInfo"),
        ] {
            document[name] = Value::String(format!("{}{path}", pool.domain));
        }
    }
    json(StatusCode::OK, &document)
}

/// `GET <issuer>/.well-known/jwks.json`.
async fn jwks(State(pool): State<Arc<Pool>>) -> Response {
    let document = pool.lock().keys.jwks();
    json(StatusCode::OK, &document)
}

async fn unknown() -> Response {
    json(
        StatusCode::BAD_REQUEST,
        &json!({ "message": "Bad Request" }),
    )
}
